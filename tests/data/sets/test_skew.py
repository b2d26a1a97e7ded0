"""Skew: exact counts, nested assignments, and the published construction of CIFAR-10S."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trilemma.data import Dataset, Split, luma, skewed_groups
from trilemma.data.sets.skew import color_classes, skewed
from trilemma.errors import InputError

PUBLISHED = {  # by the published code (Wang et al. 2020)
    "automobile": 0, "cat": 0, "dog": 0, "horse": 0, "truck": 0,
    "airplane": 1, "bird": 1, "deer": 1, "frog": 1, "ship": 1,
}  # fmt: skip


def test_luma_equals_pillow_in_every_color() -> None:
    blue = np.arange(256, dtype=np.uint8)
    for red in range(0, 256, 8):
        block = np.empty((8, 3, 256, 256), dtype=np.uint8)
        block[:, 0] = np.arange(red, red + 8, dtype=np.uint8)[:, None, None]
        block[:, 1] = blue[:, None]
        block[:, 2] = blue
        pixels = np.ascontiguousarray(block.transpose(0, 2, 3, 1)).reshape(8 * 256, 256, 3)
        pillow = np.asarray(Image.fromarray(pixels).convert("L")).reshape(8, 256, 256)
        ours = luma(block)
        assert all((ours[:, channel] == pillow).all() for channel in range(3))


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    skew=st.floats(0.5, 1),
    seed=st.integers(0, 2**40),
)
def test_counts_are_exact_for_any_skew(counts: list[int], skew: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    color = color_classes(len(counts))
    groups = skewed_groups(labels, skew, color, seed)
    for label, count in enumerate(counts):
        dominant = 0 if label in color else 1
        assert (groups[labels == label] == dominant).sum() == int(count * skew)
    assert (groups == skewed_groups(labels, skew, color, seed)).all()


@given(low=st.floats(0.5, 1), high=st.floats(0.5, 1), seed=st.integers(0, 99))
def test_more_skew_only_adds_to_the_dominant(low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    labels = np.repeat(np.arange(2), 50).astype(np.int64)
    dominant = np.where(labels == 1, 0, 1)
    less = skewed_groups(labels, low, color_classes(2), seed) == dominant
    more = skewed_groups(labels, high, color_classes(2), seed) == dominant
    assert (more | ~less).all()


@pytest.mark.parametrize("skew", [0.49, 1.01, float("nan"), -1, "much"])
def test_a_skew_outside_is_refused(skew: float) -> None:
    with pytest.raises(InputError, match=r"skew must lie in \[0\.5, 1\]"):
        skewed_groups(np.zeros(3, dtype=np.int64), skew, color_classes(2), 0)


@pytest.mark.parametrize("skew", [0.5, 0.75, 0.95, 1.0])
def test_cifar10s_is_the_published_one(cifar10: Dataset, skew: float) -> None:
    part = np.concatenate([np.flatnonzero(cifar10.train.labels == label)[:100] for label in range(10)])
    small = Dataset("small", cifar10.train.take(part), cifar10.test.take(np.arange(300)), cifar10.classes)
    data = skewed(small, name="cifar10s", skew=skew, classes_seed=None, seed=7)
    assert data.train.groups is not None
    for label, name in enumerate(data.classes):
        groups = data.train.groups[data.train.labels == label]
        assert (groups == PUBLISHED[name]).sum() == int(100 * skew)
    assert (data.train.groups == 0).sum() == 500
    color = data.train.groups == 0
    assert (data.train.images[color] == small.train.images[color]).all()
    for row in np.flatnonzero(~color)[:50]:
        pillow = Image.fromarray(small.train.images[row].transpose(1, 2, 0)).convert("L")
        assert (data.train.images[row] == np.asarray(pillow)).all()
    assert (data.test.images[:300] == small.test.images).all()
    assert (data.test.images[300:] == luma(small.test.images)).all()
    assert (data.test.sources == np.tile(np.arange(300), 2)).all()
    assert (data.test.groups == np.repeat([0, 1], 300)).all()


def test_classes_can_be_drawn() -> None:
    assert color_classes(100).tolist() == list(range(1, 100, 2))
    colors = color_classes(100, 5)
    assert len(set(colors.tolist())) == 50
    assert (colors == color_classes(100, 5)).all()
    assert (colors != color_classes(100, 6)).any()


def test_the_images_given_are_not_changed() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    images.flags.writeable = False
    labels = np.arange(20, dtype=np.int64) % 2
    split = Split(images, labels)
    before = split.fingerprint
    skewed(Dataset("x", split, split, ("a", "b")), name="x", skew=0.8, classes_seed=None, seed=0)
    assert Split(images, labels).fingerprint == before
