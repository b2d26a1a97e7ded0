"""Blocks agree with loops written from the definitions: one image, one patch, and one cell at a time, in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trilemma.models.prior import blocks as blocks_module
from trilemma.models.prior import patches as patches_module
from trilemma.models.prior import synthetic
from trilemma.models.prior.blocks import OneLayer, SecondOrder, Seen, TwoLayer, matrix_root
from trilemma.models.prior.local import LocalMaps
from trilemma.models.prior.pooling import halves, quarters
from trilemma.models.prior.synthetic import altered, synthetic_images
from trilemma.models.prior.whitening import Whitening

UNMOVED = ((0.0, 0.0),)
PHASES = ((0, 0), (1, 1))


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(patches_module, "compute_type", lambda: torch.float32)
    monkeypatch.setattr(blocks_module, "compute_type", lambda: torch.float32)
    monkeypatch.setattr("trilemma.models.prior.whitening.compute_type", lambda: torch.float32)
    monkeypatch.setattr(patches_module, "_STATISTICS", 2000)


def generator():
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def pictures():
    return synthetic_images(120, (3, 20, 20), 0)


@pytest.fixture
def local(pictures):
    return LocalMaps.fit(
        pictures, filters=5, channels=7, cell=3, phases=PHASES, coarse=False, stride=1, generator=generator()
    )


def two_sided(z, threshold):
    return np.concatenate([np.maximum(z - threshold, 0), np.maximum(-z - threshold, 0)])


def first_layer(filters, image):
    """(rows, columns, 2 F) responses of one image (C, H, W)."""
    rows, columns = filters.map_size(*image.shape[1:])
    matrix = filters.matrix.double().numpy()
    features = np.empty((rows, columns, matrix.shape[1]))
    for y in range(rows):
        for x in range(columns):
            top, left = y * filters.stride, x * filters.stride
            patch = image[:, top : top + 6, left : left + 6].astype(float).transpose(1, 2, 0).ravel()
            patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
            features[y, x] = patch @ matrix[:-1] + matrix[-1]
    return features


def quarter_means(values, places, soft):
    """values: list of vectors at places (down, right) -> (4, d)."""

    def share(place, which):
        if not soft:
            return 0.5 if abs(place - 0.5) < 1e-6 else float((place < 0.5) == (which == 0))
        first = min(max(3 * (2 / 3 - place), 0), 1)
        return first if which == 0 else 1 - first

    means = []
    for up in (0, 1):
        for side in (0, 1):
            weights = [share(y, up) * share(x, side) for y, x in places]
            means.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return np.array(means)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_one_layer_agrees_with_a_loop(pictures, soft, stride):
    block = OneLayer.fit(pictures, filters=4, coarse=False, soft=soft, stride=stride, generator=generator())
    image = pictures[3].numpy()

    def features(image):
        z = first_layer(block.filters, image)[:, :, :4]
        rows, columns = z.shape[:2]
        places = [((y + 0.5) / rows, (x + 0.5) / columns) for y in range(rows) for x in range(columns)]
        return quarter_means([two_sided(v, 0.25) for v in z.reshape(-1, 4)], places, soft)

    expected = (features(image) + features(image[:, :, ::-1])) / 2
    computed = block(Seen(pictures[3:4]), UNMOVED)
    assert computed.shape == (1, 1, 32)
    np.testing.assert_allclose(computed[0, 0].view(4, 8).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_the_coarse_image_is_half_as_large(pictures):
    block = OneLayer.fit(pictures, filters=4, coarse=True, soft=False, stride=1, generator=generator())
    fine = OneLayer(block.filters, coarse=False, soft=False)
    small = pictures[:2].view(2, 3, 10, 2, 10, 2).float().mean((3, 5))
    torch.testing.assert_close(block(Seen(pictures[:2]), UNMOVED), fine(Seen(small), UNMOVED))


def descriptors(local, image, phase):
    """(rows, columns, c): of one image, cell by cell."""
    z = first_layer(local.filters, image)
    rows, columns = (z.shape[0] - phase[0]) // 3, (z.shape[1] - phase[1]) // 3
    mean, channels = local.mean.double().numpy(), local.channels.double().numpy()
    features = np.empty((rows, columns, channels.shape[1]))
    for i in range(rows):
        for j in range(columns):
            cell = z[phase[0] + 3 * i : phase[0] + 3 * i + 3, phase[1] + 3 * j : phase[1] + 3 * j + 3]
            pooled = np.mean([two_sided(v, 0.25) for v in cell.reshape(-1, z.shape[2])], axis=0)
            features[i, j] = (pooled - mean) @ channels
    return features


def test_coarse_descriptors_are_those_of_the_smaller_image(pictures):
    coarse = LocalMaps.fit(
        pictures, filters=5, channels=7, cell=2, phases=PHASES, coarse=True, stride=1, generator=generator()
    )
    assert coarse.sizes(20, 20) == [(2, 2), (2, 2)]
    fine = replace(coarse, coarse=False)
    small = pictures[:2].view(2, 3, 10, 2, 10, 2).float().mean((3, 5))
    torch.testing.assert_close(coarse(pictures[:2]), fine(small))


def by_size(x):
    return x / np.sqrt((x**2).mean() + 0.1)


def test_local_descriptors_agree_with_a_loop(pictures, local):
    """Maps of 15 places: five cells from 0, four from 1 (and two places are left over)."""
    image = pictures[5].numpy()
    expected = np.concatenate([descriptors(local, image, phase).reshape(-1, 7) for phase in PHASES])
    features = local(pictures[5:6])[0].numpy()
    assert features.shape == (25 + 16, 7)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)


def test_descriptors_of_a_mirrored_image_differ_by_signs(pictures, local):
    plain = local(pictures[:4])[:, :25].view(4, 5, 5, 7)
    mirrored = local(pictures[:4].flip(3))[:, :25].view(4, 5, 5, 7)
    assert set(local.signs.tolist()) == {1.0, -1.0}
    torch.testing.assert_close(mirrored, plain.flip(2) * local.signs, rtol=1e-3, atol=2e-3)


def both_ways(features):
    """Mean over the descriptors as they are and as the mirrored image would have them."""
    return (features(False) + features(True)) / 2


def newton(moments):
    """The four steps on eigenvalues, which a matrix polynomial acts on one by one."""
    trace = np.trace(moments)
    values, vectors = np.linalg.eigh(moments / trace)
    root, inverse = values + 0.1 / len(values), np.ones(len(values))
    for _ in range(4):
        step = (3 - inverse * root) / 2
        root, inverse = root * step, step * inverse
    return vectors @ np.diag(root * np.sqrt(trace)) @ vectors.T


def test_the_second_order_block_agrees_with_a_loop(pictures, local):
    image = pictures[5].numpy()
    upper = np.triu_indices(7)

    def features(mirrored):
        values, places = [], []
        for top, left in PHASES:
            maps = descriptors(local, image, (top, left))
            for i in range(maps.shape[0]):
                for j in range(maps.shape[1]):
                    x = by_size(maps[i, j] * (local.signs.numpy() if mirrored else 1))
                    right = (left + 3 * j + 0.5) / 13
                    values.append(np.outer(x, x))
                    places.append(((top + 3 * i + 0.5) / 13, 1 - right if mirrored else right))
        return quarter_means(values, places, True)

    expected = [newton(moments)[upper] for moments in both_ways(features)]
    computed = SecondOrder(local)(Seen(pictures[5:6]), UNMOVED)
    np.testing.assert_allclose(computed[0, 0].view(4, 28).numpy(), expected, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("soft", [False, True])
def test_two_layers_agree_with_a_loop(pictures, local, soft):
    block = TwoLayer.fit(local, pictures, filters=6, soft=soft, generator=generator())
    image = pictures[5].numpy()
    matrix = block.matrix.double().numpy()

    def features(mirrored):
        values, places = [], []
        for top, left in PHASES:
            maps = descriptors(local, image, (top, left))
            if mirrored:
                maps = maps[:, ::-1] * local.signs.numpy()
            for i in range(maps.shape[0] - 2):
                for j in range(maps.shape[1] - 2):
                    patch = by_size(maps[i : i + 3, j : j + 3].transpose(2, 0, 1).ravel())
                    values.append(two_sided(patch @ matrix[:-1] + matrix[-1], block.threshold))
                    column = maps.shape[1] - 3 - j if mirrored else j
                    right = (left + 3 * column + 0.5) / 7
                    places.append(((top + 3 * i + 0.5) / 7, 1 - right if mirrored else right))
        return quarter_means(values, places, soft)

    computed = block(Seen(pictures[5:6]), UNMOVED)
    np.testing.assert_allclose(computed[0, 0].view(4, 12).numpy(), both_ways(features), rtol=1e-3, atol=1e-3)


def test_a_matrix_root_is_nearly_the_root():
    factor = torch.randn(3, 6, 40, generator=generator()) / 40**0.5
    moments = factor @ factor.mT
    trace = moments.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    root = matrix_root(moments)
    torch.testing.assert_close(root @ root, moments + 0.1 / 6 * trace * torch.eye(6), atol=0.08, rtol=0)


def test_blocks_with_the_same_descriptors_compute_them_once(pictures, local, monkeypatch):
    computations = []
    plain = LocalMaps.__call__
    monkeypatch.setattr(LocalMaps, "__call__", lambda self, images: computations.append(1) or plain(self, images))
    seen = Seen(pictures[:2])
    SecondOrder(local)(seen, UNMOVED)
    SecondOrder(local)(seen, UNMOVED)
    assert len(computations) == 1


def test_a_view_moves_the_windows():
    down, right = torch.tensor([0.1, 0.4, 0.6, 0.95]), torch.tensor([0.5, 0.2, 0.9, 0.3])
    moved = quarters(down, right, soft=True, shift=(0.2, -0.05))
    torch.testing.assert_close(moved[:, 1:], quarters(down - 0.2, right + 0.05, soft=True)[:, 1:])
    assert moved[:, 0].abs().max() == 0  # 0.1 - 0.2 lies outside
    assert moved[:, 1:].sum() > 0


@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize("soft", [False, True])
def test_halves_share_every_place_and_mirror_each_other(count, soft):
    places = (torch.arange(count) + 0.5) / count
    shares = halves(places, soft=soft)
    torch.testing.assert_close(shares.sum(0), torch.ones(count))
    torch.testing.assert_close(shares.flip(0, 1), shares)


def test_whitened_synthetic_features_have_covariance_one():
    features = torch.randn(400, 30, generator=generator()) @ torch.randn(30, 30, generator=generator())
    whitening = Whitening.fit(features, features, keep=20, floor=0.0, invariance=0.0)
    rows = (features - whitening.mean) @ whitening.matrix
    torch.testing.assert_close(rows.T @ rows / 400, torch.eye(20), atol=1e-3, rtol=0)


def test_the_invariance_metric_shrinks_what_changes():
    plain = torch.randn(400, 10, generator=generator())
    changed = plain.clone()
    changed[:, 0] = torch.randn(400, generator=generator())
    whitening = Whitening.fit(plain, changed, keep=10, floor=0.0, invariance=8.0)
    rows = (plain - whitening.mean) @ whitening.matrix
    size = torch.linalg.lstsq(plain, rows).solution.norm(dim=1)
    assert size[0] < 0.5 * size[1:].min()


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 16), (3, 16, 40)])
def test_synthetic_images_follow_from_their_seed(shape, monkeypatch):
    monkeypatch.setattr(synthetic, "_CHUNK", 20)  # images are drawn in whole chunks
    images = synthetic_images(6, shape, 3)
    assert images.dtype == torch.uint8
    assert images.shape == (6, *shape)
    assert torch.equal(images, synthetic_images(21, shape, 3)[:6])
    assert not torch.equal(images, synthetic_images(6, shape, 4))
    assert images.float().flatten(1).std(1).min() > 2  # none is flat
    again = altered(images, 3)
    assert again.dtype == torch.uint8
    assert again.shape == images.shape
    assert torch.equal(again, altered(images, 3))
