"""The sum of clipped per-example gradients: the only thing that an update takes from the images.

**Sensitivity**: an example's gradient is that of the mean loss over its K views, with respect to all trainable
parameters taken as one vector.  It is scaled by min(1, C / norm), so that its norm is at most C; one that is not
finite is replaced by zero.  The sum over a logical batch therefore changes by at most C in L2 norm when one example
is added or removed, whatever K is and however the batch is cut into physical batches.

**Condition**: no example's gradient may depend on another example.  ``trilemma.privacy.validation`` refuses
networks where it does.

Three exact methods give the same sums to rounding; the choice changes speed only.

- *layerwise*: one forward and one backward pass for the whole physical batch (on a CPU, for a part of it on each
  core); at each layer the backward pass meets, what the layer adds to each example's norm comes from its inputs and
  output gradients (``trilemma.privacy.contributions``); once the norms are known, so does the sum.
- *loop*: one ordinary forward and backward pass per example with its K views as the batch.  Works for every module.
- *linear*: for a network that is one linear layer.  Its gradient for a view is the product of the logits' gradient and
  the inputs, so norms follow from inner products, and the sum is one product of two matrices: no example's gradient
  is ever formed.

Sums are made in float32, in products that are not rounded to fewer digits on the way: rounding after the clip is not
covered by the sensitivity.  What the caller has set around the call changes nothing, or is refused
(``trilemma.privacy.gradients.arithmetic``).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from trilemma.errors import PrivacyError
from trilemma.privacy.calls import Calls
from trilemma.privacy.gradients.arithmetic import exact_arithmetic, refuse_rounded_products
from trilemma.privacy.rules import on_cpu, row_squares, unsupported
from trilemma.threads import in_threads, threads

Method = Literal["auto", "layerwise", "loop", "linear"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, classes), labels (n,)) -> losses (n,)."""

_ROWS = 128  # of some thousands of float32 numbers each, about what a core's cache holds
_VIEWS_AT_ONCE = 32  # by one core, where an example has no more of them: with fewer, layers are slower


def _in_float32(inputs: Tensor, size: int) -> Iterator[Tensor]:
    """Blocks of ``size`` rows, all in the same memory: fresh pages would take longer than the conversion."""
    if inputs.dtype == torch.float32:
        yield from inputs.split(size)
        return
    memory = torch.empty(min(size, len(inputs)), *inputs.shape[1:], dtype=torch.float32, device=inputs.device)
    for block in inputs.split(size):
        yield memory[: len(block)].copy_(block)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy of each row, in float32."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


@dataclass(frozen=True, eq=False)
class ClippedSum:
    """A sum of clipped gradients, with what is needed to add the right noise to it.

    Attributes:
      sums: float32 tensors by parameter name.
      norms: (count,) float32, each example's gradient norm before clipping (NaN or inf where it is not finite).
      losses: (count,) float32, each example's mean loss over its views.
      clipping_norm: C: the L2 sensitivity of ``sums`` to adding or removing one example.
    """

    sums: dict[str, Tensor]
    norms: Tensor
    losses: Tensor
    clipping_norm: float

    @property
    def count(self) -> int:
        return len(self.norms)

    def __add__(self, other: ClippedSum) -> ClippedSum:
        """The sum over both (disjoint) sets of examples."""
        own = {name: total.clone() for name, total in self.sums.items()}
        return ClippedSum(own, self.norms, self.losses, self.clipping_norm).add_(other)

    def add_(self, other: ClippedSum) -> ClippedSum:
        """The same in the memory of this one's sums, which must not be used any more."""
        if other.clipping_norm != self.clipping_norm or other.sums.keys() != self.sums.keys():
            raise ValueError("only sums of one network at one clipping norm can be added")
        sums = {name: total.add_(other.sums[name]) for name, total in self.sums.items()}
        norms, losses = torch.cat([self.norms, other.norms]), torch.cat([self.losses, other.losses])
        return ClippedSum(sums, norms, losses, self.clipping_norm)


