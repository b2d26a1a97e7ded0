"""How large a thing may be before it is taken for a bomb and not for data."""

from __future__ import annotations

import math
import os

from trilemma.errors import InputError

MEMORY_VARIABLE = "TRILEMMA_MEMORY_GIB"
DEFAULT_GIB = 4.0
MAX_PIXELS = 89_478_485
"""Most pixels in one encoded picture: Pillow's own limit, which it only warns about."""


def memory_cap(gib: float | None = None) -> int:
    """Most bytes that one data set's decoded arrays may take.

    ``gib`` if given, else the environment variable TRILEMMA_MEMORY_GIB, else 4 GiB.

    >>> memory_cap(0.5)
    536870912

    Raises:
      InputError: the value is not a positive number.
    """
    given: float | str = gib if gib is not None else os.environ.get(MEMORY_VARIABLE, DEFAULT_GIB)
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"the memory limit must be a positive number of GiB, not {given!r}")
    return int(value * 2**30)


def check_size(declared: int, cap: int, what: str) -> None:
    """Refuse ``what`` when it declares more bytes than ``cap``, before any of them is read.

    Raises:
      InputError: it does.
    """
    if declared > cap:
        raise InputError(
            f"{what} would take {_gib(declared)} in memory, more than the limit of {_gib(cap)}: if that is "
            f"really meant, raise it with {MEMORY_VARIABLE}={math.ceil(min(declared, 2**60) / 2**30)}"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
