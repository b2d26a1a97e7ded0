"""The networks: structure of De et al. 2022 against a plain forward pass written from it, sizes, names, refusals."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trilemma.errors import InputError
from trilemma.models import NAMES, build
from trilemma.standardization import StandardizedConv2d


def made(name, shape=(3, 32, 32), classes=10, seed=0, **options):
    return build(name, classes=classes, image_shape=shape, generator=torch.Generator().manual_seed(seed), **options)


def scrambled(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


# --- number of parameters ---------------------------------------------------------------------------------------------


def counted(depth, width, classes, channels, norm, standardized):
    """The numbers follow by hand from the published structure."""

    def conv(i, o, k):
        return i * o * k * k + o + (o if standardized else 0)

    def gn(c):
        return 2 * c if norm else 0

    total, before = conv(channels, 16, 3), 16
    for after in (16 * width, 32 * width, 64 * width):
        for block in range((depth - 4) // 6):
            i = before if block == 0 else after
            total += gn(i) + conv(i, after, 3) + gn(after) + conv(after, after, 3)
            if block == 0:
                total += gn(i) + conv(i, after, 1)
        before = after
    return total + gn(before) + before * classes + classes


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 4), (16, 1), (22, 2), (40, 4), (28, 10)])
@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("standardized", [False, True])
def test_the_number_of_parameters_agrees_with_the_formula(depth, width, norm, standardized):
    if (depth, width) == (28, 10) and (norm == "none" or not standardized):
        pytest.skip("36 million numbers: once is enough")
    model = made(f"wrn-{depth}-{width}", norm=norm, standardized=standardized)
    count = sum(p.numel() for p in model.parameters())
    assert count == counted(depth, width, 10, 3, norm == "group", standardized)
    assert all(p.requires_grad for p in model.parameters())


def test_the_paper_s_network_has_about_2_75_million_parameters():
    """As published, and 8.9 million for WRN-40-4."""
    assert sum(p.numel() for p in made("wrn-16-4", norm="group").parameters()) == pytest.approx(2.75e6, rel=0.01)
    assert sum(p.numel() for p in made("wrn-40-4", norm="group").parameters()) == pytest.approx(8.9e6, rel=0.01)


def test_convnet_has_the_parameters_it_says():
    assert sum(p.numel() for p in made("convnet").parameters()) == 103_786
    narrow, wide = (sum(p.numel() for p in made(f"convnet-{w}").parameters()) for w in (8, 64))
    assert narrow < 103_786 < wide
    assert sum(p.numel() for p in made("convnet-32").parameters()) == 103_786


# --- structure --------------------------------------------------------------------------------------------------------


def reference_forward(model, images, *, depth, norm_first, groups=16):
    """The published network as one function of the state dict, in float64, without the package's layers."""
    state = {n: t.double() for n, t in model.state_dict().items()}

    def conv(name, x, kernel_size, stride):
        weight = state[f"{name}.weight"]
        if f"{name}.gain" in state:
            centered = weight - weight.mean((1, 2, 3), keepdim=True)
            fan_in = weight[0].numel()
            variance = weight.var((1, 2, 3), keepdim=True, unbiased=False)
            weight = centered / (variance * fan_in).clamp_min(1e-4).sqrt() * state[f"{name}.gain"][:, None, None, None]
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), weight, state[f"{name}.bias"], stride=stride)

    def normalized(name, x):
        if f"{name}.norm.weight" not in state:
            return x
        n, c, h, w = x.shape
        parts = x.reshape(n, groups, -1)
        mean, variance = parts.mean(2, keepdim=True), parts.var(2, keepdim=True, unbiased=False)
        x = ((parts - mean) / (variance + 1e-5).sqrt()).reshape(n, c, h, w)
        return x * state[f"{name}.norm.weight"][:, None, None] + state[f"{name}.norm.bias"][:, None, None]

    def act(name, x):
        return normalized(name, x).clamp_min(0) if norm_first else normalized(name, x.clamp_min(0))

    x = conv("stem", images.double(), 3, 1)  # no norm or activation after it
    block = 0
    for group_stride in (1, 2, 2):
        for index in range((depth - 4) // 6):
            name = f"blocks.{block}"
            stride = group_stride if index == 0 else 1
            out = conv(f"{name}.conv1", act(f"{name}.act1", x), 3, stride)  # stride on the first convolution only
            out = conv(f"{name}.conv2", act(f"{name}.act2", out), 3, 1)
            if index == 0:  # all three groups, the first too
                x = conv(f"{name}.conv_skip", act(f"{name}.act_skip", x), 1, stride)
            x = x + out
            block += 1
    x = act("act", x).mean((2, 3))
    assert f"blocks.{block}.conv1.weight" not in state
    return x @ state["head.weight"].T + state["head.bias"]


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 4), (22, 1)])
@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("norm_first", [None, False, True])
@pytest.mark.parametrize("standardized", [False, True])
def test_wide_resnet_is_the_reference(depth, width, norm, norm_first, standardized):
    """ReLU, then norm, then convolution by default; projections in the first block of each group; SAME padding."""
    model = scrambled(
        made(f"wrn-{depth}-{width}", (3, 12, 9), norm=norm, norm_first=norm_first, standardized=standardized)
    )
    images = torch.randn(2, 3, 12, 9, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits = model(images)
    expected = reference_forward(model, images, depth=depth, norm_first=bool(norm_first))
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)


def test_the_order_matters():
    """The reference in the other order differs, so the test above can tell them apart."""
    model = scrambled(made("wrn-10-1", (3, 8, 8), norm="group"))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits = model(images).double()
    other = reference_forward(model, images, depth=10, norm_first=True)
    assert float((logits - other).abs().max()) > 0.05


