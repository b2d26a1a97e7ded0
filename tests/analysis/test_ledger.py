"""The cost of a study's private trials, against closed forms, another accountant, and exact selections."""

import functools
import itertools
import json
import math
from collections import Counter

import dp_accounting
import numpy as np
import pytest
from dp_accounting.dp_event import RepeatAndSelectDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp, ndtr
from scipy.stats import norm

from trilemma.analysis import selection
from trilemma.analysis.ledger import ledger_of
from trilemma.analysis.private_trial import PrivateTrial, data_family
from trilemma.analysis.selection import DISTRIBUTIONS, GridCost
from trilemma.data.named import NAMED
from trilemma.errors import InputError, PrivacyError
from trilemma.privacy import Event

DELTA = 1e-5
GAUSSIAN = Event(1.0, 4.0, 1)
SAMPLED = [Event(0.05, 1.5, 60), Event(0.2, 3.0, 40), Event(0.02, 0.9, 80)]
few = settings(max_examples=8, deadline=None)
events = st.builds(Event, st.just(1.0), st.floats(3.0, 30.0), st.integers(1, 20))


def trial(event=GAUSSIAN, *, id="a", family="cifar10", delta=DELTA, epsilon=None, **more):
    return PrivateTrial(id, id, family, event, delta, event.epsilon(delta) if epsilon is None else epsilon, **more)


def trials(events, **more):
    return [trial(event, id=f"t{n}", **more) for n, event in enumerate(events)]


def composed(events, delta=DELTA, **more):
    return GridCost(events, delta=delta).all_released(**more)


def gaussian_epsilon(mu, delta=DELTA):
    """Balle and Wang (2018): delta(e) of a Gaussian mechanism with sensitivity over noise mu."""

    def excess(e):
        return norm.cdf(mu / 2 - e / mu) - math.exp(e + norm.logcdf(-mu / 2 - e / mu)) - delta

    return 0.0 if excess(0.0) <= 0 else brentq(excess, 0.0, mu * mu + 20 * mu)


def mu_of(events):
    return math.sqrt(sum(event.updates / event.noise_multiplier**2 for event in events))


# --- all released -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "count"), [(SAMPLED[0], 1), (SAMPLED[1], 10), (SAMPLED[2], 3)])
def test_equal_trials_cost_as_much_as_one_that_is_longer(event, count):
    longer = Event(event.sampling_probability, event.noise_multiplier, event.updates * count)
    for accountant in ("pld", "rdp"):
        expected = longer.epsilon(DELTA, accountant=accountant)
        assert composed([event] * count, accountant=accountant) == pytest.approx(expected, rel=1e-3)
    release = dp_accounting.PoissonSampledDpEvent(
        event.sampling_probability, dp_accounting.GaussianDpEvent(event.noise_multiplier)
    )
    book = PLDAccountant(value_discretization_interval=selection._CELL)
    book.compose(release, longer.updates)
    assert composed([event] * count) == pytest.approx(book.get_epsilon(DELTA), rel=1e-9)


@few
@given(st.lists(events, min_size=1, max_size=6))
def test_full_batches_cost_what_the_closed_form_says(grid):
    """Gaussian mechanisms compose to one whose squared mu is the sum, which needs no accountant."""
    exact = gaussian_epsilon(mu_of(grid))
    assert exact * (1 - 1e-6) - 1e-6 <= composed(grid) <= exact * 1.002 + 2e-3
    assert composed(grid) <= composed(grid, accountant="rdp") + 1e-3


