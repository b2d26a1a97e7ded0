"""What a person sees while a study runs: a live table on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import signal
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trilemma.cli.interrupt import Interruptible
from trilemma.study.pool import Answer
from trilemma.study.runner import Standing


class Board(Interruptible):
    """Use as a context; the board is then the ``watch`` callback of :func:`~trilemma.study.runner.run_study`, and
    ``board.should_stop`` the other."""

    signals = (signal.SIGINT, signal.SIGTERM)
    stopping = "stopping: running trials save themselves"

    def __init__(self, now: Standing, workers: int, console: Console | None = None) -> None:
        self._now, self._workers = now, workers
        super().__init__(console)
        self._live: Live | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Board:
        now = self._now
        ready = f", {now.found} of them are there already" if now.found else ""
        failed = f", {len(now.failed)} failed before (--retry runs them again)" if now.failed else ""
        self.say(f"{len(now.trials)} trials{ready}{failed}; {self._workers} at once")
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._live is not None:
            self._live.stop()

    def __call__(self, now: Standing, answer: Answer | None) -> None:
        if answer is not None:
            title = now.trials[answer.trial].title
            count = f"{len(now.done) + len(now.failed)}/{len(now.trials)}"
            if answer.kind == "done":
                self.say(f"{count}  {answer.trial}  {title}: {now.seconds[answer.trial]:.0f} s{self._left()}")
            elif answer.kind == "failed":
                self.say(f"{count}  {answer.trial}  {title}: FAILED: {now.failed[answer.trial]}")
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def seconds_left(self) -> float | None:
        """A guess: the trials to come take as long as those that this run finished."""
        now = self._now
        if not now.seconds:
            return None
        each = sum(now.seconds.values()) / len(now.seconds)
        to_come = len(now.waiting) + sum(1 - _share(answer) for answer in now.running.values())
        return each * to_come / max(1, min(self._workers, round(to_come + 0.5)))

    def _left(self) -> str:
        seconds = self.seconds_left()
        return "" if not seconds else f", about {clock(seconds)} left"

    def _table(self) -> Group:
        now = self._now
        table = Table(box=None, pad_edge=False)
        for head in ("trial", "", "", "updates"):
            table.add_column(head, justify="right" if head == "updates" else "left", no_wrap=head != "")
        for name, answer in now.running.items():
            message = answer.message
            bar = "█" * round(20 * _share(answer))
            made = f"{message['update']}/{message['updates']}" if message.get("updates") else str(message.get("what"))
            table.add_row(name, Text(now.trials[name].title), f"{bar:<20}", made)
        spent = clock(time.monotonic() - self._began)
        failed = f", {len(now.failed)} failed" if now.failed else ""
        line = (
            f"{len(now.done)} of {len(now.trials)} finished{failed}, {len(now.waiting)} to come; {spent}{self._left()}"
        )
        return Group(table, Text(line))


def _share(answer: Answer) -> float:
    updates = answer.message.get("updates") or 0
    return min(1.0, answer.message.get("update", 0) / updates) if updates else 0.0


def clock(seconds: float) -> str:
    """
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
