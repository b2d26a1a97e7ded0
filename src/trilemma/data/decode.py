"""Decodes images (PNG, JPEG, WebP, ...) into one uint8 array, in several threads.

Rules, the same for every source:
  - Images stored as gray (Pillow modes 1, L, LA) stay gray; every other 8-bit image becomes RGB.  A
    transparency channel is dropped.  Images with more than 8 bits a channel, and float ones, are refused, since
    their top bytes alone would spoil them.
  - If any image of a set is color, the set is color, and its gray images are repeated in three
    channels.
  - All images of a set have one size, at least 8×8, unless a `Framing` brings them to one.
  - The first frame of an animation is used; a camera's rotation tag is obeyed.
  - What is dropped or converted is counted (:func:`change_notes`).
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.data.limits import MAX_BYTES, MAX_PIXELS, check_packing, check_size
from trilemma.errors import InputError
from trilemma.hints import one_line
from trilemma.machine import cores
from trilemma.progress import Progress
from trilemma.words import counted

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE = 8
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_MAGIC = ((b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"RIFF", "WEBP"))
MOST_WORKERS = 16
"""Most threads that decode at once."""
_CHUNK, _CHUNK_BYTES = 128, 16 * 2**20
"""Most images, and most bytes of decoded images, that a thread decodes at a time."""
_STRIP = 2**20
"""Pixels that are copied at a time."""
_TIFF_BITS = 258
"""The tag BitsPerSample."""
_EXIF_ORIENTATION = 0x0112
_PHOTOGRAPH = 64
"""Bytes in memory for one in a file up to which images are decoded by all threads at once: a photograph takes 20 to
50, a decompression bomb a thousand."""


Changes = Mapping[str, int]
"""How many images were changed in each way, by the words of :func:`change_notes`."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded images.

    Attributes:
      images: uint8 (N, C, H, W), C = 1 or 3.
      changes: how many of them were changed, by the kind of change.
    """

    images: NDArray[np.uint8]
    changes: Changes


def change_notes(changes: Changes, what: str) -> tuple[str, ...]:
    """Sentences for what decoding dropped or converted.

    >>> change_notes({"stripped of transparency": 3}, "images")
    ('images: 3 images stripped of transparency',)
    """
    return tuple(f"{what}: {counted(count, 'image')} {change}" for change, count in sorted(changes.items()))


@dataclass(frozen=True)
class _First:
    """The first image of a set: all others have its size."""

    name: str
    height: int
    width: int

    def check(self, name: str, pixels: NDArray[np.uint8]) -> None:
        """Refuse an image of another size, before more such images are held."""
        height, width = pixels.shape[:2]
        if (height, width) != (self.height, self.width):
            raise InputError(
                f"images differ in size: {name} is {width}×{height}, {self.name} is {self.width}×{self.height}; "
                f"resize all of them to one size, or load with --size {min(self.height, self.width)} (size= in Python)"
            )


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
    images: EncodedImages,
    *,
    framing: Framing,
    cap: int,
    what: str = "images",
    progress: Progress | None = None,
) -> Decoded:
    """All images in one array, and what was changed to make them fit.

    Args:
      images: what to decode; read once, in order, never all in memory.
      framing: crop and size.
      cap: the largest number of bytes that the result may take.
      what: the name of the source in progress and in errors.
      progress: called after every chunk.

    Raises:
      InputError: no images; one cannot be read, has another size than the first, is smaller than 8×8, has
        more than 89 million pixels or more than 8 bits a channel (each named); the result exceeds ``cap``, or is more
        than 64 MiB and 100 times as large as what it was decoded from.
    """
    total = len(images)
    if total == 0:
        raise InputError(f"{what} holds no images: give at least one for each class")
    result: NDArray[np.uint8] | None = None
    gray = done = encoded = 0
    changes: Counter[str] = Counter()
    with warnings.catch_warnings():
        from PIL import Image

        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for pixels, changed, length in _decoded(iter(images), framing):
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else 3
            if result is None:
                check_size(total * channels * height * width, cap, f"{what} ({total} × {height}×{width})")
                result = np.empty((total, channels, height, width), dtype=np.uint8)
            if done == total:
                raise InputError(f"{what} announced {total} images but holds more: the source is damaged")
            if channels > result.shape[1]:
                check_size(3 * result.nbytes, cap, f"{what} ({total} × {height}×{width})")
                result = np.repeat(result, 3, axis=1)
            encoded += length
            check_packing((done + 1) * result[0].nbytes, encoded, what)
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


_Item = tuple[NDArray[np.uint8], tuple[str, ...], int]
"""Pixels, what was changed, and how many bytes they were decoded from."""


def _decoded(images: Iterator[tuple[str, bytes]], framing: Framing) -> Iterator[_Item]:
    """Images decoded in order by a few threads (Pillow lets go of the interpreter while it decodes).

    Only some chunks are in flight, so neither the encoded nor the decoded bytes of a large set are ever all in memory.
    The first image is decoded alone: the size that all must have follows from it, and how many make a chunk.
    """
    for name, data in islice(images, 1):
        pixels, changed = _decode_one(name, data, framing)
        first = _First(name, *pixels.shape[:2])
        yield pixels, changed, len(data)
        size = max(1, min(_CHUNK, _CHUNK_BYTES // pixels.nbytes))
        del pixels
        yield from _decoded_rest(images, framing, first, size)


def _decoded_rest(images: Iterator[tuple[str, bytes]], framing: Framing, first: _First, size: int) -> Iterator[_Item]:
    """All images after the first one, ``size`` of them a chunk."""

    def decode_chunk(chunk: list[tuple[str, bytes]]) -> list[_Item]:
        items = []
        for name, data in chunk:
            items.append((*_decode_one(name, data, framing), len(data)))
            first.check(name, items[-1][0])
        return items

    workers = min(MOST_WORKERS, cores())
    waiting: deque[Future[list[_Item]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            while len(waiting) < 2 * workers and (chunk := list(islice(images, size))):
                waiting.append(pool.submit(decode_chunk, chunk))
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
    """A decoded image, and how it was changed."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as opened:
            need = _memory_of(opened)
            if opened.width * opened.height > MAX_PIXELS or need > MAX_BYTES:
                raise _bomb(name)
            if _is_deep(opened, data):
                raise InputError(f"{name} has more than 8 bits per channel: save it with 8 bits")
            with _in_flight.room_for(need - _PHOTOGRAPH * len(data)):
                image, changes = _plain(opened)
                if framing.size is not None and framing.crop is None and image.width != image.height:
                    changes += ("cropped to their central square",)
                image = _framed(image, framing)
                if min(image.size) < SMALLEST_SIDE:
                    raise InputError(
                        f"{name} is {image.width}×{image.height} pixels: the smallest that can be used is "
                        f"{SMALLEST_SIDE}×{SMALLEST_SIDE}"
                    )
                return _pixels(image), changes
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _bomb(name) from None
    except UnidentifiedImageError:  # whose own words name a buffer and its address
        raise InputError(f"{name} cannot be read as an image (its format is not known): replace or remove it") from None
    except Exception as error:  # a damaged file can make Pillow's plugins raise anything
        raise InputError(f"{name} cannot be read as an image ({one_line(error)}): replace or remove it") from None