def own_epsilon(grid, delta, span=40.0, cells=2**18):
    """The composition of different sampled Gaussians from the definition: losses on a grid, one product of FFTs."""
    losses = (np.arange(cells) - cells // 2) * (span / cells)
    edges = np.append(losses, losses[-1] + span / cells) - span / cells / 2
    worst = 0.0
    for removing in (True, False):
        spectrum = np.ones(cells // 2 + 1, dtype=complex)
        for event in grid:
            q, sigma = event.sampling_probability, event.noise_multiplier
            with np.errstate(divide="ignore", invalid="ignore"):
                inside = (np.exp(edges if removing else -edges) - (1 - q)) / q
                x = np.where(inside > 0, sigma**2 * np.log(inside) + 0.5, -np.inf)
            below = (1 - q) * ndtr(x / sigma) + q * ndtr((x - 1) / sigma) if removing else ndtr(-x / sigma)
            spectrum *= np.fft.rfft(np.fft.ifftshift(np.diff(below))) ** event.updates
        masses = np.fft.fftshift(np.clip(np.fft.irfft(spectrum, cells), 0, None))

        def excess(e, masses=masses):
            above = losses > e
            return float(masses[above] @ -np.expm1(e - losses[above])) - delta

        worst = max(worst, brentq(excess, 0.0, span / 2 - 1))
    return worst


def test_different_trials_cost_what_another_accountant_says():
    grid = [SAMPLED[0], SAMPLED[1], SAMPLED[1], SAMPLED[2]]
    exact = own_epsilon(grid, DELTA)
    assert exact * 0.999 <= composed(grid) <= exact * 1.005
    assert composed(grid, accountant="rdp") >= exact


def test_together_is_between_the_dearest_and_the_sum():
    alone = [event.epsilon(DELTA) for event in SAMPLED]
    split = sum(event.epsilon(DELTA / len(SAMPLED)) for event in SAMPLED)
    assert max(alone) < composed(SAMPLED) < split * 1.001


@few
@given(st.lists(events, min_size=2, max_size=5), st.data())
def test_no_part_of_a_study_costs_more_than_the_whole(grid, data):
    part = data.draw(st.lists(st.sampled_from(range(len(grid))), min_size=1, unique=True))
    assert composed([grid[n] for n in part]) <= composed(grid) * 1.001 + 1e-3


@settings(max_examples=5, deadline=None)
@given(st.lists(events, min_size=1, max_size=3))
def test_the_ledger_charges_at_least_the_composed_trials(grid):
    """Guards: tuning not charged."""
    every = ledger_of(trials(grid)).families[0].all_released
    assert every.status == "covered"
    assert every.epsilon == every.composed
    assert every.epsilon >= gaussian_epsilon(mu_of(grid)) - 1e-6
    assert every.epsilon >= max(event.epsilon(DELTA) for event in grid) - 1e-3
    assert every.composed_rdp >= every.composed


def test_the_strictest_delta_counts():
    mixed = [trial(id="a", delta=1e-5), trial(id="b", delta=1e-7)]
    every = ledger_of(mixed).families[0].all_released
    assert every.delta == 1e-7
    assert every.epsilon == pytest.approx(gaussian_epsilon(mu_of([GAUSSIAN] * 2), 1e-7), rel=1e-3)
    assert "at its own delta" in " ".join(ledger_of(mixed).sentences())


def test_a_trial_without_an_update_costs_nothing_and_counts():
    idle = Event(0.1, 1.0, 0)
    family = ledger_of(trials([GAUSSIAN, idle])).families[0]
    assert family.all_released.counted == 2
    assert family.all_released.epsilon == pytest.approx(GAUSSIAN.epsilon(DELTA), rel=1e-3)
    assert ledger_of([trial(idle)]).families[0].all_released.epsilon == 0
    mixed, whole = (GridCost(grid, delta=DELTA) for grid in ([GAUSSIAN, idle], [GAUSSIAN]))
    assert mixed.best_of_random("geometric", mean=1).epsilon < whole.best_of_random("geometric", mean=1).epsilon
    assert GridCost([idle], delta=DELTA).best_of_random("Poisson", mean=3).epsilon_pld == 0


def test_a_huge_loss_takes_neither_memory_nor_time():
    grid = [Event(1.0, 0.3, 500), Event(0.9, 0.3, 1), Event(0.8, 0.3, 1)]
    exact = gaussian_epsilon(mu_of(grid))  # of full batches, which cost more
    assert exact * 0.97 <= composed(grid) <= exact * 1.01


# --- the best of a random number --------------------------------------------------------------------------------------


def weights(shape, gamma, mean, most=6_000):
    """P(K = k) of the distributions, from their definitions (Papernot and Steinke's Definition 1, and Poisson)."""
    k = np.arange(1, most)
    if shape == math.inf:
        return k, np.exp(k * math.log(mean) - mean - gammaln(k + 1))
    if shape == 0:
        return k, (1 - gamma) ** k / k / math.log(1 / gamma)
    logs = k * math.log1p(-gamma) + gammaln(k + shape) - gammaln(k + 1) - gammaln(shape)
    return k, np.exp(logs) / math.expm1(-shape * math.log(gamma))


def exact_best(sigma, slope, *, highest=True, delta=DELTA):
    """What the best of K Gaussian scores N(0, sigma^2) costs against N(1, sigma^2), by integrating its density.

    ``slope`` is the derivative of K's generating function.  The score is the whole output, the best is the highest
    (or lowest) score.
    """
    y, step = np.linspace(-12 * sigma, 1 + 12 * sigma, 40_001, retstep=True)
    densities = []
    for mean in (0.0, 1.0):
        at_most = ndtr((y - mean) / sigma) if highest else ndtr((mean - y) / sigma)
        densities.append(slope(at_most) * norm.pdf(y, mean, sigma))
    worst = 0.0
    for here, other in (densities, densities[::-1]):

        def excess(e, here=here, other=other):
            return float(np.clip(here - math.exp(e) * other, 0, None).sum() * step) - delta

        worst = max(worst, 0.0 if excess(0.0) <= 0 else brentq(excess, 0.0, 300.0))
    return worst


@functools.cache
def slope_of(shape, gamma, mean):
    k, chance = weights(shape, gamma, mean)
    z = np.concatenate([np.linspace(0, 0.9, 300), 1 - np.geomspace(0.1, 1e-7, 700), [1.0]])
    table = np.array([(k * chance) @ (value ** (k - 1)) for value in z])
    return lambda at_most: np.interp(at_most, z, table)


@pytest.mark.parametrize("mean", [2.0, 8.0, 60.0])
@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, 3.0])
def test_the_distribution_has_the_mean_that_was_asked_for(shape, mean):
    gamma = selection._stop(mean, shape)
    k, chance = weights(shape, gamma, mean, most=20_000)
    assert chance.sum() == pytest.approx(1, abs=1e-9)
    assert mean * (1 - 1e-11) <= (k * chance).sum() <= mean * (1 + 1e-6), "rounded to the safe side"
    # The generating function's derivative is the power that the proof speaks of.
    z = np.linspace(0, 1, 7)
    slopes = np.array([(k * chance) @ (value ** (k - 1)) for value in z])
    assert np.allclose(slopes, mean * (1 + (1 - gamma) * (1 - z) / gamma) ** -(1 + shape), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.6, 3.0])
