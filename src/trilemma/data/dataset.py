"""The data of a training: images with labels and, where there are any, groups."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.named import NEUTRAL
from trilemma.errors import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set, held as arrays of equal length N.

    Attributes:
      images: uint8 (N, C, H, W) with C in {1, 3}, values 0 to 255.  May be a read-only memory map.
      labels: int64 (N,), each in [0, number of classes).
      groups: int64 (N,), the value of the protected attribute, or None where the data has none.
      sources: int64 (N,), the image that each row was made from; two rows share a source when they are the
        same image in two groups (the color and the gray copy of a test image).  None: every row has a source of its
        own.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    sources: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8 or self.images.shape[1] not in (1, 3):
            raise InputError(
                f"images must be uint8 (N, C, H, W) with 1 or 3 channels, not {self.images.dtype} "
                f"{self.images.shape}: convert them first"
            )
        for name in ("labels", "groups", "sources"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.dtype != np.int64 or values.shape != (len(self.images),):
                raise InputError(
                    f"{name} must be int64 ({len(self.images)},), one for each image, not {values.dtype} {values.shape}"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        grouped = "without groups" if self.groups is None else "with groups"
        return f"<Split of {len(self):,} images, {' x '.join(map(str, self.images.shape[1:]))}, {grouped}>"

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The rows at ``indices`` (int64), in that order."""
        return Split(
            images=self.images[indices],
            labels=self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
            sources=None if self.sources is None else self.sources[indices],
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content (hex): two splits with the same examples in the same order share it."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.groups, self.sources):
            if array is None:
                digest.update(b"none")
            else:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split with the names that people use for them.

    Attributes:
      name: under which it was loaded ("cifar10s", or the folder's name).
      train, test: the splits.  The training split is what the guarantee protects.
      classes: class names; ``classes[label]``.
      group_names: names of the protected attribute's values; ``group_names[group]``; None without groups.
      mean, std: per channel, in units of pixel / 255.  Public constants, never measured on the images
        (statistics of private images would have to be paid for).
      flips: whether a mirrored image is still an image of its class (not so for digits).
      shift: largest shift of a view in pixels.
      skew: share of a class's training examples that belong to its dominant group, where it was set.
      source: where the images came from, in words.
      notes: what was left out, merged, renamed, converted or found twice during loading, in sentences with counts.
        They describe private images, so they are kept with what is measured on a run and not with what is released.
      request: the arguments of :func:`trilemma.data.load_data` that made it (those not None), so that a run can name
        its data; empty for arrays put together by hand.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    group_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] = NEUTRAL
    std: tuple[float, ...] = NEUTRAL
    flips: bool = True
    shift: int = 4
    skew: float | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse splits and names that do not go together.

        Raises:
          InputError: see there.
        """
        for field_name, names in (("classes", self.classes), ("group_names", self.group_names)):
            if names is not None:
                object.__setattr__(self, field_name, _names(field_name, names))
        first, other = (tuple(split.images.shape[1:]) for split in (self.train, self.test))
        if first != other:
            raise InputError(f"training images are {first} and test images {other} (C, H, W): give both the same size")
        for part, split in (("training", self.train), ("test", self.test)):
            _refuse_outside(part, "labels", split.labels, self.classes)
            _refuse_outside(part, "groups", split.groups, self.group_names)
        for field_name, values, what in (("mean", self.mean, "finite"), ("std", self.std, "positive")):
            right = all(math.isfinite(value) and (what == "finite" or value > 0) for value in values)
            if len(values) not in (1, first[0]) or not right:
                raise InputError(f"{field_name} must be {what} numbers, one for each channel, not {tuple(values)}")

    def __repr__(self) -> str:
        """A few lines, of names and sizes alone."""
        channels, height, width = self.image_shape
        names = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
        groups = "none" if self.group_names is None else ", ".join(self.group_names)
        return (
            f"<Dataset {self.name}: {len(self.train):,} training and {len(self.test):,} test images, "
            f"{channels} x {height} x {width}\n  {len(self.classes)} classes: {names}\n  groups: {groups}>"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def without(self, rows: NDArray[np.int64]) -> Dataset:
        """The data set without the training examples at ``rows`` (int64); every other example stays as it is.

        Without one example, it is what the guarantee calls a neighbor.  Loading the data again without that example is
        something else: a limit, a skew or a test split would be drawn again (see the guarantee's limits).

        Raises:
          InputError: the training split has no such row.
        """
        missing = np.setdiff1d(rows, np.arange(len(self.train)))
        if missing.size:
            raise InputError(
                f"cannot leave out example {missing[0]}: the training split has 0 to {len(self.train) - 1}"
            )
        return replace(self, train=self.train.take(np.setdiff1d(np.arange(len(self.train)), rows)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of both splits' content (hex)."""
        return hashlib.sha256(f"{self.train.fingerprint}{self.test.fingerprint}".encode()).hexdigest()


def _names(field_name: str, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{field_name} must be text, not {name!r}: give str({name!r})")
    if isinstance(names, str) or len({*names}) < len(names):
        raise InputError(f"{field_name} must be a sequence of distinct names, not {names!r}: rename or merge them")
    return tuple(names)


def _refuse_outside(part: str, what: str, values: NDArray[np.int64] | None, names: Sequence[str] | None) -> None:
    if values is None or not len(values):
        return
    for value in (int(values.min()), int(values.max())):
        if value < 0 or (names is not None and value >= len(names)):
            known = "" if names is None else f", of {len(names)} names"
            raise InputError(f"{what} of {part} examples are numbered from 0{known}, but one is {value}: correct it")
