"""The sum of clipped per-example gradients: the only thing that an update takes from the images.

**Sensitivity**: an example's gradient is that of the mean loss over its K views, with respect to all trainable
parameters taken as one vector.  It is scaled by min(1, C / norm), so that its norm is at most C; one that is not
finite is replaced by zero.  The sum over a logical batch therefore changes by at most C in L2 norm when one example
is added or removed, whatever K is and however the batch is cut into physical batches.

**Condition**: no example's gradient may depend on another example.  ``trilemma.privacy.validation`` refuses
networks where it does.

Three exact methods give the same sums to rounding; the choice changes speed only.

- *layerwise*: one forward and one backward pass for the whole physical batch; at each layer the backward pass
  meets, the weight gradient is formed once per example from the layer's inputs and output gradients
  (``trilemma.privacy.rules``) in place of once per batch.
- *loop*: one ordinary forward and backward pass per example with its K views as the batch.  Works for every module,
  and is as fast as anything else once K views keep the device busy.
- *linear*: for a network that is one linear layer.  Its gradient for a view is the product of the logits' gradient and
  the inputs, so norms follow from inner products, and the sum is one product of two matrices: no example's gradient
  is ever formed.

Sums are made in float32, in products that are not rounded to fewer digits on the way: rounding after the clip is not
covered by the sensitivity, so where torch was told to round (``torch.set_float32_matmul_precision``) it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from trilemma.errors import PrivacyError
from trilemma.privacy.rules import RULES, unsupported

Method = Literal["auto", "layerwise", "loop", "linear"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, classes), labels (n,)) -> losses (n,)."""

_ROWS = 64  # of some thousands of float32 numbers each, that a processor's cache holds
_MANY_VIEWS = 16  # from here on a loop over examples is as fast as the layerwise method on a CPU


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
        if other.clipping_norm != self.clipping_norm or other.sums.keys() != self.sums.keys():
            raise ValueError("only sums of one network at one clipping norm can be added")
        return ClippedSum(
            {name: total + other.sums[name] for name, total in self.sums.items()},
            torch.cat([self.norms, other.norms]),
            torch.cat([self.losses, other.losses]),
            self.clipping_norm,
        )


