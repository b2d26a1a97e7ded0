"""The terminal display of a running study: a live table, or one line per trial if the output is redirected."""

from __future__ import annotations

import signal
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trilemma.study.pool import Event
from trilemma.study.runner import StudyProgress
from trilemma.trial.interrupt import Interruptible
from trilemma.words import clean

PHASE_SECONDS = 60.0
"""Without a terminal, how often a line says what a running trial is doing."""


class StudyDisplay(Interruptible[Live]):
    """A context manager; the display is the ``watch`` callback of :func:`~trilemma.study.runner.run_study`, and
    ``display.should_stop`` is its ``should_stop``."""

    signals = (signal.SIGINT, signal.SIGTERM)
    stopping = "stopping: the running trials save their checkpoints"

    def __init__(self, progress: StudyProgress, workers: int, console: Console | None = None) -> None:
        self._progress, self._workers = progress, workers
        super().__init__(console)
        self._began = time.monotonic()
        self._told: dict[str, float] = {}  # when a line last said what a trial was doing

    def __enter__(self) -> StudyDisplay:
        progress = self._progress
        ready = f", {progress.done_before} of them finished already" if progress.done_before else ""
        failed = f", {len(progress.failed)} failed before (--retry runs them again)" if progress.failed else ""
        self.say(f"{len(progress.trials)} trials{ready}{failed}; {self._workers} at once")
        super().__enter__()
        return self

    def _new_live(self) -> Live:
        return Live(self._table(), console=self._console, auto_refresh=False, transient=True)

    def __call__(self, progress: StudyProgress, event: Event | None) -> None:
        if event is not None:
            title = progress.trials[event.trial].title
            count = f"{len(progress.done) + len(progress.failed)}/{len(progress.trials)}"
            if event.kind == "done":
                seconds = progress.seconds[event.trial]
                self.say(f"{count}  {event.trial}  {title}: {_outcome(event)}{seconds:.0f} s{self._left()}")
            elif event.kind == "failed":
                self.say(f"{count}  {event.trial}  {title}: FAILED: {progress.failed[event.trial]}")
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            self._tell_of_phases()

    def _tell_of_phases(self) -> None:
        """Without a terminal: say once in a while what each trial is doing, so that no phase is silent for minutes."""
        now = time.monotonic()
        for name, event in self._progress.running.items():
            if now - self._told.setdefault(name, now) >= PHASE_SECONDS:
                self._told[name] = now
                self.say(f"{name}  {self._progress.trials[name].title}: {_phase(event)}")

    def seconds_left(self) -> float | None:
        """An estimate, assuming that the remaining trials take as long as those finished in this session."""
        progress = self._progress
        if not progress.seconds:
            return None
        each = sum(progress.seconds.values()) / len(progress.seconds)
        to_come = len(progress.waiting) + sum(1 - _share(event) for event in progress.running.values())
        return each * to_come / max(1, min(self._workers, round(to_come + 0.5)))

    def _left(self) -> str:
        seconds = self.seconds_left()
        return "" if not seconds else f", about {clock(seconds)} left"

    def _table(self) -> Group:
        progress = self._progress
        table = Table(box=None, pad_edge=False)
        for head in ("trial", "", "", "updates"):
            table.add_column(head, justify="right" if head == "updates" else "left", no_wrap=head != "")
        for name, event in progress.running.items():
            bar = "█" * round(20 * _share(event))
            cells = (name, progress.trials[name].title, f"{bar:<20}", _phase(event))
            table.add_row(*(Text(clean(cell)) for cell in cells))
        spent = clock(time.monotonic() - self._began)
        failed = f", {len(progress.failed)} failed" if progress.failed else ""
        finished = f"{len(progress.done)} of {len(progress.trials)} finished"
        line = f"{finished}{failed}, {len(progress.waiting)} to come; {spent}{self._left()}"
        return Group(table, Text(line))


def _outcome(event: Event) -> str:
    """What a finished trial reached; nothing where its worker did not say."""
    accuracy, epsilon = event.message.get("accuracy"), event.message.get("epsilon")
    spent = "" if epsilon is None else f"ε {epsilon:.2f}, "
    return "" if accuracy is None else f"accuracy {accuracy:.3f}, {spent}"


def _phase(event: Event) -> str:
    """What a running trial is doing, and how far it is.

    >>> _phase(Event("t", "progress", {"what": "training", "update": 3, "updates": 40}))
    '3/40'
    >>> _phase(Event("t", "progress", {"what": "computing features", "update": 300, "updates": 1000}))
    'computing features, 300/1000'
    """
    what, updates = str(event.message.get("what")), event.message.get("updates")
    made = f"{event.message['update']}/{updates}" if updates else ""
    if what == "training":
        return made
    return f"{what}, {made}" if made and event.message["update"] < updates else what


def _share(event: Event) -> float:
    updates = event.message.get("updates") or 0
    return min(1.0, event.message.get("update", 0) / updates) if updates else 0.0


def clock(seconds: float) -> str:
    """A duration in words, rounded to its leading units.

    >>> clock(42), clock(125), clock(7300), clock(1e6)
    ('42 s', '2 min', '2 h 1 min', '12 days')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 96 else f"{round(hours / 24):,} days"
