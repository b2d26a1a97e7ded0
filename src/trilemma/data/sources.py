"""What can be trained on here: what ``trilemma data`` prints."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trilemma.data.celeba import CELEBA_ATTRIBUTES, count_celeba, find_celeba
from trilemma.data.cifar import CIFAR10, CIFAR100, count_cifar, find_cifar
from trilemma.data.digits import TEST, TRAIN
from trilemma.data.hub import hub_installed
from trilemma.data.places import Place
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
    """Every kind of data with whether and where it was found and how large it is; decodes no picture.

    >>> [source.name for source in describe_sources()][:3]
    ['digits', 'digits-s', 'cifar10']

    Raises:
      InputError: ``data_dir`` or $TRILEMMA_DATA is not a folder.
    """
    folder = None if data_dir is None else Path(data_dir)
    hub = "would be downloaded" if hub_installed() else "not here; pip install 'trilemma[hub]' to download it"
    always = "always there"
    sources = [
        Source("digits", "handwritten digits, 8×8 gray, 10 classes", True, always, TRAIN, TEST),
        Source("digits-s", "the same in coloured inks, skewed", True, always, TRAIN, 2 * TEST, "colour or gray"),
    ]
    for kind in (CIFAR10, CIFAR100):
        what = f"photographs, 32×32 colour, {len(kind.classes)} classes"
        plain = _find(kind.name, what, partial(find_cifar, kind, folder), partial(count_cifar, kind), hub)
        sources.append(plain)
        sources.append(
            Source(
                f"{kind.name}s",
                f"{kind.name}, each class mostly in colour or mostly gray",
                plain.found,
                plain.where,
                plain.train,
                None if plain.test is None else 2 * plain.test,
                "colour or gray",
            )
        )
    celeba = _find(
        "celeba",
        f"faces, any target and protected one of {len(CELEBA_ATTRIBUTES)} attributes",
        lambda: find_celeba(folder),
        count_celeba,
        hub,
        groups="the protected attribute",
    )
    return [
        *sources,
        celeba,
        Source(
            "FOLDER",
            "your pictures: train/CLASS/*.png, or metadata.csv",
            None,
            "any folder",
            groups="optional",
        ),
        Source("FILE.npz", "arrays images, labels [, groups, split]", None, "any file", groups="optional"),
        Source("FILE.parquet", "a picture column and a label column", None, "any file", groups="optional"),
        Source("OWNER/NAME", "a data set on the Hugging Face hub", None, _hub_use(), groups="optional"),
    ]


def _hub_use() -> str:
    return "downloaded once" if hub_installed() else "needs pip install 'trilemma[hub]'"


def _find(
    name: str,
    what: str,
    find: Callable[[], Place | None],
    count: Callable[[Place], dict[str, int]],
    otherwise: str,
    groups: str = "",
) -> Source:
    try:
        place = find()
        counts = {} if place is None else count(place)
    except InputError as error:
        return Source(name, what, False, str(error), groups=groups)
    if place is None:
        return Source(name, what, False, otherwise, groups=groups)
    test = counts.get("test", counts.get("valid"))
    return Source(name, what, True, str(place), counts.get("train", counts.get("all")), test, groups)
