"""Resolve the data set that a training uses: the one its recipe was made for, and what is asked for on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.data.named import DEFAULT
from trilemma.data.options import LIMITS, one_form
from trilemma.errors import InputError
from trilemma.training.recipe import read_recipe


def recipe_data(source: str | Path) -> dict[str, Any] | None:
    """Arguments of :func:`trilemma.load_data` for the data that a recipe was made for (its table ``data``), or None
    where it names none.

    >>> recipe_data("cifar10-eps8")
    {'name': 'cifar10'}

    Raises:
      InputError: no such name or file, no TOML, or something other than a table with a name.
    """
    data = read_recipe(source).get("data")
    if data is not None and not (isinstance(data, dict) and isinstance(data.get("name"), str)):
        raise InputError(f'data in the recipe {source} must be a table with a name, like {{name = "cifar10"}}')
    return data


def data_request(recipe: str | Path | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`trilemma.load_data` for a training, alone or as a trial of a study.

    >>> data_request("celeba-smiling-eps8", {"name": "celeba", "limit": 100})
    {'name': 'celeba', 'target': 'Smiling', 'protected': 'Male', 'size': 64, 'limit': 100}

    Args:
      recipe: its name or file, or None.
      asked: the arguments that the command line or a study gives; None counts as left out, and so does a limit of 0.

    Raises:
      InputError: the recipe was made for other data, or an option cannot be used with these.
    """
    chosen = {option: value for option, value in asked.items() if value is not None}
    made_for = recipe_data(recipe) if recipe is not None else None
    if made_for is None:
        request = {"name": DEFAULT} | chosen
    elif chosen.get("name", made_for["name"]) != made_for["name"]:
        raise InputError(
            f"the recipe {recipe} was made for {made_for['name']}, not for {chosen['name']}: leave the data out, or "
            "give its settings one by one (model, epsilon, batch_size, epochs, learning_rate, ...)"
        )
    else:
        request = made_for | chosen
    one_form(request)  # whatever these data cannot have is refused before anything is read or written
    return {option: value for option, value in request.items() if option not in LIMITS or value != 0}
