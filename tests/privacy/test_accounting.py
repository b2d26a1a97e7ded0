"""What an update costs: published numbers, closed forms and accountants written or published by others."""

import json
import math
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import ndtr

from trilemma.errors import InputError, PrivacyError
from trilemma.privacy import Event, check_delta, epsilon, noise_multiplier
from trilemma.privacy.accounting import (
    LARGEST_NOISE_MULTIPLIER,
    SMALLEST_NOISE_MULTIPLIER,
    sampling_probability,
)

N, DELTA = 50_000, 1e-5


def spent(sigma, batch_size, updates, accountant="pld"):
    return epsilon(
        noise_multiplier=sigma,
        delta=DELTA,
        batch_size=batch_size,
        updates=updates,
        examples=N,
        accountant=accountant,
    )


def gaussian_epsilon(mu, delta):
    """mu-GDP as (epsilon, delta) in closed form (Balle and Wang 2018, Dong et al. 2019)."""

    def excess(e):
        return ndtr(-e / mu + mu / 2) - math.exp(e) * ndtr(-e / mu - mu / 2) - delta

    return optimize.brentq(excess, 0, 500, xtol=1e-12) if excess(0) > 0 else 0.0


# --- published numbers ------------------------------------------------------------------------------------------------

# Computed with dp-accounting 0.6.0: noise multiplier, updates, epsilon by RDP and by PLD; batch 4096, 50,000 examples,
# delta 1e-5.
PAIRS = [
    (10, 875, 0.988, 0.903),
    (10, 725, 0.893, 0.815),
    (6, 1125, 2.000, 1.836),
    (5, 1593, 2.983, 2.747),
    (4, 1687, 3.996, 3.688),
    (3, 1843, 5.952, 5.507),
    (3, 2468, 7.046, 6.529),
]


@pytest.mark.parametrize(("sigma", "updates", "rdp", "pld"), PAIRS)
def test_epsilon_of_the_published_pairs(sigma, updates, rdp, pld):
    """As dp-accounting has it, to the third digit."""
    assert spent(sigma, 4096, updates) == pytest.approx(pld, abs=6e-4)
    assert spent(sigma, 4096, updates, "rdp") == pytest.approx(rdp, abs=6e-4)


# Computed with dp-accounting 0.6.0: batch size, updates, {epsilon: (noise multiplier by PLD, by RDP)}.
TABLE = {
    (4096, 875): {1: (9.128, 9.890), 2: (4.933, 5.314), 4: (2.756, 2.945), 8: (1.641, 1.734)},
    (4096, 2500): {1: (15.372, 16.621), 2: (8.233, 8.866), 4: (4.512, 4.826), 8: (2.576, 2.730)},
    (2048, 1000): {1: (4.939, 5.347), 2: (2.725, 2.928), 4: (1.602, 1.702), 8: (1.046, 1.098)},
    (1024, 1500): {1: (3.088, 3.335), 2: (1.767, 1.888), 4: (1.120, 1.181), 8: (0.803, 0.838)},
}
CELLS = [(b, t, e, *sigmas) for (b, t), row in TABLE.items() for e, sigmas in row.items()]


@pytest.mark.parametrize(("batch_size", "updates", "target", "pld", "rdp"), CELLS)
def test_epsilon_of_the_table_s_noise(batch_size, updates, target, pld, rdp):
    """The noise of the table meets its epsilon, and wastes little of it."""
    assert target * 0.995 <= spent(pld, batch_size, updates) <= target * 1.001
    assert target * 0.995 <= spent(rdp, batch_size, updates, "rdp") <= target * 1.001


CALIBRATED = [("pld", c) for c in (CELLS[0], CELLS[7], CELLS[2], CELLS[15])] + [("rdp", c) for c in CELLS[::4]]


@pytest.mark.parametrize(("accountant", "cell"), CALIBRATED)
def test_calibration_finds_the_table_s_noise(accountant, cell):
    """The table's within 0.5 %, never more noise than the table says (to its last digit), and no smaller one fits."""
    batch_size, updates, target, pld, rdp = cell
    expected = pld if accountant == "pld" else rdp
    sigma = noise_multiplier(
        epsilon=target,
        delta=DELTA,
        batch_size=batch_size,
        updates=updates,
        examples=N,
        accountant=accountant,
    )
    last_digit = 10.0 ** (math.floor(math.log10(sigma)) - 3)
    assert expected * 0.995 <= sigma <= expected + 5e-4 + last_digit  # the table rounds to nearest, we round up
    assert spent(sigma, batch_size, updates, accountant) <= target
    assert round(sigma / last_digit) == pytest.approx(sigma / last_digit, abs=1e-6)
    assert spent(sigma - last_digit, batch_size, updates, accountant) > target


