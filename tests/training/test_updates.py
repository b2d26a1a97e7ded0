"""What one update does, against a slow account of it."""

import contextlib
import copy
import functools
import importlib
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from trilemma.errors import InputError, PrivacyError
from trilemma.privacy import RandomStream, validation
from trilemma.privacy import plan as plan_module
from trilemma.privacy.plan import Plan
from trilemma.training import batch_size as obs
from trilemma.training.averaging import update_average
from trilemma.training.descent import descend
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.ranks import Ranks
from trilemma.training.recipe import Recipe
from trilemma.training.sharpness import perturbed


def train(data, physical=None, updates=4, network=None, **values):
    recipe = Recipe(
        **{"model": "convnet-4", "batch_size": 24, "epochs": 4.0, "norm_groups": 2, "secret_noise": False} | values
    )
    training = Training(recipe, data, Execution("cpu", physical, "float32"), network)
    list(training.run_updates(updates))
    return training


@pytest.fixture
def almost_no_noise(monkeypatch):
    """The noise at a millionth of what the budget needs (the accounting is not looked at here)."""
    real = Plan.calibrated.__func__

    def calibrated(cls, **values):
        plan = real(cls, **values)
        return Plan(plan.examples, plan.batch_size, plan.updates, plan.clipping_norm, 1e-9)

    monkeypatch.setattr(Plan, "calibrated", classmethod(calibrated))


def test_a_private_update_is_the_slow_one(digits, almost_no_noise):
    """Guards: unclipped gradient mixed in; division by the drawn batch; last physical batch dropped."""
    training = train(digits, updates=0, epsilon=8.0, techniques=("gn", "ws"), clipping_norm=0.3, physical=5)
    state = training.state
    sampling = RandomStream.secret()
    sampling.set_state(state.sampling.get_state())
    model, before = state.model, {n: p.detach().clone() for n, p in state.model.named_parameters()}
    rows = torch.nonzero(sampling.uniform(96) < 24 / 96).squeeze(1)
    total = {n: torch.zeros_like(p) for n, p in before.items()}
    for row in rows.tolist():
        image = torch.tensor(digits.train.images[row : row + 1]).float() / 255
        image = (image - digits.mean[0]) / digits.std[0]
        loss = nn.functional.cross_entropy(model(image), torch.tensor(digits.train.labels[row : row + 1]))
        gradient = dict(zip(before, torch.autograd.grad(loss, list(model.parameters())), strict=True))
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradient.values()))
        for name, g in gradient.items():
            total[name] += g * min(1.0, 0.3 / norm)
    training.step()
    for name, p in model.named_parameters():
        expected = before[name] - training.recipe.learning_rate * total[name] / 24
        assert torch.allclose(p, expected, atol=2e-6), name


def test_an_update_goes_along_what_was_released_and_nothing_else(digits, monkeypatch):
    """Guards: a sum before noise, in the step or in DP-SAT's direction; noise changed after it was added."""
    released = []
    real = Plan.privatize
    monkeypatch.setattr(Plan, "privatize", lambda *arguments: released.append(real(*arguments)) or dict(released[-1]))
    training = train(digits, updates=0, epsilon=8.0, techniques=("sat",))
    for _ in range(3):
        before = {name: p.detach().clone() for name, p in training.state.model.named_parameters()}
        training.step()
        for name, p in training.state.model.named_parameters():
            expected = before[name] - training.recipe.learning_rate * released[-1][name]
            torch.testing.assert_close(p.detach(), expected, rtol=1e-6, atol=1e-7)
            assert torch.equal(training.state.previous[name], released[-1][name])


