"""Weight standardization takes part of every gradient away: what is left keeps its exact norm."""

import pytest
import torch
from torch import nn

from clipping_cases import CLASSES, FORMS, batch, by_method, force, judge
from trilemma.privacy.gradients import rules
from trilemma.standardization import StandardizedConv2d


def test_norms_through_the_standardization_survive_cancellation():
    """Small weights make what is left of a nearly constant gradient large, and the float32 sums over it worthless."""
    generator = torch.Generator().manual_seed(0)
    layer = StandardizedConv2d(8, 4, 3)
    with torch.no_grad():
        layer.weight.copy_(2e-3 * torch.randn(layer.weight.shape, generator=generator))
    used = 1 + 1e-4 * torch.randn(3, 4, 72, generator=generator)
    standardization = rules.Standardization.of(layer)
    v = standardization.v.double()
    along = (used.double() * v).sum(2)
    left = used.double() - used.double().mean(2, keepdim=True) - (standardization.free * along)[..., None] * v
    expected = (left * standardization.scale.double()[:, None]).square().sum((1, 2)) + along.square().sum(1)
    torch.testing.assert_close(standardization.squares(used), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("along", [True, False], ids=["along-the-weight", "constant"])
def test_what_standardization_takes_away_leaves_no_rounding_behind(monkeypatch, form, along):
    """Where nearly all of the used weight's gradient is taken away, what is left still has its exact norm."""
    force(monkeypatch, form)
    torch.manual_seed(5)
    layer = StandardizedConv2d(3, 6, 3)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(6, CLASSES))
    images, labels = batch(4, 1, (3, 3, 3))
    with torch.no_grad():  # one position: each gradient of a used weight is a multiple of the image
        layer.weight.copy_(images[0, 0] if along else torch.randn_like(layer.weight))
        layer.weight.add_(1e-3 * torch.randn_like(layer.weight))
        images = images * (1 if along else 1e-3) + (0 if along else 1)
        layer.gain.fill_(0.05)
        layer.bias.fill_(0.3)
    judge(model, images, labels, by_method(model, images, labels, "layerwise"))
