"""``docs/extend.md`` as it is written: from a module in a temporary folder, in processes of their own."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import trilemma as tl
import warm
from trilemma import outside
from trilemma.attacks.named import single_model_scores
from trilemma.attacks.predictions import Predictions
from trilemma.attacks.roc import roc_curve
from trilemma.cli.audit import run_predictions
from trilemma.cli.main import main
from trilemma.errors import InputError
from trilemma.models import build
from trilemma.privacy.plan import Plan
from trilemma.study.cluster import _environment
from trilemma.study.shadow_job import data_of_run
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.trial.measure import own_measure
from trilemma.trial.shadows import Target

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text("utf-8")
FILES = re.findall(r"```(?:python|toml) title=\"(\S+)\"\n(.*?)```", PAGE, re.DOTALL)
FEW = ["--limit", "60", "--test-limit", "60"]


COMMANDS = {}
"""The commands of the page, by the end of the folder or the kind of the file that they write."""
for line in PAGE.splitlines():
    if line.startswith("trilemma "):
        words = line.split()[1:]
        out = Path(words[words.index("--out") + 1])
        COMMANDS["predict" if words[0] == "predict" else "attack" if str(out) == "audits/stripes" else out.name] = words


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The module of the page, in the folder that commands are started in."""
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in (*(Path(name).stem for name, _ in FILES), "odd"):
        sys.modules.pop(name, None)


