"""Torch's older weight norm, which is refused wherever a network is given."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.weight_norm import WeightNorm


def old_weight_norm(model: nn.Module) -> str | None:
    """What is wrong with a network that has ``torch.nn.utils.weight_norm``, and how to mend it; None if it has none.

    Its hook computes a weight in each pass and leaves it in an attribute of the layer, so that such a network can
    neither be copied nor be known to keep nothing of what it saw.
    """
    for name, module in model.named_modules():
        if any(isinstance(hook, WeightNorm) for hook in module._forward_pre_hooks.values()):
            return (
                f"has torch.nn.utils.weight_norm{f' on {name}' if name else ''}, which leaves a computed weight in the "
                "layer: use torch.nn.utils.parametrizations.weight_norm"
            )
    return None
