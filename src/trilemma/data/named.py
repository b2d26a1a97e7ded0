"""The table of named data sets, which holds every fact about them.

A new data set is an entry here and, if its files have a new layout, a reader in `trilemma.data.sets`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from trilemma.data.sets.celeba_names import CELEBA_ATTRIBUTES, CELEBA_PROTECTED, CELEBA_TARGET
from trilemma.data.sets.cifar_names import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    CIFAR100_TARGETS,
    CIFAR_MEAN,
    CIFAR_STD,
)

SKEW_GROUPS = ("colour", "gray")
"""The two groups of a skewed set, in the order of their codes.  They are keys of ``accuracy_by_group`` and part of the
names of measures, so their spelling stays that of the first version."""

NEUTRAL = (0.5,)
"""Mean and standard deviation of normalization where no public constants are known: 0 to 1 becomes -1 to 1."""

DEFAULT = "digits"
"""The data of a training that names none: always there, and trained on in seconds."""

OTHERS_RECIPE = "cifar-small"
"""The recipe of a training on data without an entry here."""

OF_SETS = ("skew", "classes_seed", "target", "protected")
OF_FILES = ("data_dir", "columns", "size", "test_split")
"""The options of :func:`trilemma.data.load_data` that mean something for some named sets only, and for data read from
files only."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """A data set with a name of its own.

    Attributes:
      name: under which :func:`trilemma.data.load_data` loads it.
      what: its images, in a few words.
      reader: the module of `trilemma.data.sets` that reads it.
      shape: (C, H, W) of an image as it is stored.
      train, test: images of the official splits.
      classes: class names in the order of the labels; for CelebA those of its default target.
      groups: the protected attribute, in words; "" where there is none.
      skew: the default share of a class in its dominant group; None where nothing is skewed.  A skewed set is tested
        on each test image twice, in color and in gray.
      made_from: the set whose images it shows, or "" if it has its own.
      targets: the labels that can be predicted, where there is a choice.
      target: the one that is predicted where nothing else is asked for; "" without a choice.
      protected: the attribute that gives the groups where nothing else is asked for, where it can be any of
        ``targets``; else "".
      flips: whether a mirrored image is still an image of its class.
      shift: largest shift of a view, in pixels.
      mean, std: public constants of normalization for each channel, in units of pixel / 255.
      takes: the options of :func:`trilemma.data.load_data` that apply to it, beside those that always do.
      folders: names of folders in which it may be.
      pickled: names of folders that hold it as pickles, which are refused.
      repositories: names on the Hugging Face hub; it is fetched from the first one.
      recipe: the default recipe of a training on it.
    """

    name: str
    what: str
    reader: str
    shape: tuple[int, int, int]
    train: int
    test: int
    classes: tuple[str, ...]
    groups: str = ""
    skew: float | None = None
    made_from: str = ""
    targets: tuple[str, ...] = ()
    target: str = ""
    protected: str = ""
    flips: bool = True
    shift: int = 4
    mean: tuple[float, ...] = NEUTRAL
    std: tuple[float, ...] = NEUTRAL
    takes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    pickled: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    recipe: str = OTHERS_RECIPE

    @property
    def test_copies(self) -> int:
        """How many times each test image occurs in the test split: twice, in color and in gray, where the set is
        skewed."""
        return 1 if self.skew is None else 2


_DIGITS = Named(
    name=DEFAULT,
    what="handwritten digits, 8×8 gray",
    reader="digits",
    shape=(1, 8, 8),
    train=1297,
    test=500,
    classes=tuple(str(digit) for digit in range(10)),
    flips=False,
    shift=1,
    recipe="digits",
)

_DIGITS_S = replace(
    _DIGITS,
    name="digits-s",
    what="handwritten digits, 8×8, in color or gray",
    shape=(3, 8, 8),
    groups=" or ".join(SKEW_GROUPS),
    skew=0.9,
    made_from="digits",
    mean=NEUTRAL * 3,
    std=NEUTRAL * 3,
    takes=("skew",),
)

_CIFAR10 = Named(
    name="cifar10",
    what="photographs, 32×32 color",
    reader="cifar",
    shape=(3, 32, 32),
    train=50_000,
    test=10_000,
    classes=CIFAR10_CLASSES,
    mean=CIFAR_MEAN,
    std=CIFAR_STD,
    takes=OF_FILES,
    folders=("cifar10", "cifar-10", "CIFAR10", "CIFAR-10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
    pickled=("cifar-10-batches-py",),
    repositories=("uoft-cs/cifar10", "cifar10"),
)

_CIFAR100 = replace(
    _CIFAR10,
    name="cifar100",
    classes=CIFAR100_CLASSES,
    targets=CIFAR100_TARGETS,
    target=CIFAR100_TARGETS[0],
    takes=("target", *OF_FILES),
    folders=("cifar100", "cifar-100", "CIFAR100", "CIFAR-100", "cifar-100-binary", "cifar100/cifar-100-binary"),
    pickled=("cifar-100-python",),
    repositories=("uoft-cs/cifar100", "cifar100"),
)

_CIFAR10S = replace(
    _CIFAR10,
    name="cifar10s",
    what="photographs, 32×32, in color or gray",
    groups=" or ".join(SKEW_GROUPS),
    skew=0.95,
    made_from="cifar10",
    takes=("skew", *OF_FILES),
)

_CIFAR100S = replace(
    _CIFAR100,
    name="cifar100s",
    what="photographs, 32×32, in color or gray",
    groups=" or ".join(SKEW_GROUPS),
    skew=0.95,
    made_from="cifar100",
    takes=("skew", "classes_seed", "target", *OF_FILES),
)

_CELEBA = Named(
    name="celeba",
    what=f"faces, any target and protected one of {len(CELEBA_ATTRIBUTES)} attributes",
    reader="celeba",
    shape=(3, 218, 178),
    train=162_770,
    test=19_962,
    classes=(f"not {CELEBA_TARGET}", CELEBA_TARGET),
    groups="the protected attribute",
    targets=CELEBA_ATTRIBUTES,
    target=CELEBA_TARGET,
    protected=CELEBA_PROTECTED,
    mean=NEUTRAL * 3,
    std=NEUTRAL * 3,
    takes=("target", "protected", *OF_FILES),
    folders=("celeba", "celeba-64", "CelebA", "celeba64", "celeba-128", "celeba-32"),
    repositories=("flwrlabs/celeba",),
    recipe="faces-small",
)

NAMED: dict[str, Named] = {
    known.name: known for known in (_DIGITS, _DIGITS_S, _CIFAR10, _CIFAR10S, _CIFAR100, _CIFAR100S, _CELEBA)
}
"""All of them by name, in the order in which they are listed."""


def same_images(name: str) -> str:
    """The set whose images a data set shows: its own name, or that of the set it is made from.

    >>> same_images("cifar10s"), same_images("cifar10"), same_images("my-folder")
    ('cifar10', 'cifar10', 'my-folder')
    """
    known = NAMED.get(name)
    return known.made_from or name if known is not None else name


def may_have_groups(name: str) -> bool:
    """Whether data of this name can have groups, which is unknown (True) for data without an entry here.

    >>> may_have_groups("cifar10"), may_have_groups("cifar10s"), may_have_groups("my-folder")
    (False, True, True)
    """
    known = NAMED.get(name)
    return known is None or known.groups != ""


def with_groups(*, skewed: bool = False) -> str:
    """The names of the sets that have groups, or of those that are skewed, for a sentence.

    >>> "celeba" in with_groups(), "celeba" in with_groups(skewed=True), "digits-s" in with_groups(skewed=True)
    (True, False, True)
    """
    return ", ".join(known.name for known in NAMED.values() if known.groups and not (skewed and known.skew is None))


def takers(option: str) -> tuple[str, ...]:
    """The names of the sets to which an option of :func:`trilemma.data.load_data` applies.

    >>> "cifar100s" in takers("classes_seed")
    True
    """
    return tuple(known.name for known in NAMED.values() if option in known.takes)