@pytest.mark.parametrize("mean", [1.5, 40.0])
@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, math.inf])
def test_no_bound_is_below_what_a_selection_really_costs(shape, mean, sigma):
    selection = GridCost([Event(1.0, sigma, 1)], delta=DELTA).best_of_random(shape, mean=mean)
    slope = slope_of(shape, selection.stop, mean)
    for highest in (True, False):
        exact = exact_best(sigma, slope, highest=highest)
        assert exact <= selection.epsilon_pld
        assert exact <= selection.epsilon_rdp
    assert selection.epsilon == min(selection.epsilon_pld, selection.epsilon_rdp)


@pytest.mark.parametrize("grid", [[2.0], [1.0, 1.0, 3.0]], ids=["one", "three"])
@pytest.mark.parametrize("shape", [0.0, 0.5, 1.0, math.inf])
def test_the_bound_is_the_one_that_the_text_derives(shape, grid):
    """The bound, from closed-form profiles of Gaussian mechanisms and a dense search."""

    def profile(e):
        return sum(norm.cdf(mu / 2 - e / mu) - np.exp(e + norm.logcdf(-mu / 2 - e / mu)) for mu in mus) / len(mus)

    mean, mus = 12.0, [1 / sigma for sigma in grid]
    selection = GridCost([Event(1.0, sigma, 1) for sigma in grid], delta=DELTA).best_of_random(shape, mean=mean)
    first = brentq(lambda e: profile(e) - DELTA / mean, 0, 50)
    h = np.linspace(0, first, 20_000)
    penalties = mean * (np.exp(h) - 1 + profile(h))
    if shape < math.inf:
        penalties = (1 + shape) * np.log(np.exp(h) + profile(h) * (1 - selection.stop) / selection.stop)
    assert selection.epsilon_pld == pytest.approx(first + penalties.min(), rel=5e-3)
    assert selection.epsilon_pld >= first + penalties.min()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_the_best_of_a_fixed_number_can_cost_more_than_the_bounds(sigma):
    """Why a fixed grid is not covered: the best of exactly ten against the bounds for ten on average."""
    fixed = exact_best(sigma, lambda at_most: 10 * at_most**9)
    cost = GridCost([Event(1.0, sigma, 1)] * 10, delta=DELTA)
    for name in ("logarithmic", "geometric"):
        assert fixed > cost.best_of_random(name, mean=10).epsilon
    assert fixed <= cost.all_released()


