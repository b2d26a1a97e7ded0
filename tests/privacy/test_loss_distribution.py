"""The accountant's upper bound: against a lower bound computed in another way, finer cells, and other people's code."""

import math
import time

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as others
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr

from trilemma.errors import InputError
from trilemma.privacy import Event, gaussian, loss_distribution
from trilemma.privacy.second_opinion import epsilon_at_least

SETTINGS = {
    "log_sigma": st.floats(math.log(0.5), math.log(50)),
    "log_q": st.floats(-6, -1e-3),
    "log_updates": st.floats(0, 6),
    "log_delta": st.floats(-12, -3),
}


def event_of(log_sigma, log_q, log_updates):
    return Event(10**log_q, math.exp(log_sigma), round(10**log_updates))


# --- the judges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "delta"), [(0.01, 1e-3), (0.5, 1e-6), (1.0, 1e-5), (3.0, 1e-12), (10.0, 1e-4)])
def test_the_bound_from_below_knows_the_gaussian(mu, delta):
    """The judge is judged first: full batches have a closed form."""
    exact = gaussian.epsilon(mu, delta)
    below = epsilon_at_least(Event(1.0, 10 / mu, 100), delta)
    assert exact * 0.999 <= below <= exact * (1 + 1e-9)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.01, 0.001), (1.0, 0.0), (1.0, 3.0), (5.0, 2.0), (20.0, 250.0)])
def test_the_closed_form_is_that_of_balle_and_wang(mu, epsilon):
    expected = ndtr(-epsilon / mu + mu / 2) - math.exp(epsilon) * ndtr(-epsilon / mu - mu / 2)
    assert math.exp(gaussian.log_delta(mu, epsilon)) == pytest.approx(expected, rel=1e-9)
    delta = float(expected)
    assert gaussian.epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9, abs=1e-12)
    assert gaussian.mu(epsilon, delta) == pytest.approx(mu, rel=1e-9)


# --- its parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["add", "remove"])
@pytest.mark.parametrize("q", [1e-4, 0.3])
def test_what_is_cut_from_an_update_s_losses_is_counted(direction, q):
    """Guards: a tail that is dropped, so that its probability costs nothing."""
    update = loss_distribution._Update(direction, q, 1.5, math.log(1e-3))
    losses = loss_distribution._discretize(update, 1e-3)
    assert losses.masses.sum() + math.exp(losses.log_infinite) >= 1 - 1e-9


def test_the_transform_s_rounding_is_added(monkeypatch):
    event = Event(0.01, 1.0, 100)
    exact = event.epsilon(1e-5)
    monkeypatch.setattr(loss_distribution, "_PRECISION", 1e-8)
    assert loss_distribution.epsilon(0.01, 1.0, 100, 1e-5) > exact


# --- the bound --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(**SETTINGS)
def test_never_below_the_bound_from_below_and_always_fast(log_sigma, log_q, log_updates, log_delta):
    """Guards: an accountant that underestimates.  `benchmarks/accountant.py` tries many more settings."""
    event = event_of(log_sigma, log_q, log_updates)
    start = time.process_time()
    epsilon = event.epsilon(10**log_delta)
    assert time.process_time() - start < 3  # alone on a core it takes less than a second
    assert epsilon_at_least(event, 10**log_delta) <= epsilon


@settings(deadline=None, max_examples=60)
@given(
    direction=st.sampled_from(loss_distribution.DIRECTIONS),
    log_sigma=st.floats(math.log(0.2), math.log(50)),
    log_q=st.floats(-6, -1e-6) | st.floats(-0.01, -1e-6),
    log_delta=st.floats(-12, -0.2) | st.floats(-1, -0.2),
)
def test_one_update_s_delta_is_never_below_its_closed_form(direction, log_sigma, log_q, log_delta):
    """The bound holds for every epsilon, not only where it is made to be precise; mass lost anywhere shows here."""
    q, sigma = 10**log_q, math.exp(log_sigma)
    bound = loss_distribution.compose(direction, q, sigma, 1, log_delta * math.log(10))
    if bound is None:  # not even an epsilon of 0 is exceeded
        assert q * (2 * ndtr(1 / (2 * sigma)) - 1) <= 10**log_delta * (1 + 1e-9)
        return
    losses = bound.losses[bound.losses > -50]
    sign = 1 if direction == "remove" else -1
    with np.errstate(divide="ignore", invalid="ignore"):
        x = 0.5 + sigma**2 * np.log1p(np.maximum(np.expm1(sign * losses) / q, -1.0))
    # P and Q where the loss is larger than epsilon: to the right of x (removing), or to its left (adding).
    without, drawn = ndtr(-sign * x / sigma), ndtr(-sign * (x - 1) / sigma)
    with_example = (1 - q) * without + q * drawn
    exact = with_example - np.exp(losses) * without if sign == 1 else without - np.exp(losses) * with_example
    assert np.all(np.exp(bound.log_deltas[-len(losses) :]) >= exact * (1 - 1e-9) - 1e-15)


@settings(deadline=None, max_examples=8)
@given(**SETTINGS)
def test_ten_times_finer_cells_change_less_than_a_hundredth(log_sigma, log_q, log_updates, log_delta):
    """Of 200 random settings: ``python benchmarks/accountant.py --settings 200``."""
    event, delta = event_of(log_sigma, log_q, min(log_updates, 5)), 10**log_delta
    parts = event.sampling_probability, event.noise_multiplier, event.updates, delta
    assert event.epsilon(delta) == pytest.approx(loss_distribution.epsilon(*parts, finer=10), rel=0.01)


