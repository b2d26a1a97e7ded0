"""Threads compute side by side only where nothing of one thread's examples can reach another's.

Guards: a container that a network fills and empties in each pass, as U-Nets do with what they skip, is the same object
in two threads: one takes what the other put there, and no comparison before and after sees it.
"""

import functools
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipping_cases import CLASSES, batch
from trilemma.models import build
from trilemma.privacy import Clipping, clipped_gradient_sum
from trilemma.privacy.gradients.sums import CrossEntropy
from trilemma.privacy.structure import keeps_nothing


class Skips(nn.Module):
    """Puts its inputs on a stack and takes them off again, leaving time for another thread in between."""

    def __init__(self):
        super().__init__()
        self.inner, self.head, self.skips = nn.Linear(192, 192), nn.Linear(192, CLASSES), []

    def forward(self, images):
        self.skips.append(images.flatten(1))
        time.sleep(0.02)
        return self.head(self.inner(self.skips[-1]).relu() + self.skips.pop(0))


def distance(first, second):
    return sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5


def test_threads_do_not_share_what_a_network_holds_for_a_moment(two_threads):
    torch.manual_seed(0)
    model, (images, labels) = Skips(), batch(8, 1)
    sums, _ = clipped_gradient_sum(model, images, labels)
    expected, _ = clipped_gradient_sum(model, images, labels, method="loop")
    assert distance(sums, expected) < 1e-5


def test_calls_of_two_threads_do_not_share_what_a_network_holds_for_a_moment():
    torch.manual_seed(0)
    model, batches = Skips(), [batch(3, 1), batch(3, 1)]
    batches[1][0].mul_(-2)
    expected = [clipped_gradient_sum(model, *b, method="loop")[0] for b in batches]
    together = threading.Barrier(2)

    def call(images_and_labels):
        together.wait()
        return Clipping(model, 1.0)(*images_and_labels).sums

    with ThreadPoolExecutor(2) as pool:
        for sums, alone in zip(pool.map(call, batches), expected, strict=True):
            assert distance(sums, alone) < 1e-5


def noting_threads(logits, labels):
    """Keeps them in a variable of an installed module, where the comparison of a loss's contents does not see it."""
    threading.seen_by_a_test.append(threading.get_ident())
    return F.cross_entropy(logits, labels, reduction="none")


def test_a_loss_of_one_s_own_runs_in_one_thread(two_threads, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "seen_by_a_test", seen, raising=False)
    torch.manual_seed(0)
    Clipping(nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES)), 1.0, "auto", noting_threads)(*batch(8, 1))
    assert set(seen) == {threading.get_ident()}


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
@pytest.mark.parametrize("name", ["wrn-16-1", "convnet", "prior-conv"])
def test_our_networks_keep_nothing(name, norm):
    generator = torch.Generator().manual_seed(0)
    for standardized in (False, True):
        made = {"classes": 3, "image_shape": (3, 32, 32), "norm": norm, "standardized": standardized}
        assert keeps_nothing(build(name, **made, generator=generator))


def test_layers_of_torch_keep_nothing():
    assert keeps_nothing(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.GELU(), nn.MaxPool2d(2), nn.Flatten()))
    assert keeps_nothing(nn.Sequential(OrderedDict(norm=nn.GroupNorm(2, 4), up=nn.Upsample(scale_factor=2))))
    assert keeps_nothing(nn.Linear(3, 3))


class Subclass(nn.ReLU):
    pass


class Disguised(nn.ReLU):
    pass


Disguised.__module__, Disguised.__name__ = "trilemma.models.layers", "StandardizedConv2d"


class AlsoDisguised(nn.ReLU):
    pass


AlsoDisguised.__module__ = "trilemma.no_such_module"


class Watched(torch.Tensor):
    """A tensor that runs code of its own."""


def with_forward(layer):
    layer.forward = F.relu


def with_method(layer):
    layer.extra_repr = lambda: ""


def with_container(layer):
    layer.inplace = [object()]


def with_dict_of_objects(layer):
    layer.inplace = {"on": object()}


def with_hook(layer):
    layer.register_forward_hook(lambda *_: None)


def with_hook_before(layer):
    layer.register_forward_pre_hook(lambda *_: None)


def with_hook_of_gradients(layer):
    layer.register_full_backward_hook(lambda *_: None)


def with_buffer_of_one_s_own(layer):
    layer._buffers["seen"] = torch.zeros(1).as_subclass(Watched)


CHANGES = (
    *(with_forward, with_method, with_container, with_dict_of_objects),
    *(with_hook, with_hook_before, with_hook_of_gradients, with_buffer_of_one_s_own),
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_layer_that_was_changed_may_keep_something(change):
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU()))
    assert keeps_nothing(model)
    change(model[1][0])
    assert not keeps_nothing(model)


@pytest.mark.parametrize("layer", [Subclass, Disguised, AlsoDisguised, Skips, lambda: nn.TransformerEncoderLayer(4, 2)])
def test_other_layers_may_keep_something(layer):
    assert not keeps_nothing(nn.Sequential(nn.Flatten(), layer()))


def test_what_is_changed_for_all_networks_may_keep_something(monkeypatch):
    model = nn.Sequential(nn.Flatten(), nn.ReLU())
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert not keeps_nothing(model)
    finally:
        handle.remove()
    assert keeps_nothing(model)
    real = nn.ReLU.forward
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, images: images.relu())
    assert not keeps_nothing(model)
    monkeypatch.setattr(nn.ReLU, "forward", functools.wraps(real)(lambda self, images: real(self, images)))
    assert nn.ReLU.forward.__module__.startswith("torch.")
    assert not keeps_nothing(model)


def test_a_subclass_of_our_loss_is_not_ours():
    class Own(CrossEntropy):
        pass

    model = nn.Linear(3, 3)
    assert Clipping(model, 1.0).objective.side_by_side
    assert Clipping(model, 1.0, loss=CrossEntropy(0.1)).objective.side_by_side
    assert not Clipping(model, 1.0, loss=Own()).objective.side_by_side
    assert not Clipping(Skips(), 1.0).objective.side_by_side