@pytest.mark.parametrize("event", [Event(0.05, 1.5, 60), Event(1.0, 5.0, 3)])
def test_the_theorems_are_those_of_dp_accounting(event):
    release = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_probability < 1:
        release = dp_accounting.PoissonSampledDpEvent(event.sampling_probability, release)
    cost = GridCost([event] * 3, delta=DELTA)
    for shape, mean in itertools.product((0.0, 0.5, 1.0, math.inf), (1.0, 7.0, 40.0)):
        book = RdpAccountant()
        book.compose(RepeatAndSelectDpEvent(dp_accounting.SelfComposedDpEvent(release, event.updates), mean, shape))
        selection = cost.best_of_random(shape, mean=mean)
        assert selection.epsilon_rdp == pytest.approx(book.get_epsilon(DELTA), rel=1e-6)


@pytest.mark.parametrize("by_score", [True, False])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_grid_of_different_trials_is_bounded_too(name, by_score):
    """Each run draws one of two noise levels; the best is the one with the best score, or first of all the one with a
    given level."""
    sigmas, mean = (0.7, 2.0), 6.0
    selection = GridCost([Event(1.0, sigma, 1) for sigma in sigmas], delta=DELTA).best_of_random(name, mean=mean)
    slope = slope_of(selection.shape, selection.stop, mean)
    y, step = np.linspace(-25, 26, 100_001, retstep=True)
    densities = []
    for center in (0.0, 1.0):
        below = [ndtr((y - center) / sigma) for sigma in sigmas]
        at_most = [sum(below) / 2] * 2 if by_score else [below[0] / 2, (1 + below[1]) / 2]
        density = [norm.pdf(y, center, sigma) / 2 for sigma in sigmas]
        densities.append(np.concatenate([slope(a) * d for a, d in zip(at_most, density, strict=True)]))
    for here, other in (densities, densities[::-1]):
        for bound in (selection.epsilon_pld, selection.epsilon_rdp):
            assert np.clip(here - math.exp(bound) * other, 0, None).sum() * step <= DELTA


@pytest.mark.parametrize("grid", [SAMPLED[:1], SAMPLED[:2]], ids=["one", "two"])
def test_a_selection_costs_more_than_a_trial_and_more_with_more_trials(grid):
    cost = GridCost(grid, delta=DELTA)
    for name in DISTRIBUTIONS:
        selection = [cost.best_of_random(name, mean=mean) for mean in (1, 2, 10, 90)]
        for bounds in ([bound.epsilon_pld for bound in selection], [bound.epsilon_rdp for bound in selection]):
            assert all(less < more for less, more in itertools.pairwise(bounds))
            assert len(grid) > 1 or bounds[0] >= grid[0].epsilon(DELTA) * (1 - 1e-4)


@pytest.mark.parametrize("name", ["logarithmic", "geometric"])
def test_exactly_one_run_costs_what_the_run_costs(name):
    selection = GridCost([SAMPLED[1]], delta=DELTA).best_of_random(name, mean=1)
    assert selection.stop == 1
    assert selection.epsilon == pytest.approx(SAMPLED[1].epsilon(DELTA), rel=2e-3)


def test_a_grid_costs_less_than_its_dearest_point_alone():
    grid = [Event(1.0, sigma, 1) for sigma in (1.0, 2.0, 4.0)]
    mixed, *alone = [GridCost(points, delta=DELTA) for points in (grid, *([event] for event in grid))]
    for name in DISTRIBUTIONS:
        selection, *each = [cost.best_of_random(name, mean=5) for cost in (mixed, *alone)]
        assert (
            min(bound.epsilon_pld for bound in each) < selection.epsilon_pld < max(bound.epsilon_pld for bound in each)
        )
        assert (
            min(bound.epsilon_rdp for bound in each) < selection.epsilon_rdp < max(bound.epsilon_rdp for bound in each)
        )


