"""The cache of decoded images: never stale, never half written, built again when damaged."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trilemma.data import cache, load_data
from trilemma.data.decode import Decoded, Framing
from trilemma.data.readers.class_folders import ImageFiles


def cached_files() -> list[Path]:
    return sorted((cache.cache_folder() / "images").glob("*"))


def load(paths: list[Path], size: int | None = None) -> np.ndarray:
    return cache.decoded(ImageFiles(tuple(paths)), framing=Framing(size), cap=2**30).images


@pytest.fixture
def paths(tmp_path: Path, picture: Callable[..., bytes]) -> list[Path]:
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(picture(number))
    return files


def test_the_second_time_nothing_is_decoded(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(paths)
    assert [file.suffix for file in cached_files()] == [".npy"]

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "decode", refuse)
    second = load(paths)
    assert isinstance(second, np.memmap)
    assert not second.flags.writeable
    assert (first == second).all()


def test_the_file_is_an_ordinary_npy(paths: list[Path]) -> None:
    assert (np.load(kept_one(paths), mmap_mode="r") == load(paths)).all()


def kept_one(paths: list[Path]) -> Path:
    load(paths)
    (file,) = cached_files()
    return file


def test_changed_content_is_never_served_stale(paths: list[Path], picture: Callable[..., bytes]) -> None:
    before = np.array(load(paths))
    times = paths[2].stat()
    new = picture(99)
    paths[2].write_bytes(new)
    os.utime(paths[2], (times.st_atime, times.st_mtime))  # same name, same time
    after = load(paths)
    assert (after[[0, 1, 3, 4]] == before[[0, 1, 3, 4]]).all()
    assert (after[2] != before[2]).any()
    assert len(cached_files()) == 2


def test_order_and_size_are_part_of_the_key(paths: list[Path]) -> None:
    forward, backward = load(paths), load(paths[::-1])
    assert (forward[::-1] == backward).all()
    assert load(paths, size=16).shape == (5, 1, 16, 16)
    assert len(cached_files()) == 3


def test_the_same_content_elsewhere_shares_the_file(paths: list[Path], tmp_path: Path) -> None:
    load(paths)
    copies = [tmp_path / f"copy-{file.name}" for file in paths]
    for copy, file in zip(copies, paths, strict=True):
        copy.write_bytes(file.read_bytes())
    load(copies)
    assert len(cached_files()) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "longer", "text", "header", "changes", "length"])
def test_a_damaged_file_is_built_again(paths: list[Path], damage: str) -> None:
    right = np.array(load(paths))
    (file,) = cached_files()
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[-100:]
    elif damage == "empty":
        content.clear()
    elif damage == "flip":
        content[200] ^= 1
    elif damage == "longer":
        content += b"x"
    elif damage == "text":
        content[:] = b"not an array"
    elif damage in ("changes", "length"):  # of a writer with another idea of the end, digest and all
        text = b"[1]" if damage == "changes" else b"{}"
        body = bytes(content[: 128 + 5 * 64]) + text + (len(text) + (damage == "length")).to_bytes(8, "little")
        content[:] = body + hashlib.sha256(body).digest()
    else:
        content = bytearray(bytes(content).replace(b"(5, 1, 8, 8)", b"(5, 1, 8, 9)"))
    file.write_bytes(content)
    assert cache.load(file, rows=5) is None
    assert (load(paths) == right).all()
    rebuilt = cache.load(file, rows=5)
    assert rebuilt is not None
    assert (rebuilt.images == right).all()


def test_a_folder_that_cannot_be_written_means_no_cache(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    monkeypatch.setenv("TRILEMMA_CACHE", str(blocked))
    images = load(paths)
    assert images.shape == (5, 1, 8, 8)
    assert not isinstance(images, np.memmap)
    assert blocked.read_text() == "in the way"


def test_a_write_that_fails_leaves_nothing(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert load(paths).shape == (5, 1, 8, 8)
    assert cached_files() == []


def test_a_source_that_changes_meanwhile_is_not_kept(
    paths: list[Path], picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = cache.decode

    def slow(*args: object, **options: object) -> Decoded:
        images = decode(*args, **options)  # type: ignore[arg-type]
        paths[0].write_bytes(picture(77))
        return images

    monkeypatch.setattr(cache, "decode", slow)
    load(paths)
    assert cached_files() == []


def test_what_was_changed_is_kept_with_the_pixels(paths: list[Path]) -> None:
    content = io.BytesIO()
    Image.new("LA", (8, 8)).save(content, "PNG")
    paths[3].write_bytes(content.getvalue())
    first = cache.decoded(ImageFiles(tuple(paths)), framing=Framing(), cap=2**30)
    second = cache.decoded(ImageFiles(tuple(paths)), framing=Framing(), cap=2**30)
    assert isinstance(second.images, np.memmap)
    assert first.changes == second.changes == {"stripped of transparency": 1}


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRILEMMA_CACHE", "own")
    monkeypatch.setenv("XDG_CACHE_HOME", "shared")
    assert cache.cache_folder() == Path("own")
    monkeypatch.delenv("TRILEMMA_CACHE")
    assert cache.cache_folder() == Path("shared/trilemma")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path("~/.cache/trilemma").expanduser()


def test_progress_reaches_the_total(class_folders: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    load_data(class_folders, progress=lambda what, done, total: seen.append((what, done, total)))
    assert {(done, total) for _, done, total in seen} == {(12, 12), (4, 4)}
    assert {what.rsplit(os.sep, 1)[-1] for what, *_ in seen} == {"train", "test"}