def test_the_commands_of_the_page_run(folder, capsys):
    train, predict, stripes, attack, audit = [
        COMMANDS[out] for out in ("mine", "predict", "stripes", "attack", "theirs")
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trilemma", *train, *FEW, "--set", "evaluations=1"]
    done = warm.run(command, env=environment)
    assert done.returncode == 0, done.stderr
    images = tl.load_data("digits", limit=60, test_limit=60).test.images
    np.savez("images.npz", images=images)
    predict[predict.index("IMAGES")] = "images.npz"
    assert main(predict) == 0
    model = tl.load_model("runs/mine", network="mine:build")
    save_file(model.network.state_dict(), "weights.safetensors")
    shadowed = ["--shadows", "2", "--network", "mine:build", "--attacks", "rmia", "--resamples", "100"]
    with warm.workers():
        assert main(["audit", "runs/mine", *shadowed, "--out", "audits/shadowed"]) == 0
    assert list(json.loads(Path("audits/shadowed/audit.json").read_text())["attacks"]) == ["rmia"]
    assert main([*audit, *FEW, "--attacks", "threshold"]) == 0
    run = json.loads(Path("runs/mine/result.json").read_text())["attacks"]["threshold"]["auc"]
    audited = json.loads(Path("audits/theirs/audit.json").read_text())["attacks"]["threshold"]["auc"]
    assert audited == pytest.approx(run, abs=1e-6)
    assert main([*stripes, "--set", "evaluations=1"]) == 0
    assert main(attack) == 0
    attacks = json.loads(Path("audits/stripes/audit.json").read_text())["attacks"]
    predictions = run_predictions(Path("runs/stripes"))
    curve = roc_curve(predictions.logits.max(axis=1), predictions.member)
    assert attacks["mine_attack:confidence"]["auc"] == pytest.approx(np.trapezoid(curve.tpr, curve.fpr), abs=0.02)
    assert main(["report", "audits/stripes", "--require", "auc<=1"]) == 0
    with pytest.raises(SystemExit):
        main(["audit", "runs/stripes", "--shadows", "4", "--out", "audits/shadows"])
    assert "not imported because a folder names it" in capsys.readouterr().err


def test_a_name_in_a_folder_alone_is_not_imported(folder):
    data = tl.load_data("digits", limit=60, test_limit=60)
    recipe = tl.Recipe(model="mine:build", epsilon=8.0, batch_size=20, epochs=0.5, evaluations=1)
    tl.train(recipe, data, folder / "run", execution=Execution("cpu", 20, "float32"))
    sys.modules.pop("mine")
    with pytest.raises(InputError, match="allow its import by network='mine:build'"):
        tl.load_model(folder / "run")
    assert "mine" not in sys.modules
    assert tl.load_model(folder / "run", network="mine:build").predict(data.test.images[:3]).shape == (3,)


def test_initial_weights_follow_from_the_seed_and_leave_torchs_generator_alone(folder):
    def weights(seed):
        generator = torch.Generator().manual_seed(seed)
        return build("mine:build", classes=3, image_shape=(1, 8, 8), generator=generator).state_dict()["0.weight"]

    before = torch.random.get_rng_state()
    first, again, other = weights(0), weights(0), weights(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


ODD = """
from torch import nn
number = 3
def signature(classes): return nn.Linear(1, 1)
def breaks(*, classes, image_shape): raise RuntimeError("no such\\nlayer")
def leaves(*, classes, image_shape): raise SystemExit(0)
def nothing(*, classes, image_shape): return None
def shape(*, classes, image_shape): return nn.Sequential(nn.Flatten(), nn.Linear(64, classes + 1))
def mixing(*, classes, image_shape): return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:build", "cannot import nowhere"),
        ("leaving:build", r"cannot import leaving for 'leaving:build' \(SystemExit: 3\)"),
        ("odd:leaves", r"'odd:leaves' failed \(SystemExit: 0\)"),
        ("mine:bild", "did you mean 'build'"),
        ("odd:number", "cannot be called"),
        ("odd:signature", "another signature than docs/extend.md"),
        ("odd:breaks", r"failed \(RuntimeError: no such layer\)"),
        ("odd:nothing", "is an object of type NoneType: give a torch.nn.Module"),
        ("odd:shape", r"does not return logits \(n, 10\)"),
        ("odd:mixing", "BatchNorm2d"),
    ],
)
def test_what_cannot_be_used_is_one_line(folder, capsys, name, message):
    (folder / "odd.py").write_text(ODD)
    (folder / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    command = [
        "train",
        "--data",
        "digits",
        *FEW,
        "--model",
        name,
        "--epsilon",
        "8",
        "--batch-size",
        "20",
        "--out",
        "out",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", "out"])
    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("trilemma: ")
    assert re.search(message, last)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "odd:nothing_at_all", "--out", "out"], "returned an object of type NoneType"),
        (["train", "--data", "odd:nothing", "--out", "out"], "another signature"),
        (["audit", "p.npz", "--attacks", "odd:one", "--out", "out"], "a finite score for each of 40 rows"),
        (["audit", "p.npz", "--attacks", "odd:text", "--out", "out"], "not real numbers"),
        (["audit", "p.npz", "--attacks", "odd:nowhere", "--out", "out"], "has no 'nowhere'"),
    ],
)
def test_data_and_attacks_that_cannot_be_used_are_one_line(folder, capsys, arguments, message):
    more = "def nothing_at_all(): return None\ndef one(predictions): return [1.0]\n"
    more += "def text(predictions): return ['a'] * 40\n"
    (folder / "odd.py").write_text(ODD + more)
    np.savez("p.npz", logits=np.eye(2)[[0, 1] * 20], labels=[0, 1] * 20, member=np.arange(40) < 20)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])


def test_techniques_that_need_our_layers_are_refused(folder):
    assert isinstance(build("mine:build", classes=2, image_shape=(1, 8, 8), generator=torch.Generator()), nn.Module)
    data = tl.load_data("digits", limit=60, test_limit=60)
    with pytest.raises(InputError, match="gn does not apply to mine:build"):
        tl.train(tl.Recipe(model="mine:build", techniques="gn", batch_size=20), data, folder / "run")


def result_of(run):
    return json.loads(Path(run, "result.json").read_text())


def test_the_other_trainings_of_the_page_run(folder):
    short = [*FEW, "--set", "evaluations=1", "--model", "convnet-4", "--batch-size", "20", "--epochs", "0.4"]
    for name in ("rmsprop", "centered", "heard", "calibrated"):
        assert main([*COMMANDS[name], *short]) == 0
    assert list(result_of("runs/calibrated")["measures"]) == ["mine_measure:calibration_error"]
    assert 0 <= result_of("runs/calibrated")["measures"]["mine_measure:calibration_error"] <= 1
    heard = Path("runs/heard.log").read_text().splitlines()
    assert len(heard) == 2
    assert heard[0].split()[2] != "None"
    # A shadow of such a run would import what a folder names.
    run = tl.Run.load("runs/centered")
    data = data_of_run(run)
    with pytest.raises(InputError, match=r"which is not imported because a folder names it: .*mine_tech"):
        Target(run, data, None)
    assert Target(run, data, None, ("mine_technique:centered",)).recipe == run.recipe


def test_a_technique_changes_what_the_optimizer_gets(folder, monkeypatch):
    data = tl.load_data("digits", limit=60, test_limit=60)
    recipe = tl.Recipe(
        model="convnet-4", techniques="mine_technique:centered,sat", epsilon=8.0, batch_size=20, secret_noise=False
    )
    assert recipe.techniques == ("sat", "mine_technique:centered")
    training = Training(recipe, data, Execution("cpu", None, "float32"))
    released, real = [], Plan.privatize
    monkeypatch.setattr(Plan, "privatize", lambda *arguments: released.append(real(*arguments)) or dict(released[-1]))
    before = {name: p.detach().clone() for name, p in training.state.model.named_parameters()}
    training.step()
    for name, p in training.state.model.named_parameters():
        gradient = released[0][name]
        assert torch.equal(training.state.previous[name], gradient)
        if gradient.dim() > 1:
            gradient = gradient - gradient.mean(dim=tuple(range(1, gradient.dim())), keepdim=True)
        torch.testing.assert_close(p.detach(), before[name] - recipe.learning_rate * gradient, rtol=1e-5, atol=1e-7)


OWN = """
import numpy as np

def nothing(gradient, weights, update): return None
def shapes(gradient, weights, update): return {name: value.sum() for name, value in gradient.items()}
def fewer(gradient): return gradient
def integers(gradient, weights, update): return {name: value.long() for name, value in gradient.items()}
def imaginary(gradient, weights, update): return {name: value + 1j for name, value in gradient.items()}
def sparse(gradient, weights, update): return {name: value.to_sparse() for name, value in gradient.items()}
def leaves(gradient, weights, update): raise SystemExit(0)
def infinite(predictions): return float("inf")
def huge(predictions): return 10**400
def hugest(predictions): return 10**5000
def imaginary_number(predictions): return np.complex64(1 + 2j)
def digits(predictions): return "0.5"
def imaginary_scores(predictions): return predictions.outputs.max(axis=1) + 0j
def huge_scores(predictions): return [10**400] * len(predictions.labels)
def leaves_scores(predictions): raise SystemExit(0)
def text(predictions): return "high"

CALLS = []

def infinite_in_earnest(predictions):
    CALLS.append(1)
    return float("inf") if len(CALLS) > 1 else 0.5
"""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"techniques": "odd:nothing"}, "must return a dict of gradients"),
        ({"techniques": "odd:shapes"}, "returns no gradient of the shape"),
        ({"techniques": "odd:integers"}, "returns no gradient of the shape"),
        ({"techniques": "odd:imaginary"}, "returns no gradient of the shape"),
        ({"techniques": "odd:sparse"}, "returns no gradient of the shape"),
        ({"techniques": "odd:leaves"}, "'odd:leaves' failed .SystemExit: 0."),
        ({"techniques": "odd:fewer"}, "another signature"),
        ({"techniques": "odd:nowhere"}, "has no 'nowhere'"),
        ({"techniques": "gnn"}, "did you mean 'gn'"),
        ({"measures": "odd:nowhere"}, "has no 'nowhere'"),
        ({"measures": "calibration"}, "are your own, as module:name"),
        ({"attacks": ["threshold"]}, "are your own, as module:name"),
    ],
)
def test_parts_of_a_recipe_that_cannot_be_used_are_one_line(folder, values, message):
    (folder / "odd.py").write_text(OWN)
    data = tl.load_data("digits", limit=60, test_limit=60)
    with pytest.raises(InputError, match=message) as error:
        tl.train(tl.Recipe(model="convnet-4", batch_size=20, evaluations=1, **values), data, folder / "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "trained"), [("infinite", False), ("infinite_in_earnest", True)])
def test_a_measure_that_is_no_number_is_refused_before_or_keeps_the_weights(folder, name, trained):
    """It is tried on made-up outputs; one that fails on the model's outputs alone leaves the weights."""
    (folder / "odd.py").write_text(OWN)
    data = tl.load_data("digits", limit=60, test_limit=60)
    recipe = tl.Recipe(model="convnet-4", batch_size=20, epochs=0.4, evaluations=1, measures=f"odd:{name}")
    with pytest.raises(InputError, match=f"the measure odd:{name} must return a finite number"):
        tl.train(recipe, data, folder / "run", execution=Execution("cpu", 20, "float32"))
    assert (folder / "run" / "model.safetensors").exists() == trained


@pytest.mark.parametrize("name", ["infinite", "text", "digits", "huge", "hugest", "imaginary_number"])
def test_a_measure_is_a_finite_real_number(folder, name):
    (folder / "odd.py").write_text(OWN)
    with pytest.raises(InputError, match=f"the measure odd:{name} must return a finite number, not .{{0,60}}$"):
        own_measure(f"odd:{name}", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [("imaginary_scores", "not real numbers"), ("huge_scores", "not real numbers"), ("leaves_scores", "SystemExit")],
)
def test_scores_of_an_attack_are_real_numbers(folder, name, message):
    (folder / "odd.py").write_text(OWN)
    predictions = Predictions(logits=np.eye(2)[[0, 1] * 20], labels=[0, 1] * 20, member=[True] * 20 + [False] * 20)
    with pytest.raises(InputError, match=message):
        single_model_scores(f"odd:{name}", predictions, None, np.random.default_rng(0))


def test_listeners_of_a_finished_run_are_said_to_hear_nothing(folder, capsys):
    arguments = ["train", "--data", "digits", "--limit", "60", "--test-limit", "60", "--model", "convnet-4"]
    arguments += ["--batch-size", "20", "--epochs", "0.4", "--set", "evaluations=1", "--device", "cpu", "--out", "run"]
    assert main([*arguments, "--listen", "mine_listener:Lines"]) == 0
    assert "nothing to follow" not in capsys.readouterr().err
    assert main([*arguments, "--listen", "mine_listener:Lines"]) == 0
    assert "note: the run in run is finished, so --listen has nothing to follow" in capsys.readouterr().err


def test_a_worker_process_finds_parts_of_ones_own(folder):
    """The study of the page, in the pool's processes."""
    assert main([*COMMANDS["study"], "--workers", "1"]) == 0
    (run,) = Path("runs/study/runs").iterdir()
    assert {"mine_attack:confidence"} < set(result_of(run)["attacks"])
    rows = Path("runs/study/results.csv").read_text()
    assert "mine_measure:calibration_error" in rows
    assert "auc_mine_attack:confidence" in rows


def test_machines_of_a_cluster_look_in_the_folder_of_the_command(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert _environment()["PYTHONPATH"].split(os.pathsep) == ["elsewhere", str(folder)]


def test_an_installed_package_gives_short_names(folder, monkeypatch):
    """Entry points of a package in a temporary folder."""
    about = folder / "site" / "own_parts-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[trilemma.models]\nsmall = mine:build\n[trilemma.techniques]\ncentered = mine_technique:centered\n"
        "[trilemma.optimizers]\nrms = mine_optimizer:rmsprop\n"
    )
    monkeypatch.syspath_prepend(folder / "site")
    outside._entry_points.cache_clear()
    try:
        recipe = tl.Recipe(model="small", techniques="centered", optimizer="rms", epsilon=8.0, batch_size=20)
        assert recipe.own_techniques == ("centered",)
        training = Training(recipe, tl.load_data("digits", limit=60, test_limit=60), Execution("cpu", 20, "float32"))
        training.step()
        assert isinstance(training.state.optimizer, torch.optim.RMSprop)
    finally:
        outside._entry_points.cache_clear()
