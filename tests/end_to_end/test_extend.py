"""``docs/extend.md`` as it is written: from a module in a temporary folder, in processes of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import trilemma as tl
from trilemma.attacks.roc import roc_curve
from trilemma.cli.audit import run_predictions
from trilemma.cli.main import main
from trilemma.errors import InputError
from trilemma.models import build
from trilemma.training.execution import Execution

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text("utf-8")
FEW = ["--limit", "60", "--test-limit", "60"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The module of the page, in the folder that commands are started in."""
    for name, text in re.findall(r"```python title=\"(\S+)\"\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("mine", "mine_data", "mine_attack", "odd"):
        sys.modules.pop(name, None)


def test_the_commands_of_the_page_run(folder, capsys):
    lines = [line for line in PAGE.splitlines() if line.startswith("trilemma ")]
    train, predict, stripes, attack, audit = [line.split()[1:] for line in lines]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trilemma", *train, *FEW, "--set", "evaluations=1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    images = tl.load_data("digits", limit=60, test_limit=60).test.images
    np.savez("images.npz", images=images)
    predict[predict.index("IMAGES")] = "images.npz"
    assert main(predict) == 0
    model = tl.load_model("runs/mine", network="mine:build")
    save_file(model.network.state_dict(), "weights.safetensors")
    assert main([*audit, *FEW, "--attacks", "threshold"]) == 0
    run = json.loads(Path("runs/mine/result.json").read_text())["attacks"]["threshold"]["auc"]
    found = json.loads(Path("audits/theirs/audit.json").read_text())["attacks"]["threshold"]["auc"]
    assert found == pytest.approx(run, abs=1e-6)
    assert main([*stripes, "--set", "evaluations=1"]) == 0
    assert main(attack) == 0
    attacks = json.loads(Path("audits/stripes/audit.json").read_text())["attacks"]
    predictions = run_predictions(Path("runs/stripes"))
    found = roc_curve(predictions.logits.max(axis=1), predictions.member)
    assert attacks["mine_attack:confidence"]["auc"] == pytest.approx(np.trapezoid(found.tpr, found.fpr), abs=0.02)
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
def nothing(*, classes, image_shape): return None
def shape(*, classes, image_shape): return nn.Sequential(nn.Flatten(), nn.Linear(64, classes + 1))
def mixing(*, classes, image_shape): return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:build", "cannot import nowhere"),
        ("mine:bild", "did you mean 'build'"),
        ("odd:number", "cannot be called"),
        ("odd:signature", "another signature than docs/extend.md"),
        ("odd:breaks", r"failed \(RuntimeError: no such layer\)"),
        ("odd:nothing", "returned a NoneType"),
        ("odd:shape", r"makes no logits \(n, 10\)"),
        ("odd:mixing", "BatchNorm2d"),
    ],
)
def test_what_cannot_be_used_is_one_line(folder, capsys, name, message):
    (folder / "odd.py").write_text(ODD)
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
        (["train", "--data", "odd:nothing_at_all", "--out", "out"], "returned a NoneType"),
        (["train", "--data", "odd:nothing", "--out", "out"], "another signature"),
        (["audit", "p.npz", "--attacks", "odd:one", "--out", "out"], "a finite score for each of 40 rows"),
        (["audit", "p.npz", "--attacks", "odd:text", "--out", "out"], "returned no numbers"),
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