@pytest.mark.parametrize("differs", ["seed", "network", "width", "frozen", "compute", "version", "torch"])
def test_a_process_that_would_compute_something_else_does_not_follow(digits, monkeypatch, differs):
    """Guards: shares of one sum that two networks (also of the same layers), types or versions computed."""
    sent = []

    def training(rank, **changes):
        relus, width = [nn.ReLU()] * (1 + bool(changes.get("network"))), changes.get("width", 8)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, width), *relus, nn.Linear(width, 10))
        network[1].requires_grad_(not changes.get("frozen"))
        recipe = Recipe(model="mine", epsilon=8.0, batch_size=24, seed=changes.get("seed", 0))
        made = Training(recipe, digits, Execution("cpu", 24, changes.get("compute", "float32")), network)
        made.ranks = Ranks(rank, 2)
        return made

    def tell(ranks, value):
        if ranks.first:
            sent.append(value)
            return value
        return sent.pop(0) if sent else None

    monkeypatch.setattr(Ranks, "tell", tell)
    first = training(0)
    first.lead()
    training(1).follow()
    first.lead()
    other = training(
        1, **{differs: {"seed": 1, "network": True, "width": 9, "frozen": True, "compute": "bfloat16"}.get(differs)}
    )
    if differs == "version":
        monkeypatch.setattr("trilemma.training.loop.__version__", "0.0.1")
    if differs == "torch":
        monkeypatch.setattr(torch, "__version__", "2.99.0")
    with pytest.raises(InputError, match="need the same recipe, images, network"):
        other.follow()


def test_what_goes_to_other_processes_is_all_but_streams_and_evidence(digits, monkeypatch):
    """Guards: the key of the noise, or the evidence, sent to processes that never draw; a state sent in part."""
    messages = []

    def tell(ranks, value):
        if ranks.first:
            messages.append(copy.deepcopy(value))
            return value
        return messages.pop(0) if messages else None

    choices = {"epsilon": 8.0, "techniques": ("sat", "pa"), "momentum": 0.9, "secret_noise": True}
    first, other = train(digits, updates=2, **choices), train(digits, updates=1, **choices)
    before = {name: value.clone() for name, value in other.state.to_checkpoint({}).tensors.items()}
    monkeypatch.setattr(Ranks, "tell", tell)
    first.ranks, other.ranks = Ranks(0, 2), Ranks(1, 2)
    first.lead()
    _, sent = messages[0]
    whole, own = first.state.to_checkpoint({}).tensors, ("stream/", "evidence/")
    assert sent.tensors.keys() == {name for name in whole if not name.startswith(own)}
    assert any(name.startswith("evidence/") for name in whole)
    other.follow()
    assert other.state.update == 2
    for name, value in other.state.to_checkpoint({}).tensors.items():
        expected = before if name.startswith(own) else whole
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, equal_nan=True, msg=name)


def test_a_state_that_was_restored_is_the_state_that_was_saved(digits):
    """Guards: momentum, DP-SAT's direction, the average, a stream or the evidence left out of a checkpoint."""
    choices = {"epsilon": 8.0, "techniques": ("sat", "pa"), "momentum": 0.9}
    first, other = train(digits, updates=3, **choices), train(digits, updates=1, **choices)
    saved = first.state.to_checkpoint({})
    other.state.restore(copy.deepcopy(saved))
    again = other.state.to_checkpoint({})
    assert again.header == saved.header
    assert again.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():  # to the bit: the evidence holds what is no number
        assert tensor.numpy().tobytes() == again.tensors[name].numpy().tobytes(), name
    assert any(name.startswith("optimizer") for name in saved.tensors)


def test_a_private_update_with_sharpness_is_the_slow_one(digits, almost_no_noise):
    """Guards: DP-SAT's perturbation left in the weights, of another length, or along another direction."""
    training = train(
        digits, 5, updates=1, epsilon=8.0, techniques=("gn", "sat"), clipping_norm=0.3, sharpness_radius=0.5
    )
    state = training.state
    sampling = RandomStream.secret()
    sampling.set_state(state.sampling.get_state())
    before = {n: p.detach().clone() for n, p in state.model.named_parameters()}
    length = math.sqrt(sum(float(g.double().square().sum()) for g in state.previous.values()))
    uphill = copy.deepcopy(state.model)
    with torch.no_grad():
        for name, p in uphill.named_parameters():
            p += 0.5 * state.previous[name] / length
    total = {n: torch.zeros_like(p) for n, p in before.items()}
    for row in torch.nonzero(sampling.uniform(96) < 24 / 96).squeeze(1).tolist():
        image = (torch.tensor(digits.train.images[row : row + 1]).float() / 255 - digits.mean[0]) / digits.std[0]
        loss = nn.functional.cross_entropy(uphill(image), torch.tensor(digits.train.labels[row : row + 1]))
        gradient = dict(zip(before, torch.autograd.grad(loss, list(uphill.parameters())), strict=True))
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradient.values()))
        for name, g in gradient.items():
            total[name] += g * min(1.0, 0.3 / norm)
    training.step()
    for name, p in state.model.named_parameters():
        expected = before[name] - training.recipe.learning_rate * total[name] / 24
        assert torch.allclose(p, expected, atol=2e-6), name


