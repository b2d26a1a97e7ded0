"""Examples in docstrings as blocks of code, for the reference (an extension of Griffe, which reads the docstrings)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^>>> [^\n]*(?:\n[^\n]+)*)", re.MULTILINE)
"""Lines at the margin from a prompt to the next empty line."""


def fenced(docstring: str) -> str:
    """A docstring whose examples are fenced, so that they are not taken for quotations.

    >>> print(fenced(">>> 1 + 1\\n2"))
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    return _EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", docstring)


class Examples(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by Griffe when it has read an object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
