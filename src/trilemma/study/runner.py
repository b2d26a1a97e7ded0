"""Run what is missing of a study: start trials in order, hear of them, write down what failed, go on.

The runner keeps no state of its own: what is finished is what has a result in the folder, so that a study that was
killed at any moment goes on by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from trilemma.errors import InputError
from trilemma.files import make_folder, write_json
from trilemma.study.folder import StudyFolder
from trilemma.study.job import Order
from trilemma.study.pool import Answer, Crew
from trilemma.study.trials import Trial
from trilemma.training.execution import Execution

LISTEN_SECONDS = 0.5


@dataclass(frozen=True)
class Settings:
    """What all orders share: see :class:`~trilemma.study.job.Order`."""

    data_dir: str | None = None
    execution: Execution = field(default_factory=Execution)


@dataclass
class Standing:
    """How far a study is: passed to the ``watch`` callback, which must not change it.

    Attributes:
      trials: all, by id.
      done: ids of finished trials; found: how many of them were there before this run.
      failed: reason by id.
      running: the last thing heard of each trial under way.
      seconds: of trials that this run finished.
    """

    trials: dict[str, Trial]
    done: set[str] = field(default_factory=set)
    found: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Answer] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def waiting(self) -> list[str]:
        """In order."""
        begun = self.done | self.failed.keys() | self.running.keys()
        return [name for name in self.trials if name not in begun]

    def ready(self) -> str | None:
        """The next trial whose scorer, if it has one, is finished."""
        for name in self.waiting:
            removal = self.trials[name].removal
            if removal is None or removal.scored_by in self.done:
                return name
        return None


def standing(folder: StudyFolder, trials: Iterable[Trial]) -> Standing:
    """What the folder says of the trials."""
    now = Standing({trial.id: trial for trial in trials})
    for name in now.trials:
        if folder.finished(name):
            now.done.add(name)
        elif (why := folder.reason(name)) is not None:
            now.failed[name] = why
    now.found = len(now.done)
    return now


def run_study(
    folder: StudyFolder,
    now: Standing,
    crew: Crew,
    settings: Settings = Settings(),
    *,
    watch: Callable[[Standing, Answer | None], None] = lambda now, answer: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Run the waiting trials; ``now`` is brought up to date.

    Args:
      folder: of the study; the caller holds its lock.
      now: where it stands (:func:`standing`).
      crew: who does the trials.
      settings: of every trial.
      watch: called with every answer, and at least twice a second with None.
      should_stop: asked as often; True lets every running trial save itself and ends.

    Returns:
      Whether it came to its end (not: whether every trial succeeded).
    """
    make_folder(folder.path / "runs")
    try:
        while now.waiting or now.running:
            if should_stop():
                return False
            _fail_orphans(folder, now)
            while len(now.running) < crew.size and (name := now.ready()) is not None:
                crew.give(Order(now.trials[name], str(folder.path), **vars(settings)))
                now.running[name] = Answer(name, "progress", {"what": "start", "update": 0, "updates": 0})
                watch(now, now.running[name])
            for answer in crew.answers(LISTEN_SECONDS):
                _hear(folder, now, answer)
                watch(now, answer)
            watch(now, None)
        return True
    finally:
        crew.stop()


def _hear(folder: StudyFolder, now: Standing, answer: Answer) -> None:
    if answer.kind == "progress":
        now.running[answer.trial] = answer
        return
    now.running.pop(answer.trial, None)
    if answer.kind == "done":
        now.done.add(answer.trial)
        now.seconds[answer.trial] = float(answer.message["seconds"])
    elif answer.kind == "failed":
        _fail(folder, now, answer.trial, answer.message)


def _fail_orphans(folder: StudyFolder, now: Standing) -> None:
    """Trials whose scorer failed."""
    for name in now.waiting:
        removal = now.trials[name].removal
        if removal is not None and removal.scored_by in now.failed:
            why = f"trial {removal.scored_by}, which says what to leave out, failed"
            _fail(folder, now, name, {"reason": why, "trace": None})


def _fail(folder: StudyFolder, now: Standing, name: str, why: dict[str, str | None]) -> None:
    now.failed[name] = str(why["reason"])
    try:
        make_folder(folder.failure(name).parent)
        write_json(folder.failure(name), {"trial": name, **why})
    except InputError:  # a full disk, say; it is tried again next time
        now.failed[name] += " (and this could not be written down)"
