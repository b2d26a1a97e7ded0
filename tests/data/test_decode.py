"""Decoding: exact pixels, one mode and size for a set, in order, within limits."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from trilemma.data import decode as module
from trilemma.data.decode import Framing, decode
from trilemma.errors import InputError
from trilemma.machine import cores


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
    return decode(InMemory(contents), framing=Framing(size, crop), cap=cap).images


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


def test_many_images_keep_their_order(encode: Callable[..., bytes]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 8, 8), dtype=np.uint8)
    assert (run(*map(encode, pixels))[:, 0] == pixels).all()


def test_gray_among_color_becomes_color(picture: Callable[..., bytes]) -> None:
    gray, color = picture(1), picture(2, channels=3)
    alone = run(gray)
    for mixed, row in ((run(gray, color), 0), (run(color, gray), 1)):
        assert mixed.shape == (2, 3, 8, 8)
        assert (mixed[row] == alone[0]).all()


def test_every_mode_becomes_gray_or_color(picture: Callable[..., bytes]) -> None:
    color = Image.open(io.BytesIO(picture(0, channels=3)))
    reference = np.asarray(color).transpose(2, 0, 1)
    transparent = color.copy()
    transparent.putalpha(7)
    palette = color.quantize(64)
    holed = palette.copy()
    holed.info["transparency"] = bytes(range(64))
    assert (run(saved(transparent))[0] == reference).all()
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert (run(saved(palette))[0] == expected).all()
    assert (run(saved(holed, transparency=bytes(range(64))))[0] == expected).all()
    assert run(saved(color.convert("CMYK"), "JPEG")).shape == (1, 3, 8, 8)
    assert run(saved(color.convert("LA"))).shape == (1, 1, 8, 8)
    assert set(np.unique(run(saved(color.convert("1"))))) <= {0, 255}


def test_rotation_tags_are_obeyed() -> None:
    image = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert run(saved(image, "PNG", exif=exif)).shape == (1, 1, 12, 8)


def test_framing_is_center_crop_then_lanczos(picture: Callable[..., bytes]) -> None:
    content = picture(0, height=218, width=178, channels=3)
    image = Image.open(io.BytesIO(content))
    expected = image.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.LANCZOS)
    assert (run(content, size=64, crop=148)[0] == np.asarray(expected).transpose(2, 0, 1)).all()
    whole = image.crop((0, 20, 178, 198)).resize((32, 32), Image.Resampling.LANCZOS)
    assert (run(content, size=32)[0] == np.asarray(whole).transpose(2, 0, 1)).all()
    changes = [
        decode(InMemory([image]), framing=Framing(16, crop), cap=2**30).changes
        for image, crop in ((content, None), (content, 148), (picture(0, height=40, width=40), None))
    ]
    assert changes == [{"cropped to their central square": 1}, {}, {}]


def deep_png(kind: int, channels: int) -> bytes:
    """A PNG with 16 bits a channel, of color type ``kind``."""
    rows = b"".join(b"\0" + bytes(range(16 * channels)) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def deep_tiff(channels: int) -> bytes:
    """Uncompressed, 8×8, 16 bits a channel: what Pillow opens in mode RGB."""
    pixels = bytes(8 * 8 * channels * 2)
    entries = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (258, 3, channels, 8 + 2 + 12 * 9 + 4),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 12 * 9 + 4 + 2 * channels),
        (277, 3, 1, channels),
        (278, 3, 1, 8),
        (279, 4, 1, len(pixels)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + b"\0" * 4 + struct.pack("<H", 16) * channels + pixels


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))),
        saved(Image.fromarray(np.zeros((8, 8), dtype=np.float32)), "TIFF"),
        *(deep_png(kind, channels) for kind, channels in ((0, 1), (2, 3), (4, 2), (6, 4))),
        deep_tiff(3),
        b"P6 8 8 4095 " + bytes(8 * 8 * 3 * 2),
        b"P5\n# by a microscope\n8 8\n65535\n" + bytes(8 * 8 * 2),
        b"P2 8 8 1023\n" + b"7 " * 64,
    ],
)
def test_more_than_eight_bits_are_refused(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()  # Pillow takes them all
    with pytest.raises(InputError, match="picture 0 has more than 8 bits"):
        run(content)


@pytest.mark.parametrize(
    "content", [b"P6 8 8 255 " + bytes(192), b"P4 8 8 " + bytes(8), b"P5 # 9\n8 8 15 " + bytes(64)]
)
def test_eight_bits_in_netpbm_are_fine(content: bytes) -> None:
    assert run(content).shape[2:] == (8, 8)


def test_what_is_converted_is_counted(picture: Callable[..., bytes]) -> None:
    color = Image.open(io.BytesIO(picture(0, channels=3)))
    transparent = color.copy()
    transparent.putalpha(7)
    exif = Image.Exif()
    exif[0x0112] = 3
    contents = [
        picture(0, channels=3),
        picture(0, channels=3),
        picture(1),
        saved(transparent),
        saved(color.quantize(8), transparency=0),
        saved(color.convert("CMYK"), "JPEG"),
        saved(color, "PNG", exif=exif),
        saved(color, "GIF", save_all=True, append_images=[color.rotate(90)]),
    ]
    result = decode(InMemory(tuple(contents)), framing=Framing(), cap=2**30)
    assert result.changes == {
        "made of gray into three channels, as others are in color": 1,
        "stripped of transparency": 2,
        "converted from CMYK to RGB": 1,
        "turned as the camera's tag says": 1,
        "cut to the first of several frames or pages": 1,
    }
    assert decode(InMemory((picture(0), picture(1))), framing=Framing(), cap=2**30).changes == {}


def test_bad_images_are_named(picture: Callable[..., bytes]) -> None:
    good = picture(0)
    for bad, message in (
        (b"nothing", "picture 1 cannot be read as an image"),
        (b"", "picture 1 cannot be read as an image"),
        (picture(0, 64, 64)[:-2000], "picture 1 cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "picture 1 cannot be read as an image"),
        (picture(1, 9, 8), r"picture 1 is 8×9, picture 0 is 8×8.*--size 8"),
        (picture(1, 8, 7), "picture 1 is 7×8 pixels: the smallest"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            run(good, bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(9500, 9500), (20_000, 20_000), (65_000, 65_000)])
def test_image_bombs_are_refused(picture: Callable[..., bytes], width: int, height: int) -> None:
    with pytest.raises(InputError, match="picture 1 declares more pixels than the limit for decoding"):
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


def test_no_images_and_too_small_sizes_are_refused(picture: Callable[..., bytes]) -> None:
    with pytest.raises(InputError, match="holds no images"):
        run()
    with pytest.raises(InputError, match="size must be at least 8"):
        run(picture(0), size=4)


def test_few_large_images_are_held_at_a_time(picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of 128 is for small images; of large ones, each thread holds a few, however many there are."""
    held, taken, most, lock = 0, 0, 0, threading.Lock()

    def counted(name: str, data: bytes, framing: Framing) -> tuple[np.ndarray, tuple[str, ...]]:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held - taken)
        return np.zeros((2000, 2000), dtype=np.uint8), ()

    monkeypatch.setattr(module, "_decode_one", counted)
    for _ in module._decoded(iter([("x", b"")] * 100), Framing()):
        taken += 1
    assert taken == 100
    assert most <= 1 + 2 * min(module.MOST_WORKERS, cores()) * (module._CHUNK_BYTES // 4_000_000)
