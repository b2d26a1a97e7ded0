"""Gradient canaries: orthonormal directions, added with norm C, whose scores are what was added and the noise alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.privacy.directions import Directions
from trilemma.privacy.gradients.sums import ClippedSum

SHAPES = {"weight": (7, 5), "bias": (7,), "scale": ()}
WEIGHTS = 43


def sum_of(seed, clipping_norm, examples=3):
    generator = torch.Generator().manual_seed(seed)
    sums = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return ClippedSum(sums, torch.ones(examples), torch.ones(examples), clipping_norm)


def flat(sums):
    return torch.cat([value.double().flatten() for value in sums.values()])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, WEIGHTS), st.integers(0, 2**32), st.sampled_from([0.1, 1.0, 30.0]))
def test_each_canary_adds_a_vector_of_norm_c_orthogonal_to_the_others(count, seed, norm):
    directions = Directions(count, WEIGHTS, seed)
    nothing = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    empty = ClippedSum(nothing, torch.zeros(0), torch.zeros(0), norm)
    added = torch.stack([flat(directions.join(empty, torch.tensor([place])).sums) for place in range(count)])
    assert torch.allclose(added @ added.T, norm**2 * torch.eye(count, dtype=torch.float64), atol=1e-5 * norm**2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, WEIGHTS), st.integers(0, 2**32), st.data())
def test_a_score_is_what_was_added_whatever_the_examples_were(count, seed, data):
    drawn = torch.tensor(sorted(data.draw(st.sets(st.integers(0, count - 1)))), dtype=torch.int64)
    directions, total = Directions(count, WEIGHTS, seed), sum_of(seed % 1000, 2.0)
    joined = directions.join(total, drawn)
    assert joined.count == total.count + len(drawn)
    assert len(joined.losses) == total.count
    scores = directions.scores({n: v / 10 for n, v in joined.sums.items()}, batch_size=10, clipping_norm=2.0)
    expected = torch.zeros(count, dtype=torch.float64)
    expected[drawn] = 1.0
    assert torch.allclose(scores, expected, atol=1e-5)


def test_noise_gives_scores_its_standard_deviation():
    """Of 400 standard normal scores, the variance leaves [0.7, 1.35] with a probability below 1e-4."""
    directions, generator = Directions(20, WEIGHTS, 0), torch.Generator().manual_seed(1)
    scores = []
    for update in range(20):
        joined = directions.join(sum_of(update, 0.5), torch.zeros(0, dtype=torch.int64))
        noisy = {n: v + 1.5 * torch.randn(v.shape, generator=generator) for n, v in joined.sums.items()}
        scores.append(directions.scores(noisy, batch_size=1, clipping_norm=0.5) / 3)
    assert 0.7 < float(torch.cat(scores).var()) < 1.35


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no 44 orthonormal directions"):
        Directions(44, WEIGHTS, 0)
    directions = Directions(3, WEIGHTS, 0)
    with pytest.raises(ValueError, match="before its scores are taken"):
        directions.scores(sum_of(0, 1.0).sums, batch_size=1, clipping_norm=1.0)
    with pytest.raises(ValueError, match="are for 43 weights, not for 35"):
        directions.join(ClippedSum({"w": torch.zeros(35)}, torch.zeros(0), torch.zeros(0), 1.0), torch.tensor([0]))
