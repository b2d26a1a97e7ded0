"""Processes that begin at once: forks of a process that has imported what the commands need, and has computed nothing.

A new interpreter imports for several seconds before it does anything that a test is about.  Here one process (a server
that all processes of one pytest share, started when it is first needed) has imported all of it, and :class:`Process`
asks it for a fork that goes on as ``python -m ...``, ``python script`` or ``python -c`` would: with its own arguments,
folder, environment, streams and exit status, for signals to reach.  Studies that run in a fork fork their workers too.
Tests of how an interpreter starts, or of what importing does, start one (``subprocess``).

Each fork has a keeper, its parent, which tells the exit status to whoever asked for the fork, and ends with them, so
that a process can notice that it was orphaned.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

AVAILABLE = hasattr(os, "pidfd_open")
"""Elsewhere than on Linux, processes are started as usual."""

_PRELOADED = (
    "torch._dynamo",  # which optimizers import when the first one is made
    "torch.distributed.algorithms.join",
    "dp_accounting.pld.pld_privacy_accountant",
    "dp_accounting.rdp.rdp_privacy_accountant",
    "pandas",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "safetensors.torch",
    "scipy.stats",
    "sklearn.datasets.data",
    "sklearn.datasets.descr",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.neural_network",
    "PIL.Image",
    "xml.dom.minidom",
)
_address = ""


class Process:
    """A fork, with what is used here of ``subprocess.Popen``.

    Args:
      command: its first word is ``sys.executable``, or the path of ``trilemma``.
      stdin, stdout, stderr: None (the caller's own), a file descriptor, a file, ``PIPE``, ``DEVNULL`` or ``STDOUT``.
      start_new_session: begin a process group, which can be killed as a whole.
    """

    def __init__(
        self,
        command: Sequence[object],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
        text: bool = True,
        encoding: str = "utf-8",
    ) -> None:
        assert text
        assert encoding == "utf-8"
        self.args = [str(word) for word in command]
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None
        request = {
            "command": _without_launcher(self.args),
            "cwd": str(cwd or os.getcwd()),
            "environment": dict(os.environ if env is None else env),
            "session": start_new_session,
            "attackers": _attackers(),
        }
        with contextlib.ExitStack() as close:
            fds = [self._descriptor(name, value, close) for name, value in
                   (("stdin", stdin), ("stdout", stdout), ("stderr", stderr))]  # fmt: skip
            if stderr == subprocess.STDOUT:
                fds[2] = fds[1]
            self._keeper = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._keeper.connect(_server())
            socket.send_fds(self._keeper, [json.dumps(request).encode() + b"\n"], fds)
        self._news = self._keeper.makefile("rb")
        self.pid = int(self._news.readline())

    def _descriptor(self, name: str, value: Any, close: contextlib.ExitStack) -> int:
        number = ("stdin", "stdout", "stderr").index(name)
        if value is None or value == subprocess.STDOUT:
            return number
        if value == subprocess.DEVNULL:
            null = os.open(os.devnull, os.O_RDWR)
            close.callback(os.close, null)
            return null
        if value == subprocess.PIPE:
            ends = os.pipe()
            theirs, ours = ends if name == "stdin" else ends[::-1]
            close.callback(os.close, theirs)
            setattr(self, name, os.fdopen(ours, "w" if name == "stdin" else "r", encoding="utf-8"))
            return theirs
        return value if isinstance(value, int) else int(value.fileno())

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._keeper], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._news.readline())
            self._news.close()
            self._keeper.close()
        return self.returncode

    def communicate(self, timeout: float = 600) -> tuple[Any, Any]:
        """What it printed to the pipes, once it has ended."""
        printed: dict[str, str] = {}
        pipes = {"stdout": self.stdout, "stderr": self.stderr}

        def read(name: str, pipe: Any) -> None:
            with pipe:
                printed[name] = pipe.read()

        readers = [threading.Thread(target=read, args=item, daemon=True) for item in pipes.items() if item[1]]
        for reader in readers:
            reader.start()
        end = time.monotonic() + timeout
        self.wait(timeout)
        for reader in readers:  # they end when the last process that holds the pipe does
            reader.join(max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        return printed.get("stdout"), printed.get("stderr")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Popen: Any = Process if AVAILABLE else functools.partial(subprocess.Popen, text=True, encoding="utf-8")


def run(
    command: Sequence[object],
    *,
    timeout: float = 600,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """A fork, waited for; what it prints is captured.  A fork that takes longer than ``timeout`` seconds is killed."""
    process = Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        printed, errors = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, printed, errors)
    return subprocess.CompletedProcess(process.args, process.returncode, printed, errors)


@contextlib.contextmanager
def workers() -> Iterator[None]:
    """Within it, studies of this process have forks for workers."""
    from trilemma.study import pool

    real = pool.subprocess
    if AVAILABLE:
        pool.subprocess = _STAND_IN  # type: ignore[assignment]
    try:
        yield
    finally:
        pool.subprocess = real


_STAND_IN = SimpleNamespace(Popen=Process, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)


def _attackers() -> list[int]:
    """The sizes of the learned attacks in this process: tests make them small, and their forks must agree."""
    from trilemma.attacks.learned import ForestAttacker, MlpAttacker

    return [ForestAttacker.trees, MlpAttacker.most_epochs]


def _without_launcher(words: list[str]) -> list[str]:
    """A command's words after ``python``."""
    program, *rest = words
    if program == sys.executable:
        return rest
    assert Path(program).name == "trilemma"
    return ["-m", "trilemma.cli.main", *rest]


# ---- the server -----------------------------------------------------------------------------------------------------


def _server() -> str:
    """The address of the server, in a process of pytest or in one of the server's forks."""
    return _address or _started()


@functools.cache
def _started() -> str:
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    path = os.pathsep.join(filter(None, sys.path))
    folder = Path(tempfile.gettempdir(), f"warm-{owner}-{zlib.crc32(path.encode())}")  # short, as addresses must be
    folder.mkdir(0o700, exist_ok=True)
    address = str(folder / "socket")
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(address):
            Path(address).unlink(missing_ok=True)  # of an owner that had the same number
            server = subprocess.Popen(
                [sys.executable, __file__, address, str(owner)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
                start_new_session=True,
            )
            assert server.stdout is not None
            with server.stdout as said:
                assert said.readline() == b"ready\n"
            server.returncode = 0  # it ends after this process, which does not wait for it
    return address


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        return asker.connect_ex(address) == 0


def _serve(address: str, owner: int) -> None:
    """Fork for whoever asks, until the owner ends.  A fork returns from here as the process that was asked for."""
    global _address
    sys.modules["warm"] = sys.modules[__name__]
    _preload()
    _address = address
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(64)
    ended = os.pidfd_open(owner)
    print("ready", flush=True)
    while True:
        ready = select.select([listener, ended], [], [])[0]
        with contextlib.suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if ended in ready:
            shutil.rmtree(Path(address).parent)
            os._exit(0)
        asker, _ = listener.accept()
        content, fds, _, _ = socket.recv_fds(asker, 1 << 16, 3)
        if not content:  # whoever it was asked only whether there is an answer
            asker.close()
            continue
        while not content.endswith(b"\n"):
            content += asker.recv(1 << 16)
        if os.fork() == 0:
            listener.close()
            child = os.fork()
            if child == 0:
                asker.close()
                _become(json.loads(content), fds)
                return
            _keep(child, asker, fds)
        asker.close()
        for fd in fds:
            os.close(fd)


def _preload() -> None:
    """Import everything that commands import, but start no thread: a fork has only the one that forked."""
    import trilemma
    from trilemma.report import style
    from trilemma.study import pool

    for name in _PRELOADED:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(trilemma.__path__, "trilemma."):
        if not module.name.endswith(("__main__", "kernels")):  # the latter are for GPUs, and Triton takes seconds
            importlib.import_module(module.name)
    pool.subprocess = _STAND_IN  # type: ignore[assignment]
    style._STYLE["pdf.fonttype"] = 3  # which is quick
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    others = [name for name in threads if name != "jemalloc_bg_thd"]  # pyarrow's, which looks after its forks itself
    assert len(others) == 1, f"a module that is imported here starts a thread, which no fork would have: {others}"
    gc.collect()
    gc.freeze()


def _keep(child: int, asker: socket.socket, fds: list[int]) -> None:
    """Tell who asked the process id and, in the end, the exit status; end at once when they have."""
    for fd in (0, 1, *fds):
        os.close(fd)
    ended = os.pidfd_open(child)
    asker.sendall(b"%d\n" % child)
    if ended in select.select([ended, asker], [], [])[0]:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):
            asker.sendall(b"%d\n" % status)
    os._exit(0)


def _become(request: dict[str, Any], fds: list[int]) -> None:
    """Make of this fork what a new process would be."""
    import torch

    from trilemma.attacks.learned import ForestAttacker, MlpAttacker

    ForestAttacker.trees, MlpAttacker.most_epochs = request["attackers"]
    if request["session"]:
        os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    os.closerange(3, 1024)
    text: dict[str, Any] = {"encoding": "utf-8", "closefd": False}
    sys.stdin, sys.stdout = os.fdopen(0, **text), os.fdopen(1, "w", **text)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", **text)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    new = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder not in sys.path]
    sys.path[:0] = new
    for folder in filter(None, new):
        if (custom := Path(folder, "sitecustomize.py")).exists():
            runpy.run_path(str(custom))
    sys.argv = request["command"]


def _go_on() -> None:
    """Run what ``sys.argv`` says, like ``python``."""
    kind = sys.argv[0]
    if kind == "-m":
        sys.argv = sys.argv[1:]
        module = importlib.import_module({"trilemma": "trilemma.cli.main"}.get(sys.argv[0], sys.argv[0]))
        sys.path.insert(0, os.getcwd())
        sys.exit(module.main())
    if kind == "-c":
        code, sys.argv = sys.argv[1], ["-c", *sys.argv[2:]]
        sys.path.insert(0, os.getcwd())
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return
    sys.path.insert(0, str(Path(kind).parent))
    runpy.run_path(kind, run_name="__main__")


def _end(work: Callable[[], object]) -> None:
    """End with the exit status of ``work``, without taking down the interpreter, which takes longer than most of it."""
    status = 0
    try:
        work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
    _end(_go_on)
