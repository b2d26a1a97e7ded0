"""No memory, hook, gradient, mode or random number is left by a call, on any number of cores."""

import copy
import gc

import pytest
import torch
from torch import nn

from clipping_cases import CLASSES, FORMS, METHODS, SHAPE, batch, force, prepared
from fast_networks import FAST, convolutional
from trilemma.models import build
from trilemma.privacy import Clipping, check_network, clipped_gradient_sum
from trilemma.privacy.gradients import contributions, layerwise
from trilemma.threads import one_each
from trilemma.training.memory import _Watch


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_cores_change_nothing_but_rounding(oracle, monkeypatch, threads):
    """Any number of examples will do, also fewer than cores; torch's own number of threads is restored."""
    model = prepared(lambda: build("wrn-10-1", classes=CLASSES, image_shape=SHAPE, norm="group", standardized=True,
                                   generator=torch.Generator().manual_seed(0)))  # fmt: skip
    images, labels = batch(5, 2)
    expected = Clipping(model, 0.5, "loop")(images, labels)
    before = torch.get_num_threads()
    monkeypatch.setattr(layerwise, "_VIEWS_AT_ONCE", 4)
    for form in FORMS:
        torch.set_num_threads(threads)
        try:
            with monkeypatch.context() as patch:
                force(patch, form)
                result = Clipping(model, 0.5, "layerwise")(images, labels)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        torch.testing.assert_close(result.norms, expected.norms, rtol=1e-5, atol=0)
        torch.testing.assert_close(result.losses, expected.losses, rtol=1e-5, atol=1e-6)
        assert oracle.relative_error(result.sums, expected.sums) <= 1e-5, form


def test_nothing_that_is_large_waits_for_the_garbage_collector():
    """Gradients of examples in a cycle of references would pile up from batch to batch."""
    model = prepared(FAST["standardized"])
    clipping = Clipping(model, 1.0, "layerwise")
    clipping(*batch(4, 1))
    large = (contributions.MaterializedConvolution, contributions.Ghost, contributions.Materialized)
    gc.collect()
    gc.disable()
    try:
        clipping(*batch(4, 1))
        assert [o for o in gc.get_objects() if type(o) in large] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("name", sorted(FAST))
def test_nothing_is_left_of_a_batch(name):
    """A circle through autograd's graph is never collected: what it holds would pile up from update to update."""
    clipping = Clipping(prepared(FAST[name]), 1.0, "layerwise")
    images, labels = batch(4, 2)
    watch = _Watch()
    with one_each(), watch:  # what other threads make is not seen
        layerwise.one_pass(clipping.objective, images, labels)
    assert watch.peak > 0
    gc.collect()
    assert watch.now == 0


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(method):
    """Hooks, parameters, ``.grad``, buffers, mode and global generators are as they were."""
    torch.manual_seed(0)
    model = convolutional(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Tanh(), channels=6)
    model.register_buffer("constant", torch.ones(3))
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    model[1].eval()
    images, labels = batch(3, 2)
    images.requires_grad_()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    objects = [id(p) for p in model.parameters()]
    state = torch.get_rng_state()
    Clipping(model, 1.0, method)(images, labels)
    clipped_gradient_sum(model, images.detach(), labels, method=method)
    check_network(model, SHAPE)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()]
    assert objects == [id(p) for p in model.parameters()]
    assert images.grad is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    for p in model.parameters():
        assert p.requires_grad
        assert torch.equal(p.grad, torch.full_like(p, 7.0))
        assert p._backward_hooks is None
    for module in model.modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            assert not getattr(module, kind)


def test_no_hook_is_left_behind_by_a_failure():
    """The second call must not count the first one's half-done gradients."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    images, labels = batch(3, 1)

    def broken(logits, labels):
        raise ArithmeticError("the loss fails")

    for method in METHODS:
        with pytest.raises(ArithmeticError):
            Clipping(model, 1.0, method, broken)(images, labels)
        assert not any(m._forward_hooks for m in model.modules())
