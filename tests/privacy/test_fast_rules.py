"""The layerwise method against a float64 loop over examples, on a zoo of layers, in every form and way it can take."""

import pytest
import torch
from torch import nn

from clipping_cases import CLASSES, FORMS, METHODS, SHAPE, batch, by_function, by_method, force, judge, scramble, zoo
from fast_networks import FAST, convolutional, under_the_floor
from trilemma.privacy import Clipping, check_network
from trilemma.privacy.gradients import contributions, hooks, rules
from trilemma.privacy.gradients.layerwise import why_not_layerwise
from trilemma.standardization import StandardizedConv2d


@pytest.mark.parametrize("views", [1, 2, 16])
@pytest.mark.parametrize("name", FAST)
def test_fast_rules_against_the_oracle(oracle, name, views):
    """Guards: tied, frozen or partly frozen parameters; bias norm left out."""
    model = zoo(FAST[name], name)
    images, labels = oracle.off_the_kinks(model, lambda seed: batch(4, views, seed=seed))
    assert why_not_layerwise(model) is None
    assert check_network(model, SHAPE).reason is None
    forms = [by_method(model, images, labels, "layerwise", form) for form in FORMS]
    judge(model, images, labels, by_method(model, images, labels, "loop"), *forms)


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("name", [n for n in FAST if "linear" not in n and "vectors" not in n and n != "unused"])
def test_every_way_to_the_gradient_of_a_convolution(oracle, monkeypatch, name, views):
    """The rule chooses by size; whatever it chooses is exact for every kind of convolution."""
    monkeypatch.setattr(rules, "_CACHED", 400)
    model = zoo(FAST[name], name)
    images, labels = oracle.off_the_kinks(model, lambda seed: batch(4, views, seed=seed))
    runs = [
        by_method(model, images, labels, "layerwise", form, way)
        for way in (("groups",) if views == 1 else ("convolutions", "patches", "channels last"))
        for form in ("formed", "rules")
    ]
    judge(model, images, labels, *runs, half_only=True)


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("strided", "ghost", contributions.Ghost),
        ("strided", "formed", contributions.MaterializedConvolution),
        ("strided", "rules", contributions.Materialized),
        ("strided", "gpu", contributions.MaterializedConvolution),
        ("standardized", "ghost", contributions.Ghost),
        ("standardized", "formed", contributions.MaterializedConvolution),
        ("grouped", "ghost", contributions.MaterializedConvolution),
        ("tied-convolutions", "ghost", contributions.Materialized),
        ("called-twice", "ghost", contributions.Materialized),
        ("frozen-weight", "ghost", contributions.Materialized),
        ("standardized-constant-filter", "ghost", contributions.MaterializedConvolution),
        ("standardized-under-the-floor", "ghost", contributions.MaterializedConvolution),
    ],
)
def test_the_forms_are_those_that_are_meant(monkeypatch, name, form, expected):
    """The two forms really differ: otherwise the tests above would compare one with itself."""
    force(monkeypatch, form)
    seen, chosen = [], hooks.contribution

    def noting(call, names, alone):
        rule = chosen(call, names, alone=alone)
        seen.append((type(call.layer), type(rule)))
        return rule

    monkeypatch.setattr(hooks, "contribution", noting)
    model = zoo(FAST[name], name)
    Clipping(model, 1.0, "layerwise")(*batch(2, 1))
    assert expected in {rule for kind, rule in seen if kind in (nn.Conv2d, StandardizedConv2d)}


class Tripled(nn.Module):
    """An in-place change, unlike that of a ReLU, whose gradient is zero wherever it changes a value."""

    def forward(self, x):
        return x.mul_(3)


def test_an_output_changed_in_place_has_no_ghost(monkeypatch):
    """<v, G> is read off the outputs of a standardized convolution: they must still be there."""
    force(monkeypatch, "ghost")
    torch.manual_seed(5)
    model = scramble(convolutional(StandardizedConv2d(3, 6, 3), Tripled(), nn.Tanh(), channels=6))
    images, labels = batch(4, 1)
    judge(model, images, labels, by_method(model, images, labels, "layerwise"))


def test_the_floor_is_reached_where_it_should_be():
    """The cases above reach the special branch, not only the ordinary one."""
    for share, count in ((1, 6), (0.5, 3)):
        weight = under_the_floor(share).weight
        square = (weight - weight.mean((1, 2, 3), keepdim=True)).square().sum((1, 2, 3))
        assert int((square < 1e-4).sum()) == count


def test_a_bare_layer_is_a_network_too():
    """The parameters of the root have no dot in their names."""
    torch.manual_seed(0)
    model = nn.Linear(7, CLASSES)
    images, labels = batch(4, 3, (7,))
    for method in METHODS:
        judge(model, images, labels, by_method(model, images, labels, method))
    judge(model, images, labels, by_function(model, images, labels))


def test_every_rule_is_in_the_zoo():
    """Every rule has a network among these tests; a new rule needs one."""
    seen = set()
    for name, make in FAST.items():
        seen |= {type(m) for m in zoo(make, name).modules() if list(m.parameters(recurse=False))}
    assert set(rules.RULES) <= seen
