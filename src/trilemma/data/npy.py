"""Headers of arrays in numpy's format, read before anything is reserved for them."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from trilemma.hints import one_line

LONGEST = 10_000
"""Bytes of a header: arrays need some hundred, and numpy reads a header of gigabytes whole."""


@dataclass(frozen=True)
class Header:
    """The header of an array.

    Attributes:
      shape: no number is negative.
      dtype: the dtype of its values; ``dtype.hasobject`` says that they are pickled.
      offset: the offset of the first value, in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def size(self) -> int:
        """The number of bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> Header:
    """The header at the beginning of ``stream``, which is read as far as that goes.

    Raises:
      ValueError: it is not a header that numpy wrote.  (For some, numpy itself raises a syntax error, among others.)
    """
    start = stream.read(8)
    if len(start) < 8 or start[:6] != np.lib.format.MAGIC_PREFIX:
        raise ValueError("it does not begin like a NumPy array")
    version = (start[6], start[7])
    if version not in ((1, 0), (2, 0)):
        # version 3 exists for the field names of records
        raise ValueError(f"version {version} of the format is not supported")
    length_bytes = stream.read(2 if version == (1, 0) else 4)
    if len(length_bytes) != (2 if version == (1, 0) else 4):
        raise ValueError("it is truncated")
    (length,) = struct.unpack("<H" if version == (1, 0) else "<I", length_bytes)
    if length > LONGEST:
        raise ValueError(f"its header of {length} bytes is too long")
    text = io.BytesIO(length_bytes + stream.read(length))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read(text)
    except Exception as error:  # numpy parses the header as Python, and raises what Python's parser does
        raise ValueError(f"its header cannot be read: {one_line(error, 80)}") from None
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in shape):
        raise ValueError(f"its shape {str(shape)[:80]} is impossible")
    return Header(shape, dtype, 8 + len(length_bytes) + length)
