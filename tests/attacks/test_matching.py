"""Matched non-members have exactly the members' mix, and nothing else about them changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trilemma.attacks import matched_nonmembers, measure
from trilemma.attacks.matching import difference_of_mixes
from trilemma.errors import InputError


def mix(labels: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of each of 3 x 3 cells."""
    shares = np.bincount(labels * 3 + groups, weights=weights, minlength=9)
    return shares / shares.sum()


cells = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60).map(np.array)


@given(cells, cells, st.integers(0, 1000))
@settings(deadline=None)
def test_the_weighted_mix_is_the_covered_members(inside: np.ndarray, outside: np.ndarray, seed: int) -> None:
    both = set(map(tuple, inside.tolist())) & set(map(tuple, outside.tolist()))
    assume(both)
    match = matched_nonmembers(inside[:, 0], inside[:, 1], outside[:, 0], outside[:, 1], seed=seed)
    assert match.covered.tolist() == [tuple(cell) in both for cell in inside.tolist()]
    assert set(match.uncovered_cells) == set(map(tuple, inside.tolist())) - both
    assert match.uncovered == pytest.approx(1 - match.covered.mean())
    assert match.weights.mean() == pytest.approx(1)
    assert (match.weights > 0).all()
    assert (np.diff(match.indices) > 0).all()
    # Without repeated sources every row with a counterpart stays.
    assert match.indices.tolist() == [i for i, cell in enumerate(outside.tolist()) if tuple(cell) in both]
    if not match.trivial:
        chosen = outside[match.indices]
        np.testing.assert_allclose(
            mix(chosen[:, 0], chosen[:, 1], match.weights), mix(*inside[match.covered].T), atol=1e-12
        )


@given(
    cells,
    st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 2), min_size=1)), min_size=1, max_size=40),
    st.integers(0, 1000),
)
@settings(deadline=None)
def test_each_image_is_used_once(inside: np.ndarray, pictures: list[tuple[int, set[int]]], seed: int) -> None:
    rows = [(label, group, source) for source, (label, groups) in enumerate(pictures) for group in groups]
    labels, groups, sources = np.array(rows).T
    assume(set(map(tuple, inside.tolist())) & set(zip(labels.tolist(), groups.tolist(), strict=True)))
    match = matched_nonmembers(inside[:, 0], inside[:, 1], labels, groups, sources, seed)
    assert len(np.unique(sources[match.indices])) == len(match.indices)
    assert match.weights.mean() == pytest.approx(1)
    chosen = match.indices
    np.testing.assert_allclose(
        mix(labels[chosen], groups[chosen], match.weights) if not match.trivial else 0,
        mix(*inside[match.covered].T) if not match.trivial else 0,
        atol=1e-12,
    )
    # A picture is left out only if no copy of it is of a class and group that members have.
    wanted = set(map(tuple, inside.tolist()))
    for source, (label, own) in enumerate(pictures):
        if any((label, group) in wanted for group in own):
            assert source in sources[chosen]


def skewed(per_class: int = 400, skew: float = 0.95, seed: int = 0) -> dict[str, np.ndarray]:
    """A small CIFAR-10S: members are skewed by class, 100 pictures a class tested once in either color."""
    rng = np.random.default_rng(seed)
    member_labels = np.repeat(np.arange(10), per_class)
    minority = np.tile(np.arange(per_class) >= skew * per_class, 10)
    sources = np.tile(np.arange(1000), 2)
    order = rng.permutation(2000)
    return {
        "member_labels": member_labels,
        "member_groups": np.where(minority, 1 - member_labels % 2, member_labels % 2),
        "labels": (sources % 10)[order],
        "groups": np.repeat([0, 1], 1000)[order],
        "sources": sources[order],
    }


def test_skewed_training_draws_skewed_images() -> None:
    data = skewed()
    match = matched_nonmembers(**data, seed=3)
    labels, groups = data["labels"][match.indices], data["groups"][match.indices]
    assert len(match.indices) == 1000
    for label in range(10):
        # 95 of 100 pictures in the class's own color: drawn so, not only weighted so.
        assert (groups[labels == label] == label % 2).sum() == 95
    np.testing.assert_allclose(match.weights, 1)
    assert not match.trivial
    assert match.distance == pytest.approx(0.45)
    other = matched_nonmembers(**data, seed=4)
    assert not np.array_equal(match.indices, other.indices)
    np.testing.assert_array_equal(match.indices, matched_nonmembers(**data, seed=3).indices)


