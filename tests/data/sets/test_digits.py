"""The embedded digits: each image once, a fixed split, and exact counts of digits-s."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from trilemma.data import load_data, luma


def test_every_digit_is_there_once_in_a_stratified_split() -> None:
    data = load_data("digits")
    assert data.train.images.shape == (1297, 1, 8, 8)
    assert data.test.images.shape == (500, 1, 8, 8)
    assert (data.flips, data.shift, data.group_names) == (False, 1, None)
    pixels, labels = load_digits(return_X_y=True)
    ours = np.concatenate([data.train.images, data.test.images]).reshape(1797, 64)
    expected = np.floor(pixels * 255 / 16 + 0.5).astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, expected))
    shares = np.bincount(data.test.labels) / np.bincount(labels)
    assert np.ptp(shares) < 0.006
    assert set(np.unique(ours)) == {(value * 255 + 8) // 16 for value in range(17)}


def test_the_split_is_fixed_and_blind_to_the_seed() -> None:
    assert load_data("digits", seed=3).fingerprint == load_data("digits").fingerprint
    # a change of this value means that every published digits result changes
    assert load_data("digits").fingerprint[:16] == "7d2604213c3a5891"


def test_inked_digits_are_the_digits_in_one_hue_each() -> None:
    plain = load_data("digits")
    inked = load_data("digits-s", skew=0.9, seed=1)
    count = len(plain.test)
    color, gray = inked.test.images[:count], inked.test.images[count:]
    assert (color.max(axis=1) == plain.test.images[:, 0]).all()
    assert (gray == luma(color)).all()
    assert (inked.test.labels == np.tile(plain.test.labels, 2)).all()
    assert (inked.test.sources == np.tile(np.arange(count), 2)).all()
    assert (inked.test.groups == np.repeat([0, 1], count)).all()
    assert (inked.train.labels == plain.train.labels).all()
    # all strokes of one picture share the ink: channel ratios are constant up to rounding
    strong = color.astype(float) / np.maximum(plain.test.images, 1)
    full = plain.test.images[:, 0] == 255
    spread = [np.ptp(strong[row][:, full[row]], axis=1).max() for row in range(count) if full[row].sum() > 1]
    assert max(spread) < 1e-9


def test_digits_s_counts_are_exact() -> None:
    data = load_data("digits-s", skew=0.9)
    assert data.train.groups is not None
    for label in range(10):
        groups = data.train.groups[data.train.labels == label]
        dominant = 0 if label % 2 else 1
        assert (groups == dominant).sum() == int(len(groups) * 0.9)
    gray = data.train.images[data.train.groups == 1]
    assert (gray == gray[:, :1]).all()
    assert (data.skew, data.group_names) == (0.9, ("colour", "gray"))
