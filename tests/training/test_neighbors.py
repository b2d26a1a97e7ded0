"""The real training step on neighboring data sets, with the mechanism frozen: no clipped sum moves by more than C.

One example is removed; the draws are coupled (the same examples but that one) and the privatized gradients are fixed,
so that both trainings have the same weights throughout.  What is left is what the noise must hide.

Sums are compared as they reach the noise: made in float32 over each physical batch, and added up in float64.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from trilemma.data import load_data
from trilemma.errors import PrivacyError
from trilemma.privacy import ClippedSum, Clipping, Draw, Plan
from trilemma.techniques import TECHNIQUES
from trilemma.training import inputs
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.ranks import Ranks
from trilemma.training.recipe import Recipe

CLIP = 0.2
ROUNDING = 1e-6
"""What rounding adds to the distance of neighboring sums, at most, as a share of C; docs/guarantee.md states it."""

GONE = {"front": 0, "middle": 700, "end": 1296}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def doubled(sums):
    return {name: value.double() for name, value in sums.items()}


class Frozen:
    """A mechanism whose draws and releases are given.  ``sums`` are the clipped sums that reached it, by update."""

    def __init__(self, draws):
        self.drawn, self.sums = draws, []

    def draw(self, *_):
        return Draw(self.drawn[len(self.sums)], 0.5)

    def privatize(self, total):
        self.sums.append(doubled(total.sums))
        generator = torch.Generator().manual_seed(len(self.sums))
        return {n: 0.05 * torch.randn(v.shape, generator=generator) for n, v in total.sums.items()}


@dataclass(frozen=True)
class OneOf(Ranks):
    """One of several processes, which exchange nothing: what the first would send is given."""

    frozen: Frozen | None = None

    def tell(self, value):
        return self.frozen.draw()

    def add_up(self, total, places, count):
        return total

    def gradient_of_first(self, gradient):
        return gradient if self.first else self.frozen.privatize(ClippedSum(gradient, None, None, CLIP))


def clipped_sums(monkeypatch, data, choices, draws, present=None, processes=1, physical=16):
    """The clipped sum of each update, float64 by name, where those of the examples ``draws`` (rows of the whole data)
    are seen that are among ``present``."""
    if present is not None:
        place = torch.full((len(data.train),), -1)
        place[torch.from_numpy(present)] = torch.arange(len(present))
        data = replace(data, train=data.train.take(present))
        draws = [place[rows][place[rows] >= 0] for rows in draws]
    by_process = []
    for rank in range(processes):
        frozen = Frozen(draws)
        with monkeypatch.context() as patched:
            patched.setattr(Plan, "draw", frozen.draw)
            patched.setattr(Plan, "privatize", lambda plan, draw, total, *_, frozen=frozen: frozen.privatize(total))
            ranks = Ranks() if processes == 1 else OneOf(rank, processes, frozen=frozen)
            training = Training(Recipe(**choices), data, Execution("cpu", physical, "float32"), ranks=ranks)
            training.state.evidence = None  # which looks at single examples besides
            for _ in draws:
                training.step()
        by_process.append(frozen)

    shares = zip(*(frozen.sums for frozen in by_process), strict=True)
    return [{n: sum(s[n] for s in update) for n in update[0]} for update in shares]


def distances(first, second):
    """The distance between each update's sums, in units of the clipping norm."""
    return [
        sum(float((a[n] - b[n]).square().sum()) for n in a) ** 0.5 / CLIP for a, b in zip(first, second, strict=True)
    ]


def assert_neighbors(whole, without):
    apart = distances(whole, without)
    assert max(apart) <= 1 + ROUNDING, apart
    assert max(apart) > 0.9  # the example is there, and it counts


def all_but(gone, count=1297):
    return np.delete(np.arange(count), gone)


def choices_for(techniques):
    return {
        "model": "convnet-4",
        "epsilon": 1.0,
        "techniques": techniques,
        "views": 2,
        "norm_groups": 2,
        "clipping_norm": CLIP,
        "sharpness_radius": 0.5,
    }


def poisson(size, updates):
    generator = torch.Generator().manual_seed(size)
    draws = [torch.nonzero(torch.rand(1297, generator=generator) < size / 1297).squeeze(1) for _ in range(updates)]
    # Whoever is removed below has been drawn.
    return [torch.cat([rows, torch.tensor(list(GONE.values()))]).unique() for rows in draws]


DRAWS = {"full batch": [torch.arange(1297)] * 2, "400": poisson(400, 2), "64": poisson(64, 4)}


