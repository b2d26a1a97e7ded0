"""Sharpness-aware training (SAT): take the gradient where the loss is higher, and apply it to the weights as they are.

Without a budget this is SAM (Foret et al. 2021): the ascent direction is the gradient of the same batch, two gradients
an update.  With a budget it is DP-SAT (Park et al. 2023): the direction is the *previous privatized* gradient, which is
already released, so that an update still costs one gradient and no extra budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def perturbed(model: nn.Module, direction: Mapping[str, Tensor] | None, radius: float) -> Iterator[None]:
    """Inside the block the weights are w + radius * direction / |direction|; after it they are exactly w again.

    The norm is over all parameters.  Opened once per logical batch, around all of its physical batches; the saved
    weights are put back (not the perturbation subtracted), so nothing drifts.  A direction that is None or zero
    (there is no previous gradient at the first update) perturbs nothing.
    """
    norm = 0.0
    if direction is not None:
        norm = float(torch.stack([d.double().square().sum() for d in direction.values()]).sum().sqrt())
    if direction is None or norm == 0 or radius == 0:
        yield
        return
    parameters = {name: p for name, p in model.named_parameters() if name in direction}
    saved = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for name, p in parameters.items():
            p.add_(direction[name].to(p.dtype), alpha=radius / norm)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(saved[name])
