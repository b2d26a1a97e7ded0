"""The whole road of one model: trained privately, used, exported, described, and let through a gate or not."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import trilemma as tl
from documented import ROOT, blocks
from trilemma.cli.audit import run_predictions
from trilemma.cli.main import main
from trilemma.measures import RUN_ATTACKS


def command(*arguments):
    """A real process; returns its exit status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "trilemma", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_from_training_to_a_decision(tmp_path, capsys):
    run, data = tmp_path / "run", ["--data", "digits-s", "--skew", "0.9", "--limit", "150", "--test-limit", "100"]
    recipe = ["--model", "convnet-4", "--techniques", "gn", "--set", "norm_groups=2", "--batch-size", "50"]
    budget = ["--epsilon", 8, "--epochs", 2, "--require", "epsilon<=8"]
    status, output = command("train", *data, *recipe, *budget, "--out", run)
    assert status == 0, output
    assert "holds        epsilon <= 8" in output

    # Predictions of new images, from the two released files alone, in three kinds of file.
    fresh = tl.load_data("digits-s", seed=1, limit=150, test_limit=100)
    both = np.concatenate([fresh.train.images, fresh.test.images])
    labels = np.concatenate([fresh.train.labels, fresh.test.labels])
    member = np.arange(len(both)) < len(fresh.train)
    np.savez(tmp_path / "images.npz", images=both, labels=labels, member=member)
    for ending in ("csv", "npz"):
        assert main(["predict", str(run), str(tmp_path / "images.npz"), "--out", str(tmp_path / f"p.{ending}")]) == 0
    assert "has no array sources, so an audit counts every test image" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "p.csv")
    classes = tl.load_model(run).classes
    expected = tl.load_model(run).logits(both)
    predicted = table[[f"logit_{name}" for name in classes]].to_numpy()
    np.testing.assert_array_equal(predicted.astype(np.float32), expected)

    # An audit of a table of predictions says what the run said of every attack, in whatever order the rows are.
    # The arrays are put together as the documentation does it.
    block, _ = blocks(ROOT / "docs/tasks/audit-predictions.md", "python")
    smaller = block.replace("skew=0.9", "skew=0.9, limit=150, test_limit=100").replace("all.npz", f"{tmp_path}/all.npz")
    exec(smaller, {})
    capsys.readouterr()
    for ending in ("csv", "npz", "parquet"):
        assert main(["predict", str(run), str(tmp_path / "all.npz"), "--out", str(tmp_path / f"q.{ending}")]) == 0
    assert "note" not in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "q.csv")["group"]) == set(tl.load_data("digits-s").group_names)
    pd.read_csv(tmp_path / "q.csv").sample(frac=1, random_state=0).to_csv(tmp_path / "shuffled.csv", index=False)
    shuffled = tmp_path / "shuffled.csv"
    options = ["--match", "class,group", "--resamples", 100, "--out"]
    status, output = command("audit", shuffled, *options, tmp_path / "audit")
    assert status == 0, output
    in_run, audited = (json.loads(path.read_text()) for path in (run / "result.json", tmp_path / "audit/audit.json"))
    assert set(in_run["attacks"]) == set(RUN_ATTACKS)
    for attack, values in in_run["attacks"].items():
        assert audited["attacks"][attack]["auc"] == pytest.approx(values["auc"], abs=1e-12), attack
    of_run = tl.audit(run_predictions(run), match="class,group", resamples=100)
    for path in (tmp_path / "q.csv", tmp_path / "q.npz", tmp_path / "q.parquet", shuffled):
        again = tl.audit(tl.Predictions.load(path), match="class,group", resamples=100)
        for attack, roc in of_run.rocs.items():
            assert again.rocs[attack].auc == pytest.approx(roc.auc, abs=1e-12), (path.name, attack)

    if all(importlib.util.find_spec(name) for name in ("onnxscript", "onnxruntime")):  # the extra onnx
        import onnxruntime

        assert main(["export", str(run), "--onnx", str(tmp_path / "model.onnx")]) == 0
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"images": both})
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())

    # Card, statement, and a gate that passes and then fails.
    privacy = json.loads((run / "result.json").read_text())["privacy"]
    card = (run / "README.md").read_text()
    assert card.startswith("---\n")
    assert f"noise multiplier {privacy['noise_multiplier']:g}" in card
    assert "not in this card" in card  # what attacks found is not for release
    assert main(["report", str(run), "--require", "epsilon<=8, accuracy>=0"]) == 0
    statement = json.loads((run / "statement.json").read_text())
    assert statement["guarantee"]["epsilon"] == privacy["epsilon"]
    capsys.readouterr()
    assert main(["report", str(run), "--require", "epsilon<=1"]) == 3
    assert "fails        epsilon <= 1" in capsys.readouterr().out