@pytest.mark.parametrize("techniques", [(), ("gn", "pa", "sat"), ("gn", "ws", "sat")])
def test_weights_do_not_depend_on_the_physical_batch(digits, almost_no_noise, techniques):
    """Guards: DP-SAT's perturbation added per physical batch; averaging per physical batch; noise per batch."""
    choices = {"epsilon": 8.0, "techniques": techniques, "sharpness_radius": 0.3, "updates": 0}
    runs = [train(digits, physical, **choices) for physical in (3, 7, 1000)]
    start = copy.deepcopy(runs[0].state.to_checkpoint({}))
    for run in runs:  # whose streams differ otherwise
        run.state.restore(copy.deepcopy(start))
        list(run.run_updates(4))
    first = runs[0].state.evaluation_weights()
    for run in runs[1:]:
        for name, value in run.state.evaluation_weights().items():
            assert torch.allclose(first[name], value, atol=1e-5), name


def test_a_process_that_is_not_the_first_adds_no_noise(digits):
    """Guards: noise by every process.  Here the second of two, whose first process says what was drawn and released."""
    training = train(digits, updates=0, epsilon=8.0)
    released = {name: torch.randn_like(p) for name, p in training.state.model.named_parameters()}
    draw = training.course.plan.draw(RandomStream.secret())

    class Second(Ranks):
        def tell(self, value):
            assert value in (None, True)
            return draw

        def share(self, count):
            return torch.arange(count)

        def add_up(self, total, places, count):
            return total

        def gradient_of_first(self, gradient):
            return released

    training.ranks = Second(1, 2)
    streams = [copy.deepcopy(stream.get_state()) for stream in (training.state.noise, training.state.sampling)]
    before = {name: p.detach().clone() for name, p in training.state.model.named_parameters()}
    training.step()
    after = [stream.get_state() for stream in (training.state.noise, training.state.sampling)]
    assert all(torch.equal(earlier, later) for earlier, later in zip(streams, after, strict=True))
    for name, p in training.state.model.named_parameters():
        assert torch.allclose(p, before[name] - training.recipe.learning_rate * released[name], atol=1e-6)


@pytest.mark.parametrize(("epochs", "updates"), [(0.001, 1), (0.25, 1), (0.99, 3), (1.0, 4), (1.26, 5)])
def test_as_many_updates_are_made_as_are_planned(digits, epochs, updates):
    """Guards: the number of updates wrong by one.  Of 96 examples, 24 make an update."""
    training = train(digits, updates=100, epochs=epochs, epsilon=8.0)
    assert training.course.updates == training.course.plan.updates == training.state.update == updates


@pytest.mark.parametrize("threads", [1, 3])
def test_an_evaluation_is_of_each_row_in_its_place(digits, monkeypatch, threads):
    """Whatever core computes it: a row's logits are those of its image under the averaged weights, without a graph."""
    training = train(digits, epsilon=8.0, techniques=("gn", "ws", "pa"), updates=3, learning_rate=0.5)
    last = copy.deepcopy(training.state.model.state_dict())
    rows = np.array([5, 3, 60, 3, *range(40)])
    network = copy.deepcopy(training.state.model).eval()
    network.load_state_dict(training.state.evaluation_weights())
    expected = torch.cat([network(training.examples.inputs.plain("test", rows[i : i + 1])) for i in range(len(rows))])
    monkeypatch.setattr(type(training.examples.inputs), "batch", 12)  # a part is 3 examples
    graphs = []
    monkeypatch.setattr("trilemma.training.evaluation.keeps_nothing", lambda model: True)  # but for this hook
    monkeypatch.setattr("trilemma.training.evaluation.refuse_changed_state", lambda model: contextlib.nullcontext())
    training.state.model.register_forward_hook(lambda _, inputs, outputs: graphs.append(outputs.requires_grad))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        logits = training.logits("test", rows)
    finally:
        torch.set_num_threads(before)
    assert graphs == [False] * 15
    assert torch.allclose(logits, expected, atol=1e-5)
    assert training.state.model.training
    assert all(torch.equal(value, last[name]) for name, value in training.state.model.state_dict().items())


