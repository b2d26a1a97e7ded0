"""Duplicates are found by content, all of them and nothing else, whatever the shape."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.data import Dataset, Split, duplicates, load_data


def dataset(train: np.ndarray, test: np.ndarray) -> Dataset:
    labels = (np.arange(len(train), dtype=np.int64) % 2, np.arange(len(test), dtype=np.int64) % 2)
    return Dataset("x", Split(train, labels[0]), Split(test, labels[1]), ("a", "b"))


@given(
    rows=st.tuples(
        st.lists(st.integers(0, 9), min_size=2, max_size=12), st.lists(st.integers(0, 9), min_size=2, max_size=12)
    ),
    side=st.sampled_from([(1, 3), (2, 4), (5, 5), (8, 8)]),
    channels=st.sampled_from([1, 3]),
    alike=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_counts_are_those_of_plain_comparison(
    rows: tuple[list[int], list[int]], side: tuple[int, int], channels: int, alike: bool
) -> None:
    pool = np.random.default_rng(0).integers(0, 256, (10, channels, *side), dtype=np.uint8)
    if alike:  # images that differ in one value, the last
        pool[:] = pool[0]
        pool[:, -1, -1, -1] = np.arange(10)
    data = dataset(pool[rows[0]], pool[rows[1]])
    train, test = Counter(rows[0]), Counter(rows[1])
    expected = []
    repeated = {row: count for row, count in train.items() if count > 1}
    if repeated:
        expected.append(f"{len(repeated)} training image")
        expected[-1] += "s occur" if len(repeated) > 1 else " occurs"
        expected[-1] += f" more than once (in {sum(repeated.values())} of {len(rows[0])} examples"
    both = sum(row in train for row in rows[1])
    if both:
        expected.append(f"{both} of {len(rows[1])} test images are also in the training set")
    copies = sum(count - 1 for count in test.values())
    if copies:
        expected.append(f"{copies} of {len(rows[1])} test images are copies of other test images")
    notes = duplicates.duplicate_notes(data)
    assert len(notes) == len(expected)
    assert all(note.startswith(start) for note, start in zip(notes, expected, strict=True)), (notes, expected)


@pytest.mark.parametrize("block", [1, 100, 10**9])
def test_sums_do_not_depend_on_how_they_are_cut_up(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 3, 5, 7), dtype=np.uint8)
    whole = duplicates._sums(images)
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    assert (duplicates._sums(images) == whole).all()
    assert len(np.unique(whole)) == 50


def test_images_made_to_have_one_sum_are_still_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_sums", lambda images: np.zeros(len(images), dtype=np.uint64))
    images = np.random.default_rng(1).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
    assert duplicates.duplicate_notes(dataset(images[:10], images[10:])) == ()


def test_the_digits_have_none_and_skewed_copies_are_not_counted() -> None:
    assert load_data("digits").notes == ()
    assert load_data("digits-s", skew=0.9).notes == ()
