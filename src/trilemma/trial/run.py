"""A run on disk: the files that a trial leaves in a folder, each written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.checksums import check
from trilemma.errors import InputError
from trilemma.files import append_line, parse_json, read_json, read_text, reading, written
from trilemma.hints import one_line
from trilemma.measures import RUN_HEADLINE
from trilemma.networks import described_network
from trilemma.rounding import lower, upper
from trilemma.training.recipe import Recipe
from trilemma.words import BEGUN_EARLIER, SEEDED_NOISE, clean

if TYPE_CHECKING:
    from torch import nn

    from trilemma.data.dataset import Dataset

CONFIG, RESULT, HISTORY = "config.json", "result.json", "history.jsonl"
SIGNALS, WEIGHTS = "signals.parquet", "model.safetensors"
SHADOWS = "shadows.private"
"""The folder of a run's shadow models (:mod:`trilemma.trial.shadows`); like its signals, not for release."""
STUDY = "study.json"
"""What holds the trials of a study, two folders above the runs of these."""
TRAINED = "trained.json"
"""What is known once the training is over, including the privacy record; it exists until ``result.json`` holds all of
it."""
SEALED = (CONFIG, HISTORY, WEIGHTS, SIGNALS)
"""Files whose SHA-256 is in ``result.json``: neither the fingerprint's, which would confirm a guess of the data, nor
the card's, to which people may add."""


PUT_BACK = "put the file back, or use another --out and, where there is a budget, count both"
"""How to mend a file that only a second training could make again."""


@dataclass(frozen=True)
class Run:
    """A finished trial, as read from its folder.

    Attributes:
      folder: the folder of the run.
      recipe: the recipe of the training.
      result: ``result.json``.
      notes: sentences about what happened (a damaged checkpoint, a slow method).
    """

    folder: Path
    recipe: Recipe
    result: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        stands = guaranteed(self.result)
        budget = "no privacy guarantee" if stands is None else f"ε = {upper(stands['epsilon'])}"
        headline = self.result.get("headline_attack", RUN_HEADLINE)
        auc = self.result["attacks"].get(headline, {}).get("auc", float("nan"))
        return (
            f"<Run {self.folder}: {self._network()}, {budget}; accuracy {self.result['accuracy']:.3f}, "
            f"AUC {auc:.3f} ({headline})>"
        )

    def _network(self) -> str:
        try:
            return clean(described_network(read_json(self.folder / CONFIG))[0])
        except InputError:  # the folder was moved or deleted
            return self.recipe.model

    @property
    def not_private(self) -> str | None:
        """Why a run with a budget has no epsilon, in one line: the check that it failed, or the canaries that
        contradict it; otherwise None."""
        return why_not_private(self.result)

    @property
    def not_for_release(self) -> str | None:
        """Why the model of a run with a budget must not be released although its epsilon is right; else None."""
        return why_not_for_release(self.result)

    @property
    def contradicted(self) -> str | None:
        """Why the canaries of a run contradict its epsilon; otherwise None."""
        return why_contradicted(self.result)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Run:
        """Read a finished run.

        Raises:
          InputError: the folder holds no finished run, or a file of it is not what was written.
        """
        path = Path(folder)
        result = check(path / RESULT)
        with reading(path / RESULT):  # one without a checksum is of an earlier version, or damaged
            if missing := {"accuracy", "attacks", "privacy"} - result.keys():
                raise KeyError(min(missing))
        config = read_json(path / CONFIG)
        with reading(path / CONFIG):
            recipe = Recipe.from_dict(config["recipe"])
        return cls(path, recipe, result)


