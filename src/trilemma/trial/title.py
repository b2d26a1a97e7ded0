"""What a run is called: as its trial in the study that it is part of, or by its own ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.data.options import one_form
from trilemma.errors import InputError
from trilemma.files import read_json
from trilemma.titles import trial_title, trial_titles
from trilemma.trial.run import STUDY


def title_of_run(folder: Path, config: Mapping[str, Any]) -> str:
    """The title of a run's trial: one alone, or, if the run is in the folder of a study, as the study calls it.

    Args:
      folder: the folder of the run.
      config: its ``config.json``.
    """
    run = folder.resolve()
    study = run.parent.parent / STUDY  # STUDY/runs/ID
    if study.is_file():
        try:
            title = trial_titles(read_json(study)["trials"]).get(run.name)
        except (InputError, KeyError, TypeError, ValueError, AttributeError):  # no study, or a damaged one
            title = None
        if title is not None:
            return title
    return trial_title(_trial(config))


def whole_request(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the data of a run, those that were left out too; the name is "own images" for the caller's own."""
    request = {name: value for name, value in config["data"]["request"].items() if name != "removal"}
    try:
        return dict(one_form(request))
    except (InputError, KeyError):  # images of the caller's own, or of another version
        return {"name": "own images"} | request


def _trial(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run as ``study.json`` would hold its trial."""
    removal = config["data"]["request"].get("removal")
    return {"recipe": config["recipe"], "data": whole_request(config), "removal": removal}
