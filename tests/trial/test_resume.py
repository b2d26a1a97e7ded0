"""Killed at any point and started again, a run ends as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import trilemma as tl
import warm
from trilemma.cli.main import main
from trilemma.errors import InputError, PrivacyError
from trilemma.privacy import accounting
from trilemma.privacy.plan import Plan
from trilemma.training import checkpoints
from trilemma.training.checkpoints import NAME, PREVIOUS
from trilemma.training.execution import Execution
from trilemma.trial.preflight import refuse_to_go_back
from trilemma.trial.privacy_record import _same_noise_beside
from trilemma.trial.progress import Stopped
from trilemma.trial.run import History, unfinished
from trilemma.trial.train import train

CPU = Execution("cpu", 40, "float32")
RECIPES = {
    "private": {"epsilon": 8.0, "techniques": ("gn", "ws", "am", "pa", "sat"), "views": 2},
    "ordinary": {"techniques": ("am", "pa", "sat"), "momentum": 0.9, "schedule": "cosine", "views": 2},
}


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits", limit=120, test_limit=80)


def recipe(kind, **values):
    return tl.Recipe(
        **{
            "model": "convnet-4",
            "batch_size": 20,
            "epochs": 3.0,
            "norm_groups": 2,
            "evaluations": 3,
            "secret_noise": False,
        }
        | RECIPES[kind]
        | values
    )


def outcome(folder):
    """What must not depend on interruptions: everything but times and notes."""
    result = json.loads((folder / "result.json").read_text())
    for key in ("seconds", "environment", "notes", "checksums"):
        del result[key]
    (result["privacy"] or {}).pop("noise_shared", None)  # with a run beside it
    return load_file(folder / "model.safetensors"), (folder / "history.jsonl").read_text(), result


def same(first, other):
    weights, history, result = outcome(first)
    weights2, history2, result2 = outcome(other)
    assert weights.keys() == weights2.keys()
    assert all(torch.equal(weights[n], weights2[n]) for n in weights)
    assert history == history2
    assert result == result2


def test_a_finished_run_without_its_result_is_not_trained_again(digits, tmp_path):
    """Guards: the budget spent twice; with one evaluation the history alone does not show that anything was seen."""
    private = recipe("private", secret_noise=True, epochs=1.0, evaluations=1)
    run = train(private, digits, tmp_path, execution=CPU)
    (run.folder / "result.json").unlink()
    with pytest.raises(PrivacyError, match="would spend the budget a second time"):
        train(private, digits, tmp_path, execution=CPU)


def test_a_run_that_another_process_finishes_meanwhile_is_not_trained_again(digits, tmp_path, monkeypatch):
    """Guards: a look for the finished run before the lock is held alone; a second training spends the budget twice."""
    private, module = recipe("private", secret_noise=True, epochs=1.0), sys.modules["trilemma.trial.train"]
    real, finished = module.Training, []

    def while_another_trains(*arguments):
        training = real(*arguments)
        if not finished:
            finished.append(None)
            finished[0] = outcome(train(private, digits, tmp_path, execution=CPU).folder)
        return training

    monkeypatch.setattr(module, "Training", while_another_trains)
    run = train(private, digits, tmp_path, execution=CPU)
    weights, history, result = outcome(run.folder)
    assert (history, result) == finished[0][1:]
    assert all(torch.equal(weights[name], value) for name, value in finished[0][0].items())


@pytest.mark.parametrize("kind", RECIPES)
def test_stopping_at_every_other_update_changes_nothing(digits, tmp_path, kind):
    """Guards: resume restarts the seed and repeats noise (all streams are in the checkpoint)."""
    train(recipe(kind), digits, tmp_path / "whole", execution=CPU, track=[5])
    stops, asked = 0, [0]

    def now():
        asked[0] += 1
        return asked[0] % 2 == 0

    run = None
    while run is None:
        try:
            run = train(recipe(kind), digits, tmp_path / "torn", execution=CPU, track=[5], should_stop=now)
        except Stopped:
            stops += 1
    assert stops >= 6
    assert any("went on from update" in note for note in run.notes)
    same(tmp_path / "whole", tmp_path / "torn")
    assert not (tmp_path / "torn" / NAME).exists()


SCRIPT = """
import sys, trilemma as tl
from trilemma.training.execution import Execution
from trilemma.trial import train as module
module.CHECKPOINT_SECONDS = 0.0
data = tl.load_data("digits", limit=120, test_limit=80)
recipe = tl.Recipe.from_dict(__import__("json").loads(sys.argv[1]))
print("ready", flush=True)
module.train(recipe, data, sys.argv[2], execution=Execution("cpu", 40, "float32"))
"""


def test_sigkill_at_random_moments_changes_nothing(digits, tmp_path, capsys):
    """Many more kills: ``tests/faults/kills.py``."""
    choices = recipe("private", epochs=4.0)
    train(choices, digits, tmp_path / "whole", execution=CPU)
    command = [sys.executable, "-c", SCRIPT, json.dumps(choices.to_dict()), str(tmp_path / "torn")]
    process = warm.Popen(command, stdout=subprocess.PIPE)
    while not (tmp_path / "torn" / NAME).exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "torn")])
    assert ended.value.code == 2
    assert "the run is not finished; run the same command again to resume it" in capsys.readouterr().err
    random.seed(11)
    for _ in range(2):
        process = warm.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(random.uniform(0.0, 1.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert warm.run(command, timeout=120).returncode == 0
    same(tmp_path / "whole", tmp_path / "torn")
    assert main(["report", str(tmp_path / "torn")]) == 0


def test_a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(digits, tmp_path):
    train(recipe("private"), digits, tmp_path / "whole", execution=CPU)
    asked = [0]

    def after_eight():
        asked[0] += 1
        return asked[0] >= 8

    with pytest.raises(Stopped, match="resumes from there"):
        train(recipe("private"), digits, tmp_path / "torn", execution=CPU, should_stop=after_eight)
    assert (tmp_path / "torn" / PREVIOUS).exists()
    content = (tmp_path / "torn" / NAME).read_bytes()
    (tmp_path / "torn" / NAME).write_bytes(content[: len(content) // 2])
    run = train(recipe("private"), digits, tmp_path / "torn", execution=CPU)
    assert any("damaged" in note and "the one before it" in note for note in run.notes)
    same(tmp_path / "whole", tmp_path / "torn")


@pytest.mark.parametrize("loss", ["deleted", "damaged"])
def test_a_training_whose_checkpoints_are_lost_is_not_begun_again(digits, tmp_path, loss):
    """The numbers of the interrupted run were shown: with other noise, the budget would be spent twice."""
    asked = iter(range(100))
    with pytest.raises(Stopped):
        train(
            recipe("private", evaluations=6, secret_noise=True),
            digits,
            tmp_path / "run",
            execution=CPU,
            should_stop=lambda: next(asked) > 10,
        )
    shown = (tmp_path / "run" / "history.jsonl").read_bytes()
    assert shown.count(b"\n") > 1
    for path in (tmp_path / "run").glob("checkpoint*"):
        path.unlink() if loss == "deleted" else path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PrivacyError, match="would spend the budget a second time"):
        train(recipe("private", evaluations=6, secret_noise=True), digits, tmp_path / "run", execution=CPU)
    assert (tmp_path / "run" / "history.jsonl").read_bytes() == shown


LINE = b'{"update": 1}\n'
DAMAGES = {
    "deleted": None,
    "a folder": None,
    "empty": b"",
    "not text": b"\xff\xfe{}\n" * 9,
    "not JSON": b"{\n" * 9,
    "lists": b"[]\n" * 9,
    "no number": LINE * 9 + b'{"update": null}\n',
    "not a number": LINE * 9 + b'{"update": 10, "x": NaN}\n',
    "one line lost": LINE,
}


def go_on(folder, recipe):
    refuse_to_go_back(folder, recipe, 2)
    return History(folder / "history.jsonl", 2)


def test_a_history_that_is_damaged_is_refused_in_one_line(tmp_path):
    """Guards: a traceback; and advice to start again that does not say that the budget was spent."""
    history, private = tmp_path / "history.jsonl", recipe("private", secret_noise=True)
    for how, content in DAMAGES.items():
        if content is not None:
            history.write_bytes(content)
        elif how == "a folder":
            history.mkdir()
        with pytest.raises(InputError, match=r"history\.jsonl is missing or damaged \(.*count both$") as refused:
            go_on(tmp_path, private)
        assert "\n" not in str(refused.value), how
        if how == "a folder":
            history.rmdir()
    history.write_bytes(LINE * 2 + b'{"upda')  # a kill cut it short
    assert go_on(tmp_path, private).lines == 2
    assert history.read_bytes() == LINE * 2


def test_a_run_whose_history_is_damaged_is_refused(digits, tmp_path):
    values, asked = recipe("private", secret_noise=True, techniques=""), iter(range(100))
    with pytest.raises(Stopped):
        train(values, digits, tmp_path, execution=CPU, should_stop=lambda: next(asked) > 10)
    (tmp_path / "history.jsonl").write_bytes(DAMAGES["lists"])
    with pytest.raises(InputError, match=r"history\.jsonl is missing or damaged"):
        train(values, digits, tmp_path, execution=CPU)


def test_another_recipe_or_other_data_is_refused_and_nothing_is_lost(digits, tmp_path):
    train(recipe("private"), digits, tmp_path / "run", execution=CPU)
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=r"another recipe \(clipping_norm\)"):
        train(recipe("private", clipping_norm=2.0), digits, tmp_path / "run", execution=CPU)
    with pytest.raises(InputError, match="other data"):
        train(recipe("private"), tl.load_data("digits", limit=121), tmp_path / "run", execution=CPU)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis.tex"):
        train(recipe("private"), digits, tmp_path / "other", execution=CPU)
    assert os.listdir(tmp_path / "other") == ["thesis.tex"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def stop_at_third(choices, data, folder):
    asked = iter(range(9))
    with pytest.raises(Stopped):
        train(choices, data, folder, execution=CPU, should_stop=lambda: next(asked) == 2)


def test_updates_made_with_another_noise_multiplier_are_not_counted_with_these(digits, tmp_path, monkeypatch):
    """Guards: a package replaced between a kill and the resume; epsilon would be that of the second noise alone."""
    real = accounting.noise_multiplier
    with monkeypatch.context() as earlier:
        earlier.setattr(accounting, "noise_multiplier", lambda **request: real(**request) / 2)
        stop_at_third(recipe("private"), digits, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PrivacyError, match=r"noise multiplier [\d.]+, not [\d.]+ .* another --out") as caught:
        train(recipe("private"), digits, tmp_path, execution=CPU)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("term", ["event", "expected_batch", "clipping_norm"])
def test_a_checkpoint_that_does_not_say_what_it_was_made_with_is_refused(digits, tmp_path, term):
    """Guards: a header that nothing reads."""
    stop_at_third(recipe("private"), digits, tmp_path)
    saved, _ = checkpoints.load(tmp_path)
    del saved.header[term]
    checkpoints.save(tmp_path, saved)
    with pytest.raises(PrivacyError, match=r"None, not .* another --out"):
        train(recipe("private"), digits, tmp_path, execution=CPU)


def test_a_copy_of_a_stopped_run_does_not_go_on_with_its_secret_noise(digits, tmp_path):
    """Guards: two models with the same noise, each of which says that its noise is secret."""
    choices = recipe("private", secret_noise=True)
    stop_at_third(choices, digits, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    with pytest.raises(PrivacyError, match="move the folder back") as caught:
        train(choices, digits, tmp_path / "copy", execution=CPU)
    assert str(tmp_path / "run") in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    stop_at_third(choices, digits, tmp_path / "link")  # another name of the same folder: it goes on


def test_copies_of_a_stopped_run_never_add_one_noise_to_two_sums(digits, tmp_path, monkeypatch):
    """Guards: a copy put in place of a run with secret noise, which no path can tell apart.  Where it rounds as the
    first did, it releases the same; where it does not, its noise is unrelated.  False-alarm rate 1e-6."""
    choices, noise, real = recipe("private", secret_noise=True), [], Plan.privatize
    stop_at_third(choices, digits, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "kept")

    def privatize(plan, draw, total, *more):
        sums = torch.cat([value.double().flatten() for value in total.sums.values()])
        released = real(plan, draw, total, *more)
        noise.append(torch.cat([value.double().flatten() for value in released.values()]) * plan.batch_size - sums)
        return released

    monkeypatch.setattr(Plan, "privatize", privatize)
    weights, noises = [], []
    for physical_batch in (40, 40, 3):
        noise.clear()
        run = train(choices, digits, tmp_path / "run", execution=Execution("cpu", physical_batch, "float32"))
        weights.append(load_file(run.folder / "model.safetensors"))
        noises.append(torch.cat(noise[:2]))
        shutil.rmtree(tmp_path / "run")
        shutil.copytree(tmp_path / "kept", tmp_path / "run")
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert torch.equal(noises[0], noises[1])
    correlation = torch.corrcoef(torch.stack(noises[1:]))[0, 1]
    assert abs(float(correlation)) * len(noises[0]) ** 0.5 < 4.9


def test_the_updates_of_a_line_are_saved_before_anybody_sees_it(digits, tmp_path, monkeypatch):
    """Guards: an evaluation that is seen in the history or shown, lost in a kill, and made again by updates with other
    noise: a second release that nobody counts."""
    real, lines = History.append, []

    def append(history, line):
        saved, _ = checkpoints.load(tmp_path)
        lines.append((line["update"], saved and saved.header["update"]))
        real(history, line)
        if len(lines) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(History, "append", append)
    values = {"secret_noise": True, "techniques": ""}
    with pytest.raises(KeyboardInterrupt):
        train(recipe("private", **values), digits, tmp_path, execution=CPU)
    first = (tmp_path / "history.jsonl").read_text().splitlines()
    train(recipe("private", **values), digits, tmp_path, execution=CPU)
    assert len(lines) == 4
    assert all(update == saved for update, saved in lines)
    assert (tmp_path / "history.jsonl").read_text().splitlines()[:1] == first


@pytest.mark.parametrize("damaged", [(NAME,), (NAME, PREVIOUS)])
def test_no_update_is_made_again_after_its_line_was_seen(digits, tmp_path, damaged):
    """Guards: a damaged checkpoint goes back behind a line, and with other rounding its updates get other noise."""
    values, seen = recipe("private", secret_noise=True, techniques=""), []

    def until_second(step):
        seen.append(step)
        if step.what == "training" and len((tmp_path / "history.jsonl").read_text().splitlines()) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(values, digits, tmp_path, execution=CPU, progress=until_second)
    shown = seen[-1].update
    (whole, _), kept = checkpoints.load(tmp_path), (tmp_path / "history.jsonl").read_text()
    assert whole.header["history_lines"] == 2
    for name in damaged:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    resumed = []
    if len(damaged) == 2:
        with pytest.raises(PrivacyError, match="would spend the budget a second time"):
            train(values, digits, tmp_path, execution=CPU)
    else:
        run = train(values, digits, tmp_path, execution=CPU, progress=resumed.append)
        assert min(step.update for step in resumed if step.what == "training") >= shown
        assert any("the one before it" in note for note in run.result["notes"])
        assert (tmp_path / "history.jsonl").read_text().startswith(kept)


def test_a_resumption_behind_a_line_that_was_seen_is_refused(digits, tmp_path, monkeypatch):
    """Where a run is killed between the line and the checkpoint that has it, and the one before the line is damaged."""
    values, real = recipe("private", secret_noise=True, techniques=""), History.append

    def append(history, line):
        real(history, line)
        if history.lines == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(History, "append", append)
    with pytest.raises(KeyboardInterrupt):
        train(values, digits, tmp_path, execution=CPU)
    monkeypatch.setattr(History, "append", real)
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-1])
    with pytest.raises(PrivacyError, match="has shown results of update"):
        train(values, digits, tmp_path, execution=CPU)


def test_a_finished_run_is_returned_as_it_is(digits, tmp_path):
    first = train(recipe("ordinary"), digits, tmp_path / "run", execution=CPU)
    stamp = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    again = train(recipe("ordinary"), digits, tmp_path / "run", execution=CPU)
    assert again.result == json.loads((tmp_path / "run" / "result.json").read_text())
    assert again.recipe == first.recipe
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == stamp


def test_two_at_once_are_kept_apart(digits, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is at work"):
            train(recipe("private"), digits, tmp_path / "run", execution=CPU)


def test_secret_noise_leaves_no_state_of_a_stream(digits, tmp_path):
    run = train(recipe("private", secret_noise=True), digits, tmp_path / "run", execution=CPU)
    privacy = run.result["privacy"]
    assert privacy["noise_source"] == "secret"
    assert privacy["noise_key_digest"] is None
    assert privacy["noise_shared"] is False
    assert not list((tmp_path / "run").glob("checkpoint*"))


def test_a_run_that_goes_on_keeps_the_physical_batch_it_began_with(digits, tmp_path, monkeypatch):
    """How much memory is free at the moment must not change the order in which sums are rounded."""
    execution = Execution("cpu", compute="float32")
    with pytest.raises(Stopped):
        tl.train(recipe("private"), digits, tmp_path / "run", execution=execution, should_stop=lambda: True)
    monkeypatch.setattr("trilemma.training.memory.available_memory", lambda: 400_000)
    went_on = tl.train(recipe("private"), digits, tmp_path / "run", execution=execution)
    anew = tl.train(recipe("private"), digits, tmp_path / "anew", execution=execution)
    assert anew.result["course"]["physical_batch"] < went_on.result["course"]["physical_batch"]


def test_the_digest_of_the_key_is_recorded_and_unique(digits, tmp_path, monkeypatch):
    """The digest is that of the noise that was drawn, also in a resumed run; another run has another digest."""
    first = train(recipe("private"), digits, tmp_path / "first", execution=CPU).result["privacy"]
    with pytest.raises(Stopped):
        train(recipe("private"), digits, tmp_path / "torn", execution=CPU, should_stop=lambda: True)
    other_way = Execution("cpu", 39, "float32")
    torn = train(recipe("private"), digits, tmp_path / "torn", execution=other_way).result["privacy"]
    other = train(recipe("private"), digits, tmp_path / "other", execution=other_way).result["privacy"]
    assert first["noise_key_digest"] == torn["noise_key_digest"] != other["noise_key_digest"]
    assert len(first["noise_key_digest"]) == 64
    assert [run["noise_shared"] for run in (first, torn, other)] == [False, True, False]  # with those beside it
    # The same where the folder is the one that the command runs in.
    for name, shared in (("torn", True), ("other", False)):
        monkeypatch.chdir(tmp_path / name)
        digest = json.loads((tmp_path / name / "result.json").read_text())["privacy"]["noise_key_digest"]
        assert _same_noise_beside(Path("."), digest) is shared


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, images):
        return self.last(self.second(self.first(images.flatten(1)).relu()).relu())


@pytest.mark.parametrize("kind", ["private", "ordinary"])
def test_a_network_with_tied_weights_is_stopped_resumed_and_loaded(digits, tmp_path, kind):
    """Guards: a first checkpoint that cannot be written, after a history with results was."""
    torch.manual_seed(0)
    network, choices = Tied(), recipe(kind, model="tied", techniques="pa,sat", evaluations=2)
    train(choices, digits, tmp_path / "whole", network=network, execution=CPU)
    asked = iter(range(100))
    with pytest.raises(Stopped):
        train(choices, digits, tmp_path / "run", network=network, execution=CPU, should_stop=lambda: next(asked) == 10)
    train(choices, digits, tmp_path / "run", network=network, execution=CPU)
    same(tmp_path / "whole", tmp_path / "run")
    model = tl.load_model(tmp_path / "run", network=network)
    assert model.network.second.weight is model.network.first.weight
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert torch.equal(stored["first.weight"], stored["second.weight"])
    assert torch.equal(model.network.first.weight, stored["first.weight"])
    assert not torch.equal(network.first.weight, stored["first.weight"])


def test_a_checkpoint_of_the_first_version_is_refused_in_one_line(digits, tmp_path):
    with pytest.raises(Stopped):
        train(recipe("private"), digits, tmp_path / "run", execution=CPU, should_stop=lambda: True)
    saved, _ = checkpoints.load(tmp_path / "run")
    tensors = {name: value for name, value in saved.tensors.items() if not name.startswith("stream/")}
    tensors |= {f"generator/{name}": torch.Generator().get_state() for name in ("sampling", "noise", "views")}
    checkpoints.save(tmp_path / "run", checkpoints.Checkpoint(tensors, saved.header))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match="another --out") as caught:
        train(recipe("private"), digits, tmp_path / "run", execution=CPU)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_file_that_a_finished_run_lost_is_put_back(tmp_path):
    """Guards: the advice to begin a run again whose training is over."""
    (tmp_path / "result.json").write_text("{}")
    assert str(unfinished(tmp_path, "signals.parquet")).endswith("holds no signals.parquet: put the file back")
