"""Which network a recipe builds.

Training, estimates, the cache of pre-training and the loading of finished runs all ask here.  No other code decides
which layers a recipe builds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.models import build
from trilemma.models.layers import Norm
from trilemma.models.prior import PRIORS, features_in
from trilemma.models.timm import PREFIX
from trilemma.outside import is_outside
from trilemma.seeds import generator_for
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
        if timm and recipe.has("ws"):
            raise InputError(f"ws does not apply to {recipe.model}, whose layers are timm's: leave it out")
        if is_outside(recipe.model, "models"):
            codes = [code for code in ("gn", "ws") if recipe.has(code)]
            if codes:
                raise InputError(f"{codes[0]} does not apply to {recipe.model}, whose layers are its own: leave it out")
            return cls(recipe.model, "none", recipe.norm_groups, recipe.norm_first, standardized=False)
        norm: Norm = "group" if recipe.has("gn") else "none" if recipe.private else "batch"
        return cls(recipe.model, norm, recipe.norm_groups, recipe.norm_first, recipe.has("ws"), recipe.trained)

    def build(
        self, classes: int, image_shape: tuple[int, int, int], generator: torch.Generator, *, weights: str = ""
    ) -> nn.Module:
        """The network, with initial weights from ``generator``, or of a network of timm from where ``weights`` says;
        for a prior, the part that is trained, which is a linear head that starts at zero."""
        if self.model in PRIORS:
            head = nn.Linear(features_in(self.model), classes, bias=False)
            nn.init.zeros_(head.weight)
            return head
        return build(
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


def network_for(recipe: Recipe, data: Dataset) -> nn.Module:
    """The recipe's network, on the CPU, with its initial weights."""
    generator = generator_for(recipe.seed, "weights")
    return Architecture.of(recipe).build(len(data.classes), data.image_shape, generator, weights=recipe.weights)


def backbone_for(recipe: Recipe, data: Dataset) -> nn.Module:
    """The network to pre-train: its initial weights depend on ``prior_seed`` and not on the training's own seed."""
    return network_for(replace(recipe, seed=recipe.prior_seed), data)
