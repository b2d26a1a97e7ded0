"""What a trial tells those who wait for it: its progress, and that it was stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Stopped(Exception):
    """The training was asked to stop; its state is saved.  The message says how to go on."""

    @classmethod
    def after(cls, update: int, updates: int, folder: Path) -> Stopped:
        """After an update whose checkpoint is in the folder."""
        return cls(f"stopped after update {update} of {updates}, kept in {folder}; the same command resumes from there")


@dataclass(frozen=True)
class TrialProgress:
    """The state of a trial, as passed to the ``progress`` callback.

    Attributes:
      what: "training", or the name of a measurement.
      update, updates: the number of updates made, and of all updates.
      loss: mean training loss since the last call (not private; for the screen), or None.
      epsilon: the epsilon spent at the last evaluation, or None.
      evaluation: the history line that was just written, or None.
      about: what is trained and how long, in one or two lines; in the call before the first update only.
      preparing: features are being computed before the first update; ``update`` of ``updates`` counts images.
    """

    what: str
    update: int
    updates: int
    loss: float | None = None
    epsilon: float | None = None
    evaluation: dict[str, Any] | None = None
    preparing: bool = False
    about: str = ""
