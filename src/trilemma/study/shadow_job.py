"""Train the shadows of a run in worker processes, as the trials of a study are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.files import alone_in, make_folder, read_json, reading
from trilemma.machine import cores
from trilemma.outside import is_outside
from trilemma.progress import Progress
from trilemma.study.job import Job, load_for
from trilemma.study.pool import Event, Executor
from trilemma.study.runner import POLL_SECONDS
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.trial.audited import choose_audited, shadow_data
from trilemma.trial.run import CONFIG, SHADOWS, Run
from trilemma.trial.shadows import Target, finished_shadows, make_private_folder, train_shadow

PROCESS_SECONDS = 4.0
"""The time that a worker process takes to start and to import what it needs, measured on one core."""


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


def seconds_a_shadow(target: Target, shadow: int, threads: int, execution: Execution, progress: Progress) -> float:
    """An estimate of how long a worker takes for a shadow that is not there yet, from a few of its updates.

    What all shadows share (features, pre-trained weights) is computed and cached in the process.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        data = shadow_data(target.data, target.audited, shadow)
        training = Training(target.shadow_recipe(shadow), data, execution, progress=progress)
        made, updates = 0, training.course.updates
        next(training.run_updates(updates))  # warms up
        began = time.perf_counter()
        for _ in training.run_updates(updates):
            made += 1
            if time.perf_counter() - began > 1.0 or made == 30:
                break
        return updates * (time.perf_counter() - began) / max(made, 1)
    finally:
        torch.set_num_threads(before)


def estimated_seconds(target: Target, missing: list[int], workers: int, execution: Execution, tell: Progress) -> float:
    """How long ``workers`` processes take for the shadows that are missing."""
    began, computed = time.monotonic(), time.thread_time()
    updates = seconds_a_shadow(target, missing[0], max(1, cores() // workers), execution, tell)
    took = time.monotonic() - began
    # The updates were timed on the machine as it is now; where other work shares it, processes start as slowly.
    slowed = max(1.0, took / max(time.thread_time() - computed, 1e-3))
    preparing = slowed * PROCESS_SECONDS + min(took, 2 * updates)
    return -(-len(missing) // workers) * updates + preparing


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
