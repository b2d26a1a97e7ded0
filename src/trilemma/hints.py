"""Parts of error messages: the known name nearest to a wrong one, lists of names, one line out of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_LIST = 12


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cifar10'?)"`` when a known name is near, otherwise the empty string.

    >>> did_you_mean("cifr10", ["cifar10", "celeba"])
    " (did you mean 'cifar10'?)"
    >>> did_you_mean("mnist", ["cifar10", "celeba"])
    ''
    """
    plain = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(given), plain, n=1, cutoff=0.6)
    return f" (did you mean '{plain[near[0]]}'?)" if near else ""


def listed(names: Iterable[object]) -> str:
    """The names with commas, shortened after a dozen.

    >>> listed(["a", "b"])
    'a, b'
    """
    texts = [str(name) for name in names]
    if not texts:
        return "none"
    extra = len(texts) - _LONGEST_LIST
    return ", ".join(texts[:_LONGEST_LIST]) + (f" and {extra} more" if extra > 0 else "")


def one_line(error: BaseException, longest: int = 160) -> str:
    """The message of a foreign exception on one line of at most ``longest`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
