"""The shadows of ``trilemma audit RUN --shadows K``: train those that are missing, and read what they say."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from trilemma.attacks import Predictions
from trilemma.cli.study import default_workers
from trilemma.cli.study_display import Phases, running_table
from trilemma.cli.train import execution_of
from trilemma.errors import InputError
from trilemma.study.pool import Event, Executor, Pool
from trilemma.study.shadow_job import ShadowJob, data_of_run, estimated, train_shadows
from trilemma.training.execution import Execution
from trilemma.trial.audited import choose_audited
from trilemma.trial.dry_call import dry_call
from trilemma.trial.interrupt import Interruptible
from trilemma.trial.progress import Stopped
from trilemma.trial.run import Run
from trilemma.trial.shadows import (
    Target,
    audited_predictions,
    finished_shadows,
    shadow_predictions,
    target_outputs,
)
from trilemma.words import clock


@dataclass(frozen=True, eq=False)
class ShadowAudit:
    """The parts of an audit with shadows.

    Attributes:
      target: the run, its data and the audited examples.
      predictions: the target's outputs on them, and the shadows'.
      about: the entry ``shadows`` of ``audit.json``.
    """

    target: Target
    predictions: Predictions
    about: dict[str, Any]


def check_shadow_options(options: argparse.Namespace) -> None:
    """Refuse what can be refused without a look at the run.

    Raises:
      InputError: an odd or too small number, or options that do not go together.
    """
    if options.shadows is None:
        superfluous = [name for name in ("audited", "workers", "ray", "network") if getattr(options, name) is not None]
        if superfluous:
            raise InputError(f"--{superfluous[0]} is for an audit with shadows: add --shadows 4, or leave it out")
        return
    if options.shadows < 2 or options.shadows % 2:
        raise InputError(
            f"--shadows must be an even number, at least 2, not {options.shadows}: shadows come in pairs, so that each "
            "audited example is in half of them"
        )
    if options.match:
        raise InputError("--match does not go with --shadows, whose members and non-members are matched already")
    if not Path(options.source).is_dir():
        raise InputError(
            "--shadows needs the folder of a run, by whose recipe they are trained: for a file of predictions, save "
            "reference_logits and reference_member of models that you trained"
        )
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers must be at least 1, not {options.workers}")
    if options.workers is not None and options.ray is not None:
        raise InputError("--workers and --ray exclude each other: the cluster determines the number of workers")


def audit_with_shadows(options: argparse.Namespace, attacks: Sequence[str]) -> ShadowAudit:
    """Choose the audited examples, train the missing shadows, and read their outputs.

    Args:
      options: of the command.
      attacks: the names of the requested attacks; those from outside are tried out before a shadow is trained.

    Raises:
      InputError: the run, its data, the shadows or an attack from outside cannot be used.
      Stopped: Ctrl-C; the shadows that were being trained are saved.
    """
    execution = execution_of(options)
    run = Run.load(options.source)
    imports = _imports(options)
    data = data_of_run(run, options.data_dir, imports)
    target = Target(run, data, choose_audited(data, options.audited, options.seed), imports)
    with ShadowDisplay(options.shadows) as display:
        loading = time.process_time()  # of imports and data, which every worker needs as well
        outputs = target_outputs(target, execution=execution, progress=display.preparing)
        # Workers import late what this did, and find in the cache what it computed: features may have taken minutes.
        preparing = loading + min(time.process_time() - loading, loading)
        alone = audited_predictions(target, outputs)
        dry_call(alone, attacks, seed=options.seed, before="the shadows are trained", shadows=options.shadows)
        finished = finished_shadows(target, options.shadows)
        missing = [shadow for shadow in range(options.shadows) if shadow not in finished]
        if missing:
            _train_missing(options, target, missing, execution, display, preparing)
    about = {
        "count": options.shadows,
        "reused": len(finished),
        "audited": len(target.audited),
        "examples_each": len(data.train),
        "views": 2 if target.mirrored else 1,
        "folder": str(target.store),
    }
    return ShadowAudit(target, shadow_predictions(target, outputs, options.shadows), about)


def _imports(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name.strip() for name in (options.network or "").split(",") if name.strip())


def _train_missing(
    options: argparse.Namespace,
    target: Target,
    missing: list[int],
    execution: Execution,
    display: ShadowDisplay,
    preparing: float,
) -> None:
    """``preparing``: seconds of computing that a worker needs before its first shadow."""
    executor = _executor(options, len(missing))
    estimate = estimated(target, missing, executor.size, execution, display.preparing, preparing=preparing)
    display.say(
        f"{len(missing)} of {options.shadows} shadows to train on {len(target.data.train):,} examples each, "
        f"{executor.size} at once: {estimate}"
    )
    settings = (len(target.audited), options.seed, options.data_dir, execution, target.imports)
    jobs = [ShadowJob(str(target.run.folder), shadow, *settings) for shadow in range(options.shadows)]
    if not train_shadows(target, jobs, executor, watch=display, should_stop=display.should_stop):
        raise Stopped("stopped; the same command resumes from there")


def _executor(options: argparse.Namespace, jobs: int) -> Executor:
    if options.ray is not None:
        from trilemma.study.cluster import Cluster

        return Cluster(options.ray, options.device)
    return Pool(options.workers or default_workers(options.device, jobs))


class ShadowDisplay(Interruptible[Live]):
    """A live table of the shadows that are being trained; without a terminal, lines. One line for each that is done."""

    signals = (signal.SIGINT, signal.SIGTERM)
    stopping = "stopping: the shadows that are being trained are saved"

    def __init__(self, count: int) -> None:
        super().__init__(None)
        self._count, self._began, self._done = count, time.monotonic(), 0
        self._running: dict[str, Event] = {}
        self._phases = Phases()

    def _new_live(self) -> Live:
        return Live(self._table(), console=self._console, auto_refresh=False, transient=True)

    def _table(self) -> Table:
        return running_table("shadow", self._running, {})

    def preparing(self, what: str, done: int, total: int) -> None:
        """Callback of what is computed once for all shadows.

        Raises:
          Stopped: the user asked for that.
        """
        if self.should_stop():
            raise Stopped("stopped before the first shadow")
        if total and done == total:
            self.say(f"{what}: {total}")

    def __call__(self, event: Event | None) -> None:
        if event is not None and event.kind == "progress":
            self._running[event.trial] = event
        elif event is not None:
            self._running.pop(event.trial, None)
            if event.kind == "done":
                self._done += 1
                spent = clock(time.monotonic() - self._began)
                self.say(f"{event.trial} is trained ({self._done} now, {self._count} in all; {spent})")
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            for name, phase in self._phases.due(self._running):
                self.say(f"{name}: {phase} ({self._done} trained now; {clock(time.monotonic() - self._began)})")