@settings(deadline=None, max_examples=20)
@given(**SETTINGS, step=st.floats(1.005, 1.5))
def test_more_noise_costs_less_and_more_sampling_or_updates_cost_more(log_sigma, log_q, log_updates, log_delta, step):
    event, delta = event_of(log_sigma, log_q, log_updates), 10**log_delta
    q, sigma, updates = event.sampling_probability, event.noise_multiplier, event.updates
    epsilon = event.epsilon(delta)
    assert Event(q, sigma * step, updates).epsilon(delta) <= epsilon
    assert Event(min(q * step, 1.0), sigma, updates).epsilon(delta) >= epsilon
    assert Event(q, sigma, math.ceil(updates * step)).epsilon(delta) >= epsilon


# Noise, examples, updates, delta of batches of one: cells of fixed width made these up to seven times too large, and
# jumped between noise of 1.49 and 1.5.
RARE = [
    (0.8, 60_000, 1000, 1e-5),
    (0.8, 60_000, 600_000, 1e-5),
    (1.4, 60_000, 600_000, 1e-5),
    (1.0, 10_000, 10_000, 1e-5),
]


@pytest.mark.parametrize(("sigma", "examples", "updates", "delta"), RARE)
def test_a_rarely_drawn_example_costs_what_it_costs(sigma, examples, updates, delta):
    event = Event(1 / examples, sigma, updates)
    below = epsilon_at_least(event, delta)
    assert 0 < below <= event.epsilon(delta) <= below * 1.01


def test_a_little_more_noise_changes_little():
    less, more = (Event(1 / 60_000, sigma, 600_000).epsilon(1e-5) for sigma in (1.49, 1.5))
    assert more < less < more * 1.02


@pytest.mark.parametrize(("sigma", "q", "delta"), [(0.7122, 1e-5, 1e-20), (0.702, 1e-5, 1e-20), (0.8, 1e-3, 1e-14)])
def test_one_rarely_drawn_update_at_a_tiny_delta_has_its_closed_form(sigma, q, delta):
    """Errors of the Fourier transform were weighed at Chernoff's epsilon, and were a fifth of delta at the true one."""

    def excess(epsilon):
        x = 0.5 + sigma**2 * math.log1p(math.expm1(epsilon) / q)
        without = ndtr(-x / sigma)
        return (1 - q) * without + q * ndtr((1 - x) / sigma) - math.exp(epsilon) * without - delta

    assert Event(q, sigma, 1).epsilon(delta) == pytest.approx(brentq(excess, 1e-6, 20), rel=1e-3)


@pytest.mark.parametrize(
    ("sigma", "q", "updates", "delta", "cell"),
    [(3.0, 0.08, 500, 1e-5, 2e-4), (1.0, 0.01, 100, 1e-6, 2e-4), (2.0, 0.9, 3, 1e-3, 1e-3), (0.7, 0.3, 20, 1e-8, 2e-3)],
)
def test_dp_accounting_agrees(sigma, q, updates, delta, cell):
    """Google's code: between its estimates from below and from above, or a little below the latter's cells."""
    for pessimistic in (True, False):
        theirs = others.from_gaussian_mechanism(
            sigma, sampling_prob=q, value_discretization_interval=cell, pessimistic_estimate=pessimistic
        ).self_compose(updates)
        epsilon, their_epsilon = Event(q, sigma, updates).epsilon(delta), theirs.get_epsilon_for_delta(delta)
        if pessimistic:
            assert epsilon == pytest.approx(their_epsilon, rel=2e-3)
        else:
            assert epsilon >= their_epsilon


@pytest.mark.parametrize("delta", [1e-16, 1e-25, 1e-60, 1e-200])
def test_a_tiny_delta_is_no_obstacle(delta):
    """Rounding errors of a plain Fourier transform are about 1e-16: below that, every epsilon used to be infinite."""
    event = Event(0.05, 1.2, 300)
    below = epsilon_at_least(event, delta)
    assert 0 < below <= event.epsilon(delta) <= below * 1.01


def test_an_example_that_is_hardly_ever_drawn_costs_nothing():
    """Where delta is no less than the chance of being drawn at all, epsilon is 0; where it is less, it is not."""
    assert Event(1e-6, 1.0, 100).epsilon(1.01e-4) == 0
    assert Event(1e-6, 0.01, 100).epsilon(0.9e-4) > 0


def test_adding_an_example_is_looked_at_too():
    """Here the two directions are close; each is a bound of its own."""
    q, sigma, updates, delta = 0.3, 20.0, 50, 1e-3
    remove, add = (
        loss_distribution.compose(direction, q, sigma, updates, math.log(delta)).epsilon(math.log(delta))
        for direction in loss_distribution.DIRECTIONS
    )
    assert add < remove < add * 1.1
    assert Event(q, sigma, updates).epsilon(delta) == max(add, remove)


def test_a_delta_that_is_no_probability_is_refused():
    for delta in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="delta"):
            epsilon_at_least(Event(0.1, 1.0, 10), delta)
