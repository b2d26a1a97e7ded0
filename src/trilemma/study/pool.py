"""Many trials at once on one machine: worker processes that share its cores without getting in each other's way."""

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
from trilemma.study.job import Order


@dataclass(frozen=True)
class Answer:
    """What became of a trial, or how far it is.

    Attributes:
      trial: its id.
      kind: "progress", "done", "failed" or "stopped".
      message: what goes with it: ``what``, ``update`` and ``updates``; ``seconds``; ``reason`` and ``trace``.
    """

    trial: str
    kind: str
    message: dict[str, Any]


class Crew(Protocol):
    """Whoever does trials: the processes of this machine (:class:`Pool`) or a cluster."""

    size: int

    def give(self, order: Order) -> None:
        """Start a trial; call it only while fewer than ``size`` are under way."""

    def answers(self, seconds: float) -> Iterator[Answer]:
        """What has been heard, after waiting ``seconds`` at most for the first."""

    def stop(self) -> None:
        """Ask all to save and end; wait for them."""


def thread_limits(threads: int) -> dict[str, str]:
    """Environment variables that keep a process to so many threads.

    More threads than cores are far worse than waiting: OpenMP's spin while they wait for each other.  Two workers with
    one thread each beat one with two, since most of a small network's work does not split.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return dict.fromkeys(names, str(threads))


class Pool:
    """Worker processes, started when they are first needed and replaced when they die.

    A trial whose process dies (killed for memory, say) has failed with that as its reason.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._environment = os.environ | thread_limits(max(1, cores() // size))
        self._idle: list[_Process] = []
        self._busy: dict[str, _Process] = {}
        self._heard: queue.Queue[tuple[_Process, dict[str, Any] | None]] = queue.Queue()

    def give(self, order: Order) -> None:
        process = self._idle.pop() if self._idle else _Process(self._environment, self._heard)
        self._busy[order.trial.id] = process
        process.send(order)

    def answers(self, seconds: float) -> Iterator[Answer]:
        with contextlib.suppress(queue.Empty):
            yield from self._answer(*self._heard.get(timeout=seconds))
        while True:
            try:
                heard = self._heard.get_nowait()
            except queue.Empty:
                return
            yield from self._answer(*heard)

    def _answer(self, process: _Process, message: dict[str, Any] | None) -> Iterator[Answer]:
        if message is None:  # its output has ended
            ending = process.ending()
            if process in self._idle:
                self._idle.remove(process)
            for trial in [name for name, one in self._busy.items() if one is process]:
                del self._busy[trial]
                yield Answer(trial, "failed", {"reason": f"its process {ending}", "trace": None})
            return
        kind = message.pop("kind")
        if kind == "ready":
            return
        trial = message.pop("trial")
        if kind != "progress" and self._busy.pop(trial, None) is process and kind != "stopped":
            self._idle.append(process)
        yield Answer(trial, kind, message)

    def stop(self) -> None:
        everyone = [*self._idle, *self._busy.values()]
        for process in everyone:
            process.ask_to_end()
        for process in everyone:
            process.wait()
        self._idle.clear()
        self._busy.clear()


class _Process:
    """One worker, and the thread that listens to it."""

    def __init__(self, environment: dict[str, str], heard: queue.Queue[Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trilemma.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._listen, args=(heard,), daemon=True).start()

    def _listen(self, heard: queue.Queue[Any]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                heard.put((self, json.loads(line)))
        heard.put((self, None))

    def send(self, order: Order) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead: the listener says so
            self._process.stdin.write(order.to_json() + "\n")
            self._process.stdin.flush()

    def ask_to_end(self) -> None:
        self._hang_up()
        self._process.terminate()

    def _hang_up(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # what was not read is lost with the process
            assert self._process.stdin is not None
            self._process.stdin.close()

    def wait(self) -> None:
        """An update of a large batch may take a while; after two minutes the last checkpoint must do."""
        try:
            self._process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ending(self) -> str:
        """How it ended, once its output has."""
        self._hang_up()
        code = self._process.wait()
        if code < 0:
            hint = " (out of memory? use fewer --workers or a smaller --physical-batch)" if code == -9 else ""
            return f"was ended by signal {-code}{hint}"
        return f"ended with status {code}"
