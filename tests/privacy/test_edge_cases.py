"""The table of edge cases in ``trilemma.privacy.clipping``: its rows in its order, then each with real networks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clipping_cases import CLASSES, FORMS, METHODS, SHAPE, batch, force, prepared
from fast_networks import convolutional
from trilemma.errors import InputError
from trilemma.models import build
from trilemma.privacy import Clipping, clipped_gradient_sum
from trilemma.standardization import StandardizedConv2d

ALL = (*METHODS, "linear")


def layer_and_inputs(views=2):
    """One linear layer at zero, so that no input, however large, makes logits that are not finite."""
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(10, CLASSES, bias=False)
    nn.init.zeros_(layer.weight)
    return layer, torch.randn(4, views, 10, generator=generator), torch.tensor([0, 1, 2, 3])


def without(rows, *gone):
    return rows[[i for i in range(len(rows)) if i not in gone]]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("change", "norm"),
    [
        pytest.param(lambda z: torch.zeros_like(z), lambda n: n == 0, id="zero"),
        pytest.param(lambda z: z.index_fill(-1, torch.tensor([3]), math.nan), math.isnan, id="NaN"),
        pytest.param(lambda z: z.index_fill(-1, torch.tensor([3]), math.inf), lambda n: not math.isfinite(n), id="inf"),
        pytest.param(lambda z: torch.full_like(z, 3e38), math.isinf, id="beyond float32"),
    ],
)
def test_what_adds_nothing_leaves_the_others_as_they_are(method, views, change, norm):
    """Rows 1 to 3.  A gradient of zero is not divided by its norm; one that is not finite is left out."""
    layer, inputs, labels = layer_and_inputs(views)
    inputs[1] = change(inputs[1])
    for clip in (1e-3, 0.5, 1e30):
        total = Clipping(layer, clip, method)(inputs, labels)
        rest = Clipping(layer, clip, method)(without(inputs, 1), without(labels, 1))
        assert norm(float(total.norms[1]))
        assert torch.isfinite(total.sums["weight"]).all()
        torch.testing.assert_close(total.sums["weight"], rest.sums["weight"], rtol=1e-5, atol=1e-6 * min(clip, 1))
        alone = Clipping(layer, clip, method)(inputs[1:2], labels[1:2])
        assert torch.equal(alone.sums["weight"], torch.zeros_like(layer.weight))


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("scale", [1e-24, 1e-20, 1e18, 1e21, 1e30])
def test_squares_outside_float32_are_clipped_like_others(method, views, scale):
    """Row 4: the norm is right, and the gradient is scaled to C and no further."""
    layer, inputs, labels = layer_and_inputs(views)
    expected = float(Clipping(layer, 1.0, "loop")(inputs[:1], labels[:1]).norms) * scale
    total = Clipping(layer, expected / 3, method)(inputs[:1] * scale, labels[:1])
    assert float(total.norms) == pytest.approx(expected, rel=1e-5)
    assert float(total.sums["weight"].double().norm()) == pytest.approx(expected / 3, rel=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_a_huge_clipping_norm_scales_nothing(method):
    """Row 5."""
    layer, inputs, labels = layer_and_inputs()
    total = Clipping(layer, 1e30, method)(inputs, labels)
    loss = torch.nn.functional.cross_entropy(layer(inputs.flatten(0, 1)), labels.repeat_interleave(2), reduction="sum")
    torch.testing.assert_close(total.sums["weight"].float(), torch.autograd.grad(loss / 2, layer.weight)[0])


@pytest.mark.parametrize("method", ALL)
def test_one_example_adds_alone_what_it_adds_to_a_batch(method):
    """Row 6."""
    layer, inputs, labels = layer_and_inputs()
    clipping = Clipping(layer, 0.3, method)
    alone = [clipping(i, y) for i, y in zip(inputs.split(1), labels.split(1), strict=True)]
    together = clipping(inputs, labels)
    torch.testing.assert_close(together.sums["weight"], sum(a.sums["weight"] for a in alone))
    torch.testing.assert_close(together.norms, torch.cat([a.norms for a in alone]))
    assert all(a.count == 1 for a in alone)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("network", ["wrn", "linear"])
def test_a_poisoned_example_is_bounded_and_leaves_the_others_alone(oracle, method, poison, network):
    """Guards: NaN gradient passes the clip."""
    if network == "wrn":
        model = build(
            "wrn-10-1",
            classes=CLASSES,
            image_shape=SHAPE,
            norm="group",
            standardized=True,
            generator=torch.Generator().manual_seed(1),
        )
    else:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = oracle.off_the_kinks(model, lambda seed: batch(4, 2, seed=seed))
    images[2, 0, 1, 3, 3] = poison
    total = Clipping(model, 0.5, method)(images, labels)
    others = [0, 1, 3]
    expected, norms = oracle.clipped_gradient_sum(model, images[others], labels[others], 0.5)
    assert all(bool(torch.isfinite(s).all()) for s in total.sums.values())
    assert oracle.relative_error(total.sums, expected) <= 1e-5
    assert not math.isfinite(float(total.norms[2]))
    torch.testing.assert_close(total.norms[others].double(), norms, rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["convolutions", "patches", "groups"])
@pytest.mark.parametrize("layer", [nn.Conv2d, StandardizedConv2d])
def test_no_form_lets_a_poisoned_example_through(oracle, monkeypatch, form, way, layer):
    """Guards: NaN gradient passes the clip.  Examples that share one product or one grouped convolution."""
    force(monkeypatch, form, way)
    model = prepared(lambda: convolutional(layer(3, 6, 3), nn.Tanh(), channels=6))
    images, labels = batch(4, 1)
    images[2, 0, 1, 3, 3] = math.nan
    total = Clipping(model, 0.5, "layerwise")(images, labels)
    others = [0, 1, 3]
    expected, norms = oracle.clipped_gradient_sum(model, images[others], labels[others], 0.5)
    assert oracle.relative_error(total.sums, expected) <= 1e-5
    assert not math.isfinite(float(total.norms[2]))
    torch.testing.assert_close(total.norms[others].double(), norms, rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e18, 1e21, 1e30])
def test_a_huge_gradient_is_clipped_like_any_other(oracle, method, scale):
    """A norm that float32 holds, though its square overflows: the two methods must not differ in what they drop."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(3, 1)
    images[1] *= scale
    labels[1] = int(model(images[1]).argmin())  # or it would be right beyond doubt, with no gradient at all
    total = Clipping(model, 1.0, method)(images, labels)
    expected, norms = oracle.clipped_gradient_sum(model, images, labels, 1.0)
    torch.testing.assert_close(total.norms.double(), norms, rtol=1e-5, atol=0)
    assert oracle.relative_error(total.sums, expected) <= 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_tiny_gradient_is_held_to_a_tiny_clipping_norm(method):
    """The norm must not underflow to zero, which would leave the gradient unclipped: any C > 0 is accepted."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES, bias=False))
    nn.init.zeros_(model[1].weight)
    images = torch.full((1, 1, *SHAPE), 1e-24)
    total = Clipping(model, 1e-25, method)(images, torch.tensor([1]))
    assert float(total.sums["1.weight"].double().norm()) <= 1e-25 * (1 + 1e-6)


@settings(deadline=None, max_examples=40)
@given(
    examples=st.integers(1, 5),
    views=st.integers(1, 4),
    log_scale=st.floats(-4, 6),
    log_clip=st.floats(-3, 3),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 10),
)
def test_no_example_adds_more_than_the_clipping_norm(examples, views, log_scale, log_clip, method, seed):
    """Guards: sensitivity wrong by a factor of the batch size; the bound does not depend on B or K."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    images, labels = batch(examples, views, (1, 5, 5), seed, classes=3)
    images = images * 10**log_scale
    clip = 10**log_clip
    whole = Clipping(model, clip, method)(images, labels)
    for leave in range(examples):
        others = [i for i in range(examples) if i != leave]
        rest = Clipping(model, clip, method)(images[others], labels[others])
        square = sum(float((whole.sums[n].double() - rest.sums[n].double()).square().sum()) for n in whole.sums)
        assert math.sqrt(square) <= clip * (1 + 2e-6 * examples)