def test_the_choice_of_images_is_fair() -> None:
    # 60 draws: a picture is in the rare color with probability 0.05, so 3 times on average.  Over 1,000
    # pictures the mean is fixed, so what is checked is that no picture is favored: more than 14 of 60 has
    # probability 4e-7 each, 4e-4 in all.
    data = skewed()
    rare = np.zeros(1000)
    for seed in range(60):
        match = matched_nonmembers(**data, seed=seed)
        rows = match.indices
        chosen = data["groups"][rows] != data["labels"][rows] % 2
        rare[data["sources"][rows[chosen]]] += 1
    assert rare.sum() == 60 * 50
    assert rare.max() <= 14
    assert rare.std() == pytest.approx(np.sqrt(60 * 0.05 * 0.95), rel=0.15)


def test_an_attack_that_sees_only_color_is_no_leak_when_matched() -> None:
    data = skewed()
    scores_in = (data["member_groups"] == data["member_labels"] % 2).astype(float)
    scores_out = (data["groups"] == data["labels"] % 2).astype(float)
    member = np.arange(len(scores_in) + len(scores_out)) < len(scores_in)
    naive = measure(np.r_[scores_in, scores_out], member)
    assert float(naive.auc) == pytest.approx(0.725)
    match = matched_nonmembers(**data)
    scores = np.r_[scores_in, scores_out[match.indices]]
    weights = np.r_[np.ones(len(scores_in)), match.weights]
    matched = measure(scores, np.arange(len(scores)) < len(scores_in), weights)
    assert float(matched.auc) == pytest.approx(0.5)


def test_without_groups_it_goes_by_class() -> None:
    match = matched_nonmembers(np.array([0] * 30 + [1] * 10), None, np.array([0] * 10 + [1] * 10), None)
    np.testing.assert_allclose(match.weights, [1.5] * 10 + [0.5] * 10)
    assert not match.trivial


def test_equal_mixes_are_left_alone() -> None:
    # Shares of 0.5 and 0.504: a distance of 0.004, below what could move an AUC by more than 0.005.
    match = matched_nonmembers(np.array([0] * 500 + [1] * 500), None, np.array([0] * 504 + [1] * 496), None)
    assert match.trivial
    assert match.weights.tolist() == [1.0] * 1000
    assert not matched_nonmembers(np.array([0] * 500 + [1] * 500), None, np.array([0] * 506 + [1] * 494), None).trivial


def test_a_rare_cell_gets_a_image_all_the_same() -> None:
    # Of 4 pictures 5 % is a fifth of one; without it a twentieth of the members would have no counterpart.
    match = matched_nonmembers(
        np.zeros(100, dtype=int),
        np.array([0] * 95 + [1] * 5),
        np.zeros(8, dtype=int),
        np.tile([0, 1], 4),
        np.repeat(np.arange(4), 2),
    )
    assert sorted((match.indices % 2).tolist()) == [0, 0, 0, 1]
    assert match.covered.all()
    np.testing.assert_allclose(sorted(match.weights), [0.2, 3.8 / 3, 3.8 / 3, 3.8 / 3])


def test_images_with_a_choice_fill_what_the_others_leave() -> None:
    # Five pictures exist in group 0 only, five in both; members are half and half, so the five go to group 1.
    groups = np.array([0] * 5 + [0, 1] * 5)
    sources = np.r_[np.arange(5), np.repeat(np.arange(5, 10), 2)]
    for seed in range(10):
        match = matched_nonmembers(
            np.zeros(40, dtype=int), np.tile([0, 1], 20), np.zeros(15, dtype=int), groups, sources, seed
        )
        assert groups[match.indices].tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0], [0, 1], [0], None), "for neither"),
        (([0, 0], [0], [0], [0]), "members must be of equal length"),
        (([0], [0], [0, 0], [0]), "non-members must be of equal length"),
        (([0], [0], [1], [0]), "share no class and group"),
        (([], [], [0], [0]), "not empty"),
        (([0, 0], [0, 1], [0, 0], [0, 1], [0, 0, 0]), "sources must be"),
    ],
)
def test_bad_input_is_refused(arguments: tuple[list[int] | None, ...], message: str) -> None:
    arrays = [None if a is None else np.array(a, dtype=np.int64) for a in arguments]
    with pytest.raises(InputError, match=message):
        matched_nonmembers(*arrays)  # type: ignore[arg-type]


def test_mixes_that_differ_are_noticed_and_chance_is_not() -> None:
    """One hundred pairs of equal mixes, each noticed with a probability of at most 0.01: more than five are noticed
    once in 2,000 times.  Guards: an AUC of a skew taken for leakage where non-members were not matched."""
    rng = np.random.default_rng(0)
    member, alarms = np.arange(600) < 400, 0
    for seed in range(100):
        labels, groups = rng.integers(0, 3, 600), rng.integers(0, 2, 600)
        alarms += difference_of_mixes(member, labels, groups, seed=seed) is not None
    assert alarms <= 5
    skewed = np.where(member, labels % 2, groups)
    assert difference_of_mixes(member, labels, skewed) == pytest.approx(0.5, abs=0.1)
    assert difference_of_mixes(member, labels, None) is None
    assert difference_of_mixes(member, skewed, None) is not None
