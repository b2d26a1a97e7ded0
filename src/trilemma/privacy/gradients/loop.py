"""The plain way: one forward and one backward pass for each example, with its K views as the batch.

It works for every module, since autograd alone computes the gradient, and an example's pass sees no other example.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from trilemma.privacy.gradients.rules import row_squares
from trilemma.privacy.gradients.sums import ClippedSum, Objective


def loop(objective: Objective, images: Tensor, labels: Tensor) -> ClippedSum:
    """The clipped sum over images (B, K, C, H, W) with labels (B,), one example at a time."""
    parameters = {name: p.detach().requires_grad_() for name, p in objective.parameters().items()}

    def network(views: Tensor) -> Tensor:
        logits: Tensor = functional_call(objective.model, parameters, (views,))
        return logits

    total = objective.zero().sums
    norms, losses = [], []
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        loss = objective.view_losses(network, image, label).mean()
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        gradient = {name: g.float() for name, g in zip(parameters, gradients, strict=True) if g is not None}
        squares = [row_squares(g.flatten(1) if g.dim() > 1 else g[None]).sum() for g in gradient.values()]
        exact_norm = torch.stack(squares).sum().sqrt()
        norm = exact_norm.float()
        if torch.isfinite(norm):
            factor = objective.factor(exact_norm)
            for name, g in gradient.items():
                total[name].add_(g * factor)
        norms.append(norm)
        losses.append(loss.detach().float())
    return ClippedSum(total, torch.stack(norms), torch.stack(losses), objective.clipping_norm)