@dataclass(frozen=True, eq=False)
class Clipping:
    """Computes clipped sums for one network.

    Attributes:
      model: its trainable parameters (``requires_grad``) are those that count.  It is not changed.
      clipping_norm: C > 0.
      method: "auto" picks the linear method for a linear network, else the layerwise method where every layer has a
        rule, unless K is large.
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
        nothing = torch.zeros(0, device=next(iter(parameters.values())).device)
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
        if torch.get_float32_matmul_precision() != "highest":
            raise PrivacyError(
                "sums of gradients would be rounded before the noise is added, which the guarantee does not cover: "
                "call torch.set_float32_matmul_precision('highest')"
            )
        if len(images) == 0:
            return self.zero()
        method = self.method
        if method == "auto":
            many = images.shape[1] >= _MANY_VIEWS and images.device.type == "cpu"
            if type(self.model) is nn.Linear and images.dim() == 3:
                method = "linear"
            else:
                method = "loop" if many or not self._layerwise_fits(images) else "layerwise"
        if method == "linear":
            return self._linear(images, labels)
        return self._layerwise(images, labels) if method == "layerwise" else self._loop(images, labels)

    def _layerwise_fits(self, images: Tensor) -> bool:
        """Tried out once for each image shape, at the first batch."""
        from trilemma.privacy.validation import check_network

        shape = tuple(images.shape[2:])
        if shape not in self._checked:
            self._checked[shape] = check_network(self.model, shape, device=images.device).reason is None
        return self._checked[shape]

    def _view_losses(self, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """images (n, K, C, H, W) -> each view's loss (n, K)."""
        views = images.shape[1]
        with torch.autocast(
            images.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None
        ):
            logits = functional_call(self.model, dict(parameters), (images.flatten(0, 1),))
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
            loss = self._view_losses(parameters, image, label).mean()
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            gradient = {n: g.float() for n, g in zip(parameters, found, strict=True) if g is not None}
            square = torch.stack([g.double().square().sum() for g in gradient.values()]).sum()
            exact_norm = square.sqrt()
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
        examples, views, _ = inputs.shape
        trainable = self.parameters()
        # Twice over the inputs in blocks that stay in a processor's cache, float16 ones made float32 (which is exact)
        # on the way: first the logits and inner products, then, the factors being known, the sum.
        size = max(1, _ROWS // views) if inputs.device.type == "cpu" else examples
        found, inner = [], []
        with torch.no_grad():
            for block in inputs.split(size):
                rows = block.float()
                # In this order the product takes half as long as in layer(rows) (oneDNN, few rows of weights).
                found.append((layer.weight @ rows.flatten(0, 1).T).T)
                inner.append(
                    _norms(rows).double().square()[:, :, None] if views == 1 else rows.double() @ rows.double().mT
                )
            logits = torch.cat(found)
            if layer.bias is not None:
                logits += layer.bias
        logits.requires_grad_()
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
            for block, part in zip(inputs.split(size), clipped.split(size), strict=True):
                total["weight"].addmm_(part.flatten(0, 1).T, block.float().flatten(0, 1))
        sums = {name: total[name] for name in trainable}
        return ClippedSum(sums, norms, losses.detach().float(), self.clipping_norm)

    def _layerwise(self, images: Tensor, labels: Tensor) -> ClippedSum:
        reason = why_not_layerwise(self.model)
        if reason:
            raise ValueError(f"the layerwise method does not fit: {reason}")
        examples = len(images)
        trainable = self.parameters()
        frozen = {name: p.detach() for name, p in self.model.named_parameters()}
        gradients: dict[str, Tensor] = {}
        # Parameters take no part in autograd here: only the gradients of layer outputs are asked for, so no
        # weight gradient over the whole batch is computed and thrown away.
        images = images.detach().requires_grad_()
        with _per_example_gradients(self.model, trainable, examples, gradients):
            losses = self._view_losses(frozen, images, labels).mean(dim=1)
            torch.autograd.grad(losses.sum(), images)
        square = torch.zeros(examples, dtype=torch.float64, device=images.device)
        for g in gradients.values():
            # In float64: a square that overflows or vanishes in float32 would drop an example, or not clip it.
            square += torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64).square()
        exact_norms = square.sqrt()
        norms = exact_norms.float()
        finite = torch.isfinite(norms)
        factors = torch.where(finite, self._factor(exact_norms).float(), torch.zeros_like(norms))
        if not bool(finite.all()):
            for g in gradients.values():
                g[~finite] = 0  # 0 * nan is nan: the factor alone would not keep it out
        total = self.zero().sums
        for name, g in gradients.items():
            total[name] = (factors @ g.flatten(1)).reshape(total[name].shape)
        return ClippedSum(total, norms, losses.detach().float(), self.clipping_norm)

    def _factor(self, norm: Tensor) -> Tensor:
        """min(1, C / norm)."""
        return self.clipping_norm / norm.clamp_min(self.clipping_norm)


def _norms(inputs: Tensor) -> Tensor:
    """L2 norms along the last dimension: in float32, to a millionth; in float64, which takes ten times as long, where
    squares would overflow or vanish."""
    norms: Tensor = torch.linalg.vector_norm(inputs, dim=-1)
    if not bool(((norms > 1e-15) & (norms < 1e15)).all()):
        norms = torch.linalg.vector_norm(inputs, dim=-1, dtype=torch.float64)
    return norms


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
    many = images.shape[1] >= _MANY_VIEWS and images.device.type == "cpu"
    linear = type(model) is nn.Linear and images.dim() == 3
    automatic: Method = "linear" if linear else "loop" if check.reason or many else "layerwise"
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


@contextmanager
def _per_example_gradients(
    model: nn.Module, trainable: Mapping[str, nn.Parameter], examples: int, into: dict[str, Tensor]
) -> Iterator[None]:
    """While open, a backward pass through ``model`` adds each example's gradients to ``into``."""
    names = {id(p): name for name, p in trainable.items()}
    handles = []

    def watch(module: nn.Module, owned: dict[str, str]) -> None:
        rule = RULES[type(module)][0]

        def after_forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            saved, version = inputs[0].detach(), inputs[0]._version

            # A tensor hook set here sees the gradient of this output even if it is later changed in place.
            def after_backward(gradient: Tensor) -> None:
                if saved._version != version:
                    raise RuntimeError(f"the input of {type(module).__name__} was changed in place after its use")
                with torch.no_grad():
                    found = rule(module, saved.to(gradient.dtype), gradient, examples)
                for attribute, name in owned.items():
                    value = found[attribute].float()
                    into[name] = into[name] + value if name in into else value

            output.register_hook(after_backward)

        handles.append(module.register_forward_hook(after_forward))

    for module in model.modules():
        owned = {
            attribute: names[id(p)] for attribute, p in module._parameters.items() if p is not None and id(p) in names
        }
        if owned:
            watch(module, owned)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