@pytest.mark.parametrize("method", [*METHODS, "auto", "linear"])
def test_no_examples_give_zeros(method):
    """Row 7.  Guards: empty draw crashes or is skipped."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    total = Clipping(model, 1.0, method)(torch.zeros(0, 2, *SHAPE), torch.zeros(0, dtype=torch.int64))
    assert total.count == 0
    assert total.norms.shape == total.losses.shape == (0,)
    assert {n: tuple(s.shape) for n, s in total.sums.items()} == {
        "1.weight": (CLASSES, 192),
        "1.bias": (CLASSES,),
    }
    assert all(bool((s == 0).all()) and s.dtype == torch.float32 for s in total.sums.values())


@pytest.mark.parametrize("method", ALL)
def test_an_example_with_no_view_is_refused(method):
    """Row 8.  Guards: a division by K = 0, which ends in a traceback."""
    layer, inputs, labels = layer_and_inputs()
    with pytest.raises(InputError, match="K = 0 views: give each example one view"):
        Clipping(layer, 1.0, method)(inputs[:, :0], labels)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf, 1e-31, 1e31])
def test_an_impossible_clipping_norm_is_refused(norm):
    """Row 9.  Guards: clipping norm ignored."""
    with pytest.raises(InputError, match="clipping norm"):
        Clipping(nn.Linear(2, 2), norm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model is an object of type NoneType: give a torch.nn.Module"),
        ({"images": np.zeros((3, 1, 4), np.float32)}, "images is an object of type ndarray"),
        ({"images": torch.zeros(3, 1, 4, dtype=torch.uint8)}, "images are torch.uint8: give floats"),
        ({"labels": [0, 1, 1]}, "labels is an object of type list"),
        ({"labels": torch.zeros(3)}, "labels are torch.float32: give the numbers of classes as int64"),
        ({"labels": torch.zeros(3, dtype=torch.int32)}, "labels are torch.int32"),
        ({"labels": torch.tensor([0, 1, 2])}, "the label 2 is no class of the network"),
        ({"labels": torch.tensor([0, 1, -100])}, "the label -100 is no class of the network"),
        ({"clipping_norm": "1"}, "clipping_norm is an object of type str: give a number"),
        ({"method": "fast"}, "no method 'fast': choose from auto, layerwise, loop, linear"),
        ({"loss": None}, "loss cannot be called"),
        ({"loss": lambda logits, labels: 0.5}, "one value for each row, not a float"),
    ],
)
def test_arguments_that_fit_nowhere_are_refused_in_one_line(change, message):
    """Guards: torch's own errors, and labels of -100, which torch leaves out without a word."""
    arguments = {"images": torch.zeros(3, 1, 4), "labels": torch.tensor([0, 1, 1])} | change
    with pytest.raises(ValueError, match=message) as caught:
        clipped_gradient_sum(arguments.pop("model", nn.Linear(4, 2)), **arguments)
    assert "\n" not in str(caught.value)
