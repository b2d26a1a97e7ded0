"""What the guarantee rests on: accounting, Poisson sampling, per-example clipping, noise.

Stands alone: somebody with a training loop of their own can take these and nothing else.  Names are imported when
they are first used, so that accounting does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trilemma.privacy.accounting import Event, check_delta, epsilon, noise_multiplier
    from trilemma.privacy.clipping import Clipping, clipped_gradient_sum
    from trilemma.privacy.gradients.sums import ClippedSum
    from trilemma.privacy.noise import add_gaussian_noise
    from trilemma.privacy.plan import Plan
    from trilemma.privacy.randomness import RandomStream
    from trilemma.privacy.sampling import Draw, poisson_draw
    from trilemma.privacy.validation import NetworkCheck, check_network

_HOME = {
    "Event": "accounting",
    "check_delta": "accounting",
    "epsilon": "accounting",
    "noise_multiplier": "accounting",
    "ClippedSum": "gradients.sums",
    "Clipping": "clipping",
    "clipped_gradient_sum": "clipping",
    "add_gaussian_noise": "noise",
    "Plan": "plan",
    "RandomStream": "randomness",
    "Draw": "sampling",
    "poisson_draw": "sampling",
    "NetworkCheck": "validation",
    "check_network": "validation",
}

__all__ = [
    "ClippedSum",
    "Clipping",
    "Draw",
    "Event",
    "NetworkCheck",
    "Plan",
    "RandomStream",
    "add_gaussian_noise",
    "check_delta",
    "check_network",
    "clipped_gradient_sum",
    "epsilon",
    "noise_multiplier",
    "poisson_draw",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