@pytest.mark.parametrize(
    ("size", "techniques"),
    [
        ("full batch", ("gn", "am")),
        ("full batch", tuple(TECHNIQUES)),
        ("400", ("gn", "am")),
        ("400", tuple(TECHNIQUES)),
        *(("64", techniques) for techniques in [("gn", "am"), ("am", "sat"), tuple(TECHNIQUES), ("pa", "ws"), ()]),
    ],
)
def test_removing_an_example_moves_no_sum_by_more_than_the_clipping_norm(monkeypatch, digits, size, techniques):
    """Guards: views and other randomness that are public and assigned by position."""
    choices, draws = choices_for(techniques), DRAWS[size]
    whole = clipped_sums(monkeypatch, digits, choices, draws)
    # Without the first example every other one stands elsewhere: where all are drawn, that alone is tried twice.
    for gone in [GONE["front"]] if size == "full batch" and len(techniques) > 2 else GONE.values():
        assert_neighbors(whole, clipped_sums(monkeypatch, digits, choices, draws, all_but(gone)))


@pytest.mark.parametrize("size", ["400", "64"])
def test_nor_where_two_processes_share_the_work(monkeypatch, digits, size):
    choices, draws = choices_for(tuple(TECHNIQUES)), DRAWS[size]
    whole = clipped_sums(monkeypatch, digits, choices, draws, processes=2)
    assert max(distances(whole, clipped_sums(monkeypatch, digits, choices, draws))) < 1e-5
    for gone in GONE.values():
        assert_neighbors(whole, clipped_sums(monkeypatch, digits, choices, draws, all_but(gone), processes=2))


def test_the_bound_holds_however_the_batch_is_cut(monkeypatch, digits):
    """The errors that docs/guarantee.md states, of a sum over 1,297 examples at once, nearly all of them clipped."""
    choices, draws = choices_for(("gn", "am")), DRAWS["full batch"][:1]
    whole = clipped_sums(monkeypatch, digits, choices, draws, physical=1297)
    assert_neighbors(whole, clipped_sums(monkeypatch, digits, choices, draws, all_but(0), physical=1297))
    nothing = {name: torch.zeros_like(value) for name, value in whole[0].items()}
    assert distances(whole, [nothing])[0] > 100
    assert distances(whole, clipped_sums(monkeypatch, digits, choices, draws))[0] < 1e-4


def test_the_linear_method_loses_no_example_among_many():
    """Guards: a sum of many gradients of one direction in float32, which one example more moved by C (1 ± 3e-4)."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = 1 + 0.3 * torch.randn(20_000, 1, 256, generator=generator), torch.zeros(20_000, dtype=torch.int64)
    clipping = Clipping(torch.nn.Linear(256, 3, bias=False), CLIP)

    def total(start):
        return doubled(clipping.zero().add_(clipping(inputs[start:], labels[start:])).sums)

    whole = total(0)
    assert distances([whole], [{"weight": torch.zeros(3, 256)}])[0] > 15_000
    assert distances([whole], [total(1)])[0] == pytest.approx(1, abs=3e-5)


def test_views_dealt_by_place_would_be_seen(monkeypatch, digits):
    """The power of the test above: moves assigned by the position in the draw, as version 0.1.0 did."""
    real = inputs.moves_of
    monkeypatch.setattr(inputs, "moves_of", lambda keys, *a, **k: real(torch.arange(len(keys)), *a, **k))
    choices, draws = choices_for(("gn", "am")), DRAWS["64"]
    whole = clipped_sums(monkeypatch, digits, choices, draws)
    assert max(distances(whole, clipped_sums(monkeypatch, digits, choices, draws, all_but(0)))) > 1.5


class Noisy(torch.nn.Module):
    """A layer that draws from a generator of its own, or now and then from torch's."""

    def __init__(self, sometimes):
        super().__init__()
        self.linear, self.sometimes = torch.nn.Linear(64, 10), sometimes
        self.rng = np.random.default_rng(0)
        itertools.calls_of_a_test = itertools.count()  # what a network keeps must not change, but in installed modules

    def forward(self, x):
        calls = next(itertools.calls_of_a_test)
        if not self.sometimes:
            return self.linear(x.flatten(1)) * float(self.rng.uniform(0.5, 1.5))
        return self.linear(x.flatten(1)) + (torch.randn(10) if calls >= 60 else 0)


@pytest.mark.parametrize("kind", ["dropout", "own generator", "now and then"])
def test_random_layers_are_refused_with_a_budget(digits, kind):
    """Random layers are refused before the first update, or in the update in which they draw."""
    network = {
        "dropout": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.1), torch.nn.Linear(64, 10)),
        "own generator": Noisy(sometimes=False),
        "now and then": Noisy(sometimes=True),
    }[kind]
    recipe = Recipe(model="own", epsilon=8.0, batch_size=64, epochs=2)

    def training(recipe, updates):
        run = Training(recipe, digits, Execution("cpu", 32, "float32", "loop"), network)
        for _ in range(updates):
            run.step()

    if kind == "now and then":
        training(recipe, 0)
    with pytest.raises(PrivacyError, match="random numbers"):
        training(recipe, 5 if kind == "now and then" else 0)
    training(replace(recipe, epsilon=None, delta=None), 2)
