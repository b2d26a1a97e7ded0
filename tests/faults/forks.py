"""Commands and workers of studies as forks of this process, which has imported what they need: each starts at once.

A process of its own imports for three seconds before it does anything that a fault or a kill could disturb.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def forked(work: Callable[[], object]) -> int:
    """The process id of a fork that does ``work``, which returns or exits with its status."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            try:
                status = int(work() or 0)  # type: ignore[call-overload]
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return child


def to_log(log: Path) -> None:
    """From now on this process prints to the end of a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)


class Fork:
    """A worker of a study, with what :mod:`trilemma.study.pool` uses of ``subprocess.Popen``."""

    def __init__(self, command: list[str], *, env: dict[str, str], **_: Any) -> None:
        assert command[-1] == "trilemma.study.worker"
        to_worker, from_worker = os.pipe(), os.pipe()

        def work() -> int:
            from trilemma.study import worker

            os.dup2(to_worker[0], 0)
            os.dup2(from_worker[1], 1)
            os.closerange(3, 1024)  # the locks of the parent, and the pipes of other workers
            sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
            os.environ.update(env)
            return worker.main()

        self.pid = forked(work)
        os.close(to_worker[0])
        os.close(from_worker[1])
        self.stdin = os.fdopen(to_worker[1], "w", encoding="utf-8")
        self.stdout = os.fdopen(from_worker[0], encoding="utf-8")
        self._status: int | None = None

    def wait(self, timeout: float = 600) -> int:
        end = time.monotonic() + timeout
        while self._status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked worker", timeout)
            else:
                time.sleep(0.01)
        return self._status

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self._status is None:
            os.kill(self.pid, number)


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Studies of this process and its forks fork their workers in place of starting them.  The learned attacks are
    small there, for speed alone: no fault or kill depends on how many trees a forest has."""
    from trilemma.attacks.learned import ForestAttacker, MlpAttacker
    from trilemma.study import pool

    real, sizes = pool.subprocess, (ForestAttacker.trees, MlpAttacker.most_epochs)
    ForestAttacker.trees, MlpAttacker.most_epochs = 2, 2
    pool.subprocess = SimpleNamespace(  # type: ignore[assignment]
        Popen=Fork, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    try:
        yield
    finally:
        pool.subprocess = real
        ForestAttacker.trees, MlpAttacker.most_epochs = sizes


@contextlib.contextmanager
def drawn_once() -> Iterator[None]:
    """Figures are drawn once, which takes three quarters of a small study's time, and are then written from memory,
    each file in three pieces: a first, a middle, and a last write to disturb."""
    from matplotlib.figure import Figure

    real = Figure.savefig
    drawings: dict[tuple[object, ...], bytes] = {}

    def savefig(figure: Figure, file: Any, *, format: str, **settings: Any) -> None:
        key = format, file.name if isinstance(file, Path) else None, *figure.get_size_inches(), len(figure.axes)
        if key not in drawings:
            memory = io.BytesIO()
            real(figure, memory, format=format, **settings)
            drawings[key] = memory.getvalue()
        if not isinstance(file, Path):
            file.write(drawings[key])
            return
        third = len(drawings[key]) // 3
        with open(file, "wb", buffering=0) as opened:
            for piece in (slice(third), slice(third, 2 * third), slice(2 * third, None)):
                opened.write(drawings[key][piece])

    Figure.savefig = savefig  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        Figure.savefig = real  # type: ignore[method-assign]


def run_here(arguments: list[str], log: Path) -> int:
    """The exit status of a command in this process, which has then imported what its forks need."""
    from trilemma.cli.main import main

    saved = [os.dup(number) for number in (1, 2)]
    try:
        to_log(log)
        return main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
