"""Encoded pictures (PNG, JPEG, WebP, ...) into one uint8 array, by several threads.

Rules, the same for every source:
  - Pictures stored as gray (Pillow modes 1, L, LA) stay gray; every other 8-bit picture becomes RGB.  A
    transparency channel is dropped.  16-bit and float pictures are refused, since clipping would spoil them.
  - If any picture of a set is colour, the set is colour, and its gray pictures are repeated in three
    channels.
  - All pictures of a set have one size, at least 8×8, unless a `Framing` brings them to one.
  - Of an animation the first frame is taken; a camera's rotation tag is obeyed.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.data.limits import MAX_PIXELS, check_size
from trilemma.errors import InputError
from trilemma.hints import one_line
from trilemma.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE = 8
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MAGIC = ((b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"RIFF", "WEBP"))
_CHUNK = 128


class Pictures(Protocol):
    """Encoded pictures in a fixed order."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """For each picture what to call it in an error, and its bytes."""
        ...

    def digest(self) -> str:
        """SHA-256 (hex) that changes whenever a picture's bytes or the order change."""
        ...


@dataclass(frozen=True)
class Framing:
    """How a picture is cut and scaled.

    Attributes:
      size: side in pixels after a Lanczos resize; None leaves pictures as they are.
      crop: side of the centre square that is cut out first, at most the shorter side; None: the shorter side.
    """

    size: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < SMALLEST_SIDE:
            raise InputError(f"size must be at least {SMALLEST_SIDE} pixels, not {self.size}")


def decode(
    pictures: Pictures,
    *,
    framing: Framing,
    cap: int,
    what: str = "pictures",
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """All pictures as uint8 (N, C, H, W), C = 1 or 3.

    Args:
      pictures: what to decode; read once, in order, never all in memory.
      framing: crop and size.
      cap: most bytes the result may take.
      what: named in progress and in errors.
      progress: called after every chunk.

    Raises:
      InputError: no pictures; one cannot be read, has another size than the first, is smaller than 8×8, has
        more than 89 million pixels or more than 8 bits a channel (each named); the result exceeds ``cap``.
    """
    total = len(pictures)
    if total == 0:
        raise InputError(f"{what} holds no pictures: give at least one for each class")
    result: NDArray[np.uint8] | None = None
    first = ""
    done = 0
    with warnings.catch_warnings():
        from PIL import Image

        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for name, pixels in _decoded(iter(pictures), framing):
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else 3
            if result is None:
                first = name
                check_size(total * channels * height * width, cap, f"{what} ({total} × {height}×{width})")
                result = np.empty((total, channels, height, width), dtype=np.uint8)
            if (height, width) != result.shape[2:]:
                raise InputError(
                    f"pictures differ in size: {name} is {width}×{height}, {first} is {result.shape[3]}×"
                    f"{result.shape[2]}; bring all to one size, or load with size={min(result.shape[2:])}"
                )
            if channels > result.shape[1]:
                check_size(3 * result.nbytes, cap, f"{what} ({total} × {height}×{width})")
                result = np.repeat(result, 3, axis=1)
            result[done] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            done += 1
            if progress is not None and (done % _CHUNK == 0 or done == total):
                progress(what, done, total)
    if result is None or done != total:
        raise InputError(f"{what} announced {total} pictures but held {done}: the source is damaged")
    return result


def _decoded(pictures: Iterator[tuple[str, bytes]], framing: Framing) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Pictures decoded in order by a few threads (Pillow lets go of the interpreter while it decodes); only
    some chunks are in flight, so the encoded bytes of a large set are never all in memory."""

    def work(chunk: list[tuple[str, bytes]]) -> list[tuple[str, NDArray[np.uint8]]]:
        return [(name, decode_one(name, data, framing)) for name, data in chunk]

    workers = usable_cores()
    waiting: deque[Future[list[tuple[str, NDArray[np.uint8]]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            while len(waiting) < 2 * workers and (chunk := list(islice(pictures, _CHUNK))):
                waiting.append(pool.submit(work, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode_one(name: str, data: bytes, framing: Framing) -> NDArray[np.uint8]:
    """One picture: uint8 (H, W) if it is gray, (H, W, 3) if it is colour.

    Raises:
      InputError: as for :func:`decode`; the message names the picture ``name``.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise _bomb(name)
            if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                raise InputError(f"{name} has more than 8 bits a pixel: save it with 8 bits")
            picture: Image.Image = opened
            if "exif" in opened.info:
                picture = ImageOps.exif_transpose(opened)
            picture = _framed(_gray_or_colour(picture), framing)
            if min(picture.size) < SMALLEST_SIDE:
                raise InputError(
                    f"{name} is {picture.width}×{picture.height} pixels: the smallest that can be used is "
                    f"{SMALLEST_SIDE}×{SMALLEST_SIDE}"
                )
            return np.asarray(picture)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _bomb(name) from None
    except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them stumble over
        raise InputError(f"{name} cannot be read as a picture ({one_line(error)}): replace or remove it") from None


def _formats(data: bytes) -> tuple[str, ...]:
    """What a picture may be.  Trying the right format first halves the time of small pictures; formats beyond
    the list are not tried at all, since some start other programs (EPS)."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return (name,)
    return FORMATS


def usable_cores() -> int:
    """Cores this process may use, at most 16."""
    if hasattr(os, "sched_getaffinity"):
        return min(16, len(os.sched_getaffinity(0)))
    return min(16, os.cpu_count() or 1)


def _gray_or_colour(picture: Image) -> Image:
    if picture.mode in ("L", "RGB"):
        return picture
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    if picture.mode == "P" and "transparency" in picture.info:
        # by way of RGBA, because Pillow warns when it must drop a palette's transparency itself
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def _framed(picture: Image, framing: Framing) -> Image:
    if framing.size is None:
        return picture
    from PIL import Image

    side = min(picture.size) if framing.crop is None else min(framing.crop, *picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((framing.size, framing.size), Image.Resampling.LANCZOS)


def _bomb(name: str) -> InputError:
    return InputError(f"{name} declares more than {MAX_PIXELS:,} pixels, as a decompression bomb does: make it smaller")
