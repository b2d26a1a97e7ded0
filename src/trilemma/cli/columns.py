"""``--columns KIND=NAME,...``: columns whose names are not usual."""

from __future__ import annotations

import argparse

from trilemma.errors import InputError


def columns_of(options: argparse.Namespace) -> dict[str, str] | None:
    """Names of columns by what they hold, or None where the option is left out.

    Raises:
      InputError: the option is written in another way.
    """
    if options.columns is None:
        return None
    pairs = [pair.split("=", 1) for pair in options.columns.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InputError(f"--columns must be like label=species,member=known, not {options.columns!r}")
    return {kind.strip(): name.strip() for kind, name in pairs}
