"""A network is checked once, and again after any change that makes it another network."""

import copy
import functools
import gc
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trilemma.errors import PrivacyError
from trilemma.models import build
from trilemma.privacy import Clipping, clipped_gradient_sum, validation
from trilemma.privacy.structure import structure

SHAPE = (3, 4, 4)


class Centered(nn.Module):
    """Mixes examples when it is told to."""

    def __init__(self, mixing=True):
        super().__init__()
        self.mixing = mixing

    def forward(self, x):
        return x - x.mean(0) if self.mixing else x


def network(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 6), *layers, nn.Tanh(), nn.Linear(6, 5))


def batch(shape=SHAPE):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 2, *shape, generator=generator), torch.tensor([0, 1, 2, 3])


@pytest.fixture
def checks(monkeypatch):
    """A list that grows by one with each check that is made."""
    made, check = [], validation.check_network
    monkeypatch.setattr(validation, "check_network", lambda *a, **k: made.append(a) or check(*a, **k))
    return made


def by_function(model, shape=SHAPE):
    return clipped_gradient_sum(model, *batch(shape))


def by_class(model, shape=SHAPE):
    return Clipping(model, 1.0)(*batch(shape))


CALLS = pytest.mark.parametrize("call", [by_function, by_class])


@CALLS
def test_a_network_is_checked_once(checks, call):
    model = network(nn.GroupNorm(2, 6))
    for _ in range(3):
        call(model)
        with torch.no_grad():  # an update changes numbers only
            for p in model.parameters():
                p.add_(0.1)
    assert len(checks) == 1


def freeze(model):
    model[1].weight.requires_grad_(False)


CHANGES = {
    "another layer": lambda m: m.insert(2, nn.Tanh()),
    "another class": lambda m: m.__setitem__(2, nn.ReLU()),
    "evaluation": lambda m: m.eval(),
    "evaluation of one layer": lambda m: m[2].eval(),
    "frozen": freeze,
    "more classes": lambda m: m.__setitem__(-1, nn.Linear(6, 7)),
    "without a bias": lambda m: m[1].register_parameter("bias", None),
    "tied": lambda m: setattr(m[2], "weight", m[2].bias),
    "a buffer": lambda m: m.register_buffer("mean", torch.zeros(3)),
    "a forward hook": lambda m: m[1].register_forward_hook(lambda module, inputs, output: output * 2),
    "a hook before": lambda m: m[1].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,)),
    "a forward function": lambda m: setattr(m[2], "forward", lambda x: x * 2),
    "a setting": lambda m: setattr(m[2], "eps", 0.1),
    "a new attribute": lambda m: setattr(m[2], "note", ("a", {"b": [1, 2.0]})),
}


@CALLS
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_network_is_checked_again(checks, call, name):
    model = network(nn.GroupNorm(2, 6))
    call(model)
    CHANGES[name](model)
    call(model)
    assert len(checks) == 2
    call(model)
    assert len(checks) == 2


@CALLS
def test_other_images_are_another_case(checks, call):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    for shape in (SHAPE, (3, 5, 6), SHAPE):
        call(model, shape)
    assert len(checks) == 2


@CALLS
def test_a_copy_is_another_network(checks, call):
    model = network()
    call(model)
    call(copy.deepcopy(model))
    assert len(checks) == 2


@CALLS
def test_a_class_with_another_forward_function_is_checked_again(checks, call, monkeypatch):
    model = network(Centered(mixing=False))
    call(model)
    monkeypatch.setattr(Centered, "forward", lambda self, x: x - x.mean(0))
    with pytest.raises(PrivacyError, match="mixes examples"):
        call(model)
    assert len(checks) == 2


MIXING = {
    "batch norm": lambda m: m.insert(2, nn.BatchNorm1d(6)),
    "batch norm in the place of group norm": lambda m: m.__setitem__(2, nn.BatchNorm1d(6)),
    "a layer that mixes": lambda m: m.append(Centered()),
    "a switch": lambda m: setattr(m[3], "mixing", True),
    "a function": lambda m: setattr(m[2], "forward", lambda x: x - x.mean(0)),
    "a hook": lambda m: m[1].register_forward_hook(lambda module, inputs, output: output - output.mean(0)),
}


