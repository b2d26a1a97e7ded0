"""Weights that a run of Trilemma learned are no initial weights of a private training.

What they learned from the images of that run would be in the new model, and its budget would not count it.  (Where
those images are public, whoever loads the file by hand says so; that other weights are public is the user's condition,
as :mod:`trilemma.trial.statement` says.)
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.privacy.randomness import tensors_digest
from trilemma.training.recipe import Recipe

FACTS = "trilemma"
"""The entry of the metadata of ``model.safetensors`` that :mod:`trilemma.trial.facts` writes."""

_LEARNED: dict[str, Path] = {}
"""By digest, each tensor that this process loaded from a run; a digest knows it in another module as well."""


def remember_learned(network: nn.Module, folder: Path) -> None:
    """Remember the trained weights of a network that was loaded from the run in ``folder``."""
    for parameter in network.parameters():
        if parameter.requires_grad and _tells(parameter):
            _LEARNED[tensors_digest({"": parameter})] = folder


def refuse_learned(recipe: Recipe, network: nn.Module | None) -> None:
    """Refuse a private training that would start from weights of a run.

    Args:
      recipe: its ``weights`` may name a file.
      network: the user's own, or None.

    Raises:
      PrivacyError: its weights are of a run.
    """
    if not recipe.private:
        return
    if recipe.weights and _is_of_a_run(Path(recipe.weights)):
        raise PrivacyError(
            f"the weights {recipe.weights} are of a run, and the budget would not count what they learned: start from "
            "others, or, if that run's images were public, save its tensors alone in another file"
        )
    for name, parameter in network.named_parameters() if network is not None and _LEARNED else ():
        if folder := _LEARNED.get(tensors_digest({"": parameter})):
            raise PrivacyError(
                f"{name} of your network was learned by the run in {folder}, which the budget would not count: start "
                "from other weights, or, if that run's images were public, load_state_dict its model.safetensors"
            )


def _tells(tensor: Tensor) -> bool:
    """Whether a tensor cannot be one of zeros or ones as a layer begins with."""
    return tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any())


def _is_of_a_run(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return "version" in json.loads((file.metadata() or {}).get(FACTS, "{}"))
    except (OSError, SafetensorError, ValueError):
        return False  # loading it says what is wrong
