"""An example's gradient must be the same alone, after others were computed, and among them.

The guarantee needs each example's gradient to be a function of the example and the weights alone.  Code from outside
may keep something of other examples, or draw random numbers of its own, in places that ``trilemma.privacy.unchanged``
cannot compare: a file, a variable of an installed package, memory of compiled code, a clock.  So what it *does* is
compared as well, which needs no list of places.  One example of each physical batch is computed alone by the plain
loop, before the batch and after it.  An evaluation must leave the outputs and the gradient of its first image as they
were, and so must the trial passes of :func:`~trilemma.privacy.validation.check_network`.

Code that works on the whole batch for some images only, such as ``x / 255 if x.max() > 1 else x``, mixes examples and
keeps nothing.  So loss and norm of that example, and of a second one, must be the same in the batch as alone.

**What it shows.**  Whatever is kept of earlier calls enters the first of the two gradients, and whatever is kept of
this batch enters the second; random numbers differ in both.  The example changes from call to call, and other examples
are computed between its two passes, so that "the last image seen" is another one in each.

**What it cannot show.**  Something that changes few gradients may leave those of the examples looked at alone.  A
change below :func:`tolerance` is accepted, though it may add up over the examples of a batch.  Something that one
private image sets for good, before the first of the two passes, changes neither.  Code that notices that it is watched
can evade this check, as it can any other.  Nor is seen what a batch does to other
examples than the two, such as those that the layerwise method computes in another part of it, or what changes neither
loss nor norm.

Networks and losses that are known to keep nothing (``Objective.side_by_side``) are not computed again.  Nothing of
these passes is released or enters a sum; like every refusal, this one depends on the images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.privacy.gradients.arithmetic import exact_arithmetic
from trilemma.privacy.gradients.loop import loop
from trilemma.privacy.gradients.sums import ClippedSum, Objective

TOLERANCE = 1e-4
"""How far apart two gradients of one example may be, in units of C, in float32 on a CPU.  There one computation made
twice gave the same bits in every network tried; where it is rounded otherwise, as with another number of threads, they
were at most 2e-6 apart."""

ROUNDED_TOLERANCE = 0.03
"""The same under bfloat16 (another number of threads: at most 6e-3 apart), and on a GPU, whose kernels may add up in
another order each time."""

_MEND = (
    "make what it computes follow from the image and the weights alone (no file, clock, variable of a package, or "
    "random numbers), or train without a budget"
)


def tolerance(device: torch.device, autocast: torch.dtype | None = None) -> float:
    """How far apart two gradients of one example may be, in units of C."""
    return TOLERANCE if device.type == "cpu" and autocast is None else ROUNDED_TOLERANCE


def tolerance_in_batch(device: torch.device, autocast: torch.dtype | None = None) -> float:
    """How far apart the norm or loss of an example may be alone and in a batch, as a share of itself."""
    return 1e-3 if device.type == "cpu" and autocast is None else 0.1


def gradient_alone(objective: Objective, images: Tensor, labels: Tensor, place: int = 0) -> ClippedSum:
    """The clipped gradient of one example, by the plain loop.

    Args:
      objective: what the call computes.
      images: float (B, K, ...): K views of each of B examples.
      labels: int64 (B,).
      place: of the example in them.
    """
    return loop(objective, images[place : place + 1], labels[place : place + 1])


def refuse_other_gradient(before: ClippedSum, after: ClippedSum, allowed: float) -> None:
    """Refuse where one example's gradient has become another.

    Norms before the clip are compared too: one that is only longer would be clipped to the same.

    Args:
      before, after: of :func:`gradient_alone`, for the same example.
      allowed: of :func:`tolerance`.

    Raises:
      PrivacyError: the clipped gradients are more than ``allowed`` C apart, the norms differ by more than that share of
        themselves or of C, or one of them alone is not finite.
    """
    if not _same_gradient(before, after, allowed):
        raise PrivacyError(
            "the gradient of one example, computed alone, was not the same before and after others: the network or the "
            f"loss keeps something of the images that it sees, or draws random numbers: {_MEND}"
        )


def _same_gradient(before: ClippedSum, after: ClippedSum, allowed: float) -> bool:
    if not torch.equal(before.norms.isfinite(), after.norms.isfinite()):
        return False
    limit, finite = before.clipping_norm, before.norms.isfinite()
    first, second = before.norms[finite].double(), after.norms[finite].double()
    if bool(((first - second).abs() > allowed * torch.maximum(first, second).clamp_min(limit)).any()):
        return False
    pairs = [(before.sums[name], after.sums[name]) for name in before.sums]
    distances = [(a.double() - b.double()).norm() for a, b in pairs if not torch.equal(a, b)]
    return not distances or float(torch.stack(distances).norm()) <= allowed * limit


def refuse_other_in_batch(alone: ClippedSum, total: ClippedSum, place: int, allowed: float) -> None:
    """Refuse where an example has another loss, or a gradient of another norm, in a batch than alone.

    Args:
      alone: of :func:`gradient_alone`.
      total: the sum over the batch in which the example is at ``place``.
      allowed: of :func:`tolerance_in_batch`.

    Raises:
      PrivacyError: the norm or the loss differs by more than this share of itself, of C, or of 1.
    """
    for name, least in (("norms", total.clipping_norm), ("losses", 1.0)):
        first, second = float(getattr(alone, name)[0]), float(getattr(total, name)[place])
        if math.isfinite(first) and math.isfinite(second):
            same = abs(first - second) <= allowed * max(abs(first), abs(second), least)
        else:
            same = math.isfinite(first) == math.isfinite(second)
        if not same:
            raise PrivacyError(
                f"an example computed alone had another {'gradient' if name == 'norms' else 'loss'} than in its batch: "
                "the network mixes examples, as by asking for the largest value of all images; remove what works "
                "across the batch dimension, or train without a budget"
            )


@dataclass(frozen=True, eq=False)
class Responses:
    """What a network answers to one image.

    Attributes:
      outputs: float (1, classes), in evaluation mode.
      gradient: as an update would see it.
    """

    outputs: Tensor
    gradient: ClippedSum


Modes = list[tuple[nn.Module, bool]]
"""The mode of each module, which need not be that of the whole: a frozen part may stay in evaluation mode."""


def modes_of(model: nn.Module) -> Modes:
    """The modes that the modules of a network are in."""
    return [(module, module.training) for module in model.modules()]


def responses(model: nn.Module, image: Tensor, in_updates: Modes, *, gradient_first: bool) -> Responses:
    """What a network answers to one image (1, *shape): its outputs in evaluation mode, and its gradient in the modes
    that its modules have ``in_updates``; each module is in its own mode afterward.

    Asked first before an evaluation, for outputs, and after it, for the gradient: else the pass in one mode might put
    back, or hide, what the other mode left.
    """
    label = torch.zeros(1, dtype=torch.int64, device=image.device)
    gradient = outputs = None
    for of_gradient in (gradient_first, not gradient_first):
        if of_gradient:
            with in_modes(model, in_updates), exact_arithmetic(image.device):
                gradient = gradient_alone(Objective(model, 1.0, trial_loss), image[:, None], label)
        else:
            with in_modes(model, evaluation_modes(model)), torch.no_grad():
                outputs = model(image)
    assert outputs is not None and gradient is not None  # noqa: PT018
    return Responses(outputs, gradient)


def refuse_other_responses(before: Responses, after: Responses) -> None:
    """Refuse where a network answers otherwise to an image after an evaluation than before it.

    Args:
      before, after: of :func:`responses`, for the same image and weights.

    Raises:
      PrivacyError: outputs or gradients differ.
    """
    allowed = tolerance(before.outputs.device)
    if not (_same_outputs(before, after, allowed) and _same_gradient(before.gradient, after.gradient, allowed)):
        raise PrivacyError(
            "the outputs or the gradient of one image were not the same before and after an evaluation: the network "
            f"keeps something of the images that it evaluates, or draws random numbers: {_MEND}"
        )


def _same_outputs(before: Responses, after: Responses, allowed: float) -> bool:
    first, second = before.outputs.double(), after.outputs.double()
    if torch.equal(first, second):
        return True
    finite = first.isfinite()
    if not torch.equal(finite, second.isfinite()):
        return False
    first, second = first[finite], second[finite]  # numbers that are not are an error of their own
    return not len(first) or float((first - second).abs().max()) <= allowed * float(first.abs().max())


def evaluation_modes(model: nn.Module) -> Modes:
    """Those of an evaluation."""
    return [(module, False) for module in model.modules()]


@contextmanager
def in_modes(model: nn.Module, modes: Modes) -> Iterator[None]:
    """Inside, each module is in one of ``modes``; afterward it has its own again.  Not by ``train`` and ``eval``, which
    a module may have made to do more."""
    own = modes_of(model)
    try:
        for module, mode in modes:
            module.training = mode
        yield
    finally:
        for module, mode in own:
            module.training = mode


def trial_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss with a gradient for any logits, even a single one, for which that of a softmax is always zero."""
    columns = torch.arange(1, logits.shape[1] + 1, device=logits.device).float()
    return (logits.float() * columns.cos()).sum(dim=1) + logits.float().square().sum(dim=1) / 2
