"""A sum of clipped per-example gradients as a value, and what every way to compute one shares."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.privacy.gradients.arithmetic import exact_arithmetic
from trilemma.privacy.gradients.rules import on_cpu
from trilemma.privacy.structure import keeps_nothing
from trilemma.threads import in_threads, threads

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, classes), labels (n,)) -> losses (n,)."""


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy of each row, in float32.

    Attributes:
      label_smoothing: the share of each label that is spread over all classes.
    """

    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Losses (n,), of logits (n, classes) and labels (n,)."""
        return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.label_smoothing)


cross_entropy = CrossEntropy()


@dataclass(frozen=True, eq=False)
class ClippedSum:
    """A sum of clipped gradients, with what is needed to add the right noise to it.

    Attributes:
      sums: tensors by parameter name: float64 of a logical batch and of the linear method, else float32.
      norms: (count,) float32, each example's gradient norm before clipping (NaN or inf where it is not finite).
      losses: (count,) float32, each example's mean loss over its views; canaries that are directions, which ``norms``
        counts as examples, have none.
      clipping_norm: C: the L2 sensitivity of ``sums`` to adding or removing one example.
    """

    sums: dict[str, Tensor]
    norms: Tensor
    losses: Tensor
    clipping_norm: float

    @property
    def count(self) -> int:
        """The number of examples in the sum."""
        return len(self.norms)

    def __add__(self, other: ClippedSum) -> ClippedSum:
        """The sum over both (disjoint) sets of examples.

        Raises:
          ValueError: the sums have different parameters or clipping norms.
        """
        own = {name: total.clone() for name, total in self.sums.items()}
        return ClippedSum(own, self.norms, self.losses, self.clipping_norm).add_(other)

    def add_(self, other: ClippedSum) -> ClippedSum:
        """As ``+``, in the memory of this sum, which must not be used afterward.

        Raises:
          ValueError: the sums are of different networks or clipping norms.
        """
        if other.clipping_norm != self.clipping_norm or other.sums.keys() != self.sums.keys():
            raise ValueError("only sums of one network at one clipping norm can be added")
        sums = {name: total.add_(other.sums[name]) for name, total in self.sums.items()}
        norms, losses = torch.cat([self.norms, other.norms]), torch.cat([self.losses, other.losses])
        return ClippedSum(sums, norms, losses, self.clipping_norm)


@dataclass(frozen=True, eq=False)
class Objective:
    """What is summed, however it is computed: the gradients of one network's loss, clipped to one norm.

    Attributes:
      model: its trainable parameters (``requires_grad``) are those that count.
      clipping_norm: C > 0.
      loss: per-view loss; an example's loss is its mean over the views.
      autocast: compute type of the forward and backward pass; norms and sums are never in half precision.
    """

    model: nn.Module
    clipping_norm: float
    loss: Loss = cross_entropy
    autocast: torch.dtype | None = None

    @property
    def side_by_side(self) -> bool:
        """Whether several threads may compute parts of the sum at once: network and loss keep nothing that one thread
        could find of another's examples."""
        return type(self.loss) is CrossEntropy and keeps_nothing(self.model)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters by name; a parameter used in two places appears once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def zero(self) -> ClippedSum:
        """The sum over no examples."""
        parameters = self.parameters()
        nothing = torch.zeros(0, dtype=torch.float32, device=next(iter(parameters.values())).device)
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
        return ClippedSum({n: s.detach() for n, s in sums.items()}, nothing, nothing, self.clipping_norm)

    def factor(self, norm: Tensor) -> Tensor:
        """min(1, C / norm), also for a norm of zero: nothing is divided by a number below C."""
        return self.clipping_norm / norm.clamp_min(self.clipping_norm)

    def view_losses(self, network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Each view's loss (n, K), of images (n, K, C, H, W) and labels (n,).

        Raises:
          ValueError: the loss does not return one value for each row.
        """
        with torch.autocast(
            images.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None
        ):
            logits = network(images.flatten(0, 1))
        return self.losses(logits, labels, images.shape[1])

    def losses(self, logits: Tensor, labels: Tensor, views: int) -> Tensor:
        """Each view's loss (n, K), of logits (n * K, classes) and labels (n,).

        A loss that is not ours is called for one example at a time, with copies: whatever it computes across the rows
        that it gets, no example's loss depends on another example.

        Raises:
          ValueError: the loss does not return one value for each row.
        """
        if type(self.loss) is CrossEntropy:
            return self.loss(logits, labels.repeat_interleave(views)).reshape(-1, views)
        examples = []
        for rows, label in zip(logits.split(views), labels.split(1), strict=True):
            losses = self.loss(rows.clone(), label.repeat(views))
            if not isinstance(losses, Tensor) or losses.shape != (views,):
                what = tuple(losses.shape) if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
                raise ValueError(
                    f"the loss must return one value for each row, not {what}: use reduction='none', "
                    "since a mean over the physical batch would mix its examples"
                )
            examples.append(losses)
        return torch.stack(examples)


Computation = Callable[[Objective, Tensor, Tensor], ClippedSum]
"""(objective, images (B, K, ...), labels (B,)) -> the clipped sum over B >= 1 examples."""


def in_parts(compute: Computation, objective: Objective, images: Tensor, labels: Tensor, size: int) -> ClippedSum:
    """The sum of what ``compute`` gives for at most ``size`` examples at a time; on a CPU, each core takes a share, if
    network and loss may be called side by side."""

    def of_share(share: tuple[Tensor, Tensor]) -> ClippedSum:
        with exact_arithmetic(images.device):  # each thread has modes of its own
            parts = zip(*(x.split(size) for x in share), strict=True)
            return functools.reduce(ClippedSum.add_, itertools.starmap(functools.partial(compute, objective), parts))

    count = threads() if on_cpu(images) and objective.side_by_side else 1
    shares = zip(*(x.chunk(count) for x in (images, labels)), strict=True)
    return functools.reduce(ClippedSum.add_, in_threads(of_share, shares, count))