def test_a_grid_has_the_mean_of_the_divergences_exponentials():
    curves = selection._curves(Counter([Event(1.0, 3.0, 1), Event(1.0, 1.0, 1), Event(1.0, 1.0, 1)]))
    a = curves.orders  # a Gaussian mechanism has divergence a / (2 sigma^2)
    exponents = np.stack([(a - 1) * a / 2, (a - 1) * a / 18])
    assert np.allclose(curves.mixed, logsumexp(exponents, axis=0, b=[[2 / 3], [1 / 3]]) / (a - 1), rtol=1e-6)
    assert np.allclose(curves.composed, a * (1 + 1 / 18), rtol=1e-6)


@pytest.mark.parametrize("shape", [0.0, 1.0, 2.5])
def test_with_pure_epsilon_the_price_is_two_plus_shape_times(shape):
    """Liu and Talwar's 3 epsilon for a geometric number of runs; Papernot and Steinke's Corollary 3."""
    penalty = selection._penalty(np.array([0.4]), np.zeros(1), 50.0, shape, selection._stop(50.0, shape))
    assert 0.4 + penalty == pytest.approx((2 + shape) * 0.4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": 0.5}, "mean number"),
        ({"mean": math.inf}, "mean number"),
        ({"mean": math.nan}, "mean number"),
        ({"distribution": -0.1}, "shape"),
        ({"distribution": math.nan}, "shape"),
        ({"distribution": "uniform"}, "unknown distribution"),
    ],
)
def test_what_no_bound_speaks_of_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        GridCost([GAUSSIAN], delta=DELTA).best_of_random(**{"distribution": "geometric", "mean": 3} | change)


def test_an_empty_grid_and_an_impossible_delta_are_refused():
    with pytest.raises(InputError, match="empty grid"):
        GridCost([], delta=DELTA)
    for delta in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="delta"):
            GridCost([GAUSSIAN], delta=delta)


# --- which trials share examples --------------------------------------------------------------------------------------


def test_data_made_from_the_same_images_are_one_family():
    for name, known in NAMED.items():
        family = data_family(name)
        assert family in NAMED
        assert NAMED[family].skew is None, "a colored set belongs to the one it was made from"
        assert (family == name) == (known.skew is None)
    assert data_family("owner/birds:small") == data_family("owner/birds:large") == "owner/birds"
    assert data_family("./mine/") == data_family("mine")
    assert data_family("mine") != data_family("yours")


def test_trials_are_charged_with_their_family_and_no_other():
    files = [("cifar10", {}), ("cifar10s", {"skew": 0.75}), ("cifar100", {}), ("cifar10", {"limit": 500})]
    files += [("celeba", {"target": "Smiling"}), ("celeba", {"target": "Young"}), ("digits-s", {}), ("digits", {})]
    privacy = {"event": GAUSSIAN.to_dict(), "delta": DELTA, "epsilon": GAUSSIAN.epsilon(DELTA)}
    made = [
        PrivateTrial.from_files(
            f"t{n}", {"recipe": {"seed": n}, "data": {"name": name} | options, "removal": None}, privacy
        )
        for n, (name, options) in enumerate(files)
    ]
    ledger = ledger_of(made)
    sizes = {family.name: len(family.trials) for family in ledger.families}
    assert sizes == {"cifar10": 3, "cifar100": 1, "celeba": 2, "digits": 2}
    for family in ledger.families:
        expected = gaussian_epsilon(mu_of([GAUSSIAN] * len(family.trials)))
        assert family.all_released.epsilon == pytest.approx(expected, rel=1e-3)
    rows = {row["trial"]: row["same_examples"] for row in ledger.rows()}
    assert rows == {"t0": 3, "t1": 3, "t2": 1, "t3": 3, "t4": 2, "t5": 2, "t6": 2, "t7": 2}


# --- what is not covered ----------------------------------------------------------------------------------------------


def test_a_fixed_grid_is_not_covered_by_the_bounds_for_selection():
    family = ledger_of(trials([GAUSSIAN] * 3)).families[0]
    best = family.best_released
    assert best.status == "not covered"
    assert "fixed grid" in best.why[0]
    assert best.epsilon == family.all_released.epsilon
    assert [row.distribution for row in best.if_random] == list(DISTRIBUTIONS)
    assert all(row.mean == 3 and row.delta == DELTA for row in best.if_random)
    words = " ".join(family.sentences())
    assert "not covered by the bounds for selection" in words
    assert "If the number of trials had been drawn at random with mean 3" in words


