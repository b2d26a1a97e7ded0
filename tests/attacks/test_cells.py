"""The success of attacks in cells of class x group, and the test of equal vulnerability."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trilemma.attacks.cells import by_cell, equal_vulnerability
from trilemma.errors import InputError

SIDE = 600


def example(leaks, shifts=(0.0, 0.0, 0.0), seed=0, side=SIDE):
    """Three cells: members of cell c score ``leaks[c]`` above its non-members, and all of its scores are ``shifts[c]``
    higher."""
    rng = np.random.default_rng(seed)
    cells = np.tile(np.arange(3), 2 * side // 3 + 1)[: 2 * side]
    member = np.arange(2 * side) < side
    scores = rng.normal(size=2 * side) + np.array(leaks)[cells] * member + np.array(shifts)[cells]
    return scores, member, cells


def test_each_cell_is_measured_on_its_own_rows():
    scores, member, cells = example((0.2, 0.5, 1.5))
    result = by_cell(scores, member, cells, fpr=0.05, resamples=50)
    for cell in range(3):
        rows = cells == cell
        assert result[cell].roc is not None
        assert result[cell].roc.auc == pytest.approx(roc_auc_score(member[rows], scores[rows]), abs=1e-12)
        assert (result[cell].members, result[cell].nonmembers) == (200, 200)
        threshold = np.sort(scores[rows & ~member])[::-1][10]
        assert result[cell].own is not None
        assert result[cell].own.value == pytest.approx((scores[rows & member] > threshold).mean())


def test_the_global_threshold_answers_another_question():
    """A cell whose scores are all high is accused by the global threshold, whether or not its members leak."""
    scores, member, cells = example((1.0, 1.0, 1.0), shifts=(0.0, 0.0, 3.0))
    result = by_cell(scores, member, cells, fpr=0.05, resamples=50)
    accused = sum(cell.global_false * cell.nonmembers for cell in result.values()) / (~member).sum()
    assert 0.05 - 1 / 600 <= accused <= 0.05
    assert result[2].global_true > 5 * result[0].global_true
    own = [result[cell].own.value for cell in range(3)]
    assert max(own) < 2.5 * min(own)


def test_a_small_cell_has_no_auc_and_a_rate_that_it_cannot_measure_is_not_printed():
    scores, member, cells = example((0.5, 0.5, 0.5))
    cells[:30], cells[600:630] = 3, 3
    result = by_cell(scores, member, cells, fpr=0.01, resamples=50)
    assert result[3].roc is None
    assert result[3].own is None
    assert result[0].own.value is None
    assert result[0].own.reason == "needs 1,000 non-members, has 190"


def test_cell_aucs_of_the_test_are_those_of_the_scores_with_ties():
    scores, member, cells = example((0.2, 0.5, 1.5), shifts=(0.0, 2.0, -4.0))
    scores = np.round(scores, 1)
    result = equal_vulnerability(scores, member, cells, permutations=1)
    for cell, auc in result.aucs.items():
        rows = cells == cell
        assert auc == pytest.approx(roc_auc_score(member[rows], scores[rows]), abs=1e-12)


def test_equal_cells_are_rejected_no_more_often_than_the_level_says():
    """Cells differ in difficulty but not in exposure, and their sizes differ.  200 tests at 5 %: with a true rate of
    5 %, 22 or more rejections have a chance of 4e-4, and with a rate of 10 % one of 0.36 to pass at 17 or fewer."""
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 1])
        scores, member, cells = example((0.7, 0.7, 0.7), shifts=(0.0, 1.0, -3.0), seed=seed, side=300)
        included = (cells != 2) | (rng.random(len(cells)) < 0.7)
        rejected += equal_vulnerability(
            scores[included], member[included], cells[included], permutations=99, seed=seed
        ).rejected()
    assert rejected < 22


def test_unequal_cells_are_found_and_named():
    scores, member, cells = example((0.3, 0.3, 1.2), shifts=(0.0, 3.0, 0.0))
    result = equal_vulnerability(scores, member, cells, permutations=199)
    assert result.rejected(0.01)
    assert result.cell == 2


def test_what_cannot_be_compared_is_refused():
    scores, member, cells = example((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="at least two cells"):
        equal_vulnerability(scores, member, np.where(np.arange(len(cells)) < 30, 1, 0))
    # Where all rows are in one, more examples do not help.
    with pytest.raises(InputError, match="there is one alone"):
        equal_vulnerability(scores, member, np.zeros_like(cells))
    with pytest.raises(InputError, match="one for each row"):
        by_cell(scores, member, cells[:-1])
