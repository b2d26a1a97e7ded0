"""``trilemma train``: train one classifier, attack it and measure it."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trilemma.cli.canaries import canaries_of
from trilemma.cli.columns import columns_of
from trilemma.cli.required import required_by, status_of
from trilemma.cli.table import ALARM, describe_run
from trilemma.cli.terminal import show, show_alarm, show_error
from trilemma.data import Dataset, load_data
from trilemma.data.named import DEFAULT
from trilemma.errors import InputError
from trilemma.files import reading
from trilemma.training.execution import Execution
from trilemma.training.fitting import fit_to
from trilemma.training.memory import parse_memory
from trilemma.training.ranks import RankLost, Ranks, ranked_device
from trilemma.training.recipe import NAMED, Recipe, default_recipe_name, load_recipe
from trilemma.training.recipe_data import data_request
from trilemma.trial.canary_record import what_canaries_can_show
from trilemma.trial.display import TrainingDisplay
from trilemma.trial.gate import refuse_what_no_training_measures
from trilemma.trial.listeners import listener_for
from trilemma.trial.progress import Stopped, TrialProgress
from trilemma.trial.run import RESULT
from trilemma.trial.train import follow, train
from trilemma.words import SEEDED_NOISE, clean

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
"""The options that set keys of a recipe."""


def train_command(options: argparse.Namespace) -> int:
    recipe, canaries = recipe_of(options), canaries_of(options)
    required = required_by(options, {"attacks": recipe.attacks, "measures": recipe.measures})
    if options.minutes is not None and not options.minutes > 0:
        raise InputError(f"--minutes must be more than 0, not {options.minutes}")
    end = time.monotonic() + 60 * (math.inf if options.minutes is None else options.minutes)
    execution = execution_of(options)
    ranks = Ranks.joined(ranked_device(execution.resolved_device()))
    if not ranks.first:
        return _follow(options, recipe, execution, ranks)
    try:
        with TrainingDisplay("training") as display:
            data = load_data(**data_of(options), progress=display.data)
            for note in data.notes:
                display.say(f"note: {note}")
            groups = data.test.groups
            refuse_what_no_training_measures(required, groups=groups is not None and len(set(groups.tolist())) > 1)
            recipe, fitted = _fitted(options, recipe, data)
            if fitted:
                display.say(f"note: {fitted}")
            progress: Callable[[TrialProgress], None] = display
            finished = (Path(options.out) / RESULT).exists()
            if finished and options.listen:
                display.say(f"note: the run in {options.out} is finished, so --listen has nothing to follow")
            if not finished:
                facts = [_where_the_noise_is(recipe, options.out)] if recipe.private else []
                if recipe.private and canaries and recipe.epsilon and recipe.delta:
                    facts.append(what_canaries_can_show(canaries, recipe.epsilon, recipe.delta))
                progress = _Announced(display, _recipe_name(options), facts)
            run = train(
                recipe,
                data,
                options.out,
                execution=execution,
                ranks=ranks,
                track=options.track,
                canaries=canaries,
                progress=progress,
                listeners=[] if finished else [listener_for(n, Path(options.out), recipe) for n in options.listen],
                should_stop=lambda: display.should_stop() or time.monotonic() > end,
            )
    except Stopped as stopped:
        show_error(f"trilemma: {stopped}")
        return _end(ranks, 130)
    except RankLost as lost:
        show_error(f"trilemma: {lost}")
        return _end(ranks, 1)
    with reading(run.folder / RESULT):  # a finished run is read back
        for line in describe_run(run).split("\n"):
            (show_alarm if line.startswith(ALARM) else show)(line)
    if wrong := run.not_private:
        show_error(f"trilemma: {wrong}")
        return _end(ranks, 1)
    return _end(ranks, status_of(required, run.result))


class _Announced:
    """A ``progress`` callback that first says which recipe is followed, and facts such as where the noise is, once a
    training is under way: not before it may yet be refused, and before its first checkpoint."""

    def __init__(self, display: TrainingDisplay, recipe: str, facts: list[str]) -> None:
        self._display, self._recipe, self._facts = display, recipe, facts

    def __call__(self, step: TrialProgress) -> None:
        if step.about:
            step = replace(step, about="\n".join([f"recipe {self._recipe}: {step.about}", *filter(None, self._facts)]))
        self._display(step)


def _recipe_name(options: argparse.Namespace) -> str:
    """The recipe as a person would name it: a name, a file, or the default of the data."""
    return clean(options.recipe) if options.recipe else f"{default_recipe_name(options.data or DEFAULT)} (the default)"


def _fitted(options: argparse.Namespace, recipe: Recipe, data: Dataset) -> tuple[Recipe, str | None]:
    """The recipe, fitted to few examples unless somebody asked for its batch: on the command line, or in a file."""
    named = options.recipe is None or options.recipe in NAMED
    batch_given = options.batch_size is not None or any(
        pair.split("=")[0].strip() == "batch_size" for pair in options.set
    )
    return fit_to(recipe, len(data.train)) if named and not batch_given else (recipe, None)


def _where_the_noise_is(recipe: Recipe, out: str) -> str:
    if not recipe.keeps_noise_secret:
        return f"caution: {SEEDED_NOISE}"
    return (
        f"secret: until the run is done, the checkpoints ({Path(out) / 'checkpoint*.safetensors'}) hold the key of the "
        "noise: let nobody else read them, and make no copies; they are deleted at the end"
    )


def _follow(options: argparse.Namespace, recipe: Recipe, execution: Execution, ranks: Ranks) -> int:
    """The work of every process except the first: it has no display and no folder, and it ignores Ctrl-C, since the
    first process saves the training and then tells the others to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        data = load_data(**data_of(options))
        follow(_fitted(options, recipe, data)[0], data, ranks, execution=execution)
    except RankLost as lost:
        show_error(f"trilemma: {lost}")
        return _end(ranks, 1)
    return _end(ranks, 0)


def _end(ranks: Ranks, status: int) -> int:
    """Return the status once everything is written.  One of several processes exits without the libraries' shutdown
    code, in which communication threads sometimes abort ("terminate called without an active exception"); torchrun
    would report that as a failure."""
    if ranks.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def data_options(options: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of ``load_data`` that options set."""
    return {
        "data_dir": options.data_dir,
        "skew": options.skew,
        "target": options.target,
        "protected": options.protected,
        "columns": columns_of(options),
        "size": options.size,
        "limit": options.limit,
        "test_limit": options.test_limit,
        "seed": options.data_seed,
    }


def data_of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``load_data``: the options, on top of the data that the recipe was made for."""
    request = {"name": options.data} | data_options(options)
    data_dir = request.pop("data_dir")
    return data_request(options.recipe, request) | ({} if data_dir is None else {"data_dir": data_dir})


def execution_of(options: argparse.Namespace) -> Execution:
    """The execution settings that the command line requests."""
    memory = None if options.memory is None else parse_memory(options.memory)
    return Execution(options.device, options.physical_batch, options.compute, memory=memory)


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that the command line requests: a named one or a file, with the options on top.

    Raises:
      InputError: an option has no KEY=VALUE, or the recipe cannot be loaded.
    """
    overrides: dict[str, Any] = {}
    for pair in options.set:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set takes KEY=VALUE, not {pair!r}")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = text
    overrides |= {name: getattr(options, name) for name in _OVERRIDES if getattr(options, name) is not None}
    return load_recipe(options.recipe or default_recipe_name(options.data or DEFAULT), **overrides)
