"""Run many trials at once on one machine, in worker processes that share its cores."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from trilemma.machine import cores


@dataclass(frozen=True)
class Event:
    """News of a running trial.

    Attributes:
      trial: its id, or that of a shadow.
      kind: "progress", "done", "failed" or "stopped".
      message: details of that kind: ``what``, ``update`` and ``updates``; ``seconds`` and, of a trial, ``accuracy``
        and ``epsilon``; ``reason`` and ``trace``.
    """

    trial: str
    kind: str
    message: dict[str, Any]


class Work(Protocol):
    """What a worker can do: a trial of a study, or a shadow of a run."""

    @property
    def id(self) -> str:
        """The name of the job, unique among the jobs of an executor."""

    def to_json(self) -> str:
        """The job as JSON, which the worker reads back."""


class Executor(Protocol):
    """What runs jobs: the processes of this machine (:class:`Pool`) or a cluster."""

    size: int

    def submit(self, job: Work) -> None:
        """Start a job; call this only while fewer than ``size`` are running."""

    def events(self, seconds: float) -> Iterator[Event]:
        """Events since the last call, after waiting at most ``seconds`` for the first."""

    def stop(self) -> None:
        """Ask all workers to save and exit, and wait for them."""


def thread_limits(threads: int) -> dict[str, str]:
    """Environment variables that limit a process to ``threads`` threads.

    Oversubscribed cores cost far more than idle ones, because OpenMP's threads spin while they wait for each other.
    Two workers with one thread each beat one worker with two, since little of a small network's work parallelizes.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return dict.fromkeys(names, str(threads))


def worker_limits(workers: int) -> dict[str, str]:
    """The :func:`thread_limits` of each of ``workers`` processes that share this machine's cores.

    A variable that the caller has set to fewer threads keeps its value: whoever shares the machine has a reason to.
    """
    limits = thread_limits(max(1, cores() // workers))
    for name, threads in limits.items():
        asked = os.environ.get(name, "").split(",")[0].strip()  # OpenMP's may list one for each level of nesting
        if asked.isdigit() and 0 < int(asked) < int(threads):
            limits[name] = asked
    return limits


class Pool:
    """Worker processes, started on demand and replaced when they die.

    A trial whose process dies (killed for lack of memory, for example) fails with that as its reason.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._environment = os.environ | worker_limits(size)
        self._idle: list[_Process] = []
        self._busy: dict[str, _Process] = {}
        self._messages: queue.Queue[tuple[_Process, dict[str, Any] | None]] = queue.Queue()

    def submit(self, job: Work) -> None:
        """Hand a job to an idle worker process, or to a new one."""
        process = self._idle.pop() if self._idle else _Process(self._environment, self._messages)
        self._busy[job.id] = process
        process.send(job)

    def events(self, seconds: float) -> Iterator[Event]:
        """What has happened since the last call, after at most ``seconds``."""
        with contextlib.suppress(queue.Empty):
            yield from self._events_of(*self._messages.get(timeout=seconds))
        while True:
            try:
                process, message = self._messages.get_nowait()
            except queue.Empty:
                return
            yield from self._events_of(process, message)

    def _events_of(self, process: _Process, message: dict[str, Any] | None) -> Iterator[Event]:
        if message is None:  # its output has ended
            ending = process.ending()
            if process in self._idle:
                self._idle.remove(process)
            for trial in [name for name, worker in self._busy.items() if worker is process]:
                del self._busy[trial]
                yield Event(trial, "failed", {"reason": f"its process {ending}", "trace": None})
            return
        kind = message.pop("kind")
        if kind == "ready":
            return
        trial = message.pop("trial")
        if kind != "progress" and self._busy.pop(trial, None) is process and kind != "stopped":
            self._idle.append(process)
        yield Event(trial, kind, message)

    def stop(self) -> None:
        """End all worker processes; running trials save themselves first."""
        processes = [*self._idle, *self._busy.values()]
        for process in processes:
            process.ask_to_end()
        for process in processes:
            process.wait()
        self._idle.clear()
        self._busy.clear()


class _Process:
    """One worker process, and the thread that reads its messages."""

    def __init__(self, environment: dict[str, str], messages: queue.Queue[Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trilemma.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    def _listen(self, messages: queue.Queue[Any]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                messages.put((self, json.loads(line)))
        messages.put((self, None))

    def send(self, job: Work) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process has died, which the listener reports
            self._process.stdin.write(job.to_json() + "\n")
            self._process.stdin.flush()

    def ask_to_end(self) -> None:
        self._hang_up()
        self._process.terminate()

    def _hang_up(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process has died with messages unread
            assert self._process.stdin is not None
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait for the process to exit; kill it after two minutes, which loses only work since its last checkpoint."""
        try:
            self._process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ending(self) -> str:
        """How the process ended; call this once its output has ended."""
        self._hang_up()
        code = self._process.wait()
        if code < 0:
            hint = " (out of memory? use fewer --workers or a smaller --physical-batch)" if code == -9 else ""
            return f"was killed by signal {-code}{hint}"
        return f"ended with status {code}"
