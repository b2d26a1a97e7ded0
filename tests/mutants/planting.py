"""Planting one error at a time in a copy of the package, and seeing whether a named test fails.

A test suite that has never seen a wrong program fail may be unable to.  Each :class:`Planted` error is a small edit of
the source, as somebody could make it by accident, with the tests that must fail on it; each harmless edit must fail
none.  Run by ``tests/mutants/run.py``; ``test_catalog.py`` checks that every edit still fits the source.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
SECONDS = 300
"""A test that takes longer than this on one error is ended, and counts as neither passed nor failed."""

Outcome = Literal["failed", "passed", "broken", "timed out"]


@dataclass(frozen=True)
class Planted:
    """An edit of one source file and the tests that look at what it touches.

    Attributes:
      name: in words, what is wrong (or, of a harmless edit, what is written otherwise).
      file: below ``src/trilemma``.
      old, new: text that occurs exactly once in the file, and what takes its place.
      tests: pytest node ids below ``tests``, the fastest first.
      pitfall: the known error of the field that this is, by its short name in ``catalog.PITFALLS``, or "".
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    pitfall: str = ""

    def mutated(self) -> str:
        """The file's text with the edit made.

        Raises:
          ValueError: the old text is not there exactly once, or nothing changes.
        """
        text = (SOURCE / "trilemma" / self.file).read_text("utf-8")
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.name}: the text to replace occurs {text.count(self.old)} times in {self.file}")
        return text.replace(self.old, self.new)


class Attempt:
    """Some tests at work on a copy of the package with an edit in it (None: as it is).

    The tests run in a fork of this process, so that slow libraries are imported once; the package itself must not have
    been imported here.  The copy is a tree of hard links with the one file replaced, first on the path of the fork and
    of every process that it starts.
    """

    def __init__(self, planted: Planted | None, tests: tuple[str, ...]) -> None:
        assert "trilemma" not in sys.modules, "the package is imported already: its copy would not be"
        self.planted, self.tests = planted, tests
        self._folder = tempfile.TemporaryDirectory()
        copy = Path(self._folder.name) / "src"
        shutil.copytree(SOURCE, copy, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))
        if planted is not None:
            target = copy / "trilemma" / planted.file
            text = planted.mutated()
            target.unlink()
            target.write_text(text, "utf-8")
        self._log = Path(self._folder.name) / "log"
        self._start = time.monotonic()
        self._child = os.fork()
        if self._child == 0:
            _run(copy, tests, self._log)

    def result(self) -> tuple[Outcome, float, str] | None:
        """(outcome, seconds of processor time, what the tests printed), or None while they run."""
        done, status, used = os.wait4(self._child, os.WNOHANG)
        if not done and time.monotonic() - self._start < SECONDS:
            return None
        outcome: Outcome = "timed out"
        if done:
            code = os.waitstatus_to_exitcode(status)
            outcome = "passed" if code == 0 else "failed" if code == 1 else "broken"
        else:
            os.killpg(self._child, signal.SIGKILL)
            used = os.wait4(self._child, 0)[2]
        output = self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""
        self._folder.cleanup()
        return outcome, used.ru_utime + used.ru_stime, output


class _WithoutShrinking:
    """A plugin of pytest: an error that was found needs no smallest example, the search for which takes minutes, and
    whether it is found must not change from one run to the next."""

    def pytest_configure(self) -> None:
        import hypothesis

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("planted", phases=phases, database=None, derandomize=True)
        hypothesis.settings.load_profile("planted")


def _run(copy: Path, tests: tuple[str, ...], log: Path) -> None:
    """Runs in the fork and never returns."""
    code = 70
    try:
        os.setsid()  # so that all that the tests start can be ended with them
        file = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ["PYTHONPATH"] = str(copy)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(copy))
        os.chdir(ROOT)
        import pytest

        arguments = ["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=line"]
        code = int(pytest.main([*arguments, *(f"tests/{test}" for test in tests)], [_WithoutShrinking()]))
        if "trilemma" in sys.modules and not str(sys.modules["trilemma"].__file__).startswith(str(copy)):
            code = 71  # another copy was tested
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
