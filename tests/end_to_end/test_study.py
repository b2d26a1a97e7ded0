"""Studies as a user runs them: the command, what it leaves, what it says when something is wrong."""

import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest

import warm
from trilemma.cli.main import main
from trilemma.words import SEEDED_NOISE_OF_STUDY

MINE = """
title = "Mine"
figures = ["accuracy"]
seeds = 2

[[grid]]
data = {name = "digits", limit = 150, test_limit = 60}
epsilon = ["none", 8.0]
recipe = "digits"
set = {model = "convnet-4", epochs = 1, evaluations = 1}
"""

FAILING = """
[[grid]]
data = "folder"
recipe = "digits"
"""


@pytest.fixture
def trilemma(tmp_path, monkeypatch, capfd, warm_workers):
    """Run ``trilemma`` in this process, which saves its imports (``test_commands.py`` starts it as a user does)."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=printed.out, stderr=printed.err)

    return run


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Run ``trilemma`` in this process, which saves its imports, and expect one line and status 2."""

    def run(arguments, *words):
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert ended.value.code == 2
        errors = capfd.readouterr().err
        assert errors.count("\n") == 1
        for word in words:
            assert word in errors

    return run


@pytest.mark.parametrize(("options", "trials"), [(["--short"], 8), ([], 12)])
def test_the_quickstart_says_what_its_short_form_cannot_tell(trilemma, monkeypatch, options, trials):
    """What it trains is in ``tests/docs`` and ``.ci/run``; here, nothing is."""
    conducted = []
    monkeypatch.setattr("trilemma.cli.quickstart.conduct", lambda studies, *_, **__: conducted.append(studies[0]) or 0)
    done = trilemma("quickstart", *options)
    assert [len(study.trials) for study in conducted] == [trials]
    assert ("2 seeds and a tenth of the updates show that every step works" in done.stdout) == bool(options)
    assert done.stdout.count(" quickstart  ") == bool(options)
    assert "may it ship?" in done.stdout


def test_a_study_from_its_file_to_its_page_and_again(trilemma, refused, finished, tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    done = trilemma("study", "mine.toml", "--workers", "2", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"caution: {SEEDED_NOISE_OF_STUDY}"
    assert "4 of 4 trials are finished" in done.stdout
    assert "out/report.html" in done.stdout
    # One line for each trial says what it reached, and the table what the conditions did.
    assert len(re.findall(r"digits, BL, ε = 8, seed \d: accuracy 0\.\d{3}, ε [78]\.\d\d, \d+ s", done.stderr)) == 2
    table = done.stdout.splitlines()
    assert any(re.match(r"digits, BL, no budget +[01]\.\d{3} \[", line) for line in table)
    assert any(line.startswith("cannot tell: We say that a budget") for line in table)
    for name in ("study.json", "results.csv", "results.parquet", "comparisons.csv", "claims.json", "ledger.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    for kind in ("svg", "pdf", "png", "csv"):
        assert (tmp_path / "out" / "figures" / f"accuracy.{kind}").stat().st_size > 0
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")["trial"].unique()) == 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*.json")}

    again = trilemma("study", "mine.toml", "--workers", "2", "--out", "out")
    assert again.returncode == 0
    assert "4 of them finished already" in again.stderr
    more = trilemma("study", "mine.toml", "--workers", "2", "--seeds", "3", "--out", "out")
    assert more.returncode == 0
    assert "6 of 6 trials" in more.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before

    # The page can be drawn again, from an unfinished study, and from several folders.
    gone = next((tmp_path / "out" / "runs").iterdir())
    (gone / "result.json").unlink()
    report = trilemma("report", "out")
    assert report.returncode == 0, report.stderr
    assert "5 of 6 trials" in (tmp_path / "out" / "report.html").read_text()
    refused(["report", "out", "out2"], "out2 does not exist")
    refused(["report", "out", finished.path], "give --out")
    both = trilemma("report", "out", finished.path, "--out", "both")
    assert both.returncode == 0, both.stderr
    assert set(pd.read_csv(tmp_path / "both" / "results.csv")["data"]) == {"digits", "digits-s"}


def test_a_study_is_run_on_other_data_when_asked(trilemma, monkeypatch, tmp_path):
    conducted = []
    monkeypatch.setattr("trilemma.cli.study.conduct", lambda studies, *_, **__: conducted.append(studies[0]) or 0)
    (tmp_path / "mine.toml").write_text(MINE)
    data = ("--data", "digits-s,skew=0.8,limit=150")
    assert trilemma("study", "mine.toml", "--seeds", "1", *data, "--out", "out").returncode == 0
    (study,) = conducted
    assert [dict(trial.data) for trial in study.trials] == [{"name": "digits-s", "skew": 0.8, "limit": 150}] * 2


def test_a_trial_that_fails_is_listed_and_can_be_tried_again(trilemma, tmp_path):
    (tmp_path / "mine.toml").write_text(MINE.replace("seeds = 2", "seeds = 1") + FAILING)
    done = trilemma("study", "mine.toml", "--workers", "2", "--out", "out")
    assert done.returncode == 1
    assert "2 of 3 trials are finished" in done.stdout
    assert "1 failed (--retry runs them again)" in done.stdout
    (path,) = (tmp_path / "out" / "failures").iterdir()
    reason = json.loads(path.read_text())["reason"]
    assert reason in done.stdout
    assert "folder" in (tmp_path / "out" / "report.html").read_text()
    again = trilemma("study", "mine.toml", "--workers", "2", "--out", "out")
    assert again.returncode == 1
    assert "1 failed before" in again.stderr
    # Mend what was wrong, and it succeeds.
    from PIL import Image

    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / "folder" / split / label).mkdir(parents=True)
            for number in range(40):
                Image.new("L", (8, 8), number * 3 + (120 if label == "a" else 0)).save(
                    tmp_path / "folder" / split / label / f"{number}.png"
                )
    mended = trilemma("study", "mine.toml", "--workers", "2", "--retry", "--out", "out")
    assert mended.returncode == 0, mended.stdout
    assert "3 of 3 trials are finished" in mended.stdout


