"""Losses: of each view, averaged over the views of an example and never over the batch."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipping_cases import CLASSES, METHODS, batch
from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, clipped_gradient_sum


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


@pytest.mark.parametrize("method", [*METHODS, "linear"])
def test_a_loss_that_draws_random_numbers_is_refused_and_named(method):
    """Guards: noise whose numbers are assigned by position, so that one more example gives all later ones others."""

    def noisy(logits, labels):
        return F.cross_entropy(logits + torch.randn_like(logits), labels, reduction="none")

    model = nn.Linear(192, CLASSES) if method == "linear" else nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(3, 1)
    with pytest.raises(PrivacyError, match=r"your loss draws random numbers.*remove .*noise from the loss"):
        Clipping(model, 1.0, method, noisy)(images.flatten(2) if method == "linear" else images, labels)


def centered(logits, labels):
    return F.cross_entropy(logits - 0.5 * logits.mean(dim=0), labels, reduction="none")


def centered_in_place(logits, labels):
    return F.cross_entropy(logits.sub_(0.5 * logits.mean(dim=0)), labels, reduction="none")


def by_labels_in_place(logits, labels):
    labels.sub_(labels.min())
    return F.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("loss", [centered, centered_in_place, by_labels_in_place])
@pytest.mark.parametrize("method", [*METHODS, "linear"])
def test_a_loss_sees_one_example_at_a_time(method, loss, views):
    """Guards: a loss that takes the batch's mean away, by which one more example changes what all others add, by many
    C."""
    torch.manual_seed(0)
    model = nn.Linear(192, CLASSES) if method == "linear" else nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(40, views)
    images = images.flatten(2) if method == "linear" else images
    images[0] *= 1e4  # its own gradient is clipped, whatever it is
    labels[:20] = 1
    before = labels.clone()
    kept, fewer = (
        clipped_gradient_sum(model, images[first:], labels[first:], clipping_norm=0.5, method=method, loss=loss)[0]
        for first in (0, 1)
    )
    distance = sum(float((kept[name] - fewer[name]).square().sum()) for name in kept) ** 0.5
    assert distance <= 0.5 * (1 + 1e-5)
    exact, _ = clipped_gradient_sum(model, images, labels, clipping_norm=0.5, method="loop", loss=loss)
    torch.testing.assert_close(kept, exact, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, before)


class Running:
    """A loss that takes away the mean of the logits it has seen."""

    def __init__(self):
        self.mean, self.seen = torch.zeros(CLASSES), []

    def __call__(self, logits, labels):
        self.mean += 0.1 * (logits.detach().mean(0) - self.mean)
        return F.cross_entropy(logits - self.mean, labels, reduction="none")

    def method(self, logits, labels):
        return self(logits, labels)


class Slots:
    """The same without ``__dict__``."""

    __slots__ = ("__seen", "mean")

    def __init__(self):
        self.mean, self.__seen = torch.zeros(CLASSES), 0

    def __call__(self, logits, labels):
        self.__seen += 1
        return Running.__call__(self, logits, labels)


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(CLASSES))

    forward = Running.__call__


def in_default(logits, labels, running=None):
    return running(logits, labels)


def in_attribute(logits, labels):
    in_attribute.mean = logits.detach().mean(0)
    return F.cross_entropy(logits, labels, reduction="none")


def in_closure():
    running = Running()
    return lambda logits, labels: running(logits, labels)


def in_variable():
    before = 0.0

    def loss(logits, labels):
        nonlocal before
        before = 0.5 * before + 0.5 * float(logits.detach().mean())
        return F.cross_entropy(logits * before, labels, reduction="none")

    return loss


MEANS = [0.0]


def in_global(logits, labels):
    MEANS[0] = 0.5 * MEANS[0] + 0.5 * float(logits.detach().mean())
    return F.cross_entropy(logits * MEANS[0], labels, reduction="none")


KEEPING = {
    "object": Running,
    "slots": Slots,
    "method": lambda: Running().method,
    "module": Module,
    "closure": in_closure,
    "variable": in_variable,
    "partial": lambda: functools.partial(in_default, running=Running()),
    "attribute": lambda: in_attribute,
    "global": lambda: in_global,
}


@pytest.mark.parametrize("place", KEEPING)
@pytest.mark.parametrize("method", [*METHODS, "linear"])
def test_a_loss_that_keeps_something_of_the_examples_is_refused(method, place):
    """Guards: a running mean of the logits, which carries each example into the gradients of those after it."""
    torch.manual_seed(0)
    model = nn.Linear(192, CLASSES) if method == "linear" else nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(3, 1)
    with pytest.raises(PrivacyError, match="the loss changed"):
        Clipping(model, 1.0, method, KEEPING[place]())(images.flatten(2) if method == "linear" else images, labels)
