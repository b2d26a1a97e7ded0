"""A stranger's file is read without running anything in it and without unpacking more than is allowed."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trilemma.attacks.npz import read_arrays
from trilemma.errors import InputError


class Canary:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def write(path: Path, arrays: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": descr})
    return stream.getvalue()


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", labels=np.array([Canary(tmp_path / "ran")], dtype=object))
    with pytest.raises(InputError, match=r"labels in p\.npz holds pickled objects"):
        read_arrays(tmp_path / "p.npz", ["labels"])
    assert not (tmp_path / "ran").exists()
    # The canary itself works: a loader that unpickles sets it off.
    with np.load(tmp_path / "p.npz", allow_pickle=True) as loaded:
        _ = loaded["labels"]
    assert (tmp_path / "ran").exists()


def test_a_file_over_the_cap_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "p.npz", {"logits.npy": npy(np.zeros(2000)), "labels.npy": npy(np.zeros(2000))})
    with pytest.raises(InputError, match="would unpack to"):
        read_arrays(path, ["logits", "labels"], max_bytes=20_000)
    assert set(read_arrays(path, ["logits"], max_bytes=20_000)[0]) == {"logits"}


def test_a_bomb_is_refused_by_how_well_it_packs(tmp_path: Path) -> None:
    path = write(tmp_path / "p.npz", {"logits.npy": npy(np.zeros((9 * 2**20, 1)))})
    assert path.stat().st_size < 2**17
    with pytest.raises(InputError, match="decompression bomb"):
        read_arrays(path, ["logits"])


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.npz", {"logits.npy": header((2**40,)) + bytes(80)})
    with pytest.raises(InputError, match="does not fit its size"):
        read_arrays(path, ["logits"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not an array", "not a valid array"),
        (npy(np.zeros(3))[:-8], "does not fit its size"),
        (npy(np.zeros(3, dtype=[("a", "f8")])), "holds"),
        (npy(np.zeros(3, dtype="M8[s]")), "never loaded"),
        (npy(np.zeros(3, dtype=complex)), "never loaded"),
        (npy(np.zeros(3, dtype=[("é" * 3, "f8")])), "holds|records"),
    ],
)
def test_what_is_no_plain_array_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_arrays(write(tmp_path / "p.npz", {"logits.npy": content}), ["logits"])
    assert "\n" not in str(caught.value)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.npz").write_bytes(npy(np.zeros(3)))
    whole = write(tmp_path / "whole.npz", {"logits.npy": npy(np.random.default_rng(0).random(1000))})
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[:3000])
    damaged = bytearray(whole.read_bytes())
    damaged[1000:1100] = bytes(100)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name in ("plain.npz", "half.npz", "damaged.npz"):
        with pytest.raises(InputError, match=r"not a valid \.npz"):
            read_arrays(tmp_path / name, ["logits"])
    for path in (tmp_path, tmp_path / "absent.npz"):
        with pytest.raises(InputError, match="is not a file"):
            read_arrays(path, ["logits"])


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.npy", npy(np.zeros(3)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("labels.npy", npy(np.ones(3)))
    with pytest.raises(InputError, match="two arrays of one name"):
        read_arrays(path, ["labels"])
