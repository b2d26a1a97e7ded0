"""A run that did not do what its epsilon was computed for has none, wherever it would be shown."""

import json
import math
import os
import sys

import pytest

import trilemma as tl
import warm
from trilemma.analysis.private_trial import PrivateTrial
from trilemma.cli.main import main
from trilemma.cli.table import describe_run
from trilemma.errors import PrivacyError
from trilemma.privacy import add_gaussian_noise
from trilemma.rounding import percent_up
from trilemma.study.folder import StudyFolder
from trilemma.training import loop
from trilemma.training.execution import Execution
from trilemma.trial.progress import Stopped

CPU = Execution("cpu", 40, "float32")


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits", limit=120, test_limit=80)


def recipe(**values):
    return tl.Recipe(
        **{
            "model": "convnet-4",
            "batch_size": 20,
            "epochs": 3.0,
            "norm_groups": 2,
            "evaluations": 2,
            "epsilon": 8.0,
            "techniques": ("gn", "ws", "am", "pa", "sat"),
            "views": 2,
            "secret_noise": False,
        }
        | values
    )


def a_copy(sums, **_):
    return dict(sums)


def test_an_honest_run_says_so(digits, tmp_path):
    run = tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    truth = run.result["privacy"]["truth"]
    assert truth["passed"]
    assert run.not_private is None
    assert {"noise_spread", "inclusions", "draw_overlap", "normalizer", "clip", "updates", "epsilon"} <= set(
        truth["checks"]
    )
    assert "5 single examples" in truth["checks"]["example_norm"]["what"]  # in updates 1, 2, 4, 8, 16 of 18
    assert run.result["privacy"]["epsilon"] <= 8.0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert run.result["privacy"]["examples"] == config["data"]["examples"] == len(digits.train)  # N is public
    at_most = percent_up(run.result["privacy"]["ceiling"]["tpr_at_fpr"]["0.01"])
    assert f"any attack: at most {at_most} % of members found at 1 % false positives" in describe_run(run)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["privacy"]["truth"] == truth


def test_without_a_budget_there_is_nothing_to_check(digits, tmp_path):
    run = tl.train(recipe(epsilon=None, techniques=()), digits, tmp_path / "run", execution=CPU)
    assert run.result["privacy"] is None
    assert run.not_private is None


def test_a_run_whose_noise_was_a_copy_has_no_epsilon(digits, tmp_path, monkeypatch, capfd):
    """Issue: with noise replaced by a copy, training ended and result.json said epsilon 2.9997, covered."""
    monkeypatch.setattr("trilemma.privacy.plan.add_gaussian_noise", a_copy)
    run = tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    privacy = run.result["privacy"]
    assert (privacy["epsilon"], privacy["epsilon_rdp"]) == (None, None)
    assert privacy["covered"].startswith("nothing")
    assert privacy["ceiling"] is None
    assert not privacy["truth"]["passed"]
    assert not privacy["truth"]["checks"]["noise_spread"]["passed"]
    assert run.not_private.startswith("not private (truth check failed): noise_spread is ")
    assert run.not_private in run.result["notes"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["epsilon"] for line in lines] == [None, None]
    assert (tmp_path / "run" / "model.safetensors").exists()
    text = describe_run(run)
    assert "not private (truth check failed)" in text
    assert "ε" not in text
    trial = {"recipe": run.recipe.to_dict(), "data": {"name": "digits"}}
    with pytest.raises(PrivacyError, match="truth check failed"):
        PrivateTrial.from_files("mine", trial, privacy)
    again = tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    assert again.not_private == run.not_private
    audit = ["audit", str(run.folder), "--attacks", "threshold", "--resamples", "100", "--require", "accuracy>=0"]
    assert main([*audit, "--out", str(tmp_path / "audit")]) == 1
    assert "trilemma: not private (truth check failed)" in capfd.readouterr().err
    assert (tmp_path / "audit" / "audit.json").exists()


def test_an_update_that_is_made_twice_and_charged_once_is_refused(digits, tmp_path, monkeypatch):
    real = loop.Training.step

    def step(self):
        if self.state.update == 5 and not vars(self).setdefault("once", False):
            self.once = True
            real(self)
            self.state.update -= 1
        return real(self)

    monkeypatch.setattr(loop.Training, "step", step)
    with pytest.raises(PrivacyError, match="the plan accounts for 12 updates"):
        tl.train(recipe(epochs=2.0), digits, tmp_path / "run", execution=CPU)