# --- second opinions --------------------------------------------------------------------------------------------------

SETTINGS = [
    (3.0, 4096 / N, 2468, 1e-5),
    (10.0, 4096 / N, 875, 1e-5),
    (1.046, 2048 / N, 1000, 1e-5),
    (0.803, 1024 / N, 1500, 1e-5),
    (1.0, 0.01, 100, 1e-6),
    (2.5, 0.5, 40, 1e-5),
    (2.0, 0.9, 3, 1e-3),
    (4.0, 0.001, 1000, 1e-7),
]


@pytest.mark.parametrize(("sigma", "q", "updates", "delta"), SETTINGS[1:4])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_opacus_agrees(sigma, q, updates, delta):
    """Guards: an accountant that underestimates.  PRV within the error it states itself, RDP by its own bound."""
    pytest.importorskip("opacus")
    from opacus.accountants.analysis import rdp
    from opacus.accountants.prv import PRVAccountant

    event = Event(q, sigma, updates)
    book = PRVAccountant()
    book.history = [(sigma, q, updates)]
    low, _, high = book._get_dprv(eps_error=0.01, delta_error=delta / 1000).compute_epsilon(delta, delta / 1000, 0.01)
    assert low <= event.epsilon(delta) <= high
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(12, 256))
    theirs = rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=updates, orders=orders)
    their_epsilon = rdp.get_privacy_spent(orders=orders, rdp=theirs, delta=delta)[0]
    assert event.epsilon(delta, accountant="rdp") == pytest.approx(their_epsilon, rel=0.01)


@pytest.mark.parametrize(("sigma", "updates"), [(1.0, 1), (4.6494, 60), (0.5, 1), (20.0, 400), (100.0, 10)])
@pytest.mark.parametrize("delta", [1e-5, 1e-2])
def test_the_full_batch_is_the_gaussian_mechanism(sigma, updates, delta):
    """Without sampling the composition has a closed form."""
    exact = gaussian_epsilon(math.sqrt(updates) / sigma, delta)
    event = Event(1.0, sigma, updates)
    assert event.epsilon(delta) == pytest.approx(exact, rel=1e-9)
    assert event.epsilon(delta, accountant="rdp") >= exact


def test_the_numbers_of_the_linear_head():
    """Sigma of the full-batch recipe at epsilon 8 and 1 (60 updates, closed form)."""
    for target, sigma in ((8, 4.6494), (1, 28.8973)):
        noise = noise_multiplier(epsilon=target, delta=DELTA, batch_size=N, updates=60, examples=N)
        assert noise == pytest.approx(sigma, rel=1e-3)
        assert gaussian_epsilon(math.sqrt(60) / noise, DELTA) <= target


def test_shuffled_batches_would_cost_more_than_is_said():
    """Guards: shuffled batches accounted as Poisson; replace-one counted as add-or-remove.

    The bound printed is for add-or-remove-one neighbors: replacing one example costs more, as the Gaussian with
    twice the sensitivity shows, and is nowhere claimed.
    """
    assert Event(1.0, 2.0, 1).epsilon(1e-5) < gaussian_epsilon(2 / 2.0, 1e-5) * 0.6


# --- properties -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=4)
@given(
    target=st.floats(0.3, 12),
    batch_size=st.integers(1, 1000),
    updates=st.integers(1, 2000),
    log_delta=st.floats(-8, -4),
)
def test_calibration_never_overshoots_by_rdp(target, batch_size, updates, log_delta):
    """Guards: calibration overshoots the target."""
    values = {"delta": 10**log_delta, "batch_size": batch_size, "updates": updates, "examples": 1000}
    sigma = noise_multiplier(epsilon=target, accountant="rdp", **values)
    assert epsilon(noise_multiplier=sigma, accountant="rdp", **values) <= target
    assert epsilon(noise_multiplier=sigma * 0.99, accountant="rdp", **values) > target


@settings(deadline=None, max_examples=12)
@example(log_target=0.0, log_batch_size=0.0, log_updates=0.0, log_delta=-20.0)
@given(
    log_target=st.floats(-2, 2),
    log_batch_size=st.floats(0, 5),
    log_updates=st.floats(0, 5),
    log_delta=st.floats(-20, -6),
)
def test_calibration_never_overshoots_and_wastes_nothing(log_target, log_batch_size, log_updates, log_delta):
    """Guards: calibration overshoots the target.  It also answers, or says that it cannot, within 30 evaluations of the
    accountant, which take some 10 seconds where each is slowest (``benchmarks/accountant.py``)."""
    target = 10**log_target
    values = {
        "delta": 10**log_delta,
        "batch_size": round(10**log_batch_size),
        "updates": round(10**log_updates),
        "examples": 100_000,
    }
    sigma = math.inf
    with (
        patch.object(Event, "epsilon", autospec=True, side_effect=Event.epsilon) as accountant,
        suppress(InputError),
    ):
        sigma = noise_multiplier(epsilon=target, **values)
    assert accountant.call_count <= 30
    if sigma == math.inf:
        assert epsilon(noise_multiplier=LARGEST_NOISE_MULTIPLIER, **values) > target
        return
    assert epsilon(noise_multiplier=sigma, **values) <= target
    assert sigma == SMALLEST_NOISE_MULTIPLIER or epsilon(noise_multiplier=sigma * 0.995, **values) > target


