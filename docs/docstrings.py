"""Docstrings as the reference shows them: examples as blocks of code, one item a name (an extension of Griffe, which
reads the docstrings)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^>>> [^\n]*(?:\n[^\n]+)*)", re.MULTILINE)
"""Lines at the margin from a prompt to the next empty line."""

_SECTION = re.compile(r"^(Args|Attributes|Returns):\n((?:(?: +[^\n]*)?\n)*(?: +[^\n]*)?)", re.MULTILINE)
"""The head of a section at the margin, and its indented lines."""

_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+):((?:[^\n]*)(?:\n\1 +[^\n]*)*)", re.MULTILINE)
"""An item of several names, with the lines of its meaning."""


def fenced(docstring: str) -> str:
    """A docstring whose examples are fenced, so that they are not taken for quotations.

    >>> print(fenced(">>> 1 + 1\\n2"))
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    return _EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", docstring)


def one_item_a_name(docstring: str) -> str:
    """A docstring in which each name has its own item, with the meaning that it shares, and what is returned has none.

    Griffe takes "mean, std" for a name and its type, and what stands before a colon in "Returns" for a name: an empty
    name before it leaves the type to the annotation.

    >>> print(one_item_a_name("Args:\\n  mean, std: of the\\n    pixels.\\n\\nReturns:\\n  A :class:`Dataset`."))
    Args:
      mean: of the
        pixels.
      std: of the
        pixels.
    <BLANKLINE>
    Returns:
      : A :class:`Dataset`.
    """

    def items(section: re.Match[str]) -> str:
        head, body = section.groups()
        if head == "Returns":
            return f"{head}:\n" + re.sub(r"^( +)", r"\1: ", body, count=1)
        return f"{head}:\n" + _SHARED.sub(apart, body)

    def apart(item: re.Match[str]) -> str:
        indent, names, meaning = item.groups()
        return "\n".join(f"{indent}{name}:{meaning}" for name in names.split(", "))

    return _SECTION.sub(items, docstring)


class Readable(griffe.Extension):
    """Fences the examples of every docstring, and gives each name its item."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by Griffe when it has read an object."""
        if obj.docstring is not None:
            obj.docstring.value = one_item_a_name(fenced(obj.docstring.value))
