"""CelebA: its crop, its attributes as labels and groups, and the shares of the real data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trilemma.data import CELEBA_ATTRIBUTES, load_data
from trilemma.data.sets.celeba_names import attribute
from trilemma.errors import InputError

Picture = Callable[..., bytes]
TRUTHS = np.random.default_rng(5).random((60, 40)) < 0.5


@pytest.fixture
def root(tmp_path: Path, picture: Picture) -> Path:
    """A small set in the hub's layout, with images of the original size."""
    folder = tmp_path / "data" / "celeba" / "img_align+identity+attr"
    folder.mkdir(parents=True)
    for split, start, stop in (("train", 0, 40), ("valid", 40, 50), ("test", 50, 60)):
        columns: dict[str, object] = {
            "image": [
                {"bytes": picture(row, height=218, width=178, channels=3), "path": None} for row in range(start, stop)
            ],
            "celeb_id": list(range(start, stop)),
        }
        for position, name in enumerate(CELEBA_ATTRIBUTES):
            columns[name] = TRUTHS[start:stop, position].tolist()
        pq.write_table(pa.table(columns), folder / f"{split}-00000-of-00001.parquet")
    return tmp_path / "data"


def test_the_original_size_is_cropped_and_reduced(root: Path, picture: Picture) -> None:
    data = load_data("celeba", data_dir=root)
    assert data.train.images.shape == (40, 3, 64, 64)
    assert len(data.test) == 10
    (root / "p.png").write_bytes(picture(3, height=218, width=178, channels=3))
    face = Image.open(root / "p.png").crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.LANCZOS)
    assert (data.train.images[3] == np.asarray(face).transpose(2, 0, 1)).all()
    assert "center 148 pixels reduced to 64×64" in data.source
    assert load_data("celeba", data_dir=root, size=32).image_shape == (3, 32, 32)


def test_target_and_protected_attribute_give_labels_and_groups(root: Path) -> None:
    data = load_data("celeba", data_dir=root, target="blond-hair", protected="MALE", test_split="valid")
    assert data.classes == ("not Blond_Hair", "Blond_Hair")
    assert data.group_names == ("not Male", "Male")
    assert data.train.groups is not None
    assert (data.train.labels == TRUTHS[:40, CELEBA_ATTRIBUTES.index("Blond_Hair")]).all()
    assert (data.train.groups == TRUTHS[:40, CELEBA_ATTRIBUTES.index("Male")]).all()
    assert (data.test.labels == TRUTHS[40:50, CELEBA_ATTRIBUTES.index("Blond_Hair")]).all()


def test_attributes_have_their_official_order() -> None:
    assert len(CELEBA_ATTRIBUTES) == 40
    # the ids in the published list of attributes
    for position, name in ((2, "Attractive"), (8, "Black_Hair"), (9, "Blond_Hair"), (18, "Heavy_Makeup"),
                           (20, "Male"), (31, "Smiling"), (33, "Wavy_Hair")):  # fmt: skip
        assert CELEBA_ATTRIBUTES[position] == name
    assert attribute("5 o'clock shadow") == "5_o_Clock_Shadow"
    with pytest.raises(InputError, match=r"no attribute 'Smilling' \(did you mean 'Smiling'"):
        attribute("Smilling")


def test_attributes_that_cannot_be_used_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="target and protected are both Male"):
        load_data("celeba", data_dir=root, target="male")
    with pytest.raises(InputError, match="no attribute 'Age'"):
        load_data("celeba", data_dir=root, protected="Age")


def test_the_real_data_have_the_documented_shares(shared: Path, tmp_path: Path) -> None:
    """The shares that the data's README states, on all labels; then a slice of the pictures."""
    from trilemma.data.named import NAMED
    from trilemma.data.readers.parquet import ParquetRows, parquet_splits
    from trilemma.data.sets.celeba import find_celeba

    place = find_celeba(NAMED["celeba"], shared)
    if place is None:
        pytest.skip("celeba is not among the real data")
    rows = ParquetRows(parquet_splits(place.folder)["train"], 2**40)
    male, smiling, blond = (np.array(rows.values(name), dtype=bool) for name in ("Male", "Smiling", "Blond_Hair"))
    assert len(male) == 37_540
    assert round(float(male.mean()), 3) == 0.447
    assert round(float(smiling[male].mean()), 3) == 0.405
    assert round(float(smiling[~male].mean()), 3) == 0.545
    assert round(float(blond[male].mean()), 3) == 0.021
    # a slice in the same layout, so that not all 42,000 pictures are decoded
    for split, files in parquet_splits(place.folder).items():
        with pq.ParquetFile(files[0]) as opened:
            part = next(opened.iter_batches(batch_size=400))
        (tmp_path / "data" / "celeba").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_batches([part]), tmp_path / "data" / "celeba" / f"{split}.parquet")
    data = load_data("celeba", data_dir=tmp_path / "data", target="Blond_Hair", limit=200)
    assert data.train.images.shape == (200, 3, 64, 64)
    assert data.test.images.shape == (400, 3, 64, 64)
    assert data.train.groups is not None
    # the limit keeps the mix of target and protected attribute
    assert abs(float((data.train.groups == 1).mean()) - float(male[:400].mean())) < 0.01
    assert abs(float((data.train.labels == 1).mean()) - float(blond[:400].mean())) < 0.01
