"""Who is left out, and what becomes of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.errors import InputError
from trilemma.study.removal import Exposure, removed_examples, survivors


def exposure(seed, count, classes=3, groups=None):
    rng = np.random.default_rng(seed)
    return Exposure(
        rng.integers(0, 6, count) / 5,  # a step function: many are equal
        rng.random(count),
        rng.integers(0, classes, count),
        None if groups is None else rng.integers(0, groups, count),
    )


seeds, sizes, shares = st.integers(0, 2**32), st.integers(4, 60), st.floats(0.01, 0.7)


@given(seeds, sizes, shares)
def test_the_exposed_arm_leaves_out_the_highest_and_of_equals_those_with_the_lower_loss(seed, count, share):
    scores = exposure(seed, count)
    gone = removed_examples(scores, share=share, arm="exposed", control="class", seed=0)
    rest = np.setdiff1d(np.arange(count), gone)
    assert len(gone) == max(1, round(share * count))
    assert scores.score[gone].min() >= scores.score[rest].max()
    edge = scores.score[gone].min()
    equal_gone, equal_kept = (rows[scores.score[rows] == edge] for rows in (gone, rest))
    if len(equal_kept):
        assert scores.loss[equal_gone].max() <= scores.loss[equal_kept].min()


@given(seeds, sizes, shares, st.sampled_from(["class", "class,group"]))
def test_the_random_arm_leaves_out_as_many_of_each_kind(seed, count, share, control):
    scores = exposure(seed, count, groups=2)
    exposed = removed_examples(scores, share=share, arm="exposed", control=control, seed=seed)
    removed = removed_examples(scores, share=share, arm="random", control=control, seed=seed)
    assert len(set(removed.tolist())) == len(removed) == len(exposed)

    def kinds(rows):
        parts = scores.labels[rows] * 2 + (scores.groups[rows] if control == "class,group" else 0)
        return sorted(parts.tolist())

    assert kinds(removed) == kinds(exposed)


def test_the_random_arm_is_random_and_of_its_seed():
    scores = exposure(0, 1000)
    arms = [removed_examples(scores, share=0.1, arm="random", control="class", seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(arms[0], arms[1])
    overlap = len(np.intersect1d(arms[0], arms[2]))
    # 100 of 1,000 twice: 10 expected, standard deviation 3; more than 28 is six of them away.
    assert overlap < 28
    # Nor does it lean toward the exposed: the mean of 100 differs from that of all by less than six errors.
    assert abs(scores.score[arms[0]].mean() - scores.score.mean()) < 6 * scores.score.std() / 10


def test_survivors_are_compared_with_themselves():
    before = Exposure(np.array([0.9, 0.5, 0.9, 0.2, 0.8]), np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.arange(5), None)
    removed = removed_examples(before, share=0.2, arm="exposed", control="class", seed=0)
    assert removed.tolist() == [0]
    after = Exposure(np.array([0.95, 0.9, 0.1, 0.91]), np.zeros(4), np.array([1, 2, 3, 4]), None)
    comparison = survivors(before, after, removed=removed, share=0.2)
    assert comparison.exposed == 3 / 4
    assert comparison.exposed_before == 1 / 4  # example 2 is as exposed as the one that went
    assert comparison.mean == pytest.approx((0.95 + 0.9 + 0.1 + 0.91) / 4)
    assert comparison.mean_before == pytest.approx((0.5 + 0.9 + 0.2 + 0.8) / 4)
    assert comparison.count == 4


def test_survivors_of_other_examples_are_refused():
    before = exposure(0, 10)
    removed = removed_examples(before, share=0.2, arm="exposed", control="class", seed=0)
    with pytest.raises(InputError, match="do not have the same examples"):
        survivors(before, exposure(1, 7), removed=removed, share=0.2)
    rows = np.setdiff1d(np.arange(10), removed)
    shuffled = Exposure(np.zeros(8), np.zeros(8), before.labels[rows][::-1] + 1, None)
    with pytest.raises(InputError, match="do not have the same examples"):
        survivors(before, shuffled, removed=removed, share=0.2)


def test_leaving_out_everything_is_refused():
    with pytest.raises(InputError, match="leaves none"):
        exposure(0, 4).layer(0.95)
