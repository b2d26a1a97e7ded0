"""What is used, not what is held: the draws and the noise that reach the updates of real trainings.

They are read off at ``privatize``: the draw that it is given, and what it gives less what it was given.  Two updates
never share either, be they of one training, of two, of two secret runs of one recipe, or on both sides of a kill.  An
update that is made again after a kill is the same release again: same draw, same noise.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import secrets
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.fft import next_fast_len
from torch import nn

import trilemma as tl
from judges import judge_noise, judge_sampler, judge_successive
from replay import unmeasured
from trilemma.privacy import accounting, noise
from trilemma.privacy.plan import Plan
from trilemma.privacy.randomness import RandomStream
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.state import State
from trilemma.trial.progress import Stopped

ALARM = 1e-6
"""How often :func:`shared` finds something among independent draws and noise, over all the pairs it is given."""

RECIPE = tl.Recipe(model="convnet-4", epsilon=8.0, batch_size=24, epochs=0.15, norm_groups=2, evaluations=3)
UPDATES = 8
LEAST = 1000
"""Noise is compared at every lag that leaves this many numbers."""


@dataclass(frozen=True)
class Use:
    """What one update used.

    Attributes:
      update: its number, from 0.
      rate: probability with which each example was drawn.
      drawn: bool (N,).
      noise: float64, in units of its standard deviation.
    """

    update: int
    rate: float
    drawn: np.ndarray
    noise: np.ndarray


@contextlib.contextmanager
def recorded():
    """A list that every update adds to."""
    uses, update = [], [0]
    real_privatize, real_step = Plan.privatize, Training.step

    def privatize(plan, draw, total, *more, **named):
        sums = {name: value.double() for name, value in total.sums.items()}
        released = real_privatize(plan, draw, total, *more, **named)
        unit = plan.noise_multiplier * plan.clipping_norm
        noise = [(released[name].double() * plan.batch_size - sums[name]).flatten() / unit for name in sums]
        included = np.zeros(plan.examples, dtype=bool)
        included[draw.indices.numpy()] = True
        uses.append(Use(update[0], plan.sampling_probability, included, torch.cat(noise).numpy()))
        return released

    def step(training):
        update[0] = training.state.update
        return real_step(training)

    with mock.patch.object(Plan, "privatize", privatize), mock.patch.object(Training, "step", step):
        yield uses


def chance_of_correlation(score, count):
    """At least the probability that the sum of ``count`` products of independent normals is beyond ``score`` (an array
    of sums, and how many products each is of): Chernoff's bound, twice."""
    s = np.abs(score) + 1e-300
    t = (np.sqrt(count**2 + 4 * s**2) - count) / (2 * s)
    return 2 * np.exp(-t * s - count / 2 * np.log1p(-(t**2)))


def shared(uses):
    """Pairs of places in ``uses`` that share a draw or noise, at whatever lag."""
    shared_streams = set()
    pairs = list(itertools.combinations(range(len(uses)), 2))
    size = next_fast_len(2 * max(len(use.noise) for use in uses), real=True)
    spectra = [np.fft.rfft(use.noise, size) for use in uses]
    lags = np.fft.fftfreq(size, 1 / size).round()
    for i, j in pairs:
        first, other = uses[i], uses[j]
        sums = np.fft.irfft(spectra[i] * spectra[j].conj(), size)  # over n of one[n + lag] * other[n]
        starts, ends = np.maximum(0, -lags), np.minimum(len(other.noise), len(first.noise) - lags)
        counts = ends - starts
        compared = counts >= LEAST
        chances = chance_of_correlation(sums[compared], counts[compared])
        if chances.min() < ALARM / 2 / len(pairs) / compared.sum():
            shared_streams.add((i, j))
        overlap = int((first.drawn & other.drawn).sum())
        if stats.binom.sf(overlap - 1, len(first.drawn), first.rate * other.rate) < ALARM / 2 / len(pairs):
            shared_streams.add((i, j))
    return shared_streams


