"""Archives, headers and images that are small on the disk and huge in memory."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hostile_case import (
    ALLOWED,
    Hostile,
    arrays_of,
    command_for,
    folder_of_classes,
    put,
    train,
)
from malformed import npy_header, npz, png


def zeros(size: int, before: bytes = b"") -> bytes:
    """``before`` and then ``size`` zeros, deflated; a block that was flushed in full can be repeated as it is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * (size // 2**20) + packer.flush()


def zip_with(path: Path, name: str, packed: bytes, size: int, checksum: int, others: dict[str, Any]) -> Path:
    """A zip file whose first member is given packed."""
    path.write_bytes(npz(others))
    with zipfile.ZipFile(path) as archive:
        rest = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in rest.items():
            archive.writestr(member, content)
    body = path.read_bytes()
    end = body.rindex(b"PK\x05\x06")
    count, directory_size, directory = struct.unpack("<HII", body[end + 10 : end + 20])
    local = (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, checksum, len(packed), size, len(name), 0)
        + name.encode()
        + packed
    )
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, checksum, len(packed), size, len(name), 0, 0, 0, 0, 0, directory
    )
    entry += name.encode()
    moved = directory + len(local)
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count + 1, count + 1, directory_size + len(entry), moved, 0)
    path.write_bytes(body[:directory] + local + body[directory : directory + directory_size] + entry + tail)
    return path


def zip_bomb(kind: str, name: str, descr: str, row: str, megabytes: int = 300) -> Hostile:
    """An array of zeros: a thousand times as large as its file."""
    size = megabytes * 2**20
    itemsize = np.dtype(descr).itemsize
    per_row = int(np.prod([int(number) for number in row.split(",") if number.strip()] or [1]))
    count = size // (itemsize * per_row)

    def make(folder: Path) -> tuple[str, ...]:
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count}, {row})}}"
        header = npy_header(text + " " * (-(len(text) + 11) % 64), data=b"")
        checksum = zlib.crc32(header)
        block = bytes(2**20)
        for _ in range(megabytes):
            checksum = zlib.crc32(block, checksum)
        others = {key: value for key, value in arrays_of(kind).items() if key != name}
        packed = zeros(size, header)
        return command_for(
            kind, zip_with(folder / "x.npz", f"{name}.npy", packed, size + len(header), checksum, others)
        )

    return Hostile(f"a zip bomb as {name} of {kind}", make, lambda folder: unpacked(folder / "x.npz", name) > ALLOWED)


def unpacked(path: Path, name: str) -> int:
    """Bytes that a member unpacks to, read in pieces."""
    total = 0
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        while total <= ALLOWED and (block := stream.read(2**20)):
            total += len(block)
    return total


def declared(kind: str, name: str, header: str, version: bytes = b"\x01\x00", what: str = "") -> Hostile:
    """A header that promises, or takes, more than there is room for."""

    def make(folder: Path) -> tuple[str, ...]:
        return command_for(kind, put(folder / "x.npz", npz(arrays_of(kind) | {name: npy_header(header, version)})))

    def live(folder: Path) -> bool:
        try:
            with np.load(folder / "x.npz", allow_pickle=True, max_header_size=2**40) as loaded:
                return loaded[name].nbytes > ALLOWED
        except (MemoryError, RecursionError, SyntaxError, OverflowError):
            return True
        except ValueError as error:  # numpy itself has reserved the memory before it found the file too short
            return (
                "cannot reshape" in str(error)
                or "Maximum allowed" in str(error)
                or "too many" in str(error).lower()
                or "maximum" in str(error)
            )
        except Exception:
            return False

    return Hostile(f"{what or 'a header'} as {name} of {kind}", make, live)


def long_header(kind: str, name: str) -> Hostile:
    """A header of 300 MiB of zeros, packed to a thousandth of that."""

    def make(folder: Path) -> tuple[str, ...]:
        length = 300 * 2**20
        packed = zeros(length, b"\x93NUMPY\x02\x00" + struct.pack("<I", length))
        others = {key: value for key, value in arrays_of(kind).items() if key != name}
        return command_for(kind, zip_with(folder / "x.npz", f"{name}.npy", packed, length + 12, 0, others))

    return Hostile(
        f"a header of 300 MiB as {name} of {kind}",
        make,
        lambda folder: unpacked_without_check(folder / "x.npz", name) > ALLOWED,
    )


