"""``trilemma train``."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
import tomllib
from typing import Any

from trilemma.cli.table import describe_run
from trilemma.cli.terminal import show, show_error
from trilemma.cli.training_display import TrainingDisplay
from trilemma.data import load_data
from trilemma.errors import InputError
from trilemma.files import reading
from trilemma.training.execution import Execution
from trilemma.training.memory import parse_memory
from trilemma.training.ranks import RankLost, Ranks, ranked_device
from trilemma.training.recipe import Recipe, default_recipe_name, load_recipe, recipe_data
from trilemma.trial.run import RESULT
from trilemma.trial.train import Stopped, follow, train

_OVERRIDES = (
    "techniques",
    "model",
    "pretrain",
    "epsilon",
    "delta",
    "allow_large_delta",
    "clipping_norm",
    "batch_size",
    "epochs",
    "learning_rate",
    "views",
    "seed",
    "secret_noise",
)
"""Options that stand for keys of a recipe."""


def train_command(given: argparse.Namespace) -> int:
    recipe = recipe_of(given)
    if given.minutes is not None and not given.minutes > 0:
        raise InputError(f"--minutes must be more than 0, not {given.minutes}")
    end = time.monotonic() + 60 * (math.inf if given.minutes is None else given.minutes)
    execution = execution_of(given)
    ranks = Ranks.joined(ranked_device(execution.resolved_device()))
    if not ranks.first:
        return _follow(given, recipe, execution, ranks)
    try:
        with TrainingDisplay("training") as display:
            data = load_data(**data_of(given), progress=display.data)
            for note in data.notes:
                display.say(f"note: {note}")
            run = train(
                recipe,
                data,
                given.out,
                execution=execution,
                ranks=ranks,
                track=given.track,
                progress=display,
                should_stop=lambda: display.should_stop() or time.monotonic() > end,
            )
    except Stopped as stopped:
        show_error(f"trilemma: {stopped}")
        return _end(ranks, 130)
    except RankLost as lost:
        show_error(f"trilemma: {lost}")
        return _end(ranks, 1)
    with reading(run.folder / RESULT):  # a finished run is read back
        show(*describe_run(run).split("\n"))
    if run.not_private:
        show_error(f"trilemma: {run.not_private}")
        return _end(ranks, 1)
    return _end(ranks, 0)


def _follow(given: argparse.Namespace, recipe: Recipe, execution: Execution, ranks: Ranks) -> int:
    """The processes but the first: no display and no folder.  Ctrl-C is for the first, which saves and then says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        follow(recipe, load_data(**data_of(given)), ranks, execution=execution)
    except RankLost as lost:
        show_error(f"trilemma: {lost}")
        return _end(ranks, 1)
    return _end(ranks, 0)


def _end(ranks: Ranks, status: int) -> int:
    """All is written.  One of several processes ends without the libraries' own goodbyes, in which threads of the
    exchange abort now and then ("terminate called without an active exception"): torchrun would call it a failure."""
    if ranks.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def data_options(given: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``load_data``."""
    columns = None
    if given.columns is not None:
        pairs = [pair.split("=", 1) for pair in given.columns.split(",")]
        if any(len(pair) != 2 or not all(pair) for pair in pairs):
            raise InputError(f"--columns must be like image=picture,label=species, not {given.columns!r}")
        columns = {kind.strip(): name.strip() for kind, name in pairs}
    return {
        "data_dir": given.data_dir,
        "skew": given.skew,
        "target": given.target,
        "protected": given.protected,
        "columns": columns,
        "size": given.size,
        "limit": given.limit,
        "test_limit": given.test_limit,
        "seed": given.data_seed,
    }


def data_of(given: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``load_data``: what was asked for, on top of what the recipe was made for."""
    made_for = recipe_data(given.recipe) if given.recipe else None
    asked = {name: value for name, value in data_options(given).items() if value is not None}
    if made_for is None:
        return {"name": given.data or "digits"} | asked
    if given.data not in (None, made_for["name"]):
        raise InputError(
            f"the recipe {given.recipe} was made for {made_for['name']}, not for {given.data}: leave out --data, or "
            "give its settings one by one (--model, --epsilon, --batch-size, --epochs, --learning-rate, --set)"
        )
    return made_for | asked


def execution_of(given: argparse.Namespace) -> Execution:
    """How the command line says that trainings are computed."""
    memory = None if given.memory is None else parse_memory(given.memory)
    return Execution(given.device, given.physical_batch, given.compute, memory=memory)


def recipe_of(given: argparse.Namespace) -> Recipe:
    overrides: dict[str, Any] = {}
    for pair in given.set:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set takes KEY=VALUE, not {pair!r}")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = text
    overrides |= {name: getattr(given, name) for name in _OVERRIDES if getattr(given, name) is not None}
    return load_recipe(given.recipe or default_recipe_name(given.data or "digits"), **overrides)
