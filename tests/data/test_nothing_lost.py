"""No data are silently wrong: what would be lost, merged, doubled, or exchanged is refused, or reported with counts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.data import Dataset, load_data
from trilemma.errors import DataWarning, InputError

Picture = Callable[..., bytes]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def put(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """``put("train/cat", 3)``: that many different images below tmp_path / "d", never the same twice."""
    number = iter(range(10**6))

    def make(folder: str, count: int = 1, ending: str = ".png", content: bytes | None = None) -> Path:
        path = tmp_path / "d" / folder
        path.mkdir(parents=True, exist_ok=True)
        for place in range(count):
            (path / f"{place}{ending}").write_bytes(picture(next(number)) if content is None else content)
        return tmp_path / "d"

    return make


@pytest.fixture
def table(picture: Picture) -> Callable[..., pa.Table]:
    """``table([0, 1], ["cat", "dog"], group=[...])`` with the names recorded as `datasets` does."""
    number = iter(range(10**6))

    def make(labels: Sequence[object], names: Sequence[str] | None = None, **more: Sequence[object]) -> pa.Table:
        images = pa.array([{"bytes": picture(next(number)), "path": None} for _ in labels], STRUCT)
        made = pa.table({"image": images, "label": pa.array(labels)} | {key: pa.array(v) for key, v in more.items()})
        if names is None:
            return made
        features = {"label": {"_type": "ClassLabel", "names": list(names)}}
        return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})

    return make


def write(file: Path, made: pa.Table) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, file)
    return file


def refused(path: Path | str, message: str, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def told(path: Path | str, *messages: str, **options: object) -> Dataset:
    """The data set, whose notes are these and no others, and were warned of."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        data = load_data(path, **options)  # type: ignore[arg-type]
    assert [str(entry.message) for entry in heard if entry.category is DataWarning] == list(data.notes)
    drawn = [note for note in data.notes if "set aside for testing" in note]  # of sources without a split
    assert len(drawn) == ("set aside for testing" in data.source)
    assert len(data.notes) - len(drawn) == len(messages), data.notes
    for message in messages:
        assert any(message in note for note in data.notes), (message, data.notes)
    return data


def counts(data: Dataset) -> list[dict[str, int]]:
    """Examples of each class, in training and in test."""
    return [
        {name: int((split.labels == label).sum()) for label, name in enumerate(data.classes)}
        for split in (data.train, data.test)
    ]


# --- class names that belong to another file --------------------------------------------------------------------------


def test_each_file_is_read_with_the_names_recorded_in_it(tmp_path: Path, table: Callable[..., pa.Table]) -> None:
    root = tmp_path / "d"
    write(root / "train-00000-of-00002.parquet", table([0, 0, 1], ["cat", "dog"]))
    write(root / "train-00001-of-00002.parquet", table([0, 0, 1], ["dog", "cat"]))
    write(root / "test.parquet", table([1, 1, 0], ["dog", "cat"]))
    data = told(
        root,
        "train-00001-of-00002.parquet records its label names in a different order",
        "test.parquet records its label",
    )
    assert data.classes == ("cat", "dog")
    assert counts(data) == [{"cat": 3, "dog": 3}, {"cat": 2, "dog": 1}]


def test_names_that_differ_or_are_recorded_in_one_file_only(tmp_path: Path, table: Callable[..., pa.Table]) -> None:
    root = tmp_path / "d"
    write(root / "train.parquet", table([0, 1, 1], ["cat", "dog"]))
    write(root / "test.parquet", table([0, 1], ["cat", "cow"]))
    refused(root, r"test.parquet records different label names \(cat and cow\) from .*train.parquet \(cat and dog\)")
    write(root / "test.parquet", table([0, 1]))
    refused(root, r"test.parquet records no names for its label numbers, and .*train.parquet does")
    write(root / "test.parquet", table(["dog", "cat"]))
    assert counts(told(root))[1] == {"cat": 1, "dog": 1}
    write(root / "test.parquet", table([0, 2], ["cat", "dog"]))
    refused(root, "test.parquet has the label 2, out of range for 2 names, in row 1")
    write(root / "train.parquet", table([0, 1, 1], ["cat", "cat"]))
    refused(root, "label name 'cat' more than once")


