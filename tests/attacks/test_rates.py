"""True-positive rates at low false-positive rates: value, coverage of the interval, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from trilemma.attacks import measure
from trilemma.attacks.rates import effective_count, enough, rate_at
from trilemma.errors import InputError

REPEATS = 200


def gaussians(rng, shift, members, nonmembers):
    scores = np.r_[rng.normal(shift, 1, members), rng.normal(0, 1, nonmembers)]
    return scores, np.arange(members + nonmembers) < members


@pytest.mark.parametrize("auc", [0.5, 0.55, 0.9])
@pytest.mark.parametrize(("side", "fpr"), [(1000, 0.01), (10_000, 0.001)])
def test_the_interval_covers(auc, side, fpr):
    """200 intervals at 95 %.  Were the coverage below 90 %, 186 or more would cover with a chance of 0.1 at most; at a
    true coverage of 95 %, fewer than 186 do with a chance of 0.08 a case.  So the bound is 180, which coverage of 95 %
    fails once in 4,000 and coverage of 80 % passes once in 20,000: the faults that were measured lie lower still."""
    shift = norm.ppf(auc) * np.sqrt(2)
    truth = norm.sf(norm.isf(fpr) - shift)
    rng = np.random.default_rng([int(100 * auc), side])
    covered = 0
    for _ in range(REPEATS):
        low, high = rate_at(*gaussians(rng, shift, side, side), fpr).interval
        covered += low <= truth <= high
    assert covered >= 180


def test_clopper_pearson_alone_would_not():
    """What the interval is for: the threshold read off the same non-members, taken as known, covers far too seldom."""
    rng = np.random.default_rng(0)
    truth, covered = norm.sf(norm.isf(0.01) - 1.8), 0
    for _ in range(REPEATS):
        scores, member = gaussians(rng, 1.8, 2000, 1000)
        count = round(float(measure(scores, member).tpr_at_fpr[0.01]) * 2000)
        covered += beta.ppf(0.025, count, 2001 - count) <= truth <= beta.ppf(0.975, count + 1, 2000 - count)
    assert binom.cdf(covered, REPEATS, 0.95) < 1e-9


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_value_is_that_of_the_curve(ties, weighted):
    rng = np.random.default_rng(1)
    scores, member = gaussians(rng, 1.0, 1500, 1500)
    scores = np.round(scores, 1) if ties else scores
    weights = rng.choice([0.0, 1.0, 1.3], size=3000) if weighted else None
    rate = rate_at(scores, member, 0.01, weights=weights)
    assert rate.value == pytest.approx(float(measure(scores, member, weights).tpr_at_fpr[0.01]), abs=1e-12)
    low, high = rate.interval
    assert low <= rate.value <= high


def test_with_many_nonmembers_it_is_clopper_pearson():
    """A million non-members leave nothing unknown of the threshold."""
    members = np.linspace(-3, 3, 200)
    outside = norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000)
    rate = rate_at(np.r_[members, outside], np.arange(1_000_200) < 200, 0.01)
    count = int((members > norm.isf(0.01)).sum())
    assert rate.interval[0] == pytest.approx(beta.ppf(0.025, count, 201 - count), abs=0.004)
    assert rate.interval[1] == pytest.approx(beta.ppf(0.975, count + 1, 200 - count), abs=0.004)


def test_perfect_and_constant_scores():
    member = np.arange(2000) < 1000
    perfect = rate_at(member.astype(float), member, 0.01)
    assert perfect.value == 1.0
    assert perfect.interval[1] == 1.0
    assert 0.99 < perfect.interval[0] < 1.0
    constant = rate_at(np.zeros(2000), member, 0.01)
    assert constant.value == 0.0
    assert constant.interval[0] == 0.0


def test_a_rate_that_the_nonmembers_cannot_show_has_no_number():
    rng = np.random.default_rng(2)
    rate = rate_at(*gaussians(rng, 1.0, 500, 500), 0.001)
    assert (rate.value, rate.interval, rate.reason) == (None, None, "needs 10,000 non-members, has 500")
    assert enough(0.01, 999.0) == "needs 1,000 non-members, has 999"
    assert enough(0.001, 10_000) is None


def test_weights_and_clusters_reduce_what_is_known():
    rng = np.random.default_rng(3)
    scores, member = gaussians(rng, 1.0, 2000, 2000)
    plain = rate_at(scores, member, 0.05)
    twice, twice_member = np.tile(scores, 2), np.tile(member, 2)
    pairs = rate_at(twice, twice_member, 0.05, clusters=np.tile(np.arange(4000), 2))
    assert np.allclose(pairs.interval, plain.interval, atol=0.01)
    assert effective_count(np.array([1.0, 1.0, 2.0]), 3) == pytest.approx(16 / 6)
    assert effective_count(None, 4, np.array([0, 0, 1, 1])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fpr": 0.0}, "between 0 and 1"),
        ({"scores": np.full(40, np.nan)}, "NaN"),
        ({"member": np.ones(40, bool)}, "weight above 0"),
        ({"weights": np.ones(3)}, "equal length"),
    ],
)
def test_what_cannot_be_used_is_refused(change, message):
    arguments = {"scores": np.arange(40.0), "member": np.arange(40) < 20, "fpr": 0.5} | change
    with pytest.raises(InputError, match=message):
        rate_at(arguments.pop("scores"), arguments.pop("member"), arguments.pop("fpr"), **arguments)
