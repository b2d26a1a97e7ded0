"""Whole trainings replayed with the outputs of the mechanism frozen: see ``helpers/replay.py``.

On a neighbor every clipped sum is within C of the first one's.  Where only examples differ that were never drawn, every
clipped sum is the same.  On unrelated images and labels nothing differs that is released, or that later updates start
from.  Errors planted one at a time show that each would be noticed.
"""

import contextlib
import copy
import functools
import json
import math
import os
import socket
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

import replay as replaying
import trilemma as tl
import warm
from replay import differences, distances, replays
from trilemma.models.prior import PRIORS, family
from trilemma.models.prior.family import Settings
from trilemma.privacy import accounting
from trilemma.training import batch_size as obs
from trilemma.training import loop, pretraining
from trilemma.training.inputs import ImageInputs
from trilemma.training.loop import Training

BASE = {
    "model": "convnet-4",
    "epsilon": 8.0,
    "batch_size": 15,
    "epochs": 2.05,  # eight updates of 60 examples, and of 59
    "norm_groups": 2,
    "evaluations": 1,
    "views": 2,
    "learning_rate": 0.5,
    "sharpness_radius": 0.5,
    "fewest_updates": 4,
    "secret_noise": False,
}
EVERYTHING = "gn,ws,am,pa,sat"
CASES = {
    "baseline": {},
    "group norm and weight standardization": {"techniques": "gn,ws"},
    "views": {"techniques": "am"},
    "averaging": {"techniques": "pa"},
    "sharpness": {"techniques": "sat"},
    "optimal batch size": {"techniques": "obs"},
    "everything": {"techniques": "all"},
    "everything, full batch": {"techniques": EVERYTHING, "batch_size": 0, "epochs": 5.0},
    "momentum, decay, cosine, warm-up, smoothing": {
        "techniques": "am",
        "momentum": 0.9,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.3,
        "label_smoothing": 0.1,
    },
    "a network of one's own": {"model": "own"},
    "pre-training": {"techniques": "gn,pa,sat", "pretrain": "synthetic", "pretrain_updates": 3, "head_first": 0.5},
    "prior": {"model": "prior-tiny", "techniques": "am,pa"},
    "prior, full batch": {"model": "prior-tiny", "batch_size": 0, "epochs": 5.0, "momentum": 0.8},
}
PRIOR = (Settings("patches", 12, keep=30), Settings("second order", first=8, channels=8, keep=20))
LARGEST = 1 + 1e-6
"""In units of C: the distance that may be seen, which is C but for rounding."""


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """A small prior, and little pre-training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRIORS, "prior-tiny", PRIOR)
        patch.setattr("trilemma.models.prior.synthetic._CHUNK", 200)  # images are drawn in whole chunks
        patch.setattr(family, "DICTIONARY_IMAGES", 200)
        patch.setattr(family, "_WHITENING_IMAGES", 60)
        patch.setattr("trilemma.models.prior.patches._STATISTICS", 1000)
        patch.setattr(pretraining, "_IMAGES", 64)
        patch.setattr(pretraining, "_BATCH", 16)
        patch.setenv("TRILEMMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(accounting, "noise_multiplier", functools.cache(accounting.noise_multiplier))  # for speed alone
        yield


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits-s", skew=0.9, limit=60, test_limit=40)


def enlarged(data):
    """Twice as high and wide: priors want more than 8 pixels."""

    def twice(split):
        return replace(split, images=np.ascontiguousarray(split.images.repeat(2, 2).repeat(2, 3)))

    return replace(data, train=twice(data.train), test=twice(data.test))


def own():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 10))


def replayed(case, digits, folder, *kinds, **how):
    recipe = tl.Recipe(**BASE | CASES[case])
    data = enlarged(digits) if recipe.model in PRIORS else digits
    network = own if recipe.model == "own" else lambda: None
    return replays(recipe, data, folder, ("one", *kinds), network=network, **how)


@pytest.mark.parametrize("case", CASES)
def test_neighbors_are_within_the_clipping_norm_and_nothing_else_is_told(case, digits, tmp_path):
    original, neighbor, undrawn, unrelated = replayed(case, digits, tmp_path, "neighbor", "undrawn", "unrelated")
    apart = distances(original, neighbor)
    assert len(apart) >= 5
    assert max(apart) <= LARGEST
    assert min(apart) > 1e-3, "the example is in every draw, so this test would notice"
    # On the neighbor the weights take the same way: what is computed from them tells no more than the sums do.
    assert [replaying.save(state) for state in original.states] == [replaying.save(state) for state in neighbor.states]
    if "full batch" not in case:
        assert distances(original, undrawn) == [0] * len(apart)
    assert differences(original, unrelated) == []
    moved = original.states[0].keys() & original.states[-1].keys()
    assert any(not torch.equal(original.states[0][name], original.states[-1][name]) for name in moved)


def test_the_attacks_that_come_after_it_leave_no_trace_either(digits, tmp_path):
    original, unrelated = replayed("baseline", digits, tmp_path, "unrelated", measured=True)
    assert differences(original, unrelated) == []
    signals = [(tmp_path / kind / "signals.parquet").read_bytes() for kind in ("one", "unrelated")]
    assert signals[0] != signals[1]


def test_two_processes_release_no_more_than_one(tmp_path):
    """Each computes its share; the first draws, adds up, privatizes and writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    choices = json.dumps(tl.Recipe(**BASE | {"techniques": EVERYTHING}).to_dict())
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        warm.Popen(
            [sys.executable, replaying.__file__, str(tmp_path), choices],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    report = json.loads(printed[0].splitlines()[-1])
    assert min(report["distances"]) > 1e-3
    assert max(report["distances"]) <= LARGEST
    assert report["differences"] == []


# ---- errors, planted one at a time ----------------------------------------------------------------------------------


@contextlib.contextmanager
def after(cls, method, then):
    """``then(self, result)`` after every call of a method; what it gives is the result, unless it gives None."""
    real = getattr(cls, method)

    def changed(self, *arguments, **named):
        result = real(self, *arguments, **named)
        other = then(self, result)
        return result if other is None else other

    with mock.patch.object(cls, method, changed):
        yield


def bias_at_log_counts(replay):
    """Initial bias at the logarithm of how often each class occurs."""

    def then(training, _):
        counts = np.bincount(training.data.train.labels, minlength=len(training.data.classes))
        with torch.no_grad():
            training.state.model.head.bias.copy_(torch.tensor(np.log(counts + 1.0)))

    return after(Training, "__post_init__", then)


def rate_that_follows_the_loss(replay):
    losses = []

    def then(training, loss):
        if losses and loss > losses[-1]:
            training.course = replace(training.course, learning_rate=training.course.learning_rate / 2)
        losses.append(loss)

    return after(Training, "step", then)


def batch_from_private_gradients(replay):
    """OBS that measures the noise scale of gradients on the training images, as it does without a budget: here of a
    linear model."""

    def with_budget(*, epsilon, delta, **limits):
        train = replay.data.train
        pixels = train.images.reshape(len(train), -1) / 255
        errors = 0.1 - np.eye(10)[train.labels]
        gradients = np.einsum("nc,nd->ncd", errors, pixels).reshape(len(train), -1)
        small, large = ([float(np.square(part.mean(0)).sum()) for part in np.split(gradients, n)] for n in (12, 2))
        return obs.without_budget(min(obs.noise_scale(small, large, 5, 30), 60.0), **limits)

    return mock.patch.object(obs, "with_budget", with_budget)


def early_stopping(replay):
    """After the private loss has risen once."""
    real = Training.run_updates

    def run_updates(training, until):
        last = math.inf
        for loss in real(training, until):
            yield loss
            if loss > last:
                return
            last = loss

    return mock.patch.object(Training, "run_updates", run_updates)


def ascent_before_noise(replay):
    """DP-SAT along the clipped sum that was not yet privatized."""

    def then(training, _):
        training.state.previous = {name: value.clone() for name, value in replay.sums[-1].items()}

    return after(Training, "step", then)


def weights_of_classes(replay):
    """A loss that weighs classes by how rare they are."""

    def then(training, _):
        counts = np.bincount(training.data.train.labels, minlength=len(training.data.classes))
        weights = torch.tensor(len(training.data.train) / (counts + 1.0), dtype=torch.float32)
        clipping, plain = training.private.clipping, training.private.clipping.loss
        training.private.clipping = replace(
            clipping, loss=lambda logits, labels: plain(logits, labels) * weights[labels]
        )

    return after(Training, "__post_init__", then)


def mean_of_the_batch(replay):
    """Images less the mean of those computed with them, which is what batch norm does."""
    return after(ImageInputs, "views", lambda inputs, images: images - images.mean(0, keepdim=True))


def views_by_place(replay):
    """Views that follow from the place in the batch and not from the example."""

    def then(inputs, images):
        turns = torch.arange(len(images)) % 2 == 0
        return torch.where(turns[:, None, None, None, None], images.flip(-1), images)

    return after(ImageInputs, "views", then)


def mean_of_the_data(replay):
    """Images normalized by the mean of the private ones."""

    def then(inputs, images):
        return images - float(inputs.data.train.images.mean()) / 255

    return after(ImageInputs, "views", then)


def initial_weights_from_data(replay):
    """A seed that is hashed with the data."""

    def then(training, _):
        with torch.no_grad():
            training.state.model.head.weight.add_(float(training.data.train.images.mean()) * 1e-6)

    return after(Training, "__post_init__", then)


def best_state_kept(replay):
    """Weights of the update with the least training loss."""
    best = [math.inf, None]

    def then(training, loss):
        if loss < best[0]:
            best[:] = loss, copy.deepcopy(training.state.model.state_dict())
        if training.state.update == training.course.updates:
            training.state.model.load_state_dict(best[1])

    return after(Training, "step", then)


def digest_in_config(replay):
    """What versions until 0.1 did."""
    from trilemma.trial import train as module

    real = module.write_json

    def write_json(path, values):
        digest = {"digest": replay.data.train.fingerprint} if path.name == "config.json" else {}
        real(path, values | digest)

    return mock.patch.object(module, "write_json", write_json)


def loss_in_the_file_of_weights(replay):
    from trilemma.trial import train as module

    real = module.serialized

    def serialized(tensors, metadata):
        return real(tensors, metadata | {"train accuracy": str(replay.data.train.labels.mean())})

    return mock.patch.object(module, "serialized", serialized)


def train_accuracy_in_the_card(replay):
    from trilemma.trial import card as module

    real = module._measured

    def measured(result):
        return [*real(result), ("train accuracy", result["train_accuracy"], None)]

    return mock.patch.object(module, "_measured", measured)


def empty_draws_skipped(replay):
    """An update without examples changes nothing, though it is counted."""
    real = loop.descend

    def descend(*arguments):
        if any(bool(value.any()) for value in replay.sums[-1].values()):
            real(*arguments)

    return mock.patch.object(loop, "descend", descend)


SEEN_ON_A_NEIGHBOR = [ascent_before_noise, mean_of_the_batch, views_by_place]
SEEN_IF_THE_UNDRAWN_DIFFER = [weights_of_classes, mean_of_the_data]
SEEN_ON_UNRELATED_DATA = {
    bias_at_log_counts: "initial state",
    rate_that_follows_the_loss: "state after update",
    batch_from_private_gradients: "number of updates",
    early_stopping: "number of updates",
    initial_weights_from_data: "initial state",
    best_state_kept: "state after update 8",
    digest_in_config: "config.json",
    loss_in_the_file_of_weights: "model.safetensors",
    train_accuracy_in_the_card: "README.md",
    empty_draws_skipped: "state after update",
}


def name_of(error):
    return error.__name__


@pytest.mark.parametrize("error", SEEN_ON_A_NEIGHBOR, ids=name_of)
def test_an_error_is_seen_on_a_neighbor(error, digits, tmp_path):
    recipe = tl.Recipe(**BASE | {"techniques": "sat", "epochs": 1.1})
    original, neighbor = replays(recipe, digits, tmp_path, ("one", "neighbor"), planted=error)
    assert max(distances(original, neighbor)) > 1.001


@pytest.mark.parametrize("error", SEEN_IF_THE_UNDRAWN_DIFFER, ids=name_of)
def test_an_error_is_seen_if_examples_differ_that_were_not_drawn(error, digits, tmp_path):
    recipe = tl.Recipe(**BASE | {"epochs": 1.1, "clipping_norm": 5.0})
    original, undrawn = replays(recipe, digits, tmp_path, ("one", "undrawn"), planted=error)
    assert max(distances(original, undrawn)) > 1e-3


@pytest.mark.parametrize("error", SEEN_ON_UNRELATED_DATA, ids=name_of)
def test_an_error_is_seen_on_unrelated_data(error, digits, tmp_path):
    recipe = tl.Recipe(**BASE | {"techniques": "obs" if error is batch_from_private_gradients else "gn"})
    original, unrelated = replays(recipe, digits, tmp_path, ("one", "unrelated"), planted=error)
    assert any(name.startswith(SEEN_ON_UNRELATED_DATA[error]) for name in differences(original, unrelated))
