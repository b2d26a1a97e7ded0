"""The closed form for a network that is one linear layer: no example's gradient is ever materialized.

The gradient of an example with views z_1, ..., z_K is sum_k e_k z_k', with e_k the gradient of the loss with respect
to view k's logits, divided by K.  Its squared norm is sum_jk (e_j . e_k) (z_j . z_k), plus sum_jk (e_j . e_k) with a
bias, and the clipped sum is one product of two matrices.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.privacy.gradients.rules import on_cpu, row_squares, unsupported
from trilemma.privacy.gradients.sums import ClippedSum, Objective, in_parts

_ROWS = 128  # of some thousands of float32 numbers each, about what a core's cache holds


def fits(model: nn.Module, inputs: Tensor) -> bool:
    """Whether the network is one linear layer, called as it is, and the inputs are (B, K, d)."""
    return type(model) is nn.Linear and unsupported(model) is None and inputs.dim() == 3


def linear(objective: Objective, inputs: Tensor, labels: Tensor) -> ClippedSum:
    """The clipped sum, float64, over inputs (B, K, d), float32 or float16, with labels (B,).

    Raises:
      ValueError: another network, or inputs of another shape.
      PrivacyError: sums in another type than float32.
    """
    layer = objective.model
    if not fits(layer, inputs):
        raise ValueError("the linear method fits one linear layer with inputs (B, K, d), and nothing else")
    single = layer.weight.dtype == torch.float32 and inputs.dtype in (torch.float32, torch.float16)
    if not single or objective.autocast:
        raise PrivacyError(
            "the sum of a linear layer's gradients must be float32: rounding it before the noise is added is not "
            "covered by the guarantee"
        )
    return in_parts(_part, objective, inputs, labels, len(inputs))


def _part(objective: Objective, inputs: Tensor, labels: Tensor) -> ClippedSum:
    layer: nn.Linear = objective.model  # type: ignore[assignment]
    examples, views, _ = inputs.shape
    trainable = objective.parameters()
    # Twice over the inputs in blocks that stay in a core's cache, float16 ones made float32 (which is exact) on the
    # way: first the logits and inner products, then, the factors being known, the sum.
    size = max(1, _ROWS // views) if on_cpu(inputs) else examples
    blocks, inner = [], []
    with torch.no_grad():
        for rows in _in_float32(inputs, size):
            blocks.append(F.linear(rows.flatten(0, 1), layer.weight, layer.bias))
            inner.append(row_squares(rows)[:, :, None] if views == 1 else rows.double() @ rows.double().mT)
    logits = torch.cat(blocks).requires_grad_()
    losses = objective.losses(logits, labels, views).mean(dim=1)
    (errors,) = torch.autograd.grad(losses.sum(), logits)
    errors = errors.view(examples, views, -1)
    products = torch.cat(inner) * float("weight" in trainable) + float("bias" in trainable)
    exact_norms = (errors.double() @ errors.double().mT * products).sum((1, 2)).clamp_min(0).sqrt()
    norms = exact_norms.float()
    finite = torch.isfinite(norms)
    factors = torch.where(finite, objective.factor(exact_norms).float(), torch.zeros_like(norms))
    clipped = errors * factors[:, None, None]
    if not bool(finite.all()):  # 0 * nan is nan: the factor alone would not keep it out
        inputs, clipped = (torch.where(finite[:, None, None], x, torch.zeros_like(x[:1])) for x in (inputs, clipped))
    # A physical batch may be the whole training set: in float32 the sum of all blocks would lose what one example adds.
    total = {"weight": torch.zeros_like(layer.weight, dtype=torch.float64), "bias": clipped.double().sum((0, 1))}
    with torch.no_grad():
        for rows, part in zip(_in_float32(inputs, size), clipped.split(size), strict=True):
            total["weight"] += part.flatten(0, 1).T @ rows.flatten(0, 1)
    return ClippedSum({n: total[n] for n in trainable}, norms, losses.detach().float(), objective.clipping_norm)


def _in_float32(inputs: Tensor, size: int) -> Iterator[Tensor]:
    """Blocks of ``size`` rows, all in the same memory: fresh pages would take longer than the conversion."""
    if inputs.dtype == torch.float32:
        yield from inputs.split(size)
        return
    memory = torch.empty(min(size, len(inputs)), *inputs.shape[1:], dtype=torch.float32, device=inputs.device)
    for block in inputs.split(size):
        yield memory[: len(block)].copy_(block)
