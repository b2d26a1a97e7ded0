"""Parts of a source: some examples as they were found, and the split to which each part belongs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.hints import listed
from trilemma.words import counted

T = TypeVar("T", bound=Sized)

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
}


def split_name(word: str) -> str | None:
    """ "train", "test" or "valid" for the usual spellings, None for any other word.

    >>> split_name("Validation"), split_name("cats")
    ('valid', None)
    """
    return _SPLIT_NAMES.get(word.strip().lower())


def looks_like_split(word: str) -> bool:
    """Whether a name has a split's name in it.

    >>> looks_like_split("training_set"), looks_like_split("testA"), looks_like_split("contest")
    (True, True, False)
    """
    words = re.split(r"[-_. ]+|(?<=[a-z])(?=[A-Z0-9])", word)
    return any(split_name(part) is not None for part in words)


def needed(
    splits: Mapping[str, T], test_split: str | None, where: str, size: Callable[[T], int] = len
) -> tuple[dict[str, T], tuple[str, ...]]:
    """The splits that :func:`trilemma.data.assemble.assemble` will look at, so that the others need not be decoded,
    and a note on those.

    Args:
      splits: the parts of a source, read or not.
      test_split: "test" or "valid" where one is asked for.
      where: the source in the note.
      size: how many examples a part has.
    """
    wanted = {"train"} if "train" in splits else {"all"}
    wanted.add(test_split or ("test" if "test" in splits else "valid"))
    chosen = {name: split for name, split in splits.items() if name in wanted} or dict(splits)
    left = {name: size(split) for name, split in splits.items() if name not in chosen}
    if not any(left.values()):
        return chosen, ()
    words = []
    for name, count in left.items():
        words.append(f"{'those of no split' if name == 'all' else name} ({counted(count, 'example')})")
    return chosen, (f"{where}: of its splits {listed(sorted(chosen))} are used, and {listed(words)} left out",)


@dataclass(frozen=True, eq=False)
class Part:
    """Some examples of a source, as they were found.

    Attributes:
      images: uint8 (N, C, H, W).
      labels: N values as :func:`trilemma.data.labels.code` takes them.
      groups: the same, or None.
      notes: what was left out, merged, renamed or converted, in sentences with counts.
    """

    images: NDArray[np.uint8]
    labels: Sequence[object]
    groups: Sequence[object] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64]) -> Part:
        """The rows at ``indices``."""
        rows = indices.tolist()
        return replace(
            self,
            images=self.images[indices],
            labels=[self.labels[row] for row in rows],
            groups=None if self.groups is None else [self.groups[row] for row in rows],
        )


def parts_by_split(part: Part, splits: Sequence[object], where: str) -> dict[str, Part]:
    """A part cut by a column that says which split each row is in.

    Words are the usual names of splits; numbers and booleans are 0 = train, 1 = test.

    Raises:
      InputError: another value occurs.
    """
    names = np.array([_split_of(value, row, where) for row, value in enumerate(splits)])
    return {name: part.take(np.flatnonzero(names == name)) for name in np.unique(names).tolist()}


def check_split_column(splits: Sequence[object], split: str, where: str) -> None:
    """Refuse a column that says another split than the file or folder it is in.

    Raises:
      InputError: it does, or it holds another value than a split.
    """
    for row, value in enumerate(splits):
        name = _split_of(value, row, where)
        if name != split:
            raise InputError(
                f"{where} has the split {value!r} in row {row}, though its location says {split}: correct one of them"
            )


def _split_of(value: object, row: int, where: str) -> str:
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    name = {"0": "train", "1": "test", "False": "train", "True": "test"}.get(text) or split_name(text)
    if name is None:
        raise InputError(f"{where} has the split {text[:80]!r} in row {row}: write train, test or valid (or 0 and 1)")
    return name
