"""Displays of long operations.  The first Ctrl-C asks the operation to stop, the second one stops it at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

from rich.console import Console

from trilemma.words import clean


class Live(Protocol):
    """What rich draws in place, again and again, on a terminal."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


L = TypeVar("L", bound=Live)


class Interruptible(Generic[L]):
    """A display of a long operation, as a context manager; ``should_stop()`` is true after a request to stop.

    ``_live`` is what :meth:`_new_live` returned while the operation runs on a terminal, and otherwise None.
    """

    signals: tuple[signal.Signals, ...] = (signal.SIGINT,)
    stopping = "stopping"  # the message at the first signal

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(stderr=True)
        self._live: L | None = None
        self._asked = False
        self._handlers: dict[int, Any] = {}

    def _new_live(self) -> L | None:
        return None

    def __enter__(self) -> Any:
        if self._console.is_terminal:
            self._live = self._new_live()
        if self._live is not None:
            self._live.start()
        for number in self.signals:
            self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._live is not None:
            self._live.stop()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self.say(f"{self.stopping} (press Ctrl-C again to stop at once)")

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._asked

    def say(self, text: str) -> None:
        """Print a line above the display."""
        # Names from outside may look like escape sequences, like markup ("[bold]") or like emoji codes (":boom:").
        self._console.print(clean(text), highlight=False, markup=False, emoji=False, soft_wrap=True)