def test_calibration_of_a_rarely_drawn_example_answers():
    """Search and check saw different cells, and the steps from one to the other went on for minutes."""
    values = {"delta": 1e-5, "batch_size": 1, "updates": 1000, "examples": 60_000}
    sigma = noise_multiplier(epsilon=0.01, **values)
    assert epsilon(noise_multiplier=sigma, **values) <= 0.01
    assert epsilon(noise_multiplier=sigma - 0.001, **values) > 0.01


@settings(deadline=None, max_examples=6)
@given(q=st.floats(0.01, 1), sigma=st.floats(2, 10), updates=st.integers(1, 300), log_delta=st.floats(-7, -3))
def test_rdp_is_never_below_pld(q, sigma, updates, log_delta):
    """Rényi accounting is a second opinion that is never smaller, as the module's docstring says."""
    event = Event(q, sigma, updates)
    assert event.epsilon(10**log_delta, accountant="rdp") >= event.epsilon(10**log_delta) - 1e-9


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_epsilon_moves_the_right_way(accountant):
    """More noise costs less; more updates, larger batches and smaller deltas cost more."""

    def cost(sigma=5.0, q=0.1, updates=200, delta=1e-5):
        return Event(q, sigma, updates).epsilon(delta, accountant=accountant)

    for values in (
        [cost(sigma=s) for s in (16.0, 8.0, 5.0, 3.0)],
        [cost(q=q) for q in (0.02, 0.1, 0.4, 1.0)],
        [cost(updates=t) for t in (1, 20, 200, 400)],
        [cost(delta=d) for d in (1e-3, 1e-5, 1e-7)],
    ):
        assert values == sorted(values)
        assert values[0] < values[-1]
        assert all(v > 0 and math.isfinite(v) for v in values[1:])


def test_nothing_done_costs_nothing():
    assert Event(0.1, 1.0, 0).epsilon(1e-5) == 0.0
    assert Event(0.1, 1.0, 0).epsilon(1e-5, accountant="rdp") == 0.0


def test_one_update_more_costs_more():
    """Guards: number of updates wrong by one."""
    costs = [Event(0.25, 1.0, t).epsilon(1e-5, accountant="rdp") for t in (3, 4, 5)]
    assert costs[0] < costs[1] < costs[2]
    costs = [Event(1.0, 3.0, t).epsilon(1e-5) for t in (3, 4, 5)]
    assert costs[0] < costs[1] < costs[2]


# --- refused ----------------------------------------------------------------------------------------------------------


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan, math.inf])
def test_a_delta_that_is_no_probability_is_refused(delta):
    for call in (
        lambda: check_delta(delta),
        lambda: Event(0.1, 1.0, 5).epsilon(delta),
        lambda: epsilon(noise_multiplier=1.0, delta=delta, batch_size=1, updates=1, examples=10),
        lambda: noise_multiplier(epsilon=1.0, delta=delta, batch_size=1, updates=1, examples=10),
    ):
        with pytest.raises(InputError, match="delta") as caught:
            call()
        one_line(caught)


def test_a_delta_of_one_in_n_is_refused_unless_forced():
    """Guards: delta of 1/N or more."""
    check_delta(0.9e-3, 1000)
    for delta in (1e-3, 0.5):
        with pytest.raises(PrivacyError, match="1/N") as caught:
            check_delta(delta, 1000)
        assert "allow-large-delta" in one_line(caught)
        check_delta(delta, 1000, allow_large=True)
    with pytest.raises(InputError):
        check_delta(1.5, 1000, allow_large=True)


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_an_epsilon_that_is_no_budget_is_refused(target):
    with pytest.raises(InputError, match="epsilon") as caught:
        noise_multiplier(epsilon=target, delta=1e-5, batch_size=10, updates=5, examples=100)
    one_line(caught)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 101}, "larger than the data"),
        ({"batch_size": 0}, "batch size"),
        ({"batch_size": -5}, "batch size"),
        ({"examples": 0}, "examples"),
        ({"updates": 0}, "updates"),
        ({"updates": -1}, "updates"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, words):
    values = {"delta": 1e-5, "batch_size": 10, "updates": 5, "examples": 100} | changes
    for call in (
        lambda: noise_multiplier(epsilon=1.0, **values),
        lambda: epsilon(noise_multiplier=1.0, **values),
    ):
        with pytest.raises(InputError, match=words) as caught:
            call()
        one_line(caught)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_noise_that_is_none_is_refused(sigma):
    with pytest.raises(InputError, match="noise multiplier"):
        epsilon(noise_multiplier=sigma, delta=1e-5, batch_size=10, updates=5, examples=100)


