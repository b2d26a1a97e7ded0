"""``trilemma study``: run what is missing of a study, then draw its page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from trilemma import __version__
from trilemma.cli.board import Board
from trilemma.cli.train import execution_of
from trilemma.errors import InputError
from trilemma.files import alone_in, make_folder
from trilemma.hints import did_you_mean
from trilemma.machine import cores
from trilemma.study.file import DATA_OPTIONS, load_study
from trilemma.study.folder import StudyFolder
from trilemma.study.pool import Crew, Pool
from trilemma.study.runner import Settings, Standing, run_study, standing
from trilemma.study.trials import MOST_TRIALS, Study, Trial, expand


def study_command(given: argparse.Namespace) -> int:
    if given.workers is not None and given.workers < 1:
        raise InputError(f"--workers must be at least 1, not {given.workers}")
    if given.seeds is not None and given.seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {given.seeds}")
    studies = plan(given.study, scale=given.scale, seeds=given.seeds, data=[parse_data(text) for text in given.data])
    trials = {trial.id: trial for study in studies for trial in study.trials}
    if len(trials) > MOST_TRIALS and not given.yes:
        raise InputError(
            f"{len(trials)} trials are more than {MOST_TRIALS}: narrow the study (--seeds, --data), or say --yes"
        )
    settings = Settings(given.data_dir, execution_of(given))
    crew = _crew(given, len(trials))
    return conduct(studies, Path(given.out), crew, settings, retry=given.retry)


def plan(
    name: str, *, scale: str | None = None, seeds: int | None = None, data: list[dict[str, Any]] | None = None
) -> list[Study]:
    """The study of that name or file, its parts if it has some, each with its figures checked."""
    from trilemma.report.figures.catalog import check_figures

    studies = [expand(file, scale=scale, seeds=seeds, data=data or ()) for file in load_study(name)]
    for study in studies:
        check_figures(study)
    return studies


def conduct(studies: list[Study], out: Path, crew: Crew, settings: Settings, *, retry: bool = False) -> int:
    """Run what is missing, tell how it goes, draw the page; returns the exit status."""
    folder = StudyFolder(out)
    make_folder(out)
    with alone_in(out):
        for study in studies:
            folder.add(study, __version__)
        trials: dict[str, Trial] = {trial.id: trial for study in studies for trial in study.trials}
        if retry:
            folder.forget_failures(trials)
        now = standing(folder, trials.values())
        with Board(now, crew.size) as board:
            whole = run_study(folder, now, crew, settings, watch=board, should_stop=board.should_stop)
        page = _report(folder)
    for note in folder.data_notes(now.done):
        print(f"note: {note}")
    return _ending(now, whole, page)


def _report(folder: StudyFolder) -> Path:
    from trilemma.report.collect import report_of

    return report_of([folder])


def _ending(now: Standing, whole: bool, page: Path) -> int:
    print(f"{len(now.done)} of {len(now.trials)} trials are finished; the page is {page}")
    if now.failed:
        print(f"{len(now.failed)} failed (--retry runs them again):")
        for name, why in now.failed.items():
            print(f"  {name}  {now.trials[name].title}: {why}")
    if not whole:
        print("trilemma: stopped; the same command goes on from there", file=sys.stderr)
        return 130
    return 1 if now.failed else 0


def _crew(given: argparse.Namespace, trials: int) -> Crew:
    if given.ray is not None:
        if given.workers is not None:
            raise InputError("--workers and --ray exclude each other: a cluster says itself how many it has")
        from trilemma.study.cluster import Cluster

        return Cluster(given.ray, given.device)
    return Pool(given.workers or default_workers(given.device, trials))


def default_workers(device: str, trials: int) -> int:
    """One for each core on a CPU; one in all on an accelerator, which one trial fills."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return max(1, min(cores(), trials)) if device == "cpu" else 1


def parse_data(text: str) -> dict[str, Any]:
    """``NAME[,OPTION=VALUE...]`` to arguments of load_data.

    >>> parse_data("cifar10s,skew=0.75")
    {'name': 'cifar10s', 'skew': 0.75}

    Raises:
      InputError: an unknown option, or a value of the wrong kind.
    """
    name, *parts = text.split(",")
    found: dict[str, Any] = {"name": name}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key not in DATA_OPTIONS or key in ("name", "columns"):
            raise InputError(
                f"--data {text}: {part!r} is no option of the data{did_you_mean(key, DATA_OPTIONS)}: "
                "write for example cifar10s,skew=0.75"
            )
        found[key] = _value(key, value)
    return found


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
