"""The clipped sum of every model of the catalog against a float64 loop over examples."""

import pytest
import torch

from clipping_cases import CLASSES, METHODS, SHAPE, batch, by_method, judge, scramble
from trilemma.models import build, network_inputs
from trilemma.privacy import Clipping
from trilemma.privacy.gradients.layerwise import why_not_layerwise

CASES = [
    pytest.param(name, norm, norm_first, standardized, views, id=f"{name}-{order}-{weights}-{views}")
    for name in ("wrn-10-1", "wrn-16-4", "convnet", "prior-conv-16")
    for norm, norm_first, order in (("none", None, "none"), ("group", False, "relu-gn"), ("group", True, "gn-relu"))
    for standardized, weights in ((False, "plain"), (True, "ws"))
    for views in (1, 2, 16)
    # The float64 oracle is slow on the large network: its views with the fewest and the most layers only.
    if name != "wrn-16-4" or views == 1 or (order, weights, views) in (("none", "plain", 16), ("relu-gn", "ws", 16))
]


@pytest.mark.parametrize(("name", "norm", "norm_first", "standardized", "views"), CASES)
def test_models_against_the_oracle(oracle, name, norm, norm_first, standardized, views):
    """Guards: clipping norm ignored, bias left out, clipping each view; the mean over views, then the clip."""
    image_shape = (3, 32, 32) if name == "prior-conv-16" else SHAPE
    shape = network_inputs(name, image_shape)
    model = build(
        name,
        classes=CLASSES,
        image_shape=image_shape,
        norm=norm,
        norm_first=norm_first,
        standardized=standardized,
        generator=torch.Generator().manual_seed(3),
    )
    scramble(model)
    assert why_not_layerwise(model) is None  # every layer of the catalog has its rule
    examples = 2 if name == "wrn-16-4" else 3
    images, labels = oracle.off_the_kinks(model, lambda seed: batch(examples, views, shape, seed=seed))
    runs = [by_method(model, images, labels, method) for method in METHODS]
    judge(model, images, labels, *runs, half_only=name == "wrn-16-4")


def test_a_model_at_full_image_size(oracle):
    """The paper's network on images of CIFAR's size, techniques GN and WS, as a CPU and as a GPU computes it."""
    model = build(
        "wrn-16-4",
        classes=10,
        image_shape=(3, 32, 32),
        norm="group",
        standardized=True,
        generator=torch.Generator().manual_seed(3),
    )
    images, labels = oracle.off_the_kinks(model, lambda seed: batch(2, 1, (3, 32, 32), seed, classes=10))
    expected, norms = oracle.clipped_gradient_sum(model, images, labels, 0.5)
    for method, form in (("layerwise", "chosen"), ("loop", "chosen"), ("layerwise", "gpu")):
        sums, norms_of_run = by_method(model, images, labels, method, form)(0.5)
        assert oracle.relative_error(sums, expected) <= 1e-5, (method, form)
        torch.testing.assert_close(norms_of_run.double(), norms, rtol=1e-5, atol=0)


def test_channels_last_images_give_the_same_sums(oracle):
    model = scramble(
        build(
            "wrn-10-1",
            classes=CLASSES,
            image_shape=SHAPE,
            norm="group",
            generator=torch.Generator().manual_seed(1),
        )
    )
    images, labels = oracle.off_the_kinks(model, lambda seed: batch(3, 2, seed=seed))
    expected = oracle.clipped_gradient_sum(model, images, labels, 0.5)[0]
    turned = images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    model.to(memory_format=torch.channels_last)
    for method in METHODS:
        assert oracle.relative_error(Clipping(model, 0.5, method)(turned, labels).sums, expected) <= 1e-5
