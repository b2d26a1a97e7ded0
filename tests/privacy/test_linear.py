"""The closed form for one linear layer against the float64 loop over examples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, clipped_gradient_sum, clipping
from trilemma.privacy.gradients import linear, rules, sums


def problem(examples, views, size, classes, bias, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(size, classes, bias=bias)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    inputs = torch.randn(examples, views, size, generator=generator) * torch.linspace(0.3, 3, examples)[:, None, None]
    return layer, inputs, torch.randint(0, classes, (examples,), generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    examples=st.integers(1, 9),
    views=st.integers(1, 5),
    size=st.integers(1, 40),
    classes=st.integers(2, 7),
    bias=st.booleans(),
    clip=st.floats(0.01, 10),
    seed=st.integers(0, 10_000),
    block=st.integers(1, 12),
    half=st.booleans(),
    on_cpu=st.booleans(),
)
def test_sums_and_norms_are_those_of_the_oracle(
    oracle, examples, views, size, classes, bias, clip, seed, block, half, on_cpu
):
    """However it is cut into blocks, or not at all as on a GPU; float16 inputs count as the float32 they are."""
    layer, inputs, labels = problem(examples, views, size, classes, bias, seed)
    given_inputs = inputs.half() if half else inputs
    expected, norms = oracle.clipped_gradient_sum(layer, given_inputs.float(), labels, clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "_ROWS", block)
        for module in (linear, rules, sums):
            patch.setattr(module, "on_cpu", lambda tensor: on_cpu)
        total = Clipping(layer, clip, "linear")(given_inputs, labels)
    assert total.sums.keys() == expected.keys()
    for name, value in total.sums.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=3e-5 * clip)
    torch.testing.assert_close(total.norms.double(), norms, rtol=1e-4, atol=1e-5)


def test_it_is_what_auto_takes_and_equals_the_other_methods():
    layer, inputs, labels = problem(6, 3, 20, 4, True, 3)
    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clipping._METHODS, "linear", lambda *a: called.append(1) or linear.linear(*a))
        by_itself = Clipping(layer, 0.5)(inputs, labels)
        function, _ = clipped_gradient_sum(layer, inputs, labels, clipping_norm=0.5)
    assert len(called) == 2
    for method in ("loop", "layerwise"):
        other = Clipping(layer, 0.5, method)(inputs, labels)
        for name, value in other.sums.items():
            torch.testing.assert_close(by_itself.sums[name].float(), value.float(), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(function[name], value.float(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(by_itself.norms, other.norms)
        torch.testing.assert_close(by_itself.losses, other.losses)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("views", [1, 2])
def test_a_poisoned_example_is_bounded_and_leaves_the_others_alone(poison, views):
    layer, inputs, labels = problem(5, views, 8, 3, False, 4)
    rest = torch.arange(5) != 2
    alone = Clipping(layer, 0.1, "linear")(inputs[rest], labels[rest])
    inputs[2, 0, 1] = poison
    total = Clipping(layer, 0.1, "linear")(inputs, labels)
    change = total.sums["weight"] - alone.sums["weight"]
    assert torch.isfinite(change).all()
    assert change.norm() <= 0.1 * (1 + 1e-5)
    torch.testing.assert_close(total.norms[rest], alone.norms)


def test_a_frozen_weight_or_bias_counts_for_nothing(oracle):
    for frozen in ("weight", "bias"):
        layer, inputs, labels = problem(5, 2, 8, 3, True, 5)
        getattr(layer, frozen).requires_grad_(False)
        expected, norms = oracle.clipped_gradient_sum(layer, inputs, labels, 0.4)
        total = Clipping(layer, 0.4, "linear")(inputs, labels)
        assert total.sums.keys() == expected.keys()
        for name, value in total.sums.items():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(total.norms.double(), norms, rtol=1e-4, atol=1e-6)


def test_rounded_sums_are_refused():
    layer, inputs, labels = problem(5, 1, 8, 3, False, 6)
    with pytest.raises(PrivacyError, match="float32"):
        Clipping(layer, 1.0, "linear")(inputs.bfloat16(), labels)
    with pytest.raises(PrivacyError, match="float32"):
        Clipping(layer, 1.0, "linear", autocast=torch.bfloat16)(inputs, labels)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        for method in ("linear", "layerwise", "loop"):
            with pytest.raises(PrivacyError, match="rounded"):
                Clipping(layer, 1.0, method)(inputs, labels)
    finally:
        torch.set_float32_matmul_precision(before)


def test_other_networks_are_refused():
    labels = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="linear method"):
        Clipping(nn.Sequential(nn.Linear(4, 2)), 1.0, "linear")(torch.zeros(2, 1, 4), labels)
    with pytest.raises(ValueError, match="linear method"):
        Clipping(nn.Linear(4, 2), 1.0, "linear")(torch.zeros(2, 1, 3, 4), labels)
