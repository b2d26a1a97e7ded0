"""Encoded images (PNG, JPEG, WebP, ...) into one uint8 array, by several threads.

Rules, the same for every source:
  - Images stored as gray (Pillow modes 1, L, LA) stay gray; every other 8-bit image becomes RGB.  A
    transparency channel is dropped.  Images with more than 8 bits a channel, and float ones, are refused, since
    their top bytes alone would spoil them.
  - If any image of a set is color, the set is color, and its gray images are repeated in three
    channels.
  - All images of a set have one size, at least 8×8, unless a `Framing` brings them to one.
  - Of an animation the first frame is taken; a camera's rotation tag is obeyed.
  - What is dropped or converted is counted (:func:`change_notes`).
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.data.limits import MAX_PIXELS, check_size
from trilemma.errors import InputError
from trilemma.hints import one_line
from trilemma.progress import Progress
from trilemma.words import counted

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE = 8
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MAGIC = ((b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"RIFF", "WEBP"))
_CHUNK = 128
_TIFF_BITS = 258
"""The tag BitsPerSample."""
_EXIF_ORIENTATION = 0x0112


Changes = Mapping[str, int]
"""How many images were changed in each way, by the words of :func:`change_notes`."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded images.

    Attributes:
      images: uint8 (N, C, H, W), C = 1 or 3.
      changes: what was done to how many of them.
    """

    images: NDArray[np.uint8]
    changes: Changes


def change_notes(changes: Changes, what: str) -> tuple[str, ...]:
    """Sentences for what decoding dropped or converted.

    >>> change_notes({"stripped of transparency": 3}, "images")
    ('images: 3 images stripped of transparency',)
    """
    return tuple(f"{what}: {counted(count, 'image')} {change}" for change, count in sorted(changes.items()))


class EncodedImages(Protocol):
    """Encoded images in a fixed order."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """For each image what to call it in an error, and its bytes."""
        ...

    def digest(self) -> str:
        """SHA-256 (hex) that changes whenever an image's bytes or the order change."""
        ...


@dataclass(frozen=True)
class Framing:
    """How an image is cut and scaled.

    Attributes:
      size: side in pixels after a Lanczos resize; None leaves images as they are.
      crop: side of the center square that is cut out first, at most the shorter side; None: the shorter side.
    """

    size: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < SMALLEST_SIDE:
            raise InputError(f"size must be at least {SMALLEST_SIDE} pixels, not {self.size}")


def decode(
    encoded: EncodedImages,
    *,
    framing: Framing,
    cap: int,
    what: str = "images",
    progress: Progress | None = None,
) -> Decoded:
    """All images in one array, and what was changed on the way.

    Args:
      encoded: what to decode; read once, in order, never all in memory.
      framing: crop and size.
      cap: most bytes the result may take.
      what: named in progress and in errors.
      progress: called after every chunk.

    Raises:
      InputError: no images; one cannot be read, has another size than the first, is smaller than 8×8, has
        more than 89 million pixels or more than 8 bits a channel (each named); the result exceeds ``cap``.
    """
    total = len(encoded)
    if total == 0:
        raise InputError(f"{what} holds no images: give at least one for each class")
    result: NDArray[np.uint8] | None = None
    first = ""
    gray = done = 0
    changes: Counter[str] = Counter()
    with warnings.catch_warnings():
        from PIL import Image

        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for name, pixels, changed in _decoded(iter(encoded), framing):
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else 3
            if result is None:
                first = name
                check_size(total * channels * height * width, cap, f"{what} ({total} × {height}×{width})")
                result = np.empty((total, channels, height, width), dtype=np.uint8)
            if (height, width) != result.shape[2:]:
                raise InputError(
                    f"images differ in size: {name} is {width}×{height}, {first} is {result.shape[3]}×"
                    f"{result.shape[2]}; bring all to one size, or load with size={min(result.shape[2:])}"
                )
            if done == total:
                raise InputError(f"{what} announced {total} images but holds more: the source is damaged")
            if channels > result.shape[1]:
                check_size(3 * result.nbytes, cap, f"{what} ({total} × {height}×{width})")
                result = np.repeat(result, 3, axis=1)
            result[done] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            gray += pixels.ndim == 2
            changes.update(changed)
            done += 1
            if progress is not None and (done % _CHUNK == 0 or done == total):
                progress(what, done, total)
    if result is None or done != total:
        raise InputError(f"{what} announced {total} images but held {done}: the source is damaged")
    if gray and result.shape[1] == 3:
        changes["made of gray into three channels, as others are in color"] = gray
    return Decoded(result, dict(changes))


