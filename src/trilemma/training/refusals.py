"""Options that do not apply to a training are refused before anything is computed."""

from __future__ import annotations

from torch import nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.models.mapnet import map_network_width
from trilemma.models.prior import PRIORS
from trilemma.networks import OF_LAYERS
from trilemma.training.canaries import Canaries, refuse_canaries
from trilemma.training.execution import Execution
from trilemma.training.network import refuse_techniques
from trilemma.training.ranks import Ranks
from trilemma.training.recipe import Recipe


def refuse_what_does_not_apply(
    recipe: Recipe,
    execution: Execution,
    data: Dataset,
    network: nn.Module | None,
    ranks: Ranks,
    canaries: Canaries | None,
) -> None:
    """Refuse options that do not apply to this training, rather than ignore them.

    Raises:
      InputError: an option does not apply.
    """
    prior = recipe.model in PRIORS and network is None
    if canaries is not None:
        refuse_canaries(canaries, recipe, data, ranks.size)
    if ranks.size > 1 and (prior or not recipe.private):
        what = f"{recipe.model} is trained by one process" if prior else "several processes are for a budget"
        raise InputError(f"{what}: run the same command without torchrun")
    fitted = network is None and (prior or map_network_width(recipe.model) is not None)
    if recipe.pretrain and (fitted or network is not None):
        whose = f"{recipe.model} is fitted to them already" if fitted else "it is for networks by name"
        raise InputError(f"pre-training on synthetic images does not apply here ({whose}): leave --pretrain out")
    if network is not None:
        name = f"your {type(network).__name__}"
        refuse_techniques(recipe, dict.fromkeys(OF_LAYERS, "whose layers are its own"), model=name)
    if not prior:
        return
    refuse_techniques(recipe, {"gn": "which has no norm layers", "ws": "which has no convolutions that are trained"})
    if execution.compute == "bfloat16":
        raise InputError(
            f"{recipe.model} is trained in float32, so that no sum is rounded before the noise is added: "
            "use --compute float32"
        )
