"""Losses: of each view, averaged over the views of an example and never over the batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipping_cases import CLASSES, METHODS, batch
from trilemma.privacy import Clipping


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_the_means_over_views(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(3, 4)
    total = Clipping(model, 1.0, method)(images, labels)
    logits = model(images.flatten(0, 1))
    expected = F.cross_entropy(logits, labels.repeat_interleave(4), reduction="none").reshape(3, 4).mean(1)
    torch.testing.assert_close(total.losses, expected.detach())
    assert total.losses.shape == total.norms.shape == (3,)


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_loss_of_one_s_own(method, views):
    """The loss is per view; the mean over views is taken inside the example's gradient."""

    def smoothed(logits, labels):
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.3)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(3, views)
    total = Clipping(model, 1e9, method, smoothed)(images, labels)
    for index in range(3):
        loss = smoothed(model(images[index]), labels[index].expand(views)).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        assert float(total.norms[index]) == pytest.approx(float(norm), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_averages_the_batch_is_refused(method):
    """Guards: sensitivity wrong by a factor of the batch size; division by the drawn batch.

    ``reduction="mean"`` would divide each example's gradient by the size of the physical batch before it is
    clipped, so that the update depends on how the draw is cut.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(4, 1)
    with pytest.raises(ValueError, match="loss"):
        Clipping(model, 1.0, method, F.cross_entropy)(images, labels)
