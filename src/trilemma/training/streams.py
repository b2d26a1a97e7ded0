"""Where a training's sampling and noise come from: the operating system, or a key made of all that the run is.

No accountant may compose mechanisms that share their randomness.  So the key of seeded sampling and noise is a hash of
what decides what a run computes: one label, one pixel, one initial weight or another rounding gives unrelated draws.
(What a network from outside reads from elsewhere cannot be in it.  That no two sums get one noise does not depend on
the key being another, see :mod:`trilemma.privacy.noise`.)  Seed and training data are both part of
it, so the key is not public; and a seed that can be guessed protects nothing against somebody who knows the data (all
but one example, say, and tries candidates for that one).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from torch import nn

from trilemma.data.dataset import Dataset
from trilemma.outside import is_outside, modules_behind, source_digests
from trilemma.privacy.randomness import RandomStream, tensors_digest
from trilemma.training.canaries import Canaries
from trilemma.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Computation:
    """How a run is computed: each of these attributes changes how sums are rounded.

    Attributes:
      compute: the type that the network computes in.
      physical_batch: the number of examples computed at once.
      method: how the clipped gradient is computed.
      device: "cpu" or "cuda".
      processes: the number of processes that share the work.
    """

    compute: str
    physical_batch: int
    method: str
    device: str
    processes: int


def stream_for(
    purpose: str,
    recipe: Recipe,
    data: Dataset,
    model: nn.Module,
    computation: Computation,
    canaries: Canaries | None = None,
    *,
    own: bool = False,
) -> RandomStream:
    """The stream of one purpose ("sampling", "noise" or "canaries") for a run that starts with ``model`` as it is now;
    ``own``: which is not what the recipe builds."""
    if recipe.keeps_noise_secret:
        return RandomStream.secret()
    code: dict[str, str] = _code_from_outside(recipe, model)
    if own or is_outside(recipe.model, "models"):
        code["layers"] = repr(model)  # with their settings, which the recipe does not hold
    run: dict[str, Any] = {
        "purpose": purpose,
        "recipe": recipe.to_dict() | {"secret_noise": False},  # as a run without a budget may leave it open
        "data": [data.name, dict(data.request), data.mean, data.std, data.flips, data.shift, data.classes],
        "train": data.train.fingerprint,
        "examples": len(data.train),
        "modules": [(name, type(module).__qualname__) for name, module in model.named_modules()],
        "parameters": [(name, tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()],
        "initial weights": weights_digest(model),
        "computation": vars(computation),
        **({"canaries": canaries.to_dict()} if canaries else {}),
        **({"code": code} if code else {}),
    }
    return RandomStream.keyed(json.dumps(run, sort_keys=True, default=str).encode())


def _code_from_outside(recipe: Recipe, model: nn.Module) -> dict[str, str]:
    """Digests of the code that a run uses and that is not this package's: changed, it makes another run."""
    modules = {type(module).__module__ for module in model.modules()}
    for kind, name in recipe.from_outside:
        if kind not in ("attacks", "measures"):  # these come after the training
            modules |= modules_behind(name, kind)
    return source_digests(modules)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 (hex) of all parameters and buffers."""
    return tensors_digest(model.state_dict())
