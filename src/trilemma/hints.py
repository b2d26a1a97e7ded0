"""Parts of error messages: the known name nearest to a wrong one, lists of names, one line out of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cifar10'?)"`` when a known name is near, otherwise the empty string.

    >>> did_you_mean("cifr10", ["cifar10", "celeba"])
    " (did you mean 'cifar10'?)"
    >>> did_you_mean("mnist", ["cifar10", "celeba"])
    ''
    """
    plain = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return f" (did you mean '{plain[near[0]]}'?)" if near else ""


def listed(names: Iterable[object], *, most: int | None = 12) -> str:
    """The names as a sentence lists them, shortened where there are more than ``most``.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed("abcdef", most=3), listed([])
    ('a', 'a, b and c', 'a, b, c and 3 more', 'none')
    """
    texts = [str(name) for name in names]
    if most is not None and len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    return " and ".join(part for part in (", ".join(texts[:-1]), *texts[-1:]) if part) or "none"


def one_line(error: BaseException, longest: int = 160) -> str:
    """The message of a foreign exception on one line of at most ``longest`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
