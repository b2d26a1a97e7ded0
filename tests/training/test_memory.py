"""The physical batch: as large as helps and fits, and never a reason for other weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from common_noise import common_noise
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.memory import MARGIN, parse_memory, peak_of, physical_batch
from trilemma.training.recipe import Recipe

CPU = torch.device("cpu")
MB = 10**6


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (96, 3, 16, 16), dtype=np.uint8)
    labels = np.arange(96) % 4
    return Dataset("noise", Split(images, labels), Split(images[:8], labels[:8]), tuple("abcd"))


def megabytes(count):
    """Takes ``count`` MB at its peak."""
    return torch.zeros(count, MB // 4)


def test_the_peak_is_what_is_there_at_once_not_what_was_made_in_all():
    assert peak_of(lambda: [torch.zeros(1000) for _ in range(5)]) == 5 * 4000
    assert peak_of(lambda: [float(torch.zeros(1000).sum()) for _ in range(5)]) < 4000 + 100


def test_views_and_results_in_place_are_no_new_memory():
    x = torch.zeros(1000)
    assert peak_of(lambda: x.view(10, 100).add_(1).T) == 0


def test_what_autograd_keeps_for_the_backward_pass_is_counted():
    x = torch.randn(1000, requires_grad=True)

    def backward():
        torch.autograd.grad(x.exp().sin().exp().sum(), x)

    # The results of exp, sin and exp are kept, and two gradients are there while one is made of the other.
    assert 3 * 4000 <= peak_of(backward) <= 6 * 4000


@pytest.mark.parametrize(
    ("memory", "count"), [(1000, 64), (64 * MARGIN, 64), (63 * MARGIN, 32), (5 * MARGIN, 4), (MARGIN, 1)]
)
def test_as_many_as_fit(memory, count):
    size = physical_batch(megabytes, wanted=64, device=CPU, memory=round(memory * MB))
    assert count <= size <= memory / MARGIN + 1e-9 or size == count == 64


def test_every_thread_has_its_share_of_the_memory(two_threads):
    # 20 MB for each of two threads: fewer examples than the 32 that it computes at once.
    size = physical_batch(megabytes, wanted=64, at_once=32, device=CPU, memory=round(40 * MARGIN * MB))
    assert 2 <= size <= 40
    assert size % 2 == 0
    # What a thread computes at once fits, so that the whole does: it never is in memory as a whole.
    assert physical_batch(megabytes, wanted=640, at_once=8, device=CPU, memory=round(40 * MARGIN * MB)) == 640
    assert torch.get_num_threads() == 2


def test_too_little_memory_is_refused_and_the_line_says_how_much_is_needed():
    with pytest.raises(
        InputError, match=r"one example takes about 1\.3 MB of memory, and 1\.17 MB may be taken.*--memory"
    ):
        physical_batch(megabytes, wanted=64, device=CPU, memory=round(0.9 * MARGIN * MB))
    with pytest.raises(InputError, match=r"64 examples take about 83\.2 MB"):
        physical_batch(megabytes, wanted=128, least=64, device=CPU, memory=60 * MB)


def test_what_the_device_itself_finds_too_much_is_made_smaller():
    def compute(count):
        if count > 10:
            raise torch.OutOfMemoryError("no")
        return megabytes(count)

    assert physical_batch(compute, wanted=64, device=CPU, memory=1000 * MB) == 8


@pytest.mark.parametrize(("text", "size"), [("4GB", 4 * 10**9), ("1.5g", 1.5 * 10**9), ("512 MiB", 2**29), ("7", 7)])
def test_sizes_are_read_with_their_units(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "4 gallons", "1e9", "nan"])
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(InputError, match="not an amount of memory"):
        parse_memory(text)


def test_a_physical_batch_and_a_memory_to_find_it_for_are_too_much():
    with pytest.raises(InputError, match="leave out --physical-batch"):
        Execution(physical_batch=3, memory=MB)
    with pytest.raises(InputError, match="at least 1"):
        Execution(physical_batch=0)


RECIPE = Recipe(
    model="convnet-8", techniques=("gn",), epsilon=8.0, batch_size=32, epochs=1, learning_rate=0.1, secret_noise=False
)


def test_less_memory_gives_smaller_physical_batches_and_the_same_weights(data, two_threads):
    weights, sizes = [], []
    for memory in (None, 6 * MB, 3 * MB):
        training = Training(RECIPE, data, Execution("cpu", memory=memory, compute="float32"))
        if memory is None:
            start = copy.deepcopy(training.state.to_checkpoint({}))
        training.state.restore(copy.deepcopy(start))  # whose streams differ otherwise
        with common_noise():
            list(training.run_updates(3))
        sizes.append(training.physical_batch)
        weights.append(torch.cat([p.detach().flatten() for p in training.state.model.parameters()]))
    assert sizes[0] > sizes[1] > sizes[2] >= 1
    assert sizes[0] == 128 * 4
    for other in weights[1:]:
        assert torch.allclose(weights[0], other, atol=1e-5)


def test_looking_for_the_physical_batch_leaves_no_trace_in_batch_norm(data):
    recipe = Recipe(model="convnet-8", batch_size=32, epochs=1)
    training = Training(recipe, data, Execution("cpu", compute="float32"))
    norms = [m for m in training.state.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(int(m.num_batches_tracked) == 0 and bool((m.running_mean == 0).all()) for m in norms)


def test_the_peak_that_was_found_holds_for_real(data):
    """The watched peak of a clipped sum is that of torch's own profiler, to a tenth."""
    training = Training(RECIPE, data, Execution("cpu", compute="float32"))
    clipping = training.private.clipping
    images, labels = torch.zeros(16, 1, 3, 16, 16), torch.zeros(16, dtype=torch.int64)
    clipping(images, labels)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        watched = peak_of(lambda: clipping(images, labels))
        with torch.profiler.profile(profile_memory=True) as profile:
            clipping(images, labels)
    finally:
        torch.set_num_threads(before)
    now = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    assert 0.9 * peak < watched < 1.1 * peak