def test_a_named_set_is_read_by_its_recorded_names(tmp_path: Path, picture: Picture) -> None:
    from trilemma.data import CIFAR10_CLASSES

    names = CIFAR10_CLASSES[::-1]
    for split, count in (("train", 20), ("test", 10)):
        images = pa.array([picture(1000 * count + n, channels=3) for n in range(count)])
        made = pa.table({"img": images, "label": [n % 10 for n in range(count)]})
        features = {"label": {"names": list(names)}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        write(tmp_path / "data" / "cifar10" / f"{split}.parquet", made)
    data = load_data("cifar10", data_dir=tmp_path / "data")
    assert data.classes == CIFAR10_CLASSES
    assert [data.classes[label] for label in data.test.labels] == list(names)


# --- one image as two examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "two versions .*of 1 and of 2"),
        (["train-00000-of-00001", "train-00000-of-00001-a1b2"], "shard 00000 of 1 more than once"),
        (["train-00001-of-00001", "train-00000-of-00001"], "shard 00001 of 1 which cannot exist"),
        (["train-00000-of-00001", "train"], "more than one version of the split train"),
        (["train", "training"], "more than one version of the split train"),
        (["train", "train-new"], "more than one version of the split train"),
        (["train", "train/0000"], "split train in two places"),
        (["Train/0000", "train/0000"], "split train in two places"),
        (["train", "test-train"], "test-train.parquet names the splits test and train"),
        (["train-00000-of-00002", "train-old-00001-of-00002"], "more than one version of the split train"),
        (["data-00000-of-00001", "data-00000-of-00003"], "two versions"),
        (["data-00000-of-00001", "data"], "more than one version"),
    ],
)
def test_files_that_may_hold_the_same_rows(
    tmp_path: Path, table: Callable[..., pa.Table], files: list[str], message: str
) -> None:
    for name in files:
        write(tmp_path / "d" / f"{name}.parquet", table([0, 1, 0, 1]))
    write(tmp_path / "d" / "test.parquet", table([0, 1]))
    refused(tmp_path / "d", message)


def test_parts_of_one_split_under_names_of_their_own(tmp_path: Path, table: Callable[..., pa.Table]) -> None:
    for name in ("train-a", "train-b", "test_1", "test_2"):
        write(tmp_path / "d" / f"{name}.parquet", table([0, 1]))
    data = told(tmp_path / "d")
    assert (len(data.train), len(data.test)) == (4, 4)


def test_an_image_listed_twice_is_refused(put: Callable[..., Path]) -> None:
    root = put("", 4)
    (root / "metadata.csv").write_text("file_name,label\n0.png,a\n1.png,b\n2.png,a\n./0.png,b\n")
    refused(root, r"row 3: file_name './0.png' is also in row 0")


def test_copies_are_counted_by_content(put: Callable[..., Path], picture: Picture) -> None:
    root = put("train/a", 5)
    put("train/b", 5), put("test/a", 3), put("test/b", 3)
    copy = (root / "train/a/0.png").read_bytes()
    for name in ("train/a/8.png", "train/b/8.png", "test/a/8.png", "test/b/8.png"):
        (root / name).write_bytes(copy)
    (root / "test/b/9.png").write_bytes((root / "test/b/0.png").read_bytes())
    (root / "train/b/9.png").write_bytes((root / "train/b/0.png").read_bytes())
    data = told(
        root,
        "2 training images occur more than once (in 5 of 13 examples, one of them 3 times; 1 under different labels)",
        "2 of 9 test images are also in the training set",
        "2 of 9 test images are copies of other test images",
    )
    assert len(data.train) == 13
    # under a limit the images that are left count
    assert len(load_data(root, limit=2, test_limit=2).notes) < 3


# --- parts, folders and files that are left out -----------------------------------------------------------------------


def test_splits_that_are_not_used_are_named(
    tmp_path: Path, put: Callable[..., Path], table: Callable[..., pa.Table]
) -> None:
    for split, count in (("train", 4), ("valid", 3), ("test", 2)):
        put(f"{split}/a", count), put(f"{split}/b", count)
        write(tmp_path / "t" / f"{split}.parquet", table([0, 1] * count))
    assert len(told(tmp_path / "d", "test and train are used, and valid (6 examples) left out").test) == 4
    assert len(told(tmp_path / "d", "valid are used, and test (4 examples) left out", test_split="valid").test) == 6
    told(tmp_path / "t", "test and train are used, and valid (6 examples) left out")
    write(tmp_path / "t" / "more.parquet", table([0] * 7))
    told(tmp_path / "t", "those of no split (7 examples) and valid (6 examples) left out")
    np.savez(
        tmp_path / "n.npz",
        images=np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8),
        labels=np.arange(12) % 2,
        split=["train"] * 6 + ["test"] * 4 + ["dev"] * 2,
    )
    told(tmp_path / "n.npz", "valid (2 examples) left out")


