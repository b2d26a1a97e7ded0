"""Skew: each class mostly in color or mostly gray (CIFAR-10S and its kin), so that color predicts the
class.

Method: Wang et al., "Towards Fairness in Visual Recognition: Effective Strategies for Bias Mitigation", CVPR 2020
  (arXiv:1911.11834), and the published code that makes their CIFAR-10S.

**The assignment of groups is public.**  The published construction has exact counts per class, so a seed assigns
the groups to the positions of the examples, and assigning them again without one example gives thousands of the others
another group.  What the guarantee calls a neighbor is therefore the data set after the assignment, less one example
(:meth:`trilemma.data.dataset.Dataset.without`): the assignment (:func:`skewed_groups`) is held fixed, and how an
example is shown (:func:`shown_in`) depends on its own image and group alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Dataset, Split
from trilemma.data.named import SKEW_GROUPS
from trilemma.data.orders import seeded_order
from trilemma.errors import InputError

COLOR, GRAY = 0, 1

_BLOCK = 2048


def luma(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray versions of color images: uint8 (N, 3, H, W) to uint8 (N, 3, H, W) with three equal channels.

    ITU-R 601 luma in 16-bit fixed point, rounded: equal to Pillow's ``convert("L")`` in every pixel (a test
    goes through all 2²⁴ colors), but one pass over the whole array.
    """
    gray = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        red, green, blue = (images[start : start + _BLOCK, channel].astype(np.uint32) for channel in range(3))
        red *= 19595
        green *= 38470
        blue *= 7471
        red += green
        red += blue
        red += 0x8000
        red >>= 16
        gray[start : start + _BLOCK] = red[:, None]
    return gray


def check_skew(skew: float) -> float:
    """``skew`` as a float.

    Raises:
      InputError: it is not a number in [0.5, 1].
    """
    try:
        value = float(skew)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.5 <= value <= 1:
        raise InputError(
            f"skew must lie in [0.5, 1], not {skew!r}: 0.5 is half color and half gray in every class, "
            f"1 is every class in one of them only"
        )
    return value


def color_classes(count: int, classes_seed: int | None = None) -> NDArray[np.int64]:
    """The classes that are mostly in color, int64 (count // 2,), sorted.

    Without a seed the odd ones: for CIFAR-10 that is automobile, cat, dog, horse and truck, as published.
    With a seed, half of the classes drawn from it (for CIFAR-100S, where no choice is standard).

    >>> color_classes(10).tolist()
    [1, 3, 5, 7, 9]
    """
    if classes_seed is None:
        return np.arange(1, count, 2, dtype=np.int64)
    return np.sort(seeded_order(count, classes_seed, "colour classes")[: count // 2])


def skewed_groups(labels: NDArray[np.int64], skew: float, color: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """For each example whether it is shown in color (0) or gray (1), int64 (N,).

    Of a class with n examples, exactly ``int(n * skew)``, drawn at random, go to the class's dominant group
    and the rest to the other.  With the same seed, what is dominant at a smaller skew is so at a larger one.
    Groups are assigned to positions: without one example, those of the others change (see the module).

    Args:
      labels: int64 (N,).
      skew: in [0.5, 1].
      color: classes whose dominant group is color.
      seed: what the examples are drawn from.

    Raises:
      InputError: the skew is outside [0.5, 1].
    """
    skew = check_skew(skew)
    order = seeded_order(len(labels), seed, "skew")
    groups = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        dominant = COLOR if label in color else GRAY
        cut = int(len(members) * skew)
        groups[members[:cut]] = dominant
        groups[members[cut:]] = 1 - dominant
    return groups


def shown_in(images: NDArray[np.uint8], groups: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Color images as their groups show them, uint8 (N, 3, H, W): unchanged in color (0), gray in gray (1).

    Row i depends on image i and group i alone.

    Args:
      images: uint8 (N, 3, H, W); not changed.
      groups: int64 (N,).
    """
    shown = np.array(images)
    gray = np.flatnonzero(groups == GRAY)
    shown[gray] = luma(shown[gray])
    return shown


def skewed(data: Dataset, *, name: str, skew: float, classes_seed: int | None, seed: int) -> Dataset:
    """A color data set with a skewed training split and a balanced test split.

    Every training image is kept, in color or gray.  The test split holds each test image twice, first all in
    color, then all gray; the two copies share their ``sources`` entry.

    Args:
      data: images with 3 channels and no groups.
      name: the name of the resulting data set.
      skew: share of a class's training examples in its dominant group, in [0.5, 1].
      classes_seed: see :func:`color_classes`.
      seed: which examples are dominant.

    Raises:
      InputError: the skew is outside [0.5, 1].
    """
    skew = check_skew(skew)
    color = color_classes(len(data.classes), classes_seed)
    groups = skewed_groups(data.train.labels, skew, color, seed)
    count = len(data.test)
    which = "odd classes" if classes_seed is None else f"classes drawn by seed {classes_seed}"
    return replace(
        data,
        name=name,
        train=Split(shown_in(data.train.images, groups), data.train.labels, groups),
        test=Split(
            images=np.concatenate([data.test.images, luma(data.test.images)]),
            labels=np.tile(data.test.labels, 2),
            groups=np.repeat(np.array([COLOR, GRAY], dtype=np.int64), count),
            sources=np.tile(np.arange(count, dtype=np.int64), 2),
        ),
        group_names=SKEW_GROUPS,
        skew=skew,
        source=f"{data.source}; skew {skew:g}, {which} mostly in color, seed {seed}",
    )
