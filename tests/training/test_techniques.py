"""All subsets of the techniques, with and without a budget."""

import itertools
from dataclasses import fields

import pytest
import torch
from torch import nn

from trilemma.standardization import StandardizedConv2d
from trilemma.techniques import TECHNIQUES
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe

SUBSETS = [c for n in range(len(TECHNIQUES) + 1) for c in itertools.combinations(TECHNIQUES, n)]


@pytest.mark.parametrize("epsilon", [None, 8.0])
@pytest.mark.parametrize("techniques", SUBSETS, ids=lambda c: "+".join(c) or "bl")
def test_every_subset_trains(digits, techniques, epsilon):
    recipe = Recipe(
        model="convnet-4",
        techniques=techniques,
        epsilon=epsilon,
        batch_size=16,
        epochs=1,
        fewest_updates=3,
        views=2,
        norm_groups=2,
    )
    training = Training(recipe, digits, Execution(device="cpu"))
    before = {n: v.clone() for n, v in training.state.model.state_dict().items()}
    losses = list(training.run_updates(3))
    assert len(losses) == 3 == training.state.update
    after = training.state.model.state_dict()
    assert any(not torch.equal(before[n], after[n]) for n in before)
    logits = training.logits("test")
    assert logits.shape == (64, 10)
    assert torch.isfinite(logits).all()

    kinds = {type(module) for module in training.state.model.modules()}
    has = recipe.has
    assert (nn.GroupNorm in kinds) == has("gn")
    assert (nn.BatchNorm2d in kinds) == (not has("gn") and epsilon is None)
    assert (StandardizedConv2d in kinds) == has("ws")
    assert bool(training.state.average) == has("pa")
    assert bool(training.state.previous) == (has("sat") and epsilon is not None)
    assert (training.course.choice is not None) == has("obs")
    assert training.course.batch_size == 16 or has("obs")
    images, _ = training.examples.views_and_labels(torch.arange(5), 0)
    assert images.shape[1] == (2 if has("am") else 1)
    spent = training.epsilon_spent()
    assert (spent is None) if epsilon is None else 0 < spent <= epsilon


OTHER = {
    **{"clipping_norm": 0.5, "batch_size": 8, "epochs": 2.0, "fewest_updates": 1, "learning_rate": 0.1},
    **{"schedule": "cosine", "warmup": 0.5, "momentum": 0.5, "weight_decay": 0.1, "label_smoothing": 0.1},
    **{"norm_groups": 1, "norm_first": True, "views": 3, "shift": 0, "flips": False, "average_decay": 0.01},
    **{"sharpness_radius": 0.5, "optimizer": "adam"},
}
"""Another value of every field that can change how a network of the package is trained from the start."""

NOT_HERE = {
    *("model", "techniques", "epsilon", "delta", "allow_large_delta", "evaluations", "seed", "secret_noise"),
    *("prior_seed", "pretrain", "pretrain_updates", "head_first", "head_rate", "provenance", "weights", "trained"),
    *("measures", "attacks"),
}


def trained(data, techniques, **changes):
    settings = {"batch_size": 16, "epochs": 1, "fewest_updates": 3, "views": 2, "norm_groups": 2} | changes
    training = Training(Recipe(model="convnet-4", techniques=techniques, **settings), data, Execution(device="cpu"))
    list(training.run_updates(training.course.updates))
    return training.logits("test")


def test_a_technique_says_which_settings_have_an_effect_under_it_alone(noise_images):
    """Guards: a technique with a setting of its own that nobody says is its own, so that it is never compared.

    (Without a budget: with one, every setting is part of what keys the noise.)
    """
    assert {field.name for field in fields(Recipe)} == NOT_HERE | set(OTHER)
    without, every = (trained(noise_images, codes) for codes in ("none", tuple(TECHNIQUES)))
    idle = [name for name in OTHER if torch.equal(trained(noise_images, "none", **{name: OTHER[name]}), without)]
    shown = {
        name for name in idle if not torch.equal(trained(noise_images, tuple(TECHNIQUES), **{name: OTHER[name]}), every)
    }
    assert shown == {name for technique in TECHNIQUES.values() for name in technique.settings}
