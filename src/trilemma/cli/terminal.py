"""Printing: no text from outside moves the cursor, colors the terminal, opens a link or begins a line of its own."""

from __future__ import annotations

import sys
from typing import TextIO

from trilemma.words import clean


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print each argument on a line of its own, what is no plain text in it as � (see :func:`trilemma.words.clean`).

    Args:
      lines: without line ends; one inside a line is no plain text either.
      file: where to; standard output by default.
    """
    print("\n".join(map(clean, lines)), file=file, flush=True)


def show_error(*lines: str) -> None:
    """:func:`show` on standard error."""
    show(*lines, file=sys.stderr)