def test_files_beside_the_tables_are_counted(
    tmp_path: Path, put: Callable[..., Path], table: Callable[..., pa.Table]
) -> None:
    for split in ("train", "test"):
        write(tmp_path / "d" / f"{split}.parquet", table([0, 1] * 3))
    write(tmp_path / "d" / "old" / "deeper" / "x.parquet", table([0]))
    put("images/a", 5)
    told(
        tmp_path / "d",
        "left out: 1 Parquet file of no split, such as old/deeper/x.parquet",
        "left out: 5 image files beside Parquet, such as images/a/0.png",
    )


@pytest.mark.parametrize(("first", "other"), [("train", "TRAIN"), ("val", "validation"), ("test", "testing")])
def test_two_folders_of_one_split(put: Callable[..., Path], first: str, other: str) -> None:
    for split in {"train", first, other}:
        for name in "ab":
            put(f"{split}/{name}", 3)
    refused(put("train/a"), f"several folders of the split .*{min(first, other)} and {max(first, other)}")


def test_images_that_are_passed_over_are_counted(put: Callable[..., Path], tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in "ab":
            put(f"{split}/{name}", 3)
    put("train/a/more/deeper", 6)
    put("train/b", 2, ".avif", b"x")
    put("train/b", 1, ".txt", b"x")
    (tmp_path / "d/train/a/empty").mkdir()
    data = told(
        tmp_path / "d",
        "left out: 6 images deeper than class and group folders, such as a/more/deeper/0.png",
        "left out: 3 files not read as images (.avif 2 and .txt 1), such as b/0.avif",
        "left out: 1 empty folder, such as a/empty",
    )
    assert counts(data)[0] == {"a": 3, "b": 3}
    put("train/c", 2, ".heic", b"x")
    refused(tmp_path / "d", r"train/c holds no image that can be read, only 2 other files such as 0.heic")


def test_a_class_whose_images_lie_too_deep(put: Callable[..., Path]) -> None:
    put("train/a", 3), put("train/b", 3), put("test/a", 2), put("test/b", 2)
    refused(put("train/c/x/y", 3), "train/c holds images nested too deep")


@pytest.mark.parametrize("ending", [".jfif", ".JPG", ".jpe"])
def test_every_ending_of_an_image_is_read(put: Callable[..., Path], encode: Callable[..., bytes], ending: str) -> None:
    content = encode(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8), "JPEG")
    put("train/a", 3), put("train/b", 3), put("test/a", 2), put("test/b", 2)
    put("train/c", 1, ending, content)
    assert counts(told(put("test/c", 1), *()))[0] == {"a": 3, "b": 3, "c": 1}


# --- splits or classes ------------------------------------------------------------------------------------------------


def test_a_class_may_be_called_train(put: Callable[..., Path]) -> None:
    for name in ("train", "bus", "car"):
        put(name, 10)
    data = told(put("bus", 10), "the folder train is taken for a class and not for a split")
    assert data.classes == ("bus", "car", "train")
    assert len(data.train) + len(data.test) == 30


def test_a_class_may_be_called_test(put: Callable[..., Path]) -> None:
    put("test", 10)
    data = told(put("control", 10), "the folder test is taken for a class")
    assert data.classes == ("control", "test")


@pytest.mark.parametrize(
    "names", [("train_set", "test_set"), ("test", "validation", "training-data"), ("trainA", "testA")]
)
def test_folders_named_like_splits_are_no_classes(put: Callable[..., Path], names: tuple[str, ...]) -> None:
    for name in names:
        put(f"{name}/a", 3), put(f"{name}/b", 3)
    refused(put(f"{names[0]}/a", 3), "folders that are named like splits")


def test_images_beside_the_split_folders(put: Callable[..., Path]) -> None:
    put("train/a", 3), put("train/b", 3), put("test/a", 2), put("test/b", 2)
    refused(put("more/a", 3), "has images in more next to the folder train")


def test_paths_that_say_a_split_for_some_images_only(put: Callable[..., Path]) -> None:
    put("train", 4), put("test", 2)
    root = put("extra", 2)
    lines = [f"{folder}/{n}.png,{'ab'[n % 2]}" for folder, count in (("train", 4), ("test", 2)) for n in range(count)]
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    data = told(root, "left out: 2 images that no metadata file lists, such as extra/0.png")
    assert (len(data.train), len(data.test)) == (4, 2)
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *lines, "extra/0.png,a"]))
    refused(root, r"lists some images in folders of splits and others elsewhere \(extra/0.png\)")


