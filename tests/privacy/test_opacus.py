"""A third opinion on what Opacus can express, one view."""

import copy

import pytest
import torch
import torch.nn.functional as F

from clipping_cases import METHODS, batch, scramble
from fast_networks import FAST
from trilemma.privacy import Clipping


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    [
        "grouped",
        "dilated",
        "strided",
        "unbiased",
        "linear-over-positions",
        "group-norm",
        "layer-norm-whole-map",
    ],
)
def test_opacus_agrees(oracle, name):
    """A third opinion, where it can express the same thing (one view)."""
    opacus = pytest.importorskip("opacus")
    torch.manual_seed(5)
    model = scramble(FAST[name]())
    images, labels = batch(4, 1)
    # Opacus is asked one number at a time: the gradient of each example, clipped by hand.
    wrapped = opacus.GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    F.cross_entropy(wrapped(images[:, 0]), labels, reduction="sum").backward()
    samples = {n.removeprefix("_module."): p.grad_sample for n, p in wrapped.named_parameters()}
    norms = sum(g.flatten(1).double().square().sum(1) for g in samples.values()).sqrt()
    clip = float(norms.median())
    factors = (clip / norms).clamp(max=1.0)
    expected = {n: torch.einsum("b,b...->...", factors, g.double()) for n, g in samples.items()}
    for method in METHODS:
        total = Clipping(model, clip, method)(images, labels)
        torch.testing.assert_close(total.norms.double(), norms, rtol=1e-5, atol=0)
        assert oracle.relative_error(total.sums, expected) <= 1e-5
