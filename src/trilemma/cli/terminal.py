"""Printing: no text from outside moves the cursor, colors the terminal, opens a link or begins a line of its own."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from trilemma.words import clean


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print each argument on its own line, with � for whatever is not plain text (see :func:`trilemma.words.clean`).

    Args:
      lines: without line ends; one inside a line is not plain text either.
      file: the stream to print to; standard output by default.
    """
    print("\n".join(map(clean, lines)), file=file, flush=True)


def show_error(*lines: str) -> None:
    """:func:`show` on standard error."""
    show(*lines, file=sys.stderr)


def show_alarm(*lines: str) -> None:
    """:func:`show` in red, where a terminal shows it."""
    red = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for line in lines:
        print(f"\x1b[31m{clean(line)}\x1b[0m" if red else clean(line), flush=True)
