"""CIFAR-10 and CIFAR-100: all layouts agree, pickled archives are refused, and damage is found."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.data import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    CIFAR100_COARSE,
    CIFAR_MEAN,
    CIFAR_STD,
    Dataset,
    describe_sources,
    load_data,
)
from trilemma.errors import InputError

Encode = Callable[..., bytes]
FINE = {"train": np.repeat(np.arange(100), 2), "test": np.arange(100)}
COARSE = {split: labels % 20 for split, labels in FINE.items()}
PIXELS = {
    split: np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    for split, labels in FINE.items()
}


def as_parquet(folder: Path, encode: Encode) -> Path:
    for split in ("train", "test"):
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table(
            {
                "img": [{"bytes": encode(pixels), "path": None} for pixels in PIXELS[split]],
                "fine_label": FINE[split],
                "coarse_label": COARSE[split],
            }
        )
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def as_binary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        planes = PIXELS[split].transpose(0, 3, 1, 2).reshape(-1, 3072)
        labels = np.stack([COARSE[split], FINE[split]], axis=1).astype(np.uint8)
        np.concatenate([labels, planes], axis=1).tofile(folder / f"{split}.bin")
    (folder / "fine_label_names.txt").write_text("\n".join(CIFAR100_CLASSES) + "\n")
    return folder


def as_binary_ten(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for number, name in enumerate(names):
        pixels = PIXELS["train"][20 * number : 20 * number + 20].transpose(0, 3, 1, 2).reshape(-1, 3072)
        labels = (np.arange(20) % 10).astype(np.uint8)[:, None]
        np.concatenate([labels, pixels], axis=1).tofile(folder / name)
    return folder


def as_pictures(folder: Path, encode: Encode) -> Path:
    for split in ("train", "test"):
        for number, (pixels, label) in enumerate(zip(PIXELS[split], FINE[split], strict=True)):
            file = folder / split / CIFAR100_CLASSES[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(pixels))
    return folder


def is_the_small_set(data: Dataset) -> None:
    for split, part in (("train", data.train), ("test", data.test)):
        assert (part.images == PIXELS[split].transpose(0, 3, 1, 2)).all()
        assert (part.labels == FINE[split]).all()
    assert data.classes == CIFAR100_CLASSES
    assert (data.mean, data.std) == (CIFAR_MEAN, CIFAR_STD)
    assert (data.flips, data.shift, data.group_names) == (True, 4, None)


def test_all_layouts_agree(tmp_path: Path, encode: Encode) -> None:
    places = [
        as_parquet(tmp_path / "a" / "cifar100" / "cifar100", encode),
        as_binary(tmp_path / "b" / "cifar-100-binary"),
        as_pictures(tmp_path / "c" / "cifar100", encode),
        as_binary(tmp_path / "d" / "cifar100" / "cifar-100-binary"),
    ]
    layouts = ("Parquet", "binary archive", "folder of images", "binary archive")
    for place, layout in zip(places, layouts, strict=True):
        root = tmp_path / place.relative_to(tmp_path).parts[0]
        data = load_data("cifar100", data_dir=root)
        is_the_small_set(data)
        assert layout in data.source
        sources = {source.name: source for source in describe_sources(root)}
        assert (sources["cifar100"].found, sources["cifar100"].train, sources["cifar100"].test) == (True, 200, 100)
        assert sources["cifar100s"].test == 200
        assert sources["cifar10"].found is False
    # a folder may also be named itself
    for place in places:
        is_the_small_set(load_data("cifar100", data_dir=place))


def test_ten_classes_from_the_binary_archive(tmp_path: Path) -> None:
    place = as_binary_ten(tmp_path / "cifar-10-batches-bin")
    data = load_data("cifar10", data_dir=tmp_path)
    assert (data.train.images == PIXELS["train"][:100].transpose(0, 3, 1, 2)).all()
    assert data.test.labels.tolist() == list(range(10)) * 2
    assert data.classes == CIFAR10_CLASSES
    with pytest.raises(InputError, match="give the name cifar10 or cifar100"):
        load_data(place)
    with pytest.raises(InputError, match="has no coarse labels"):
        load_data("cifar10", data_dir=tmp_path, columns={"label": "coarse_label"})


def test_coarse_labels_are_those_of_the_files(tmp_path: Path, encode: Encode) -> None:
    as_binary(tmp_path / "b" / "cifar-100-binary")
    as_parquet(tmp_path / "a" / "cifar100", encode)
    column: dict[str, Any] = {"columns": {"label": "coarse_label"}}
    for root, asked in itertools.product(("a", "b"), (column, {"target": "coarse"})):
        data = load_data("cifar100", data_dir=tmp_path / root, **asked)
        assert data.classes == CIFAR100_COARSE
        assert (data.train.labels == COARSE["train"]).all()
    skewed = load_data("cifar100s", data_dir=tmp_path / "b", target="coarse", skew=0.75)
    assert skewed.classes == CIFAR100_COARSE
    with pytest.raises(InputError, match="must be fine or coarse, not 'Male'"):
        load_data("cifar100", data_dir=tmp_path / "b", target="Male")
    with pytest.raises(InputError, match="leave one out"):
        load_data("cifar100", data_dir=tmp_path / "b", target="coarse", **column)


@pytest.mark.parametrize("classes_seed", [None, 3])
def test_half_of_the_classes_of_cifar100s_are_mostly_in_color(tmp_path: Path, classes_seed: int | None) -> None:
    as_binary(tmp_path / "cifar-100-binary")
    data = load_data("cifar100s", data_dir=tmp_path, skew=0.5, classes_seed=classes_seed)
    assert data.train.groups is not None
    assert [(data.train.groups[data.train.labels == label] == 0).sum() for label in range(100)] == [1] * 100
    full = load_data("cifar100s", data_dir=tmp_path, skew=1, classes_seed=classes_seed)
    assert full.train.groups is not None
    color = np.unique(full.train.labels[full.train.groups == 0])
    assert len(color) == 50
    assert (color.tolist() == list(range(1, 100, 2))) is (classes_seed is None)
    assert len(full.test) == 200
    assert (full.skew, full.mean) == (1, CIFAR_MEAN)


def test_the_order_of_places(tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    def source() -> str:
        return load_data("cifar100").source

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="extra 'hub'"):
        source()
    snapshot = tmp_path / "hub" / "hub" / "datasets--uoft-cs--cifar100" / "snapshots" / "abc"
    as_parquet(snapshot / "cifar100", encode)
    assert "the hub's cache" in source()
    as_binary(Path("..") / "shared" / "data" / "cifar-100-binary")
    assert "shared" in source()
    as_binary(tmp_path / "env" / "cifar-100-binary")
    monkeypatch.setenv("TRILEMMA_DATA", str(tmp_path / "env"))
    assert str(tmp_path / "env") in source()
    as_binary(tmp_path / "own" / "cifar-100-binary")
    assert str(tmp_path / "own") in load_data("cifar100", data_dir=tmp_path / "own").source
    # a data folder without this set does not hide the others
    assert str(tmp_path / "env") in load_data("cifar100", data_dir=tmp_path / "hub").source
    monkeypatch.setenv("TRILEMMA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"\$TRILEMMA_DATA names .*nowhere, which is not a folder"):
        source()


def test_a_cut_short_download_is_passed_over(tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "hub" / "datasets--uoft-cs--cifar100" / "snapshots" / "abc"
    as_parquet(snapshot, encode)
    (snapshot / "train-00000-of-00001.parquet").rename(snapshot / "train-00000-of-00002.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="extra 'hub'"):
        load_data("cifar100")


@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar10"])
def test_the_pickled_archive_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "old" / name
    folder.mkdir(parents=True)
    for file in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / file).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=r"holds Python pickles.*binary version"):
        load_data("cifar10", data_dir=tmp_path / "old")
    with pytest.raises(InputError, match="holds Python pickles"):
        load_data("cifar10", data_dir=folder)
    with pytest.raises(InputError, match="holds Python pickles"):
        load_data(folder)
    monkeypatch.setenv("TRILEMMA_DATA", str(tmp_path / "old"))
    with pytest.raises(InputError, match="holds Python pickles"):
        load_data("cifar10")
    # readable files beside it, or in a later place, are taken
    as_binary_ten(Path("..") / "shared" / "data" / "cifar10")
    assert "shared" in load_data("cifar10").source
    as_binary_ten(tmp_path / "old" / "cifar-10-batches-bin")
    assert len(load_data("cifar10", data_dir=tmp_path / "old").train) == 100


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    place = as_binary_ten(tmp_path / "cifar-10-batches-bin")

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message):
            load_data("cifar10", data_dir=tmp_path)

    file = place / "data_batch_2.bin"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    refused(r"data_batch_2\.bin is not whole")
    file.write_bytes(b"\x0b" + content[1:])
    refused("label 11, out of range for 10 names")
    file.unlink()
    refused(r"lacks data_batch_2\.bin: unpack the whole archive")


def test_labels_out_of_range_in_parquet(tmp_path: Path, encode: Encode) -> None:
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for split in ("train", "test"):
        images = [{"bytes": encode(pixels), "path": None} for pixels in PIXELS["test"][:4]]
        pq.write_table(pa.table({"img": images, "label": [0, 1, 2, 10]}), folder / f"{split}.parquet")
    with pytest.raises(InputError, match="label 10, out of range for 10 names"):
        load_data("cifar10", data_dir=tmp_path)
    for split in ("train", "test"):
        pq.write_table(pa.table({"img": images, "kind": [0, 1, 2, 3]}), folder / f"{split}.parquet")
    with pytest.raises(InputError, match="no column 'label'; its columns are img and kind"):
        load_data("cifar10", data_dir=tmp_path)


def test_the_names_are_the_official_ones() -> None:
    assert (len(CIFAR10_CLASSES), len(CIFAR100_CLASSES), len(CIFAR100_COARSE)) == (10, 100, 20)
    for names in (CIFAR100_CLASSES, CIFAR100_COARSE):
        assert list(names) == sorted(set(names))
    assert list(CIFAR10_CLASSES) == sorted(CIFAR10_CLASSES)
    assert (CIFAR100_CLASSES[26], CIFAR100_CLASSES[99]) == ("crab", "worm")


def test_the_real_cifar10_has_its_known_counts_and_constants(cifar10: Dataset, shared: Path) -> None:
    assert cifar10.train.images.shape == (50_000, 3, 32, 32)
    assert cifar10.test.images.shape == (10_000, 3, 32, 32)
    assert np.bincount(cifar10.train.labels).tolist() == [5000] * 10
    assert np.bincount(cifar10.test.labels).tolist() == [1000] * 10
    counts = np.zeros((3, 256))
    for block in np.array_split(cifar10.train.images, 10):
        counts += [np.bincount(block[:, channel].ravel(), minlength=256) for channel in range(3)]
    shares, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    means = shares @ values
    deviations = np.sqrt(shares @ values**2 - means**2)
    assert np.abs(means - CIFAR_MEAN).max() < 1e-7
    assert np.abs(deviations - CIFAR_STD).max() < 1e-7
    sources = {source.name: source for source in describe_sources(shared)}
    assert (sources["cifar10"].train, sources["cifar10"].test) == (50_000, 10_000)


def test_the_real_cifar10s_counts(
    cifar10: Dataset, shared: Path, real_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRILEMMA_CACHE", str(real_cache))
    data = load_data("cifar10s", data_dir=shared, skew=0.95)
    assert data.train.groups is not None
    counts = [np.bincount(data.train.groups[data.train.labels == label]).tolist() for label in range(10)]
    assert counts == [[250, 4750], [4750, 250]] * 5
    assert data.test.images.shape == (20_000, 3, 32, 32)
    assert (data.mean, data.name, data.skew) == (CIFAR_MEAN, "cifar10s", 0.95)
    assert (data.train.labels == cifar10.train.labels).all()
