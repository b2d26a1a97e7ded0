"""Which settings a recipe chooses by budget: what is best without noise is not with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trilemma.training.recipe import Recipe, read_recipe

ByBudget = Mapping[str, tuple[Any, Any]]
"""The settings that a recipe chooses by budget, each with its values (without, with) one."""

_THE_BUDGET = ("epsilon", "delta")


def chosen_by_budget(source: str | Path) -> ByBudget:
    """What the tables ``[with_budget]`` and ``[without_budget]`` of a recipe make different.

    >>> chosen_by_budget("prior-study")
    {'learning_rate': (350, 1000)}

    Args:
      source: the recipe's name or file.

    Raises:
      InputError: no such name or file, or no TOML.
    """
    values: dict[str, Any] = {**{f.name: f.default for f in fields(Recipe)}, **read_recipe(source)}
    without, private = (values | values.get(table, {}) for table in ("without_budget", "with_budget"))
    names = [f.name for f in fields(Recipe) if f.name not in _THE_BUDGET]
    return {name: (without[name], private[name]) for name in names if without[name] != private[name]}
