"""Fixed maps: functions of one image and of synthetic images, mirrored as images are, refused without room."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trilemma.errors import InputError
from trilemma.models.prior import maps
from trilemma.models.prior.local import by_size

SHAPES = [(3, 32, 32), (1, 64, 64)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What was fitted is kept here for the tests after it."""
    return tmp_path_factory.mktemp("maps")


pytestmark = pytest.mark.usefixtures("small")


def images(count, seed, shape=(3, 32, 32)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def compute(split, folder):
    (features,) = maps.maps_of([split], 0, folder=folder)
    return features.take(np.arange(len(features)))


def compute_in(kind, monkeypatch):
    """As on a CPU that is faster in this type."""
    monkeypatch.setattr("trilemma.models.prior.patches.faster_in_bfloat16", lambda: kind == "bfloat16")


@pytest.mark.parametrize(("kind", "allowed"), [("float32", 1e-5), ("bfloat16", 0.05)])
@pytest.mark.parametrize("shape", SHAPES)
def test_maps_are_the_local_descriptors_by_size(folder, shape, kind, allowed, monkeypatch):
    """The quick pooling against the matrices of :class:`LocalMaps`; 32 and 64 pixels, color and gray."""
    compute_in(kind, monkeypatch)
    local = maps.fitted_maps(shape, 0, folder=folder / "priors")
    pixels = torch.from_numpy(images(5, 3, shape))
    quick = maps.maps_from(local, pixels)
    assert tuple(quick.shape[1:]) == maps.map_shape(shape)
    slow = by_size(local(pixels)).view(5, *quick.shape[2:], -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(quick, slow, rtol=1e-4, atol=allowed)


@pytest.mark.parametrize(("kind", "allowed"), [("float32", 0.02), ("bfloat16", 0.05)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mirrored_image_has_the_mirrored_map_with_signs(folder, shape, kind, allowed, monkeypatch):
    """Guards: views under AM that no image has.  Components that are neither even nor odd would fail here."""
    compute_in(kind, monkeypatch)
    local = maps.fitted_maps(shape, 0, folder=folder / "priors")
    pixels = torch.from_numpy(images(4, 5, shape))
    mirrored = maps.maps_from(local, pixels.flip(3))
    expected = maps.maps_from(local, pixels).flip(3) * local.signs[:, None, None]
    assert (mirrored - expected).abs().max() < allowed * expected.std()
    assert len(local.signs.unique()) == 2


def test_a_map_does_not_depend_on_the_other_images(folder, tmp_path):
    """Guards: anything fitted to private images.  Bit for bit, wherever an image stands and whatever is beside it."""
    shutil.copytree(folder / "priors", tmp_path / "a" / "priors", dirs_exist_ok=True)
    shutil.copytree(folder / "priors", tmp_path / "b" / "priors", dirs_exist_ok=True)
    batch, other = images(9, 1), images(9, 2)
    other[7] = batch[0]
    first, second = compute(batch, tmp_path / "a"), compute(other, tmp_path / "b")
    assert torch.equal(first[0], second[7])
    assert not torch.equal(first[1], second[1])


def test_maps_are_computed_once_and_shared(folder, monkeypatch):
    split = images(6, 8)
    first = compute(split, folder)
    monkeypatch.setattr(maps, "maps_from", lambda *_: pytest.fail("they were there already"))
    assert torch.equal(compute(split[[4, 1]], folder), first[[4, 1]])


def test_a_disk_without_room_is_refused_with_how_much_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"maps of 100 views take 0\.0 GiB, and .* has 0\.0 GiB left"):
        compute(images(100, 0), tmp_path)


def test_small_images_are_refused():
    with pytest.raises(InputError, match="too small for a prior"):
        maps.map_shape((3, 12, 12))