def unpacked_without_check(path: Path, name: str) -> int:
    try:
        return unpacked(path, name)
    except zipfile.BadZipFile:  # the checksum at the end: by then it has been unpacked
        return 2**62


def nested_zip(kind: str, name: str) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        content = bytes(2**20)
        for _ in range(3):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for number in range(16):
                    archive.writestr(f"{number}.npy", content)
            content = stream.getvalue()
        return command_for(kind, put(folder / "x.npz", npz(arrays_of(kind) | {name: content})))

    def live(folder: Path) -> bool:
        with zipfile.ZipFile(folder / "x.npz") as archive:
            content, factor = archive.read(f"{name}.npy"), 1
        for _ in range(3):
            with zipfile.ZipFile(io.BytesIO(content)) as inner:
                factor *= len(inner.infolist())
                content = inner.read("0.npy")
        return factor * len(content) > ALLOWED

    return Hostile(f"zips in zips as {name} of {kind}", make, live)


def many_members(kind: str) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            for number in range(60_000):
                archive.writestr(f"{number}.npy", b"")
        return command_for(kind, folder / "x.npz")

    def live(folder: Path) -> bool:
        with zipfile.ZipFile(folder / "x.npz") as archive:
            return len(archive.infolist()) > 50_000

    return Hostile(f"60,000 arrays as {kind}", make, live)


def bombs() -> list[Hostile]:
    deep = "-" * 5000 + "1"
    wide = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1," * 20_000 + ")}"
    huge = "{'descr': '|u1', 'fortran_order': False, 'shape': (68719476736,)}"
    return [
        zip_bomb("data", "images", "|u1", "8, 8"),
        zip_bomb("data", "labels", "<i8", ""),
        zip_bomb("data", "groups", "<U1000", ""),
        zip_bomb("data", "split", "|S9", ""),
        zip_bomb("predictions", "logits", "<f8", "3"),
        zip_bomb("predictions", "labels", "<i8", ""),
        zip_bomb("predictions", "member", "|b1", ""),
        zip_bomb("predictions", "weights", "<f8", ""),
        *(
            declared(kind, name, huge, what="64 GiB declared")
            for kind, name in (
                ("data", "images"),
                ("data", "labels"),
                ("predictions", "logits"),
                ("predictions", "labels"),
            )
        ),
        *(
            declared(kind, name, deep, what="a header nested 5,000 deep")
            for kind, name in (("data", "images"), ("predictions", "logits"))
        ),
        *(
            declared(kind, name, wide, what="a shape of 20,000 dimensions")
            for kind, name in (("data", "images"), ("predictions", "logits"))
        ),
        long_header("data", "images"),
        long_header("predictions", "logits"),
        nested_zip("data", "images"),
        nested_zip("predictions", "logits"),
        many_members("data"),
        many_members("predictions"),
    ]


