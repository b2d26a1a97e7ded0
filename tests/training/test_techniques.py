"""All subsets of the techniques, with and without a budget."""

import itertools

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
