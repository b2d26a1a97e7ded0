"""Files that are written whole or not at all, JSON, and folders that one process holds at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trilemma.errors import InputError
from trilemma.hints import one_line

try:
    import fcntl
except ImportError:  # pragma: no cover (not on Windows, where two runs on one folder are not kept apart)
    fcntl = None  # type: ignore[assignment]


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it becomes ``path`` in one step if nothing goes wrong.

    Raises:
      InputError: no space or no right to write.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --out"
        ) from error


def write_json(path: Path, values: Any) -> None:
    with written(path) as part:
        part.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      InputError: there is no such file, or no object can be read from it.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path.parent} holds no {path.name}: is it the folder of a run?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): put the file back, or delete its folder") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object: put the file back, or delete its folder")
    return values


def make_folder(path: Path) -> None:
    """Create ``path`` if need be, and find out now whether it can be written to.

    Raises:
      InputError: it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error


@contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Hold ``path`` for one run: the lock is the system's and goes with the process, so none is ever stale.

    Raises:
      InputError: another process is at work there.
    """
    try:
        file: IO[str] = open(path / ".lock", "w")  # noqa: SIM115 (held open as the lock)
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"another process is at work in {path}: wait for it, or use another --out") from error
        yield
