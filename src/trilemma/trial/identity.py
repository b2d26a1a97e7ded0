"""Which run a folder holds: by ``config.json``, the same run is resumed and another one is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError, check_type
from trilemma.files import read_json
from trilemma.training.canaries import Canaries
from trilemma.training.recipe import Recipe
from trilemma.trial.fingerprint import FINGERPRINT, read_fingerprint
from trilemma.trial.run import CONFIG, RESULT, of_first_version
from trilemma.words import BEGUN_EARLIER


def config_of(
    recipe: Recipe,
    data: Dataset,
    network: nn.Module | None,
    tracked: tuple[int, ...],
    canaries: Canaries | None = None,
) -> dict[str, Any]:
    """``config.json``.

    Args:
      recipe: all choices.
      data: the data of the trial.
      network: the user's own module, or None.
      tracked: training examples that every evaluation records.
      canaries: extra examples that audit the training, or None.
    """
    check_type("recipe", recipe, Recipe, "trilemma.Recipe (load_recipe finds one by its name)")
    check_type("data", data, Dataset, "trilemma.Dataset (load_data makes one)")
    return {
        "recipe": recipe.to_dict(),
        "data": {
            "request": dict(data.request),
            "examples": len(data.train),
            "test_examples": len(data.test),
            "classes": list(data.classes),
            "groups": None if data.group_names is None else list(data.group_names),
            "source": data.source,
        },
        "network": "recipe" if network is None else _signature(network),
        "track": list(tracked),
        **({"canaries": canaries.to_dict()} if canaries else {}),
    }


def _other_data_seed(stored: dict[str, Any], config: dict[str, Any]) -> str:
    """How to go on with a run whose data were drawn by another seed: in version 0.1.0 that was the training's own."""
    requests = [values["data"].get("request") or {} for values in (stored, config)]
    old, new = (dict(request) for request in requests)
    seed, other = old.pop("seed", 0), new.pop("seed", 0)
    return f"its data were drawn by seed {seed}, so add --data-seed {seed}; or " if old == new and seed != other else ""


def _signature(network: nn.Module) -> str:
    """Distinguishes the user's networks by class and by the shapes of their tensors (not by what their forward
    does)."""
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()
    return f"given: {type(network).__name__} {digest[:16]}"


def holds_finished_run(folder: Path, config: dict[str, Any], fingerprint: str) -> bool:
    """Whether ``folder`` holds a finished run of ``config`` on the data of ``fingerprint``.

    Raises:
      InputError: it holds another run, or other files.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder as --out")
    if not (folder / CONFIG).exists():
        first = (f"{CONFIG}.part", f"{FINGERPRINT}.part", FINGERPRINT)  # of a run that was killed at its very start
        strangers = [name for name in os.listdir(folder) if not name.startswith(".") and name not in first]
        if strangers:
            raise InputError(f"{folder} holds other files ({strangers[0]}, ...): give a new or empty folder as --out")
        return False
    stored = read_json(folder / CONFIG)
    for part, words in (
        ("recipe", "another recipe"),
        ("data", "other data"),
        ("network", "another network"),
        ("track", "other tracked examples"),
        ("canaries", "other canaries (or none)"),
    ):
        old: Any = stored.get(part)
        new: Any = config.get(part)
        if part == "data":  # the request may differ, but not the data
            old, new = read_fingerprint(folder, stored), fingerprint
        elif part == "recipe" and isinstance(old, dict) and new["epsilon"] is None:  # then no noise has to be secret
            old = old | {"secret_noise": new["secret_noise"]}
        if old != new:
            if of_first_version(stored) and not (folder / RESULT).exists():
                raise InputError(f"{folder}: {BEGUN_EARLIER}")
            changed = ""
            if part == "recipe" and isinstance(old, dict):
                keys = [key for key in {*old, *new} if old.get(key) != new.get(key)]
                changed = f" ({', '.join(sorted(keys))})"
            mend = _other_data_seed(stored, config) if part == "data" else ""
            raise InputError(
                f"{folder} holds a run with {words}{changed}: {mend}choose another --out, or delete that folder"
            )
    return (folder / RESULT).exists()
