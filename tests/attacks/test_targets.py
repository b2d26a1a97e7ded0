"""Means over several targets with the same examples, and intervals over examples."""

import numpy as np
import pytest

from trilemma.attacks.roc import measure
from trilemma.attacks.targets import cells_of_targets
from trilemma.errors import InputError


def targets(seed, count=4, examples=400, shared=3.0, leak=1.0):
    """What an example adds to its score, by which members and non-members differ, is the same under all targets."""
    rng = np.random.default_rng(seed)
    member = np.zeros((count, examples), dtype=bool)
    member[:, : examples // 2] = True  # the same in all targets: an example's own share then shifts all AUCs alike
    return shared * rng.normal(size=examples) + rng.normal(size=(count, examples)) + leak * member, member


def test_an_estimate_is_the_mean_over_targets_of_the_cell_s_own():
    scores, member = targets(0)
    cells = np.arange(400) % 2
    cells_by_name = cells_of_targets(scores, member, cells, resamples=50)
    for cell in (0, 1):
        rows = cells == cell
        expected = np.mean([measure(s[rows], m[rows]).auc for s, m in zip(scores, member, strict=True)])
        assert cells_by_name[cell].auc == pytest.approx(expected)
        assert cells_by_name[cell].reason == "needs 1,000 non-members, has 100"
        assert cells_by_name[cell].auc_interval[0] < expected < cells_by_name[cell].auc_interval[1]


def test_intervals_cover_the_truth_over_examples():
    """The truth is the AUC of two normals 1 apart with variance 10: Phi(1 / sqrt(20)) = 0.588.  Of 120 intervals at
    95 %, 107 or more cover it with probability 0.997.  Guards: rows of several targets taken as independent, whose
    intervals would be half as wide and cover in about 70 %."""
    truth = 0.5885
    covered = 0
    for seed in range(120):
        scores, member = targets(seed, examples=240)
        low, high = cells_of_targets(scores, member, np.zeros(240, dtype=int), seed=seed, resamples=200)[0].auc_interval
        covered += low <= truth <= high
    assert covered >= 107


def test_small_cells_have_no_numbers_and_large_ones_a_rate():
    scores, member = targets(0, count=2, examples=2400, shared=0.0, leak=8.0)
    cells = (np.arange(2400) % 25 == 0).astype(int)
    cells_by_name = cells_of_targets(scores, member, cells, resamples=50)
    assert cells_by_name[1].auc is None
    assert cells_by_name[0].tpr == pytest.approx(1.0, abs=0.001)
    assert cells_by_name[0].tpr_interval[0] > 0.99


def test_shapes_must_fit():
    scores, member = targets(0)
    with pytest.raises(InputError, match="must be"):
        cells_of_targets(scores, member, np.zeros(3, dtype=int))
