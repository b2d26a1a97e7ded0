"""Canaries in a training: tossed and drawn fairly, beside the examples and without changing them; what they catch."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import trilemma as tl
from trilemma.errors import InputError
from trilemma.privacy import plan as plan_module
from trilemma.privacy.canaries import gaussian_bound, one_run_bound
from trilemma.privacy.plan import Plan
from trilemma.privacy.randomness import RandomStream
from trilemma.privacy.truth import truth_check
from trilemma.training.canaries import Canaries, Coins, Placed, with_canaries
from trilemma.training.loop import Training
from trilemma.training.ranks import Ranks
from trilemma.trial.canary_record import canary_scores

RECIPE = tl.Recipe(model="linear", epsilon=4.0, batch_size=60, epochs=6, learning_rate=0.5, secret_noise=False)


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits", limit=120, test_limit=120)


def training_of(data, kind="gradient", count=300, recipe=RECIPE, **more):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return Training(recipe, data, network=network, canaries=Canaries(kind, count) if kind else None, **more)


def finished(training):
    for _ in training.run_updates(training.course.updates):
        pass
    return training


def truth_of(training, canaries=None):
    course, state = training.course, training.state
    record = {
        "event": course.plan.event(state.update).to_dict(),
        "epsilon": training.epsilon_spent(),
        "delta": training.recipe.delta,
        "updates": state.update,
    }
    count = (state.coins.count if state.coins else 0) if canaries is None else canaries
    return truth_check(course.plan, state.evidence, record, canaries=count)


def noise_times(share):
    real = plan_module.add_gaussian_noise
    return mock.patch.object(
        plan_module,
        "add_gaussian_noise",
        lambda sums, *, standard_deviation, stream: real(
            sums, standard_deviation=share * standard_deviation, stream=stream
        ),
    )


def test_coins_are_fair_and_every_canary_that_is_in_is_drawn_with_q():
    """Each count below is outside its interval with a probability below 1e-6."""
    plan = Plan(1000, 200, 10, 1.0, 1.0)
    canaries = Canaries("blank", 10_000)
    coins = Coins.tossed(RandomStream.keyed(b"coins"), canaries)
    assert abs(coins.count - 5000) < 5 * 50
    placed = Placed(canaries, 1000, plan)
    draw = placed.draw(plan.draw(RandomStream.keyed(b"sampling")), coins)
    drawn = draw.indices[draw.indices >= 1000] - 1000
    assert abs(len(drawn) - 0.2 * coins.count) < 5 * (0.16 * coins.count) ** 0.5
    rows = placed.rows(draw, coins)
    assert coins.included[rows[rows >= 1000] - 1000].all()
    assert len(rows) == len(draw) == len(set(rows.tolist()))


def test_the_examples_are_drawn_as_without_canaries():
    plan = Plan(1000, 200, 10, 1.0, 1.0)
    canaries = Canaries("blank", 50)
    coins = Coins.tossed(RandomStream.keyed(b"coins"), canaries)
    placed = Placed(canaries, 1000, plan)
    alone, beside = RandomStream.keyed(b"sampling"), RandomStream.keyed(b"sampling")
    for _ in range(20):
        draw = placed.draw(plan.draw(beside), coins)
        assert torch.equal(draw.indices[draw.indices < 1000], plan.draw(alone).indices)


@pytest.mark.parametrize("kind", ["gradient", "mislabelled"])
def test_budget_and_batch_are_those_of_the_examples_alone(data, kind):
    plain, audited = training_of(data, None).course, training_of(data, kind, 100).course
    assert plain == audited
    assert audited.plan.examples == 120


@pytest.mark.parametrize("kind", ["mislabelled", "blank"])
def test_images_stand_behind_the_examples_and_are_all_different(data, kind):
    more = with_canaries(data, Canaries(kind, 100), 3)
    assert np.array_equal(more.train.images[:120], data.train.images)
    assert np.array_equal(more.train.labels[:120], data.train.labels)
    assert more.test is data.test
    rows = {
        (image.tobytes(), int(y)) for image, y in zip(more.train.images[120:], more.train.labels[120:], strict=True)
    }
    assert len(rows) == 100
    if kind == "blank":
        assert all(len(np.unique(image)) == 1 for image in more.train.images[120:])


@pytest.mark.parametrize("kind", ["gradient", "mislabelled"])
def test_a_correct_training_passes_its_truth_check_and_is_not_contradicted(data, kind):
    training = finished(training_of(data, kind, 300 if kind == "gradient" else 100))
    assert truth_of(training).passed
    scores, included = canary_scores(training)
    assert one_run_bound(scores, included, 1e-5).epsilon <= 4
    assert gaussian_bound(scores, included, 1e-5) <= 4
    # Guards: draws that are checked as if there were no canaries, or more of them than are in.
    assert not truth_of(training, canaries=0).passed
    assert not truth_of(training, canaries=len(scores)).passed


def test_a_training_without_noise_is_caught(data):
    """No noise is always caught: then every guess is right.  A quarter of it is not caught with a probability of less
    than 1e-3."""
    recipe = replace(RECIPE, epsilon=1.0)
    for share, correct in ((0.0, 300), (0.25, 0)):
        with noise_times(share):
            scores, included = canary_scores(finished(training_of(data, recipe=recipe)))
        counting, gaussian = one_run_bound(scores, included, 1e-5), gaussian_bound(scores, included, 1e-5)
        assert gaussian > 1
        if share == 0:
            assert counting.epsilon > 1
            assert (scores[included] > 0.5).mean() > 0.9
            assert np.abs(scores[~included]).max() < 1e-3
        assert counting.correct >= correct / 4


def test_what_a_training_cannot_carry_is_refused(data):
    for kind, count, changes, more, words in (
        ("gradient", 300, {"epsilon": None, "delta": None}, {}, "give --epsilon, or leave out --canaries"),
        ("gradient", 651, {}, {}, "651 gradient canaries need as many weights, and the network has 650"),
        ("mislabelled", 121, {}, {}, "more than 120 training examples can carry: use 120"),
        ("gradient", 300, {}, {"ranks": Ranks(0, 2)}, "made by one process"),
    ):
        with pytest.raises(InputError, match=words):
            training_of(data, kind, count, replace(RECIPE, **changes), **more)
    for kind, count, words in (("gradients", 100, "did you mean"), ("blank", 19, "at least 20")):
        with pytest.raises(InputError, match=words):
            Canaries(kind, count)
    with pytest.raises(InputError, match="leave out --pretrain"):
        Training(replace(RECIPE, model="convnet-4", pretrain="synthetic"), data, canaries=Canaries("gradient", 50))


def test_runs_with_and_without_canaries_share_no_randomness(data):
    """Guards: the same seeded noise in two runs, which could be subtracted."""
    keys = {
        getattr(training_of(data, kind).state, stream).key_digest
        for kind in (None, "gradient")
        for stream in ("sampling", "noise")
    }
    coins = training_of(data).state.coins
    assert len(keys | {coins.stream.key_digest}) == 5


def test_a_checkpoint_of_other_canaries_is_refused(data):
    """Guards: a run with gradient canaries that goes on as one with images, and coins that are not there."""
    first = training_of(data).state
    saved = first.to_checkpoint({})
    assert saved.header["canaries"] == {"kind": "gradient", "count": 300}
    training_of(data).state.restore(saved)
    for kind, count, words in (
        ("mislabelled", 100, "with 300 gradient canaries, and this one has 100 mislabelled canaries"),
        ("gradient", 299, "this one has 299 gradient canaries"),
        (None, 0, "this one has no canaries"),
    ):
        with pytest.raises(InputError, match=words):
            training_of(data, kind, count).state.restore(saved)
    for name, value in (("stream", None), ("included", None), ("scores", torch.zeros(299, dtype=torch.float64))):
        tensors = {key: tensor for key, tensor in saved.tensors.items() if key != f"coins/{name}"}
        if value is not None:
            tensors[f"coins/{name}"] = value
        with pytest.raises(InputError, match="does not hold the coins of its 300 canaries"):
            training_of(data).state.restore(replace(saved, tensors=tensors))
