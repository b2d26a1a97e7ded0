"""What the tests of clipping share: batches, weights away from the initial ones, and the comparison with the oracle."""

import math

import pytest
import torch

import clipping_oracle as oracle
from fast_networks import CLASSES
from trilemma.privacy import Clipping, clipped_gradient_sum
from trilemma.privacy.gradients import contributions, hooks, layerwise, linear, rules, sums

SHAPE = (3, 8, 8)
METHODS = ("layerwise", "loop")


def batch(examples, views, shape=SHAPE, seed=0, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(examples, views, *shape, generator=generator)
    # Examples of different scale have different norms, so that a clipping norm in the middle clips some of them.
    scales = torch.linspace(0.5, 2.0, examples).reshape(-1, *[1] * (len(shape) + 1))
    return images * scales, torch.randint(0, classes, (examples,), generator=generator)


def scramble(model, seed=1, spread=0.3):
    """Away from the initial weights, where gains of 1 and biases of 0 hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * spread * max(float(p.abs().mean()), 0.1))
    return model


def judge(model, images, labels, *runs, tolerance=1e-5, half_only=False):
    """Compare each ``run(clipping_norm) -> (sums, norms)`` with the oracle: none, half and all examples clipped."""
    gradients = oracle.example_gradients(model, images, labels)
    norms = sorted(oracle.gradient_norm(g) for g in gradients)
    middle = (norms[0] + norms[-1]) / 2
    for clipping_norm in (middle,) if half_only else (2 * norms[-1], middle, norms[0] / 2):
        expected, expected_norms = oracle.clip_and_add(model, gradients, clipping_norm)
        for run in runs:
            sums, norms_of_run = run(clipping_norm)
            assert sums.keys() == expected.keys(), run.__doc__
            assert all(value.dtype == torch.float32 for value in sums.values()), run.__doc__
            assert norms_of_run.dtype == torch.float32, run.__doc__
            norm_error = float(((norms_of_run.double() - expected_norms).abs() / expected_norms).max())
            assert norm_error <= tolerance, run.__doc__
            sum_error = oracle.relative_error(sums, expected)
            assert sum_error <= tolerance, run.__doc__


def by_method(model, images, labels, method, form="chosen", way=None):
    def run(clipping_norm):
        with pytest.MonkeyPatch.context() as patch:
            force(patch, form, way)
            total = Clipping(model, clipping_norm, method)(images, labels)
        return total.sums, total.norms

    run.__doc__ = f"{method}, {form}, {way}"
    return run


def by_function(model, images, labels, method="auto"):
    return lambda c: clipped_gradient_sum(model, images, labels, clipping_norm=c, method=method)


def prepared(build_network, keep_scale=False):
    torch.manual_seed(5)
    network = build_network()
    return network if keep_scale else scramble(network)


def zoo(make, name):
    # The weights under the floor must stay there.
    return prepared(make, keep_scale="floor" in name or "constant-filter" in name)


def force(monkeypatch, form, way=None):
    """One form of contribution, and one way to weight gradients, wherever it can be taken; or what a GPU takes."""
    assert form in FORMS
    if form == "gpu":
        for module in (rules, contributions, layerwise, linear, sums):
            monkeypatch.setattr(module, "on_cpu", lambda tensor: False)
        return
    if form == "rules":
        chosen = contributions.contribution
        monkeypatch.setattr(hooks, "contribution", lambda call, names, alone: chosen(call, names, alone=False))
    if form != "chosen":
        monkeypatch.setattr(contributions, "_FEW", math.inf if form == "ghost" else -1)
    if way is not None:
        limits = {"_SMALL": "patches", "_POSITIONS": "patches", "_FEW_WEIGHTS": "groups"}
        limits |= {"MAP": "channels last", "_VIEWS_ON_MAP": "channels last"}
        for limit, allows in limits.items():
            monkeypatch.setattr(rules, limit, math.inf if way == allows else -1)
        monkeypatch.setattr(rules, "CHANNELS", 1)


FORMS = ("chosen", "ghost", "formed", "rules", "gpu")
