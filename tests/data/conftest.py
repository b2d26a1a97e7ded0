"""What the tests of this package share: no test sees the user's own cache, data or hub folders."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trilemma.data import Dataset, load_data

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with nothing beside it, an empty cache and no data in the environment."""
    folder = tmp_path / "here" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TRILEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("TRILEMMA_DATA", "TRILEMMA_MEMORY_GIB", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, which need not be there."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data beside the repository) are not there")
    return SHARED


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests on real data, so that each image is decoded once."""
    return tmp_path_factory.mktemp("real-cache")


@pytest.fixture(scope="session")
def cifar10(shared: Path, real_cache: Path) -> Dataset:
    """The real CIFAR-10, all of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRILEMMA_CACHE", str(real_cache))
        return load_data("cifar10", data_dir=shared)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """``encode(pixels, form="PNG")``: uint8 (H, W) or (H, W, C) as the bytes of a picture."""

    def make(pixels: np.ndarray, form: str = "PNG", **options: object) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, form, **options)
        return stream.getvalue()

    return make


@pytest.fixture(scope="session")
def picture(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    """``picture(seed, height=8, width=8, channels=None)`` as PNG bytes: noise, gray without channels."""

    def make(seed: int = 0, height: int = 8, width: int = 8, channels: int | None = None) -> bytes:
        shape = (height, width) if channels is None else (height, width, channels)
        return encode(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))

    return make


@pytest.fixture
def class_folders(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """``pictures/{train,test}/{cat,dog}/N.png``, gray, 8×8, 6 and 2 of each class."""
    root = tmp_path / "pictures"
    seed = 0
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").write_bytes(picture(seed))
                seed += 1
    return root