def _memory_of(opened: Image) -> int:
    """Bytes that an image takes while it is decoded: as Pillow stores it, in its plain mode, and as an array."""
    gray = opened.mode in ("1", "L", "LA", "La")
    stored = 1 if opened.mode in ("1", "L", "P") else 4  # Pillow keeps four bytes a pixel of whatever has more bands
    converted = 0 if opened.mode in ("L", "RGB") else 1 if gray else 4
    return opened.width * opened.height * (stored + converted + (1 if gray else 3))


def _pixels(image: Image) -> NDArray[np.uint8]:
    """As an array, made strip by strip: Pillow's own way holds the whole of it twice."""
    rows = max(1, _STRIP // image.width)
    if rows >= image.height:
        return np.asarray(image)
    shape = (image.height, image.width) if image.mode == "L" else (image.height, image.width, 3)
    pixels = np.empty(shape, dtype=np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


class _InFlight:
    """Bytes that all threads together may be decoding beyond what is usual for the size of the files."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._changed = threading.Condition()

    @contextmanager
    def room_for(self, need: int) -> Iterator[None]:
        need = max(0, need)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= need)
            self._left -= need
        try:
            yield
        finally:
            with self._changed:
                self._left += need
                self._changed.notify_all()


_in_flight = _InFlight(MAX_BYTES)


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
        plain_bits = header[0] in (b"P1", b"P4")  # these have no maximum in the header
        return not plain_bits and (len(header) < 4 or not header[3].isdigit() or int(header[3][:9]) > 255)
    return False


def _plain(opened: Image) -> tuple[Image, tuple[str, ...]]:
    """The image upright, as gray or RGB, and the changes that this took."""
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
    """The formats that an image may have.  Trying the right format first halves the time of small images; formats
    beyond the list are not tried at all, since some start other programs (EPS)."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return (name,)
    return FORMATS


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
    return InputError(
        f"{name} declares more pixels than the limit for decoding ({MAX_PIXELS:,}, fewer in color), as a "
        f"decompression bomb does: make it smaller"
    )