def test_one_trial_alone_chose_nothing():
    family = ledger_of([trial()]).families[0]
    assert family.best_released.status == family.all_released.status == "covered"
    assert family.best_released.if_random == ()
    assert family.best_released.epsilon == pytest.approx(GAUSSIAN.epsilon(DELTA), rel=1e-3)


def test_a_training_set_that_a_model_chose_is_not_covered():
    """Removal by membership probability has no epsilon, whatever the trial's event says."""
    files = {"recipe": {"seed": 1}, "data": {"name": "cifar10"}}
    privacy = {"event": GAUSSIAN.to_dict(), "delta": DELTA, "epsilon": 2.0}
    removed = [
        PrivateTrial.from_files(arm, files | {"removal": {"share": 0.1, "arm": arm, "scored_by": "whole"}}, privacy)
        for arm in ("exposed", "random")
    ]
    ledger = ledger_of([trial(id="a"), trial(id="b"), removed[0]])
    family = ledger.families[0]
    assert family.all_released.status == family.best_released.status == "not covered"
    assert family.all_released.epsilon is None
    assert family.best_released.epsilon is None
    assert family.all_released.counted == 2
    assert family.all_released.composed == pytest.approx(gaussian_epsilon(mu_of([GAUSSIAN] * 2)), rel=1e-3)
    assert family.best_released.if_random[0].mean == 2
    assert [row["covered"] for row in ledger.rows()] == [True, True, False]
    words = " ".join(family.sentences())
    assert "No epsilon is proven for releasing all 3: 1 trial learned from a training set that was chosen" in words
    assert "(whole)" in words
    for study_trial in removed:  # the control as well: its classes are those of the exposed
        alone = ledger_of([study_trial]).families[0]
        assert alone.all_released.status == alone.best_released.status == "not covered"
        assert alone.all_released.epsilon is alone.best_released.epsilon is alone.all_released.composed is None
        assert "not covered" in " ".join(alone.sentences())


def test_trials_with_the_same_noise_are_not_covered_together():
    """Guards: a generator is used again, with the same noise.  Across families, too, one model reveals the other's
    noise."""
    same = [trial(id="a", noise="seed 0"), trial(id="b", noise="seed 0"), trial(id="c", noise="seed 1")]
    every = ledger_of(same).families[0].all_released
    assert every.status == "not covered"
    assert every.epsilon is None
    assert every.composed == pytest.approx(gaussian_epsilon(mu_of([GAUSSIAN] * 3)), rel=1e-3)
    assert "2 trials drew the same noise" in every.why[0]
    assert "(seed 0)" in every.why[0]
    apart = ledger_of([same[0], trial(id="d", family="digits", noise="seed 0")])
    for family in apart.families:
        assert family.all_released.status == "not covered"
        assert family.best_released.status == "covered", "released alone it is"
    fresh = ledger_of([same[0], same[2], trial(id="e"), trial(id="f")])
    assert fresh.families[0].all_released.status == "covered"
    assert "Whoever knows a trial's seed can draw its noise again, and nothing is proven against them" in " ".join(
        fresh.sentences()
    )
    assert "somebody who knows or guesses" not in " ".join(ledger_of([trial()]).sentences())


def test_noise_from_the_seed_and_from_the_operating_system_are_told_apart():
    privacy = {"event": GAUSSIAN.to_dict(), "delta": DELTA, "epsilon": 2.0}
    for secret, more, noise in (
        (False, {}, "seed 3"),  # a run of the first versions, which does not say
        (False, {"noise_shared": False}, "seed 3"),  # which only claims it
        (False, {"noise_shared": False, "noise_key_digest": "ab" * 32}, "key " + "ab" * 32),
        (True, {"noise_shared": False, "noise_key_digest": None}, None),
    ):
        files = {"recipe": {"seed": 3, "secret_noise": secret}, "data": {"name": "digits"}, "removal": None}
        assert PrivateTrial.from_files("a", files, privacy | more).noise == noise


