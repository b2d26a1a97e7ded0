"""What can be trained on here: what ``trilemma data`` prints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trilemma.data.named import NAMED, Named
from trilemma.data.places import roots
from trilemma.data.readers.hub import hub_installed
from trilemma.data.sets.catalog import READERS
from trilemma.errors import InputError


@dataclass(frozen=True)
class Source:
    """One line of the list.

    Attributes:
      name: what to give to :func:`trilemma.data.load_data`, or the kind of thing to give.
      what: what it is.
      found: whether it can be loaded without a download; None where that depends on what is given.
      where: where it was found, or what to do to have it.
      train, test: examples, where they are known.
      groups: the protected attribute, "" for none.
    """

    name: str
    what: str
    found: bool | None
    where: str
    train: int | None = None
    test: int | None = None
    groups: str = ""


def describe_sources(data_dir: str | os.PathLike[str] | None = None) -> list[Source]:
    """Every kind of data with whether and where it was found and how large it is; decodes no image.

    >>> [source.name for source in describe_sources()][:3]
    ['digits', 'digits-s', 'cifar10']

    Raises:
      InputError: ``data_dir`` or $TRILEMMA_DATA is not a folder.
    """
    folder = None if data_dir is None else Path(data_dir)
    list(roots(folder))  # wrong folders are refused here, not reported once for every set
    return [
        *(_named(known, folder) for known in NAMED.values()),
        Source(
            "FOLDER",
            "your images: train/CLASS/*.png, or metadata.csv",
            None,
            "any folder",
            groups="optional",
        ),
        Source("FILE.npz", "arrays images, labels [, groups, split]", None, "any file", groups="optional"),
        Source("FILE.parquet", "an image column and a label column", None, "any file", groups="optional"),
        Source("OWNER/NAME", "a data set on the Hugging Face hub", None, _hub_use(), groups="optional"),
    ]


def _hub_use() -> str:
    return "downloaded once" if hub_installed() else "needs pip install 'trilemma[hub]'"


def _named(known: Named, data_dir: Path | None) -> Source:
    reader = READERS[known.reader]
    what = f"{known.what}, {len(known.classes)} classes"
    if known.made_from and known.skew is not None:
        what = f"{known.made_from}, each class mostly in color or mostly gray"
    if reader.find is None:
        return Source(known.name, what, True, "always there", known.train, known.test_copies * known.test, known.groups)
    try:
        place = reader.find(known, data_dir)
        counts = {} if place is None else reader.count(known, place)
    except InputError as error:
        return Source(known.name, what, False, str(error), groups=known.groups)
    if place is None:
        otherwise = (
            "would be downloaded" if hub_installed() else "not here; give --data-dir, or pip install 'trilemma[hub]'"
        )
        return Source(known.name, what, False, otherwise, groups=known.groups)
    train, test = counts.get("train", counts.get("all")), counts.get("test", counts.get("valid"))
    test = None if test is None else known.test_copies * test
    return Source(known.name, what, True, str(place), train, test, known.groups)
