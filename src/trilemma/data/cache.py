"""On-disk cache of decoded images, keyed by content.

The name of a cache file is a SHA-256 of the encoded bytes, how they are decoded, and the version of this
format and of Pillow: an image that changes has another name, so nothing stale can be served.  A cache file
is an ordinary ``.npy`` array, what decoding changed as JSON, the length of that (8 bytes, little-endian), and the
SHA-256 (32 bytes) of everything before it; a file that is truncated, altered or foreign is built again.  Files are
written whole or not at all, so two processes may load the same data at once.  Every file may be deleted at any time; if
the folder cannot be written, nothing is cached.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from trilemma.data.decode import Changes, Decoded, EncodedImages, Framing, decode
from trilemma.data.limits import check_size
from trilemma.files import atomically
from trilemma.progress import Progress

FORMAT = 2
_DIGEST_BYTES, _LENGTH_BYTES = 32, 8
_LONGEST = 2**16
"""The largest number of bytes of the JSON."""


def cache_folder() -> Path:
    """$TRILEMMA_CACHE, else $XDG_CACHE_HOME/trilemma, else ~/.cache/trilemma.  It need not exist."""
    if own := os.environ.get("TRILEMMA_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "trilemma"
    return Path("~/.cache/trilemma").expanduser()


def decoded(
    encoded: EncodedImages,
    *,
    framing: Framing,
    cap: int,
    what: str = "images",
    progress: Progress | None = None,
) -> Decoded:
    """What :func:`trilemma.data.decode.decode` returns, from the cache if it holds that.

    Returns:
      Images as a read-only memory map of the cache file, or as an array where nothing can be cached.

    Raises:
      InputError: see :func:`trilemma.data.decode.decode`.
    """
    key = _key(encoded, framing)
    file = cache_folder() / "images" / f"{key}.npy"
    cached = load(file, rows=len(encoded))
    if cached is not None:
        check_size(cached.images.nbytes, cap, what)
        return cached
    result = decode(encoded, framing=framing, cap=cap, what=what, progress=progress)
    if _key(encoded, framing) != key:
        return result  # the source changed while it was read, so the key does not describe these pixels
    if store(file, result.images, result.changes):
        cached = load(file, rows=len(result.images))
    return result if cached is None else cached


def load(file: Path, rows: int) -> Decoded | None:
    """The array in a cache file, memory-mapped read-only, and the changes; None unless it is whole and has ``rows``."""
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                return None
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            offset = stream.tell()
            end = offset + math.prod(shape)
            size = os.fstat(stream.fileno()).st_size
            if fortran or dtype != np.uint8 or len(shape) != 4 or shape[0] != rows:
                return None
            if not end + _LENGTH_BYTES <= size - _DIGEST_BYTES <= end + _LENGTH_BYTES + _LONGEST:
                return None
            stream.seek(0)
            if not _intact(stream, size - _DIGEST_BYTES):
                return None
            stream.seek(end)
            text = stream.read(size - end - _DIGEST_BYTES - _LENGTH_BYTES)
            if int.from_bytes(stream.read(_LENGTH_BYTES), "little") != len(text):
                return None
        changes = json.loads(text)
        if not isinstance(changes, dict) or not all(isinstance(count, int) for count in changes.values()):
            return None
        return Decoded(np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=shape), changes)
    except (OSError, ValueError, RecursionError):
        return None


def store(file: Path, images: NDArray[np.uint8], changes: Changes) -> bool:
    """Write ``images`` (uint8, contiguous) as a cache file in one step; False where that is not possible."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(images))
    text = json.dumps(dict(changes)).encode()
    length = len(text).to_bytes(_LENGTH_BYTES, "little")
    digest = hashlib.sha256()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The digest guards against a power cut: a file that is not whole is built again.
        with atomically(file, shared=True, durable=False) as part, part.open("wb") as stream:
            for content in (header.getbuffer(), np.ascontiguousarray(images).data, text, length):
                stream.write(content)
                digest.update(content)
            stream.write(digest.digest())
    except OSError:
        return False
    return True


def _intact(stream: BinaryIO, length: int) -> bool:
    """Whether the first ``length`` bytes have the digest that follows them."""
    digest = hashlib.sha256()
    left = length
    while left > 0:
        block = stream.read(min(left, 1 << 22))
        if not block:
            return False
        digest.update(block)
        left -= len(block)
    return stream.read() == digest.digest()


def _key(encoded: EncodedImages, framing: Framing) -> str:
    import PIL

    text = f"trilemma images {FORMAT}, Pillow {PIL.__version__}, {framing}, {encoded.digest()}"
    return hashlib.sha256(text.encode()).hexdigest()
