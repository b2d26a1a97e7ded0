"""The whole computation in float64 against a float64 loop over examples, to nine digits.

Sums and norms are float32 by design, in which methods agree to six digits, and an error in the seventh would not show.
So the network is a float64 twin here, and what the code takes for float32 is float64 (:func:`float64_for_float32`): the
same lines run, with the same choices, and only rounding is smaller.
"""

import contextlib
import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipping_cases import batch, scramble
from fast_networks import CLASSES, Net, channels_last, convolutional, freeze
from trilemma.models.layers import StandardizedConv2d
from trilemma.privacy.gradients import contributions, hooks, layerwise, linear, loop, rules, sums
from trilemma.privacy.gradients.sums import Objective
from trilemma.training.sharpness import perturbed

SHAPE = (3, 8, 8)
DIGITS = 1e-9


@contextlib.contextmanager
def float64_for_float32():
    """The type that the code calls float32, asks for and compares with is float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        yield


def grouped_and_strided():
    first, second = nn.Conv2d(3, 6, 3, groups=3, padding=1), nn.Conv2d(6, 8, 3, stride=2, groups=2)
    return convolutional(first, nn.Tanh(), second, nn.Tanh(), channels=8)


def residual():
    def forward(self, x):
        x = torch.tanh(self.first(x))
        x = x + self.second(torch.tanh(self.norm(x)))
        return self.head((self.shortcut(x) + self.third(torch.tanh(x))).mean((2, 3)))

    return Net(
        forward,
        first=nn.Conv2d(3, 6, 3, padding=1),
        norm=nn.GroupNorm(3, 6),
        second=nn.Conv2d(6, 6, 3, padding=1, bias=False),
        third=nn.Conv2d(6, 8, 3, stride=2, padding=1),
        shortcut=nn.Conv2d(6, 8, 1, stride=2, bias=False),
        head=nn.Linear(8, CLASSES),
    )


def tied():
    def forward(self, x):
        return self.head(self.a(x).tanh().mean((2, 3)) + self.b(x).tanh().mean((2, 3)))

    net = Net(forward, a=nn.Conv2d(3, 6, 3), b=nn.Conv2d(3, 6, 3, stride=2, bias=False), head=nn.Linear(6, CLASSES))
    net.b.weight = net.a.weight
    return net


def partly_frozen():
    model = convolutional(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Tanh(), nn.Conv2d(6, 6, 3), nn.Tanh(), channels=6)
    return freeze(model, "0.weight", "1.bias", "3.bias")


def standardized():
    layers = (StandardizedConv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Tanh(), StandardizedConv2d(8, 8, 3, stride=2))
    return convolutional(*layers, nn.GroupNorm(4, 8), nn.Tanh(), channels=8)


TOPOLOGIES = {
    "convolutions": lambda: convolutional(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3), nn.Tanh(), channels=6),
    "grouped-strided": lambda: convolutional(
        nn.Conv2d(3, 6, 3, groups=3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 8, 3, stride=2, groups=2),
        nn.Tanh(),
        channels=8,
    ),
    "residual": residual,
    "tied": tied,
    "partly-frozen": partly_frozen,
    "standardized": standardized,
    "channels-last": channels_last,
    "linear": lambda: nn.Linear(192, CLASSES),
}


RADIUS = 0.5


def twin(name):
    """A float64 network away from its initial weights, and a direction in which DP-SAT may perturb it."""
    torch.manual_seed(7)
    model = scramble(TOPOLOGIES[name]()).double()
    return model, {n: torch.randn_like(p) for n, p in model.named_parameters() if p.requires_grad}


def uphill(model, direction):
    """A copy whose weights are RADIUS further along the direction, written from DP-SAT's definition."""
    model = copy.deepcopy(model)
    norm = math.sqrt(sum(float((d * d).sum()) for d in direction.values()))
    with torch.no_grad():
        for name, d in direction.items():
            model.get_parameter(name).add_(RADIUS * d / norm)
    return model


