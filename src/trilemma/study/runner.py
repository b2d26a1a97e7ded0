"""Run the trials that a study still lacks: start them in order, follow their events, record failures.

The runner keeps no state of its own: a trial is finished when the folder has its result, so that a study that was
killed at any moment is resumed by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from trilemma.checksums import check
from trilemma.errors import InputError
from trilemma.files import make_folder, write_json
from trilemma.study.folder import StudyFolder
from trilemma.study.job import Job
from trilemma.study.pool import Event, Executor
from trilemma.study.trials import Trial, needing_exposure
from trilemma.titles import trial_titles
from trilemma.training.execution import Execution
from trilemma.trial.exposure import has_exposure
from trilemma.trial.run import RESULT

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Settings:
    """What all jobs of a study share: see :class:`~trilemma.study.job.Job`."""

    data_dir: str | None = None
    execution: Execution = field(default_factory=Execution)


@dataclass
class StudyProgress:
    """How far a study is: passed to the ``watch`` callback, which must not change it.

    Attributes:
      trials: all trials, by id.
      done: ids of finished trials; done_before: how many of them earlier runs had finished.
      failed: reason by id.
      running: the latest event of each running trial.
      seconds: durations of the trials that this run finished.
      exposure: ids of the trials whose examples' exposure shadow models measure.
      titles: what each trial is called, by id.
    """

    trials: dict[str, Trial]
    done: set[str] = field(default_factory=set)
    done_before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Event] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    exposure: set[str] = field(default_factory=set)
    titles: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.titles = self.titles or trial_titles({name: trial.to_dict() for name, trial in self.trials.items()})

    @property
    def waiting(self) -> list[str]:
        """Ids of the trials still to be started, in order."""
        started = self.done | self.failed.keys() | self.running.keys()
        return [name for name in self.trials if name not in started]

    def ready(self) -> str | None:
        """The id of the next trial that can start: one whose removal, if any, has been scored."""
        for name in self.waiting:
            removal = self.trials[name].removal
            if removal is None or removal.scored_by in self.done:
                return name
        return None


def progress_of(folder: StudyFolder, trials: Iterable[Trial]) -> StudyProgress:
    """How far the trials are, as read from the folder.

    Raises:
      InputError: a finished run is not what was written.
    """
    progress = StudyProgress({trial.id: trial for trial in trials})
    beside = folder.read()["trials"] if folder.study_file.exists() else {}  # of other studies in the same folder
    progress.titles = trial_titles(beside | {name: trial.to_dict() for name, trial in progress.trials.items()})
    progress.exposure = needing_exposure(progress.trials.values())
    for name in progress.trials:
        if folder.finished(name):
            check(folder.run(name) / RESULT)
            if name not in progress.exposure or has_exposure(folder.run(name)):
                progress.done.add(name)
        elif (reason := folder.reason(name)) is not None:
            progress.failed[name] = reason
    progress.done_before = len(progress.done)
    return progress


def run_study(
    folder: StudyFolder,
    progress: StudyProgress,
    executor: Executor,
    settings: Settings = Settings(),
    *,
    watch: Callable[[StudyProgress, Event | None], None] = lambda progress, event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Run the waiting trials, and update ``progress``.

    Args:
      folder: the folder of the study; the caller holds its lock.
      progress: the progress so far, from :func:`progress_of`.
      executor: runs the jobs.
      settings: what all trials share.
      watch: called with every event, and at least twice a second with None.
      should_stop: called as often; where it returns True, every running trial saves itself and the run ends.

    Returns:
      Whether the run was completed (not whether every trial succeeded).
    """
    make_folder(folder.path / "runs")
    try:
        while progress.waiting or progress.running:
            if should_stop():
                return False
            _fail_dependents(folder, progress)
            while len(progress.running) < executor.size and (name := progress.ready()) is not None:
                exposure = name in progress.exposure
                executor.submit(Job(progress.trials[name], str(folder.path), **vars(settings), exposure=exposure))
                progress.running[name] = Event(name, "progress", {"what": "start", "update": 0, "updates": 0})
                watch(progress, progress.running[name])
            for event in executor.events(POLL_SECONDS):
                _apply(folder, progress, event)
                watch(progress, event)
            watch(progress, None)
        return True
    finally:
        executor.stop()


def _apply(folder: StudyFolder, progress: StudyProgress, event: Event) -> None:
    if event.kind == "progress":
        progress.running[event.trial] = event
        return
    progress.running.pop(event.trial, None)
    if event.kind == "done":
        progress.done.add(event.trial)
        progress.seconds[event.trial] = float(event.message["seconds"])
    elif event.kind == "failed":
        _fail(folder, progress, event.trial, event.message)


def _fail_dependents(folder: StudyFolder, progress: StudyProgress) -> None:
    """Fail the trials whose removal depends on a failed trial."""
    for name in progress.waiting:
        removal = progress.trials[name].removal
        if removal is not None and removal.scored_by in progress.failed:
            reason = f"trial {removal.scored_by}, which determines what to leave out, failed"
            _fail(folder, progress, name, {"reason": reason, "trace": None})


def _fail(folder: StudyFolder, progress: StudyProgress, name: str, failure: dict[str, str | None]) -> None:
    progress.failed[name] = str(failure["reason"])
    try:
        make_folder(folder.failure(name).parent)
        write_json(folder.failure(name), {"trial": name, **failure})
    except InputError:  # a full disk, for example; the next run tries again
        progress.failed[name] += " (and this could not be recorded)"
