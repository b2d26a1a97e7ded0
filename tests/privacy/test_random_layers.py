"""Dropout: a different network at every pass."""

import copy
import itertools

import pytest
import torch
from torch import nn

from clipping_cases import CLASSES, METHODS, batch, by_method, judge
from trilemma.privacy import Clipping
from trilemma.privacy.clipping import _METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("views", [1, 2])
def test_dropout_gives_unbiased_gradients(oracle, method, views):
    """A random layer: the mean over many calls is the exact mean over all masks; switched off, it is as if absent."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, CLASSES))
    images, labels = batch(3, views)
    quiet = copy.deepcopy(model).eval()
    judge(quiet, images, labels, by_method(quiet, images, labels, method))

    class Masked(nn.Module):
        mask: torch.Tensor

        def forward(self, x):
            return x * self.mask * 2

    expected = {}
    masked = nn.Sequential(*list(model)[:3], Masked(), model[4])
    for bits in itertools.product([0.0, 1.0], repeat=5):
        masked[3].mask = torch.tensor(bits)
        sums = oracle.clipped_gradient_sum(masked, images, labels, 1e9)[0]
        expected = {n: expected.get(n, 0) + s / 32 for n, s in sums.items()}
    rounds, objective = 200, Clipping(model, 1e9).objective
    mean = {}
    for _ in range(rounds):
        sums = _METHODS[method](objective, images, labels).sums  # what is random is refused by `Clipping`
        mean = {n: mean.get(n, 0) + s.double() / rounds for n, s in sums.items()}
    assert oracle.relative_error(mean, expected) < 0.2
