"""``trilemma audit RUN --shadows K`` as a user runs it."""

import base64
import csv
import io
import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trilemma.cli.main import main


@pytest.fixture
def refused(capsys):
    """Runs a command that must end with one line and exit status 2."""

    def check(*arguments, says):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        assert caught.value.code == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("trilemma: "), last
        assert re.search(says, last), last

    return check


def check_probabilities(folder, printed):
    """LiRA's cannot be checked with four shadows: null in every file, beside the reason, which the terminal says."""
    reason = "needs 6 shadow models, has 4"
    assert json.loads((folder / "audit.json").read_text())["probability_reason"] == {"lira": reason}
    assert json.loads((folder / "exposed.json").read_text())["probability_reason"] == {"lira": reason}
    column = pq.read_table(folder / "signals.parquet")
    assert column["membership_probability_lira"].null_count == column.num_rows
    assert column.schema.field("membership_probability_lira").metadata == {b"reason": reason.encode()}
    assert f"lira's membership probabilities: {reason}" in printed
    assert "rmia's membership probabilities: expected calibration error 0." in printed


def check_page(shadowed, folder):
    """The page of an audit shows the members that RMIA ranks first, each with its own image, unless told not to."""
    exposed = json.loads((folder / "first" / "exposed.json").read_text())["examples"]
    table = pq.read_table(folder / "first" / "signals.parquet").to_pandas()
    members = table[table["member"]].set_index("index")
    assert [example["score"] for example in exposed] == sorted(members["score_rmia"], reverse=True)[: len(exposed)]
    for example in exposed:
        row = members.loc[example["index"]]
        assert example["score"] == row["score_rmia"]
        assert example["probability"] == {
            "rmia": row["membership_probability_rmia"],
            "lira": None,
            "histogram": row["membership_probability"],
        }
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(example["png"]))))
        np.testing.assert_array_equal(np.moveaxis(image, -1, 0), shadowed.data.train.images[example["index"]])
    bare = json.loads((folder / "second" / "exposed.json").read_text())["examples"]
    assert [example["png"] for example in bare] == [None] * len(exposed)
    for name, options, images in (("first", [], len(exposed)), ("first", ["--no-pictures"], 0), ("second", [], 0)):
        assert main(["report", str(folder / name), *options]) == 0
        page = (folder / name / "model.html").read_text()
        assert page.count("<img ") == images
        assert "ruled out by the budget" in page
        assert "checking them needs 6 shadow models, has 4" in page
        assert page.count('class="chart"') == 3  # ROC curves, classes, reliability
        assert "Whether all are equally exposed was not tested" in page  # 60 on a side are too few