@pytest.mark.parametrize("techniques", [(), ("pa",), ("pa", "gn", "ws", "sat", "am")])
def test_huge_noise_ruins_everything_that_is_released(digits, monkeypatch, techniques):
    """Guards: a private wrapper built and then not used; averages that include an unprivatized step."""
    real = Plan.calibrated.__func__

    def calibrated(cls, **values):
        plan = real(cls, **values)
        return Plan(plan.examples, plan.batch_size, plan.updates, plan.clipping_norm, 1000.0)

    monkeypatch.setattr(Plan, "calibrated", classmethod(calibrated))
    training = train(digits, epsilon=8.0, techniques=techniques, updates=16, learning_rate=0.5, views=2)
    right = training.logits("train").argmax(1) == torch.tensor(digits.train.labels)
    assert float(right.float().mean()) < 0.35  # chance is 0.1; by 1e-6 no blind classifier gets 34 of 96
    start = train(digits, updates=0, epsilon=8.0, techniques=techniques, views=2)
    moved = sum(
        float((a - b).square().sum())
        for a, b in zip(
            training.state.evaluation_weights().values(), start.state.evaluation_weights().values(), strict=True
        )
    )
    assert moved > 100


def test_an_empty_draw_is_an_update_like_any_other(digits, monkeypatch):
    """Guards: an empty draw crashes or is skipped."""
    training = train(digits, updates=0, epsilon=8.0, techniques=("sat", "pa"))
    monkeypatch.setattr(
        Plan, "draw", lambda self, g: type(real)(torch.zeros(0, dtype=torch.int64), self.sampling_probability)
    ) if (real := training.course.plan.draw(RandomStream.secret())) is not None else None
    before = {n: p.detach().clone() for n, p in training.state.model.named_parameters()}
    loss = training.step()
    assert math.isnan(loss)
    assert training.state.update == 1
    assert training.epsilon_spent() > 0
    assert all(not torch.equal(before[n], p) for n, p in training.state.model.named_parameters())


def test_noise_is_never_repeated(digits, monkeypatch):
    """Guards: stream reused; the same noise for two updates, parameters or purposes."""
    seen = []
    real = plan_module.add_gaussian_noise

    def record(sums, **values):
        noisy = real(sums, **values)
        seen.append(torch.cat([(noisy[n] - sums[n]).flatten() for n in sums]))
        return noisy

    monkeypatch.setattr(plan_module, "add_gaussian_noise", record)
    train(digits, epsilon=8.0, updates=6, techniques=("am", "sat"), views=2)
    noise = torch.stack(seen).double()
    assert noise.shape[0] == 6
    count = noise.shape[1]
    correlation = torch.corrcoef(noise) - torch.eye(6, dtype=torch.float64)
    # Each of 15 correlations is about N(0, 1/count): one beyond 6 deviations happens by chance once in 3e7 runs.
    assert float(correlation.abs().max()) < 6 / math.sqrt(count)


def test_perturbed_restores_to_the_bit():
    model = nn.Linear(5, 3)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    direction = {n: torch.randn_like(p) for n, p in before.items()}
    with perturbed(model, direction, 0.37):
        moved = torch.cat([(p.detach() - before[n]).flatten() for n, p in model.named_parameters()])
        along = torch.cat([direction[n].flatten() for n in before])
        assert float(moved.norm()) == pytest.approx(0.37, rel=1e-5)
        assert float(moved @ along / along.norm()) == pytest.approx(0.37, rel=1e-5)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    with pytest.raises(ZeroDivisionError), perturbed(model, direction, 0.37):
        raise ZeroDivisionError
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    with perturbed(model, {n: torch.zeros_like(p) for n, p in before.items()}, 0.37):
        assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def test_sam_takes_its_second_gradient_uphill_and_keeps_first_pass_statistics(digits):
    plain, sharp = (train(digits, updates=1, techniques=t) for t in ((), ("sat",)))
    a, b = plain.state.model.state_dict(), sharp.state.model.state_dict()
    for name in a:
        if "running" in name or "num_batches" in name:
            assert torch.equal(a[name], b[name]), name
    assert any(not torch.equal(a[n], b[n]) for n, _ in plain.state.model.named_parameters())
    none = train(digits, updates=1, techniques=("sat",), sharpness_radius=0.0).state.model.state_dict()
    assert all(torch.equal(a[n], none[n]) for n in a)