@pytest.mark.parametrize("layout", ["both", "own and split", "missing", "two folders", "tables"])
def test_metadata_that_is_there_twice_or_not_everywhere(
    put: Callable[..., Path], table: Callable[..., pa.Table], layout: str
) -> None:
    put("train", 4)
    root = put("test", 2)
    text = "file_name,label\n0.png,a\n1.png,b\n"
    (root / "train/metadata.csv").write_text(text)
    if layout == "both":
        (root / "train/metadata.JSONL").write_text('{"file_name": "0.png", "label": "a"}')
        refused(root, "has train/metadata.JSONL and train/metadata.csv: keep one")
    elif layout == "own and split":
        (root / "metadata.csv").write_text("file_name,label\ntrain/0.png,a\n")
        refused(root, "has metadata.csv and train/metadata.csv: keep one")
    elif layout == "missing":
        refused(root, "test has images and no metadata.csv, which other splits have")
    elif layout == "two folders":
        put("training", 2)
        (root / "training/metadata.csv").write_text(text)
        refused(root, "has train/metadata.csv and training/metadata.csv")
    else:
        (root / "test/metadata.csv").write_text(text)
        write(root / "test.parquet", table([0, 1]))
        refused(root, "holds test/metadata.csv and Parquet files")


def test_a_split_column_that_contradicts_its_place(
    tmp_path: Path, put: Callable[..., Path], table: Callable[..., pa.Table]
) -> None:
    root = put("train", 4)
    put("test", 2)
    (root / "train/metadata.csv").write_text("file_name,label,split\n0.png,a,train\n1.png,b,test\n")
    (root / "test/metadata.csv").write_text("file_name,label,split\n0.png,a,test\n1.png,b,test\n")
    refused(root, "train/metadata.csv has the split 'test' in row 1, though its location says train")
    write(tmp_path / "t/train.parquet", table([0, 1], split=["train", "valid"]))
    write(tmp_path / "t/test.parquet", table([0, 1], split=["test", "test"]))
    refused(tmp_path / "t", "train.parquet has the split 'valid' in row 1, though its location says train")
    write(tmp_path / "t/train.parquet", table([0, 1], split=["train", "train"]))
    told(tmp_path / "t")


# --- columns ----------------------------------------------------------------------------------------------------------


def test_columns_that_differ_between_splits(tmp_path: Path, table: Callable[..., pa.Table]) -> None:
    root = tmp_path / "d"
    write(root / "train.parquet", table([0, 1] * 3))
    write(root / "test.parquet", table([0, 1], group=["m", "f"]))
    refused(root, r"test.parquet has the column 'group' as group, and .*train.parquet has none")
    write(root / "train.parquet", table([0, 1] * 3, group=["m", "f"] * 3))
    write(root / "test.parquet", table([0, 1]))
    refused(root, r"test.parquet has no column 'group', which is the group in .*train.parquet")
    write(root / "test.parquet", table([0, 1], group=["m", "f"]).rename_columns(["img", "fine_label", "group"]))
    refused(root, "test.parquet has no column 'image'")
    write(root / "test.parquet", table([0, 1], groups=["m", "f"]))
    refused(root, "test.parquet has no column 'group'")
    write(root / "test.parquet", table([0, 1], group=["m", "f"]))
    assert told(root).group_names == ("f", "m")


def test_a_column_that_might_have_been_meant_is_named(tmp_path: Path, table: Callable[..., pa.Table]) -> None:
    file = write(tmp_path / "x.parquet", table([0, 1] * 6, target=["a", "b"] * 6))
    told(file, "the column label is taken as the label, and target is left out")
    assert told(file, columns={"label": "target"}).classes == ("a", "b")
    refused(file, r"names the role label twice \(label, target\)", columns={"label": "label", "labels": "target"})
    made = table([0, 1])
    twice = pa.Table.from_arrays([*made.columns, made.column(1)], names=["image", "label", "label"])
    refused(write(tmp_path / "y.parquet", twice), "more than one column 'label'")


def test_metadata_with_a_column_twice_are_refused(put: Callable[..., Path]) -> None:
    root = put("", 4)
    (root / "metadata.csv").write_text("file_name,label,label\n0.png,a,b\n1.png,b,a\n")
    refused(root, "more than one column 'label'")
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_text('{"file_name": "0.png", "label": "a", "label": "b"}\n')
    refused(root, "line 1 is not JSON .a key occurs twice")
    (root / "metadata.jsonl").unlink()
    put("train", 2), put("test", 2)
    (root / "train/metadata.csv").write_text("file_name,label,group\n0.png,a,m\n1.png,b,f\n")
    (root / "test/metadata.csv").write_text("file_name,label\n0.png,a\n1.png,b\n")
    refused(root, r"train/metadata.csv has the columns .*, and another split has|test/metadata.csv has the columns")


