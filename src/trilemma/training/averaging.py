"""Parameter averaging (PA): an exponential moving average evaluated in place of the last weights.

It is computed from released weights alone, so it costs no budget.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def update_average(average: dict[str, Tensor], weights: dict[str, Tensor], *, decay: float, update: int) -> None:
    """Move ``average`` (in place) toward ``weights``: a <- d a + (1 - d) w, d = min(decay, (1 + t) / (10 + t)).

    The warm-up in t = ``update`` (1 for the first) lets early weights be forgotten (De et al. 2022).  Entries that
    are not floating point (counters) are copied.
    """
    d = min(decay, (1 + update) / (10 + update))
    for name, value in weights.items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - d)
        else:
            average[name].copy_(value)
