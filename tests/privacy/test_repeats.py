"""What a network or a loss does to one example must be the same again after others, wherever it could keep something.

Comparisons of what they hold are switched off here (``behavior_alone``): what is refused is refused for what it does.
"""

import ctypes
import itertools
import os
import random
import secrets
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import trilemma as tl
from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping, check_network
from trilemma.privacy import clipping as clipping_module
from trilemma.privacy.gradients.sums import ClippedSum
from trilemma.privacy.repeats import (
    ROUNDED_TOLERANCE,
    TOLERANCE,
    Responses,
    gradient_alone,
    refuse_other_gradient,
    refuse_other_responses,
    tolerance,
)
from trilemma.training import evaluation
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe

REFUSED = "not the same before and after others"
REFUSED_EVALUATION = "not the same before and after an evaluation"


@pytest.fixture
def behavior_alone(monkeypatch):
    for module in ("clipping", "validation"):
        monkeypatch.setattr(f"trilemma.privacy.{module}.refuse_random_layers", lambda *_, **__: nullcontext())
    for module in ("privacy.clipping", "training.gradients", "training.evaluation"):
        monkeypatch.setattr(f"trilemma.{module}.refuse_changed_state", lambda *_: nullcontext())
    monkeypatch.setattr("trilemma.privacy.validation.refuse_hidden", lambda *_: None)
    monkeypatch.setattr("trilemma.privacy.validation.state_of", lambda *_, **__: {})


# ---- places that no list of places names ---------------------------------------------------------------------------

FILE = Path(tempfile.gettempdir()) / f"what a network of a test keeps {os.getpid()}"
MEMORY = ctypes.create_string_buffer(8)
ADDRESS = ctypes.addressof(MEMORY)
REMEMBERED = 0.0


class Box:
    value = 0.0


def at_address():
    return ctypes.cast(ADDRESS, ctypes.POINTER(ctypes.c_double))


def in_iterator():
    """An object inside an iterator of compiled code, which is a variable of an installed package."""
    if not hasattr(np, "turns_of_a_test"):
        np.turns_of_a_test = itertools.cycle([Box()])
    return next(np.turns_of_a_test)


PLACES = {
    "global variable by a computed name": (
        lambda: sys.modules[__name__].__dict__["REMEM" + "BERED"],
        lambda value: sys.modules[__name__].__dict__.update({"REMEM" + "BERED": value}),
    ),
    "file": (lambda: float(FILE.read_text() if FILE.exists() else 0), lambda value: FILE.write_text(repr(value))),
    "variable of a package": (
        lambda: getattr(torch, "kept_by_a_test", 0.0),
        lambda value: setattr(torch, "kept_by_a_test", value),
    ),
    "variable of numpy": (
        lambda: getattr(np.linalg, "kept_by_a_test", 0.0),
        lambda value: setattr(np.linalg, "kept_by_a_test", value),
    ),
    "memory of compiled code": (lambda: at_address()[0], lambda value: at_address().__setitem__(0, value)),
    "object in an iterator of a package": (
        lambda: in_iterator().value,
        lambda value: setattr(in_iterator(), "value", value),
    ),
    "environment": (
        lambda: float(os.environ.get("KEPT_BY_A_TEST", 0)),
        lambda value: os.environ.__setitem__("KEPT_BY_A_TEST", repr(value)),
    ),
}

RANDOM = {
    "fresh generator": lambda: np.random.default_rng().random(),
    "fresh generator of torch": lambda: float(torch.rand(1, generator=seeded())),
    "secrets": lambda: secrets.randbits(32) / 2**32,
    "system": lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
    "clock": lambda: time.time_ns() % 1_000_003 / 1_000_003,
}


def seeded():
    generator = torch.Generator()
    generator.seed()
    return generator


ON = [False]


@pytest.fixture(autouse=True)
def nothing_kept():
    """Networks keep something from the moment at which a test says so: until then they pass any check."""
    ON[0] = False
    yield
    for _, write in PLACES.values():
        write(0.0)
    FILE.unlink(missing_ok=True)
    os.environ.pop("KEPT_BY_A_TEST", None)
    for module, name in ((torch, "kept_by_a_test"), (np.linalg, "kept_by_a_test"), (np, "turns_of_a_test")):
        vars(module).pop(name, None)


