"""Decoded pictures kept in the user's cache folder, by content.

The name of a cache file is a SHA-256 of the encoded bytes, how they are decoded, and the version of this
format and of Pillow: a picture that changes has another name, so nothing stale can be served.  A cache file
is an ordinary ``.npy`` array followed by the SHA-256 (32 bytes) of everything before it; one that is
truncated, altered or not ours is built again.  Files are written beside their final place and moved there in
one step, so two processes may load the same data at once.  Every file may be deleted at any time; a folder
that cannot be written only means that nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from trilemma.data.decode import Framing, Pictures, decode
from trilemma.data.limits import check_size
from trilemma.files import atomically
from trilemma.progress import Progress

FORMAT = 1
_DIGEST_BYTES = 32


def cache_folder() -> Path:
    """$TRILEMMA_CACHE, else $XDG_CACHE_HOME/trilemma, else ~/.cache/trilemma.  Need not exist."""
    if own := os.environ.get("TRILEMMA_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "trilemma"
    return Path("~/.cache/trilemma").expanduser()


def decoded(
    pictures: Pictures,
    *,
    framing: Framing,
    cap: int,
    what: str = "pictures",
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """What :func:`trilemma.data.decode.decode` returns, from the cache where it is there.

    Returns:
      uint8 (N, C, H, W): a read-only memory map of the cache file, or an array where nothing can be cached.

    Raises:
      InputError: see :func:`trilemma.data.decode.decode`.
    """
    key = _key(pictures, framing)
    file = cache_folder() / "images" / f"{key}.npy"
    kept = load(file, rows=len(pictures))
    if kept is not None:
        check_size(kept.nbytes, cap, what)
        return kept
    images = decode(pictures, framing=framing, cap=cap, what=what, progress=progress)
    if _key(pictures, framing) != key:
        return images  # the source changed while it was read, so the key does not describe these pixels
    if store(file, images):
        kept = load(file, rows=len(images))
    return images if kept is None else kept


def load(file: Path, rows: int) -> NDArray[np.uint8] | None:
    """The array in a cache file, memory-mapped read-only; None unless it is whole and has ``rows`` rows."""
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                return None
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            offset = stream.tell()
            expected = offset + math.prod(shape) + _DIGEST_BYTES
            if fortran or dtype != np.uint8 or len(shape) != 4 or shape[0] != rows:
                return None
            if os.fstat(stream.fileno()).st_size != expected:
                return None
            stream.seek(0)
            if not _intact(stream, expected - _DIGEST_BYTES):
                return None
        return np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=shape)
    except (OSError, ValueError):
        return None


def store(file: Path, images: NDArray[np.uint8]) -> bool:
    """Write ``images`` (uint8, contiguous) as a cache file in one step; False where that is not possible."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(images))
    digest = hashlib.sha256()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The digest guards against a power cut: a file that is not whole is built again.
        with atomically(file, shared=True, durable=False) as part, part.open("wb") as stream:
            for content in (header.getbuffer(), np.ascontiguousarray(images).data):
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


def _key(pictures: Pictures, framing: Framing) -> str:
    import PIL

    text = f"trilemma images {FORMAT}, Pillow {PIL.__version__}, {framing}, {pictures.digest()}"
    return hashlib.sha256(text.encode()).hexdigest()