def test_average_follows_its_formula():
    average, weights = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    expected = 0.0
    for update in range(1, 400):
        update_average(average, weights, decay=0.9, update=update)
        d = min(0.9, (1 + update) / (10 + update))
        expected = d * expected + (1 - d)
        assert float(average["w"]) == pytest.approx(expected, rel=1e-5)


def test_the_average_of_a_training_is_that_of_its_weights(digits):
    """A whole training with PA: what is released follows from the weights after each update, each counted once."""
    training = train(digits, updates=0, techniques=("pa",), epsilon=8.0, average_decay=0.7, epochs=3.0)
    expected = {n: v.double().clone() for n, v in training.state.model.state_dict().items()}
    for update in range(1, 9):
        list(training.run_updates(update))
        decay = min(0.7, (1 + update) / (10 + update))
        for name, value in training.state.model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    released = training.state.evaluation_weights()
    for name, value in expected.items():
        torch.testing.assert_close(released[name].double(), value, rtol=1e-5, atol=1e-7)


def test_a_step_is_plain_arithmetic(digits):
    """SGD written out: v <- m v + g + d w; w <- w - rate * v, with a parameter that has no gradient at first."""
    training = train(digits, updates=0, momentum=0.8, weight_decay=0.1, learning_rate=0.03, epochs=20.0)
    model = training.state.model
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    velocity = {}
    late = next(iter(expected))
    for update in range(5):
        gradient = {n: torch.randn_like(p) for n, p in expected.items() if update > 1 or n != late}
        for name, g in gradient.items():
            g = g + 0.1 * expected[name]
            velocity[name] = 0.8 * velocity[name] + g if name in velocity else g
            expected[name] = expected[name] - 0.03 * velocity[name]
        descend(training.state, gradient, 0.03)
    for name, p in model.named_parameters():
        assert torch.allclose(p, expected[name], atol=1e-6), name
        assert p.grad is None


class TestOptimalBatchSize:
    def test_with_a_budget_it_has_the_least_noise_among_those_allowed(self):
        limits = {"batch_size": 64, "epochs": 10, "examples": 10_000, "fewest_updates": 50}
        choice = obs.with_budget(epsilon=4.0, delta=1e-5, **limits)
        sizes = [int(s) for s in choice.weighed]
        assert sizes == [64, 128, 256, 512, 1024]  # 2,048 would leave 48 updates
        noise = list(choice.weighed.values())
        assert noise == sorted(noise, reverse=True)
        assert noise[sizes.index(choice.batch_size)] <= min(noise) * 1.01

    def test_noise_scale_of_gradients_with_a_known_one(self):
        generator = torch.Generator().manual_seed(3)
        mean, deviation, dimension = 0.5, 2.0, 400
        true = deviation**2 / mean**2  # per coordinate, so over all coordinates too

        def squares(batch):
            return [
                float((mean + deviation / batch**0.5 * torch.randn(dimension, generator=generator)).square().sum())
                for _ in range(400)
            ]

        assert obs.noise_scale(squares(4), squares(64), 4, 64) == pytest.approx(true, rel=0.05)

    def test_without_signal_the_scale_is_infinite_and_the_batch_the_largest(self):
        assert obs.noise_scale([16.0], [1.0], 1, 16) == math.inf
        limits = {"batch_size": 8, "epochs": 2, "examples": 100, "fewest_updates": 4}
        assert obs.without_budget(math.inf, **limits).batch_size == 32
        assert obs.without_budget(11.0, **limits).batch_size == 8
        assert obs.without_budget(13.0, **limits).batch_size == 16

    def test_the_batch_never_shrinks_and_the_rate_follows_it(self, digits):
        training = train(digits, updates=0, epsilon=8.0, techniques=("obs",), batch_size=12, fewest_updates=8)
        factor = training.course.batch_size / 12
        assert factor > 1
        assert training.course.learning_rate == pytest.approx(training.recipe.learning_rate * factor)

    def test_measuring_the_noise_scale_leaves_no_trace(self, digits):
        a = train(digits, updates=0, techniques=("obs",)).state.model.state_dict()
        b = train(digits, updates=0).state.model.state_dict()
        assert all(torch.equal(a[n], b[n]) for n in b)