@pytest.fixture(scope="module", autouse=True)
def quick_calibration():
    """Each noise multiplier is searched once."""
    with mock.patch.object(accounting, "noise_multiplier", functools.cache(accounting.noise_multiplier)):
        yield


class Killed(Exception):
    pass


@contextlib.contextmanager
def keystream_recorded():
    """A list of the parts of keystreams that every stream hands out: (key, first block, the block after the last)."""
    parts, real_words = [], RandomStream._words

    def words(stream, count):
        key, first = stream._key, stream._position
        numbers = real_words(stream, count)
        parts.append((key, first, stream._position))
        return numbers

    with mock.patch.object(RandomStream, "_words", words):
        yield parts


def repeated(parts):
    """The parts that begin before another part of the same keystream ends."""
    parts = sorted(parts)
    return [later for part, later in itertools.pairwise(parts) if later[0] == part[0] and later[1] < part[2]]


def trained(recipe, data, out, *, kills=(), stop=False, physical=None, network=None):
    """A training to its end, killed (or asked to stop) after the given updates, each once; all that was used, in the
    order in which it was."""
    left = list(kills)
    with recorded() as uses, unmeasured():

        def killed():
            if left and uses and uses[-1].update + 1 == left[0]:
                left.pop(0)
                if stop:
                    return True
                raise Killed
            return False

        for _ in range(len(kills) + 1):
            with contextlib.suppress(Killed, Stopped):
                execution = Execution("cpu", physical, "float32")
                tl.train(recipe, data, out, network=network, execution=execution, should_stop=killed)
    assert not left
    assert uses[-1].update == UPDATES - 1
    return uses


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits", test_limit=40)


def changed(data, **values):
    """The data with one label or one pixel changed."""
    arrays = {name: getattr(data.train, name).copy() for name in ("images", "labels")}
    arrays["images"][0, 0, 4, 4] ^= values.get("pixel", 0)
    arrays["labels"][0] = (arrays["labels"][0] + values.get("label", 0)) % 10
    return replace(data, train=replace(data.train, **arrays))


def two_layers(seed):
    """A small network whose initial weights follow from ``seed``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def test_no_two_updates_of_any_trainings_share_draws_or_noise(digits, tmp_path):
    """False alarm 1e-6.  Other seeds, recipes that differ in what changes no shape, other data, other initial weights,
    other computations of one seed, and two secret runs of one recipe.  No two draws, noises, or one of each come from
    the same part of a keystream either."""
    secret = replace(RECIPE, secret_noise=True)
    seeded = replace(RECIPE, secret_noise=False)
    trainings = {
        "first": (seeded, digits, {}),
        "another seed": (replace(seeded, seed=1), digits, {}),
        "another learning rate": (replace(seeded, learning_rate=0.06), digits, {}),
        "averaged": (replace(seeded, techniques=("pa",)), digits, {}),
        "another budget": (replace(seeded, epsilon=7.0), digits, {}),
        "another label": (seeded, changed(digits, label=1), {}),
        "another pixel": (seeded, changed(digits, pixel=1), {}),
        "another physical batch": (seeded, digits, {"physical": 5}),
        "a network": (seeded, digits, {"network": two_layers(0)}),
        "other initial weights": (seeded, digits, {"network": two_layers(1)}),
        "secret": (secret, digits, {}),
        "secret again": (secret, digits, {}),
    }
    uses, owners = [], []
    with keystream_recorded() as parts:
        for name, (recipe, data, how) in trainings.items():
            uses += trained(recipe, data, tmp_path / name, **how)
            owners += [name] * UPDATES
    assert len(uses) == UPDATES * len(trainings)
    assert {(owners[i], owners[j]) for i, j in shared(uses)} == set()
    assert len(parts) >= 2 * len(uses)
    assert repeated(parts) == []


KILLS = [(1,), (4, 7), (2, 3, 5, 8)]


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """What a training that nothing interrupts uses."""
    return trained(replace(RECIPE, secret_noise=False), digits, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("stop", [False, True], ids=["killed", "stopped"])
@pytest.mark.parametrize("kills", KILLS, ids=str)
def test_a_resumed_training_uses_nothing_twice_and_repeats_what_it_makes_again(digits, whole, tmp_path, kills, stop):
    """Checkpoints are written at evaluations (after updates 3, 5 and 8) and when asked to stop."""
    recipe = replace(RECIPE, secret_noise=False)
    torn = trained(recipe, digits, tmp_path / "torn", kills=kills, stop=stop)
    for use in torn:
        assert (use.drawn == whole[use.update].drawn).all()
        assert np.abs(use.noise - whole[use.update].noise).max() < 1e-5  # both less sums that were rounded
    last = {use.update: use for use in torn}
    assert sorted(last) == list(range(UPDATES))
    assert shared([last[update] for update in range(UPDATES)]) == set()


def test_a_secret_training_killed_and_resumed(digits, tmp_path):
    """The run's streams are in the checkpoint: what is made again is the same release, and the rest is fresh."""
    torn = trained(replace(RECIPE, secret_noise=True), digits, tmp_path / "torn", kills=(4, 7))
    assert [use.update for use in torn] == [0, 1, 2, 3, 3, 4, 5, 6, 5, 6, 7]
    again = {(i, j) for i, j in itertools.combinations(range(len(torn)), 2) if torn[i].update == torn[j].update}
    assert shared(torn) == again
    for i, j in again:
        assert (torn[i].drawn == torn[j].drawn).all()
        assert np.abs(torn[i].noise - torn[j].noise).max() < 1e-5


