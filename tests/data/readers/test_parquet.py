"""Images in Parquet tables: columns, splits, recorded class names, limits and damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.data import load_data
from trilemma.errors import InputError

Picture = Callable[..., bytes]


def write(file: Path, features: dict[str, object] | None = None, **columns: list[object]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)
    return file


def refused(path: Path, message: str, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.fixture
def contents(picture: Picture) -> list[bytes]:
    return [picture(number, channels=3) for number in range(20)]


def test_one_file_of_structs(tmp_path: Path, contents: list[bytes]) -> None:
    images = [{"bytes": content, "path": None} for content in contents]
    file = write(tmp_path / "faces.parquet", image=images, label=[number % 2 + 4 for number in range(20)])
    data = load_data(file)
    assert (data.name, data.classes) == ("faces", ("4", "5"))
    assert (len(data.train), len(data.test)) == (16, 4)
    assert "20% set aside" in data.source


def test_raw_bytes_words_groups_and_a_split_column(tmp_path: Path, contents: list[bytes]) -> None:
    file = write(
        tmp_path / "x.parquet",
        picture=contents,
        species=["cat", "dog"] * 10,
        group=[number < 10 for number in range(20)],
        split=["train"] * 12 + ["validation"] * 4 + ["test"] * 4,
    )
    refused(
        file,
        "no label column: name one with --columns label=NAME .*; its columns are picture, species, group and split",
    )
    data = load_data(file, columns={"label": "species"})
    assert (data.classes, data.group_names) == (("cat", "dog"), ("False", "True"))
    assert (len(data.train), len(data.test)) == (12, 4)
    assert data.train.groups is not None
    assert data.train.groups.tolist() == [1] * 10 + [0] * 2


def test_class_names_recorded_in_the_file_are_used(tmp_path: Path, contents: list[bytes]) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["a", "b", "c"]}}
    labels = [number % 2 for number in range(20)]
    data = load_data(write(tmp_path / "x.parquet", features, img=contents, label=labels))
    assert data.classes == ("a", "b", "c")
    refused(
        write(tmp_path / "y.parquet", features, img=contents, label=[3, *labels[1:]]),
        "label 3, out of range for 3 names",
    )


@pytest.mark.parametrize("layout", ["flat", "data", "configuration", "folders"])
def test_a_folder_in_the_hub_layout(tmp_path: Path, contents: list[bytes], layout: str) -> None:
    root = tmp_path / "set"
    inner = {"flat": root, "data": root / "data", "configuration": root / "plain", "folders": root}[layout]
    for split, start, stop in (("train", 0, 7), ("train", 7, 14), ("test", 14, 20)):
        shard = f"{0 if start in (0, 14) else 1:05d}"
        name = f"{split}-{shard}-of-{2 if split == 'train' else 1:05d}.parquet"
        file = inner / (f"{split}/{shard}.parquet" if layout == "folders" else name)
        write(file, image=contents[start:stop], label=[number % 2 for number in range(start, stop)])
    data = load_data(root)
    assert (len(data.train), len(data.test)) == (14, 6)
    assert data.train.labels.tolist() == [0, 1] * 7
    whole = load_data(write(tmp_path / "w.parquet", image=contents, label=[0, 1] * 10, split=[0] * 14 + [1] * 6))
    assert (whole.train.images == data.train.images).all()
    assert (whole.test.images == data.test.images).all()


def test_damage_is_found(tmp_path: Path, contents: list[bytes]) -> None:
    root = tmp_path / "set"
    write(root / "train-00000-of-00002.parquet", image=contents, label=[0, 1] * 10)
    refused(root, "lacks shard 00001 of 2")
    write(root / "train-00001-of-00002.parquet", image=contents, labels=[0, 1] * 10)
    refused(root, "files of one split must agree")
    write(tmp_path / "two" / "a" / "train.parquet", image=contents, label=[0, 1] * 10)
    write(tmp_path / "two" / "b" / "train.parquet", image=contents, label=[0, 1] * 10)
    refused(tmp_path / "two", r"several configurations \(a and b\)")
    file = write(tmp_path / "x.parquet", image=contents, label=[0, 1] * 10)
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    refused(file, "cannot be read as Parquet")
    file.write_bytes(b"x" * 100)
    refused(file, "cannot be read as Parquet")


def test_images_must_be_in_the_table(tmp_path: Path, contents: list[bytes]) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(contents[0])
    labels = [0, 1] * 10
    only_paths = [{"bytes": None, "path": str(secret)}] * 20
    refused(write(tmp_path / "a.parquet", image=only_paths, label=labels), "row 0 .* holds no image")
    refused(
        write(tmp_path / "b.parquet", image=labels, label=labels),
        "has int64 instead of images in column 'image'",
    )
    refused(
        write(tmp_path / "c.parquet", image=[*contents[:-1], b"broken"], label=labels),
        r"c\.parquet row 19 cannot be read as an image",
    )
    refused(write(tmp_path / "d.parquet", image=contents, label=[None, *labels[1:]]), "no label in row 0")
    refused(write(tmp_path / "e.parquet", image=contents[:0], label=[]), "holds no images")


def test_declared_sizes_are_limited(tmp_path: Path, contents: list[bytes]) -> None:
    file = write(tmp_path / "a.parquet", image=contents, label=[0, 1] * 10)
    refused(file, "more than the limit", memory_gib=1000 / 2**30)
    refused(file, "row group 0 of .* would take", memory_gib=2000 / 2**30)
    assert len(load_data(file, memory_gib=8000 / 2**30).train) == 16


def test_a_table_is_cached_by_content(tmp_path: Path, contents: list[bytes]) -> None:
    file = write(tmp_path / "a.parquet", image=contents, label=[0, 1] * 10)
    before = load_data(file)
    write(file, image=contents[::-1], label=[0, 1] * 10)
    after = load_data(file)
    assert (np.array(before.train.images) != np.array(after.train.images)).any()