@pytest.mark.parametrize("q", [0.0, -0.1, 1.0001, math.nan])
def test_a_rate_that_is_none_is_refused(q):
    with pytest.raises(PrivacyError, match="sampling probability"):
        Event(q, 1.0, 5)


def test_an_unknown_accountant_is_refused():
    """Guards: an accountant that underestimates (CLT-GDP) is refused."""
    for name in ("gdp", "prv", "clt", ""):
        with pytest.raises(InputError, match="accountant"):
            Event(0.1, 1.0, 5).epsilon(1e-5, accountant=name)


def test_a_budget_out_of_reach_is_refused_with_the_way_out():
    """Issue 2: epsilon too small to reach."""
    for target in (1e-9, 1e-300):
        with pytest.raises(InputError, match="out of reach") as caught:
            noise_multiplier(epsilon=target, delta=1e-7, batch_size=50, updates=1000, examples=100)
        assert "larger epsilon" in one_line(caught)


def test_what_is_within_the_limit_of_the_search_is_found():
    """``LARGEST_NOISE_MULTIPLIER`` is what the text says: only a target that needs more is out of reach."""
    sigma = 0.97 * LARGEST_NOISE_MULTIPLIER
    target = Event(1.0, sigma, 1).epsilon(1e-6) * 1.0001
    noise = noise_multiplier(epsilon=target, delta=1e-6, batch_size=10, updates=1, examples=10)
    assert noise <= sigma * 1.001


class Slow(Exception):
    pass


@contextmanager
def at_most(seconds):
    """A search without end is interrupted."""

    def stop(signum, frame):
        raise Slow(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
@pytest.mark.parametrize(
    ("target", "delta", "batch_size", "updates", "examples"),
    [
        (1.0, 0.9, 10, 10, 100),
        (1.0, 1.9e-5, 1, 1, 50_000),
        (1e7, 1e-5, 100, 10, 100),
        (1e5, 1e-5, 10, 10, 100),
    ],
    ids=["any noise will do", "a batch of one", "huge, full batch", "huge, sampled"],
)
def test_a_search_always_ends(target, delta, batch_size, updates, examples):
    """If delta is near or above the chance of being drawn at all, or epsilon is huge, there is no sensible least noise.

    Either an answer or a refusal, in the end and in little memory.
    """
    with at_most(90), suppress(InputError):
        sigma = noise_multiplier(epsilon=target, delta=delta, batch_size=batch_size, updates=updates, examples=examples)
        assert sigma > 0


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_event_survives_being_stored():
    """Stored with the run, so that any later accountant can recompute epsilon."""
    event = Event(4096 / 50_000, 2.576, 2500)
    again = Event.from_dict(json.loads(json.dumps(event.to_dict())))
    assert again == event
    assert again.epsilon(1e-5) == event.epsilon(1e-5)
    assert event.to_dict()["mechanism"] == "poisson-sampled gaussian"


@pytest.mark.parametrize("mechanism", ["gaussian", "shuffled gaussian", "poisson-sampled laplace", "", None])
def test_an_event_of_another_mechanism_is_refused(mechanism):
    """Guards: shuffled batches accounted as Poisson."""
    values = Event(0.1, 1.0, 5).to_dict() | {"mechanism": mechanism}
    with pytest.raises(PrivacyError, match="mechanism"):
        Event.from_dict(values)
    del values["mechanism"]
    with pytest.raises(PrivacyError, match="mechanism"):
        Event.from_dict(values)


def test_a_stored_event_is_checked_again():
    values = Event(0.1, 1.0, 5).to_dict()
    for changes in ({"sampling_probability": 0}, {"noise_multiplier": 0}, {"updates": -1}):
        with pytest.raises(PrivacyError):
            Event.from_dict(values | changes)


def test_the_rate_is_the_expected_batch_over_the_data():
    """Guards: accumulation forgotten in the sampling rate: the physical batch plays no part."""
    assert sampling_probability(4096, 50_000) == 4096 / 50_000
    assert sampling_probability(7, 7) == 1.0


def test_accounting_does_not_wait_for_torch():
    """The package's docstring says so: names are imported when they are first used."""
    code = (
        "import sys, trilemma.privacy as p\n"
        "assert p.epsilon(noise_multiplier=2.0, delta=1e-5, batch_size=10, updates=5, examples=10) > 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