def tiny(data, **choices):
    """A training of a linear model, whose updates are quick; all updates are of one plan."""
    recipe = tl.Recipe(
        **{"epsilon": 8.0, "batch_size": 15, "epochs": 40.0, "views": 2, "secret_noise": False} | choices
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return Training(recipe, data, Execution("cpu", None, "float32"), network)


def test_what_a_long_training_uses_follows_its_law():
    """The tests of samplers and of noise, on 800 updates of a real training.  False alarm 1e-6 each."""
    data = tl.load_data("digits", limit=300, test_limit=40)
    with recorded() as uses:
        training = tiny(data)
        losses = list(training.run_updates(training.course.updates))
    assert len(uses) == len(losses) == training.course.updates == 800
    table = torch.from_numpy(np.stack([use.drawn for use in uses])).double()
    assert judge_sampler(table, 15 / 300) == {}
    assert judge_noise(torch.from_numpy(np.stack([use.noise for use in uses])), 1.0) == {}
    assert judge_successive([torch.from_numpy(use.noise) for use in uses[:60]], 1.0) == set()


@pytest.mark.parametrize("techniques", ["none", "am,pa,sat"])
def test_a_hundred_empty_draws_are_a_hundred_updates(techniques):
    """Guards: an empty draw crashes or is skipped.  Noise is added in each and each is charged."""
    data = tl.load_data("digits", limit=300, test_limit=40)
    training = tiny(data, techniques=techniques, epochs=5.0, learning_rate=0.1)
    real = Plan.draw

    def empty(plan, *streams):
        return dataclasses.replace(real(plan, *streams), indices=torch.zeros(0, dtype=torch.int64))

    spent, before = [], {n: p.detach().clone() for n, p in training.state.model.named_parameters()}
    with recorded() as uses, mock.patch.object(Plan, "draw", empty):
        for update in range(100):
            assert math.isnan(training.step())
            assert training.state.update == update + 1
            after = {n: p.detach().clone() for n, p in training.state.model.named_parameters()}
            assert all(bool((after[n] != before[n]).any()) for n in before)
            before = after
            if update in (0, 49, 99):
                spent.append(training.epsilon_spent())
    assert len(uses) == training.course.updates == 100
    assert not any(use.drawn.any() for use in uses)
    assert judge_noise(torch.from_numpy(np.stack([use.noise for use in uses])), 1.0) == {}
    assert judge_successive([torch.from_numpy(use.noise) for use in uses], 1.0) == set()
    assert 0 < spent[0] < spent[1] < spent[2] <= 8
    assert spent[2] == training.course.plan.event(100).epsilon(1e-5)


# ---- errors, planted one at a time ----------------------------------------------------------------------------------


def from_the_update(method, place):
    """The stream that a method of the plan is given follows from the update alone, as if it were seeded anew for each
    from seed and update."""
    real, states, count = getattr(Plan, method), [], itertools.count()

    def reseeded(plan, *arguments, **named):
        update = next(count) % UPDATES
        stream = arguments[place]
        if update == len(states):
            states.append(stream.get_state())
        stream.set_state(states[update])
        return real(plan, *arguments, **named)

    return mock.patch.object(Plan, method, reseeded)


@pytest.mark.parametrize(("method", "place"), [("privatize", 2), ("draw", 0)], ids=["noise", "draws"])
def test_streams_seeded_from_seed_and_update_are_noticed(digits, tmp_path, method, place, monkeypatch):
    monkeypatch.setattr(noise, "noise_stream", lambda sums, *, stream, **_: stream.derived(b""))  # not of the sums
    with from_the_update(method, place):
        uses = [
            use for n in range(2) for use in trained(replace(RECIPE, learning_rate=0.1 + n), digits, tmp_path / str(n))
        ]
    assert shared(uses) == {(n, n + UPDATES) for n in range(UPDATES)}


def test_a_resumption_that_starts_the_streams_again_is_noticed(digits, tmp_path):
    real = State.restore

    def restore(state, checkpoint):
        held = state.sampling.get_state(), state.noise.get_state()
        real(state, checkpoint)
        state.sampling.set_state(held[0])
        state.noise.set_state(held[1])

    with mock.patch.object(State, "restore", restore):
        uses = trained(replace(RECIPE, secret_noise=False), digits, tmp_path / "torn", kills=(4,))
    assert [use.update for use in uses] == [0, 1, 2, 3, 3, 4, 5, 6, 7]
    assert {(0, 4), (1, 5), (2, 6), (3, 7)} <= shared(uses)


def test_secret_streams_that_are_not_secret_are_noticed(digits, tmp_path):
    with mock.patch.object(secrets, "token_bytes", lambda count=32: bytes(count)):
        secret = replace(RECIPE, secret_noise=True)
        uses = [use for n in range(2) for use in trained(secret, digits, tmp_path / str(n))]
    assert {(n, n + UPDATES) for n in range(UPDATES)} <= shared(uses)


def test_a_keystream_that_is_used_twice_is_noticed():
    with keystream_recorded() as parts:
        one, again, other = (RandomStream.keyed(material) for material in (b"one", b"one", b"other"))
        one.uniform(5)
        one.normal(5)
        other.normal(5)
        assert repeated(parts) == []
        again.uniform(1)
    assert len(repeated(parts)) == 1


def test_noise_that_is_the_same_at_another_place_or_in_part_is_noticed():
    rng = np.random.default_rng(0)
    noise, nobody = rng.normal(size=(3, 20_000)), np.zeros(100, dtype=bool)
    uses = [Use(n, 0.1, nobody, row) for n, row in enumerate(noise)]
    assert shared(uses) == set()
    moved = dataclasses.replace(uses[0], noise=np.roll(noise[0], 7000))
    assert shared([*uses[:2], moved]) == {(0, 2)}
    weaker = dataclasses.replace(uses[0], noise=-0.1 * noise[0] + math.sqrt(0.99) * noise[2])
    assert shared([uses[0], uses[1], weaker]) == {(0, 2)}
