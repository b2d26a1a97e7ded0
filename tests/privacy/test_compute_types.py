"""A network may compute in bfloat16; norms and sums are float32."""

import pytest
import torch
from torch import nn

from clipping_cases import CLASSES, METHODS, SHAPE, batch, force
from trilemma.models import build
from trilemma.privacy import Clipping


@pytest.mark.parametrize(("method", "form"), [("loop", "chosen"), ("layerwise", "chosen"), ("layerwise", "gpu")])
@pytest.mark.parametrize("standardized", [False, True])
def test_autocast_changes_neither_the_type_nor_the_bound(oracle, monkeypatch, method, form, standardized):
    """Guards: norms, sums or noise in half precision.  On a GPU also the examples' own gradients are bfloat16."""
    force(monkeypatch, form)
    model = build(
        "wrn-10-1",
        classes=CLASSES,
        image_shape=SHAPE,
        norm="group",
        standardized=standardized,
        generator=torch.Generator().manual_seed(2),
    )
    images, labels = batch(3, 2)
    exact = oracle.clipped_gradient_sum(model, images, labels, 1e9)[0]
    together = Clipping(model, 1e9, method, autocast=torch.bfloat16)(images, labels)
    assert 1e-3 < oracle.relative_error(together.sums, exact) < 0.3  # it was bfloat16 that computed
    other = Clipping(model, 1e9, "loop", autocast=torch.bfloat16)(images, labels)
    assert oracle.relative_error(together.sums, other.sums) < 0.03
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        free = Clipping(model, 1e9, method, autocast=torch.bfloat16)(image, label)
        norm = float(free.norms[0])
        assert {s.dtype for s in free.sums.values()} == {torch.float32}
        assert free.norms.dtype == free.losses.dtype == torch.float32
        # The norm reported is the norm of what is summed, not of something rounded before or after.
        assert float(oracle.flat(free.sums).norm()) == pytest.approx(norm, rel=2e-6)
        clipped = Clipping(model, norm / 3, method, autocast=torch.bfloat16)(image, label)
        length = float(oracle.flat(clipped.sums).norm())
        assert length == pytest.approx(norm / 3, rel=2e-6)
        # The mutant: a sum kept in half precision is seen by the same comparison.
        rounded = {n: s.bfloat16() for n, s in clipped.sums.items()}
        assert float(oracle.flat(rounded).norm()) != pytest.approx(norm / 3, rel=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_kept_in_bfloat16_gives_float32_sums(method):
    """Guards: norms, sums or noise in half precision."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES)).bfloat16()
    images, labels = batch(3, 2)
    total = Clipping(model, 0.3, method)(images.bfloat16(), labels)
    assert {s.dtype for s in total.sums.values()} == {torch.float32}
    assert sum(float(s.double().square().sum()) for s in total.sums.values()) <= (3 * 0.3) ** 2 * (1 + 1e-5)
