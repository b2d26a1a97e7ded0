"""Fixed features use nothing private, and what is cached on disk is what was computed."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from trilemma.errors import InputError
from trilemma.models.prior import family, features, rows
from trilemma.models.prior.family import Prior, Settings

SMALL = (
    Settings("patches", 8, soft=True, keep=20, weight=1.0),
    Settings("coarse patches", 8, keep=10, weight=0.5),
    Settings("two layers", 12, first=6, channels=10, phases=((0, 0), (1, 2)), soft=True, keep=15, weight=0.7),
    Settings("coarse second order", first=6, channels=10, phases=((0, 0),), keep=10, weight=0.7),
    Settings("second order", first=6, channels=10, phases=((0, 0), (1, 2)), keep=15, weight=0.7),
)
SHAPE = (3, 20, 18)


pytestmark = pytest.mark.usefixtures("small")


def images(count, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def compute(splits, folder, seed=0, blocks=SMALL, **rest):
    return features.features_of(blocks, splits, seed, folder=folder, **rest)


def all_rows(features):
    return features.take(np.arange(len(features)))


@pytest.fixture(scope="module")
def priors(tmp_path_factory):
    """Where all tests that are not about the fit keep the priors that they fit."""
    return tmp_path_factory.mktemp("priors")


@pytest.fixture
def folder(tmp_path, priors):
    """An empty folder for features, with those priors."""
    (tmp_path / "priors").symlink_to(priors)
    return tmp_path


@functools.cache
def prior_of(shape):
    return Prior.of(SMALL, shape, 0)


@pytest.mark.usefixtures("two_threads")
def test_features_of_an_image_do_not_depend_on_the_other_images(tmp_path):
    """Guards: filters, whitening or scaling fitted to the private images.  Bit for bit, wherever an image stands."""
    batch, other = images(21, 1), images(21, 2)
    other[4], other[17] = batch[0], batch[20]
    (first,) = compute([batch], tmp_path / "a")
    (second,) = compute([other], tmp_path / "b")
    assert torch.equal(all_rows(first)[[0, 20]], all_rows(second)[[4, 17]])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "priors").symlink_to(tmp_path / "a" / "priors")
    (alone,) = compute([batch[:1]], tmp_path / "c")
    assert torch.equal(all_rows(alone)[0], all_rows(first)[0])


def test_the_seed_and_the_settings_are_all_that_matters(tmp_path):
    batch = images(9)
    rows = [all_rows(compute([batch], tmp_path / name, seed)[0]) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert torch.equal(rows[0], rows[1])
    assert not torch.allclose(rows[0], rows[2])


def test_rows_have_length_one_and_a_constant():
    rows = prior_of(SHAPE)(torch.from_numpy(images(7)))[:, 0]
    assert rows.shape == (7, 71)
    assert rows[:, -1].unique().tolist() == pytest.approx([0.3])
    assert rows[:, :-1].norm(dim=1).numpy() == pytest.approx(np.ones(7), abs=1e-5)


@pytest.mark.parametrize("shape", [(3, 20, 18), (1, 16, 16), (3, 16, 34), (1, 70, 64)])
def test_an_image_and_its_mirror_image_have_the_same_features(shape):
    """Guards: mirrored filters paired wrongly, pooling that is not symmetric."""
    prior = Prior.of(SMALL[:2], shape, 0)
    pictures = torch.from_numpy(images(5, shape=shape))
    rows, mirrored = prior(pictures), prior(pictures.flip(3))
    other = prior(torch.from_numpy(images(5, seed=9, shape=shape)))
    assert (rows - mirrored).norm() < 0.05 * (rows - other).norm()


def test_local_descriptors_see_the_mirror_image_alike_where_the_grid_of_cells_is_symmetric():
    prior = Prior.of(
        tuple(replace(block, phases=((0, 0),)) for block in SMALL[2:] if block.kind[:6] != "coarse"), (3, 20, 20), 0
    )  # 15 places, 5 cells
    pictures = torch.from_numpy(images(5, shape=(3, 20, 20)))
    rows, mirrored = prior(pictures), prior(pictures.flip(3))
    assert (rows - mirrored).norm() < 0.05 * (rows - rows.roll(1, 0)).norm()


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 40), (3, 64, 64), (1, 90, 70)])
def test_every_block_takes_small_and_large_images(shape):
    rows = Prior.of(SMALL, shape, 0)(torch.from_numpy(images(3, shape=shape)), family.view_shifts(9, 2, shape))
    assert rows.shape == (3, 9, 71)
    assert torch.isfinite(rows).all()
    assert rows[..., :-1].norm(dim=2).numpy() == pytest.approx(np.ones((3, 9)), abs=1e-4)


def test_views_are_rows_of_their_own(folder):
    (plain,) = compute([images(3)], folder)
    (several,) = compute([images(3)], folder, shifts=family.view_shifts(3, 2, SHAPE))
    assert several.take(np.arange(3)).shape == (3, 3, 71)
    torch.testing.assert_close(several.take(np.arange(3))[:, 0], all_rows(plain)[:, 0], atol=2e-2, rtol=0)
    moved = several.take(np.arange(3))[:, 1] - several.take(np.arange(3))[:, 0]
    assert (moved[:, :-1].norm(dim=1) > 0.05).all()
    with pytest.raises(InputError, match="1 to 9 views"):
        family.view_shifts(10, 1, SHAPE)


def test_a_flat_image_is_no_trouble():
    rows = prior_of(SHAPE)(torch.full((2, *SHAPE), 200, dtype=torch.uint8))
    assert torch.isfinite(rows).all()


# ---- the cache ------------------------------------------------------------------------------------------------------


def store(folder):
    (stored,) = (path for path in folder.iterdir() if path.name != "priors")
    return stored


class Counting:
    """Counts images that were computed."""

    def __init__(self):
        self.images = 0

    def __call__(self, what, done, total):
        if what == "computing features":
            self.images = max(self.images, total)


def test_what_is_there_is_not_computed_again(folder):
    batch = images(40)
    compute([batch[:30]], folder)
    counted = Counting()
    train, test = compute([batch[::-1], batch[5:9]], folder, progress=counted)
    assert counted.images == 10
    assert torch.equal(all_rows(train).flip(0)[5:9], all_rows(test))
    counted = Counting()
    compute([batch], folder, progress=counted)
    assert counted.images == 0


def test_images_that_occur_twice_are_computed_once(folder):
    batch = images(6)
    counted = Counting()
    (features,) = compute([np.concatenate([batch, batch])], folder, progress=counted)
    assert counted.images == 6
    assert torch.equal(all_rows(features)[:6], all_rows(features)[6:])


def test_other_images_settings_or_seeds_never_meet(folder):
    """Guards: a cache keyed by name."""
    batch = images(9)
    compute([batch], folder)
    changed = batch.copy()
    changed[3, 0, 0, 0] ^= 1
    counted = Counting()
    compute([changed], folder, progress=counted)
    assert counted.images == 1
    for change in ({"seed": 1}, {"blocks": SMALL[:1]}, {"shifts": ((0.0, 0.0), (0.1, 0.0))}):
        counted = Counting()
        compute([batch], folder, progress=counted, **change)
        assert counted.images == 9


def test_a_damaged_segment_is_computed_again(folder):
    batch = images(40)
    (before,) = compute([batch], folder)
    rows = all_rows(before).clone()
    values = sorted(store(folder).glob("*.npy"))
    assert len(values) == 3
    del before
    values[0].write_bytes(values[0].read_bytes()[:-50])
    content = bytearray(values[1].read_bytes())
    content[-1] ^= 1
    values[1].write_bytes(content)
    counted = Counting()
    (after,) = compute([batch], folder, progress=counted)
    assert counted.images in (24, 32)  # two segments of 16, or one of them and the last one of 8
    assert torch.equal(all_rows(after), rows)
    next(store(folder).glob("*.json")).write_text("{")
    (after,) = compute([batch], folder)
    assert torch.equal(all_rows(after), rows)


def test_an_interrupted_computation_goes_on(folder, tmp_path_factory, priors):
    batch = images(40)

    def stop(what, done, total):
        if what == "computing features" and done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute([batch], folder, progress=stop)
    counted = Counting()
    (features,) = compute([batch], folder, progress=counted)
    assert counted.images == 24
    again = tmp_path_factory.mktemp("again")
    (again / "priors").symlink_to(priors)
    (whole,) = compute([batch], again)
    assert torch.equal(all_rows(features), all_rows(whole))


def test_the_index_holds_no_pixels(folder):
    compute([images(3)], folder)
    (index,) = store(folder).glob("*.json")
    assert set(json.loads(index.read_text())) == {"sha256", "images"}


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_small_images_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="16 x 16 at least"):
        compute([images(2, shape=(3, 15, 40))], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_prior_is_refused():
    with pytest.raises(InputError, match="the priors are prior-xs"):
        family.Prior.fit("prior-x", SHAPE, 0)


def test_no_memory_says_how_much_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "available_memory", lambda: 2**28)
    with pytest.raises(InputError, match=r"takes 0\.\d GiB of memory, and 0.2 GiB are free"):
        compute([images(2)], tmp_path)


def test_no_room_says_how_much_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(InputError, match="make room"):
        compute([images(2)], tmp_path)
