"""Handling of Ctrl-C: the first one asks a long operation to stop, the second one stops it at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console

from trilemma.words import clean


class Interruptible:
    """A display of a long operation, as a context manager; ``should_stop()`` is true after a request to stop."""

    signals: tuple[signal.Signals, ...] = (signal.SIGINT,)
    stopping = "stopping"  # the message at the first signal

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(stderr=True)
        self._asked = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Any:
        for number in self.signals:
            self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self.say(f"{self.stopping} (press Ctrl-C again to stop at once)")

    def should_stop(self) -> bool:
        return self._asked

    def say(self, text: str) -> None:
        # Names from outside may look like escape sequences, like markup ("[bold]") or like emoji codes (":boom:").
        self._console.print(clean(text), highlight=False, markup=False, emoji=False, soft_wrap=True)