def agree(oracle, total, expected, norms):
    assert total.norms.dtype == torch.float64
    assert float(((total.norms - norms).abs() / norms).max()) <= DIGITS
    assert total.sums.keys() == expected.keys()
    assert all(value.dtype == torch.float64 for value in total.sums.values())
    assert oracle.relative_error(total.sums, expected) <= DIGITS


def force_ghosts(monkeypatch):
    monkeypatch.setattr(contributions, "_FEW", math.inf)


def force_materialized(monkeypatch):
    monkeypatch.setattr(contributions, "_FEW", -1)


def force_gpu(monkeypatch):
    for module in (rules, contributions, layerwise, linear, sums):
        monkeypatch.setattr(module, "on_cpu", lambda tensor: False)


COMPUTATIONS = {
    "loop": (loop.loop, lambda patch: None),
    "layerwise": (layerwise.layerwise, lambda patch: None),
    "ghosts": (layerwise.layerwise, force_ghosts),
    "materialized": (layerwise.layerwise, force_materialized),
    "as-on-a-gpu": (layerwise.layerwise, force_gpu),
    "linear": (linear.linear, lambda patch: None),
}


@pytest.mark.parametrize("sharp", [False, True], ids=["plain", "DP-SAT"])
@pytest.mark.parametrize("examples", [1, 2, 7])
@pytest.mark.parametrize("views", [1, 4, 16])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_sums_norms_and_clip_to_nine_digits(oracle, monkeypatch, name, views, examples, sharp):
    """Guards: clipping norm ignored, bias left out, clipping each view; DP-SAT along another direction."""
    model, direction = twin(name)
    images, labels = batch(examples, views)
    images = images.double().flatten(2) if name == "linear" else images.double()
    gradients = oracle.example_gradients(uphill(model, direction) if sharp else model, images, labels)
    norms = sorted(oracle.gradient_norm(g) for g in gradients)
    for clip in (2 * norms[-1], (norms[0] + norms[-1]) / 2, norms[0] / 2):
        expected, exact_norms = oracle.clip_and_add(model, gradients, clip)
        for way, (compute, force) in COMPUTATIONS.items():
            if way == "linear" and name != "linear":
                continue
            with monkeypatch.context() as patch, float64_for_float32():
                force(patch)
                with perturbed(model, direction if sharp else None, RADIUS):
                    total = compute(Objective(model, clip), images, labels)
            agree(oracle, total, expected, exact_norms)


def test_ghosts_are_among_what_is_compared(monkeypatch):
    """The two forms really differ: otherwise the comparison would be of one with itself."""
    made, chosen = set(), hooks.contribution
    monkeypatch.setattr(hooks, "contribution", lambda *a, **k: made.add(type(rule := chosen(*a, **k))) or rule)
    images, labels = batch(2, 1)
    for way in ("ghosts", "materialized"):
        with monkeypatch.context() as patch, float64_for_float32():
            COMPUTATIONS[way][1](patch)
            layerwise.layerwise(Objective(twin("standardized")[0], 1.0), images.double(), labels)
    assert made >= {contributions.Ghost, contributions.MaterializedConvolution}


@pytest.mark.parametrize("name", ["convolutions", "linear"])
def test_an_error_in_the_eighth_digit_is_seen(oracle, name):
    """The comparison sees an error that no comparison of float32 numbers shows."""
    model, _ = twin(name)
    images, labels = batch(2, 1)
    images = images.double().flatten(2) if name == "linear" else images.double()
    expected, norms = oracle.clipped_gradient_sum(model, images, labels, 0.5)

    def slightly_off(logits, labels):
        return F.cross_entropy(logits * (1 + 3e-8), labels, reduction="none")

    with float64_for_float32():
        total = layerwise.layerwise(Objective(model, 0.5, slightly_off), images, labels)
    with pytest.raises(AssertionError):
        agree(oracle, total, expected, norms)
