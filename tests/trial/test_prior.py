"""A linear model on fixed features through the same train as any network, with a small prior."""

import copy
import json
import os

import numpy as np
import pytest
import torch

import trilemma as tl
from common_noise import common_noise
from trilemma.cli.main import main
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError, PrivacyError
from trilemma.models.prior import PRIORS, family
from trilemma.models.prior.family import Settings
from trilemma.privacy.accounting import Event
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.trial.progress import Stopped
from trilemma.trial.run import load_network

TINY = (
    Settings("patches", 12, keep=30),
    Settings("second order", first=8, channels=8, phases=((0, 0), (1, 2)), keep=20),
)


@pytest.fixture(autouse=True, scope="module")
def tiny(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRIORS, "prior-tiny", TINY)
        patch.setattr(family, "DICTIONARY_IMAGES", 300)
        patch.setattr(family, "_WHITENING_IMAGES", 60)
        patch.setattr("trilemma.models.prior.patches._STATISTICS", 2000)
        patch.setenv("TRILEMMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def split_of(count, seed):
    """Stripes across and stripes down, on noise: two classes that patches tell apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    stripes = (np.arange(20) // 3 % 2)[None, None, :, None] * np.ones((1, 3, 1, 20))
    images = np.where(labels[:, None, None, None], stripes, stripes.transpose(0, 1, 3, 2)) * 120
    images = images + rng.normal(60, 40, (count, 3, 20, 20))
    return Split(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(scope="module")
def data():
    return Dataset("stripes", split_of(300, 0), split_of(100, 1), ("across", "down"))


def recipe(**changes):
    values = {"batch_size": 0, "epochs": 20, "learning_rate": 20.0, "momentum": 0.8, "clipping_norm": 0.4,
              "secret_noise": False}  # fmt: skip
    return tl.Recipe(model="prior-tiny", evaluations=2, **(values | changes))


def test_full_batch_training_with_a_budget(data, tmp_path):
    run = tl.train(recipe(epsilon=8.0), data, out=tmp_path / "run")
    privacy = run.result["privacy"]
    assert privacy["sampling"] == "full-batch"
    assert privacy["batch_size"] == privacy["examples"] == 300
    event = Event.from_dict(privacy["event"])
    assert event == Event(1.0, privacy["noise_multiplier"], 20)
    assert event.epsilon(1e-5) == privacy["epsilon"] <= 8
    assert run.result["accuracy"] > 0.9
    network = load_network(run, data)
    images = (torch.tensor(data.test.images).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        predicted = network(images).argmax(1).numpy()
    assert (predicted == data.test.labels).mean() == pytest.approx(run.result["accuracy"], abs=0.011)


def test_every_example_is_in_every_update(data):
    """Guards: "full batch" that is a Poisson draw near N, or drops the last physical batch."""
    training = Training(recipe(epsilon=8.0), data, Execution(physical_batch=64))
    seen = []
    views = training.examples.inputs.views
    training.examples.inputs = type(
        "Watched",
        (),
        {
            "views": lambda _, rows, moves: seen.append(rows) or views(rows, moves),
            "moves": lambda *_: None,
            "batch": 64,
            "shape": (51,),
        },
    )()
    training.step()
    assert torch.equal(torch.cat(seen), torch.arange(300))


@pytest.mark.parametrize("epsilon", [8.0, None])
def test_less_memory_gives_smaller_physical_batches_and_the_same_weights(epsilon, data):
    trainings = [
        Training(recipe(epsilon=epsilon, epochs=3), data, Execution(memory=memory)) for memory in (None, 40_000)
    ]
    start = copy.deepcopy(trainings[0].state.to_checkpoint({}))
    sizes, weights = [], []
    for training in trainings:
        training.state.restore(copy.deepcopy(start))  # whose streams differ otherwise
        with common_noise():
            list(training.run_updates(3))
        sizes.append(training.physical_batch)
        weights.append(training.state.model.weight.detach())
    assert sizes[0] >= 300 > sizes[1] > 20
    assert torch.allclose(*weights, atol=1e-5)


def test_poisson_batches_are_poisson(data):
    """Sizes of 200 draws with q = 1/5: their mean within 5 standard errors of 60 (false alarm 6e-7), not all alike."""
    training = Training(recipe(epsilon=8.0, batch_size=60, epochs=1), data)
    sizes = [len(training.course.plan.draw(training.state.sampling)) for _ in range(200)]
    assert abs(np.mean(sizes) - 60) < 5 * (300 * 0.2 * 0.8 / 200) ** 0.5
    assert len(set(sizes)) > 5
    assert training.course.plan.event(1).sampling_probability == 0.2


def test_an_update_is_the_oracles(data):
    """One update without noise to speak of: W = -rate * mean of clipped outer products."""
    training = Training(recipe(epsilon=500.0, epochs=1, momentum=0.0, learning_rate=1.0), data)
    rows = torch.arange(300)
    features = training.examples.inputs.plain("train", rows.numpy()).double()
    error = torch.full((300, 2), 0.5, dtype=torch.float64) - torch.nn.functional.one_hot(training.examples.labels, 2)
    gradients = error[:, :, None] * features[:, None, :]
    norms = gradients.flatten(1).norm(dim=1)
    expected = -(gradients * (0.4 / norms).clamp(max=1)[:, None, None]).sum(0) / 300
    training.step()
    noise = training.course.plan.noise_multiplier * 0.4 / 300
    assert (training.state.model.weight.double() - expected).abs().max() < 6 * noise
    assert expected.abs().max() > 3 * noise


def test_a_training_that_was_stopped_ends_with_the_same_weights(data, tmp_path):
    whole = tl.train(recipe(epsilon=8.0, techniques="pa,sat"), data, out=tmp_path / "whole")
    asked = []
    with pytest.raises(Stopped):
        tl.train(
            recipe(epsilon=8.0, techniques="pa,sat"),
            data,
            out=tmp_path / "cut",
            should_stop=lambda: asked.append(1) or len(asked) > 7,
        )
    cut = tl.train(recipe(epsilon=8.0, techniques="pa,sat"), data, out=tmp_path / "cut")
    assert "went on" in cut.notes[0]
    for name in ("model.safetensors",):
        assert (whole.folder / name).read_bytes() == (cut.folder / name).read_bytes()


def test_techniques_that_mean_something_here(data, tmp_path):
    """AM has K fixed views, OBS goes up to the whole set, PA and SAT change the weights."""
    training = Training(recipe(epsilon=8.0, techniques="am", views=4), data)
    assert training.examples.views_and_labels(torch.arange(5), 0)[0].shape == (5, 4, 51)
    start = recipe(epsilon=8.0, techniques="obs", batch_size=32, fewest_updates=5)
    course = Training(start, data).course
    assert course.batch_size > 32
    assert course.learning_rate == pytest.approx(20.0 * course.batch_size / 32)
    assert Training(recipe(epsilon=8.0), data).course.learning_rate == 20.0
    weights = []
    for techniques in ("none", "pa", "sat", "am"):
        run = tl.train(recipe(epsilon=8.0, techniques=techniques), data, out=tmp_path / techniques)
        weights.append((run.folder / "model.safetensors").read_bytes())
    assert len(set(weights)) == 4


@pytest.mark.parametrize(("code", "why"), [("gn", "norm layers"), ("ws", "convolutions")])
def test_techniques_that_do_not_apply_are_refused(data, code, why):
    with pytest.raises(InputError, match=f"{code} does not apply to prior-tiny, which has no {why}"):
        Training(recipe(techniques=f"{code},pa"), data)


def test_bfloat16_is_refused(data):
    with pytest.raises(InputError, match="float32"):
        Training(recipe(epsilon=1.0), data, Execution(compute="bfloat16"))


def test_rounded_products_are_refused(data):
    training = Training(recipe(epsilon=1.0), data)
    try:
        torch.set_float32_matmul_precision("medium")
        with pytest.raises(PrivacyError, match="rounded"):
            training.step()
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_prior_trains_without_a_budget(data, tmp_path):
    run = tl.train(recipe(), data, out=tmp_path / "run")
    assert run.result["privacy"] is None
    assert run.result["accuracy"] > 0.9


def test_provenance_is_kept_and_said(data, tmp_path, capsys):
    from trilemma.cli.table import describe_run

    run = tl.train(recipe(epsilon=8.0, provenance="chosen by 3 looks"), data, out=tmp_path / "run")
    assert json.loads((run.folder / "config.json").read_text())["recipe"]["provenance"] == "chosen by 3 looks"
    printed = describe_run(run)
    assert "chosen by 3 looks" in printed
    assert "every example in each" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recipe", "cifar10-eps8", "--data", "celeba"], "was made for cifar10, not for celeba"),
        (["--model", "prior-s"], "too small for a prior: 16 x 16 at least"),
        (["--model", "prior-x"], "unknown model 'prior-x'"),
        (["--recipe", "cifar10-eps9"], "did you mean 'cifar10-eps"),
    ],
)
def test_bad_input_is_one_line(arguments, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert len(printed.strip().splitlines()) == 1
    assert not os.path.exists(tmp_path / "run" / "result.json")
