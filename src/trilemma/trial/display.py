"""The terminal display of a training: a live line, or one line per evaluation if the output is redirected."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trilemma.rounding import upper
from trilemma.trial.interrupt import Interruptible
from trilemma.trial.progress import TrialProgress
from trilemma.words import clean, clock

PHASE_SECONDS = 30.0
"""Without a terminal, how often a line says how far a long phase is."""


class TrainingDisplay(Interruptible[Progress]):
    """A context manager; the display is the ``progress`` callback of :func:`trilemma.train`, and
    ``display.should_stop`` is its ``should_stop``."""

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
    stopping = "stopping after this update"

    def __init__(self, title: str, console: Console | None = None, *, interruptible: bool = True) -> None:
        """Create a display, which shows nothing until it is entered.

        Args:
          title: the beginning of every line.
          console: the console to print on; standard error by default.
          interruptible: whether Ctrl-C asks the training to stop; otherwise it raises KeyboardInterrupt as usual.
        """
        self._title = title
        super().__init__(console)
        if not interruptible:
            self.signals = ()
        self._began = (0.0, 0)
        self._told = time.monotonic()

    def __enter__(self) -> TrainingDisplay:
        super().__enter__()
        return self

    def _new_live(self) -> Progress:
        live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}", markup=False),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = live.add_task(self._title, total=None, detail="", unit="")
        return live

    def data(self, what: str, done: int, total: int) -> None:
        """Callback for :func:`trilemma.load_data`."""
        if self._live is not None:
            self._live.update(self._task, description=clean(what), completed=done, total=total)
        elif done == total >= 1000:
            self.say(f"{what}: {total}")

    def __call__(self, step: TrialProgress) -> None:
        if step.preparing:
            if self._live is not None:
                self._live.update(
                    self._task,
                    description=clean(step.what),
                    completed=step.update,
                    total=step.updates or None,
                    unit="",
                    detail="",
                )
            elif step.update == step.updates:
                self._tell(f"{self._title}  {step.what}" + (f": {step.updates}" if step.updates else ""))
            else:
                self._tell(f"{self._title}  {step.what}: {step.update}/{step.updates}", seconds=PHASE_SECONDS)
            return
        if not self._began[0]:
            self._began = (time.monotonic(), step.update)
        if step.about:
            for about in step.about.splitlines():
                self.say(about)
            return
        made = step.update - self._began[1]
        rate = made / max(time.monotonic() - self._began[0], 1e-9)
        if self._live is not None:
            loss = "" if step.loss is None else f"loss {step.loss:.3f}  "
            spent = "" if step.epsilon is None else f"ε {upper(step.epsilon, 2)}  "
            description = self._title if step.what == "training" else f"{self._title}: {clean(step.what)}"
            self._live.update(
                self._task,
                description=description,
                completed=step.update,
                total=step.updates,
                unit="updates",
                detail=f"{_speed(rate)}{loss}{spent}",
            )
        if step.evaluation is not None:
            line = step.evaluation
            to_come = step.updates - step.update
            left = f"about {clock(to_come / rate)} left" if rate and to_come else ""
            spent = "" if line["epsilon"] is None else f"  ε {upper(line['epsilon'])}"
            loss = "" if line["train_loss"] is None else f"  loss {line['train_loss']:.3f}"
            self._tell(
                f"{self._title}  {step.update}/{step.updates}{loss}  accuracy {line['accuracy']:.3f}"
                f"  (train {line['train_accuracy']:.3f}){spent}  {_speed(rate)}{left}".rstrip()
            )
        elif self._live is None and step.what != "training":
            self._tell(f"{self._title}  {step.what}")
        elif self._live is None:
            self._tell(f"{self._title}  {step.update}/{step.updates}  {_speed(rate)}".rstrip(), seconds=PHASE_SECONDS)

    def _tell(self, line: str, *, seconds: float = 0.0) -> None:
        """Say a line, unless one was said less than so many ``seconds`` ago."""
        now = time.monotonic()
        if now - self._told >= seconds:
            self._told = now
            self.say(line)


def _speed(rate: float) -> str:
    """
    >>> _speed(12.34), _speed(0.04), _speed(0.0)
    ('12.3 updates/s  ', '25.0 s an update  ', '')
    """
    if not rate:
        return ""
    return f"{rate:.1f} updates/s  " if rate >= 1 else f"{1 / rate:.1f} s an update  "


@contextmanager
def shown(progress: Callable[[TrialProgress], None] | bool | None) -> Iterator[Callable[[TrialProgress], None]]:
    """The callback that reports a training: the one that is given, a display, or one that does nothing.

    Args:
      progress: a callback; None for a display where somebody watches, True for one anywhere, False for none.
    """
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not (in_notebook() or sys.stderr.isatty())):
        yield lambda step: None
    else:
        # Lines in a notebook: what is drawn in place there needs packages that may be missing.
        console = Console(file=sys.stderr, force_jupyter=False, force_terminal=False if in_notebook() else None)
        with TrainingDisplay("training", console, interruptible=False) as display:
            yield display


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
