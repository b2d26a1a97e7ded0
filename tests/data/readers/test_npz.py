"""Arrays in ``.npz`` files: every layout is read alike; pickles, bombs and damage are refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trilemma.data import load_data
from trilemma.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 9, 3), dtype=np.uint8)
LABELS = np.arange(20) % 2
SPLIT = np.array(["train"] * 14 + ["test"] * 6)


def write(tmp_path: Path, **arrays: object) -> Path:
    file = tmp_path / "a.npz"
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file


def refused(path: Path, message: str, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def member(shape: str, data: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW", "NHWA", "int64"])
def test_arrays_of_every_layout_give_the_same_images(tmp_path: Path, layout: str) -> None:
    images = {
        "NHWC": IMAGES,
        "NCHW": IMAGES.transpose(0, 3, 1, 2),
        "NHW": IMAGES[..., 0],
        "NHWA": np.concatenate([IMAGES, IMAGES[..., :1]], axis=3),
        "int64": IMAGES.astype(np.int64),
    }[layout]
    data = load_data(write(tmp_path, images=images, labels=LABELS, split=SPLIT))
    expected = IMAGES.transpose(0, 3, 1, 2)[:, : 1 if layout == "NHW" else 3]
    assert (data.train.images == expected[:14]).all()
    assert (data.test.images == expected[14:]).all()
    assert data.test.labels.tolist() == [0, 1] * 3
    assert data.name == "a"


def test_groups_words_and_sparse_numbers(tmp_path: Path) -> None:
    data = load_data(
        write(
            tmp_path,
            images=IMAGES,
            labels=LABELS * 40 + 7,
            groups=np.array(["x", "y"])[LABELS],
            split=np.arange(20) > 13,
        )
    )
    assert (data.classes, data.group_names) == (("7", "47"), ("x", "y"))
    assert (len(data.train), len(data.test)) == (14, 6)


def test_class_names_in_the_file(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "cow"])
    data = load_data(write(tmp_path, images=IMAGES, labels=LABELS + 1, classes=names, split=SPLIT))
    assert data.classes == ("cat", "dog", "cow")
    assert data.test.labels.tolist() == [1, 2] * 3
    refused(
        write(tmp_path, images=IMAGES, labels=LABELS + 2, classes=names, split=SPLIT),
        "label 3, out of range for 3 names",
    )


def test_arrays_can_be_named(tmp_path: Path) -> None:
    file = write(tmp_path, x=IMAGES, y=LABELS)
    refused(file, "has no image column.* its columns are x and y")
    refused(file, "has no column 'z'", columns={"image": "z"})
    refused(file, "unknown role 'picture'", columns={"picture": "x"})
    assert len(load_data(file, columns={"images": "x", "labels": "y"}).train) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS[:-1]}, r"has 20 images but labels of shape \(19,\)"),
        ({"labels": np.eye(2, dtype=int)[LABELS]}, r"labels of shape \(20, 2\).*for one-hot rows, give the position"),
        ({"groups": LABELS[:5]}, r"has 20 images but groups of shape \(5,\)"),
        ({"labels": -LABELS}, "negative label -1"),
        ({"labels": LABELS * 0}, "has only one class"),
        ({"labels": LABELS + 0.5}, "label 0.5 in row 0"),
        ({"labels": np.where(LABELS == 1, np.nan, 0)}, "no label in row 1"),
        ({"groups": LABELS * 0}, "has only one group"),
        ({"split": np.array(["train", "later"])[LABELS]}, "split 'later' in row 1"),
        ({"split": np.array(["test"] * 20)}, "has no training examples"),
        ({"images": IMAGES / 255}, "whole numbers from 0 to 255, not float64"),
        ({"images": IMAGES.astype(np.int64) - 1}, "whole numbers from 0 to 255"),
        ({"images": IMAGES[:, :, :, :, None]}, "must have shape"),
        ({"images": IMAGES[:, 0, 0, 0]}, "must have shape"),
        ({"images": IMAGES[:, :7]}, "the smallest that can be used is 8×8"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "must have shape"),
        ({"images": np.zeros((20, 8, 8, 5), np.uint8)}, "must have shape"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    refused(write(tmp_path, **{"images": IMAGES, "labels": LABELS, **changes}), message)


class Canary:
    """Unpickling it is seen."""

    sung = False

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _sing, ()


def _sing() -> int:
    Canary.sung = True
    return 0


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    objects = np.array([Canary() for _ in range(20)], dtype=object)
    file = write(tmp_path, images=IMAGES, labels=objects)
    refused(file, "holds pickled Python objects")
    assert not Canary.sung
    with np.load(file, allow_pickle=True) as loaded:  # the canary does sing where it is let
        loaded["labels"]
    assert Canary.sung


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "bomb.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as stream:
            stream.write(member(f"({2**21}, 8, 8)", b""))
            for _ in range(128):
                stream.write(bytes(2**20))
        archive.writestr("labels.npy", member("(2,)", bytes(2)))
    assert file.stat().st_size < 2**20
    refused(file, "would take 0.125 GiB in memory, more than the limit of 0.1 GiB", memory_gib=0.1)


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    def archive(images: bytes) -> Path:
        file = tmp_path / "lies.npz"
        with zipfile.ZipFile(file, "w") as opened:
            opened.writestr("images.npy", images)
            opened.writestr("labels.npy", member("(2,)", bytes(2)))
        return file

    refused(archive(member("(99999999999, 8, 8)", bytes(128))), "would take .* more than the limit")
    refused(archive(member("(20000, 8, 8)", bytes(128))), "declares 1280000 bytes but holds 128")
    refused(archive(member("(2, 8, 8)", bytes(129))), "declares 128 bytes but holds 129")
    refused(archive(member("(-2, 8, 8)", bytes(128))), "images")
    refused(archive(member("(2, 8, 8)", bytes(128), descr="|O")), "pickled Python objects")
    refused(archive(b"not an array"), "cannot be read")
    refused(archive(b""), "cannot be read")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, images=IMAGES, labels=LABELS)
    content = bytearray(file.read_bytes())
    file.write_bytes(content[: len(content) // 2])
    refused(file, "cannot be read as .npz")
    content[200] ^= 255
    file.write_bytes(content)
    refused(file, "cannot be read as .npz")
    stream = io.BytesIO()
    np.save(stream, IMAGES)
    file.write_bytes(stream.getvalue())
    refused(file, "cannot be read as .npz")
    refused(file, "size does not apply", size=8)
