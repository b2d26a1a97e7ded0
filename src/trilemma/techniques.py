"""The techniques that a recipe can switch on, and how they are read from text."""

from __future__ import annotations

from collections.abc import Iterable

from trilemma.errors import InputError
from trilemma.hints import did_you_mean

TECHNIQUES = {
    "obs": "optimal batch size",
    "gn": "group norm",
    "ws": "weight standardisation",
    "am": "augmentation multiplicity",
    "pa": "parameter averaging",
    "sat": "sharpness-aware training",
}
"""The switches in the paper's order; none of them is the baseline, BL."""


def parse_techniques(given: str | Iterable[str]) -> tuple[str, ...]:
    """Codes in the paper's order, each once.

    Raises:
      InputError: an unknown code.
    """
    words = given.replace(",", " ").split() if isinstance(given, str) else list(given)
    codes = [str(word).strip().lower() for word in words]
    if codes == ["all"]:
        return tuple(TECHNIQUES)
    codes = [code for code in codes if code not in ("none", "bl", "baseline")]
    for code in codes:
        if code not in TECHNIQUES:
            raise InputError(
                f"unknown technique {code!r}{did_you_mean(code, TECHNIQUES)}: "
                f"use any of {', '.join(TECHNIQUES)}, or all, or none"
            )
    return tuple(code for code in TECHNIQUES if code in codes)
