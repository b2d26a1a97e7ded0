"""Many trials on many machines: a Ray cluster whose machines see the study's folder under the same path.

The same plan, the same files and the same resume as on one machine.  A task whose machine is lost is started again by
Ray elsewhere, and goes on from the trial's last checkpoint.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from trilemma.errors import InputError
from trilemma.study.job import Order
from trilemma.study.pool import Answer, thread_limits

CONNECT_SECONDS = 8.0


class Cluster:
    """One trial a core, or a GPU where the trials ask for one.  Progress inside a trial is not told."""

    def __init__(self, address: str, device: str = "auto") -> None:
        """Connect.

        Args:
          address: "auto" (the cluster this machine belongs to) or HOST:PORT of its head.
          device: of the trials; "cuda" takes a GPU for each.

        Raises:
          InputError: ray is not installed, or nobody answers.
        """
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray needs the package ray: pip install 'trilemma[ray]'") from error
        self._ray: Any = ray
        _answered(address)
        _within(CONNECT_SECONDS, lambda: self._connect(address), f"no Ray cluster answers at {address}")
        unit = "GPU" if device.startswith("cuda") else "CPU"
        self.size = int(ray.cluster_resources().get(unit, 0))
        if self.size < 1:
            raise InputError(f"the Ray cluster at {address} has no {unit}: add a machine, or use another --device")
        # Without end: a lost machine is no fault of the trial's.
        self._task = ray.remote(num_cpus=1, num_gpus=1 if unit == "GPU" else 0, max_retries=-1)(_task)
        self._running: dict[Any, str] = {}

    def _connect(self, address: str) -> None:
        environment = {"env_vars": _environment()}
        self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)

    def give(self, order: Order) -> None:
        self._running[self._task.remote(order.to_json())] = order.trial.id

    def answers(self, seconds: float) -> Iterator[Answer]:
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        for task in done:
            trial = self._running.pop(task)
            try:
                message = self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                line = str(error).strip().splitlines()
                message = {
                    "kind": "failed",
                    "reason": f"Ray: {line[-1] if line else type(error).__name__}",
                    "trace": None,
                }
            yield Answer(trial, message.pop("kind"), message)

    def stop(self) -> None:
        for task in self._running:
            self._ray.cancel(task)
        self._running.clear()
        self._ray.shutdown()


def _environment() -> dict[str, str]:
    """What tasks must see as this process does, wherever they start."""
    names = ("PYTHONPATH", "TRILEMMA_DATA", "TRILEMMA_MEMORY_GIB")
    return thread_limits(1) | {name: os.environ[name] for name in names if name in os.environ}


def _task(order: str) -> dict[str, Any]:
    from trilemma.study.job import Order, reason, run_trial

    try:
        run = run_trial(Order.from_json(order))
    except Exception as error:
        return {"kind": "failed", **reason(error)}
    return {"kind": "done", "seconds": run.result["seconds"]["total"]}


def _within(seconds: float, do: Callable[[], None], otherwise: str) -> None:
    """Ray itself waits minutes for an address where somebody else answers."""
    found: queue.Queue[BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            do()
        except BaseException as error:
            found.put(error)
        else:
            found.put(None)

    threading.Thread(target=work, daemon=True).start()
    try:
        error = found.get(timeout=seconds)
    except queue.Empty as silence:
        raise InputError(f"{otherwise}: start one with ray start --head") from silence
    if error is not None:
        raise InputError(f"{otherwise} ({type(error).__name__}): start one with ray start --head") from error


def _answered(address: str) -> None:
    """Ray itself waits long for an address that nobody answers."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise InputError(f"--ray {address}: give HOST:PORT of the cluster's head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"nobody answers at {address} ({error.strerror or error}): start a cluster with ray start --head"
        ) from error