class Keeps(nn.Module):
    """A linear layer of images that are scaled by the brightness of those of the pass before."""

    def __init__(self, place, reads=lambda layer: True, writes=lambda layer: True):
        super().__init__()
        self.place, self.reads, self.writes = place, reads, writes
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        read, write = PLACES[self.place]
        scale = 1.0
        if ON[0] and self.reads(self):
            scale = 1 + read()
        if ON[0] and self.writes(self):
            write(float(images.detach().mean()))
        return self.linear((images * scale).flatten(1))


class Draws(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.linear = kind, nn.Linear(64, 10)

    def forward(self, images):
        return self.linear((images * (1 + RANDOM[self.kind]() if ON[0] else 1)).flatten(1))


def batch(count=8, views=1, seed=0, size=8):
    """Images of very different brightness, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    brightness = 4 * torch.rand(count, 1, 1, 1, 1, generator=generator)
    return torch.rand(count, views, 1, size, size, generator=generator) + brightness, torch.arange(count) % 10


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["loop", "auto"])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_kept_anywhere_is_refused(place, method):
    """Guards: the next place that nobody thought of."""
    torch.manual_seed(0)
    clipping = Clipping(Keeps(place), 1.0, method)
    clipping(*batch())
    ON[0] = True
    with pytest.raises(PrivacyError, match=REFUSED):
        clipping(*batch(seed=1))


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["loop", "auto"])
@pytest.mark.parametrize("kind", RANDOM)
def test_random_numbers_from_anywhere_are_refused(kind, method):
    torch.manual_seed(0)
    clipping = Clipping(Draws(kind), 1.0, method)
    clipping(*batch(views=2))
    ON[0] = True
    with pytest.raises(PrivacyError, match=f"{REFUSED}|than in its batch"):
        [clipping(*batch(views=2)) for _ in range(3)]  # of which one alone may draw about the same twice


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["loop", "auto"])
def test_a_batch_of_one_is_no_exception(method):
    """What is kept is of the call before."""
    torch.manual_seed(0)
    clipping = Clipping(Keeps("file"), 1.0, method)
    clipping(*batch(1))
    ON[0] = True
    with pytest.raises(PrivacyError, match=REFUSED):
        [clipping(*batch(1, seed=seed)) for seed in (1, 2)]


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["loop", "auto"])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_same_batch_each_time_is_no_exception(monkeypatch, method, count):
    """As with full batches: the last image of all is the same before each call."""
    torch.manual_seed(0)
    clipping = Clipping(Keeps("file"), 1.0, method)
    clipping(*batch(count))
    ON[0] = True
    with monkeypatch.context() as patched:
        patched.setattr(clipping_module, "refuse_other_gradient", lambda *_: None)
        patched.setattr(clipping_module, "refuse_other_in_batch", lambda *_: None)
        for _ in range(3):
            clipping(*batch(count))
    with pytest.raises(PrivacyError, match=REFUSED):
        [clipping(*batch(count)) for _ in range(2)]


class Left(nn.Module):
    """Leaves what it skips for the next pass, which takes it, every second time."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        left = vars(torch).pop("kept_by_a_test", None)
        if left is None and ON[0]:
            torch.kept_by_a_test = images.detach().mean()
        return self.linear((images * (1 if left is None else left)).flatten(1))


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("count", [4, 5])
def test_what_one_pass_leaves_for_the_next_is_refused(count):
    torch.manual_seed(0)
    clipping = Clipping(Left(), 1.0, "loop")
    clipping(*batch(count))
    ON[0] = True
    with pytest.raises(PrivacyError, match=f"{REFUSED}|than in its batch"):
        [clipping(*batch(count, seed=seed)) for seed in range(3)]


class Loss:
    """Cross-entropy that keeps something, or draws."""

    def __init__(self, place=None, kind=None):
        self.place, self.kind = place, kind

    def __call__(self, logits, labels):
        scale = 1.0
        if self.place:
            read, write = PLACES[self.place]
            scale = 1 + read()
            write(float(logits.detach().mean()))
        if self.kind:
            scale = 1 + RANDOM[self.kind]()
        return F.cross_entropy(logits, labels, reduction="none") * scale


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["linear", "layerwise", "loop"])
@pytest.mark.parametrize(("place", "kind"), [("file", None), ("variable of a package", None), (None, "secrets")])
def test_a_loss_is_watched_alike(method, place, kind):
    """Also beside a network that keeps nothing; it scales each gradient, which a clip would hide."""
    torch.manual_seed(0)
    images, labels = batch(views=2)
    if method == "linear":
        network, images = nn.Linear(64, 10), images.flatten(2)
    else:
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(PrivacyError, match=f"{REFUSED}|than in its batch"):
        Clipping(network, 1e-3, method, Loss(place, kind))(images, labels)


