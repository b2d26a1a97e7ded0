"""Run many trials on many machines: a Ray cluster whose machines see the study's folder under the same path.

Trials, files and resuming are the same as on one machine.  Ray restarts a task whose machine is lost on another one,
where it resumes from the trial's last checkpoint.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from trilemma.errors import InputError
from trilemma.study.pool import Event, Work, thread_limits

CONNECT_SECONDS = 8.0


class Cluster:
    """One trial per core, or per GPU where the trials use one.  Progress within a trial is not reported."""

    def __init__(self, address: str, device: str = "auto") -> None:
        """Connect to a running cluster.

        Args:
          address: "auto" (the cluster this machine belongs to) or HOST:PORT of its head.
          device: of the trials; "cuda" takes one GPU for each.

        Raises:
          InputError: ray is not installed, or no cluster answers.
        """
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray needs the package ray: pip install 'trilemma[ray]'") from error
        self._ray: Any = ray
        _check_address(address)
        _within(CONNECT_SECONDS, lambda: self._connect(address), f"no Ray cluster answers at {address}")
        unit = "GPU" if device.startswith("cuda") else "CPU"
        self.size = int(ray.cluster_resources().get(unit, 0))
        if self.size < 1:
            raise InputError(f"the Ray cluster at {address} has no {unit}: add a machine, or use another --device")
        # Retry forever: a lost machine is not the trial's fault.
        self._task = ray.remote(num_cpus=1, num_gpus=1 if unit == "GPU" else 0, max_retries=-1)(_task)
        self._running: dict[Any, str] = {}

    def _connect(self, address: str) -> None:
        environment = {"env_vars": _environment()}
        self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)

    def submit(self, job: Work) -> None:
        """Hand a job to the cluster."""
        self._running[self._task.remote(job.to_json())] = job.id

    def events(self, seconds: float) -> Iterator[Event]:
        """What has happened since the last call, after at most ``seconds``."""
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
            yield Event(trial, message.pop("kind"), message)

    def stop(self) -> None:
        """Cancel all running jobs."""
        for task in self._running:
            self._ray.cancel(task)
        self._running.clear()
        self._ray.shutdown()


def _environment() -> dict[str, str]:
    """Environment variables that tasks must share with this process, wherever they start."""
    names = ("TRILEMMA_DATA", "TRILEMMA_MEMORY_GIB")
    # Modules of the user's own are looked for in the folder that the command was started in.
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), os.getcwd())))
    return thread_limits(1) | {name: os.environ[name] for name in names if name in os.environ} | {"PYTHONPATH": path}


def _task(job: str) -> dict[str, Any]:
    from trilemma.study.job import failure_of
    from trilemma.study.shadow_job import read_job

    try:
        outcome = read_job(job).perform(lambda *_: None, lambda: False)
    except Exception as error:
        return {"kind": "failed", **failure_of(error)}
    return {"kind": "done", **outcome}


def _within(seconds: float, do: Callable[[], None], otherwise: str) -> None:
    """Run ``do`` with a time limit: Ray itself waits minutes for an address at which something else answers."""
    outcome: queue.Queue[BaseException | None] = queue.Queue()

    def run() -> None:
        try:
            do()
        except BaseException as error:
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=run, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty as silence:
        raise InputError(f"{otherwise}: start one with ray start --head") from silence
    if error is not None:
        raise InputError(f"{otherwise} ({type(error).__name__}): start one with ray start --head") from error


def _check_address(address: str) -> None:
    """Refuse an address at which nothing answers, for which Ray itself would wait minutes."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise InputError(f"--ray {address}: give HOST:PORT of the cluster's head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"nothing answers at {address} ({error.strerror or error}): start a cluster with ray start --head"
        ) from error