def test_a_second_run_on_the_same_folder_is_refused(refused, tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    first = warm.Popen(
        [
            sys.executable,
            "-m",
            "trilemma.cli.main",
            "study",
            "mine.toml",
            "--seeds",
            "1",
            "--workers",
            "2",
            "--out",
            "out",
        ],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not list((tmp_path / "out").glob("runs/*/config.json")):
        time.sleep(0.05)
        assert first.poll() is None
    refused(["study", "mine.toml", "--out", "out"], "another process is at work")
    assert first.wait(timeout=300) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["technique"], ["no study 'technique'", "did you mean 'techniques'?"]),
        (["mine.toml", "--scale", "paper"], ["no scale 'paper'"]),
        (["mine.toml", "--seeds", "0"], ["--seeds must be at least 1"]),
        (["mine.toml", "--workers", "0"], ["--workers must be at least 1"]),
        (["mine.toml", "--workers", "2", "--ray", "auto"], ["exclude each other"]),
        (["mine.toml", "--data", "digits-s,skw=0.8"], ["did you mean 'skew'?"]),
        (["mine.toml", "--data", "digits-s,skew=much"], ["skew must be a number"]),
        (["mine.toml", "--seeds", "400"], ["800 trials are more than 500", "--yes"]),
        (["figure.toml"], ["accuracyy", "did you mean 'accuracy'?"]),
        (["bias.toml"], ["bias"]),
        (["empty.toml"], ["empty list"]),
        (["key.toml"], ["unknown key 'epsilom'", "did you mean 'epsilon'?"]),
        (["mine.toml", "--sceds", "3"], ["did you mean '--seeds'?"]),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line_and_nothing_is_left(refused, tmp_path, arguments, words):
    (tmp_path / "mine.toml").write_text(MINE)
    (tmp_path / "figure.toml").write_text(MINE.replace('"accuracy"', '"accuracyy"'))
    (tmp_path / "bias.toml").write_text(MINE.replace('"accuracy"', '"bias"'))
    (tmp_path / "empty.toml").write_text(MINE.replace('["none", 8.0]', "[]"))
    (tmp_path / "key.toml").write_text(MINE.replace("epsilon", "epsilom"))
    refused(["study", *arguments, "--out", "out"], *words)
    assert not (tmp_path / "out").exists()


def test_reports_of_nothing_and_of_another_version(refused, tmp_path):
    refused(["report", "nowhere"], "nowhere does not exist")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "study.json").write_text('{"format": 0}')
    refused(["report", "old"], "has format 0, this version reads 1")


def test_studies_are_listed_with_their_trials_and_an_estimate(trilemma, tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    done = trilemma("studies", "mine.toml")
    assert done.returncode == 0, done.stderr
    head, row, *rest = done.stdout.splitlines()
    assert head.split()[:3] == ["study", "scale", "trials"]
    assert row.split()[0] == "mine.toml"
    assert " 4 " in row
    assert " s " in row or " min " in row
    assert "estimates" in " ".join(rest)