@dataclass(frozen=True, eq=False)
class Clipping:
    """Computes clipped sums for one network.

    Attributes:
      model: its trainable parameters (``requires_grad``) are those that count.  It is not changed.
      clipping_norm: C > 0.
      method: "auto" picks the linear method for a linear network, else the layerwise method where every layer has a
        rule, else the loop.
      loss: per-view loss; an example's loss is its mean over the views.
      autocast: compute type of the forward and backward pass; norms and sums are float32 in any case.
    """

    model: nn.Module
    clipping_norm: float
    method: Method = "auto"
    loss: Loss = field(default=cross_entropy)
    autocast: torch.dtype | None = None
    _checked: dict[tuple[int, ...], bool] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        from trilemma.privacy.validation import refuse_mixing_layers

        if not 0 < self.clipping_norm < float("inf"):
            raise ValueError(f"the clipping norm must be positive and finite, not {self.clipping_norm}")
        refuse_mixing_layers(self.model)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters by name; a parameter used in two places appears once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def zero(self) -> ClippedSum:
        """The sum over no examples, as for an empty draw."""
        parameters = self.parameters()
        nothing = torch.zeros(0, dtype=torch.float32, device=next(iter(parameters.values())).device)
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
        return ClippedSum({n: s.detach() for n, s in sums.items()}, nothing, nothing, self.clipping_norm)

    def __call__(self, images: Tensor, labels: Tensor) -> ClippedSum:
        """The clipped sum over one physical batch.

        Args:
          images: float (B, K, C, H, W): K views of each of B examples.
          labels: int64 (B,).
        """
        if images.dim() < 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"images must be (B, K, C, H, W) and labels (B,), not {tuple(images.shape)} and {tuple(labels.shape)}"
            )
        refuse_rounded_products()
        with exact_arithmetic(images.device):
            if len(images) == 0:
                return self.zero()
            # What was made in inference mode cannot take part in a gradient.
            images, labels = (x.clone() if x.is_inference() else x for x in (images, labels))
            return self._by_method(images, labels)

    def _by_method(self, images: Tensor, labels: Tensor) -> ClippedSum:
        method = self.method
        if method == "auto":
            if type(self.model) is nn.Linear and images.dim() == 3:
                method = "linear"
            else:
                method = "layerwise" if self._layerwise_fits(images) else "loop"
        if method == "linear":
            return self._linear(images, labels)
        return self._layerwise(images, labels) if method == "layerwise" else self._loop(images, labels)

    def at_once(self, views: int) -> int:
        """Examples that the layerwise method computes in one piece on a core of a CPU, at most."""
        return max(1, _VIEWS_AT_ONCE // views)

    def _layerwise_fits(self, images: Tensor) -> bool:
        """Tried out once for each image shape, at the first batch."""
        from trilemma.privacy.validation import check_network

        shape = tuple(images.shape[2:])
        if shape not in self._checked:
            self._checked[shape] = check_network(self.model, shape, device=images.device).reason is None
        return self._checked[shape]

    def _view_losses(self, network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """images (n, K, C, H, W) -> each view's loss (n, K)."""
        views = images.shape[1]
        with torch.autocast(
            images.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None
        ):
            logits = network(images.flatten(0, 1))
        losses = self.loss(logits, labels.repeat_interleave(views))
        if losses.shape != (len(logits),):
            raise ValueError(
                f"the loss must return one value for each row, not {tuple(losses.shape)}: use reduction='none', "
                "since a mean over the physical batch would mix its examples"
            )
        return losses.reshape(-1, views)

    def _loop(self, images: Tensor, labels: Tensor) -> ClippedSum:
        parameters = {n: p.detach().requires_grad_() for n, p in self.parameters().items()}
        total = self.zero().sums
        norms, losses = [], []
        for image, label in zip(images.split(1), labels.split(1), strict=True):
            loss = self._view_losses(lambda x: functional_call(self.model, parameters, (x,)), image, label).mean()
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            gradient = {n: g.float() for n, g in zip(parameters, found, strict=True) if g is not None}
            squares = [row_squares(g.flatten(1) if g.dim() > 1 else g[None]).sum() for g in gradient.values()]
            exact_norm = torch.stack(squares).sum().sqrt()
            norm = exact_norm.float()
            if torch.isfinite(norm):
                factor = self._factor(exact_norm)
                for name, g in gradient.items():
                    total[name].add_(g * factor)
            norms.append(norm)
            losses.append(loss.detach().float())
        return ClippedSum(total, torch.stack(norms), torch.stack(losses), self.clipping_norm)

    def _linear(self, inputs: Tensor, labels: Tensor) -> ClippedSum:
        """inputs (B, K, d).  An example's gradient is sum_k e_k z_k' with e_k = (gradient of the loss with respect to
        view k's logits) / K, so its squared norm is sum_jk (e_j . e_k) (z_j . z_k), plus sum_jk (e_j . e_k) with a
        bias."""
        layer = self.model
        if type(layer) is not nn.Linear or inputs.dim() != 3:
            raise ValueError("the linear method fits one linear layer with inputs (B, K, d), and nothing else")
        if layer.weight.dtype != torch.float32 or inputs.dtype not in (torch.float32, torch.float16) or self.autocast:
            raise PrivacyError(
                "the sum of a linear layer's gradients must be float32: rounding it before the noise is added is not "
                "covered by the guarantee"
            )
        return self._in_parts(self._linear_part, inputs, labels, len(inputs))

    def _linear_part(self, inputs: Tensor, labels: Tensor) -> ClippedSum:
        layer: nn.Linear = self.model  # type: ignore[assignment]
        examples, views, _ = inputs.shape
        trainable = self.parameters()
        # Twice over the inputs in blocks that stay in a core's cache, float16 ones made float32 (which is exact) on the
        # way: first the logits and inner products, then, the factors being known, the sum.
        size = max(1, _ROWS // views) if on_cpu(inputs) else examples
        found, inner = [], []
        with torch.no_grad():
            for rows in _in_float32(inputs, size):
                found.append(F.linear(rows.flatten(0, 1), layer.weight, layer.bias))
                inner.append(row_squares(rows)[:, :, None] if views == 1 else rows.double() @ rows.double().mT)
        logits = torch.cat(found).requires_grad_()
        losses = self.loss(logits, labels.repeat_interleave(views)).reshape(examples, views).mean(dim=1)
        (errors,) = torch.autograd.grad(losses.sum(), logits)
        errors = errors.view(examples, views, -1)
        products = torch.cat(inner) * float("weight" in trainable) + float("bias" in trainable)
        exact_norms = (errors.double() @ errors.double().mT * products).sum((1, 2)).clamp_min(0).sqrt()
        norms = exact_norms.float()
        finite = torch.isfinite(norms)
        factors = torch.where(finite, self._factor(exact_norms).float(), torch.zeros_like(norms))
        clipped = errors * factors[:, None, None]
        if not bool(finite.all()):  # 0 * nan is nan: the factor alone would not keep it out
            inputs, clipped = (
                torch.where(finite[:, None, None], x, torch.zeros_like(x[:1])) for x in (inputs, clipped)
            )
        total = {"weight": torch.zeros_like(layer.weight), "bias": clipped.sum((0, 1))}
        with torch.no_grad():
            for rows, part in zip(_in_float32(inputs, size), clipped.split(size), strict=True):
                total["weight"].addmm_(part.flatten(0, 1).T, rows.flatten(0, 1))
        return ClippedSum({n: total[n] for n in trainable}, norms, losses.detach().float(), self.clipping_norm)

    def _layerwise(self, images: Tensor, labels: Tensor) -> ClippedSum:
        reason = why_not_layerwise(self.model)
        if reason:
            raise ValueError(f"the layerwise method does not fit: {reason}")
        if not on_cpu(images):
            return self._one_pass(images, labels)
        # A part for each core, and more where that saves memory: within a layer nothing waits for another core, and all
        # that is not a large product (norms, activations, one example's convolution) is done by all of them, too.
        return self._in_parts(self._one_pass, images, labels, self.at_once(images.shape[1]))

    def _in_parts(
        self, clipped: Callable[[Tensor, Tensor], ClippedSum], images: Tensor, labels: Tensor, size: int
    ) -> ClippedSum:
        """The sum of what ``clipped`` gives for at most ``size`` examples at a time; on a CPU, a share on each core."""

        def of_share(share: tuple[Tensor, Tensor]) -> ClippedSum:
            with exact_arithmetic(images.device):  # a thread has modes of its own
                parts = zip(*(x.split(size) for x in share), strict=True)
                return functools.reduce(ClippedSum.add_, itertools.starmap(clipped, parts))

        count = threads() if on_cpu(images) else 1
        shares = zip(*(x.chunk(count) for x in (images, labels)), strict=True)
        return functools.reduce(ClippedSum.add_, in_threads(of_share, shares, count))

    def _one_pass(self, images: Tensor, labels: Tensor) -> ClippedSum:
        examples = len(images)
        calls = Calls(self.model, self.parameters(), examples)
        images = images.detach().requires_grad_()
        losses = self._view_losses(calls.network, images, labels).mean(dim=1)
        torch.autograd.grad(losses.sum(), images)
        found = calls.contributions()
        square = torch.zeros(examples, dtype=torch.float64, device=images.device)
        for _, one in found:
            square += one.squares
        exact_norms = square.sqrt()
        norms = exact_norms.float()
        factors, kept = self._factor(exact_norms).float(), torch.isfinite(norms)
        mask = None if bool(kept.all()) else kept
        total: dict[str, Tensor] = {}
        with torch.no_grad():  # each parameter is in one contribution, or in none where it has no gradient
            for names, one in found:
                total |= {names[attribute]: value for attribute, value in one.clipped(factors, mask).items()}
            for name, p in self.parameters().items():
                if name not in total:
                    total[name] = torch.zeros_like(p, dtype=torch.float32)
        total = {name: total[name] for name in self.parameters()}
        return ClippedSum(total, norms, losses.detach().float(), self.clipping_norm)

    def _factor(self, norm: Tensor) -> Tensor:
        """min(1, C / norm)."""
        return self.clipping_norm / norm.clamp_min(self.clipping_norm)


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
      model: any module that maps (n, C, H, W) to logits (n, classes) without mixing examples.
      images: float (B, K, C, H, W), K views of each example; their losses are averaged, then one gradient clipped.
      labels: int64 (B,).
      clipping_norm: C.
      method: "auto", "layerwise", "loop" or "linear"; changes speed, never the result.
      loss: (logits (n, classes), labels (n,)) -> losses (n,).

    Returns:
      (sums by parameter name, float32; norms before clipping (B,), float32).

    Raises:
      PrivacyError: the network mixes examples (see ``trilemma.privacy.check_network``, called here).
      ValueError: the layerwise method was asked for by name and does not fit the network.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> sums, norms = clipped_gradient_sum(network, torch.randn(5, 1, 3, 2, 2), torch.tensor([0, 1, 0, 1, 1]))
    >>> sorted(sums), tuple(norms.shape)
    (['1.bias', '1.weight'], (5,))
    """
    from trilemma.privacy.validation import check_network

    check = check_network(model, tuple(images.shape[2:]), device=images.device)
    if method == "layerwise" and check.reason:
        raise ValueError(f"the layerwise method does not fit: {check.reason}")
    linear = type(model) is nn.Linear and images.dim() == 3
    automatic: Method = "linear" if linear else "loop" if check.reason else "layerwise"
    chosen = automatic if method == "auto" else method
    total = Clipping(model, clipping_norm, chosen, loss)(images, labels)
    return total.sums, total.norms


def why_not_layerwise(model: nn.Module) -> str | None:
    """Why the layerwise method cannot serve this network; None if it can."""
    for module in model.modules():
        if any(p is not None and p.requires_grad for p in module._parameters.values()):
            reason = unsupported(module)
            if reason:
                return reason
    return None