class TestRefusals:
    def test_batch_norm_with_a_budget(self, digits):
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
        with pytest.raises(PrivacyError, match=r"1 is BatchNorm2d.*group norm"):
            train(digits, network=network, epsilon=8.0)
        train(digits, network=network, updates=1)

    def test_a_batch_larger_than_the_data(self, digits):
        with pytest.raises(InputError, match="larger than the data"):
            train(digits, batch_size=97)

    def test_delta_of_one_over_n(self, digits):
        with pytest.raises(PrivacyError, match="1/N or more"):
            train(digits, epsilon=8.0, delta=0.011)
        train(digits, epsilon=8.0, delta=0.011, allow_large_delta=True, updates=1)

    def test_a_budget_out_of_reach(self, digits):
        with pytest.raises(InputError, match="out of reach"):
            train(digits, epsilon=1e-9)

    def test_a_training_that_diverges(self, digits):
        training = train(digits, learning_rate=1e30, updates=8)
        with pytest.raises(InputError, match="diverged"):
            training.logits("test")

    def test_a_device_that_is_not_there(self, digits):
        with pytest.raises(InputError, match="cannot use the device"):
            Training(Recipe(model="convnet-4"), digits, Execution(device="cuda:7"))
        with pytest.raises(InputError, match="compute"):
            Training(Recipe(model="convnet-4"), digits, Execution(compute="float8"))

    def test_a_device_without_float64(self, digits):
        """Normal numbers from float32 uniforms would end at 5.77 standard deviations."""
        with pytest.raises(InputError, match="--device cpu"):
            Training(Recipe(model="convnet-4"), digits, Execution(device="mps"))


def test_a_strange_module_falls_back_to_the_loop_and_says_so(digits):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(10))

        def forward(self, x):
            return x * self.scale

    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Scale())
    training = train(digits, network=network, epsilon=8.0, updates=2)
    assert training.method == "loop"
    assert training.notes == ["per-example gradients one at a time: Scale has no fast rule"]


def test_a_network_is_checked_once_and_again_when_it_was_changed(digits, monkeypatch):
    """One check is made before the first update, and another after the network was changed."""
    made, check = [], validation.check_network
    monkeypatch.setattr(validation, "check_network", lambda *a, **k: made.append(a) or check(*a, **k))
    training = Training(Recipe(model="convnet-4", epsilon=8.0, batch_size=20, epochs=2.0), digits, Execution("cpu"))
    training.step()
    assert len(made) == 1
    training.state.model.register_forward_hook(lambda module, inputs, output: output - output.mean(0))
    with pytest.raises(PrivacyError, match="mixes examples"):
        list(training.run_updates(training.course.updates))  # a draw may be empty


def test_secret_noise_does_not_come_from_the_seed(digits):
    runs = [train(digits, epsilon=8.0, updates=2, secret_noise=True).state.model.state_dict() for _ in range(2)]
    assert any(not torch.equal(runs[0][n], runs[1][n]) for n in runs[0])
    open_runs = [train(digits, epsilon=8.0, updates=2).state.model.state_dict() for _ in range(2)]
    assert all(torch.equal(open_runs[0][n], open_runs[1][n]) for n in open_runs[0])


def test_bfloat16_keeps_noise_and_sums_in_float32(digits):
    recipe = Recipe(model="convnet-4", epsilon=8.0, batch_size=24, epochs=2.0)
    training = Training(recipe, digits, Execution("cpu", None, "bfloat16"))
    total = training.private.clipping(*training.examples.views_and_labels(torch.arange(8), 0))
    assert {t.dtype for t in total.sums.values()} == {torch.float32} == {total.norms.dtype}
    list(training.run_updates(2))


