"""Data sets: images with labels and, where there are any, groups.

:func:`load_data` turns a name or a path into a :class:`Dataset`; :func:`describe_sources` lists the sources that are
available.  Views are drawn by `trilemma.data.views`, which needs torch and is imported on its own.
"""

from trilemma.data.dataset import Dataset, Split
from trilemma.data.load import load_data
from trilemma.data.sets.celeba_names import CELEBA_ATTRIBUTES
from trilemma.data.sets.cifar_names import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    CIFAR100_COARSE,
    CIFAR_MEAN,
    CIFAR_STD,
)
from trilemma.data.sets.skew import luma, skewed_groups
from trilemma.data.sources import Source, describe_sources

__all__ = [
    "CELEBA_ATTRIBUTES",
    "CIFAR10_CLASSES",
    "CIFAR100_CLASSES",
    "CIFAR100_COARSE",
    "CIFAR_MEAN",
    "CIFAR_STD",
    "Dataset",
    "Source",
    "Split",
    "describe_sources",
    "load_data",
    "luma",
    "skewed_groups",
]
