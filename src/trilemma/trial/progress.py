"""What a trial tells those who wait for it: its progress, and that it was stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class Stopped(Exception):
    """The training was asked to stop; its state is saved.  The message says how to go on."""


@dataclass(frozen=True)
class Progress:
    """The state of a trial, as passed to the ``progress`` callback.

    Attributes:
      what: "training", or the name of a measurement.
      update, updates: the number of updates made, and of all updates.
      loss: mean training loss since the last call (not private; for the screen), or None.
      epsilon: the epsilon spent at the last evaluation, or None.
      evaluation: the history line that was just written, or None.
      preparing: features are being computed before the first update; ``update`` of ``updates`` counts images.
    """

    what: str
    update: int
    updates: int
    loss: float | None = None
    epsilon: float | None = None
    evaluation: dict[str, Any] | None = None
    preparing: bool = False


@contextmanager
def shown(progress: Callable[[Progress], None] | bool | None) -> Iterator[Callable[[Progress], None]]:
    """The callback that reports a training: the one that is given, a display, or one that does nothing.

    Args:
      progress: a callback; None for a display where somebody watches, True for one anywhere, False for none.
    """
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not (in_notebook() or sys.stderr.isatty())):
        yield lambda step: None
    else:
        from rich.console import Console

        from trilemma.trial.display import TrainingDisplay

        # Lines in a notebook: what is drawn in place there needs packages that may be missing.
        console = Console(file=sys.stderr, force_jupyter=False, force_terminal=False if in_notebook() else None)
        with TrainingDisplay("training", console, interruptible=False) as display:
            yield display


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
