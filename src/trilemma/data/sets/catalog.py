"""Which reader reads which named set: the functions behind `trilemma.data.named.Named.reader`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trilemma.data.dataset import Dataset
from trilemma.data.named import Named
from trilemma.data.options import Options
from trilemma.data.places import Place
from trilemma.data.sets.celeba import count_celeba, find_celeba, load_celeba
from trilemma.data.sets.cifar import count_cifar, find_cifar, load_cifar
from trilemma.data.sets.digits import load_digits


@dataclass(frozen=True)
class SetReader:
    """How sets whose files are laid out in one way are read.

    Attributes:
      load: the set before any limit and skew.
      find: where it is on this machine; None in place of the function for what comes with a dependency.
      count: number of examples by split, without decoding any.
    """

    load: Callable[[Named, Options], Dataset]
    find: Callable[[Named, Path | None], Place | None] | None = None
    count: Callable[[Named, Place], dict[str, int]] = lambda known, place: {}


READERS = {
    "digits": SetReader(load_digits),
    "cifar": SetReader(load_cifar, find_cifar, count_cifar),
    "celeba": SetReader(load_celeba, find_celeba, count_celeba),
}
"""By the name that entries of `trilemma.data.named.NAMED` give."""
