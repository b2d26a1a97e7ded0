"""Folders of images, one folder a class: labels, groups and splits from names, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trilemma.data import load_data
from trilemma.errors import InputError


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def refused(path: Path, message: str, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_class_folders_give_images_labels_and_splits(class_folders: Path) -> None:
    data = load_data(class_folders)
    assert not any("set aside" in note for note in data.notes)
    assert (data.name, data.classes, data.group_names) == ("pictures", ("cat", "dog"), None)
    assert data.train.images.shape == (12, 1, 8, 8)
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert (data.train.images[7, 0] == pixels(class_folders / "train" / "dog" / "1.png")).all()
    assert (data.mean, data.std, data.flips, data.shift) == ((0.5,), (0.5,), True, 1)
    assert load_data(class_folders, flips=False, shift=2).flips is False


def test_folders_within_class_folders_give_groups(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    seed = 0
    for split in ("training", "testing"):
        for name in ("cat", "dog"):
            for group in ("inside", "outside"):
                for number in range(3):
                    put(tmp_path / "g" / split / name / group / f"{number}.png", picture(seed, channels=3))
                    seed += 1
    data = load_data(tmp_path / "g")
    assert data.group_names == ("inside", "outside")
    assert data.train.groups is not None
    assert data.train.groups.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert data.train.images.shape == (12, 3, 8, 8)
    put(tmp_path / "g" / "training" / "cow" / "9.png", picture(0, channels=3))
    refused(tmp_path / "g", "group folders in some classes, but none in cow")
    put(tmp_path / "g" / "training" / "cat" / "9.png", picture(0, channels=3))
    refused(tmp_path / "g", "holds images and group folders")


def test_without_a_split_a_stratified_fifth_is_set_aside(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    for number in range(50):
        put(tmp_path / "p" / ("few" if number < 10 else "many") / f"{number}.png", picture(number))
    data = load_data(tmp_path / "p")
    assert np.bincount(data.test.labels).tolist() == [2, 8]
    assert np.bincount(data.train.labels).tolist() == [8, 32]
    assert "20% set aside for testing, stratified by class, seed 0" in data.source
    assert any("10 of its 50 examples are set aside for testing, stratified by class, seed 0" in n for n in data.notes)
    assert load_data(tmp_path / "p").fingerprint == data.fingerprint
    assert load_data(tmp_path / "p", seed=1).fingerprint != data.fingerprint
    rows = {row.tobytes() for row in np.concatenate([data.train.images, data.test.images])}
    assert len(rows) == 50


def test_numbered_classes_sort_by_number(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    for name in ("0", "2", "10"):
        for number in range(2):
            put(tmp_path / "n" / name / f"{number}.png", picture(int(name) + number))
    assert load_data(tmp_path / "n").classes == ("0", "2", "10")


def test_validation_stands_in_for_a_missing_test(class_folders: Path) -> None:
    (class_folders / "test").rename(class_folders / "validation")
    assert len(load_data(class_folders).test) == 4
    assert len(load_data(class_folders, test_split="valid").test) == 4
    refused(class_folders, "has no split 'test'", test_split="test")


def test_other_files_are_passed_over(class_folders: Path) -> None:
    before = load_data(class_folders).fingerprint
    (class_folders / "README.md").write_text("about")
    (class_folders / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    (class_folders / "train" / ".hidden").mkdir()
    (class_folders / "train" / "cat" / "._0.png").write_bytes(b"x")
    assert load_data(class_folders).fingerprint == before


def test_what_a_folder_may_not_be(tmp_path: Path, class_folders: Path, picture: Callable[..., bytes]) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no images: expected CLASS")
    for number in range(3):
        put(tmp_path / "one" / "cat" / f"{number}.png", picture(number))
    refused(tmp_path / "one", r"has only one class \(cat\)")
    put(tmp_path / "one" / "dog" / "0.png", picture(9))
    refused(tmp_path / "one", "only one example of dog")
    put(tmp_path / "one" / "loose.png", picture(9))
    refused(tmp_path / "one", "loose.png is next to the class folders")
    put(class_folders / "test" / "cow" / "0.png", picture(9))
    refused(class_folders, r"classes without training examples \(cow\)")
    refused(class_folders, "columns does not apply", columns={"label": "x"})
    (class_folders / "train").rename(class_folders / "held-out")
    (class_folders / "held-out").rename(tmp_path / "elsewhere")
    refused(class_folders, "has no folder train")


def test_unreadable_and_odd_images_are_named(class_folders: Path, picture: Callable[..., bytes]) -> None:
    file = class_folders / "train" / "dog" / "3.png"
    good = file.read_bytes()
    file.write_bytes(good[:40])
    refused(class_folders, r"dog/3\.png cannot be read as an image")
    file.write_bytes(picture(0, 9, 10))
    refused(class_folders, r"dog/3\.png is 10×9, .*cat/0\.png is 8×8")
    assert load_data(class_folders, size=8).train.images.shape == (12, 1, 8, 8)
    file.write_bytes(good)
    for test in (class_folders / "test").rglob("*.png"):
        test.write_bytes(picture(0, 16, 16))
    refused(class_folders, "training images of 8×8 and test images of 16×16")


def test_color_in_one_split_makes_both_color(class_folders: Path, picture: Callable[..., bytes]) -> None:
    (class_folders / "test" / "cat" / "0.png").write_bytes(picture(0, channels=3))
    data = load_data(class_folders)
    assert data.train.images.shape[1] == data.test.images.shape[1] == 3
    assert data.mean == (0.5,) * 3


def test_links_may_not_lead_out(class_folders: Path, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    inside = class_folders / "train" / "cat" / "again.png"
    inside.symlink_to(class_folders / "train" / "cat" / "0.png")
    assert len(load_data(class_folders).train) == 13
    secret = put(tmp_path / "secret.png", picture(0))
    (class_folders / "train" / "cat" / "out.png").symlink_to(secret)
    refused(class_folders, r"the link .*out\.png points outside")
    (class_folders / "train" / "cat" / "out.png").unlink()
    (class_folders / "train" / "cow").symlink_to(tmp_path)
    refused(class_folders, "the link .*cow points outside")
    # the folder itself may be reached by a link
    (class_folders / "train" / "cow").unlink()
    (tmp_path / "link").symlink_to(class_folders)
    assert len(load_data(tmp_path / "link").train) == 13


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("layout", ["split folders", "paths", "column", "none"])
def test_metadata_gives_labels_groups_and_splits(
    tmp_path: Path, picture: Callable[..., bytes], form: str, layout: str
) -> None:
    root = tmp_path / "m"
    rows = []
    for number in range(20):
        split = "train" if number < 12 else "test"
        name = f"{number}.png" if layout in ("column", "none") else f"{split}/{number}.png"
        put(root / name, picture(number))
        rows.append({"file_name": name, "label": 30 - number % 2, "group": "ab"[number // 2 % 2], "split": split})
    columns = ["file_name", "label", "group", *(["split"] if layout == "column" else [])]

    def write(file: Path, chosen: list[dict[str, object]]) -> None:
        if form == "csv":
            lines = [",".join(columns), *(",".join(f'"{row[key]}"' for key in columns) for row in chosen)]
        else:
            lines = [json.dumps({key: row[key] for key in columns}) for row in chosen]
        file.write_text("\ufeff" * (form == "csv") + "\n".join(lines) + "\n", encoding="utf-8")

    if layout == "split folders":
        for split in ("train", "test"):
            part = [
                {**row, "file_name": os.path.basename(str(row["file_name"]))} for row in rows if row["split"] == split
            ]
            write(root / split / f"metadata.{form}", part)
    else:
        write(root / f"metadata.{form}", rows)
    data = load_data(root)
    assert data.classes == ("29", "30")
    assert data.group_names == ("a", "b")
    if layout == "none":
        assert (len(data.train), len(data.test)) == (16, 4)
        return
    assert data.train.labels.tolist() == [1, 0] * 6
    assert data.train.groups is not None
    assert data.train.groups.tolist() == [0, 0, 1, 1] * 3
    assert (data.test.images[0, 0] == pixels(root / str(rows[12]["file_name"]))).all()


def test_metadata_columns_can_be_named(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    root = tmp_path / "m"
    lines = ["path,species,sex"]
    for number in range(8):
        put(root / f"{number}.png", picture(number))
        lines.append(f"{number}.png,{'cat' if number % 2 else 'dog'},{'m' if number < 4 else 'f'}")
    put(root / "metadata.csv", "\n".join(lines).encode())
    refused(root, "has no column 'file_name' .* its columns are path, species and sex")
    refused(
        root,
        r"no label column: name one with --columns label=NAME \(columns=\{'label': NAME\}\); its columns are path",
        columns={"image": "path"},
    )
    data = load_data(root, columns={"image": "path", "label": "species", "group": "sex"})
    assert (data.classes, data.group_names) == (("cat", "dog"), ("f", "m"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\n../secret.png,a\n", "points outside"),
        ("file_name,label\n/etc/passwd,a\n", "must be a path relative"),
        ("file_name,label\nC:\\x.png,a\n", "must be a path relative"),
        ("file_name,label\nlink.png,a\n", "points outside"),
        ("file_name,label\nmissing.png,a\n", "does not exist"),
        ("file_name,label\n,a\n", "has no file_name"),
        ("file_name,label\n0.png,\n", "no label in row 0"),
        ("file_name,label\n0.png,a,b,c\n", "more fields than the heading"),
        ('file_name,label\n"0.png,a\n', "is not CSV"),
        ("file_name,label\n", "lists no images"),
        ("", "lists no images"),
    ],
)
def test_bad_metadata_are_refused_with_their_row(
    tmp_path: Path, picture: Callable[..., bytes], text: str, message: str
) -> None:
    put(tmp_path / "secret.png", picture(0))
    put(tmp_path / "m" / "0.png", picture(0))
    (tmp_path / "m" / "link.png").symlink_to(tmp_path / "secret.png")
    put(tmp_path / "m" / "metadata.csv", text.encode())
    refused(tmp_path / "m", message)


@pytest.mark.parametrize("text", ["{", "[1]", '{"file_name": ' + "[" * 100_000])
def test_bad_json_lines_are_refused_with_their_number(tmp_path: Path, text: str) -> None:
    put(tmp_path / "m" / "metadata.jsonl", text.encode())
    refused(tmp_path / "m", "line 1 is not")
    put(tmp_path / "m" / "metadata.jsonl", b"\xff\xfe")
    refused(tmp_path / "m", "save it as UTF-8")
