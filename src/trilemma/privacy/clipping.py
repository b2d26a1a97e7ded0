"""The sum of clipped per-example gradients: the only thing that an update takes from the images.

**Sensitivity**: an example's gradient is that of the mean loss over its K views, with respect to all trainable
parameters taken as one vector.  It is scaled by min(1, C / norm), so that its norm is at most C; one that is not
finite is replaced by zero.  The sum over a logical batch therefore changes by at most C in L2 norm when one example
is added or removed, whatever K is and however the batch is cut into physical batches.

**Condition**: no example's gradient may depend on another example.  ``trilemma.privacy.validation`` refuses
networks where it does, and each call refuses one that drew random numbers or changed what it keeps.  Where
code is not ours, each call also computes one example alone, before the others and after them, and refuses another
gradient; so it does where the batch computed another one of it, or of a second example (``trilemma.privacy.repeats``).
A loss that is not ours sees one example at a time.  Threads compute side by side only where nothing can pass from one
to another (``keeps_nothing`` in ``trilemma.privacy.structure``), and calls of this class run one after another.

**Edge cases**, the same for every method:

==========================================  ===========================================================  ============
an example's gradient, or the call          what it adds to the sum                                      its norm
==========================================  ===========================================================  ============
zero                                        zero: no division by the norm takes place                    0
with a NaN in any parameter                 exactly zero; the other examples add what they do without it  NaN
with an infinite number, or a norm beyond   exactly zero, likewise                                       inf or NaN
float32's largest number
so large or small that its squares leave    clipped like any other: such squares are taken in float64    the norm
float32
of a norm of at most C (so all, if C is     itself, unscaled                                             the norm
huge)
one example                                 what it adds to any larger batch                             the norm
no example                                  zeros, because noise is still added                         none
one with no view (K = 0)                    ``InputError``: it has no loss
C below 1e-30 or above 1e30, or NaN         ``InputError``: sums of float32 could not hold to it
==========================================  ===========================================================  ============

**Three exact methods** (``trilemma.privacy.gradients``) give the same sums to rounding; the choice changes speed only.

- *layerwise*: one forward and one backward pass for the whole physical batch, with a rule for each kind of layer.  It
  is compared with the loop, on random images, before it is used (``trilemma.privacy.validation``).
- *loop*: one ordinary forward and backward pass per example.  It works for every module.
- *linear*: a closed form for a network that is one linear layer.

Sums are computed in float32, with products that are not rounded to fewer digits, and added up over a logical batch in
float64 (``Clipping.zero``): rounding after the clip is not covered by the sensitivity.  What the caller has set around
the call changes nothing, or is refused (``trilemma.privacy.gradients.arithmetic``).
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trilemma.errors import InputError, check_type
from trilemma.privacy.gradients import layerwise, linear, loop
from trilemma.privacy.gradients.arithmetic import exact_arithmetic, refuse_rounded_products
from trilemma.privacy.gradients.sums import ClippedSum, CrossEntropy, Loss, Objective, cross_entropy
from trilemma.privacy.repeats import (
    gradient_alone,
    refuse_other_gradient,
    refuse_other_in_batch,
    tolerance,
    tolerance_in_batch,
)
from trilemma.privacy.unchanged import refuse_changed_state
from trilemma.privacy.validation import known_check, refuse_mixing_layers, refuse_random_layers
from trilemma.words import CLIPPING_NORM_RANGE, CLIPPING_NORMS

Method = Literal["auto", "layerwise", "loop", "linear"]

_ONE_CALL = threading.RLock()
"""Held by the thread whose call is running: a network may keep something for the time of a pass, and its check and the
loop replace its parameters for a moment."""

_GOLDEN = (math.sqrt(5) - 1) / 2

_METHODS = {"layerwise": layerwise.layerwise, "loop": loop.loop, "linear": linear.linear}


@dataclass(frozen=True, eq=False)
class Clipping:
    """Computes clipped sums for one network.

    Attributes:
      model: its trainable parameters (``requires_grad``) are those that count.  It is not changed.
      clipping_norm: C, between 1e-30 and 1e30.
      method: "auto" picks the linear method for a linear network, else the layerwise method where every layer has a
        rule and the rules give the loop's sums, else the loop.
      loss: per-view loss; an example's loss is its mean over the views.  A loss of one's own is called for one example
        at a time.
      autocast: compute type of the forward and backward pass; norms and sums are never computed in half precision.

    Raises:
      InputError: C is out of that range, or there is no such method.
      PrivacyError: the network has a layer that mixes examples.
    """

    model: nn.Module
    clipping_norm: float
    method: Method = "auto"
    loss: Loss = field(default=cross_entropy)
    autocast: torch.dtype | None = None
    _calls: Iterator[int] = field(default_factory=itertools.count, init=False, repr=False)

    def __post_init__(self) -> None:
        if not CLIPPING_NORMS[0] <= self.clipping_norm <= CLIPPING_NORMS[1]:
            raise InputError(CLIPPING_NORM_RANGE.format(self.clipping_norm))
        if self.method not in get_args(Method):
            raise InputError(f"there is no method {self.method!r}: choose from {', '.join(get_args(Method))}")
        refuse_mixing_layers(self.model)

    @property
    def objective(self) -> Objective:
        """What is summed, for any of the methods."""
        return Objective(self.model, self.clipping_norm, self.loss, self.autocast)

    def zero(self) -> ClippedSum:
        """The sum over no examples, as for an empty draw.  It is float64, and so is what is added to it: in float32 the
        sum over a large logical batch would be rounded again at each of its physical batches."""
        total = self.objective.zero()
        return replace(total, sums={name: value.double() for name, value in total.sums.items()})

    def __call__(self, images: Tensor, labels: Tensor) -> ClippedSum:
        """The clipped sum over one physical batch.

        Args:
          images: float (B, K, C, H, W): K views of each of B examples.
          labels: int64 (B,).

        Raises:
          PrivacyError: the network mixes examples, draws random numbers or changes what it keeps; one example has
            another gradient after the others than before; or torch was told to round products of float32 numbers.
          InputError: the examples have no view.
          ValueError: shapes that do not fit, or a method that does not fit the network.
        """
        if images.dim() < 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"images must be (B, K, C, H, W) and labels (B,), not {tuple(images.shape)} and {tuple(labels.shape)}"
            )
        if len(images) and not images.shape[1]:
            raise InputError(
                f"images {tuple(images.shape)} are (B, K, C, H, W) with K = 0 views: give each example one view"
            )
        refuse_rounded_products()
        with _ONE_CALL, exact_arithmetic(images.device):
            if len(images) == 0:
                return self.objective.zero()
            # What was made in inference mode cannot take part in a gradient.
            images, labels = (x.clone() if x.is_inference() else x for x in (images, labels))
            method, objective = self._chosen(images), self.objective
            compute = functools.partial(_METHODS[method], objective, images, labels)
            with refuse_random_layers(images.device, own_loss=type(self.loss) is not CrossEntropy):
                if objective.side_by_side:
                    with refuse_changed_state(self.model, self.loss):
                        return compute()
                total, comparisons = self._watched(objective, images, labels, compute)
            for compare in comparisons:  # last, since the refusals above say more
                compare()
            return total

    def _watched(
        self, objective: Objective, images: Tensor, labels: Tensor, compute: Callable[[], ClippedSum]
    ) -> tuple[ClippedSum, list[Callable[[], None]]]:
        """The clipped sum, and comparisons that refuse code which does something else to an example where others are.

        One example is computed alone before the batch and after it: in each call another, at places spread evenly over
        the batches.  It and a second one, which tells what the first does to all others, are compared with what the
        batch computed of them.
        """
        call = next(self._calls)
        if not call:  # what the first pass of all sets is to be no image's; a loss was not tried before, nor autocast
            gradient_alone(objective, torch.zeros_like(images[:1]), torch.zeros_like(labels[:1]))
        place = int(len(images) * (call * _GOLDEN % 1))
        other = (place + len(images) // 2) % len(images)
        with refuse_changed_state(self.model, self.loss):
            before = gradient_alone(objective, images, labels, place)
            total = compute()
        after = gradient_alone(objective, images, labels, place)  # outside: it may put back what the first left
        second = gradient_alone(objective, images, labels, other)
        allowed, in_batch = (limit(images.device, self.autocast) for limit in (tolerance, tolerance_in_batch))
        return total, [
            functools.partial(refuse_other_gradient, before, after, allowed),
            functools.partial(refuse_other_in_batch, before, total, place, in_batch),
            functools.partial(refuse_other_in_batch, second, total, other, in_batch),
        ]

    def _chosen(self, images: Tensor) -> str:
        """The method, by a check of the network that is made once, at the first batch, and again if it is changed.

        The layerwise method is checked also where it was asked for by name: it alone computes examples together.
        """
        if self.method in ("loop", "linear"):
            refuse_mixing_layers(self.model)
            return self.method
        if self.method == "auto" and linear.fits(self.model, images):
            return "linear"
        reason = known_check(self.model, tuple(images.shape[2:]), images.device).reason
        if reason and self.method == "layerwise":
            raise ValueError(f"the layerwise method does not fit: {reason}")
        return "loop" if reason else "layerwise"

    def at_once(self, views: int, shape: Sequence[int]) -> int:
        """The most examples, of so many views of ``shape``, that the layerwise method computes together on one core of
        a CPU."""
        return layerwise.at_once(views, shape)


def clipped_gradient_sum(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    clipping_norm: float = 1.0,
    method: Method = "auto",
    loss: Loss = cross_entropy,
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum over examples of the per-example gradients, each clipped to ``clipping_norm``.

    Args:
      model: any module that maps (n, C, H, W) to logits (n, classes) without mixing examples.  It is checked at its
        first call, and again when its layers, parameters, mode or images have another form.
      images: float (B, K, C, H, W), K views of each example; their losses are averaged, then one gradient clipped.
      labels: int64 (B,).
      clipping_norm: C, between 1e-30 and 1e30.
      method: "auto", "layerwise", "loop" or "linear"; changes speed, never the result.
      loss: (logits (n, classes), labels (n,)) -> losses (n,).  A loss of one's own is called for one example at a time,
        with the logits of its K views.

    Returns:
      (sums by parameter name, float32; norms before clipping (B,), float32).

    Raises:
      PrivacyError: the network mixes examples (see ``trilemma.privacy.check_network``), draws random numbers, or
        changes what it keeps, or the loss does.
      InputError: an argument of another type, a clipping norm outside [1e-30, 1e30], no such method, examples without a
        view, or a label that is no class (on a GPU, torch's own error for one that is too large).
      ValueError: shapes that do not fit, a loss that does not return one value for each row, or a method that
        was asked for by name and does not fit the network.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> sums, norms = clipped_gradient_sum(network, torch.randn(5, 1, 3, 2, 2), torch.tensor([0, 1, 0, 1, 1]))
    >>> sorted(sums), tuple(norms.shape)
    (['1.bias', '1.weight'], (5,))
    """
    _check_arguments(model, images, labels, clipping_norm, loss)
    clipping = Clipping(model, clipping_norm, method, loss)
    refuse_rounded_products()
    if method in ("loop", "linear"):  # for the others `Clipping` does it
        known_check(model, tuple(images.shape[2:]), images.device)
    try:
        total = clipping(images, labels)
    except IndexError as error:
        if isinstance(loss, CrossEntropy) and str(error).startswith("Target "):  # what torch says of such a label
            raise InputError(f"the label {int(labels.max())} is no class of the network: labels begin at 0") from error
        raise
    return {name: value.float() for name, value in total.sums.items()}, total.norms


def _check_arguments(model: object, images: object, labels: object, clipping_norm: object, loss: object) -> None:
    """Refuse in one line what torch would refuse somewhere within.

    Raises:
      InputError: an argument is of another type, or a label is negative.
    """
    check_type("model", model, nn.Module, "a torch.nn.Module")
    check_type("images", images, Tensor, "a float tensor (B, K, C, H, W)")
    check_type("labels", labels, Tensor, "an int64 tensor (B,)")
    check_type("clipping_norm", clipping_norm, Real, "a number")
    assert isinstance(images, Tensor) and isinstance(labels, Tensor)  # noqa: PT018
    if not images.is_floating_point():
        raise InputError(
            f"images are {images.dtype}: give floats, scaled as the network expects (images.float() / 255)"
        )
    if not callable(loss):
        raise InputError("loss cannot be called: give a function of logits and labels, or leave it out")
    if isinstance(loss, CrossEntropy):
        if labels.dtype != torch.int64:
            raise InputError(f"labels are {labels.dtype}: give the numbers of classes as int64 (labels.long())")
        if labels.numel() and int(labels.min()) < 0:  # torch would leave out -100 without a word
            raise InputError(f"the label {int(labels.min())} is no class of the network: labels begin at 0")
