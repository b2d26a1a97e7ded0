"""The terminal display of a running study: a live table, or one line per trial if the output is redirected."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trilemma.rounding import upper
from trilemma.study.pool import Event
from trilemma.study.runner import StudyProgress
from trilemma.trial.interrupt import Interruptible
from trilemma.words import clean, clock, counted

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
        self._phases = Phases()

    def __enter__(self) -> StudyDisplay:
        progress = self._progress
        ready = f", {progress.done_before} of them finished already" if progress.done_before else ""
        failed = f", {len(progress.failed)} failed before (--retry runs them again)" if progress.failed else ""
        self.say(f"{counted(len(progress.trials), 'trial')}{ready}{failed}; {self._workers} at once")
        super().__enter__()
        return self

    def _new_live(self) -> Live:
        return Live(self._table(), console=self._console, auto_refresh=False, transient=True)

    def __call__(self, progress: StudyProgress, event: Event | None) -> None:
        if event is not None:
            title = progress.titles[event.trial]
            count = f"{len(progress.done) + len(progress.failed)}/{len(progress.trials)}"
            if event.kind == "done":
                seconds = progress.seconds[event.trial]
                self.say(f"{count}  {event.trial}  {title}: {_outcome(event)}{seconds:.0f} s{self._left()}")
            elif event.kind == "failed":
                self.say(f"{count}  {event.trial}  {title}: FAILED: {progress.failed[event.trial]}")
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            for name, phase in self._phases.due(self._progress.running):
                self.say(f"{name}  {self._progress.titles[name]}: {phase}{self._left()}")

    def seconds_left(self) -> float | None:
        """An estimate: a trial takes as long as those finished in this session that differ from it in their seed alone,
        or as long as all of them on average where there is none."""
        progress = self._progress
        if not progress.seconds:
            return None
        of_kind: dict[str, list[float]] = {}
        for name, seconds in progress.seconds.items():
            of_kind.setdefault(progress.trials[name].condition, []).append(seconds)
        all_seconds = [seconds for each in of_kind.values() for seconds in each]
        shares = dict.fromkeys(progress.waiting, 1.0)
        shares |= {name: 1 - _share(event) for name, event in progress.running.items()}
        left = 0.0
        for name, share in shares.items():
            known = of_kind.get(progress.trials[name].condition, all_seconds)
            left += share * sum(known) / len(known)
        return left / max(1, min(self._workers, len(shares)))

    def _left(self) -> str:
        seconds = self.seconds_left()
        return "" if not seconds else f", about {clock(seconds)} left"

    def _table(self) -> Group:
        progress = self._progress
        table = running_table("trial", progress.running, progress.titles)
        spent = clock(time.monotonic() - self._began)
        failed = f", {len(progress.failed)} failed" if progress.failed else ""
        finished = f"{len(progress.done)} of {len(progress.trials)} finished"
        line = f"{finished}{failed}, {len(progress.waiting)} to come; {spent}{self._left()}"
        return Group(table, Text(line))


class Phases:
    """Without a terminal: says once in a while what each piece of work is doing, so that none is silent for minutes."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def due(self, running: Mapping[str, Event]) -> Iterator[tuple[str, str]]:
        """(name, phase) of the running work that no line has told of for ``PHASE_SECONDS``, by its latest event."""
        now = time.monotonic()
        for name, event in running.items():
            if now - self._told.setdefault(name, now) >= PHASE_SECONDS:
                self._told[name] = now
                yield name, phase_words(event)


def running_table(heading: str, running: Mapping[str, Event], titles: Mapping[str, str]) -> Table:
    """What is running, for a terminal: a row with a bar for each piece of work."""
    table = Table(box=None, pad_edge=False)
    for head in (heading, "", "", "updates"):
        table.add_column(head, justify="right" if head == "updates" else "left", no_wrap=head != "")
    for name, event in running.items():
        bar = "█" * round(20 * _share(event))
        cells = (name, titles.get(name, ""), f"{bar:<20}", phase_words(event))
        table.add_row(*(Text(clean(cell)) for cell in cells))
    return table


def _outcome(event: Event) -> str:
    """What a finished trial reached; nothing where its worker did not say."""
    accuracy, epsilon = event.message.get("accuracy"), event.message.get("epsilon")
    spent = "" if epsilon is None else f"ε {upper(epsilon, 2)}, "
    return "" if accuracy is None else f"accuracy {accuracy:.3f}, {spent}"


def phase_words(event: Event) -> str:
    """What a running trial is doing, and how far it is.

    >>> phase_words(Event("t", "progress", {"what": "training", "update": 3, "updates": 40}))
    '3/40'
    >>> phase_words(Event("t", "progress", {"what": "computing features", "update": 300, "updates": 1000}))
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
