"""What may be passed to ``Clipping`` and what its sums allow."""

import pytest
import torch
from torch import nn

from clipping_cases import CLASSES, SHAPE, batch
from trilemma.models import build
from trilemma.privacy import Clipping


@pytest.mark.parametrize(
    ("images", "labels"),
    [((4, 3, 8, 8), (3,)), ((4, 1, 3, 8, 8), (4, 1)), ((4, 192), (4,)), ((4, 1, 3, 8, 8), (8,))],
)
def test_shapes_that_do_not_fit_are_refused(images, labels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    with pytest.raises(ValueError, match="images must be"):
        Clipping(model, 1.0)(torch.zeros(images), torch.zeros(labels, dtype=torch.int64))


def test_sums_add_up_and_others_are_refused():
    """Sums of another clipping norm or network have another sensitivity."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(5, 2)
    clipping = Clipping(model, 0.7)
    whole = clipping(images, labels)
    cut = clipping.zero() + clipping(images[:2], labels[:2]) + clipping(images[2:], labels[2:])
    assert cut.count == whole.count == 5
    assert cut.clipping_norm == 0.7
    for name in whole.sums:
        torch.testing.assert_close(cut.sums[name].float(), whole.sums[name], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(cut.norms, whole.norms)
    torch.testing.assert_close(cut.losses, whole.losses)
    with pytest.raises(ValueError, match="clipping norm"):
        whole + Clipping(model, 0.8)(images, labels)
    with pytest.raises(ValueError, match="network"):
        whole + Clipping(nn.Sequential(nn.Flatten(), nn.Linear(192, 5, bias=False)), 0.7)(images, labels)


def test_changing_one_example_leaves_the_other_norms_alone():
    """Guards: batch norm and other buffers, through which one example's gradient changes with another example."""
    model = build(
        "convnet-4",
        classes=CLASSES,
        image_shape=SHAPE,
        norm="group",
        generator=torch.Generator().manual_seed(1),
    )
    images, labels = batch(4, 2)
    before = Clipping(model, 1.0, "layerwise")(images, labels)
    images[1] = 50.0
    after = Clipping(model, 1.0, "layerwise")(images, labels)
    for index in (0, 2, 3):
        assert float(after.norms[index]) == pytest.approx(float(before.norms[index]), rel=1e-6)
    assert float(after.norms[1]) != pytest.approx(float(before.norms[1]), rel=1e-2)