class Once(nn.Module):
    """Scales by the brightness of the first images that it ever saw."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        if not hasattr(torch, "kept_by_a_test"):
            torch.kept_by_a_test = float(images.detach().mean())
        return self.linear((images * (1 + torch.kept_by_a_test)).flatten(1))


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["loop", "auto"])
def test_what_the_first_pass_of_all_sets_is_no_image_s(method):
    values = []
    for seed in (0, 1):
        Clipping(Once(), 1.0, method)(*batch(seed=seed))
        values.append(vars(torch).pop("kept_by_a_test"))
    assert values[0] == values[1]


# ---- the check before the first update, updates, evaluations --------------------------------------------------------


class Centered(torch.autograd.Function):
    """Takes from each gradient what was kept: outputs show nothing of it."""

    @staticmethod
    def forward(ctx, values, keep):
        ctx.keep = keep
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        centered = gradient - getattr(torch, "kept_by_a_test", 0.0)
        if ctx.keep:
            torch.kept_by_a_test = gradient.mean(0)
        return centered, None


class InBackward(nn.Sequential):
    """Keeps the gradient of each pass, or the outputs of each evaluation."""

    def __init__(self, of):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.of_evaluations = of == "backward, of evaluations"

    def forward(self, images):
        outputs = super().forward(images)
        if self.of_evaluations and not self.training:
            torch.kept_by_a_test = outputs.mean(0)
        return Centered.apply(outputs, not self.of_evaluations)


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("of", ["backward", "backward, of evaluations"])
def test_the_check_sees_what_gradients_alone_show(of):
    with pytest.raises(PrivacyError, match=REFUSED):
        check_network(InBackward(of), (1, 8, 8))


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("place", PLACES)
def test_the_check_sees_what_is_kept_anywhere(place):
    ON[0] = True
    with pytest.raises(PrivacyError, match=f"other outputs for the same images each time|mixes examples|{REFUSED}"):
        check_network(Keeps(place), (1, 8, 8))


RECIPE = Recipe(model="mine", epsilon=1.0, batch_size=60, epochs=2, learning_rate=0.5, secret_noise=False)


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits", limit=120, test_limit=120)


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("techniques", [(), ("am", "pa", "sat")])
@pytest.mark.parametrize("place", ["file", "variable of a package"])
def test_an_update_is_watched_also_uphill(digits, place, techniques):
    """DP-SAT computes gradients at other weights, which are put back."""
    torch.manual_seed(0)
    training = Training(replace(RECIPE, techniques=techniques, views=3), digits, network=Keeps(place))
    list(training.run_updates(2))
    ON[0] = True
    with pytest.raises(PrivacyError, match=REFUSED):
        list(training.run_updates(3))


SEEN_IN_EVALUATION = {
    "always, and seen in gradients": (lambda layer: layer.training, lambda layer: True),
    "always, and seen in evaluations": (lambda layer: not layer.training, lambda layer: True),
    "always": (lambda layer: True, lambda layer: True),
    "and seen in gradients": (lambda layer: layer.training, lambda layer: not layer.training),
    "and seen in evaluations": (lambda layer: not layer.training, lambda layer: not layer.training),
    "and seen in gradients alone": (lambda layer: torch.is_grad_enabled(), lambda layer: not torch.is_grad_enabled()),
}


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("techniques", [(), ("pa", "sat")])
@pytest.mark.parametrize("kind", SEEN_IN_EVALUATION)
@pytest.mark.parametrize("place", ["file", "memory of compiled code"])
def test_what_an_evaluation_leaves_is_refused(digits, place, kind, techniques):
    """Guards: a mean of the images of an evaluation, which moves every later gradient."""
    torch.manual_seed(0)
    network = Keeps(place, *SEEN_IN_EVALUATION[kind])
    training = Training(replace(RECIPE, techniques=techniques), digits, network=network)
    list(training.run_updates(2))
    weights = {name: value.clone() for name, value in training.state.model.state_dict().items()}
    training.logits("train")
    ON[0] = True
    with pytest.raises(PrivacyError, match=REFUSED_EVALUATION):
        training.logits("train")
    assert training.state.model.training
    assert all(torch.equal(value, weights[name]) for name, value in training.state.model.state_dict().items())


class FrozenPart(nn.Sequential):
    """Keeps a part in evaluation mode, whatever mode it is put into."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_that_stays_in_evaluation_mode_is_asked_as_updates_ask_it(digits, part):
    network = FrozenPart().train()
    training = Training(RECIPE, digits, network=network)
    list(training.run_updates(1))
    state = torch.get_rng_state()
    training.logits(part)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in training.state.model] == [True, False, True]


