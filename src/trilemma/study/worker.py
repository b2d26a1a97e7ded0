"""A worker process: it reads jobs from standard input, one JSON line each, and reports on standard output.

It is started by :mod:`trilemma.study.pool` as ``python -m trilemma.study.worker``, and exits when its input ends, on
SIGTERM, or when its parent process is gone; in the last two cases it first saves the trial it is running.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

PROGRESS_SECONDS = 0.5
"""Minimum seconds between progress messages."""


def main() -> int:
    parent = os.getppid()
    stop_requests: list[bool] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop_requests.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    # What libraries print must not be read as a message.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(**message: Any) -> None:
        try:
            output.write(json.dumps(message) + "\n")
            output.flush()
        except (BrokenPipeError, ValueError):
            stop_requests.append(True)

    def should_stop() -> bool:
        return bool(stop_requests) or os.getppid() != parent

    from trilemma.study.job import failure_of
    from trilemma.study.shadow_job import read_job
    from trilemma.trial.progress import Stopped

    send(kind="ready")
    for line in sys.stdin:
        assignment = read_job(line)
        last = 0.0

        def progress(what: str, update: int, updates: int, name: str = assignment.id) -> None:
            nonlocal last
            now = time.monotonic()
            if what != "training" or now - last > PROGRESS_SECONDS:
                last = now
                send(kind="progress", trial=name, what=what, update=update, updates=updates)

        try:
            send(kind="done", trial=assignment.id, **assignment.perform(progress, should_stop))
        except Stopped:
            send(kind="stopped", trial=assignment.id)
            return 0
        except Exception as error:
            send(kind="failed", trial=assignment.id, **failure_of(error))
        if should_stop():
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
