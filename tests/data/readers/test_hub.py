"""Data sets of the Hugging Face hub: which repository is asked, the cache that needs no extra, and clear errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.data import load_data
from trilemma.errors import InputError

Picture = Callable[..., bytes]


class FakeImage:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class FakeFeatures(dict[str, object]):
    def __init__(self, schema: pa.Schema) -> None:
        super().__init__(image=FakeImage(), label=object())
        self.arrow_schema = schema


class FakeSplit:
    """The little of a `datasets` split that is used: pictures stay encoded only if that was asked for."""

    def __init__(self, table: pa.Table, encoded: bool = False) -> None:
        self.table = table
        self.encoded = encoded
        self.features = FakeFeatures(table.schema)

    def cast_column(self, column: str, feature: FakeImage) -> FakeSplit:
        assert (column, feature.decode) == ("image", False)
        return FakeSplit(self.table, encoded=True)

    def with_format(self, form: str) -> FakeSplit:
        assert form == "arrow"
        assert self.encoded
        return self

    def __getitem__(self, key: slice) -> pa.Table:
        return self.table[key]


def install(monkeypatch: pytest.MonkeyPatch, version: str, **splits: pa.Table) -> list[object]:
    """Put a stand-in for `datasets` in its place; returns the list of what is asked of it."""
    asked: list[object] = []
    module = ModuleType("datasets")

    def load_dataset(*args: object, **options: object) -> dict[str, FakeSplit]:
        asked.append((args, options))
        if args[0] == "nobody/nothing":
            raise ConnectionError("no\nnetwork")
        return {name: FakeSplit(table) for name, table in splits.items()}

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.Image = FakeImage  # type: ignore[attr-defined]
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def table(picture: Picture, count: int, **other: list[object]) -> pa.Table:
    images = [{"bytes": picture(row, channels=3), "path": f"{row}.png"} for row in range(count)]
    rows = pa.table({"image": images, "label": [row % 2 for row in range(count)], **other})
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    return rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.mark.parametrize(("version", "scripts"), [("3.6.0", {"trust_remote_code": False}), ("5.2.0", {})])
def test_a_hub_name_loads_its_repository_and_configuration(
    monkeypatch: pytest.MonkeyPatch, picture: Picture, version: str, scripts: dict[str, bool]
) -> None:
    asked = install(monkeypatch, version, train=table(picture, 12), validation=table(picture, 4))
    data = load_data("someone/pets:small")
    assert asked == [(("someone/pets", "small"), scripts)]
    assert (data.name, data.classes) == ("someone/pets", ("cat", "dog"))
    assert (len(data.train), len(data.test)) == (12, 4)


def test_cifar_is_downloaded_last(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    asked = install(monkeypatch, "5.0", train=table(picture, 12), test=table(picture, 4))
    assert load_data("cifar10", columns={"image": "image"}).source == "uoft-cs/cifar10 (the hub)"
    assert asked == [(("uoft-cs/cifar10", None), {})]


def test_the_cache_is_read_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    store = tmp_path / "hub" / "hub" / "datasets--someone--pets"
    for revision in ("old", "new"):
        folder = store / "snapshots" / revision / "data"
        folder.mkdir(parents=True)
        pq.write_table(table(picture, 12 if revision == "new" else 10), folder / "train.parquet")
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("new")
    data = load_data("someone/pets")
    assert len(data.train) + len(data.test) == 12
    assert "the hub's cache" in data.source


def test_paths_are_followed_only_into_the_hubs_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Picture
) -> None:
    def paths(folder: Path) -> pa.Table:
        folder.mkdir(parents=True)
        images = []
        for row in range(12):
            (folder / f"{row}.png").write_bytes(picture(row))
            images.append({"bytes": None, "path": str(folder / f"{row}.png")})
        structs = pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        return pa.table({"image": structs, "label": [row % 2 for row in range(12)]})

    install(monkeypatch, "5.0", train=paths(tmp_path / "hub" / "hub" / "files"))
    assert len(load_data("someone/pets").train) == 10
    install(monkeypatch, "5.0", train=paths(tmp_path / "private"))
    with pytest.raises(InputError, match="holds no image"):
        load_data("someone/pets")


def test_what_can_go_wrong(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    install(monkeypatch, "5.0", one=table(picture, 4), two=table(picture, 4))
    with pytest.raises(InputError, match="no split named train: it has one and two"):
        load_data("someone/pets")
    with pytest.raises(InputError, match=r"could not be fetched from the hub \(ConnectionError: no network\)"):
        load_data("nobody/nothing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the extra 'hub': pip install 'trilemma\[hub\]'"):
        load_data("someone/pets")


def test_a_single_split_of_any_name_will_do(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    install(monkeypatch, "5.0", everything=table(picture, 20))
    data = load_data("someone/pets")
    assert (len(data.train), len(data.test)) == (16, 4)
