"""ROC metrics agree with scikit-learn and hand computations, and their bootstrap intervals cover the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from trilemma.attacks import Metrics, bootstrap_roc, measure, roc_curve
from trilemma.attacks import roc as roc_module
from trilemma.attacks.rates import rate_at
from trilemma.attacks.roc import _metrics, _Ranked
from trilemma.errors import InputError
from trilemma.measures import FPRS
from trilemma.seeds import rng_for


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, both kinds of membership, and some weights of 0."""
    rows = draw(st.integers(4, 40))
    scores = np.array(draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows)), dtype=float)
    member = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    member[:2] = True, False
    weights = np.array(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=rows, max_size=rows)))
    weights[:2] = 1.0
    return scores, member, weights


@given(scored())
@settings(deadline=None)
def test_agrees_with_scikit_learn(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, member, weights = case
    for w in (None, weights):
        measured = measure(scores, member, w)
        # scikit-learn warns of rows without weight, so they are left out for it.
        counted = np.ones(len(scores), bool) if w is None else w > 0
        oracle_weights = None if w is None else w[counted]
        args = member[counted], scores[counted]
        assert measured.auc == pytest.approx(roc_auc_score(*args, sample_weight=oracle_weights))
        fpr, tpr, _ = sklearn_roc_curve(*args, sample_weight=oracle_weights, drop_intermediate=False)
        assert measured.advantage == pytest.approx(np.abs(tpr - fpr).max())
        for rate in (0.001, 0.01):
            assert measured.tpr_at_fpr[rate] == pytest.approx(tpr[fpr <= rate + 1e-12].max())
        curve = roc_curve(scores, member, w)
        np.testing.assert_allclose(curve.fpr, fpr)
        np.testing.assert_allclose(curve.tpr, tpr)


@given(scored(), st.integers(0, 2**32))
@settings(deadline=None)
def test_collapsed_corners_change_nothing_in_any_resample(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    scores, member, weights = case
    rng = np.random.default_rng(seed)
    fine, coarse = (_Ranked(scores, member, weights, collapse=collapse) for collapse in (False, True))
    counts = [rng.integers(0, 3, size=(5, len(rows))) for rows in fine.sides]
    for count in counts:
        count[:, 0] = 1
    first, other = _metrics(*fine.rates(*counts)), _metrics(*coarse.rates(*counts))
    np.testing.assert_allclose(first.auc, other.auc)
    np.testing.assert_allclose(first.advantage, other.advantage)
    for rate in first.tpr_at_fpr:
        np.testing.assert_allclose(first.tpr_at_fpr[rate], other.tpr_at_fpr[rate])


@given(scored(), st.integers(0, 2**32))
@settings(deadline=None)
def test_counts_are_repeated_rows(case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> None:
    scores, member, weights = case
    ranked = _Ranked(scores, member, weights, collapse=True)
    rng = np.random.default_rng(seed)
    counts = [rng.integers(0, 3, size=len(rows)) for rows in ranked.sides]
    for count in counts:
        count[0] += 1
    rows = np.concatenate([np.repeat(side, count) for side, count in zip(ranked.sides, counts, strict=True)])
    repeated = measure(scores[rows], member[rows], weights[rows])
    counted = _metrics(*ranked.rates(counts[0][None], counts[1][None]))
    assert counted.auc[0] == pytest.approx(float(repeated.auc))
    assert counted.advantage[0] == pytest.approx(float(repeated.advantage))


def test_tpr_at_fpr_by_hand() -> None:
    # 200 non-members: FPR 0.01 allows two of them, 0.001 none.  Members above the first two, the first, none.
    scores = np.r_[np.arange(200.0), [199.5] * 1, [198.5] * 2, [197.5] * 4, [0.0] * 3]
    member = np.arange(210) >= 200
    measured = measure(scores, member)
    assert measured.tpr_at_fpr[0.001] == pytest.approx(0.1)
    assert measured.tpr_at_fpr[0.01] == pytest.approx(0.7)


def test_an_fpr_of_exactly_the_rate_counts_despite_rounding() -> None:
    # One non-member of a hundred above the member, each of weight 0.1, which sums to a little less than 10.
    scores = np.r_[3.0, np.ones(99), 2.5]
    member = np.arange(101) == 100
    weights = np.full(101, 0.1)
    assert roc_curve(scores, member, weights).fpr[1] > 0.01
    assert measure(scores, member, weights).tpr_at_fpr[0.01] == 1.0


def test_ties_count_half() -> None:
    measured = measure(np.zeros(20), np.arange(20) < 10)
    assert (float(measured.auc), float(measured.advantage), float(measured.tpr_at_fpr[0.01])) == (0.5, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros(9)}, "equal length"),
        ({"scores": np.full(10, np.nan)}, "NaN"),
        ({"member": np.ones(10, bool)}, "members and non-members"),
        ({"weights": np.arange(10) < 5.0}, "members and non-members"),
        ({"resamples": 1}, "resamples"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"scores": np.arange(10.0), "member": np.arange(10) < 5, **changes}
    with pytest.raises(InputError, match=message):
        bootstrap_roc(**arguments)


def test_the_bootstrap_is_the_seeds() -> None:
    rng = np.random.default_rng(0)
    scores, member = rng.normal(size=300), np.arange(300) < 100
    first, same, other = (bootstrap_roc(scores, member, seed=seed, resamples=50).draws for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.auc, same.auc)
    assert not np.array_equal(first.auc, other.auc)
    from_generator = bootstrap_roc(scores, member, seed=rng_for(1, "bootstrap/roc"), resamples=50).draws
    np.testing.assert_array_equal(first.auc, from_generator.auc)


def test_as_dict_is_the_contract() -> None:
    rng = np.random.default_rng(0)
    scores, member = rng.normal(size=1200), np.arange(1200) < 200
    rates = {fpr: rate_at(scores, member, fpr) for fpr in FPRS}
    measured = bootstrap_roc(scores, member, resamples=50).as_dict(rates)
    assert set(measured) == {"auc", "advantage", "tpr_at_fpr", "tpr_reason", "interval"}
    assert measured["tpr_reason"] == {"0.001": "needs 10,000 non-members, has 1,000"}
    assert measured["tpr_at_fpr"]["0.001"] is measured["interval"]["tpr_at_fpr"]["0.001"] is None
    assert measured["tpr_at_fpr"]["0.01"] == rates[0.01].value
    assert set(measured["interval"]) == {"auc", "advantage", "tpr_at_fpr"}
    assert set(measured["tpr_at_fpr"]) == set(measured["interval"]["tpr_at_fpr"]) == {"0.001", "0.01"}
    for name in ("auc", "advantage"):
        low, high = measured["interval"][name]
        assert 0 <= low <= measured[name] <= high <= 1


def test_widened_intervals_are_wider_about_the_same_values() -> None:
    rng = np.random.default_rng(0)
    narrow = bootstrap_roc(rng.normal(size=300), np.arange(300) < 100, resamples=200)
    wide = narrow.widened(2.0)
    assert wide.auc == narrow.auc
    for end, wider in zip(narrow.auc_interval(), wide.auc_interval(), strict=True):
        assert wider - wide.auc == pytest.approx(2 * (end - narrow.auc))
    np.testing.assert_array_equal(wide.deviation, 2 * narrow.deviation)


def draws(shift: float, seed: int, copies: int = 1, keep_sources: bool = True, size: int = 150) -> Any:
    rng = np.random.default_rng([7, seed])
    member = np.arange(2 * size) < size
    scores = np.repeat(rng.normal(size=2 * size) + shift * member, copies)
    sources = np.repeat(np.arange(2 * size) % size, copies) if keep_sources else None
    return bootstrap_roc(scores, np.repeat(member, copies), sources=sources, seed=seed, resamples=200)


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("copies", [1, 2])
def test_intervals_cover_the_truth_as_often_as_they_say(shift: float, copies: int) -> None:
    # Scores are normal, members shifted, so AUC and advantage are known.  Of 300 intervals at 95 % about 15
    # miss.  With a true coverage of 94 % (200 resamples cost about 1 %) more than 38 misses have a
    # probability of 4e-6, and with 97 % fewer than 1 have 1e-4; intervals too narrow by a third (as without
    # sources when each row is there twice) miss some 50 times.
    truth_auc, truth_advantage = norm.cdf(shift / np.sqrt(2)), 2 * norm.cdf(shift / 2) - 1
    missed_auc = missed_advantage = 0
    for seed in range(300):
        measured = draws(shift, seed, copies).as_dict({})
        low, high = measured["interval"]["auc"]
        missed_auc += not low <= truth_auc <= high
        low, high = measured["interval"]["advantage"]
        missed_advantage += not low <= truth_advantage <= high
    assert 1 <= missed_auc <= 38
    # The advantage's interval is wider than it need be near 0, so that it may miss seldom but not often.
    assert missed_advantage <= 38


def test_copies_are_resampled_together() -> None:
    alone, together, apart = (
        draws(0.5, 3, copies, keep, size=400).draws.auc.std() for copies, keep in ((1, False), (2, True), (2, False))
    )
    # A copy adds nothing; taken for another example it would make the spread smaller by the root of 2.
    assert together == pytest.approx(alone, rel=0.2)
    assert apart == pytest.approx(alone / np.sqrt(2), rel=0.2)


def test_sources_of_members_and_nonmembers_are_apart() -> None:
    rng = np.random.default_rng(0)
    scores, member = rng.normal(size=200), np.arange(200) < 100
    shared = bootstrap_roc(scores, member, sources=np.arange(200) % 100, resamples=30)
    own = bootstrap_roc(scores, member, resamples=30)
    np.testing.assert_array_equal(shared.draws.auc, own.draws.auc)


def test_metrics_are_numbers_for_one_curve() -> None:
    measured = measure(np.arange(20.0), np.arange(20) % 2 == 0)
    assert isinstance(measured, Metrics)
    assert np.ndim(measured.auc) == 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("clustered", [False, True])
def test_each_sample_is_a_measure_with_the_drawn_rows_as_weights(monkeypatch, weighted, clustered):
    """Every score of one sample counts each row as often as it was drawn, whatever the order of its scores."""
    rng = np.random.default_rng(3)
    member = rng.random(60) < 0.5
    scores = {"one": rng.normal(size=60).round(1), "other": rng.normal(size=60)}
    weights = rng.random(60) * (rng.random(60) < 0.8) if weighted else None
    sources = rng.integers(0, 20, 60) if clustered else None
    resamples_seen = []
    draw = roc_module.Resampler.draw

    def noting(self, generator, samples):
        resamples_seen.append(draw(self, generator, samples))
        return resamples_seen[-1]

    monkeypatch.setattr(roc_module.Resampler, "draw", noting)
    measured = roc_module.bootstrap_rocs(scores, member, weights=weights, sources=sources, resamples=30)
    members, others = resamples_seen
    counted = np.ones(60, dtype=bool) if weights is None else weights > 0
    for sample in range(30):
        mass = np.zeros(60)
        mass[counted & member], mass[counted & ~member] = members[sample], others[sample]
        mass *= 1 if weights is None else weights
        for name, values in scores.items():
            expected = measure(values, member, mass)
            assert measured[name].draws.auc[sample] == pytest.approx(float(expected.auc), abs=1e-12)
            assert measured[name].draws.advantage[sample] == pytest.approx(float(expected.advantage), abs=1e-12)
