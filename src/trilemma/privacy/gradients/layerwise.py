"""The fast way: one forward and one backward pass for many examples at once.

At each layer that the backward pass meets, what the layer adds to each example's norm comes from its inputs and output
gradients (``hooks``, ``contributions``, ``rules``); once all norms are known, so does the clipped sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.privacy.gradients import kernels
from trilemma.privacy.gradients.hooks import LayerHooks
from trilemma.privacy.gradients.rules import CHANNELS, MAP, on_cpu, unsupported
from trilemma.privacy.gradients.sums import ClippedSum, Objective, in_parts

_VIEWS_AT_ONCE = 32  # by one core, where an example has no more of them: with fewer, layers are slower
_MAPS_AT_ONCE = 128  # of many channels and few positions, whose layers take less time than their calls


def at_once(views: int, shape: Sequence[int]) -> int:
    """The most examples, of so many views of ``shape`` each, that one core of a CPU computes together."""
    return max(1, (_MAPS_AT_ONCE if _small_maps(shape) else _VIEWS_AT_ONCE) // views)


def _small_maps(shape: Sequence[int]) -> bool:
    """Whether views (C, H, W) have many channels and few positions."""
    return len(shape) == 3 and shape[0] >= CHANNELS and shape[1] * shape[2] <= MAP


def why_not_layerwise(model: nn.Module) -> str | None:
    """Why the layerwise method cannot serve this network; None if every layer has a rule."""
    for module in model.modules():
        if any(p is not None and p.requires_grad for p in module._parameters.values()):
            reason = unsupported(module)
            if reason:
                return reason
    return None


def layerwise(objective: Objective, images: Tensor, labels: Tensor) -> ClippedSum:
    """The clipped sum over images (B, K, C, H, W) with labels (B,).

    Raises:
      ValueError: a layer has no rule.
    """
    reason = why_not_layerwise(objective.model)
    if reason:
        raise ValueError(f"the layerwise method does not fit: {reason}")
    if not on_cpu(images):
        return one_pass(objective, images, labels)
    # A part for each core, and more where that saves memory: within a layer nothing waits for another core, and all
    # that is not a large product (norms, activations, one example's convolution) is done by all of them, too.
    return in_parts(one_pass, objective, images, labels, at_once(images.shape[1], images.shape[2:]))


def one_pass(objective: Objective, images: Tensor, labels: Tensor) -> ClippedSum:
    """The same by one forward and one backward pass in the calling thread."""
    examples = len(images)
    trainable = objective.parameters()
    on_gpu = not on_cpu(images) and kernels.available(images)
    hooks = LayerHooks(objective.model, trainable, examples, on_gpu=on_gpu)

    def network(views: Tensor) -> Tensor:
        # Where the rule for small maps copies what positions see, a core copies runs of channels faster than runs of
        # pixels; and the gradient of a strided convolution's inputs takes half the time.
        last = (on_gpu and views.dim() == 4) or (on_cpu(views) and _small_maps(views.shape[1:]))
        logits: Tensor = hooks.network(views.contiguous(memory_format=torch.channels_last) if last else views)
        return logits

    losses = objective.view_losses(network, images.detach(), labels).mean(dim=1)
    if losses.requires_grad:  # else no trained layer takes part in it
        torch.autograd.grad(losses.sum(), hooks.starts, allow_unused=True)
    contributions = hooks.contributions()
    square = torch.zeros(examples, dtype=torch.float64, device=images.device)
    for _, contribution in contributions:
        square += contribution.squares
    exact_norms = square.sqrt()
    norms = exact_norms.float()
    factors, finite = objective.factor(exact_norms).float(), torch.isfinite(norms)
    mask = None if bool(finite.all()) else finite
    total: dict[str, Tensor] = {}
    with torch.no_grad():  # each parameter is in one contribution, or in none where it has no gradient
        for names, contribution in contributions:
            total |= {names[attribute]: value for attribute, value in contribution.clipped(factors, mask).items()}
        for name, p in trainable.items():
            if name not in total:
                total[name] = torch.zeros_like(p, dtype=torch.float32)
    return ClippedSum({n: total[n] for n in trainable}, norms, losses.detach().float(), objective.clipping_norm)
