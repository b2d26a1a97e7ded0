"""Files that are written whole or not at all, JSON, and folders that one process holds at a time."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import date, time
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from trilemma.errors import InputError
from trilemma.hints import one_line

try:
    import fcntl
except ImportError:  # pragma: no cover (on Windows two runs on one folder are not kept apart)
    fcntl = None  # type: ignore[assignment]


MOST_TEXT, MOST_TOML = 10 * 2**20, 2**18
"""Most bytes of a file that is parsed whole: as objects of Python they take up to twenty times as much."""
_MOST_DOTS = 200
"""Most dots in a line of TOML: the memory of Python's parser grows with the square of the number of parts in a key."""


@contextmanager
def atomically(path: Path, *, shared: bool = False, durable: bool = True) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; the file written there becomes ``path`` in one step if nothing fails.

    At every moment ``path`` holds either its earlier content or all of the new content.  If anything is raised, the
    unfinished file is removed.

    Args:
      path: the path of the file; its folder exists.
      shared: whether other processes may write the same file at this time; each then writes under a name of its own.
      durable: whether the content must be on the disk before the file is renamed to ``path``, and the new name before
        the context ends, so that it survives a power cut.  Not needed for files that are checked when they are read
        or that can be made again.

    Raises:
      OSError: the disk is full or the folder cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part" if shared else f"{path.name}.part")
    try:
        yield part
        if durable:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk (a file's content is synced separately from its name)."""
    if not hasattr(os, "O_DIRECTORY"):  # pragma: no cover (Windows, which does this on its own)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems cannot; the file is complete nonetheless
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written(path: Path, *, durable: bool = True, private: bool = False) -> Iterator[Path]:
    """:func:`atomically`, for files in a folder that the user chose.

    Args:
      path: the path of the file; its folder exists.
      durable: as for :func:`atomically`.
      private: whether its owner alone may read it (mode 0600): so is everything that says something of single examples.

    Raises:
      InputError: no space or no right to write.
    """
    try:
        with atomically(path, durable=durable) as part, owner_alone(part) if private else nullcontext():
            yield part
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --out"
        ) from error


@contextmanager
def owner_alone(path: Path) -> Iterator[None]:
    """Whatever is written to ``path`` meanwhile can be read by its owner alone (mode 0600), from its first byte on.

    Raises:
      OSError: no right to write, or the file was replaced by one that others can read.
    """
    path.unlink(missing_ok=True)  # a killed process may have left one
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    yield
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} could be read by others")


def append_line(path: Path, line: str) -> None:
    """Append ``line`` and a line break, and wait until they are on the disk.

    Raises:
      InputError: no space or no right to write.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; make room there") from error


def write_json(path: Path, values: Any, *, private: bool = False) -> None:
    """Write JSON that any reader understands: it knows no NaN and no infinity, see :func:`jsonable`; ``private`` as
    for :func:`written`.

    Raises:
      InputError: no space or no right to write.
      ValueError: a number is not finite.
    """
    with written(path, private=private) as part:
        part.write_text(json_text(values), "utf-8")


def json_text(values: Any) -> str:
    """The text of a JSON file.

    Raises:
      ValueError: a number is not finite.
    """
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The text of an ordinary file.

    Raises:
      OSError: it cannot be read, or it is a device or a pipe, which might never end.
      ValueError: it is not UTF-8, or longer than ``most`` bytes.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"it has {size} bytes, more than the {most} that are read")
        return file.read(most + 1).decode("utf-8")


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """An ordinary file, for reading.

    Raises:
      OSError: it cannot be read, or is a device or a pipe rather than a file, which might never end.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is not an ordinary file")
        yield file


def _without_waiting(name: str, flags: int) -> int:
    """Open a file, even a pipe, without waiting for another process to write to it."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file.

    Args:
      path: the path of the file.
      what: the file in errors, such as "the recipe mine.toml".

    Raises:
      InputError: it cannot be read, is too long or nested too deep, or is not TOML.
    """
    try:
        text = read_text(path, MOST_TOML)
        if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
            raise ValueError(f"a line has more than {_MOST_DOTS} dots: break it up")
        return tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot read {what} ({one_line(error)})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not valid TOML ({one_line(error)})") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: it is not JSON; NaN and infinity are not, though Python reads them.
    """
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      InputError: there is no such file, or no object can be read from it.
    """
    try:
        values = parse_json(read_text(path))
    except FileNotFoundError as error:
        whose = "a study" if path.name == "study.json" else "an audit" if path.name == "audit.json" else "a run"
        what = f"holds no {path.name}: is it the folder of {whose}?"
        missing = f"there is no folder {path.parent}: give that of {whose}"
        raise InputError(f"{path.parent} {what}" if path.parent.is_dir() else missing) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): put the file back, or delete its folder") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object: put the file back, or delete its folder")
    return values


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name ``path`` in every error that its content causes.

    This is for files that this package wrote and reads back whole: code that uses their values may fail on anything
    that damage, another version or another person put there.

    Raises:
      InputError: instead of an error about a key, a type or a value.
    """
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"{path} holds something other than what this version writes ({type(error).__name__}: {one_line(error)}): "
            f"put the file back, or delete its folder"
        ) from error


def jsonable(value: Any, *, infinity: str | None = "inf") -> Any:
    """``value`` with what JSON lacks replaced: NaN by null, infinities by text, tuples by lists, dates by text.

    Args:
      value: made of dicts, lists, tuples, text, numbers and dates.
      infinity: how to write infinity, preceded by "-" where it is negative; None: as null.

    >>> jsonable({"a": (1, float("nan")), 2: float("-inf")})
    {'a': [1, None], '2': '-inf'}
    >>> jsonable([float("inf")], infinity=None)
    [None]
    """
    if isinstance(value, dict):
        return {str(key): jsonable(item, infinity=infinity) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, infinity=infinity) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value) or infinity is None:
            return None
        return infinity if value > 0 else f"-{infinity}"
    return str(value) if isinstance(value, date | time) else value


def make_folder(path: Path) -> None:
    """Create ``path`` if necessary, and check that it can be written to.

    Raises:
      InputError: it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error


class FolderHeld(InputError):
    """Another process is at work in a folder."""


@contextmanager
def alone_in(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the folder ``path``.  The operating system releases the lock when the process ends, so no lock is ever
    stale.

    Args:
      path: the path of the folder.
      waiting: called once if another process holds the folder, before waiting for it.  None: refuse at once.

    Raises:
      FolderHeld: another process holds the folder and ``waiting`` is None.
      InputError: the folder cannot be written to.
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
                if waiting is None:
                    raise FolderHeld(
                        f"another process is at work in {path}: wait for it, or use another --out"
                    ) from error
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
