from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from trilemma.data import decode as module
from trilemma.data.decode import Framing, decode
from trilemma.errors import InputError


@dataclass(frozen=True)
class InMemory:
    contents: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.contents)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        yield from ((f"picture {row}", content) for row, content in enumerate(self.contents))

    def digest(self) -> str:
        return ""


def run(*contents: bytes, size: int | None = None, crop: int | None = None, cap: int = 2**30) -> np.ndarray:
    return decode(InMemory(contents), framing=Framing(size, crop), cap=cap)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_forms_are_exact(encode: Callable[..., bytes], form: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    options = {"lossless": True} if form == "WEBP" else {}
    assert (run(encode(pixels, form, **options))[0] == pixels.transpose(2, 0, 1)).all()


def test_many_pictures_keep_their_order(encode: Callable[..., bytes]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 8, 8), dtype=np.uint8)
    assert (run(*map(encode, pixels))[:, 0] == pixels).all()


def test_gray_among_colour_becomes_colour(picture: Callable[..., bytes]) -> None:
    gray, colour = picture(1), picture(2, channels=3)
    alone = run(gray)
    for mixed, row in ((run(gray, colour), 0), (run(colour, gray), 1)):
        assert mixed.shape == (2, 3, 8, 8)
        assert (mixed[row] == alone[0]).all()


def test_every_mode_becomes_gray_or_colour(picture: Callable[..., bytes]) -> None:
    colour = Image.open(io.BytesIO(picture(0, channels=3)))
    reference = np.asarray(colour).transpose(2, 0, 1)
    transparent = colour.copy()
    transparent.putalpha(7)
    palette = colour.quantize(64)
    holed = palette.copy()
    holed.info["transparency"] = bytes(range(64))
    assert (run(saved(transparent))[0] == reference).all()
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert (run(saved(palette))[0] == expected).all()
    assert (run(saved(holed, transparency=bytes(range(64))))[0] == expected).all()
    assert run(saved(colour.convert("CMYK"), "JPEG")).shape == (1, 3, 8, 8)
    assert run(saved(colour.convert("LA"))).shape == (1, 1, 8, 8)
    assert set(np.unique(run(saved(colour.convert("1"))))) <= {0, 255}


def test_rotation_tags_are_obeyed() -> None:
    image = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert run(saved(image, "PNG", exif=exif)).shape == (1, 1, 12, 8)


def test_framing_is_centre_crop_then_lanczos(picture: Callable[..., bytes]) -> None:
    content = picture(0, height=218, width=178, channels=3)
    image = Image.open(io.BytesIO(content))
    expected = image.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.LANCZOS)
    assert (run(content, size=64, crop=148)[0] == np.asarray(expected).transpose(2, 0, 1)).all()
    whole = image.crop((0, 20, 178, 198)).resize((32, 32), Image.Resampling.LANCZOS)
    assert (run(content, size=32)[0] == np.asarray(whole).transpose(2, 0, 1)).all()


def test_sixteen_bits_are_refused() -> None:
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))
    with pytest.raises(InputError, match="picture 0 has more than 8 bits"):
        run(saved(deep))


def test_bad_pictures_are_named(picture: Callable[..., bytes]) -> None:
    good = picture(0)
    for bad, message in (
        (b"nothing", "picture 1 cannot be read as a picture"),
        (b"", "picture 1 cannot be read as a picture"),
        (picture(0, 64, 64)[:-2000], "picture 1 cannot be read as a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "picture 1 cannot be read as a picture"),
        (picture(1, 9, 8), r"picture 1 is 8×9, picture 0 is 8×8.*size=8"),
        (picture(1, 8, 7), "picture 1 is 7×8 pixels: the smallest"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            run(good, bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(9500, 9500), (20_000, 20_000), (65_000, 65_000)])
def test_image_bombs_are_refused(picture: Callable[..., bytes], width: int, height: int) -> None:
    with pytest.raises(InputError, match="picture 1 declares more than"):
        run(picture(0), png_that_declares(width, height))


def test_the_memory_limit_holds_before_anything_is_reserved(picture: Callable[..., bytes]) -> None:
    with pytest.raises(InputError, match="raise it with TRILEMMA_MEMORY_GIB"):
        run(picture(0), picture(1), cap=127)
    assert run(picture(0), picture(1), cap=128).nbytes == 128
    with pytest.raises(InputError, match="TRILEMMA_MEMORY_GIB"):
        run(picture(0), picture(1, channels=3), cap=128)


def test_an_error_ends_the_threads(picture: Callable[..., bytes]) -> None:
    import threading

    with pytest.raises(InputError):
        run(*[picture(0)] * 500, b"broken", *[picture(0)] * 500)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_no_pictures(picture: Callable[..., bytes]) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        run()
    with pytest.raises(InputError, match="size must be at least 8"):
        run(picture(0), size=4)


def test_cores_are_counted() -> None:
    assert 1 <= module.usable_cores() <= 16