class TestStreamsOfASeed:
    """Guards: random numbers reused, across runs: who holds two models could subtract the noise."""

    @staticmethod
    def training(data, network=None, ranks=None, execution=None, **values):
        base = {"model": "convnet-4", "batch_size": 24, "epochs": 4.0, "epsilon": 8.0, "seed": 5, "secret_noise": False}
        recipe = Recipe(**base | values)
        execution = Execution(**{"device": "cpu", "physical_batch": 16, "compute": "float32"} | (execution or {}))
        return Training(recipe, data, execution, network, ranks=ranks or Ranks())

    @staticmethod
    def with_train(digits, **changes):
        return replace(digits, train=replace(digits.train, **changes))

    def others(self, digits):
        pixel, labels = digits.train.images.copy(), digits.train.labels.copy()
        pixel[95, 0, 7, 7] ^= 1
        labels[0] = (labels[0] + 1) % 10
        torch.manual_seed(0)
        lasts = (nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2))
        networks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10), last) for last in lasts]
        networks.append(copy.deepcopy(networks[0]))
        with torch.no_grad():
            networks[-1][1].bias[3].add_(1e-6)
        return {
            "itself": self.training(digits),
            "learning rate": self.training(digits, learning_rate=0.06),
            "techniques": self.training(digits, techniques=("sat",)),
            "budget": self.training(digits, epsilon=4.0),
            "seed": self.training(digits, seed=6),
            "request": self.training(replace(digits, request={**digits.request, "limit": 97})),
            "one example fewer": self.training(replace(digits, train=digits.train.take(np.arange(95)))),
            "one pixel": self.training(self.with_train(digits, images=pixel)),
            "one label": self.training(self.with_train(digits, labels=labels)),
            "groups": self.training(self.with_train(digits, groups=labels % 2)),
            "order": self.training(replace(digits, train=digits.train.take(np.arange(95, -1, -1)))),
            "normalization": self.training(replace(digits, mean=(0.4,))),
            "bfloat16": self.training(digits, execution={"compute": "bfloat16"}),
            "physical batch": self.training(digits, execution={"physical_batch": 17}),
            "method": self.training(digits, execution={"method": "loop"}),
            "processes": self.training(digits, ranks=Ranks(0, 2)),
            "network": self.training(digits, networks[0]),
            "activation": self.training(digits, networks[1]),
            "slope": self.training(digits, networks[2]),
            "another slope": self.training(digits, networks[3]),
            "one weight": self.training(digits, networks[-1]),
            "secret": self.training(digits, secret_noise=True),
            "secret again": self.training(digits, secret_noise=True),
        }

    def test_whatever_differs_gives_unrelated_noise_and_draws(self, digits):
        """All pairs of runs; correlations of 10,000 numbers, false alarm 1e-6."""
        states = {name: training.state for name, training in self.others(digits).items()}
        digests = {getattr(s, purpose).key_digest for s in states.values() for purpose in ("sampling", "noise")}
        assert len(digests) == 2 * len(states)
        numbers = [getattr(s, purpose).normal(10_000) for s in states.values() for purpose in ("sampling", "noise")]
        table = torch.stack(numbers)
        score = (table @ table.T / 100).fill_diagonal_(0)
        pairs = len(table) * (len(table) - 1) / 2
        assert 2 * norm.sf(float(score.abs().max())) > 1e-6 / pairs

    def test_changed_code_from_outside_gives_other_noise(self, digits, tmp_path, monkeypatch):
        """Guards: two models that differ in what a network, optimizer or technique computes, and share their noise."""
        (tmp_path / "my_parts.py").write_text(
            "import torch\nfrom my_half import half\n\n"
            "def optimizer(parameters, *, learning_rate):\n"
            "    return torch.optim.SGD(parameters, lr=half(learning_rate))\n"
        )
        file = tmp_path / "my_half.py"
        monkeypatch.syspath_prepend(str(tmp_path))
        keys = []
        for divisor in (2, 2, 3):
            file.write_text(f"def half(x):\n    return x / {divisor}\n")
            keys.append(self.training(digits, optimizer="my_parts:optimizer").state.noise.key_digest)
        for name in ("my_parts", "my_half"):
            monkeypatch.delitem(sys.modules, name)
        assert keys[0] == keys[1] != keys[2]

    def test_networks_that_no_key_tells_apart_share_no_noise(self, digits, tmp_path, monkeypatch):
        """Guards: attributes, arguments of partial functions, globals and closures of a network from outside, which are
        not in the key.  All pairs of first updates, false alarm 1e-6."""
        (tmp_path / "my_network.py").write_text(
            "import functools, torch\nfrom torch import nn\n\nscale = 1.0\n\n"
            "class Net(nn.Module):\n"
            "    def __init__(self, factor, function=lambda x: x):\n"
            "        super().__init__()\n"
            "        self.factor, self.function, self.linear = factor, function, nn.Linear(64, 10)\n"
            "        nn.init.normal_(self.linear.weight, 0, 0.1, generator=torch.Generator().manual_seed(0))\n"
            "        nn.init.zeros_(self.linear.bias)\n"
            "    def forward(self, x):\n"
            "        return self.function(self.linear(x.flatten(1)) * self.factor * scale)\n\n"
            "def times(x, by):\n    return x * by\n\n"
            "def closure(by):\n    return lambda x: x * by\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        module = importlib.import_module("my_network")
        monkeypatch.delitem(sys.modules, "my_network")
        monkeypatch.setitem(sys.modules, "my_network", module)
        networks = [module.Net(1.0), module.Net(2.0)]
        networks += [module.Net(1.0, functools.partial(module.times, by=by)) for by in (3.0, 4.0)]
        networks += [module.Net(1.0, module.closure(by)) for by in (5.0, 6.0)]
        keys, noise = set(), []
        real = plan_module.add_gaussian_noise

        def record(sums, *, standard_deviation, stream):
            noisy = real(sums, standard_deviation=standard_deviation, stream=stream)
            noise.append(torch.cat([((noisy[n] - sums[n]) / standard_deviation).flatten() for n in sums]))
            return noisy

        monkeypatch.setattr(plan_module, "add_gaussian_noise", record)
        for scale, network in [(1.0, network) for network in networks] + [(7.0, networks[0])]:
            module.scale = scale
            training = self.training(digits, copy.deepcopy(network), batch_size=96, epochs=8.0)
            keys.add(training.state.noise.key_digest)
            list(training.run_updates(8))
        together = torch.stack([torch.cat(noise[8 * n : 8 * n + 8]) for n in range(7)])
        score = (together @ together.T / math.sqrt(together.shape[1])).fill_diagonal_(0)
        assert 2 * norm.sf(float(score.abs().max())) > 1e-6 / 21
        assert len(keys) == 1  # or else this test shows nothing

    def test_a_run_again_draws_the_same(self, digits):
        first, again = (self.training(digits).state for _ in range(2))
        assert torch.equal(first.noise.get_state(), again.noise.get_state())
        assert torch.equal(first.sampling.get_state(), again.sampling.get_state())

    def test_what_pairs_runs_stays_common(self, digits):
        first, second = (self.training(digits, learning_rate=r).state.model.state_dict() for r in (0.1, 0.2))
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_neighbors_models_do_not_subtract(self, digits):
        """One label changed: the two noisy gradients differ by two draws of noise, and not by what the label does."""
        labels = digits.train.labels.copy()
        labels[0] = (labels[0] + 1) % 10
        gradients = []
        for data in (digits, self.with_train(digits, labels=labels)):
            training = self.training(data, batch_size=96, epsilon=1.0, learning_rate=1.0)
            before = {n: p.detach().clone() for n, p in training.state.model.named_parameters()}
            training.step()
            gradients.append({n: before[n] - p.detach() for n, p in training.state.model.named_parameters()})
            plan = training.course.plan
        difference = torch.cat([(gradients[0][n] - gradients[1][n]).flatten() for n in gradients[0]])
        noise = 2**0.5 * plan.noise_multiplier * plan.clipping_norm / plan.batch_size * len(difference) ** 0.5
        assert float(difference.norm()) > 0.8 * noise