def of_first_version(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is of version 0.1.0, which kept the fingerprint of the data in it."""
    data = config.get("data")
    return isinstance(data, Mapping) and isinstance(data.get("fingerprint"), str)


def unfinished(folder: Path, missing: str) -> InputError:
    """The refusal of a run that lacks a file, with how to finish the run, or to mend it if it was finished.

    Args:
      folder: of the run.
      missing: name of the file.

    Raises:
      InputError: its ``config.json`` cannot be read.
    """
    mend = "the run is not finished; run the same command again to resume it"
    if (folder / RESULT).exists():
        mend = "put the file back"
    elif not (folder / WEIGHTS).exists() and of_first_version(read_json(folder / CONFIG)):
        mend = BEGUN_EARLIER
    return InputError(f"{folder} holds no {missing}: {mend}")


def why_not_private(result: Mapping[str, Any]) -> str | None:
    """Why a run with a budget has no epsilon, in one line, from its ``result.json`` or an ``audit.json`` of it: the
    part of its truth check that it failed, or else the canaries that contradict it.  Otherwise None."""
    return _why_untrue(result) or why_contradicted(result)


def _why_untrue(result: Mapping[str, Any]) -> str | None:
    truth = (result.get("privacy") or {}).get("truth")
    if truth is None or truth["passed"]:  # runs of older versions have no truth check
        return None
    failed = {name: check for name, check in truth["checks"].items() if not check["passed"]}
    name, check = next(iter(failed.items()))
    ends = [check["limit"]] if "limit" in check else check["interval"]
    allowed = " to ".join(_number(end) for end in ends)
    more = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    return (
        f"not private (truth check failed): {name} is {_number(check['value'])}, allowed is "
        f"{'at most ' if len(ends) == 1 else ''}{allowed} ({check['what']}){more}"
    )


def why_contradicted(result: Mapping[str, Any]) -> str | None:
    """By which lower bound the canaries of a run contradict its epsilon, in one line, from its ``result.json``; else
    None."""
    record = result.get("canaries")
    if not record or not record["contradicted_by"]:
        return None
    kind = record["contradicted_by"][0]
    return (
        f"the canaries contradict ε = {upper(record['claim'])}: it is at least {lower(record[kind]['epsilon'], 2)} "
        f"({kind} bound of {record['count']:,} {record['kind']} canaries, which is wrong for at most 1 in "
        f"{1 / record['significance']:.0f} correct trainings): accounting, sampling, clipping or noise is wrong"
    )


def guaranteed(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The privacy record of a result whose claim stands; None where the run had no budget, failed its truth check, or
    is contradicted by its own canaries."""
    privacy: Mapping[str, Any] | None = result.get("privacy")
    stands = privacy and privacy["epsilon"] is not None and not why_contradicted(result)
    return privacy if stands else None


def why_not_for_release(result: Mapping[str, Any]) -> str | None:
    """A sentence where the noise of a private run can be drawn again, from its ``result.json``; else None."""
    privacy = result.get("privacy")
    secret = ("secret", "operating system, not recorded")  # the current name, and that of version 0.1
    if not privacy or privacy.get("noise_source") in secret:
        return None
    return SEEDED_NOISE


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"


class History:
    """``history.jsonl``: one JSON line per evaluation."""

    def __init__(self, path: Path, keep: int) -> None:
        """Keep the first ``keep`` lines: later ones belong to updates that will be made again.

        Raises:
          InputError: the file is damaged or has fewer lines, or it cannot be written.
        """
        self._path = path
        lines = read_history(path)[:keep] if keep else []
        if len(lines) < keep:
            raise _damaged_history(path, f"the checkpoint records {keep} evaluations, and it has {len(lines)}")
        _write_history(path, lines)
        self.lines = len(lines)

    def append(self, values: dict[str, Any]) -> None:
        """Append a line, and wait until it is on the disk."""
        append_line(self._path, json.dumps(values, allow_nan=False))
        self.lines += 1


def read_history(path: Path) -> list[dict[str, Any]]:
    """What each line of ``history.jsonl`` holds, without a last one that was cut short; [] if there is no such file.

    Raises:
      InputError: it cannot be read, or holds something other than evaluations.
    """
    try:
        lines = read_text(path).splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):  # of a process that was killed: nobody was shown it
            lines.pop()
        values = [parse_json(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged_history(path, one_line(error)) from error
    for number, line in enumerate(values, 1):
        if not isinstance(line, dict) or type(line.get("update")) is not int:
            raise _damaged_history(path, f"line {number} is no evaluation")
    return values


def _write_history(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with written(path, private=True) as part:  # it may follow single examples, see `tracked`
        part.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), "utf-8")


def _damaged_history(path: Path, how: str) -> InputError:
    return InputError(f"{path} is missing or damaged ({how}): {PUT_BACK}")


def withdraw_epsilon(path: Path) -> None:
    """Remove epsilon from the lines of ``history.jsonl``, once the run turned out not to be private."""
    _write_history(path, [line | {"epsilon": None} for line in read_history(path)])


def load_network(run: Run, data: Dataset) -> nn.Module:
    """The network of a finished run, with its released weights, in evaluation mode on the CPU.

    Raises:
      InputError: the run's network was given from outside, or its weights do not fit.
    """
    import torch
    from torch import nn

    from trilemma.models.mapnet import map_network_width
    from trilemma.models.prior import PRIORS, OnMaps, PriorNetwork, fitted, fitted_maps
    from trilemma.training.inputs import shifts_of
    from trilemma.training.learned import remember_learned, stored_names
    from trilemma.training.network import network_for
    from trilemma.trial.weights import read_weights

    config = read_json(run.folder / CONFIG)
    if config["network"] != "recipe":
        raise InputError(
            f"{run.folder} was trained with a network of your own: use load_model({str(run.folder)!r}, network=...)"
        )
    network = network_for(run.recipe, data)
    network.load_state_dict(read_weights(run.folder / WEIGHTS)[1])
    remember_learned(network, run.folder, stored_names(run.folder / WEIGHTS))
    if run.recipe.model in PRIORS:
        assert isinstance(network, nn.Linear)
        prior = fitted(PRIORS[run.recipe.model], data.image_shape, run.recipe.prior_seed)
        network = PriorNetwork(prior, network, data.mean, data.std, shifts_of(run.recipe, data))
    elif map_network_width(run.recipe.model) is not None:
        local = fitted_maps(data.image_shape, run.recipe.prior_seed)
        network = OnMaps(local, network, data.mean, data.std)
    return network.eval().to(torch.device("cpu"))
