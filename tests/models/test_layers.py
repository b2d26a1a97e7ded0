"""Layers that no library has in this form: scaled weight standardization, SAME padding, and initial weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.models import build
from trilemma.models.layers import convolution, norm_layer, pad_same
from trilemma.standardization import StandardizedConv2d, standardize


def numpy_standardized(weight, gain):
    """De et al. 2022, literally: gain * (w - mean) / sqrt(max(var * fan_in, 1e-4)) for every output channel."""
    out = np.empty(weight.shape, dtype=np.float64)
    for channel in range(weight.shape[0]):
        w = weight[channel].astype(np.float64)
        fan_in = w.size
        out[channel] = gain[channel] * (w - w.mean()) / math.sqrt(max(w.var() * fan_in, 1e-4))
    return out


def layer_with(scale, seed=0, in_channels=3, out_channels=6, kernel_size=3):
    torch.manual_seed(seed)
    layer = StandardizedConv2d(in_channels, out_channels, kernel_size)
    with torch.no_grad():
        layer.weight.normal_(0.2 * scale, scale)
        layer.gain.uniform_(-2, 2)
    return layer


@pytest.mark.parametrize("scale", [10.0, 0.3, 3e-3, 1e-3, 1e-5])
@pytest.mark.parametrize(("in_channels", "kernel_size"), [(3, 3), (16, 1), (8, 3), (1, 3)])
def test_standardization_is_the_formula(scale, in_channels, kernel_size):
    """The scaled kind, by fan-in, with a floor under var * fan_in; not (w - mean) / std."""
    layer = layer_with(scale, in_channels=in_channels, kernel_size=kernel_size)
    expected = numpy_standardized(layer.weight.detach().numpy(), layer.gain.detach().numpy())
    np.testing.assert_allclose(layer.standardized_weight().detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    square = (layer.weight.detach().double().numpy().reshape(6, -1).var(1)) * in_channels * kernel_size**2
    if scale >= 0.3:
        assert (square > 1e-4).all()
        norms = layer.standardized_weight().flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, layer.gain.abs(), rtol=1e-5, atol=1e-6)
    if scale <= 1e-3:
        assert (square < 1e-4).all()  # the floor is what is tested here


def test_the_floor_is_on_the_square_at_one_in_ten_thousand():
    """Two filters of one direction, just above and just below: unit length above, proportional below."""
    direction = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1) / math.sqrt(2)
    for length in (0.02, 0.0101, 0.0099, 0.005):
        norm = float(standardize(direction * length).flatten().norm())
        assert norm == pytest.approx(min(1.0, length / 0.01), rel=1e-5)
    constant = standardize(torch.full((2, 3, 3, 3), 0.7))
    assert torch.isfinite(constant).all()
    assert float(constant.abs().max()) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 2e-3, 1e-3])
def test_the_gradient_of_the_standardization(scale):
    """Against finite differences of the numpy formula in float64, above and under the floor."""
    layer = layer_with(scale, in_channels=2, out_channels=3, kernel_size=2).double()
    torch.manual_seed(1)
    direction = torch.randn(layer.weight.shape, dtype=torch.float64)
    weight, gain = layer.weight.detach().numpy(), layer.gain.detach().numpy()
    (layer.standardized_weight() * direction).sum().backward()

    def value(w, g):
        return float((numpy_standardized(w, g) * direction.numpy()).sum())

    for array, gradient, step in ((weight, layer.weight.grad, 1e-6 * scale), (gain, layer.gain.grad, 1e-6)):
        for index in np.ndindex(*array.shape):
            before = array[index]
            pair = []
            for sign in (1, -1):
                array[index] = before + sign * step
                pair.append(value(weight, gain))
            array[index] = before
            slope = (pair[0] - pair[1]) / (2 * step)
            assert float(gradient[index]) == pytest.approx(slope, rel=1e-5, abs=1e-5 * float(gradient.abs().max()))


def test_the_standardized_gradient_ignores_a_common_shift_of_a_filter():
    """The mean is subtracted, so nothing depends on it."""
    layer = layer_with(1.0)
    images = torch.randn(2, 3, 8, 8)
    before = layer(images)
    layer(images).square().sum().backward()
    assert layer.weight.grad.sum(dim=(1, 2, 3)).abs().max() < 1e-3 * layer.weight.grad.abs().max()
    with torch.no_grad():
        layer.weight.add_(0.5)
    torch.testing.assert_close(layer(images), before, rtol=1e-4, atol=1e-4)


def test_a_standardized_convolution_uses_bias_and_stride_once():
    layer = StandardizedConv2d(3, 4, 3, stride=2)
    with torch.no_grad():
        layer.bias.copy_(torch.arange(4.0))
    images = torch.randn(2, 3, 9, 9)
    expected = F.conv2d(images, standardize(layer.weight), stride=2) + torch.arange(4.0)[:, None, None]
    torch.testing.assert_close(layer(images), expected)
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == {
        "weight": (4, 3, 3, 3),
        "bias": (4,),
        "gain": (4,),
    }
    assert bool((layer.gain == 1).all())


def same_padded(images, kernel_size, stride):
    """XLA's SAME by its definition: ceil(size / stride) outputs, the odd pixel at the end."""
    height, width = images.shape[-2:]

    def sides(size):
        total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
        return total // 2, total - total // 2

    top, bottom = sides(height)
    left, right = sides(width)
    out = torch.zeros(*images.shape[:-2], top + height + bottom, left + width + right)
    out[..., top : top + height, left : left + width] = images
    return out


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
)
def test_padding_is_same(height, width, kernel_size, stride):
    images = torch.randn(1, 2, height, width)
    layer = convolution(2, 3, kernel_size, stride=stride, standardized=False)
    out = layer(pad_same(images, kernel_size, stride))
    expected = F.conv2d(same_padded(images, kernel_size, stride), layer.weight, layer.bias, stride)
    assert out.shape[-2:] == (math.ceil(height / stride), math.ceil(width / stride))
    assert torch.allclose(out, expected, atol=1e-5)


