"""Gaussian noise: its size, shape, type and independence, by tests with a stated false-alarm rate."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from judges import judge_noise, judge_successive
from trilemma.privacy import Clipping, Draw, Plan, RandomStream, add_gaussian_noise
from trilemma.privacy.gradients.sums import ClippedSum
from trilemma.privacy.noise import noise_stream

SIZE = 200_000


def judge_bits(values):
    """Float32 normals hardly ever repeat; half precision has only thousands of different ones in this range."""
    return len(values.float().flatten().unique()) / values.numel()


class Sized(torch.nn.Module):
    """A network of SIZE parameters in two tensors."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(SIZE // 2))
        self.b = torch.nn.Parameter(torch.zeros(SIZE // 4, 2))


def stream_of(seed):
    return RandomStream.keyed(str(seed).encode())


def plan_with(**changes):
    values = {"examples": 100, "batch_size": 20, "updates": 12, "clipping_norm": 0.7, "noise_multiplier": 1.3}
    return Plan(**(values | changes))


def total_of(plan, count):
    """A sum of ``count`` zero gradients over the large network."""
    zero = Clipping(Sized(), plan.clipping_norm).zero()
    return ClippedSum(zero.sums, torch.zeros(count), torch.zeros(count), plan.clipping_norm)


def release(plan, stream, count=20, parts=1):
    """One update whose draw is cut into ``parts`` physical batches."""
    draw = Draw(torch.arange(count), plan.sampling_probability)
    sizes = [len(part) for part in torch.arange(count).tensor_split(parts)]
    total = Clipping(Sized(), plan.clipping_norm).zero()
    for size in sizes:
        total = total + total_of(plan, size)
    return plan.privatize(draw, total, stream)


def as_one(gradient):
    return torch.cat([gradient["a"], gradient["b"].flatten()])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clipping_norm": 3.0},
        {"noise_multiplier": 0.4},
        {"batch_size": 100},
        {"clipping_norm": 1e-3, "noise_multiplier": 10.0},
        {"batch_size": 1, "clipping_norm": 50.0},
    ],
)
def test_noise_has_the_deviation_of_the_plan(changes):
    """Guards: noise scale and normalizer don't fit (variance after division).  False-alarm rate 1e-6."""
    plan = plan_with(**changes)
    noise = as_one(release(plan, stream_of(1)))
    deviation = plan.noise_multiplier * plan.clipping_norm / plan.batch_size
    assert judge_noise(noise, deviation) == {}


@pytest.mark.parametrize("parts", range(1, 9))
def test_noise_is_added_once_however_the_draw_is_cut(parts):
    """Guards: noise added twice, once per physical batch.  False-alarm rate 1e-6."""
    plan = plan_with()
    noise = as_one(release(plan, stream_of(2), parts=parts))
    assert judge_noise(noise, 1.3 * 0.7 / 20) == {}
    # Nor does the cut change what is drawn.
    assert torch.equal(noise, as_one(release(plan, stream_of(2), parts=1)))


@pytest.mark.parametrize("count", [0, 1, 7, 20, 45])
def test_noise_does_not_depend_on_the_draw(count):
    """Guards: division by the drawn batch; empty draw skipped."""
    plan = plan_with()
    noise = as_one(release(plan, stream_of(3), count=count))
    assert judge_noise(noise, 1.3 * 0.7 / 20) == {}


