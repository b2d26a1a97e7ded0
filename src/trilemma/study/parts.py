"""Parts from outside are tried before the first trial of a study, not in a worker after hours of other trials."""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError, PrivacyError
from trilemma.outside import is_outside, resolve
from trilemma.privacy.validation import known_check
from trilemma.study.job import load_for
from trilemma.study.trials import Trial
from trilemma.training.learned import refuse_learned
from trilemma.training.network import network_for
from trilemma.training.optimizers import optimizer_for
from trilemma.training.own import try_techniques
from trilemma.training.recipe import Recipe
from trilemma.trial.preflight import refuse_wrong_parts


def refuse_parts_that_fail(trials: Iterable[Trial], data_dir: str | None) -> None:
    """Refuse a study that names parts from outside which a trial of it would refuse.

    Each combination of parts is tried once on each data set.  Where data of the package cannot be loaded here (on a
    cluster, they may be on other machines), what needs them is left to the trials.

    Args:
      trials: those that are still to be run.
      data_dir: the folder to search for data first, or None.

    Raises:
      InputError: a part cannot be imported or called, or returns something else than it must.
      PrivacyError: the guarantee would not cover a network.
    """
    tried = set()
    for trial in trials:
        recipe, own_data = trial.recipe, is_outside(str(dict(trial.data)["name"]), "data")
        parts = (trial.data, recipe.from_outside, recipe.private, recipe.momentum, recipe.weight_decay)
        if parts in tried or not (own_data or recipe.from_outside):
            continue
        tried.add(parts)
        for kind, name in recipe.from_outside:
            resolve(name, kind)
        try:
            data = load_for(json.dumps(dict(trial.data), sort_keys=True), data_dir)
        except InputError:
            if own_data:
                raise
            continue
        _try(recipe, data)
    load_for.cache_clear()  # the workers have data of their own


def _try(recipe: Recipe, data: Dataset) -> None:
    """Call every part from outside as a training would, with made-up values."""
    refuse_wrong_parts(recipe, data)
    if not {"models", "techniques", "optimizers"} & {kind for kind, _ in recipe.from_outside}:
        return
    network = network_for(recipe, data)
    if recipe.private and is_outside(recipe.model, "models"):
        try:
            refuse_learned(recipe, network)
            known_check(network, data.image_shape, torch.device("cpu"))
        except PrivacyError as error:
            raise PrivacyError(f"{recipe.model}: {error}") from error
    try_techniques(recipe, network)
    optimizer_for(recipe, network)
