"""The commands and Python blocks of the README, CONTRIBUTING and the documentation, as a reader would copy them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("trilemma", "python", "torchrun", "make", "pip", "pytest")

_SHIM = """set -eu
PATH=/nowhere
record() { local word; for word in "$@"; do printf '%s\\037' "$word"; done; printf '\\036'; }
""" + "".join(f'{name}() {{ record {name} "$@"; }}\n' for name in PROGRAMS)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language ("" for plain ones), whatever else stands on the line of the fence."""
    fences = re.findall(r"^```([^\n]*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [body for info, body in fences if (info.split() or [""])[0] == language]


def commands_in(page: Path) -> list[list[str]]:
    """The words of each command of a page's blocks.  A shell runs the blocks, loops included, and every program is a
    function that only records its arguments; anything else in a block fails."""
    scripts = [block for block in blocks(page, "") if _holds_commands(block)]
    for block in blocks(page, "console"):
        scripts += re.findall(r"^\$ ([^\n]*\n)", block, re.MULTILINE)
    text = "\n".join(script.replace(".venv/bin/", "") for script in scripts)
    done = subprocess.run(["/bin/bash", "-c", _SHIM + text], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{name_of(page)}: {done.stderr}")
    return [line.split("\037")[:-1] for line in done.stdout.split("\036")[:-1]]


def mentions_in(page: Path) -> list[list[str]]:
    """The words of commands that stand within a sentence, which may leave out arguments or name them in capitals."""
    commands = [shlex.split(span) for span in _spans(page) if span.split()[0] in PROGRAMS]
    return [words for words in commands if len(words) > 1]


def options_in(page: Path) -> list[list[str]]:
    """The words of options that stand within a sentence without their command."""
    return [shlex.split(span) for span in _spans(page) if span.startswith("--")]


def defaults_in(page: Path) -> list[tuple[str, str]]:
    """(option, value) wherever a sentence gives the default of an option."""
    return re.findall(r"`(--[\w-]+)[^`]*`\s+\(default:?\s+`?([^;,)`]+)", _prose(page))


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def _spans(page: Path) -> list[str]:
    return [span for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", _prose(page)) if "\n\n" not in span]


def _holds_commands(block: str) -> bool:
    start = rf"^\s*(?:\w+=\S+ )?(?:\.venv/bin/)?(?:{'|'.join(PROGRAMS)})(?= |$)"
    return re.search(start, block, re.MULTILINE) is not None or re.match(r"for \w+ in .*; do ", block) is not None