def test_padding_at_stride_two_is_at_the_bottom_and_right():
    """Haiku's "SAME": torch's padding=1 differs."""
    images = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8)
    padded = pad_same(images, 3, 2)
    assert padded.shape == (1, 1, 9, 9)
    assert torch.equal(padded[..., :8, :8], images)
    assert bool((padded[..., 8, :] == 0).all())
    assert bool((padded[..., :, 8] == 0).all())
    weight = torch.randn(1, 1, 3, 3)
    assert not torch.allclose(F.conv2d(padded, weight, stride=2), F.conv2d(images, weight, stride=2, padding=1))
    # At stride 1 both are the same, and the convolution pads by itself.
    assert pad_same(images, 3, 1) is images
    assert pad_same(images, 1, 2) is images


def test_norm_layers_have_groups_that_divide_their_channels():
    assert isinstance(norm_layer("none", 16, 16), nn.Identity)
    assert isinstance(norm_layer("batch", 16, 16), nn.BatchNorm2d)
    for channels, groups, expected in ((16, 16, 16), (64, 16, 16), (24, 16, 12), (8, 16, 8), (7, 4, 1), (12, 1, 1)):
        layer = norm_layer("group", channels, groups)
        assert isinstance(layer, nn.GroupNorm)
        assert (layer.num_groups, layer.num_channels, layer.affine) == (expected, channels, True)


def test_convolutions_are_biased_and_pad_at_stride_one_only():
    for standardized in (False, True):
        for stride, padding in ((1, 1), (2, 0)):
            layer = convolution(3, 8, 3, stride=stride, standardized=standardized)
            assert isinstance(layer, StandardizedConv2d) is standardized
            assert layer.bias is not None
            assert layer.padding == (padding, padding)
            assert layer.stride == (stride, stride)


# --- initial weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardized", [False, True])
def test_initial_weights_have_variance_one_over_fan_in(standardized):
    """De et al. 2022: convolutions normal, the head truncated normal, biases 0, norms and gains 1.

    Each layer's mean square is within five standard deviations of its value (about 1e-6 false alarms a layer).
    """
    model = build(
        "wrn-16-4",
        classes=100,
        image_shape=(3, 32, 32),
        norm="group",
        standardized=standardized,
        generator=torch.Generator().manual_seed(0),
    )
    seen = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            w = module.weight.detach().double()
            fan_in = w[0].numel()
            assert float(w.square().mean() * fan_in) == pytest.approx(1.0, abs=5 * math.sqrt(2 / w.numel()))
            assert abs(float(w.mean())) < 5 / math.sqrt(fan_in * w.numel())
            assert bool((module.bias == 0).all())
            largest = float(w.abs().max()) * math.sqrt(fan_in)
            if isinstance(module, nn.Linear):
                assert largest <= 2 / 0.8796256 + 1e-3  # truncated at two deviations before the correction
            elif w.numel() > 1000:
                assert largest > 2.6  # not truncated
            seen += 1
        if isinstance(module, nn.GroupNorm):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
        if isinstance(module, StandardizedConv2d):
            assert bool((module.gain == 1).all())
    assert seen == 17  # stem, six blocks of two, three projections, head


def test_initial_weights_come_from_the_generator_alone():
    def made(seed):
        return build("convnet", classes=10, image_shape=(3, 8, 8), generator=torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    torch.manual_seed(1)
    weights = made(5).state_dict()
    torch.manual_seed(2)
    two, other = made(5).state_dict(), made(6).state_dict()
    torch.set_rng_state(state)
    assert all(torch.equal(weights[n], two[n]) for n in weights)
    assert not torch.equal(weights["head.weight"], other["head.weight"])