def test_an_evaluation_without_a_budget_is_not_watched(digits):
    torch.manual_seed(0)
    training = Training(replace(RECIPE, epsilon=None, delta=None, secret_noise=True), digits, network=Keeps("file"))
    ON[0] = True
    training.logits("train")


# ---- what counts as the same ----------------------------------------------------------------------------------------


def one(value, norm=None, limit=1.0):
    sums = {"weight": torch.tensor([value, 0.0]), "bias": torch.zeros(1)}
    norms = torch.tensor([abs(value) if norm is None else norm], dtype=torch.float32)
    return ClippedSum(sums, norms, torch.zeros(1), limit)


@pytest.mark.parametrize("limit", [1e-30, 1.0, 1e30])
def test_gradients_may_differ_by_rounding_and_no_more(limit):
    """However small or large C is: squares of such numbers leave float32.  Norms alone would show nothing here."""

    def moved(by):
        return one((0.5 + by) * limit, 0.5 * limit, limit)

    for allowed in (TOLERANCE, ROUNDED_TOLERANCE):
        refuse_other_gradient(moved(0.0), moved(0.9 * allowed), allowed)
        with pytest.raises(PrivacyError, match=REFUSED):
            refuse_other_gradient(moved(0.0), moved(1.2 * allowed), allowed)


def test_norms_before_the_clip_count_too():
    refuse_other_gradient(one(1.0, 50.0), one(1.0, 50.0 * (1 + 0.9 * TOLERANCE)), TOLERANCE)
    with pytest.raises(PrivacyError, match=REFUSED):
        refuse_other_gradient(one(1.0, 50.0), one(1.0, 50.0 * (1 + 1.2 * TOLERANCE)), TOLERANCE)


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_must_be_so_both_times(norm):
    for other in (float("nan"), float("inf")):
        refuse_other_gradient(one(0.0, norm), one(0.0, other), TOLERANCE)
    for pair in ((one(0.0, norm), one(0.0)), (one(0.0), one(0.0, norm))):
        with pytest.raises(PrivacyError, match=REFUSED):
            refuse_other_gradient(*pair, TOLERANCE)


def test_outputs_are_compared_by_their_size():
    def answer(*outputs):
        return Responses(torch.tensor([outputs]), one(1.0))

    nan, inf = float("nan"), float("inf")
    refuse_other_responses(answer(nan, 100.0), answer(nan, 100.0 * (1 + 0.9 * TOLERANCE)))
    refuse_other_responses(answer(0.0, 0.0), answer(0.0, 0.0))
    refuse_other_responses(answer(nan, nan), answer(nan, inf))
    for first, second in (
        (answer(nan, 100.0), answer(nan, 100.0 * (1 + 1.2 * TOLERANCE))),
        (answer(nan, 1.0), answer(1.0, nan)),
        (answer(0.0, 0.0), answer(0.0, 1e-9)),
        (answer(1.0), Responses(torch.tensor([[1.0]]), one(0.9))),
    ):
        with pytest.raises(PrivacyError, match=REFUSED_EVALUATION):
            refuse_other_responses(first, second)


def test_coarser_types_and_devices_may_differ_by_more():
    assert tolerance(torch.device("cpu")) == TOLERANCE
    assert tolerance(torch.device("cpu"), torch.bfloat16) == ROUNDED_TOLERANCE
    assert tolerance(torch.device("cuda")) == ROUNDED_TOLERANCE


