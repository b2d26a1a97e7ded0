"""Size limits, which guard against decompression bombs."""

from __future__ import annotations

import math
import os

from trilemma.errors import InputError

MEMORY_VARIABLE = "TRILEMMA_MEMORY_GIB"
DEFAULT_GIB = 4.0
MAX_PIXELS = 89_478_485
"""The largest number of pixels of an encoded image: Pillow's own limit, which it only warns about."""
MAX_ENCODED = 128 * 2**20
"""The largest number of bytes of an encoded image, and of a list of images."""
MAX_BYTES = 240 * 2**20
"""The largest memory, in bytes, that decoding one image may take, copies included: 36 million pixels in RGB, 23 million
in RGBA."""


def memory_cap(gib: float | None = None) -> int:
    """The largest number of bytes that the decoded arrays of a data set may take.

    This is ``gib`` if given, else the environment variable TRILEMMA_MEMORY_GIB, else 4 GiB.

    >>> memory_cap(0.5)
    536870912

    Raises:
      InputError: the value is not a positive number.
    """
    requested: float | str = gib if gib is not None else os.environ.get(MEMORY_VARIABLE, DEFAULT_GIB)
    try:
        value = float(requested)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"the memory limit must be a positive number of GiB, not {requested!r}")
    return int(value * 2**30)


def check_size(declared: int, cap: int, what: str) -> None:
    """Refuse a source that declares more bytes than ``cap``, before any of them is read.

    Raises:
      InputError: it declares more.
    """
    if declared > cap:
        raise InputError(
            f"{what} would take {_gib(declared)} in memory, more than the limit of {_gib(cap)}: if that is "
            f"really meant, raise it with {MEMORY_VARIABLE}={math.ceil(min(declared, 2**60) / 2**30)}"
        )


MAX_RATIO = 100
"""An array of over ``RATIO_FROM`` bytes may not be more than this many times its packed size: images and predictions do
not pack so well, a bomb does (deflate reaches 1,032)."""

RATIO_FROM = 64 * 2**20


def check_packing(declared: int, packed: int, what: str) -> None:
    """Refuse a source whose unpacked size is so many times its packed size that it can only be a decompression bomb.

    Raises:
      InputError: it is.
    """
    if declared > RATIO_FROM and declared > MAX_RATIO * max(packed, 1):
        raise InputError(
            f"{what} is compressed {declared // max(packed, 1)} times over, as only a decompression bomb would be: "
            f"save it again, uncompressed"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
