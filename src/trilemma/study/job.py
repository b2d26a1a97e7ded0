"""One trial of a study, from its description to its run: what every worker does, wherever it runs."""

from __future__ import annotations

import functools
import io
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trilemma.data.dataset import Dataset
from trilemma.data.load import load_data
from trilemma.data.named import NAMED
from trilemma.errors import DataWarning, InputError, PrivacyError
from trilemma.files import FolderHeld, alone_in, make_folder, read_json, write_json, written
from trilemma.progress import Progress
from trilemma.study.folder import StudyFolder
from trilemma.study.removal import Exposure, removed_examples
from trilemma.study.trials import Trial
from trilemma.training.execution import Execution
from trilemma.trial.exposure import measure_exposure
from trilemma.trial.progress import TrialProgress
from trilemma.trial.run import Run, guaranteed
from trilemma.trial.train import train

ORPHAN_SECONDS = 60.0
"""How long a job waits for the process that holds its run: the worker of a killed study ends within an update."""


@dataclass(frozen=True)
class Job:
    """A trial to run, and where and how.

    Attributes:
      trial: the trial.
      folder: path of the study's folder.
      data_dir: the folder to search for data first, or None.
      execution: device, precision and batch size.
      exposure: whether shadow models then measure how exposed its training examples are.
    """

    trial: Trial
    folder: str
    data_dir: str | None = None
    execution: Execution = field(default_factory=Execution)
    exposure: bool = False

    @property
    def id(self) -> str:
        """The id of the trial."""
        return self.trial.id

    def to_json(self) -> str:
        """The job as one line for a worker."""
        return json.dumps(vars(self) | {"trial": self.trial.to_dict(), "execution": vars(self.execution)})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Inverse of :meth:`to_json`."""
        values = json.loads(text)
        trial, execution = Trial.from_dict(values["trial"]), Execution(**values["execution"])
        return cls(**values | {"trial": trial, "execution": execution})

    def perform(self, tell: Progress, should_stop: Callable[[], bool] | None) -> dict[str, Any]:
        """Run the trial, and its shadows if it has any; returns ``seconds`` (in all), ``accuracy`` (test) and
        ``epsilon`` (spent, or None).

        Raises:
          InputError, PrivacyError, Stopped: as :func:`run_trial`.
        """
        began = time.monotonic()
        run = run_trial(self, progress=lambda step: tell(step.what, step.update, step.updates), should_stop=should_stop)
        # A run that was resumed took longer than this call, and one with shadows longer than its own record says.
        seconds = max(float(run.result["seconds"]["total"]), time.monotonic() - began)
        privacy = guaranteed(run.result)
        return {
            "seconds": seconds,
            "accuracy": float(run.result["accuracy"]),
            "epsilon": None if privacy is None else float(privacy["epsilon"]),
        }


def run_trial(
    job: Job,
    *,
    progress: Callable[[TrialProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Train, attack and measure one trial; resume from its checkpoint if it has one.

    Raises:
      InputError, Stopped: as :func:`trilemma.train`.
      PrivacyError: the trial has a budget, and its claim does not stand (it failed its truth check), so it counts as
        failed.
    """
    trial, folder = job.trial, StudyFolder(Path(job.folder))
    data = load_for(json.dumps(dict(trial.data), sort_keys=True), job.data_dir)
    track: list[int] = []
    if trial.track is not None:
        of_class = np.flatnonzero(data.train.labels == trial.track.label)
        if len(of_class) < trial.track.first:
            raise InputError(f"cannot track {trial.track.first} examples of class {trial.track.label}: it has fewer")
        track = [int(index) for index in of_class[: trial.track.first]]
        _write_images(folder.examples(trial.id), data, track)
    if trial.removal is not None:
        data = _without(data, trial, folder)
    out = folder.run(trial.id)
    begin = functools.partial(
        train, trial.recipe, data, out, execution=job.execution, track=track, progress=progress, should_stop=should_stop
    )
    run = _once_released(out, begin)
    if wrong := run.not_private:
        raise PrivacyError(wrong)
    if job.exposure:
        measure_exposure(
            run,
            data,
            execution=job.execution,
            progress=lambda *step: progress(TrialProgress(*step)) if progress else None,
            should_stop=should_stop or (lambda: False),
        )
    return run


@functools.lru_cache(maxsize=2)  # the trials of a study take the same few data sets in turn
def load_for(options: str, data_dir: str | None) -> Dataset:
    """The data of a request in JSON; the last two are kept.

    Raises:
      InputError: as :func:`trilemma.load_data`.
    """
    arguments: dict[str, Any] = json.loads(options)
    known = NAMED.get(arguments["name"])
    if known is None or "data_dir" in known.takes:
        arguments["data_dir"] = data_dir
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the notes are kept with the trial's result
        return load_data(**arguments)


def _without(data: Dataset, trial: Trial, folder: StudyFolder) -> Dataset:
    """The data without the examples that the trial leaves out; their indices are chosen and written once."""
    assert trial.removal is not None
    path = folder.removed(trial.id)
    if path.is_file():
        removed = np.array(read_json(path)["removed"], dtype=np.int64)
    else:
        scored = folder.run(trial.removal.scored_by)
        removed = removed_examples(
            Exposure.read(scored, trial.removal.rank),
            share=trial.removal.share,
            arm=trial.removal.arm,
            control=trial.removal.control,
            seed=trial.recipe.seed,
        )
        make_folder(path.parent)
        write_json(path, {"scored_by": trial.removal.scored_by, "removed": removed.tolist()}, private=True)
    try:
        left = data.without(removed)
    except InputError as error:
        raise InputError(f"{path} does not fit the data: delete it and run the study again") from error
    return replace(left, request={**data.request, "removal": trial.removal.to_dict()})


def _write_images(folder: Path, data: Dataset, indices: list[int]) -> None:
    """Write each tracked example, unaugmented, as a PNG."""
    from PIL import Image

    make_folder(folder)
    for index in indices:
        pixels = np.moveaxis(np.asarray(data.train.images[index]), 0, -1)
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
        with written(folder / f"{index}.png", private=True) as part:
            part.write_bytes(buffer.getvalue())


def _once_released(run: Path, work: Callable[[], Run]) -> Run:
    """What ``work`` returns, begun once the worker of a killed study has released the run's lock.

    Another such worker may take the lock between the look at it and ``work``: it is waited for, too.
    """
    end = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            if run.is_dir():
                with alone_in(run):
                    pass
            return work()
        except FolderHeld:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def failure_of(error: BaseException) -> dict[str, Any]:
    """Why a trial failed, for ``failures``: one line, and the traceback where it is an internal error."""
    import traceback

    if isinstance(error, InputError):
        return {"reason": " ".join(str(error).split()), "trace": None}
    line = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {
        "reason": " ".join(f"internal error: {line}".split()),
        "trace": "".join(traceback.format_exception(error)),
    }
