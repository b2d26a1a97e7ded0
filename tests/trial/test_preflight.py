"""What cannot be measured is refused before the first update; nothing is lost where measuring fails all the same."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import trilemma as tl
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError, PrivacyError
from trilemma.training.execution import Execution
from trilemma.training.recipe import Recipe
from trilemma.trial import train as module
from trilemma.trial.evaluation import evaluation_rows, quick_look
from trilemma.trial.measure import measure
from trilemma.trial.preflight import refuse_a_second_training, refuse_unmeasurable
from trilemma.trial.progress import Stopped
from trilemma.trial.run import Run

CPU = Execution("cpu", 40, "float32")


def dataset(labels, test_labels, groups=None, test_groups=None, *, sources=None, names=("gray", "colour")):
    rng = np.random.default_rng(0)

    def split(labels, groups, sources=None):
        images = rng.integers(0, 256, (len(labels), 1, 8, 8), dtype=np.uint8)
        groups = None if groups is None else np.array(groups, dtype=np.int64)
        sources = None if sources is None else np.array(sources, dtype=np.int64)
        return Split(images, np.array(labels, dtype=np.int64), groups, sources)

    grouped = groups is not None or test_groups is not None
    return Dataset(
        "mine", split(labels, groups), split(test_labels, test_groups, sources), ("cat", "dog", "fox"),
        names if grouped else None,
    )  # fmt: skip


BOTH = [0, 1] * 20
UNMEASURABLE = {
    "a class without test examples": (
        dataset([0, 1, 2] * 20, BOTH),
        "the class 'fox' has 20 training examples but no test example",
    ),
    "a group missing from the test split": (
        dataset(BOTH, BOTH, [0, 0, 1, 1] * 10, [0] * 40),
        "the group 'colour' has 20 training examples but no test example",
    ),
    "a group of one test image": (
        dataset(BOTH, BOTH, [0, 1] * 20, [0, 1] * 19 + [0, 2], names=("gray", "colour", "colour\0")),
        r"the group 'colour\\x00' has 1 of the 40 test examples but no training example",
    ),
    "one of three groups": (
        dataset(BOTH, BOTH, [0, 1, 2, 2] * 10, [0, 1] * 20, names=("gray", "colour", "blue")),
        "the group 'blue' has 20 training examples but no test example",
    ),
    "one group in all": (dataset(BOTH, BOTH, [0] * 40, [0] * 40), "all test examples are of the group 'gray'"),
    "groups in the test split alone": (dataset(BOTH, BOTH, None, [1] * 40), "all test examples are of the group"),
    "nine non-members": (dataset([0] * 20, [0] * 9), "could compare 20 training examples with 9 test images"),
    "nine images twice": (
        dataset(BOTH, BOTH[:18], [0, 0, 1, 1] * 10, [0, 0, 1, 1] * 4 + [0, 0], sources=np.arange(18) // 2),
        "could compare 40 training examples with 9 test images",
    ),
    "no class and group shared": (
        dataset([0] * 20 + [1] * 20, BOTH, [0] * 20 + [1] * 20, [1, 0] * 20),
        "share no class and group",
    ),
    "nine members": (dataset([0] * 9, BOTH), "could compare 9 training examples"),
}


@pytest.mark.parametrize("kind", UNMEASURABLE)
def test_what_cannot_be_measured_is_refused_before_the_first_update(tmp_path, kind):
    data, message = UNMEASURABLE[kind]
    updates = []
    with pytest.raises(InputError, match=message) as caught:
        tl.train(
            tl.Recipe(
                model="convnet-4", epsilon=8.0, delta=1e-3, epochs=1.0, batch_size=len(data.train), norm_groups=2
            ),
            data,
            tmp_path / "run",
            execution=CPU,
            progress=lambda step: updates.append(step.update),
        )
    assert "\n" not in str(caught.value)
    assert updates == []
    assert not (tmp_path / "run").exists()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    train=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=8, max_size=30),
    test=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 15)), min_size=8, max_size=30),
    grouped=st.sampled_from(["both", "test", "none"]),
    copies=st.booleans(),
    seed=st.integers(0, 100),
)
# Class 2 of the test split has copies of images of class 0 alone, and seed 0 keeps the copies of class 0.
@example(
    train=[(0, 0)] * 7 + [(1, 0), (1, 1), (2, 0)],
    test=[(0, 1, 0), (0, 0, 1), (0, 0, 1), (0, 0, 3), (0, 0, 4), (0, 0, 5), (0, 0, 7), (0, 0, 8), (0, 0, 9), (0, 0, 2),
          (1, 0, 6), (2, 0, 0), (2, 1, 3)],
    grouped="test",
    copies=True,
    seed=2,
)  # fmt: skip
def test_what_is_let_through_can_be_measured(train, test, grouped, copies, seed):
    """What is not refused can be measured, whatever its classes, groups and copies are."""
    data = dataset(
        [label for label, _ in train],
        [label for label, _, _ in test],
        [group for _, group in train] if grouped == "both" else None,
        [group for _, group, _ in test] if grouped != "none" else None,
        sources=[source for _, _, source in test] if copies else None,
    )
    try:
        refuse_unmeasurable(data, (0,), seed)
    except InputError:
        assume(False)  # another example in place of this one
    rng = np.random.default_rng(seed)
    train_logits, test_logits = (rng.normal(size=(len(s), 3)).astype(np.float32) for s in (data.train, data.test))
    measure(data, train_logits, test_logits, recipe=Recipe(seed=seed), tell=lambda _: None)
    rows, test_rows = evaluation_rows(data, (0,), seed)
    quick_look(data, rows, test_rows, train_logits[rows], test_logits[test_rows], (0,))


def test_the_examples_looked_at_on_the_way_are_checked_too(monkeypatch):
    """A mix that the whole data shares may be missing from the part that an evaluation sees."""
    monkeypatch.setattr("trilemma.trial.evaluation.EVALUATED", 20)
    data = dataset(BOTH * 5, BOTH * 5)
    refuse_unmeasurable(data, (), 0)
    rare = dataset([0] * 199 + [1] * 2, [1] * 199 + [0] * 2)
    with pytest.raises(InputError, match=r"that evaluations during training use|share no class"):
        refuse_unmeasurable(rare, (), 0)


# --- measuring fails after the training -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits", limit=120, test_limit=80)


def recipe(**values):
    return tl.Recipe(
        **{"model": "convnet-4", "batch_size": 20, "epochs": 2.0, "norm_groups": 2, "evaluations": 2, "epsilon": 8.0,
           "techniques": ("gn", "pa", "sat", "am"), "views": 2, "secret_noise": False} | values
    )  # fmt: skip


def outcome(folder):
    result = json.loads((folder / "result.json").read_text())
    lasting = {
        key: value for key, value in result.items() if key not in ("seconds", "environment", "notes", "checksums")
    }
    (lasting["privacy"] or {}).pop("noise_shared", None)  # with a run beside it
    return load_file(folder / "model.safetensors"), (folder / "history.jsonl").read_text(), lasting


def failing_once(monkeypatch, name, error):
    real, failures = getattr(module, name), []

    def fails(*arguments, **keywords):
        failures.append(1)
        if len(failures) == 1:
            raise error
        return real(*arguments, **keywords)

    monkeypatch.setattr(module, name, fails)


@pytest.mark.parametrize("values", [{}, {"secret_noise": True}, {"epsilon": None, "techniques": ("pa",)}], ids=str)
@pytest.mark.parametrize("name", ["measure", "write_signals"])
def test_weights_and_privacy_record_are_kept_where_measuring_fails(digits, tmp_path, monkeypatch, values, name):
    """After a failed measurement, the same command only measures."""
    secret = "secret_noise" in values
    if not secret:
        tl.train(recipe(**values), digits, tmp_path / "whole", execution=CPU)
    failing_once(monkeypatch, name, InputError("all examples are of group 0"))
    with pytest.raises(InputError, match=r"all examples are of group 0 \(the weights and the privacy record") as caught:
        tl.train(recipe(**values), digits, tmp_path / "run", execution=CPU)
    assert "\n" not in str(caught.value)
    names = {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")}
    assert names - {"signals.parquet"} == {
        "config.json", "fingerprint.private.json", "history.jsonl", "model.safetensors", "trained.json"
    }  # fmt: skip
    privacy = json.loads((tmp_path / "run" / "trained.json").read_text())["privacy"]
    if values.get("epsilon", 8.0) is None:
        assert privacy is None
    else:
        assert privacy["epsilon"] <= 8.0
        assert privacy["truth"]["passed"]
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    steps = []
    run = tl.train(recipe(**values), digits, tmp_path / "run", execution=CPU, progress=steps.append)
    assert all(step.update == step.updates for step in steps if step.what == "training"), "updates made again"
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    assert not (tmp_path / "run" / "trained.json").exists()
    assert run.result["privacy"] == privacy
    assert Run.load(tmp_path / "run").result == run.result
    if not secret:
        whole, other = outcome(tmp_path / "whole"), outcome(tmp_path / "run")
        assert whole[1:] == other[1:]
        assert all((whole[0][n] == other[0][n]).all() for n in whole[0])


def test_a_run_that_failed_its_truth_check_stays_failed_where_measuring_fails(digits, tmp_path, monkeypatch):
    with monkeypatch.context() as planted:
        planted.setattr("trilemma.privacy.plan.add_gaussian_noise", lambda sums, **_: dict(sums))
        failing_once(planted, "measure", InputError("no"))
        with pytest.raises(InputError, match="no"):
            tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    run = tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    assert run.result["privacy"]["epsilon"] is None
    assert run.not_private in run.result["notes"]


def test_a_run_that_ends_between_weights_and_record_goes_on(digits, tmp_path, monkeypatch):
    tl.train(recipe(), digits, tmp_path / "whole", execution=CPU)
    real = module.write_sealed

    def ends(path, values, names):
        if path.name == "trained.json":
            raise InputError("no space")
        return real(path, values, names)

    with monkeypatch.context() as planted:
        planted.setattr(module, "write_sealed", ends)
        with pytest.raises(InputError, match="no space"):
            tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    steps = []
    tl.train(recipe(), digits, tmp_path / "run", execution=CPU, progress=steps.append)
    assert all(step.update == step.updates for step in steps if step.what == "training"), "updates made again"
    whole, other = outcome(tmp_path / "whole"), outcome(tmp_path / "run")
    assert whole[1:] == other[1:]


def test_weights_that_cannot_be_read_are_named(digits, tmp_path, monkeypatch):
    failing_once(monkeypatch, "measure", InputError("no"))
    with pytest.raises(InputError, match="no"):
        tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    (tmp_path / "run" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match=r"model.safetensors is damaged"):
        tl.train(recipe(), digits, tmp_path / "run", execution=CPU)


def test_a_training_that_is_stopped_has_no_record_yet(digits, tmp_path):
    asked = []
    with pytest.raises(Stopped):
        tl.train(
            recipe(), digits, tmp_path / "run", execution=CPU, should_stop=lambda: asked.append(1) or len(asked) > 4
        )
    assert not (tmp_path / "run" / "trained.json").exists()
    assert not (tmp_path / "run" / "model.safetensors").exists()


def _text(predictions):
    return "high"


def _one_score(predictions):
    return [1.0]


@pytest.mark.parametrize(
    ("left", "refused"),
    [
        ({}, False),
        ({"history.jsonl": 0}, False),
        ({"history.jsonl": 1}, True),
        ({"history.jsonl": 2}, True),
        ({"model.safetensors": 0}, True),
    ],
    ids=["nothing", "no line", "one line", "two lines", "weights"],
)
def test_a_training_that_has_shown_one_line_is_not_begun_again(tmp_path, left, refused):
    """Guards: the budget spent twice, where the checkpoints of a run are gone."""
    for name, lines in left.items():
        (tmp_path / name).write_text('{"update": 1}\n' * lines)
    recipe = Recipe(epsilon=8.0)
    for other in (recipe, replace(recipe, secret_noise=False), Recipe()):
        if refused and other is recipe:
            with pytest.raises(PrivacyError, match="would spend the budget a second time"):
                refuse_a_second_training(tmp_path, other, None)
        else:
            refuse_a_second_training(tmp_path, other, None)


def _no_technique(gradient):
    return gradient


def _nothing(gradient, weights, update):
    return {}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"attacks": "parts:_one_score"}, "must return a finite score for each of 84 rows; it was tried on made-up"),
        ({"measures": "parts:_text"}, "must return a finite number, not high; it was tried on made-up"),
        ({"techniques": "parts:_no_technique"}, "has another signature than docs/extend.md asks for"),
        ({"techniques": "parts:_nothing"}, "must return a dict of gradients"),
    ],
)
def test_a_wrong_part_from_outside_is_refused_before_anything_is_said_or_written(parts, says, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "parts", sys.modules[__name__])
    labels = [0, 1, 2] * 14
    said = []
    recipe = Recipe(model="convnet-4", batch_size=20, epochs=1, **parts)
    with pytest.raises(InputError, match=says) as caught:
        tl.train(recipe, dataset(labels, labels), tmp_path / "run", execution=CPU, progress=said.append)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert not [step for step in said if step.about]
