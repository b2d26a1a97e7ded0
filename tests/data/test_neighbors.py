"""Removing one example: what the guarantee calls a neighbor, and what it does not (docs/guarantee.md, Limits)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trilemma.data import Dataset, Split, load_data, skewed_groups
from trilemma.data.assemble import limited, limited_rows
from trilemma.data.named import NAMED
from trilemma.data.options import checked_options
from trilemma.data.sets.digits import load_digits
from trilemma.data.sets.skew import color_classes, shown_in, skewed
from trilemma.errors import InputError

LIMIT, SKEW = 400, 0.9
WITHOUT_GROUPS = load_digits(NAMED["digits-s"], checked_options("digits-s", {}))
SOURCE = WITHOUT_GROUPS.train
few = settings(max_examples=25, deadline=None)


def examples(split: Split) -> list[tuple[bytes, int, int | None]]:
    """The content of every example, in order."""
    groups = [None] * len(split) if split.groups is None else split.groups.tolist()
    return [
        (image.tobytes(), label, group)
        for image, label, group in zip(split.images, split.labels.tolist(), groups, strict=True)
    ]


def loaded(seed: int) -> Dataset:
    return load_data("digits-s", skew=SKEW, limit=LIMIT, seed=seed)


def assignment(seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is public: the places that the limit keeps, and the group of each of them."""
    rows = limited_rows(SOURCE, LIMIT, seed)
    return rows, skewed_groups(SOURCE.labels[rows], SKEW, color_classes(10), seed)


def replayed(seed: int, place: int) -> Split:
    """The training set made again from the source without the image at ``place``, under the same assignment."""
    rows, groups = assignment(seed)
    left = SOURCE.take(np.delete(np.arange(len(SOURCE)), place))
    remaining = rows != place
    moved = left.take(rows[remaining] - (rows[remaining] > place))
    return Split(shown_in(moved.images, groups[remaining]), moved.labels, groups[remaining])


def dealt_anew(place: int) -> list[tuple[bytes, int, int | None]]:
    """The training set as loading the source without that image would make it."""
    data = WITHOUT_GROUPS.without(np.array([place]))
    data = limited(data, LIMIT, None, 0)
    return examples(skewed(data, name="digits-s", skew=SKEW, classes_seed=None, seed=0).train)


@pytest.mark.parametrize("seed", [0, 1])
def test_load_data_applies_the_public_assignment(seed: int) -> None:
    rows, groups = assignment(seed)
    train = loaded(seed).train
    assert (train.images == shown_in(SOURCE.images[rows], groups)).all()
    assert (train.labels == SOURCE.labels[rows]).all()
    assert train.groups is not None
    assert (train.groups == groups).all()


@few
@given(seed=st.integers(0, 3), member=st.integers(0, LIMIT - 1))
def test_under_the_fixed_assignment_an_absent_image_changes_no_other(seed: int, member: int) -> None:
    place = int(assignment(seed)[0][member])
    whole = examples(loaded(seed).train)
    assert examples(replayed(seed, place)) == whole[:member] + whole[member + 1 :]
    assert examples(loaded(seed).without(np.array([member])).train) == whole[:member] + whole[member + 1 :]


@few
@given(seed=st.integers(0, 3), index=st.integers(0, len(SOURCE) - LIMIT - 1))
def test_an_image_that_the_limit_leaves_out_changes_nothing(seed: int, index: int) -> None:
    place = int(np.setdiff1d(np.arange(len(SOURCE)), assignment(seed)[0])[index])
    assert examples(replayed(seed, place)) == examples(loaded(seed).train)


@few
@given(seeds=st.lists(st.integers(0, 50), min_size=2, max_size=4, unique=True), place=st.integers(0, len(SOURCE) - 1))
def test_in_several_trials_an_image_is_one_example_or_none_of_each(seeds: list[int], place: int) -> None:
    for seed in seeds:
        whole, less = examples(loaded(seed).train), examples(replayed(seed, place))
        assert len(whole) - len(less) == int(place in assignment(seed)[0])
        member = [row for row in whole if row not in less]
        assert len(member) == len(whole) - len(less)


def test_dealing_anew_changes_others_which_is_why_the_assignment_is_fixed() -> None:
    """Not a neighbor: the source is loaded again without its first image."""
    whole, anew = examples(loaded(0).train), dealt_anew(0)
    assert len(anew) == LIMIT
    assert len(set(anew) - set(whole)) > LIMIT // 4


def test_dealing_a_test_split_anew_changes_others(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=SOURCE.images[:300], labels=SOURCE.labels[:300])
    whole = load_data(path)
    np.savez(path, images=SOURCE.images[1:300], labels=SOURCE.labels[1:300])
    anew = load_data(path)
    assert len(set(examples(anew.train)) - set(examples(whole.train))) > 20
    less = whole.without(np.array([0]))
    assert examples(less.train) == examples(whole.train)[1:]
    assert examples(less.test) == examples(whole.test)


def test_what_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(InputError, match="cannot leave out example 400: the training split has 0 to 399"):
        loaded(0).without(np.array([3, 400]))
    with pytest.raises(InputError, match="cannot leave out example -1"):
        loaded(0).without(np.array([-1]))
