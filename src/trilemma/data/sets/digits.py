"""scikit-learn's handwritten digits: always there, no download."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Dataset, Split
from trilemma.data.named import DEFAULT, NAMED, NEUTRAL, Named
from trilemma.data.options import Options
from trilemma.data.orders import raw_draws, stratified_order

_FIXED_SEED = 0
_SATURATION = 0.75


def load_digits(known: Named, options: Options) -> Dataset:
    """The set ``known``: in inks where it has color."""
    return digits() if known.shape[0] == 1 else inked_digits()


def digits() -> Dataset:
    """The 1,797 gray 8×8 digits of the UCI set that scikit-learn carries (Alpaydin and Kaynak 1998).

    Values 0 .. 16 become ``(v * 255 + 8) // 16``: 0 .. 255, rounded to nearest.  The split into 1,297
    training and 500 test images is stratified by class and always the same.  No flips; views move by at most
    1 pixel.
    """
    from sklearn import datasets

    known = NAMED[DEFAULT]
    pixels, targets = datasets.load_digits(return_X_y=True)
    images = ((pixels.astype(np.int64) * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = targets.astype(np.int64)
    order = stratified_order(labels, None, _FIXED_SEED, "digits")
    test, train = np.sort(order[: known.test]), np.sort(order[known.test :])
    return Dataset(
        name=known.name,
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        classes=known.classes,
        flips=False,
        shift=1,
        source="scikit-learn's handwritten digits (1,797), fixed split",
    )


def inked_digits() -> Dataset:
    """The digits, each written in an ink of its own on black: uint8 (N, 3, 8, 8), no groups yet.

    The ink has a hue drawn uniformly for each image, saturation ¾ and value 1 (HSV), always the same for
    the same image; a stroke of strength v / 255 shows v times the ink.  So the gray version of an inked
    digit (:func:`trilemma.data.sets.skew.luma`) is darker or lighter with its hue, as a gray photograph would be.
    """
    plain = digits()
    return replace(
        plain,
        train=Split(_ink(plain.train.images, "train ink"), plain.train.labels),
        test=Split(_ink(plain.test.images, "test ink"), plain.test.labels),
        mean=NEUTRAL * 3,
        deviation=NEUTRAL * 3,
        source=f"{plain.source}, each in an ink of its own",
    )


def _ink(images: NDArray[np.uint8], purpose: str) -> NDArray[np.uint8]:
    """uint8 (N, 1, H, W) to uint8 (N, 3, H, W)."""
    hue = raw_draws(len(images), _FIXED_SEED, purpose).astype(np.float64) / 2**64 * 6
    # HSV to RGB at value 1: each channel falls by the saturation where the hue is far from it
    distance = np.abs((hue[:, None] + np.array([0.0, 4.0, 2.0])) % 6 - 3)
    ink = 1 - _SATURATION * np.clip(2 - distance, 0, 1)
    inked: NDArray[np.uint8] = np.rint(images * ink[:, :, None, None]).astype(np.uint8)
    return inked