@CALLS
@pytest.mark.parametrize("name", MIXING)
def test_mixing_put_in_afterwards_is_refused(call, name):
    """Guards: batch norm and other buffers."""
    model = network(nn.GroupNorm(2, 6), Centered(mixing=False))
    call(model)
    MIXING[name](model)
    with pytest.raises(PrivacyError, match="mixes"):
        call(model)


def test_a_hook_for_every_module_is_seen():
    model = network()
    by_class(model)
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: output - output.mean(0)
    )
    try:
        with pytest.raises(PrivacyError, match="mix"):
            by_class(model)
    finally:
        handle.remove()
    by_class(model)


@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_batch_norm_put_in_afterwards_is_refused_by_every_method(method):
    model = network(nn.GroupNorm(2, 6))
    clipping = Clipping(model, 1.0, method)
    clipping(*batch())
    model[2] = nn.BatchNorm1d(6)
    with pytest.raises(PrivacyError, match="BatchNorm1d"):
        clipping(*batch())


def test_the_fast_method_asked_for_by_name_is_checked_as_well():
    """It alone computes examples together; a caller who names it must not get past the check."""
    with pytest.raises(PrivacyError, match="mix"):
        Clipping(network(Centered()), 1.0, "layerwise")(*batch())
    with pytest.raises(ValueError, match="the layerwise method does not fit"):
        Clipping(network(nn.PReLU()), 1.0, "layerwise")(*batch())


def test_a_refusal_is_never_taken_for_a_pass():
    model = network(Centered())
    for _ in range(2):
        with pytest.raises(PrivacyError, match="mixes examples"):
            by_function(model)


def test_an_address_used_again_is_not_taken_for_the_same_network():
    """A new network is often made where a dead one was: its check must not be the dead one's."""
    addresses, twice = set(), 0
    for number in range(60):
        model = network(Centered(mixing=number % 2 == 1))
        twice += id(model) in addresses
        addresses.add(id(model))
        if number % 2:
            with pytest.raises(PrivacyError, match="mixes examples"):
                by_function(model)
        else:
            by_function(model)
        del model
    assert twice > 5  # or this would have tested nothing


def test_a_function_at_the_address_of_another_is_not_taken_for_it(checks):
    """Functions are compared as objects that live, not by their address."""
    model = network(nn.Identity())
    for number in range(30):
        model[2].forward = (lambda x: x - x.mean(0)) if number % 2 else (lambda x: x * 1.0)
        if number % 2:
            with pytest.raises(PrivacyError, match="mixes examples"):
                by_function(model)
        else:
            by_function(model)
    assert len(checks) == 30


@CALLS
def test_what_is_remembered_keeps_no_network_alive(call):
    model = network(nn.GroupNorm(2, 6))
    model[2].forward = lambda x, layer=model[2]: F.group_norm(x, 2, layer.weight, layer.bias)
    call(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "value",
    [
        torch.relu,
        F.relu,
        functools.partial(F.leaky_relu, negative_slope=0.2),
        math.sqrt,
        [1, (2.0, "three", None)],
        {"four": {5}, 6: torch.float32},
        torch.ones(3),
        torch.Size([2]),
        nn.ReLU,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_modules_usually_hold_can_be_compared(checks, value):
    model = network()
    model[2].held = value
    assert structure(model) is not None
    by_function(model)
    by_function(model)
    assert len(checks) == 1


@pytest.mark.parametrize("name", ["wrn-10-1", "convnet"])
def test_networks_of_the_catalog_can_be_compared(name):
    for norm in ("none", "group"):
        model = build(name, classes=5, image_shape=(3, 8, 8), norm=norm, standardized=True, generator=torch.Generator())
        assert structure(model) is not None


def test_a_network_without_shapes_yet_cannot_be_compared():
    assert structure(network(nn.LazyLinear(6))) is None


class Settings:
    mixing = False


@CALLS
@pytest.mark.parametrize("setting", [Settings(), torch.ones(2).sum, [Settings()]], ids=["object", "method", "inside"])
def test_what_cannot_be_compared_is_checked_every_time(checks, call, setting):
    """An object of another class may change inside: the network is then never taken as known."""
    model = network(Centered(mixing=False))
    model[2].settings = setting
    assert structure(model) is None
    for _ in range(3):
        call(model)
    assert len(checks) == 3


def test_what_is_remembered_of_one_network_does_not_grow_without_end():
    model = network()
    for number in range(40):
        model[2].number = number
        by_function(model)
    assert len(validation._KNOWN[model]) <= 16
