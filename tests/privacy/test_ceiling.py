"""What any attack can find out at most: closed forms, the best attack itself, other people's deltas.

200 random settings of the first and the last: ``python benchmarks/ceiling.py --settings 200``.
"""

import math
import time

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as others
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from trilemma.errors import InputError
from trilemma.privacy import Event
from trilemma.privacy.ceiling import ceiling, largest_tpr

RATES = np.concatenate([np.geomspace(1e-6, 0.1, 200), np.linspace(0.1, 1, 200)])


def as_subsampled(sigma, updates):
    """A full batch, but for the closed form: one chance in a hundred million not to be drawn."""
    return Event(1 - 1e-8, sigma, updates)


# From another program: the linear head at epsilon 8 and 1, full batches: AUC, true positive rates at 1 % and 0.1 %.
@pytest.mark.parametrize(
    ("sigma", "auc", "at_one_percent", "at_one_in_a_thousand"),
    [(4.6494, 0.881, 0.255, 0.077), (28.8973, 0.575, 0.020, 0.0024)],
)
@pytest.mark.parametrize("event_of", [lambda sigma: Event(1.0, sigma, 60), lambda sigma: as_subsampled(sigma, 60)])
def test_the_published_ceilings_are_reproduced(event_of, sigma, auc, at_one_percent, at_one_in_a_thousand):
    bounds = ceiling(event_of(sigma)).to_dict()
    assert bounds["auc"] == pytest.approx(auc, abs=6e-4)
    assert bounds["tpr_at_fpr"]["0.01"] == pytest.approx(at_one_percent, abs=6e-4)
    assert bounds["tpr_at_fpr"]["0.001"] == pytest.approx(at_one_in_a_thousand, abs=3e-4)


@settings(deadline=None, max_examples=10)
@given(mu=st.floats(0.01, 5), updates=st.integers(1, 1000))
def test_full_batches_have_the_gaussian_s_ceiling(mu, updates):
    """By deltas alone (q just below 1), and by Phi(Phi^-1(f) + mu), Phi(mu / sqrt 2) and 2 Phi(mu / 2) - 1."""
    event = as_subsampled(math.sqrt(updates) / mu, updates)
    exact = ndtr(ndtri(RATES) + mu)
    curve = largest_tpr(event, RATES)
    assert np.all(curve >= exact * (1 - 1e-6))
    assert np.all(curve <= exact * 1.005)
    bounds = ceiling(event)
    assert ndtr(mu / math.sqrt(2)) - 1e-7 <= bounds.auc <= ndtr(mu / math.sqrt(2)) + 1e-4
    assert 2 * ndtr(mu / 2) - 1 - 1e-6 <= bounds.advantage <= 2 * ndtr(mu / 2) - 1 + 1e-4
    assert largest_tpr(Event(1.0, event.noise_multiplier, updates), RATES) == pytest.approx(exact, rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(log_sigma=st.floats(math.log(0.5), math.log(10)), log_q=st.floats(-4, -0.01))
def test_one_update_s_best_attack_reaches_the_ceiling_and_no_more(log_sigma, log_q):
    """Neyman and Pearson's test, a threshold on the released coordinate, whose rates are known exactly."""
    q, sigma = 10**log_q, math.exp(log_sigma)
    false = RATES[(RATES > 1e-5) & (RATES < 1 - 1e-5)]
    threshold = -ndtri(false)
    true = (1 - q) * false + q * ndtr(1 / sigma - threshold)
    curve = largest_tpr(Event(q, sigma, 1), false)
    assert np.all(curve >= true - 1e-9)
    assert np.all(curve <= true * 1.01 + 1e-6)


@settings(deadline=None, max_examples=8)
@given(
    log_sigma=st.floats(math.log(0.8), math.log(10)),
    log_q=st.floats(-2, -0.01),
    updates=st.integers(2, 300),
    log_epsilon=st.floats(-2, 1),
)
def test_never_below_dp_accounting_s_deltas(log_sigma, log_q, updates, log_epsilon):
    """If any epsilon's delta came out too small, the ceiling would let a distinguishable pair through.

    dp-accounting's estimate from below gives a test that really exists: its rates must be under the ceiling.
    """
    q, sigma, epsilon = 10**log_q, math.exp(log_sigma), 10**log_epsilon
    theirs = others.from_gaussian_mechanism(
        sigma, sampling_prob=q, value_discretization_interval=5e-3, pessimistic_estimate=False
    ).self_compose(updates)
    delta = theirs.get_delta_for_epsilon(epsilon)
    # Where t - exp(epsilon) f is largest over the ceiling, it must be at least delta.
    rates = np.concatenate([[0.0], np.geomspace(1e-9, 1, 5000)])
    reach = np.max(largest_tpr(Event(q, sigma, updates), rates) - math.exp(epsilon) * rates)
    assert reach >= delta * (1 - 1e-3) - 1e-7


@settings(deadline=None, max_examples=15)
@given(
    log_sigma=st.floats(math.log(0.5), math.log(50)),
    log_q=st.floats(-6, 0),
    log_updates=st.floats(0, 5),
)
def test_the_whole_curve_is_a_roc_curve_and_fast(log_sigma, log_q, log_updates):
    event = Event(10**log_q, math.exp(log_sigma), round(10**log_updates))
    start = time.process_time()
    curve = largest_tpr(event, RATES)
    assert time.process_time() - start < 6  # alone on a core it takes less than two seconds
    assert np.all(curve >= RATES * (1 - 1e-12))
    assert np.all(curve <= 1)
    assert np.all(np.diff(curve) >= -1e-9)
    bounds = ceiling(event)
    assert 0.5 <= bounds.auc <= 1
    assert 0 <= bounds.advantage <= 1
    assert np.max(curve - RATES) <= bounds.advantage + 1e-4
    assert bounds.auc <= 0.5 + bounds.advantage * (1 - bounds.advantage / 2) + 1e-4  # the area under its two corners


def test_more_noise_lowers_it():
    bounds = [ceiling(Event(0.1, sigma, 200)) for sigma in (8.0, 4.0, 2.0, 1.0)]
    for values in ([b.auc for b in bounds], [b.advantage for b in bounds], [b.tpr_at_fpr[0.01] for b in bounds]):
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_nothing_done_tells_nothing():
    bounds = ceiling(Event(0.1, 1.0, 0))
    assert bounds.auc == pytest.approx(0.5, abs=1e-6)
    assert bounds.advantage == 0
    assert bounds.tpr_at_fpr == {0.001: 0.001, 0.01: 0.01}


def test_a_rate_that_is_none_is_refused():
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="false positive rate"):
            largest_tpr(Event(0.1, 1.0, 5), rate)
