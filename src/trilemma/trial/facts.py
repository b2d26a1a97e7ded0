"""The metadata of ``model.safetensors``, with which it is used and judged without the data it was trained on.

One entry of the file's metadata holds it as JSON (several would be written in an order of their own each time).  All of
it may be released with the weights: names and sizes are public, and the privacy statement speaks of the mechanism.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma.errors import InputError
from trilemma.files import reading
from trilemma.training.learned import learned_names
from trilemma.training.loop import Training
from trilemma.trial.run import guaranteed
from trilemma.trial.statement import guarantee_in_words
from trilemma.trial.weights import metadata_with_digest
from trilemma.version import __version__

_STATED = (
    "epsilon",
    "delta",
    "unit",
    "neighbouring",
    "sampling",
    "noise_multiplier",
    "clipping_norm",
    "updates",
    "accountant",
    "noise_source",
    "covered",
)
"""What is taken from the privacy record."""


@dataclass(frozen=True)
class Facts:
    """What using a model needs.

    Attributes:
      recipe: fingerprint of the recipe that the weights were trained by.
      model: its name there.
      classes: names, by index.
      image_shape: (C, H, W).
      mean, std: per channel, by which images are normalized, in units of pixel / 255.
      privacy: what is guaranteed, with ``statement`` in words.
    """

    recipe: str
    model: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    privacy: Mapping[str, Any]


def metadata_of(
    training: Training,
    privacy: Mapping[str, Any] | None,
    canaries: Mapping[str, Any] | None,
    weights: Mapping[str, Tensor],
) -> dict[str, str]:
    """The metadata of ``model.safetensors``.

    Args:
      training: the training, at its end.
      privacy: its privacy record, or None.
      canaries: what its canaries prove, or None; a claim that they contradict is not stated.
      weights: what the file will hold, by name.
    """
    stated = {} if privacy is None else {name: privacy[name] for name in _STATED}
    if stated and not guaranteed({"privacy": privacy, "canaries": canaries}):
        stated["epsilon"] = None
    recipe, data = training.recipe, training.data
    values = {
        "version": __version__,
        "recipe": recipe.fingerprint,
        "model": recipe.model,
        "classes": list(data.classes),
        "image_shape": list(data.image_shape),
        "mean": list(data.mean),
        "deviation": list(data.std),
        "learned": learned_names(training.state.model, training.start),  # the others may be used again
        "privacy": stated | {"statement": guarantee_in_words(privacy, canaries)},
    }
    return metadata_with_digest(values, weights)


def stored_facts(values: Mapping[str, Any], path: Path) -> Facts:
    """The facts of a file of weights.

    Args:
      values: as :func:`~trilemma.trial.weights.read_weights` returns them.
      path: the path of the file, for errors.

    Raises:
      InputError: the file does not say what is needed, as those of version 0.1 and of other programs.
    """
    if not values:
        raise InputError(
            f"{path} does not say which images and classes it is for, as files of this version do: train again, or "
            "use the network by itself (trilemma audit takes its predictions)"
        )
    with reading(path):
        channels, height, width = (int(side) for side in values["image_shape"])
        classes = tuple(values["classes"])
        if not all(isinstance(name, str) for name in classes):
            raise TypeError("classes must be text")
        mean, std = (tuple(float(v) for v in values[name]) for name in ("mean", "deviation"))
        if not len(mean) == len(std) == channels:
            raise ValueError("mean and deviation must have one number per channel")
        privacy = dict(values["privacy"])
        if privacy.get("epsilon") is not None:
            privacy["epsilon"] = float(privacy["epsilon"])
        return Facts(
            str(values["recipe"]),
            str(values["model"]),
            classes,
            (channels, height, width),
            mean,
            std,
            privacy,
        )
