"""The tests themselves: errors planted in the rules and in the clip must be seen."""

import dataclasses

import pytest
import torch
from torch import nn

from clipping_cases import METHODS, SHAPE, batch, by_method, force, judge, prepared, zoo
from fast_networks import FAST
from trilemma.privacy import check_network
from trilemma.privacy.gradients import contributions, hooks, rules
from trilemma.privacy.gradients.sums import Objective


def _without_bias(rule):
    def mutant(layer, inputs, gradients, examples, **known):
        result = rule(layer, inputs, gradients, examples, **known)
        return {n: torch.zeros_like(v) if n == "bias" else v for n, v in result.items()}

    return mutant


def _first_view_only(rule):
    def mutant(layer, inputs, gradients, examples):
        views = len(inputs) // examples
        keep = torch.arange(examples) * views
        return rule(layer, inputs[keep], gradients[keep] * views, examples)

    return mutant


def _rule(layer, mutate):
    rule, known = rules.RULES[layer]
    return lambda patch: patch.setitem(rules.RULES, layer, (mutate(rule), known))


def _replaced(owner, name, make):
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


MAP = rules.Standardization
MUTANTS = {
    "bias-left-out": ("rules", "strided", _rule(nn.Conv2d, _without_bias)),
    "linear-bias-left-out": ("rules", "strided", _rule(nn.Linear, _without_bias)),
    "group-norm-bias-left-out": ("chosen", "group-norm", _rule(nn.GroupNorm, _without_bias)),
    "group-norm-by-the-moments-of-another-view": (
        "chosen",
        "group-norm",
        _replaced(hooks, "_moments", lambda f: lambda output: tuple(part.roll(1, 0) for part in f(output))),
    ),
    "first-view-only": ("rules", "group-norm", _rule(nn.Conv2d, _first_view_only)),
    "bias-left-out-beside-formed-weights": (
        "formed",
        "strided",
        _replaced(contributions, "convolution_bias", lambda f: lambda g, n: torch.zeros_like(f(g, n))),
    ),
    "jacobian-left-out": (
        "rules",
        "standardized",
        _replaced(MAP, "pull_back", lambda f: lambda self, used: (used, f(self, used)[1])),
    ),
    "jacobian-left-out-of-the-sum": (
        "formed",
        "standardized",
        _replaced(MAP, "pull_back", lambda f: lambda self, used: (used, f(self, used)[1])),
    ),
    "jacobian-left-out-of-the-norm": (
        "formed",
        "standardized",
        _replaced(MAP, "from_sums", lambda f: lambda self, square, along, total: (square + along.square()).sum(-1)),
    ),
    "mean-left-in-the-norm": (
        "formed",
        "standardized",
        _replaced(MAP, "from_sums", lambda f: lambda self, square, along, total: f(self, square, along, 0 * total)),
    ),
    "mean-left-in-the-ghost-norm": (
        "ghost",
        "standardized",
        _replaced(contributions, "_patch_sums", lambda f: lambda call: 0 * f(call)),
    ),
    "floor-forgotten": (
        "formed",
        "standardized-partly-under-the-floor",
        _replaced(MAP, "of", lambda f: lambda *a, **k: dataclasses.replace(f(*a, **k), free=torch.ones(6))),
    ),
    "padding-forgotten": ("ghost", "strided", _replaced(contributions, "padded", lambda f: lambda layer, x: x)),
    "patches-moved-by-a-pixel": (
        "gpu",
        "strided",
        _replaced(rules, "padded", lambda f: lambda layer, x: f(layer, x).roll(1, 3)),
    ),
    "patches-of-another-example": (
        "gpu",
        "strided",
        _replaced(rules, "_patches", lambda f: lambda *arguments: f(*arguments).roll(1, 0)),
    ),
    "bias-left-out-of-the-ghost-norm": (
        "ghost",
        "strided",
        _replaced(contributions.Ghost, "__init__", lambda f: _ghost_without_bias(f)),
    ),
}


def _ghost_without_bias(make):
    def mutant(self, call):
        make(self, call)
        if call.layer.bias is not None:
            g = self.gradients.double().flatten(2).sum(2)
            self.squares = self.squares - g.square().sum(1)

    return mutant


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_errors_in_the_rules_are_seen(monkeypatch, name):
    """Each of these must fail in the comparison that the real rules pass."""
    form, network, plant = MUTANTS[name]
    force(monkeypatch, form)
    model = zoo(FAST[network], network)
    images, labels = batch(4, 1 if form == "ghost" else 2)
    judge(model, images, labels, by_method(model, images, labels, "layerwise"))
    plant(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        judge(model, images, labels, by_method(model, images, labels, "layerwise"))
    # And the check of the package itself (two examples of two views) sends such a network to the loop.
    if form != "ghost" and name != "floor-forgotten":
        assert check_network(model, SHAPE).reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mutant", ["not clipped", "always scaled", "clipped twice as far"])
def test_planted_errors_in_the_clip_are_seen(monkeypatch, method, mutant):
    """Guards: clipping norm ignored."""
    factors = {
        "not clipped": lambda self, norm: torch.ones_like(norm),
        "always scaled": lambda self, norm: self.clipping_norm / norm,
        "clipped twice as far": lambda self, norm: 2 * self.clipping_norm / norm.clamp_min(2 * self.clipping_norm),
    }
    model = prepared(FAST["group-norm"])
    images, labels = batch(4, 2)
    monkeypatch.setattr(Objective, "factor", factors[mutant])
    with pytest.raises(AssertionError):
        judge(model, images, labels, by_method(model, images, labels, method))


def test_clipping_each_view_or_each_parameter_is_seen(oracle):
    """Guards: clipping each view; per parameter clip; clipping per micro-batch."""
    model = prepared(FAST["group-norm"])
    images, labels = batch(4, 3)

    def each_view(c):
        sums, norms = oracle.clipped_gradient_sum(model, images.flatten(0, 1)[:, None], labels.repeat_interleave(3), c)
        return {n: (s / 3).float() for n, s in sums.items()}, norms.reshape(4, 3).mean(1).float()

    def each_parameter(c):
        gradients = oracle.example_gradients(model, images, labels)
        sums = {n: sum(g[n] * min(1.0, c / float(g[n].norm())) for g in gradients).float() for n in gradients[0]}
        return sums, torch.tensor([oracle.gradient_norm(g) for g in gradients], dtype=torch.float32)

    def batch_mean(c):
        gradients = oracle.example_gradients(model, images, labels)
        whole = {n: sum(g[n] for g in gradients) / 4 for n in gradients[0]}
        factor = 4 * min(1.0, c / oracle.gradient_norm(whole))
        norms = torch.tensor([oracle.gradient_norm(g) for g in gradients], dtype=torch.float32)
        return {n: (v * factor).float() for n, v in whole.items()}, norms

    for mutant in (each_view, each_parameter, batch_mean):
        with pytest.raises(AssertionError):
            judge(model, images, labels, mutant)