def test_wrong_noise_is_rejected():
    """The power of the tests above: each of these mutants fails in the same function at the same size."""
    plan = plan_with()
    deviation = 1.3 * 0.7 / 20
    stream = stream_of(4)
    true = [as_one(release(plan, stream)) for _ in range(3)]
    assert judge_noise(true[0], deviation) == {}
    mutants = {
        "once per physical batch (2 of them)": true[0] + true[1],
        "divided by the batch that was drawn (21 for 20)": true[0] * 20 / 21,
        "divided by N": true[0] * 20 / 100,
        "not divided": true[0] * 20,
        "clipping norm forgotten": true[0] / 0.7,
        "1.5 percent too small": true[0] * 0.985,
        "uniform": (stream.uniform(SIZE) - 0.5) * math.sqrt(12) * deviation,
        "Laplace": torch.from_numpy(stats.laplace.rvs(size=SIZE, random_state=1)) / math.sqrt(2) * deviation,
        "added to half of the parameters": torch.cat([true[0][: SIZE // 2], torch.zeros(SIZE // 2)]),
        "the same for both tensors": torch.cat([true[0][: SIZE // 2]] * 2),
        "shifted": true[0] + 0.02 * deviation,
        "one number for pairs": true[0][: SIZE // 2].repeat_interleave(2),
    }
    assert {name for name, noise in mutants.items() if not judge_noise(noise, deviation)} <= {
        "the same for both tensors"  # every number on its own is right: that is judge_successive's to find
    }
    halves = mutants["the same for both tensors"].reshape(2, -1)
    assert judge_successive(list(halves), deviation) == {(1, 0)}


def test_noise_has_single_precision():
    """Guards: norms, sums or noise in half precision."""
    noise = as_one(release(plan_with(), stream_of(5)))
    assert noise.dtype == torch.float32
    assert judge_bits(noise) > 0.9
    for kind in (torch.float16, torch.bfloat16):
        mutant = torch.randn(SIZE, dtype=kind, generator=torch.Generator().manual_seed(5))
        assert judge_bits(mutant * (1.3 * 0.7 / 20)) < 0.3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_another_type_are_refused(dtype):
    """Guards: half precision.  A rounded sum has another sensitivity than C."""
    sums = {"fine": torch.zeros(3), "other": torch.zeros(3, dtype=dtype)}
    with pytest.raises(TypeError, match="other"):
        add_gaussian_noise(sums, standard_deviation=1.0, stream=stream_of(0))


def test_a_sum_in_float64_is_rounded_after_the_noise_alone():
    total = torch.full((100,), 2.0**24 + 1, dtype=torch.float64)  # which float32 does not have
    noise = noise_stream({"sum": total}, standard_deviation=3.0, stream=stream_of(0)).normal(100) * 3
    noisy = add_gaussian_noise({"sum": total}, standard_deviation=3.0, stream=stream_of(0))["sum"]
    assert noisy.dtype == torch.float32
    assert torch.equal(noisy, (total + noise).float())
    assert not torch.equal(noisy, (total.float() + noise).float())


def test_successive_updates_share_no_noise():
    """Guards: random numbers reused (the same noise again); resume restarts the seed.  False-alarm rate 1e-6."""
    plan = plan_with()
    stream = stream_of(6)
    releases = [as_one(release(plan, stream)) for _ in range(12)]
    assert judge_successive(releases, 1.3 * 0.7 / 20) == set()
    # What two updates have in common at all is by chance: no run of numbers comes back.
    heads = torch.stack(releases)[:, :50].flatten()
    assert len(heads.unique()) == len(heads)


def test_noise_that_comes_back_is_rejected():
    """The mutants of the test above: a seed set in every update, a stream put back, noise that is subtracted."""
    plan = plan_with()
    deviation = 1.3 * 0.7 / 20
    reset = [as_one(release(plan, stream_of(6))) for _ in range(2)]
    assert judge_successive(reset, deviation) == {(1, 0)}
    stream = stream_of(6)
    first = as_one(release(plan, stream))
    state = stream.get_state()
    second = as_one(release(plan, stream))
    stream.set_state(state)
    third = as_one(release(plan, stream))
    assert judge_successive([first, second, third], deviation) == {(2, 1)}
    assert judge_successive([first, -0.05 * first + second], deviation) == {(1, 0)}


def test_the_stream_advances_and_alone_decides():
    """The state of the stream is all that a checkpoint needs; the global generator plays no part."""
    plan = plan_with()
    stream = stream_of(9)
    state, world = stream.get_state(), torch.get_rng_state()
    first = as_one(release(plan, stream))
    assert not torch.equal(state, stream.get_state())
    assert torch.equal(world, torch.get_rng_state())
    middle = stream.get_state()
    second = as_one(release(plan, stream))
    resumed = RandomStream.secret()
    resumed.set_state(middle)
    assert torch.equal(second, as_one(release(plan, resumed)))
    assert not torch.equal(first, second)


class TestNoNoiseIsAddedToTwoSums:
    """Guards: two releases that share their key, from which whoever sees both could subtract the noise."""

    SUMS: ClassVar = {"a": torch.linspace(-1, 1, 3000, dtype=torch.float64), "b": torch.zeros(2000)}

    @staticmethod
    def noise(sums, deviation=2.0):
        noisy = add_gaussian_noise(sums, standard_deviation=deviation, stream=stream_of(1))
        return torch.cat([((noisy[name].double() - sums[name]) / deviation).flatten() for name in sums])

    @settings(max_examples=40, deadline=None)
    @given(name=st.sampled_from("ab"), place=st.integers(0, 1999), bit=st.integers(0, 7))
    def test_one_bit_of_a_sum_gives_unrelated_noise(self, name, place, bit):
        """From streams in one state.  False-alarm rate 1e-6."""
        other = {key: value.clone() for key, value in self.SUMS.items()}
        other[name].view(torch.uint8)[place] ^= 1 << bit
        assume(bool(other[name].isfinite().all()) and float(other[name].abs().max()) < 1e3)
        assume(not torch.equal(other[name], self.SUMS[name]))  # -0.0 is 0.0
        assert judge_successive([self.noise(self.SUMS), self.noise(other)], 1.0) == set()

    @pytest.mark.parametrize("other", [math.nextafter(2.0, 3.0), 1.0, 4.0])
    def test_another_scale_gives_unrelated_noise(self, other):
        """One noise at two scales would be two equations for one sum, as where two versions calibrate differently."""
        assert judge_successive([self.noise(self.SUMS), self.noise(self.SUMS, other)], 1.0) == set()

    @pytest.mark.parametrize("changes", [{"noise_multiplier": 1.31}, {"clipping_norm": 0.69}])
    def test_plans_with_other_noise_share_none(self, changes):
        plans = plan_with(), plan_with(**changes)
        units = [plan.noise_multiplier * plan.clipping_norm / plan.batch_size for plan in plans]
        noise = [as_one(release(plan, stream_of(1))) / unit for plan, unit in zip(plans, units, strict=True)]
        assert judge_successive(noise, 1.0) == set()

    def test_names_and_shapes_are_part_of_a_sum(self):
        others = [{"a": self.SUMS["b"], "b": self.SUMS["a"]}, dict(reversed(self.SUMS.items()))]
        others += [{name: value.reshape(2, -1) for name, value in self.SUMS.items()}]
        assert judge_successive([self.noise(sums) for sums in (self.SUMS, *others)], 1.0) == set()

    @pytest.mark.parametrize(
        "deviation", [1, np.float64(1.0), np.float32(1.0)], ids=lambda number: type(number).__name__
    )
    def test_an_equal_scale_is_the_same_scale(self, deviation):
        """Guards: two noises for one sum, whose average has less, because a number came in another type."""
        assert torch.equal(self.noise(self.SUMS, 1.0), self.noise(self.SUMS, deviation))

    @pytest.mark.parametrize(
        "equal", [torch.Tensor.double, lambda value: torch.where(value == 0, -0.0, value)], ids=["type", "zero"]
    )
    def test_an_equal_sum_is_the_same_sum(self, equal):
        """Guards: two noises for one sum, because a zero has another sign or a number another type."""
        other = {name: equal(value) for name, value in self.SUMS.items()}
        bits = [{name: (v.dtype, v.numpy().tobytes()) for name, v in sums.items()} for sums in (other, self.SUMS)]
        assert bits[0] != bits[1]
        assert torch.equal(self.noise(self.SUMS), self.noise(other))

    def test_the_same_sum_is_the_same_release(self):
        """An update that is made again after a kill tells nothing more."""
        assert torch.equal(self.noise(self.SUMS), self.noise({n: v.clone() for n, v in self.SUMS.items()}))

    def test_the_same_sum_in_another_update_gets_other_noise(self):
        stream = stream_of(1)
        releases = [add_gaussian_noise(self.SUMS, standard_deviation=2.0, stream=stream)["b"] for _ in range(4)]
        assert judge_successive(releases, 2.0) == set()


def test_parameters_of_one_shape_get_different_noise():
    """Guards: the same noise again, within an update."""
    sums = {name: torch.zeros(2000) for name in "abcd"}
    noisy = add_gaussian_noise(sums, standard_deviation=2.0, stream=stream_of(1))
    assert judge_successive(list(noisy.values()), 2.0) == set()
    assert judge_noise(torch.cat(list(noisy.values())), 2.0) == {}


def test_the_sum_is_not_scaled():
    sums = {"a": torch.tensor([-3.0, 0.0, 1e4])}
    made = noise_stream(sums, standard_deviation=3.0, stream=stream_of(1)).normal(3)
    noisy = add_gaussian_noise(sums, standard_deviation=3.0, stream=stream_of(1))
    torch.testing.assert_close(noisy["a"], (sums["a"] + 3 * made).float(), rtol=0, atol=0)


def test_noise_is_added_to_a_copy():
    sums = {"a": torch.arange(4.0)}
    add_gaussian_noise(sums, standard_deviation=1.0, stream=stream_of(1))
    assert torch.equal(sums["a"], torch.arange(4.0))


def test_the_tail_is_not_cut():
    """A float32 normal never exceeds sqrt(2 ln 2^24) = 5.768.  A true one does at a rate that delta counts on, so the
    draw is in float64 and only the result is rounded."""
    count = 1_000_000
    sums = {"w": torch.zeros(count)}
    noisy = add_gaussian_noise(sums, standard_deviation=1.0, stream=stream_of(1))
    wide = noise_stream(sums, standard_deviation=1.0, stream=stream_of(1)).normal(count)
    assert torch.equal(noisy["w"], wide.float())