_Item = tuple[str, NDArray[np.uint8], tuple[str, ...]]


def _decoded(encoded: Iterator[tuple[str, bytes]], framing: Framing) -> Iterator[_Item]:
    """Images decoded in order by a few threads (Pillow lets go of the interpreter while it decodes); only
    some chunks are in flight, so the encoded bytes of a large set are never all in memory."""

    def work(chunk: list[tuple[str, bytes]]) -> list[_Item]:
        return [(name, *_decode_one(name, data, framing)) for name, data in chunk]

    workers = usable_cores()
    waiting: deque[Future[list[_Item]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            while len(waiting) < 2 * workers and (chunk := list(islice(encoded, _CHUNK))):
                waiting.append(pool.submit(work, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode_one(name: str, data: bytes, framing: Framing) -> NDArray[np.uint8]:
    """One image: uint8 (H, W) if it is gray, (H, W, 3) if it is color.

    Raises:
      InputError: as for :func:`decode`; the message names the image ``name``.
    """
    return _decode_one(name, data, framing)[0]


def _decode_one(name: str, data: bytes, framing: Framing) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """An image, and what was changed."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise _bomb(name)
            if _is_deep(opened, data):
                raise InputError(f"{name} has more than 8 bits a channel: save it with 8 bits")
            image, changes = _plain(opened)
            image = _framed(image, framing)
            if min(image.size) < SMALLEST_SIDE:
                raise InputError(
                    f"{name} is {image.width}×{image.height} pixels: the smallest that can be used is "
                    f"{SMALLEST_SIDE}×{SMALLEST_SIDE}"
                )
            return np.asarray(image), changes
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _bomb(name) from None
    except Exception as error:  # Pillow's plugins raise whatever a damaged file makes them stumble over
        raise InputError(f"{name} cannot be read as an image ({one_line(error)}): replace or remove it") from None


def _is_deep(opened: Image, data: bytes) -> bool:
    """Whether a channel has more than 8 bits, of which Pillow's modes tell only for plain gray."""
    if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
        return True
    if opened.format == "PNG":
        return data[12:16] != b"IHDR" or data[24] > 8
    if opened.format == "TIFF":
        bits: Any = getattr(opened, "tag_v2", {}).get(_TIFF_BITS, (1,))
        return any(depth > 8 for depth in bits)
    if opened.format == "PPM":
        header = re.sub(rb"#[^\n\r]*", b"", data[:4096]).split(maxsplit=4)
        plain_bits = header[0] in (b"P1", b"P4")  # no maximum stands in these
        return not plain_bits and (len(header) < 4 or not header[3].isdigit() or int(header[3][:9]) > 255)
    return False


def _plain(opened: Image) -> tuple[Image, tuple[str, ...]]:
    """The image upright, as gray or RGB, and what that changed."""
    from PIL import ImageOps

    changes = []
    if getattr(opened, "is_animated", False):
        changes.append("cut to the first of several frames or pages")
    if opened.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in opened.info:
        changes.append("stripped of transparency")
    if opened.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        changes.append(f"converted from {opened.mode} to RGB")
    image: Image = opened
    if "exif" in opened.info:
        turned = opened.getexif().get(_EXIF_ORIENTATION, 1) != 1
        image = ImageOps.exif_transpose(opened)
        if turned:
            changes.append("turned as the camera's tag says")
    return _gray_or_color(image), tuple(changes)


def _formats(data: bytes) -> tuple[str, ...]:
    """What an image may be.  Trying the right format first halves the time of small images; formats beyond
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


def _gray_or_color(image: Image) -> Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode == "P" and "transparency" in image.info:
        # by way of RGBA, because Pillow warns when it must drop a palette's transparency itself
        image = image.convert("RGBA")
    return image.convert("RGB")


def _framed(image: Image, framing: Framing) -> Image:
    if framing.size is None:
        return image
    from PIL import Image

    side = min(image.size) if framing.crop is None else min(framing.crop, *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((framing.size, framing.size), Image.Resampling.LANCZOS)


def _bomb(name: str) -> InputError:
    return InputError(f"{name} declares more than {MAX_PIXELS:,} pixels, as a decompression bomb does: make it smaller")
