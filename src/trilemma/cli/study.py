"""``trilemma study``: run the missing trials of a study, and draw its page."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from trilemma.cli.closing import closing_lines
from trilemma.cli.study_display import StudyDisplay
from trilemma.cli.terminal import show, show_error
from trilemma.cli.train import execution_of
from trilemma.errors import InputError
from trilemma.files import alone_in, make_folder
from trilemma.hints import did_you_mean
from trilemma.machine import cores
from trilemma.study.file import DATA_OPTIONS, STUDIES, load_study
from trilemma.study.folder import StudyFolder
from trilemma.study.pool import Executor, Pool
from trilemma.study.runner import Settings, StudyProgress, progress_of, run_study
from trilemma.study.trials import MOST_TRIALS, Study, Trial, expand
from trilemma.version import __version__
from trilemma.words import SEEDED_NOISE_OF_STUDY, Rank


def study_command(options: argparse.Namespace) -> int:
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers must be at least 1, not {options.workers}")
    if options.seeds is not None and options.seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {options.seeds}")
    studies = plan(
        options.study,
        scale=options.scale,
        seeds=options.seeds,
        data=[parse_data(text) for text in options.data],
        rank=options.rank,
    )
    trials = {trial.id: trial for study in studies for trial in study.trials}
    if len(trials) > MOST_TRIALS and not options.yes:
        raise InputError(
            f"{len(trials)} trials are more than {MOST_TRIALS}: narrow the study (--seeds, --data), or add --yes"
        )
    if any(study.scale in LONG for study in studies):
        _announce(studies, trials, options)
    settings = Settings(options.data_dir, execution_of(options))
    executor = _executor(options, len(trials))
    return conduct(studies, Path(options.out), executor, settings, retry=options.retry, command=_command(options))


def _command(options: argparse.Namespace) -> str:
    """The command that gives the same study again, without what is of this machine alone: a file by its name."""
    words = ["trilemma", "study", options.study if options.study in STUDIES else Path(options.study).name]
    for option, value in (("--scale", options.scale), ("--seeds", options.seeds), ("--rank", options.rank)):
        words += [] if value is None else [option, str(value)]
    for text in options.data:
        words += ["--data", text]
    return shlex.join([*words, "--out", "DIR"])


LONG = ("medium",)
"""Scales whose studies take a night: what they need is checked, and their time estimated, before the first trial."""


def _announce(studies: list[Study], trials: dict[str, Trial], options: argparse.Namespace) -> None:
    """Refuse what cannot be finished here, and say how long the rest will take."""
    from trilemma.study.estimate import estimate
    from trilemma.study.needs import refuse_what_is_missing

    refuse_what_is_missing(trials.values(), options.data_dir)
    whole = estimate(replace(studies[0], trials=tuple(trials.values())), options.data_dir)
    if whole.seconds is not None:
        hours = f"{whole.seconds / 3600:.3g} core-hours"
        show(f"the whole study takes about {hours} on this machine ({whole.trials} trials)")


def plan(
    name: str,
    *,
    scale: str | None = None,
    seeds: int | None = None,
    data: list[dict[str, Any]] | None = None,
    rank: Rank | None = None,
) -> list[Study]:
    """The study with this name or file, or its parts if it has any; the figures of each are checked."""
    from trilemma.report.figures.catalog import check_figures

    studies, files = [], load_study(name)
    removing = [file for file in files if any(grid.removal for grid in file.grids)] or files
    for file in files:
        try:
            own = rank if file in removing else None
            studies.append(expand(file, scale=scale, seeds=seeds, data=data or (), rank=own))
        except InputError as error:  # some errors come from a recipe and do not name the study
            raise type(error)(str(error) if file.name in str(error) else f"the study {file.name}: {error}") from error
    for study in studies:
        check_figures(study)
    return studies


def conduct(
    studies: list[Study],
    out: Path,
    executor: Executor,
    settings: Settings,
    *,
    retry: bool = False,
    command: str,
) -> int:
    """Run the missing trials with a display, draw the page, and return the exit status."""
    from trilemma.study.parts import refuse_parts_that_fail

    folder = StudyFolder(out)
    trials: dict[str, Trial] = {trial.id: trial for study in studies for trial in study.trials}
    waiting = [name for name in trials if not folder.finished(name) and (retry or folder.reason(name) is None)]
    refuse_parts_that_fail([trials[name] for name in waiting], settings.data_dir)
    make_folder(out)
    with alone_in(out):
        for study in studies:
            folder.add(study, __version__, command=command)
        if retry:
            folder.forget_failures(trials)
        progress = progress_of(folder, trials.values())
        from trilemma.report.write import PAGE  # imported here: it takes a second, and a mistake is reported at once

        if any(trial.recipe.private and not trial.recipe.secret_noise for trial in trials.values()):
            show(f"caution: {SEEDED_NOISE_OF_STUDY}")
        show(f"the page will be {out / PAGE}, once the last trial is finished")
        with StudyDisplay(progress, executor.size) as display:
            whole = run_study(folder, progress, executor, settings, watch=display, should_stop=display.should_stop)
        page = _report(folder)
        for line in closing_lines(out):
            show(line)
    for note in folder.data_notes(sorted(progress.done)):
        show(f"note: {note}")
    return _ending(progress, whole, page)


def _report(folder: StudyFolder) -> Path:
    from trilemma.report.collect import report_of

    return report_of([folder])


def _ending(progress: StudyProgress, whole: bool, page: Path) -> int:
    trials = "trial is" if len(progress.trials) == 1 else "trials are"
    show(f"{len(progress.done)} of {len(progress.trials)} {trials} finished; the page is {page}")
    if progress.failed:
        show(f"{len(progress.failed)} failed (--retry runs them again):")
        for name, reason in progress.failed.items():
            show(f"  {name}  {progress.titles[name]}: {reason}")
    if not whole:
        show_error("trilemma: stopped; the same command resumes from there")
        return 130
    return 1 if progress.failed else 0


def _executor(options: argparse.Namespace, trials: int) -> Executor:
    if options.ray is not None:
        if options.workers is not None:
            raise InputError("--workers and --ray exclude each other: the cluster determines the number of workers")
        from trilemma.study.cluster import Cluster

        return Cluster(options.ray, options.device)
    return Pool(options.workers or default_workers(options.device, trials))


def default_workers(device: str, trials: int) -> int:
    """One worker per core on a CPU; a single one on an accelerator, which one trial keeps busy."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return max(1, min(cores(), trials)) if device == "cpu" else 1


def parse_data(text: str) -> dict[str, Any]:
    """Parse ``NAME[,OPTION=VALUE...]`` into arguments of load_data.

    >>> parse_data("cifar10s,skew=0.75")
    {'name': 'cifar10s', 'skew': 0.75}

    Raises:
      InputError: an option is unknown, or a value has the wrong type.
    """
    name, *parts = text.split(",")
    arguments: dict[str, Any] = {"name": name}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key not in DATA_OPTIONS or key in ("name", "columns"):
            raise InputError(
                f"--data {text}: {part!r} is not a data option{did_you_mean(key, DATA_OPTIONS)}: "
                "write for example cifar10s,skew=0.75"
            )
        arguments[key] = _value(key, value)
    return arguments


def _value(key: str, text: str) -> Any:
    if key in ("target", "protected", "test_split"):
        return text
    if key == "flips":
        if text not in ("true", "false"):
            raise InputError(f"--data: flips must be true or false, not {text!r}")
        return text == "true"
    kind = float if key == "skew" else int
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"--data: {key} must be a number, not {text!r}") from error
