"""Inputs made to harm: to run code, to fill memory or time, to reach files elsewhere.

A case makes its files below a folder and names the command that is given them.  ``live`` shows that the danger is
real: it reads the same files as a program without care would, and says whether that went wrong.  ``complaints`` gives a
case to its command and says what is wrong with what came of it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from malformed import data_arrays, png, prediction_arrays, run

ALLOWED = 256 * 2**20
"""Bytes of memory beyond the size of the files."""
SMALL = ("--model", "convnet-4", "--batch-size", "4", "--device", "cpu", "--minutes", "1e-9")
DIGITS = ("--data", "digits", "--limit", "100", "--test-limit", "50")


@dataclass(frozen=True)
class Hostile:
    """One case.

    Attributes:
      name: of the case.
      make: writes its files below a folder; returns the command, without ``--out``.
      live: whether a naive reader is harmed by the files below that folder.
      may_go_on: the command may end otherwise than with a refusal, as where a damaged checkpoint means starting anew.
      out: the name of a folder below that is ``--out``.
    """

    name: str
    make: Callable[[Path], tuple[str, ...]]
    live: Callable[[Path], bool]
    may_go_on: bool = False
    out: str = ""


class Canary:
    """Makes the folder ``ran`` when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "ran")

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


def rang(folder: Path, read: Callable[[], Any]) -> bool:
    """Whether reading set the canary off; it is taken away again."""
    with suppress(Exception):
        read()
    ran = (folder / "ran").is_dir()
    if ran:
        (folder / "ran").rmdir()
    return ran


def train(data: Path | str, *more: str) -> tuple[str, ...]:
    return ("train", "--data", str(data), *more, *SMALL)


def audit(path: Path) -> tuple[str, ...]:
    return ("audit", str(path), "--resamples", "100", "--attacks", "threshold")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def arrays_of(kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return data_arrays(rng) if kind == "data" else prediction_arrays(rng)


def command_for(kind: str, path: Path) -> tuple[str, ...]:
    return train(path) if kind == "data" else audit(path)


def folder_of_classes(root: Path, count: int = 4) -> Path:
    """A valid folder of images to hide things in."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "ab":
            for number in range(count):
                put(root / split / name / f"{number}.png", png(rng))
    return root


SECONDS = 5.0
"""Seconds of processor time."""
_MOST_ADDRESSES = 4 * 2**30
"""Bytes that may be mapped beyond what was before: a case that takes all there is ends itself and not the machine."""


def warmed_up(folder: Path) -> None:
    """Import what the commands import, which takes memory once and not for each case."""
    import pyarrow.parquet
    import torch

    assert pyarrow.parquet
    assert torch
    ending = run(train(folder_of_classes(folder / "d", 8)), folder / "run", limit=120)
    assert ending.status == 130, ending.said


def of_this_process() -> dict[str, int]:
    """VmRSS, VmHWM (its peak) and VmSize in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    names = ("VmRSS", "VmHWM", "VmSize")
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.split(":")[0] in names}


@contextmanager
def bounded() -> Iterator[None]:
    """No more addresses than ``_MOST_ADDRESSES`` beyond those of now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (of_this_process()["VmSize"] + _MOST_ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def everything(folder: Path, *but: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every entry below, links not followed."""
    entries = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            if not any(path == other or path.is_relative_to(other) for other in but):
                about = path.lstat()
                entries[str(path)] = about.st_size, 0 if path.is_dir() else about.st_mtime_ns
    return entries


def size_of(folder: Path) -> int:
    """Bytes on the disk of all files below, which for a file with holes is less than its length."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*") if not path.is_symlink())


def complaints(case: Hostile, root: Path) -> list[str]:
    """What is wrong with how its command takes the case; ``root`` is empty but for the cache."""
    place, cache = root / "place", root / "cache"
    place.mkdir()
    os.chdir(place)
    command = case.make(place)
    with bounded():
        if not case.live(place):
            return ["the danger is not real"]
    out = place / case.out if case.out else root / "out"
    before, allowed = everything(root, out, cache), ALLOWED + size_of(place)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    resident, began = of_this_process()["VmRSS"], time.process_time()
    with bounded():
        ending = run(command, out)
    seconds, peak = time.process_time() - began, of_this_process()["VmHWM"] - resident
    wrong = {
        "code of the file was run": (place / "ran").exists(),
        "something was written elsewhere": everything(root, out, cache) != before,
        f"it ended with {ending.status}: {ending.said[-1500:]}": ending.status
        not in ((0, 2, 130) if case.may_go_on else (2,)),
        f"there is a traceback: {ending.said[-1500:]}": "Traceback" in ending.said,
        f"it says {ending.said[:1500]}": len(ending.said.strip().splitlines()) > 5,
        f"it took {peak / 2**20:.0f} MiB where {allowed / 2**20:.0f} are allowed": peak > allowed,
        f"it took {seconds:.1f} s": seconds > SECONDS,
    }
    return [text for text, holds in wrong.items() if holds]
