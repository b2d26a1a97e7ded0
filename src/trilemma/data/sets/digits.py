"""scikit-learn's handwritten digits: always there, no download."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Dataset, Split
from trilemma.data.named import Named
from trilemma.data.options import Options
from trilemma.data.orders import raw_draws, stratified_order

_FIXED_SEED = 0
_SATURATION = 0.75


def load_digits(known: Named, options: Options) -> Dataset:
    """The 1,797 8×8 digits of the UCI set that scikit-learn carries (Alpaydin and Kaynak 1998), gray or in inks.

    Values 0 .. 16 become ``(v * 255 + 8) // 16``: 0 .. 255, rounded to nearest.  The split into ``known.train``
    training and ``known.test`` test images is stratified by class and always the same.

    Args:
      known: the entry; with three channels, each digit is written in an ink of its own on black, and has no group yet.
      options: none applies.
    """
    from sklearn import datasets

    pixels, targets = datasets.load_digits(return_X_y=True)
    images = ((pixels.astype(np.int64) * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = targets.astype(np.int64)
    order = stratified_order(labels, None, _FIXED_SEED, "digits")
    test, train = np.sort(order[: known.test]), np.sort(order[known.test : known.test + known.train])
    inked = known.shape[0] == 3
    return Dataset(
        name=known.name,
        train=Split(_ink(images[train], "train ink") if inked else images[train], labels[train]),
        test=Split(_ink(images[test], "test ink") if inked else images[test], labels[test]),
        classes=known.classes,
        mean=known.mean,
        std=known.std,
        flips=known.flips,
        shift=known.shift,
        source="scikit-learn's handwritten digits (1,797), fixed split" + (", each in an ink of its own" * inked),
    )


def _ink(images: NDArray[np.uint8], purpose: str) -> NDArray[np.uint8]:
    """Each image in an ink of its own: uint8 (N, 1, H, W) to uint8 (N, 3, H, W).

    The ink has a hue drawn uniformly for each image, saturation ¾ and value 1 (HSV), always the same for
    the same image; a stroke of strength v / 255 shows v times the ink.  So the gray version of an inked
    digit (:func:`trilemma.data.sets.skew.luma`) is darker or lighter with its hue, as a gray photograph would be.
    """
    hue = raw_draws(len(images), _FIXED_SEED, purpose).astype(np.float64) / 2**64 * 6
    # HSV to RGB at value 1: each channel falls by the saturation where the hue is far from it
    distance = np.abs((hue[:, None] + np.array([0.0, 4.0, 2.0])) % 6 - 3)
    ink = 1 - _SATURATION * np.clip(2 - distance, 0, 1)
    inked: NDArray[np.uint8] = np.rint(images * ink[:, :, None, None]).astype(np.uint8)
    return inked
