"""Optimizers are torch's or from outside; they see released gradients alone, and resume to the bit."""

import copy
import sys

import pytest
import torch

from trilemma.errors import InputError
from trilemma.privacy.plan import Plan
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe

OUTSIDE = """
import torch


class Counting(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr, "seen": 0})

    def step(self):
        for group in self.param_groups:
            group["seen"] += 1
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["count"] = self.state[p].get("count", 0) + 1
                    self.state[p]["share"] = 1 / self.state[p]["count"]
                    p.sub_(p.grad.mul_(group["lr"] * self.state[p]["share"] / group["seen"]))


def counting(parameters, *, learning_rate):
    return Counting(parameters, learning_rate)


class Double(Counting):
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    moment = self.state[p].setdefault("moment", torch.zeros_like(p, dtype=torch.float64))
                    moment.mul_(0.9).add_(p.grad)
                    p.sub_((moment * group["lr"]).to(p))


def double(parameters, *, learning_rate):
    return Double(parameters, learning_rate)


def two_groups(parameters, *, learning_rate):
    biases, weights = ([p for p in parameters if (p.dim() == 1) == flat] for flat in (True, False))
    return torch.optim.Adam([{"params": biases}, {"params": weights, "weight_decay": 0.1}], learning_rate)


class Elsewhere(Counting):
    def step(self):
        self.state["all"]["count"] = self.state["all"].get("count", 0) + 1


def elsewhere(parameters, *, learning_rate):
    return Elsewhere(parameters, learning_rate)


def wrong(parameters, *, learning_rate):
    return object()


def closure(parameters, *, learning_rate):
    return torch.optim.LBFGS(parameters, learning_rate)


def signature(parameters):
    return Counting(parameters, 0.1)
"""


def training(data, **values):
    choices = {"model": "convnet-4", "batch_size": 24, "epochs": 4.0, "epsilon": 8.0, "secret_noise": False}
    return Training(Recipe(**(choices | values)), data, Execution("cpu", None, "float32"))


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "own_optimizers.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_optimizers", None)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_it_is_torchs_and_sees_what_was_released_alone(digits, monkeypatch, name, kind):
    """Guards: an optimizer that sees the sum before the noise; weight decay or the learning rate not passed on."""
    released = []
    real = Plan.privatize
    monkeypatch.setattr(Plan, "privatize", lambda *arguments: released.append(real(*arguments)) or dict(released[-1]))
    made = training(digits, optimizer=name, weight_decay=0.1, learning_rate=0.02, schedule="cosine")
    twin = {n: p.detach().clone().requires_grad_() for n, p in made.state.model.named_parameters()}
    oracle = kind(twin.values(), lr=1.0, weight_decay=0.1)
    for update in range(3):
        made.step()
        for n, p in twin.items():
            p.grad = released[-1][n].clone()
        oracle.param_groups[0]["lr"] = 0.02 * (1 + torch.cos(torch.tensor(torch.pi * update / made.course.updates))) / 2
        oracle.step()
    for n, p in made.state.model.named_parameters():
        torch.testing.assert_close(p.detach(), twin[n].detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "own_optimizers:counting", "own_optimizers:double", "own_optimizers:two_groups"]
)
def test_it_resumes_to_the_bit(digits, outside, name):
    """Guards: moments, a number of steps or a number of a group left out of a checkpoint."""
    values = {"optimizer": name, "techniques": ("sat",), "momentum": 0.9 if name == "sgd" else 0.0}
    first, other = training(digits, **values), training(digits, **values)
    list(first.run_updates(3))
    other.state.restore(copy.deepcopy(first.state.to_checkpoint({})))
    for made in (first, other):
        list(made.run_updates(5))
    first_tensors, other_tensors = (made.state.to_checkpoint({}).tensors for made in (first, other))
    assert first_tensors.keys() == other_tensors.keys()
    assert any(key.startswith("optimizer/") for key in first_tensors)
    for key, value in first_tensors.items():
        assert value.numpy().tobytes() == other_tensors[key].numpy().tobytes(), key


def test_a_checkpoint_of_version_0_2_goes_on(digits):
    first, other = (training(digits, momentum=0.9) for _ in range(2))
    list(first.run_updates(3))
    saved = first.state.to_checkpoint({})
    tensors = {
        f"momentum/{key.split('/')[1]}" if key.endswith("/momentum_buffer") else key: value.clone()
        for key, value in saved.tensors.items()
        if not key.startswith("optimizer/#")
    }
    other.state.restore(type(saved)(tensors, saved.header))
    for made in (first, other):
        made.step()
    for a, b in zip(first.state.model.parameters(), other.state.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum is of sgd"),
        ({"optimizer": "own_optimizers:wrong"}, "must return a torch.optim.Optimizer, not object"),
        ({"optimizer": "own_optimizers:signature"}, "another signature"),
        ({"optimizer": "own_optimizers:counting", "weight_decay": 0.1}, "not passed on"),
        ({"optimizer": "own_optimizers:none"}, "has no 'none'"),
        ({"optimizer": "own_optimizers:closure"}, "LBFGS"),
        ({"optimizer": "own_optimizers:elsewhere"}, "belongs to no parameter"),
    ],
)
def test_what_cannot_be_used_is_one_line(digits, outside, values, words):
    def one_update():
        made = training(digits, **values)
        made.step()
        made.state.to_checkpoint({})

    with pytest.raises(InputError, match=words) as error:
        one_update()
    assert "\n" not in str(error.value)


def test_recipes_without_one_keep_their_fingerprints():
    assert "optimizer" not in Recipe().to_dict()
    assert Recipe(optimizer="adam").fingerprint != Recipe().fingerprint
