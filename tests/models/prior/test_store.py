"""A prior in the cache is the one that was fitted, and anything else is fitted again."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trilemma.models.prior import features
from trilemma.models.prior.family import Prior, Settings
from trilemma.models.prior.store import fitted

pytestmark = pytest.mark.usefixtures("small")

BLOCKS = (
    Settings("patches", 8, soft=True, keep=20),
    Settings("two layers", 12, first=6, channels=10, phases=((0, 0), (1, 2)), keep=15),
    Settings("second order", first=6, channels=10, phases=((0, 0), (1, 2)), keep=15),
)
SHAPE = (3, 20, 18)
IMAGES = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fits(monkeypatch):
    """Counts how often a prior is fitted."""
    seen, real = [], Prior.of.__func__

    def counted(cls, *arguments):
        seen.append(arguments[:3])
        return real(cls, *arguments)

    monkeypatch.setattr(Prior, "of", classmethod(counted))
    return seen


def test_it_is_read_back_as_it_was(tmp_path, fits):
    first, second = (fitted(BLOCKS, SHAPE, 0, folder=tmp_path) for _ in range(2))
    assert len(fits) == 1
    assert torch.equal(first(IMAGES), second(IMAGES))
    assert second.blocks[1][0].local is second.blocks[2][0].local  # descriptors are still computed once for both


def test_other_blocks_shapes_and_seeds_are_fitted_themselves(tmp_path, fits):
    for blocks, shape, seed in (
        (BLOCKS, SHAPE, 0),
        (BLOCKS[:1], SHAPE, 0),
        (BLOCKS, (3, 18, 20), 0),
        (BLOCKS, SHAPE, 1),
    ):
        fitted(blocks, shape, seed, folder=tmp_path)
    assert len(fits) == len(set(fits)) == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "no digest", "another"])
def test_a_damaged_file_is_fitted_again(tmp_path, fits, damage):
    rows = fitted(BLOCKS, SHAPE, 0, folder=tmp_path)(IMAGES)
    (path,) = tmp_path.glob("*.safetensors")
    held = path.read_bytes()
    if damage == "cut":
        path.write_bytes(held[: len(held) // 2])
    elif damage == "changed":
        path.write_bytes(held[:5000] + bytes([held[5000] ^ 1]) + held[5001:])
    elif damage == "no digest":
        path.with_suffix(".sha256").unlink()
    else:
        save_file({"not a prior": torch.zeros(3)}, path)
        path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    assert torch.equal(fitted(BLOCKS, SHAPE, 0, folder=tmp_path)(IMAGES), rows)
    assert len(fits) == 2
    fitted(BLOCKS, SHAPE, 0, folder=tmp_path)
    assert len(fits) == 2


def test_no_room_is_no_error(tmp_path, fits):
    (tmp_path / "file").write_text("in the way")
    assert isinstance(fitted(BLOCKS, SHAPE, 0, folder=tmp_path / "file"), Prior)


def test_features_of_more_images_use_the_kept_prior(tmp_path, fits):
    images = np.asarray(IMAGES)
    features.features_of(BLOCKS, [images[:2]], 0, folder=tmp_path)
    (more,) = features.features_of(BLOCKS, [images], 0, folder=tmp_path)
    assert len(fits) == 1
    (once,) = features.features_of(BLOCKS, [images], 0, folder=tmp_path / "other")
    assert torch.equal(more.take(np.arange(5)), once.take(np.arange(5)))