# --- images -----------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, *, color: int = 0, data: bytes | None = None, extra: bytes = b"") -> bytes:
    """A PNG that declares a size; without data it has the zeros for it."""
    channels = {0: 1, 2: 3, 6: 4}[color]
    if data is None:  # some zeros too many, which no reader minds
        data = deflated((height * (1 + width * channels) // 2**20 + 1) * 2**20)
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def image_bomb(name: str, ending: str, content: Callable[[], bytes], times: int = 1, table: bool = False) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        bomb = content()
        if table:
            import pyarrow as pa
            import pyarrow.parquet as pq

            images = [bomb] * times + [png(np.random.default_rng(0))] * 20
            made = pa.table({"image": images, "label": [number % 2 for number in range(len(images))]})
            pq.write_table(made, folder / "x.parquet")
            put(folder / f"bomb{ending}", bomb)
            return train(folder / "x.parquet")
        root = folder_of_classes(folder / "d")
        for number in range(times):
            put(root / "train" / "a" / f"{90 + number}{ending}", bomb)
        put(folder / f"bomb{ending}", bomb)
        return train(root)

    def live(folder: Path) -> bool:
        from PIL import Image, PngImagePlugin

        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = None, 2**40, 2**40
        try:
            with Image.open(folder / f"bomb{ending}") as opened:
                frames = opened.n_frames if name.startswith("frames") else 1
                size = opened.width * opened.height * (4 + len(opened.getbands()))  # in Pillow, and as an array
                text = sum(len(value) for value in opened.text.values()) if name.startswith("text") else 0
            return size * frames * times + text + profile_packed(folder / f"bomb{ending}") > ALLOWED
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before

    return Hostile(f"an image bomb: {name}" + (" in a table" if table else ""), make, live)


def profile_packed(path: Path) -> int:
    """Bytes that the color profile of a PNG unpacks to."""
    content = path.read_bytes()
    if b"iCCP" not in content:
        return 0
    start = content.index(b"iCCP") + 4
    unpacker, total, packed = zlib.decompressobj(), 0, content[start + 3 :]
    while packed and not unpacker.eof:
        total += len(unpacker.decompress(packed, 2**20))
        packed = unpacker.unconsumed_tail
    return total


def deflated(size: int) -> bytes:
    """``size`` zeros with the frame of zlib; both sums of their checksum are known, 1 and the size."""
    return b"\x78\xda" + zeros(size) + struct.pack(">HH", size % 65521, 1)


def gif_frames() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    frames = [Image.new("P", (1200, 1200), number % 2) for number in range(200)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def jpeg_of(width: int, height: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def tiff_of(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 64)]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + bytes(80)


def images() -> list[Hostile]:
    small = zlib.compress(b"0")
    return [
        image_bomb("a PNG of 65,000 by 65,000", ".png", lambda: png_of(65_000, 65_000, data=small)),
        image_bomb("a PNG of 20,000 by 20,000 zeros", ".png", lambda: png_of(20_000, 20_000)),
        image_bomb("a PNG of 9,400 by 9,400 in color", ".png", lambda: png_of(9400, 9400, color=2)),
        image_bomb("a PNG of 9,000 by 9,000 with transparency", ".png", lambda: png_of(9000, 9000, color=6)),
        image_bomb("eight PNGs of 5,600 by 5,600 in color", ".png", lambda: png_of(5600, 5600, color=2), times=8),
        image_bomb(
            "a GIF of 65,535 by 65,535",
            ".gif",
            lambda: b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\2\1\0;",
        ),
        image_bomb(
            "a BMP of 60,000 by 60,000",
            ".bmp",
            lambda: (
                b"BM"
                + struct.pack("<IIIIiiHHIIiiII", 200, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 1, 1, 0, 0)
                + bytes(100)
            ),
        ),
        image_bomb("a PPM of 99,999 by 99,999", ".ppm", lambda: b"P6 99999 99999 255 " + bytes(100)),
        image_bomb("a JPEG of 65,500 by 65,500", ".jpg", lambda: jpeg_of(65_500, 65_500)),
        image_bomb("a TIFF of 4,000,000 by 4,000", ".tif", lambda: tiff_of(4_000_000, 4_000)),
        image_bomb(
            "text of 300 MiB in a PNG",
            ".png",
            lambda: png_of(8, 8, data=zlib.compress(bytes(72)), extra=chunk(b"zTXt", b"a\0\0" + deflated(300 * 2**20))),
        ),
        image_bomb(
            "a color profile of 300 MiB in a PNG",
            ".png",
            lambda: png_of(8, 8, data=zlib.compress(bytes(72)), extra=chunk(b"iCCP", b"a\0\0" + deflated(300 * 2**20))),
        ),
        image_bomb("frames: 200 in a GIF", ".gif", gif_frames),
        image_bomb("a PNG of 65,000 by 65,000", ".png", lambda: png_of(65_000, 65_000, data=small), table=True),
        image_bomb("a PNG of 20,000 by 20,000 zeros", ".png", lambda: png_of(20_000, 20_000), table=True),
        image_bomb(
            "eight PNGs of 5,600 by 5,600 in color", ".png", lambda: png_of(5600, 5600, color=2), times=8, table=True
        ),
    ]