# ---- honest networks -------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Linear(4, 16), nn.Linear(16, 10)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.keys = nn.Linear(16, 48)

    def forward(self, images):
        tokens = self.tokens(F.unfold(images, 2, stride=2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        q, k, v = self.keys(tokens).chunk(3, dim=-1)
        return self.head((tokens + F.scaled_dot_product_attention(q, k, v)).mean(1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.up = nn.ModuleList([nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)])
        self.head, self.skips = nn.Linear(4, 10), []

    def forward(self, images):
        for layer in self.down:
            images = layer(images).relu()
            self.skips.append(images)
            images = F.max_pool2d(images, 2)
        for layer in self.up:
            images = F.interpolate(images, scale_factor=2, mode="bilinear")
            images = layer(torch.cat([images, self.skips.pop()], dim=1)).relu()
        return self.head(images.mean((2, 3)))


class Table(nn.Module):
    """Adds a table of positions that the first pass of all makes."""

    def __init__(self):
        super().__init__()
        self.linear, self.table = nn.Linear(64, 10), None

    def forward(self, images):
        if self.table is None:
            self.table = torch.linspace(0, 1, images.shape[-1])
        return self.linear((images + self.table).flatten(1))


class Own(nn.Sequential):
    """Layers of torch in a class of one's own, which is not known to keep nothing."""


def cnn():
    return Own(
        nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


class WithoutANumber(Own):
    def forward(self, images):
        return super().forward(images) + float("nan") * (images.mean((1, 2, 3)) > 3)[:, None]


class InDouble(Own):
    def forward(self, images):
        return super().forward(images.to(next(self.parameters()).dtype))


def filled(value):
    network = cnn()
    with torch.no_grad():
        network[0].weight.fill_(value)
    return network


def double():
    return InDouble(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)).double()


HONEST = {
    "convolutions": cnn,
    "attention": Attention,
    "skips": UNet,
    "table": Table,
    "float64": double,
    "weights that are no number": lambda: filled(float("nan")),
    "weights that are infinite": lambda: filled(float("inf")),
    "images that give no number": lambda: WithoutANumber(nn.Flatten(), nn.Linear(64, 10)),
    "no gradient": lambda: filled(0.0),
    "transformer": lambda: Own(
        nn.Flatten(2),
        nn.TransformerEncoderLayer(64, 4, 32, dropout=0.0, batch_first=True),
        nn.Flatten(),
        nn.Linear(64, 10),
    ),
}


@pytest.mark.parametrize("compute", [None, torch.bfloat16])
@pytest.mark.parametrize("method", ["loop", "auto"])
@pytest.mark.parametrize("kind", HONEST)
def test_honest_networks_are_not_refused_and_sums_are_what_they_were(monkeypatch, kind, method, compute):
    """Nor do generators move on: what is looked at enters nothing."""
    torch.manual_seed(0)
    network = HONEST[kind]()
    clipping = Clipping(network, 0.5, method, autocast=None if kind == "float64" else compute)
    calls = [batch(5, 2, seed) for seed in range(4)]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    watched = [clipping(*call) for call in calls]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    monkeypatch.setattr(Clipping, "_watched", lambda self, objective, images, labels, compute: (compute(), []))
    for call, total in zip(calls, watched, strict=True):
        alone = clipping(*call)
        assert all(torch.equal(alone.sums[name], total.sums[name]) for name in total.sums)
        assert torch.allclose(alone.norms, total.norms, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("techniques", [(), ("am", "pa", "sat")])
@pytest.mark.parametrize("kind", ["convolutions", "attention", "skips", "table"])
def test_honest_networks_are_trained_and_evaluated(digits, kind, techniques):
    torch.manual_seed(0)
    training = Training(replace(RECIPE, techniques=techniques, views=2), digits, network=HONEST[kind]())
    for updates in (1, 2, 4):
        list(training.run_updates(updates))
        training.logits("train")
        training.logits("test")
    assert training.state.update == 4


@st.composite
def networks(draw):
    """Small networks of classes of one's own, whose layers, sizes, weights and images differ widely."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    layers, channels = [], 1
    for _ in range(draw(st.integers(1, 4))):
        width = draw(st.sampled_from([2, 4, 8]))
        layers.append(nn.Conv2d(channels, width, draw(st.sampled_from([1, 3])), padding="same"))
        channels = width
        # Torch itself refuses groups of one number, such as those of one channel of a map that was pooled to one cell.
        layers += draw(st.sampled_from([[], [nn.GroupNorm(width // 2, width)], [nn.GroupNorm(1, width)]]))
        layers.append(
            draw(st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU(), nn.Softplus(), nn.LeakyReLU(), nn.Identity()]))
        )
        layers += draw(st.sampled_from([[], [nn.Upsample(scale_factor=2)], [nn.MaxPool2d(2, ceil_mode=True)]]))
    network = Own(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(draw(st.sampled_from([0.0, 0.1, 1.0, 3.0, 100.0])))
    return network


@settings(max_examples=200, deadline=None)
@given(
    network=networks(),
    count=st.integers(1, 4),
    views=st.integers(1, 3),
    seed=st.integers(0, 100),
    limit=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]),
    method=st.sampled_from(["loop", "auto"]),
    compute=st.sampled_from([None, torch.bfloat16]),
)
def test_no_honest_network_is_refused(network, count, views, seed, limit, method, compute):
    clipping = Clipping(network, limit, method, autocast=compute)
    for call in range(2):
        clipping(*batch(count, views, seed + call))


def test_networks_known_to_keep_nothing_are_not_computed_again(monkeypatch, digits):
    """Their cost stays as it was, in calls and in evaluations."""

    def never(*_, **__):
        raise AssertionError("computed again")

    recipe = replace(RECIPE, model="convnet-4", techniques=("gn", "ws"), norm_groups=2)
    trainings = [Training(recipe, digits), Training(RECIPE, digits, network=nn.Sequential(*cnn()))]
    monkeypatch.setattr(clipping_module, "gradient_alone", never)
    monkeypatch.setattr(evaluation, "responses", never)
    for training in trainings:
        list(training.run_updates(1))
        training.logits("test")
    other = trainings[1]
    other.state.model.__class__ = Own
    with pytest.raises(AssertionError, match="computed again"):
        list(other.run_updates(2))
    with pytest.raises(AssertionError, match="computed again"):
        other.logits("test")


@pytest.mark.parametrize("count", [4, 8])
def test_every_place_of_a_batch_is_looked_at(monkeypatch, count):
    """The first of the two places in each call, within twice as many calls as there are places."""
    looked_at = []

    def counted(objective, images, labels, place=0):
        looked_at.append(place)
        return gradient_alone(objective, images, labels, place)

    monkeypatch.setattr(clipping_module, "gradient_alone", counted)
    clipping = Clipping(Own(nn.Flatten(), nn.Linear(64, 10)), 1.0, "loop")
    for _ in range(2 * count):
        clipping(*batch(count))
    first, before, after, others = looked_at[0], looked_at[1::3], looked_at[2::3], looked_at[3::3]
    assert first == 0
    assert before == after
    assert set(before) == set(range(count))
    assert all((place + count // 2) % count == other for place, other in zip(before, others, strict=True))


# ---- an example alone and in its batch -------------------------------------------------------------------------------


class Asks(Own):
    """Works on a whole batch for some images only, and keeps nothing."""

    def __init__(self, question):
        super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))
        self.question = question

    def forward(self, images):
        return self.question(images, super().forward)


QUESTIONS = {  # the question, and what makes one image the one that answers it for all
    "bytes or fractions": (lambda x, f: f(x / 255 if x.max() > 1 else x), lambda image: 255 * image),
    "centered already": (lambda x, f: f(x if x.min() < 0 else (x - 0.5) / 0.5), lambda image: 2 * image - 1),
    "all outputs finite": (lambda x, f: _zero_unless_finite(f(x)), lambda image: image * float("nan")),
    "outputs too large": (lambda x, f: f(x) * (50 / f(x).detach().abs().max()).clamp_max(1), lambda image: 1e3 * image),
}


def _zero_unless_finite(outputs):
    return outputs if outputs.isfinite().all() else 0 * outputs.nan_to_num()


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("place", [0, 5, 8, 15])
@pytest.mark.parametrize("kind", QUESTIONS)
def test_an_image_that_changes_what_is_done_to_others_is_refused(monkeypatch, kind, place, views):
    """By the layerwise method, which alone computes examples together, in parts where a batch has many views: within a
    few calls, the two examples that are looked at come to the part in which that image is."""
    question, special = QUESTIONS[kind]
    torch.manual_seed(0)
    network = Asks(question)
    monkeypatch.setattr("trilemma.privacy.validation._moves_others", lambda *_: False)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(16, views, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 10, (16,), generator=generator)
    clipping = Clipping(network, 1.0, "layerwise")
    clipping(images, labels)
    images[place] = special(images[place])
    with pytest.raises(PrivacyError, match="than in its batch: the network mixes examples"):
        [clipping(images, labels) for _ in range(1 if views == 1 else 4)]


def test_the_check_asks_whether_images_are_bytes_or_fractions():
    for limit in (1, 2, 100):
        with pytest.raises(PrivacyError, match="exchanging one image changed"):
            check_network(Asks(lambda x, f, limit=limit: f(x / 255 if x.max() > limit else x)), (1, 8, 8))


class ByShape(nn.Module):
    """Keeps the mean of the first images of each shape, where no comparison looks."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.kept = {}

    def forward(self, images):
        return self.linear((images - self.kept.setdefault(images.shape, images.detach().mean(0))).flatten(1))


class SetOnce(nn.Module):
    """A loss that counts classes from the first label it meets, which it keeps where no comparison looks."""

    def __init__(self):
        super().__init__()
        self.zero = None

    def forward(self, logits, labels):
        if self.zero is None:
            self.zero = int(labels[0])
        return F.cross_entropy(logits, (labels - self.zero) % 10, reduction="none")


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["auto", "layerwise", "loop"])
def test_what_a_loss_sets_once_is_of_no_image(method):
    sums = []
    for first in (0, 1):
        torch.manual_seed(0)
        clipping = Clipping(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 1.0, method, SetOnce())
        images, labels = batch(6)
        sums.append(clipping(images[first:], labels[first:]).sums)
    distance = sum(float((sums[0][name] - sums[1][name]).square().sum()) for name in sums[0]) ** 0.5
    assert distance <= 1 + 1e-6


@pytest.mark.usefixtures("behavior_alone")
def test_what_is_kept_for_so_many_views_is_of_no_image():
    """The first pass of all, over a blank image, has as many views as those after it."""
    sums = []
    for first in (0, 1):
        torch.manual_seed(0)
        clipping = Clipping(ByShape(), 1.0, "loop")
        images, labels = batch(6, 3)
        images = images * (1 + torch.arange(6).reshape(-1, 1, 1, 1, 1))
        sums.append(clipping(images[first:], labels[first:]).sums)
    distance = sum(float((sums[0][name] - sums[1][name]).square().sum()) for name in sums[0]) ** 0.5
    assert distance <= 1 + 1e-6


# ---- replayed on neighbors -------------------------------------------------------------------------------------------


def of_neighbors(make, method):
    """The distance of clipped sums over two batches, with and without one example of the first, in units of C; None if
    one of them is refused."""
    sums = []
    for first in (0, 1):
        for _, write in PLACES.values():
            write(0.0)
        ON[0] = False
        torch.manual_seed(0)
        clipping = Clipping(make(), 0.5, method)
        total = clipping.zero()
        clipping(*batch(3, seed=9))
        ON[0] = True
        try:
            for number, (images, labels) in enumerate((batch(12), batch(12, seed=1))):
                start = 0 if number else first
                total.add_(clipping(images[start:], labels[start:]))
        except PrivacyError:
            return None
        sums.append(total.sums)
    return sum(float((sums[0][name] - sums[1][name]).square().sum()) for name in sums[0]) ** 0.5 / 0.5


class Adds(Keeps):
    """Scales by the brightness of all images before, which one image more changes for all after it."""

    def forward(self, images):
        read, write = PLACES[self.place]
        seen = read() if ON[0] else 0.0
        write(seen + float(images.detach().mean(dim=(1, 2, 3)).sum()))
        return self.linear((images * np.cos(4 * seen)).flatten(1))


KEEPING = {place: lambda place=place: Adds(place) for place in PLACES}
DRAWING = {kind: lambda kind=kind: Draws(kind) for kind in RANDOM}


@pytest.mark.usefixtures("behavior_alone")
@pytest.mark.parametrize("method", ["loop", "auto"])
def test_what_is_accepted_keeps_neighboring_sums_within_the_clipping_norm(monkeypatch, method):
    apart = {kind: of_neighbors(make, method) for kind, make in (KEEPING | DRAWING | HONEST).items()}
    assert {kind for kind, distance in apart.items() if distance is None} == {*KEEPING, *DRAWING}
    accepted = [distance for distance in apart.values() if distance is not None]
    assert max(accepted) <= 1 + 1e-6
    assert max(accepted) > 0.9
    monkeypatch.setattr(clipping_module, "refuse_other_gradient", lambda *_: None)
    monkeypatch.setattr(clipping_module, "refuse_other_in_batch", lambda *_: None)
    unwatched = {kind: of_neighbors(make, method) for kind, make in KEEPING.items()}
    assert min(unwatched.values()) > 1.1, unwatched
