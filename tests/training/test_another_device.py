"""An update whose tensors are all on another device than the CPU, as on a GPU: torch's "meta" device, which knows
shapes and types and no numbers, refuses to mix them with the CPU's, and to bring them back to it."""

import contextlib
import traceback
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trilemma.models.prior import Features
from trilemma.privacy import Clipping, noise, validation
from trilemma.standardization import StandardizedConv2d
from trilemma.training import inputs, optimizers, streams
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe


class Waits(TorchDispatchMode):
    """Counts, by module, where the host asks for a number, and so waits for the device.  Everything is finite, nothing
    inexact, and a number is 1."""

    def __init__(self):
        super().__init__()
        self.by_module = Counter()
        self.asked = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type == "meta":
            frames = [f.filename for f in traceback.extract_stack() if "trilemma" in f.filename]
            self.by_module[next(f for f in reversed(frames) if "tests" not in f).rpartition("/")[2]] += 1
            return float(self.asked is not torch.ops.aten.any)
        if func is torch.ops.aten.equal.default and args[0].device.type == "meta":  # whether the network kept something
            return True
        self.asked = func._overloadpacket
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_meta(monkeypatch, digits):
    """Makes trainings on the device "meta", in which nothing asks for a number."""
    monkeypatch.setattr(streams, "weights_digest", lambda model: "not to be read")
    monkeypatch.setattr(noise, "tensors_digest", lambda sums: "not to be read")  # the one thing that leaves the device
    monkeypatch.setattr(validation, "check_network", lambda *args, **kwargs: SimpleNamespace(reason=None))
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())  # it is not for meta

    def make(**choices):
        recipe = Recipe(batch_size=16, epochs=2, epsilon=8.0, delta=1e-3, **choices)
        data = enlarged(digits) if recipe.model.startswith("prior") else digits
        training = Training(recipe, data, Execution(device="meta", physical_batch=8, compute="float32"))
        training.state.evidence = None  # which is numbers
        return training

    return make


@pytest.fixture
def made_up_maps(monkeypatch):
    """Maps of 16 x 16 pixels out of nothing."""

    def maps_of(splits, seed, progress):
        segment = torch.zeros(max(map(len, splits)), 1, 96, 3, 3, dtype=torch.float16)
        places = [np.column_stack([np.zeros(len(split), int), np.arange(len(split))]) for split in splits]
        return [Features((segment,), where, (1, 96, 3, 3)) for where in places]

    monkeypatch.setattr(inputs, "maps_of", maps_of)
    monkeypatch.setattr(inputs, "fitted_maps", lambda *_: SimpleNamespace(signs=torch.ones(96)))


def enlarged(data):
    """Each pixel four times."""
    splits = [
        replace(split, images=split.images.repeat(2, axis=2).repeat(2, axis=3)) for split in (data.train, data.test)
    ]
    return replace(data, train=splits[0], test=splits[1])


@pytest.mark.usefixtures("made_up_maps")
@pytest.mark.parametrize("model", ["wrn-10-1", "convnet-4", "prior-conv-4"])
def test_the_whole_update_stays_on_the_device(monkeypatch, on_meta, model):
    physical, clip = [], Clipping.__call__

    def noting(self, images, labels):
        physical.append(len(labels))
        return clip(self, images, labels)

    monkeypatch.setattr(Clipping, "__call__", noting)
    waits = Waits()
    with waits:
        training = on_meta(model=model, techniques=("gn", "ws", "am", "pa", "sat"), views=3, momentum=0.9)
        training.step()
        physical.clear()
        waits.by_module.clear()
        training.step()
    state = training.state
    assert 0 < max(physical) <= 8
    # A physical batch: are all gradients finite, and is a norm of a standardized layer inexact?  A logical one: the
    # mean loss, and the length of SAT's step uphill.
    layers = sum(type(module) is StandardizedConv2d for module in state.model.modules())
    expected = {"layerwise.py": len(physical), "rules.py": layers * len(physical), "loop.py": 1, "sharpness.py": 1}
    assert waits.by_module == expected
    # Numbers that an optimizer keeps are tensors of the CPU, for the checkpoint alone; their names end in their type.
    moments = optimizers.tensors_of(state.optimizer, state.model)
    tensors = [
        state.model.state_dict(),
        {name: value for name, value in moments.items() if ":" not in name},
        state.average,
        state.previous,
    ]
    assert all(tensors)
    assert {value.device.type for values in tensors for value in values.values()} == {"meta"}


@pytest.mark.parametrize("forgotten", ["images", "labels"])
def test_what_is_left_on_the_cpu_is_noticed(on_meta, forgotten):
    """The meta device refuses what the test above relies on it to refuse."""
    with Waits():
        training = on_meta(model="convnet-4", techniques=("gn",))
        if forgotten == "images":
            object.__setattr__(training.examples.inputs, "images", torch.zeros(96, 1, 8, 8))
        else:
            training.examples.labels = torch.zeros(96, dtype=torch.int64)
        with pytest.raises((RuntimeError, NotImplementedError)):
            training.step()
