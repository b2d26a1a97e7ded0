"""Poisson sampling: statistical tests with a stated false-alarm rate, which mutant samplers fail."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from judges import ALARM, judge_sampler
from trilemma.privacy import Draw, Plan, RandomStream, poisson_draw


def stream_of(seed):
    return RandomStream.keyed(str(seed).encode())


def included(sampler, examples, updates):
    """(updates, examples): 1 where the update saw the example."""
    table = torch.zeros(updates, examples, dtype=torch.float64)
    for row in table:
        row[sampler()] = 1
    return table


@pytest.mark.parametrize(("examples", "q"), [(300, 0.05), (300, 0.5), (40, 0.25), (1000, 0.004)])
def test_inclusions_are_independent_coins(examples, q):
    """Guards: shuffled batches accounted as Poisson.  False-alarm rate 1e-6."""
    stream = stream_of(7)
    table = included(lambda: poisson_draw(examples, q, stream).indices, examples, 1500)
    assert judge_sampler(table, q) == {}


def test_a_plan_draws_at_its_own_rate():
    """Guards: rate taken from a foreign sampler's length."""
    plan = Plan(examples=250, batch_size=40, updates=5, clipping_norm=1.0, noise_multiplier=1.0)
    stream = stream_of(8)
    table = included(lambda: plan.draw(stream).indices, 250, 1500)
    assert judge_sampler(table, 40 / 250) == {}
    assert plan.draw(stream).sampling_probability == 40 / 250


def shuffled(examples, size, stream):
    """An epoch's order cut into batches of one size: what most training loops do."""
    while True:
        yield from stream.uniform(examples).argsort().split(size)


def fixed_size(examples, size, stream):
    while True:
        yield stream.uniform(examples).argsort()[:size]


def again(examples, size, stream):
    """Each draw is used for two updates."""
    while True:
        draw = poisson_draw(examples, size / examples, stream).indices
        yield draw
        yield draw


def blocks(examples, size, stream):
    """Pairs of examples come together."""
    while True:
        pairs = poisson_draw(examples // 2, size / examples, stream).indices
        yield torch.cat([2 * pairs, 2 * pairs + 1])


def too_often(examples, size, stream):
    while True:
        yield poisson_draw(examples, 1.05 * size / examples, stream).indices


def weighted(examples, size, stream):
    """Some examples are drawn more often than others; the mean rate is right."""
    rates = size / examples * (1 + 0.3 * (-1.0) ** torch.arange(examples))
    while True:
        yield torch.nonzero(stream.uniform(examples) < rates).squeeze(1)


def distant_pairs(examples, size, stream):
    """Two examples that are far apart always come together; all others are right."""
    while True:
        draw = poisson_draw(examples, size / examples, stream).indices
        included = bool((draw == 3).any())
        draw = draw[draw != 200]
        yield torch.cat([draw, torch.tensor([200])]) if included else draw


def last_one_dropped(examples, size, stream):
    while True:
        yield poisson_draw(examples, size / examples, stream).indices[:-1]


def empty_draws_repeated(examples, size, stream):
    """Draws until somebody is drawn."""
    while True:
        draw = poisson_draw(examples, size / examples, stream).indices
        if len(draw):
            yield draw


@pytest.mark.parametrize(
    ("mutant", "examples", "size"),
    [
        (shuffled, 300, 15),
        (fixed_size, 300, 15),
        (again, 300, 15),
        (blocks, 300, 15),
        (too_often, 300, 15),
        (weighted, 300, 15),
        (distant_pairs, 300, 15),
        (last_one_dropped, 300, 15),
        (empty_draws_repeated, 300, 2),
    ],
)
def test_mutant_samplers_are_rejected(mutant, examples, size):
    """The power of the test above: the same function, the same size, samplers that are wrong."""
    draws = mutant(examples, size, stream_of(7))
    table = included(lambda: next(draws), examples, 1500)
    assert judge_sampler(table, size / examples)


def test_shuffled_batches_are_rejected_for_their_dispersion():
    """The reason is the right one: sizes and inclusion counts that hardly vary."""
    draws = shuffled(300, 15, stream_of(7))
    judgment = judge_sampler(included(lambda: next(draws), 300, 1500), 0.05)
    assert {"batch sizes", "inclusion counts"} <= set(judgment)
    assert "ones" not in judgment


def test_other_samplers_are_rejected_for_the_right_reason():
    for mutant, reason in ((fixed_size, "batch sizes"), (weighted, "inclusion counts"), (distant_pairs, "each pair")):
        draws = mutant(300, 15, stream_of(7))
        assert reason in judge_sampler(included(lambda draws=draws: next(draws), 300, 1500), 0.05)


def test_empty_draws_happen_and_are_draws():
    """Guards: empty draw crashes or is skipped."""
    stream = stream_of(3)
    sizes = [len(poisson_draw(10, 0.05, stream)) for _ in range(2000)]
    # P(empty) = 0.95^10 = 0.599; two-sided, false alarm 1e-6.
    assert stats.binomtest(sizes.count(0), 2000, 0.95**10).pvalue > ALARM
    draw = poisson_draw(10, 1e-12, stream)
    assert len(draw) == 0
    assert draw.indices.dtype == torch.int64
    assert list(draw.physical_batches(4)) == []


def test_a_full_batch_draws_everybody():
    stream = stream_of(3)
    assert torch.equal(poisson_draw(1000, 1.0, stream).indices, torch.arange(1000))


def test_the_stream_advances_and_determines_the_draw():
    """Guards: random numbers reused."""
    stream, two = (stream_of(3) for _ in range(2))
    first, second = poisson_draw(500, 0.3, stream), poisson_draw(500, 0.3, stream)
    assert not torch.equal(first.indices, second.indices)
    assert torch.equal(first.indices, poisson_draw(500, 0.3, two).indices)
    state = two.get_state()
    assert torch.equal(second.indices, poisson_draw(500, 0.3, two).indices)
    two.set_state(state)
    assert torch.equal(second.indices, poisson_draw(500, 0.3, two).indices)


def test_the_global_generator_is_not_used():
    state = torch.get_rng_state()
    poisson_draw(100, 0.5, stream_of(1))
    assert torch.equal(state, torch.get_rng_state())


@settings(deadline=None, max_examples=60)
@given(examples=st.integers(1, 300), q=st.floats(0.001, 1), seed=st.integers(0, 2**30), size=st.integers(1, 350))
def test_physical_batches_drop_and_repeat_nothing(examples, q, seed, size):
    """Guards: last physical batch dropped."""
    draw = poisson_draw(examples, q, stream_of(seed))
    assert torch.equal(draw.indices, draw.indices.unique())  # ascending, each once
    assert all(0 <= index < examples for index in draw.indices.tolist())
    parts = list(draw.physical_batches(size))
    assert all(1 <= len(part) <= size for part in parts)
    assert [i for part in parts for i in part.tolist()] == draw.indices.tolist()
    assert len(parts) == math.ceil(len(draw) / size)


def test_a_draw_cannot_be_changed():
    draw = Draw(torch.arange(3), 0.5)
    with pytest.raises(AttributeError):
        draw.sampling_probability = 0.1