@pytest.mark.parametrize("fault", ["only the first tensor", "clip ignored", "epsilon halved"])
def test_other_faults_in_the_real_training(digits, tmp_path, monkeypatch, fault):
    expected = {"only the first tensor": "noise_of_each_tensor", "clip ignored": "example_norm"}
    if fault == "only the first tensor":

        def noise(sums, *, standard_deviation, stream):
            first = next(iter(sums))
            noisy = add_gaussian_noise(sums, standard_deviation=standard_deviation, stream=stream)
            return {n: noisy[n] if n == first else s for n, s in sums.items()}

        monkeypatch.setattr("trilemma.privacy.plan.add_gaussian_noise", noise)
    elif fault == "clip ignored":
        monkeypatch.setattr(
            "trilemma.privacy.gradients.sums.Objective.factor",
            lambda self, norm: (norm / norm.clamp_min(1e-30)).float(),
        )
    else:
        real_spent = loop.Training.epsilon_spent
        monkeypatch.setattr(loop.Training, "epsilon_spent", lambda self, *more: real_spent(self, *more) / 2)
        expected[fault] = "event"
    run = tl.train(recipe(epochs=2.0), digits, tmp_path / "run", execution=CPU)
    assert not run.result["privacy"]["truth"]["checks"][expected[fault]]["passed"]
    assert run.result["privacy"]["epsilon"] is None


def test_a_resume_that_repeats_its_draws_and_noise_is_seen(digits, tmp_path, monkeypatch):
    """Guards: resume restarts the seed and repeats noise.  Honestly resumed, the same run passes (test_resume)."""
    monkeypatch.setattr("trilemma.privacy.noise.noise_stream", lambda sums, *, stream, **_: stream.derived(b""))
    real = loop.State.restore

    def restore(self, checkpoint):
        others = {name: value for name, value in checkpoint.tensors.items() if not name.startswith("stream/")}
        fresh = {f"stream/{name}": getattr(self, name).get_state() for name in ("sampling", "noise")}
        real(self, type(checkpoint)(others | fresh, checkpoint.header))

    monkeypatch.setattr(loop.State, "restore", restore)
    asked = []
    with pytest.raises(Stopped):
        tl.train(
            recipe(), digits, tmp_path / "run", execution=CPU, should_stop=lambda: asked.append(1) or len(asked) > 9
        )
    run = tl.train(recipe(), digits, tmp_path / "run", execution=CPU)
    checks = run.result["privacy"]["truth"]["checks"]
    assert not checks["noise_repeats"]["passed"]
    assert not checks["draw_repeats"]["passed"]
    assert math.isfinite(checks["noise_repeats"]["value"])


PLANTED = """
import trilemma.privacy.plan as plan

def a_copy(sums, **_):
    return dict(sums)

plan.add_gaussian_noise = a_copy
"""
STUDY = """
title = "Mine"
figures = ["accuracy"]
seeds = 1

[[grid]]
data = {name = "digits", limit = 150, test_limit = 60}
epsilon = ["none", 8.0]
recipe = "digits"
set = {model = "convnet-4", epochs = 1, evaluations = 1}
"""


@pytest.fixture
def command(tmp_path):
    """``trilemma`` as a process of its own in which, as in all that it starts, noise is a copy of the sum."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANTED)
    path = os.pathsep.join([str(tmp_path / "planted"), *sys.path])

    def run(*arguments):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        command = [sys.executable, "-m", "trilemma.cli.main", *arguments]
        return warm.run(command, timeout=300, cwd=tmp_path, env=environment)

    return run


def test_the_command_ends_with_status_1_and_one_line(command, tmp_path, monkeypatch, capsys):
    arguments = ["train", "--data", "digits", "--limit", "120", "--test-limit", "80", "--model", "convnet-4"]
    arguments += ["--epsilon", "8", "--batch-size", "20", "--epochs", "2", "--set", "evaluations=1", "--out", "run"]
    ended = command(*arguments)
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == ended.returncode == 1, ended.stderr  # also when it is asked again
    again = capsys.readouterr()
    for printed, errors in ((ended.stdout, ended.stderr), (again.out, again.err)):
        assert errors.splitlines()[-1].startswith("trilemma: not private (truth check failed): noise_spread is ")
        assert "privacy       not private (truth check failed)" in printed
        assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "result.json").read_text())["privacy"]["epsilon"] is None
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_study_goes_on_says_which_and_ends_with_status_1(command, tmp_path):
    (tmp_path / "mine.toml").write_text(STUDY)
    ended = command("study", "mine.toml", "--out", "out", "--workers", "1")
    assert ended.returncode == 1, ended.stderr
    assert "1 of 2 trials are finished" in ended.stdout
    assert "not private (truth check failed): noise_spread" in ended.stdout
    (failure,) = (tmp_path / "out" / "failures").iterdir()
    assert json.loads(failure.read_text())["reason"].startswith("not private (truth check failed)")
    assert (tmp_path / "out" / "runs" / failure.stem / "model.safetensors").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not private (truth check failed)" in page
    results = (tmp_path / "out" / "results.csv").read_text()
    assert failure.stem not in results
    folder = StudyFolder(tmp_path / "out")
    failure.unlink()  # as if it could not be written
    assert not folder.finished(failure.stem)
    assert folder.reason(failure.stem).startswith("not private (truth check failed)")
    folder.forget_failures([failure.stem])  # --retry: it is trained anew
    assert folder.reason(failure.stem) is None
    assert not (folder.run(failure.stem) / "result.json").exists()