def test_the_conditions_say_what_is_held_fixed_when_an_image_is_missing():
    """The facts behind these words are tested in tests/data/test_neighbors.py."""
    ledger = ledger_of(trials(SAMPLED[:2]))
    conditions = ledger.to_dict()["conditions"]["all_released"]
    fixed = " ".join(conditions)
    for words in ("at most one example", "limit", "test split", "skew", "public", "held fixed"):
        assert words in fixed
    assert any("test data that no trial learned from" in words for words in conditions)
    assert all(words[1:] in " ".join(ledger.sentences()) for words in conditions)


def test_nothing_private_is_nothing_to_add_up():
    ledger = ledger_of([])
    assert ledger.families == ()
    assert ledger.rows() == []
    assert ledger.sentences() == ["No finished trial had a privacy budget, so there is nothing to account for."]


# --- what is refused, and what is written -----------------------------------------------------------------------------


def test_a_report_far_below_its_event_is_refused():
    event = SAMPLED[1]
    honest = event.epsilon(DELTA)
    ledger_of([trial(event, epsilon=honest)])
    ledger_of([trial(event, epsilon=honest * 10)])
    with pytest.raises(PrivacyError, match=r"trial b reports epsilon .* but its event costs"):
        ledger_of([trial(), trial(event, id="b", epsilon=honest / 4)])


def test_a_trial_is_given_once():
    with pytest.raises(InputError, match="twice"):
        ledger_of([trial(), trial()])


@pytest.mark.parametrize("change", [{"delta": 0.0}, {"delta": 1.0}, {"epsilon": -1.0}, {"epsilon": math.nan}])
def test_impossible_reports_are_refused(change):
    with pytest.raises(InputError):
        PrivateTrial(
            **{"id": "a", "label": "", "family": "x", "event": GAUSSIAN, "delta": DELTA, "epsilon": 1.0} | change
        )


def test_files_that_lack_something_are_refused_by_name():
    files = {"recipe": {"seed": 1}, "data": {"name": "digits"}, "removal": None}
    privacy = {"event": GAUSSIAN.to_dict(), "delta": DELTA, "epsilon": 1.0}
    for key in privacy:
        with pytest.raises(InputError, match=f"trial a7 lack '{key}'"):
            PrivateTrial.from_files("a7", files, {k: v for k, v in privacy.items() if k != key})
    with pytest.raises(PrivacyError, match="mechanism"):
        PrivateTrial.from_files("a7", files, privacy | {"event": {"mechanism": "shuffled gaussian"}})


def test_what_is_written_is_plain_json_and_says_what_the_sentences_say():
    ledger = ledger_of(
        [*trials(SAMPLED[:2]), trial(id="r", chosen_by="x"), trial(id="o", family="digits", noise="seed 0")]
    )
    values = json.loads(json.dumps(ledger.to_dict(), allow_nan=False))
    cifar, digits = values["families"]
    assert cifar["family"] == "cifar10"
    assert cifar["all_released"]["status"] == "not covered"
    assert cifar["all_released"]["epsilon"] is None
    assert digits["all_released"]["epsilon"] == pytest.approx(GAUSSIAN.epsilon(DELTA), rel=1e-3)
    poisson = cifar["best_released"]["if_random"][2]
    assert poisson["distribution"] == "Poisson"
    assert poisson["shape"] is poisson["stop"] is None
    assert poisson["epsilon"] == min(poisson["epsilon_pld"], poisson["epsilon_rdp"])
    assert Event.from_dict(cifar["trials"][0]["event"]) == SAMPLED[0]
    assert values["conditions"]["all_released"]
    assert values["conditions"]["if_random"]
    assert values["sentences"] == ledger.sentences()
    assert sorted(" ".join([*values["paragraphs"], *values["condition_sentences"]])) == sorted(
        " ".join(ledger.sentences())
    )
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in ledger.sentences())
    assert [row["trial"] for row in ledger.rows()] == ["t0", "t1", "r", "o"]
    assert len({tuple(row) for row in ledger.rows()}) == 1
    json.dumps(ledger.rows(), allow_nan=False)


def test_a_sentence_never_rounds_a_price_down():
    family = ledger_of(trials([GAUSSIAN, Event(1.0, 5.0, 2)])).families[0]
    shown = family.sentences()[1].split("costs epsilon ")[1].split(" at delta")[0]
    assert family.all_released.epsilon <= float(shown) <= family.all_released.epsilon * 1.01