def test_group_norm_has_sixteen_groups_everywhere():
    model = made("wrn-16-4", norm="group")
    norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 2 * 6 + 3 + 1
    assert {m.num_groups for m in norms} == {16}
    assert sorted({m.num_channels for m in norms}) == [16, 64, 128, 256]
    assert all(m.affine for m in norms)


def test_standardization_is_on_every_convolution_or_on_none():
    for name in ("wrn-16-4", "convnet"):
        for standardized in (False, True):
            model = made(name, standardized=standardized)
            kinds = {type(m) for m in model.modules() if isinstance(m, nn.Conv2d)}
            assert kinds == {StandardizedConv2d if standardized else nn.Conv2d}


def test_wide_resnet_has_no_dropout_and_no_buffers_without_batch_norm():
    model = made("wrn-16-4", norm="group", standardized=True)
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())
    assert dict(model.named_buffers()) == {}


def test_batch_norm_is_there_for_training_without_a_budget():
    model = made("wrn-16-4", norm="batch")
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 16


def test_strides_halve_the_maps_twice():
    sizes = []
    model = made("wrn-10-1", (3, 13, 10))
    for block in model.blocks:
        block.register_forward_hook(lambda m, i, o: sizes.append(tuple(o.shape[1:])))
    model(torch.zeros(1, 3, 13, 10))
    assert sizes == [(16, 13, 10), (32, 7, 5), (64, 4, 3)]


def reference_convnet(model, images, norm_first):
    """The class's docstring in plain code: four convolutions with norm and ReLU, pooled after all but the first."""
    x = images
    for index in range(4):
        conv, norm = model.convs[index], model.norms[index]
        weight = conv.standardized_weight() if isinstance(conv, StandardizedConv2d) else conv.weight
        x = F.conv2d(x, weight, conv.bias, padding=1)
        x = norm(x).clamp_min(0) if norm_first else norm(x.clamp_min(0))
        if index > 0 and min(x.shape[-2:]) // 2 >= 2:
            x = F.avg_pool2d(x, 2)
    return model.head(x.mean((2, 3)))


@pytest.mark.parametrize("size", [(8, 8), (9, 17), (32, 32), (28, 28)])
@pytest.mark.parametrize("norm_first", [None, False, True])
@pytest.mark.parametrize("standardized", [False, True])
def test_convnet_is_the_reference(size, norm_first, standardized):
    model = scrambled(
        made("convnet-8", (3, *size), norm="group", groups=4, norm_first=norm_first, standardized=standardized)
    )
    assert [c.out_channels for c in model.convs] == [8, 8, 16, 32]
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    expected = reference_convnet(model, images, norm_first is not False)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wrn-10-1", "convnet"])
@pytest.mark.parametrize("norm", ["none", "group", "batch"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 9, 11), (1, 28, 28), (3, 32, 32), (3, 64, 48), (3, 8, 33)])
def test_any_image_size_from_eight_and_one_or_three_channels(name, norm, shape):
    model = made(name, shape, classes=7, norm=norm)
    logits = model(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    assert bool(torch.isfinite(logits).all())
    logits.sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


@pytest.mark.parametrize("name", ["wrn-10-1", "convnet"])
def test_examples_do_not_mix(name):
    """One row of logits an image, whatever stands beside it."""
    model = made(name, (3, 8, 8), norm="group", standardized=True)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image) for image in images.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["wrn-10-1", "convnet"])
def test_positions_are_averaged_in_float32(name):
    """The head's mean over positions is in float32 whatever the convolutions compute in."""
    model = made(name, (3, 8, 8), norm="group")
    seen = []
    model.head.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        model(torch.randn(2, 3, 8, 8))
    assert seen == [torch.float32]


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(*words, **options):
    values = {"name": "convnet", "classes": 10, "image_shape": (3, 8, 8), "generator": torch.Generator()} | options
    with pytest.raises(InputError) as caught:
        build(values.pop("name"), **values)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("depth", [0, 3, 4, 9, 11, 15, 17, 41])
def test_illegal_depths_are_refused(depth):
    refused("depth", str(depth), name=f"wrn-{depth}-4")


@pytest.mark.parametrize("depth", [10, 16, 22])
def test_legal_depths_are_built(depth):
    assert len(made(f"wrn-{depth}-1", (3, 8, 8)).blocks) == 3 * (depth - 4) // 6


def test_illegal_widths_are_refused():
    refused("width", name="wrn-16-0")
    for width in (0, 3):
        refused("width", name=f"convnet-{width}")


@pytest.mark.parametrize(
    "name",
    ["", "wrn", "wrn-16", "wrn-16-4-2", "wrn-16-4 ", "WRN-16-4", "wrn--16-4", "wrn-16.0-4", "convnet-", "resnet18"],
)
def test_unknown_names_are_refused_with_the_known_ones(name):
    refused("unknown model", "wrn-DEPTH-WIDTH", name=name)
    assert "convnet" in NAMES


@pytest.mark.parametrize("shape", [(3, 7, 8), (3, 8, 7), (2, 8, 8), (4, 32, 32), (0, 8, 8), (3, 0, 0)])
def test_images_that_do_not_fit_are_refused(shape):
    for name in ("wrn-10-1", "convnet"):
        refused("8x8", "1 or 3 channels", name=name, image_shape=shape)


@pytest.mark.parametrize("norm", ["layer", "Group", "", None])
def test_an_unknown_norm_is_refused(norm):
    """It must not turn into no norm at all."""
    for name in ("wrn-10-1", "convnet"):
        refused("norm", name=name, norm=norm)


@pytest.mark.parametrize("groups", [0, -4])
def test_groups_that_cannot_be_are_refused(groups):
    refused("groups", norm="group", groups=groups)