# --- arrays -----------------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(1).integers(0, 256, (12, 8, 8), dtype=np.uint8)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    "names",
    [
        ("x_{}", "y_{}", "g_{}"),
        ("X_{}", "Y_{}", "groups_{}"),
        ("{}_images", "{}_labels", "{}_groups"),
        ("{}.x", "{}.y", "{}.g"),
    ],
)
def test_common_layouts_of_arrays(tmp_path: Path, names: tuple[str, str, str]) -> None:
    arrays = {}
    for split, rows in (("train", slice(0, 6)), ("val", slice(6, 9)), ("test", slice(9, 12))):
        for name, values in zip(names, (IMAGES, LABELS[:, None], LABELS % 2), strict=True):
            arrays[name.format(split)] = values[rows]
    np.savez(tmp_path / "a.npz", **arrays, extra=np.zeros(3))
    data = told(tmp_path / "a.npz", "valid (3 examples) left out", "left out: 1 array (extra)")
    assert (data.train.images[:, 0] == IMAGES[:6]).all()
    assert (data.test.images[:, 0] == IMAGES[9:]).all()
    assert data.train.labels.tolist() == LABELS[:6].tolist()
    assert data.test.groups is not None
    assert data.test.groups.tolist() == (LABELS % 2)[9:].tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "has x_test but no labels of test"),
        ({"x_train": IMAGES, "y_train": LABELS, "images_train": IMAGES}, "x_train and images_train, both images of"),
        ({"x_train": IMAGES, "y_train": LABELS, "images": IMAGES, "labels": LABELS}, "and images of no split"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "g_train": LABELS, "x_test": IMAGES, "y_test": LABELS},
            "no groups of test",
        ),
        ({"x_train": IMAGES, "y_train": LABELS[:5]}, r"12 images but labels of shape \(5,\)"),
    ],
)
def test_arrays_of_splits_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", message)


def test_names_as_bytes_and_arrays_there_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, classes=np.array([b"cat", b"dog", b"fox"]))
    assert told(tmp_path / "a.npz").classes == ("cat", "dog", "fox")
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS % 2, classes=np.array(["cat", "dog", "fox"]))
    told(tmp_path / "a.npz", "1 of its 3 classes have no training example (fox)")
    np.savez(tmp_path / "a.npz", images=np.repeat(IMAGES[..., None], 4, axis=3), labels=LABELS)
    told(tmp_path / "a.npz", "left out: the transparency of 12 images")
    import zipfile

    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("labels.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("labels.npy", content)
    refused(tmp_path / "a.npz", "more than one array 'labels'")


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_endings_in_upper_case(tmp_path: Path, table: Callable[..., pa.Table]) -> None:
    write(tmp_path / "x.PARQUET", table([0, 1] * 6))
    assert len(told(tmp_path / "x.PARQUET").train) == 10
    np.savez(tmp_path / "y.npz", images=IMAGES, labels=LABELS)
    (tmp_path / "y.npz").rename(tmp_path / "y.NPZ")
    assert len(told(tmp_path / "y.NPZ").train) == 9
    write(tmp_path / "d/train.Parquet", table([0, 1] * 6))
    write(tmp_path / "d/test.PARQUET", table([0, 1]))
    assert len(told(tmp_path / "d").test) == 2


def test_numpy_numbers_as_options_can_be_written_down() -> None:
    data = load_data(
        "digits-s",
        skew=np.float32(0.75),  # type: ignore[arg-type]
        limit=np.int64(100),  # type: ignore[arg-type]
        seed=np.int64(3),  # type: ignore[arg-type]
        shift=np.uint8(1),
        flips=np.bool_(True),  # type: ignore[arg-type]
    )
    assert json.loads(json.dumps(dict(data.request))) == {
        "name": "digits-s",
        "skew": 0.75,
        "limit": 100,
        "seed": 3,
        "shift": 1,
        "flips": True,
    }
    refused("digits", "limit must be a whole number of at least 1, not True", limit=True)


def test_notes_outlive_what_is_made_of_the_data(put: Callable[..., Path]) -> None:
    put("train/a", 4), put("train/b", 4), put("test/a", 2)
    put("test/b", 2)
    data = told(put("val/b", 2), "valid (2 examples) left out")
    assert data.without(np.array([0])).notes == data.notes
