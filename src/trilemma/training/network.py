"""Which network a recipe builds.

Training, estimates, the cache of pre-training and the loading of finished runs all ask here.  No other code decides
which layers a recipe builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.models import build
from trilemma.models.layers import Norm
from trilemma.models.own import own_network
from trilemma.models.prior import PRIORS, features_in
from trilemma.models.timm import PREFIX
from trilemma.networks import OF_LAYERS
from trilemma.outside import is_outside
from trilemma.seeds import generator_for
from trilemma.standardization import StandardizedConv2d
from trilemma.training.recipe import Recipe


@dataclass(frozen=True)
class Architecture:
    """Everything that a recipe says about its network, except the initial weights.

    Attributes:
      model: its name in the catalog, or a prior's.
      norm: "group", "none", or "batch" (without a budget only).
      norm_groups: groups of a group norm.
      norm_first: whether norm comes before ReLU; None: the network's usual order.
      standardized: whether weights of convolutions are standardized.
      trained: "all" layers, or the "last" alone.
    """

    model: str
    norm: Norm
    norm_groups: int
    norm_first: bool | None
    standardized: bool
    trained: str = "all"

    @classmethod
    def of(cls, recipe: Recipe) -> Architecture:
        """The architecture that a recipe asks for.

        Raises:
          InputError: the recipe has a setting that its model does not take.
        """
        timm = recipe.model.startswith(PREFIX)
        if (recipe.weights or recipe.trained != "all") and not timm:
            raise InputError(f"weights and trained are for networks of timm, not for {recipe.model}: leave them out")
        if timm:
            refuse_techniques(recipe, {"ws": "whose layers are timm's"})
        if is_outside(recipe.model, "models"):
            refuse_techniques(recipe, dict.fromkeys(OF_LAYERS, "whose layers are its own"))
            return cls(recipe.model, "none", recipe.norm_groups, recipe.norm_first, standardized=False)
        norm: Norm = "group" if recipe.has("gn") else "none" if recipe.private else "batch"
        return cls(recipe.model, norm, recipe.norm_groups, recipe.norm_first, recipe.has("ws"), recipe.trained)

    def build(
        self, classes: int, image_shape: tuple[int, int, int], generator: torch.Generator, *, weights: str = ""
    ) -> nn.Module:
        """The network, with initial weights from ``generator``, or of a network of timm from where ``weights`` says;
        for a prior, the part that is trained, which is a linear head that starts at zero.

        Raises:
          InputError: the network has no layer for a technique that was asked for.
        """
        if self.model in PRIORS:
            head = nn.Linear(features_in(self.model), classes, bias=False)
            nn.init.zeros_(head.weight)
            return head
        network = build(
            self.model,
            classes=classes,
            image_shape=image_shape,
            norm=self.norm,
            groups=self.norm_groups,
            norm_first=self.norm_first,
            standardized=self.standardized,
            weights=weights,
            last_alone=self.trained == "last",
            generator=generator,
        )
        for code, asked, layer in (
            ("gn", self.norm == "group", nn.GroupNorm),
            ("ws", self.standardized, StandardizedConv2d),
        ):
            if asked and not any(isinstance(module, layer) for module in network.modules()):
                raise InputError(f"{code} does not apply to {self.model}, which has no layer for it: leave {code} out")
        return network


def refuse_techniques(recipe: Recipe, why: Mapping[str, str], model: str = "") -> None:
    """Refuse techniques that would change nothing of a network.

    Args:
      recipe: names the techniques and the network.
      why: by technique, what the network is that it does not apply ("which has no norm layers").
      model: what the network is called, where that is not the recipe's model.

    Raises:
      InputError: the recipe has one of these techniques.
    """
    for code, reason in why.items():
        if recipe.has(code):
            rest = ",".join(code for code in recipe.techniques if code not in why) or "none"
            raise InputError(f"{code} does not apply to {model or recipe.model}, {reason}: use --techniques {rest}")


def network_for(recipe: Recipe, data: Dataset) -> nn.Module:
    """The recipe's network, on the CPU, with its initial weights."""
    generator = generator_for(recipe.seed, "weights")
    return Architecture.of(recipe).build(len(data.classes), data.image_shape, generator, weights=recipe.weights)


def given_network(network: nn.Module | None, data: Dataset) -> nn.Module | None:
    """A copy of the network that a user gives for these data; None where none is given.

    Raises:
      InputError: it cannot be trained on them.
    """
    return None if network is None else own_network("your network", network, len(data.classes), data.image_shape)


def backbone_for(recipe: Recipe, data: Dataset) -> nn.Module:
    """The network to pre-train: its initial weights depend on ``prior_seed`` and not on the training's own seed."""
    return network_for(replace(recipe, seed=recipe.prior_seed), data)
