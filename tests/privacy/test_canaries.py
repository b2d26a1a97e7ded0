"""Lower bounds on epsilon from one training: against slow sums, against known values, and never above the truth."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom, norm

from trilemma.attacks.roc import bootstrap_roc
from trilemma.errors import InputError
from trilemma.privacy.canaries import (
    gaussian_bound,
    guess_counts,
    largest_bound,
    largest_epsilon,
    one_run_bound,
    p_value,
)


def slow_p_value(canaries, guesses, correct, right, delta):
    """From the theorem, with fractions; ``right`` is the probability of a right guess."""

    def at_least(count):
        wrong = 1 - right
        terms = (math.comb(guesses, k) * right**k * wrong ** (guesses - k) for k in range(max(count, 0), guesses + 1))
        return sum(terms, Fraction(0))

    beta = at_least(correct)
    alpha = max(((at_least(correct - i) - beta) / i for i in range(1, correct + 1)), default=Fraction(0))
    return min(Fraction(1), beta + 2 * canaries * delta * alpha)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_the_p_value_is_the_theorem_s(guesses, data):
    correct = data.draw(st.integers(1, guesses))
    canaries = guesses + data.draw(st.integers(0, 60))
    right = data.draw(st.fractions(Fraction(1, 2), Fraction(99, 100), max_denominator=200))
    delta = data.draw(st.sampled_from([Fraction(0), Fraction(1, 100_000), Fraction(1, 100)]))
    epsilon = math.log(right / (1 - right))
    expected = float(slow_p_value(canaries, guesses, correct, right, delta))
    assert p_value(canaries, guesses, correct, max(epsilon, 0.0), float(delta)) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.data())
def test_the_p_value_grows_with_epsilon_and_the_bound_is_where_it_crosses(guesses, data):
    correct = data.draw(st.integers(1, guesses))
    values = [p_value(300, guesses, correct, epsilon, 1e-5) for epsilon in np.linspace(0, 12, 25)]
    assert (np.diff(values) >= -1e-12).all()
    bound = largest_epsilon(300, guesses, correct, 1e-5)
    assert p_value(300, guesses, correct, bound + 1e-5, 1e-5) > 0.05
    assert bound == 0 or p_value(300, guesses, correct, bound, 1e-5) <= 0.05


@pytest.mark.parametrize(("canaries", "epsilon"), [(200, 4.2), (1000, 5.8), (5000, 7.3), (10_000, 7.8)])
def test_what_so_many_canaries_can_show_at_most(canaries, epsilon):
    assert round(largest_bound(canaries, 1e-5, corrected=False), 1) == epsilon
    corrected = largest_bound(canaries, 1e-5)
    assert corrected < epsilon
    included = np.arange(canaries) % 2 == 0
    assert one_run_bound(included.astype(float), included, 1e-5).epsilon == pytest.approx(corrected)


def test_the_bound_is_seldom_above_the_truth():
    """Randomized response is exactly (ln 3, 0)-private.  Of 200 bounds at 95 %, more than 20 are above it with
    probability 1e-3, if they are above it as often as they may be; they are so less often."""
    rng = np.random.default_rng(0)
    above = 0
    for _ in range(200):
        included = rng.random(200) < 0.5
        guesses = np.where(rng.random(200) < 0.75, included, ~included)
        above += one_run_bound(guesses + 1e-9 * rng.random(200), included, 0.0).epsilon > math.log(3)
    assert binom.sf(20, 200, 0.05) < 2e-3
    assert above <= 20


def test_guessing_the_best_of_all_choices_without_a_correction_would_be_wrong_more_often():
    """Guards: the significance is shared over the tries.  Where nothing leaks, an uncorrected best of seven tries
    contradicts epsilon = 0 in more than 10 % of 200; the corrected one in at most 20 of them (see above)."""
    rng = np.random.default_rng(1)
    corrected = uncorrected = 0
    for _ in range(200):
        scores, included = rng.random(1000), rng.random(1000) < 0.5
        corrected += one_run_bound(scores, included, 0.0).epsilon > 0
        order = np.argsort(-scores)
        for count in guess_counts(1000):
            right = included[order[: count // 2]].sum() + (~included[order[len(order) - count // 2 :]]).sum()
            if p_value(1000, count, int(right), 0.0, 0.0) <= 0.05:
                uncorrected += 1
                break
    assert corrected <= 20
    assert uncorrected > 20


def test_the_gaussian_bound_goes_further_and_not_too_far():
    """The truth is mu = 2.  Of 100 bounds at 95 %, more than 12 are above it with probability 1e-3."""
    rng = np.random.default_rng(2)
    bounds, counted = [], []
    for _ in range(100):
        included = rng.random(1000) < 0.5
        scores = rng.normal(size=1000) + 2.0 * included
        bounds.append(gaussian_bound(scores, included, 1e-5))
        if len(counted) < 10:
            counted.append(one_run_bound(scores, included, 1e-5).epsilon)
    truth = gaussian_epsilon(2.0, 1e-5)
    assert np.mean(np.array(bounds) > truth) <= 0.12
    assert np.mean(bounds) > np.mean(counted)
    assert np.mean(bounds) > 0.7 * truth


def test_a_correct_training_is_seldom_contradicted_and_its_auc_seldom_lies_above_the_ceiling():
    """Of 100 full-batch trainings with mu = 1, whose budget allows exactly what the canaries' scores show, both bounds
    together may contradict 5, and 5 may have an AUC interval above the ceiling, as runs say; more than 12 are either
    with probability 2e-3 each.  Guards: no room for chance in either."""
    rng, mu, contradicted, above, higher = np.random.default_rng(3), 1.0, 0, 0, 0
    claim, allowed = gaussian_epsilon(mu, 1e-5), float(norm.cdf(mu / math.sqrt(2)))
    for number in range(100):
        included = rng.random(60) < 0.5
        scores = rng.normal(size=60) + mu * included
        bounds = [bound(scores, included, 1e-5) for bound in (lambda *a: one_run_bound(*a).epsilon, gaussian_bound)]
        contradicted += max(bounds) > claim
        curve = bootstrap_roc(scores, included, seed=number, resamples=200)
        above += curve.auc_interval()[0] > allowed
        higher += curve.auc > allowed
    assert binom.sf(12, 100, 0.05) < 2e-3
    assert max(contradicted, above) <= 12
    assert higher > 30  # what one reads without the interval


def test_the_gaussian_bound_is_clopper_and_pearson_s_with_its_significance_shared_among_thresholds():
    """Written again from binomial tails, each of which has a tenth of the significance: two rates, five thresholds."""
    rng = np.random.default_rng(5)
    included = rng.random(400) < 0.5
    scores = rng.normal(size=400) + 1.5 * included
    mu = 0.0
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        threshold = np.quantile(scores, share)
        rates = [
            brentq(lambda rate, wrong=wrong: binom.cdf(wrong.sum(), len(wrong), rate) - 0.05 / 10, 1e-9, 1 - 1e-9)
            for wrong in (scores[~included] >= threshold, scores[included] < threshold)
        ]
        mu = max(mu, norm.isf(rates[0]) - norm.ppf(rates[1]))
    assert gaussian_bound(scores, included, 1e-5, significance=0.05) == pytest.approx(
        gaussian_epsilon(mu, 1e-5), rel=1e-6
    )


def gaussian_epsilon(mu, delta):
    from scipy.optimize import brentq

    return brentq(lambda e: norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu) - delta, 0, 50)


def test_what_cannot_be_is_refused():
    ok = np.arange(10) % 2 == 0
    for scores, included, words in (
        (np.zeros(9), ok, "scores must be"),
        (np.zeros(10), ok.astype(int), "scores must be"),
        (np.full(10, np.nan), ok, "not finite"),
        (np.zeros(10), np.ones(10, bool), "partly in and partly out"),
    ):
        with pytest.raises(InputError, match=words):
            one_run_bound(scores, included, 1e-5)
    with pytest.raises(InputError, match="cannot be"):
        p_value(10, 11, 3, 1.0, 0.0)
    with pytest.raises(InputError, match="significance"):
        largest_epsilon(10, 10, 10, 0.0, 0.9)
