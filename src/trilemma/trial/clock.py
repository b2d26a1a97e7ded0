"""The time that each phase of a trial took."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def charge(self, phase: str) -> None:
        """Charge the time since the last charge to ``phase``."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the times of an earlier part of the trial."""
        for phase, value in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + float(value)