@pytest.mark.usefixtures("warm_workers")
def test_missing_shadows_are_trained_and_found_again(shadowed, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(shadowed.run.folder, run, ignore=shutil.ignore_patterns("001"))
    arguments = ["audit", str(run), "--shadows", "4", "--audited", "120", "--workers", "1", "--resamples", "100"]
    assert main([*arguments, "--out", str(tmp_path / "first")]) == 0
    printed = capsys.readouterr()
    assert re.search(r"1 of 4 shadows to train on 200 examples each, 1 at once: about \d+ (s|min)", printed.err)
    first = json.loads((tmp_path / "first" / "audit.json").read_text())
    assert first["shadows"]["reused"] == 3
    assert first["headline_attack"] == "rmia"
    assert "headline      rmia, chosen before its numbers were seen" in printed.out
    check_probabilities(tmp_path / "first", printed.out)
    assert re.search(r"rmia +AUC [\d.]+ \[[\d., ]+\] of at most 0\.\d+ ", printed.out)
    assert printed.out.count("TPR at 1 % FPR     not measured: needs 1,000 non-members, has 60") == 1
    assert "audit  attack: rmia" in printed.err
    assert first["ceiling"] == json.loads((run / "result.json").read_text())["privacy"]["ceiling"]
    assert first["ceiling_alarms"] == []
    assert set(first["cells"]["by_group"]) == {"colour", "gray"}
    # One worker or another, trained now or before: the same shadow, and the same audit.
    shutil.copytree(shadowed.run.folder, tmp_path / "whole")
    arguments[1] = str(tmp_path / "whole")
    assert main([*arguments, "--no-pictures", "--out", str(tmp_path / "second")]) == 0
    second = json.loads((tmp_path / "second" / "audit.json").read_text())
    assert second["shadows"]["reused"] == 4
    if not shadowed.run.recipe.secret_noise:
        for name, attack in first["attacks"].items():
            assert attack["auc"] == pytest.approx(second["attacks"][name]["auc"], abs=1e-6)
    for name, words in (("roc", "ruled out by the budget"), ("cells", "RMIA: AUC")):
        drawing = ElementTree.parse(tmp_path / "first" / f"{name}.svg").getroot()
        assert words in {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert len(first["roc"]["ceiling"]) == len(first["roc"]["fpr"])
    with open(tmp_path / "first" / "attacks.csv", newline="") as file:
        rows = {(row["attack"], row["scope"], row["measure"]): row for row in csv.DictReader(file)}
    check_page(shadowed, tmp_path)
    row = rows["rmia", "all", "tpr_at_0.01"]
    assert (row["value"], row["reason"]) == ("", "needs 1,000 non-members, has 60")
    assert float(rows["rmia", "all", "auc"]["ceiling"]) == pytest.approx(first["ceiling"]["auc"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--shadows", 3], "even number"),
        (["--shadows", 0], "at least 2"),
        (["--shadows", 2, "--attacks", "lira"], "lira needs at least 4 shadows, not 2"),
        (["--attacks", "rmia"], "rmia needs shadows: add --shadows 4"),
        (["--shadows", 4, "--match", "class"], "matched already"),
        (["--shadows", 4, "--audited", 33], "even number"),
        (["--shadows", 4, "--audited", 2000], "have only [0-9]+ of each"),
        (["--audited", 100], "is for an audit with shadows"),
        (["--shadows", 4, "--workers", 0], "at least 1"),
        (["--shadows", 4, "--workers", 1, "--ray", "auto"], "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_shadow_is_trained(shadowed, tmp_path, refused, arguments, says):
    refused("audit", shadowed.run.folder, *arguments, "--out", tmp_path / "audit", says=says)
    assert not (tmp_path / "audit").exists()


OUTSIDE = """
def gain(predictions):
    outside = predictions.reference_logits.mean(axis=0)
    return (predictions.logits - outside).max(axis=1)

def one(predictions):
    return [1.0] * (len(predictions) + len(predictions.reference_member) - 3)
"""


def test_an_attack_from_outside_is_tried_before_a_shadow_is_trained(shadowed, tmp_path, refused, monkeypatch):
    """Guards: an hour of training, and then an attack that fails."""
    (tmp_path / "theirs.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shadowed.run.folder, "run", ignore=shutil.ignore_patterns("shadows.private"))
    command = ["audit", "run", "--shadows", 4, "--audited", 120, "--out", "audit", "--attacks"]
    refused(
        *command, "theirs:one", says="score for each of 120 rows; it was tried on made-up outputs before the shadow"
    )
    refused(*command, "theirs:none", says=r"theirs has no 'none' .did you mean 'one'")
    assert not (tmp_path / "run" / "shadows.private").exists()
    assert not (tmp_path / "audit").exists()
    shutil.copytree(shadowed.run.folder / "shadows.private", "run/shadows.private")
    assert main([*map(str, command), "theirs:gain,rmia", "--resamples", "100"]) == 0
    assert list(json.loads((tmp_path / "audit/audit.json").read_text())["attacks"]) == ["theirs:gain", "rmia"]


def test_shadows_of_a_strangers_predictions_are_refused(tmp_path, refused):
    np.savez(tmp_path / "p.npz", logits=np.zeros((40, 2)), labels=np.zeros(40, int), member=np.arange(40) < 20)
    says = "needs the folder of a run"
    refused("audit", tmp_path / "p.npz", "--shadows", 4, "--out", tmp_path / "audit", says=says)


def test_a_strangers_references_of_unknown_members_are_taken_as_out_and_it_is_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    member, labels = np.arange(400) < 200, rng.integers(0, 3, 400)
    logits = rng.normal(size=(3, 400, 3)) + np.eye(3)[labels]
    logits[0] += 2 * member[:, None] * np.eye(3)[labels]
    np.savez(tmp_path / "p.npz", logits=logits[0], labels=labels, member=member, reference_logits=logits[1:])
    assert main(["audit", str(tmp_path / "p.npz"), "--out", str(tmp_path / "a"), "--resamples", "100"]) == 0
    assert "none of the 2 reference models is assumed to have been trained on any" in capsys.readouterr().out
    document = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert set(document["attacks"]) >= {"rmia-offline", "lira-offline"}
    assert not {"rmia", "lira"} & set(document["attacks"])
    assert document["reference_models"] == {"models": 2, "members_known": False, "attacks_not_made": {}}


def test_references_that_cannot_be_used_are_refused_or_said(tmp_path, capsys, refused):
    """Guards: where every reference model was trained on the rows, they were ignored without a word."""
    rng = np.random.default_rng(0)
    member, labels = np.arange(80) < 40, rng.integers(0, 3, 80)
    fields = {"logits": rng.normal(size=(80, 3)), "labels": labels, "member": member}
    fields["reference_logits"] = rng.normal(size=(4, 80, 3))
    for name, matrix in (("in", np.ones((4, 80), bool)), ("out", np.zeros((4, 80), bool))):
        np.savez(tmp_path / f"{name}.npz", **fields, reference_member=matrix)
    says = "^trilemma: rmia needs, .* not trained on it, and 80 examples .*; or leave out reference_logits"
    refused("audit", tmp_path / "in.npz", "--out", tmp_path / "none", says=says)
    assert not (tmp_path / "none").exists()
    command = ["audit", str(tmp_path / "out.npz"), "--resamples", "100", "--out"]
    assert main([*command, str(tmp_path / "offline")]) == 0
    assert "note: rmia and lira not made: rmia needs, for each example" in capsys.readouterr().out
    document = json.loads((tmp_path / "offline" / "audit.json").read_text())
    assert set(document["reference_models"]["attacks_not_made"]) == {"rmia", "lira"}
    assert set(document["attacks"]) >= {"rmia-offline", "lira-offline"}
    assert main([*command, str(tmp_path / "loss"), "--attacks", "threshold"]) == 0
    printed = capsys.readouterr().out
    assert "note: no attack that was asked for uses the reference models" in printed
    assert "caution: with fewer than 50 members or non-members, the intervals of AUCs are too narrow" in printed
