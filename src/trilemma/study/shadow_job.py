"""Train the shadows of a run in worker processes, as the trials of a study are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.files import alone_in, make_folder, read_json, reading
from trilemma.outside import is_outside
from trilemma.progress import Progress
from trilemma.study.job import Job, load_for
from trilemma.study.pool import Event, Executor, worker_limits
from trilemma.study.runner import POLL_SECONDS
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.trial.audited import choose_audited, shadow_data
from trilemma.trial.run import CONFIG, SHADOWS, Run
from trilemma.trial.shadows import Target, finished_shadows, make_private_folder, train_shadow
from trilemma.words import clock


@dataclass(frozen=True)
class ShadowJob:
    """A shadow to train, and where and how.

    Attributes:
      run: path of the target's folder.
      shadow: its number.
      audited: how many examples are audited, members and non-members together.
      seed: the seed of the draw of these examples.
      data_dir: the folder to search for data first, or None.
      execution: device, precision and batch size.
      imports: names of parts from outside that the recipe may import.
    """

    run: str
    shadow: int
    audited: int
    seed: int
    data_dir: str | None = None
    execution: Execution = field(default_factory=Execution)
    imports: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name of the job within an audit."""
        return f"shadow {self.shadow}"

    def to_json(self) -> str:
        """The job as one line for a worker."""
        return json.dumps({"shadow job": vars(self) | {"execution": vars(self.execution)}})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ShadowJob:
        """Inverse of :meth:`to_json`, from its value."""
        parts = {"execution": Execution(**values["execution"]), "imports": tuple(values["imports"])}
        return cls(**values | parts)

    def perform(self, progress: Progress, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train the shadow; returns the ``seconds`` that took.

        Raises:
          InputError, PrivacyError, Stopped: as :func:`trilemma.trial.shadows.train_shadow`.
        """
        run = Run.load(self.run)
        data = data_of_run(run, self.data_dir, self.imports)
        target = Target(run, data, choose_audited(data, self.audited, self.seed), self.imports)
        seconds = train_shadow(
            target, self.shadow, execution=self.execution, progress=progress, should_stop=should_stop
        )
        return {"seconds": seconds}


def data_of_run(run: Run, data_dir: str | None = None, imports: Sequence[str] = ()) -> Dataset:
    """The data that a run was trained and tested on, loaded again by its ``config.json``.

    Args:
      run: the run.
      data_dir: the folder to search first.
      imports: names of parts from outside that may be imported.

    Raises:
      InputError: the run's data were put together by hand or are those of a removal, or they cannot be loaded.
    """
    config = read_json(run.folder / CONFIG)
    with reading(run.folder / CONFIG):
        request = dict(config["data"]["request"])
        if "name" not in request:
            raise InputError(
                "the run's data were put together by hand and cannot be loaded by name: train its shadows from "
                "Python (trilemma.trial.shadows)"
            )
        if "removal" in request:
            raise InputError(
                "this run of a study left examples out: audit the run on all examples, which decided which they are"
            )
        name = str(request["name"])
        if is_outside(name, "data") and name not in imports:  # it would run whatever code a stranger's folder names
            raise InputError(
                f"the run's data come from {name}, which is not imported because a folder names it: if you trust it, "
                f"add --network {name}"
            )
    return load_for(json.dumps(request, sort_keys=True, default=str), data_dir or request.get("data_dir"))


@dataclass(frozen=True)
class Estimate:
    """How long shadows take.

    Attributes:
      free: seconds where every worker has its cores for itself.
      now: seconds on the machine as busy as it was during the measurement; at least ``free``.
      timed, updates: the number of updates that it rests on, and how many a shadow has.
    """

    free: float
    now: float
    timed: int
    updates: int

    def __str__(self) -> str:
        words = f"about {_duration(self.free)}"
        if self.now > BUSY * self.free:
            words += f" on free cores, {_duration(self.now)} on a machine as busy as now"
        return f"{words} (by {self.timed:,} of a shadow's {self.updates:,} updates)"


def _duration(seconds: float) -> str:
    """``clock``, which leaves out seconds after a minute and a half, to 10 seconds in the first ten minutes.

    >>> _duration(28), _duration(179), _duration(180), _duration(6000)
    ('28 s', '3 min', '3 min', '1 h 40 min')
    >>> _duration(141)
    '2 min 20 s'
    """
    tens = round(seconds / 10)
    if not 9 <= tens < 60:
        return clock(seconds)
    return f"{tens // 6} min {10 * (tens % 6)} s" if tens % 6 else f"{tens // 6} min"


BUSY = 1.25
"""How much longer the updates took than they computed where a machine is called busy."""

TIMED_SECONDS = 2.0
"""How long updates are timed."""


def estimated(target: Target, missing: list[int], workers: int, execution: Execution, tell: Progress,
              *, preparing: float) -> Estimate:  # fmt: skip
    """How long ``workers`` processes take for the shadows that are missing, from a few updates of one of them.

    What all shadows share (features, pre-trained weights) is computed and cached in this process.  On the CPU the time
    is that of computing, which other work on the machine hardly changes, and beside it what the clock said.

    Args:
      target: the run.
      missing: the numbers of the shadows.
      workers: how many are trained at once.
      execution: how they are computed.
      tell: called with what is being done.
      preparing: seconds of computing until a process can begin with its first shadow: imports, reading the data.
    """
    threads = int(worker_limits(workers)["OMP_NUM_THREADS"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        data = shadow_data(target.data, target.audited, missing[0])
        Training(target.shadow_recipe(missing[0]), data, execution, progress=tell)
        began = _Clocks()
        training = Training(target.shadow_recipe(missing[0]), data, execution)  # again: nothing has to be computed now
        building = began.computed(threads)
        made, updates = 0, training.course.updates
        next(training.run_updates(updates))  # warms up
        began = _Clocks()
        for _ in training.run_updates(updates):
            made += 1
            if began.passed() > TIMED_SECONDS:
                break
        passed = began.passed()
        computed = passed if execution.resolved_device().type != "cpu" else min(passed, began.computed(threads))
    finally:
        torch.set_num_threads(before)
    rounds = -(-len(missing) // workers)
    free = preparing + rounds * (building + updates * computed / max(made, 1))
    return Estimate(free, free * passed / max(computed, 1e-9), made, updates)


class _Clocks:
    """What has passed and what this process has computed since it was made, in seconds."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time(), time.thread_time()

    def passed(self) -> float:
        return time.perf_counter() - self._began[0]

    def computed(self, threads: int) -> float:
        """How long ``threads`` threads with a core each would have taken."""
        _, process, thread = self._began
        return max((time.process_time() - process) / threads, time.thread_time() - thread)


def train_shadows(
    target: Target,
    jobs: list[ShadowJob],
    executor: Executor,
    *,
    watch: Callable[[Event | None], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train those of the shadows that are not there yet.

    Args:
      target: the run that the shadows belong to.
      jobs: one for each shadow.
      executor: runs the jobs.
      watch: called with every event, and at least twice a second with None.
      should_stop: called as often; where it returns True, every running shadow saves itself and this ends.

    Returns:
      Whether all of them are there.

    Raises:
      InputError: one of them failed; the others that were running are saved.
    """
    make_private_folder(target.run.folder / SHADOWS)
    make_folder(target.store)
    finished = finished_shadows(target, len(jobs))
    waiting, running = [job for job in jobs if job.shadow not in finished], set[str]()
    with alone_in(Path(target.store)):
        try:
            while waiting or running:
                if should_stop():
                    return False
                while waiting and len(running) < executor.size:
                    job = waiting.pop(0)
                    executor.submit(job)
                    running.add(job.id)
                    watch(Event(job.id, "progress", {"what": "start", "update": 0, "updates": 0}))
                for event in executor.events(POLL_SECONDS):
                    watch(event)
                    if event.kind == "progress":
                        continue
                    running.discard(event.trial)
                    if event.kind == "failed":
                        raise InputError(f"{event.trial} of {target.run.folder} failed: {event.message['reason']}")
                watch(None)
            return len(finished_shadows(target, len(jobs))) == len(jobs)
        finally:
            executor.stop()


def read_job(text: str) -> Job | ShadowJob:
    """What a worker reads: a trial of a study, or a shadow of a run; inverse of both classes' ``to_json``."""
    values = json.loads(text)
    return ShadowJob.from_dict(values["shadow job"]) if "shadow job" in values else Job.from_json(text)
