"""A worker process: reads orders from standard input, one JSON line each, and tells of them on standard output.

Started by :mod:`trilemma.study.pool` as ``python -m trilemma.study.worker``; ends when its input does, when it gets
SIGTERM, or when the process that started it is gone, in the last two cases after saving the trial it is at.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

TELL_SECONDS = 0.5
"""Progress is told no more often than this."""


def main() -> int:
    parent = os.getppid()
    asked: list[bool] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**message: Any) -> None:
        try:
            answers.write(json.dumps(message) + "\n")
            answers.flush()
        except (BrokenPipeError, ValueError):
            asked.append(True)

    def should_stop() -> bool:
        return bool(asked) or os.getppid() != parent

    from trilemma.study.job import Order, reason, run_trial
    from trilemma.trial.train import Progress, Stopped

    tell(kind="ready")
    for line in sys.stdin:
        order = Order.from_json(line)
        last = 0.0

        def progress(step: Progress, name: str = order.trial.id) -> None:
            nonlocal last
            now = time.monotonic()
            if step.what != "training" or now - last > TELL_SECONDS:
                last = now
                tell(kind="progress", trial=name, what=step.what, update=step.update, updates=step.updates)

        try:
            run = run_trial(order, progress=progress, should_stop=should_stop)
            tell(kind="done", trial=order.trial.id, seconds=run.result["seconds"]["total"])
        except Stopped:
            tell(kind="stopped", trial=order.trial.id)
            return 0
        except Exception as error:
            tell(kind="failed", trial=order.trial.id, **reason(error))
        if should_stop():
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
