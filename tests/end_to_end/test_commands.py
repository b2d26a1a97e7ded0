"""The commands as a user runs them: what they print, leave and refuse."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

import warm
from trilemma.cli.main import main

SMALL = ["--limit", "150", "--test-limit", "80", "--model", "convnet-4", "--batch-size", "25", "--epochs", "2"]
SMALL += ["--set", "evaluations=2", "--set", "norm_groups=2", "--device", "cpu"]


@pytest.fixture
def refused(capsys):
    """Runs a command that must end with one line and exit status 2."""

    def check(*arguments, says):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        *progress, last = err.strip().splitlines()
        assert last.startswith("trilemma: "), err
        assert not any(line.startswith("trilemma") for line in progress), err
        assert re.search(says, last), last
        assert "Traceback" not in err
        return out

    return check


def test_a_run_can_be_trained_and_then_audited(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--data", "digits-s", *SMALL, "--techniques", "gn", "--epsilon", "8", "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert re.search(r"privacy +ε [\d.]+ at δ 1e-5", output)
    assert "not covered by any guarantee" in output
    assert re.search(r"score .*accuracy [\d.]+, privacy [\d.]+, fairness [\d.]+", output)
    result = json.loads((out / "result.json").read_text())
    assert main(["audit", str(out), "--out", str(tmp_path / "audit")]) == 0
    again = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert again["attacks"]["threshold"]["auc"] == pytest.approx(result["attacks"]["threshold"]["auc"], abs=1e-6)
    assert again["attacks_naive"]["rf"]["auc"] == pytest.approx(result["attacks_naive"]["rf"]["auc"], abs=1e-6)


def test_audit_of_a_strangers_predictions(tmp_path, capsys):
    rng = np.random.default_rng(0)
    member = np.arange(600) < 300
    labels = rng.integers(0, 3, 600)
    logits = rng.normal(size=(600, 3)) + np.eye(3)[labels] * (1 + 2 * member[:, None])
    np.savez(tmp_path / "p.npz", logits=logits, labels=labels, member=member)
    assert main(["audit", str(tmp_path / "p.npz"), "--out", str(tmp_path / "a"), "--attacks", "threshold"]) == 0
    assert "non-members as given" in capsys.readouterr().out
    assert json.loads((tmp_path / "a" / "audit.json").read_text())["attacks"]["threshold"]["auc"] > 0.7


def test_an_audit_says_how_it_read_a_column_that_is_not_certain(tmp_path, capsys):
    rows = [f"{k % 10 / 10 + 0.01},{k % 2},{int(k < 50)}" for k in range(100)]
    (tmp_path / "p.csv").write_text("\n".join(["prob_benign,label,member", *rows]))
    assert (
        main(
            [
                "audit",
                str(tmp_path / "p.csv"),
                "--out",
                str(tmp_path / "a"),
                "--attacks",
                "threshold",
                "--resamples",
                "100",
            ]
        )
        == 0
    )
    assert "note: the single column 'prob_benign' of p.csv counts as the output for class 1" in capsys.readouterr().out


def test_calibrate_and_epsilon_are_inverse(capsys):
    mechanism = ["--batch-size", "4096", "--updates", "875", "--examples", "50000"]
    assert main(["calibrate", "--epsilon", "1", *mechanism]) == 0
    sigma = float(capsys.readouterr().out)
    assert sigma == pytest.approx(9.128, rel=0.005)
    assert main(["epsilon", "--noise-multiplier", str(sigma), *mechanism]) == 0
    assert 0.995 < float(capsys.readouterr().out) <= 1.0


def test_data_lists_what_can_be_trained_on(capsys):
    assert main(["data"]) == 0
    assert {"digits", "digits-s", "cifar10", "celeba"} <= set(re.findall(r"^[\w-]+", capsys.readouterr().out, re.M))


def test_refused_arguments_leave_nothing(tmp_path, refused):
    out = tmp_path / "run"
    train = ["train", "--out", out]
    refused("trian", says="did you mean 'train'")
    refused("train", says="--out")
    refused(*train, "--epsilonn", "3", says="did you mean '--epsilon'")
    refused(*train, "--data", "digit", says="unknown data 'digit'.*digits")
    refused(*train, "--model", "resnet", says="unknown model 'resnet'")
    refused(*train, "--model", "wrn-15-4", says="6 n \\+ 4")
    refused(*train, "--techniques", "gn,xx", says="unknown technique 'xx'")
    refused(*train, "--recipe", "nope", says="no recipe 'nope'")
    refused(*train, "--set", "epocs=3", says="unknown recipe key 'epocs'.*epochs")
    refused(*train, "--epsilon", "0", says="epsilon must be positive")
    for minutes in ("0", "-1", "nan"):
        refused(*train, "--minutes", minutes, says="--minutes must be more than 0")
    refused(*train, "--pretrain", "imagenet", says="imagenet")
    refused(*train, "--epsilon", "-1", says="epsilon must be positive")
    refused(*train, "--epsilon", "nan", says="epsilon must be positive")
    refused(*train, "--epsilon", "1e-9", says="out of reach")
    refused(*train, "--epsilon", "x", says="invalid float")
    refused(*train, "--epsilon", "8", "--delta", "0", says="delta must lie")
    refused(*train, "--epsilon", "8", "--delta", "1", says="delta must lie")
    refused(*train, "--epsilon", "8", "--delta", "0.01", says="1/N or more")
    refused(*train, "--batch-size", "5000", says="larger than the data")
    refused(*train, "--skew", "0.9", says="skew")
    refused(*train, "--data", "digits-s", "--skew", "0.3", says="0.5")
    refused(*train, "--device", "cuda:9", says="cannot use the device")
    refused(*train, "--track", "99999", says="cannot track")
    mechanism = ["--updates", "3", "--examples", "9", "--batch-size"]
    refused("epsilon", "--noise-multiplier", "0", *mechanism, "4", says="noise multiplier must be positive")
    refused("epsilon", "--noise-multiplier", "1", *mechanism, "40", says="larger than the data")
    refused("calibrate", "--epsilon", "0", *mechanism, "4", says="epsilon must be positive")
    assert not out.exists()


def picture(path, size=8, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(path)


def test_refused_data_leave_nothing(tmp_path, refused):
    out = tmp_path / "run"

    def train(data, says):
        refused("train", "--data", data, "--out", out, says=says)

    (tmp_path / "empty").mkdir()
    train(tmp_path / "empty", "empty")
    picture(tmp_path / "one/train/cat/a.png")
    picture(tmp_path / "one/test/cat/a.png")
    train(tmp_path / "one", "class")
    for kind in ("cat", "dog"):
        for part in ("train", "test"):
            picture(tmp_path / f"mixed/{part}/{kind}/a.png", 8)
            picture(tmp_path / f"mixed/{part}/{kind}/b.png", 12)
            picture(tmp_path / f"broken/{part}/{kind}/a.png")
            (tmp_path / f"broken/{part}/{kind}/b.png").write_bytes(b"no picture")
    train(tmp_path / "mixed", r"(a|b)\.png")
    train(tmp_path / "broken", r"b\.png")
    images = np.zeros((20, 8, 8), np.uint8)
    np.savez(tmp_path / "short.npz", images=images, labels=np.arange(19) % 2)
    train(tmp_path / "short.npz", "19")
    np.savez(tmp_path / "pickled.npz", images=images, labels=np.array([{"a": 1}] * 20, dtype=object))
    train(tmp_path / "pickled.npz", "object|pickle")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as file:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (400000000, 8, 8), }"
        header += b" " * (117 - len(header)) + b"\n"
        file.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**6))
        file.writestr("labels.npy", b"")
    train(tmp_path / "bomb.npz", "GiB|memory|large|bytes")
    assert not out.exists()


def test_refused_predictions_leave_nothing(tmp_path, refused):
    out = tmp_path / "audit"
    good = {"logits": np.zeros((100, 3)), "labels": np.zeros(100, int), "member": np.arange(100) < 50}

    def audit(says, **changes):
        np.savez(tmp_path / "p.npz", **{k: v for k, v in (good | changes).items() if v is not None})
        refused("audit", tmp_path / "p.npz", "--out", out, says=says)

    audit("nan|finite", logits=np.full((100, 3), np.nan))
    audit("sum", logits=None, probs=np.full((100, 3), 0.5))
    audit("member", member=np.ones(100, bool))
    audit("label", labels=np.full(100, 3))
    audit("label", labels=np.full(100, -1))
    audit("99", labels=np.zeros(99, int))
    audit("member", member=None)
    audit("object|pickle", labels=np.array([None] * 100, dtype=object))
    refused("audit", tmp_path / "nowhere.npz", "--out", out, says="there is no")
    refused("audit", tmp_path, "--out", out, says="config.json")
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 cut")
    refused("audit", tmp_path / "p.npz", "--out", out, says="p.npz")
    assert not out.exists()


def test_no_right_to_write(tmp_path, refused):
    (tmp_path / "file").write_text("mine")
    refused("train", *SMALL, "--out", tmp_path / "file", says="is a file")
    refused("train", *SMALL, "--out", tmp_path / "file" / "below", says="cannot write")
    assert (tmp_path / "file").read_text() == "mine"


def test_another_recipes_folder_is_left_alone(tmp_path, refused, capsys):
    assert main(["train", *SMALL, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    refused("train", *SMALL, "--seed", "1", "--out", tmp_path / "run", says="another recipe")
    refused("audit", tmp_path / "run", "--out", tmp_path / "run", says="is the folder of a run")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("module", "says"),
    [("training.checkpoints", "No space left.*start again to go on"), ("trial.train", "No space left.*make room")],
)
def test_a_full_disk_ends_with_one_line(tmp_path, refused, monkeypatch, module, says):
    """Guards: safetensors' ``save_file``, which raises no OSError."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"trilemma.{module}.serialized", full)
    refused("train", *SMALL, "--out", tmp_path / "run", says=says)
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_training_in_pieces_ends_as_one_in_one_go(tmp_path, capsys):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert main(["train", *SMALL, "--out", str(whole)]) == 0
    for _ in range(2):  # each ends after its first update
        assert main(["train", *SMALL, "--minutes", "1e-6", "--out", str(pieces)]) == 130
        assert "the same command resumes from there" in capsys.readouterr().err
        assert not (pieces / "result.json").exists()
    assert main(["train", *SMALL, "--out", str(pieces)]) == 0
    assert (pieces / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_ctrl_c_and_sigterm_stop_cleanly_and_the_same_command_goes_on(tmp_path, capsys):
    command = [sys.executable, "-m", "trilemma.cli.main", "train", *SMALL, "--out", str(tmp_path / "run")]
    command[command.index("--epochs") + 1] = "160"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    history = tmp_path / "run" / "history.jsonl"
    for number in (signal.SIGINT, signal.SIGTERM):
        before = history.stat().st_mtime_ns if history.exists() else 0  # it is written anew before the first update
        process = warm.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        deadline = time.monotonic() + 60
        while (not history.exists() or history.stat().st_mtime_ns == before) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        last = err.splitlines()[-1]
        assert re.fullmatch(
            rf"trilemma: stopped after update \d+ of \d+, kept in {re.escape(str(tmp_path / 'run'))}; the same command "
            "resumes from there",
            last,
        ), err
        assert "Traceback" not in err
    assert main(command[3:]) == 0
    assert "note: went on from update" in capsys.readouterr().out


def test_a_named_recipe_fits_few_images_and_a_batch_that_is_asked_for_does_not(tmp_path, refused, capsys):
    few = ["train", "--data", "digits", "--limit", "40", "--test-limit", "40", "--model", "convnet-4"]
    few += ["--epsilon", "8", "--epochs", "1", "--set", "evaluations=1"]
    assert main([*few, "--out", str(tmp_path / "run")]) == 0
    errors = capsys.readouterr().err
    assert re.search(r"note: the recipe's batch of \d+ is larger than the data \(40 examples\): batches of 16", errors)
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert recipe["batch_size"] == 16
    assert main([*few, "--out", str(tmp_path / "run")]) == 0  # the same command finds its run
    refused(*few, "--batch-size", "64", "--out", tmp_path / "other", says="larger than the data")
    refused(*few, "--set", "batch_size=64", "--out", tmp_path / "other", says="larger than the data")
