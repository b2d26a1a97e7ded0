"""Runs with canaries: what they say before and after, in every place; resumed, refused, and an alarm that is seen."""

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import trilemma as tl
from replay import unmeasured
from trilemma.analysis.private_trial import PrivateTrial
from trilemma.cli.main import main
from trilemma.cli.table import describe_run
from trilemma.errors import InputError, PrivacyError
from trilemma.report.evidence import OneModel
from trilemma.report.model_page import page_of, statement_of
from trilemma.rounding import upper
from trilemma.study.folder import StudyFolder
from trilemma.trial.canary_record import what_canaries_can_show
from trilemma.trial.card import card
from trilemma.trial.gate import conditions, judge
from trilemma.trial.progress import Stopped, TrialProgress
from trilemma.trial.run import why_contradicted
from trilemma.trial.statement import canaries_in_words

RECIPE = tl.Recipe(
    model="linear", epsilon=8.0, batch_size=60, epochs=4, learning_rate=0.5, evaluations=1, secret_noise=False
)
GRADIENT = tl.Canaries("gradient", 200)


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits", limit=120, test_limit=120)


def train(data, out, recipe=RECIPE, canaries=GRADIENT, stops=()):
    """``tl.train`` without the attacks, stopped before each of these updates and started again."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    start = {name: value.clone() for name, value in network.state_dict().items()}
    for update in (*stops, None):
        network.load_state_dict(start)
        calls = iter(range(1000))
        stop = (lambda calls=calls, update=update: next(calls) >= update) if update is not None else None
        try:
            with unmeasured():
                return tl.train(recipe, data, out, network=network, canaries=canaries, should_stop=stop, progress=False)
        except Stopped:
            continue


@pytest.mark.parametrize("kind", ["gradient", "mislabelled"])
def test_a_run_that_was_stopped_ends_with_the_same_canaries(data, tmp_path, kind):
    canaries = tl.Canaries(kind, 100)
    whole = train(data, tmp_path / "whole", canaries=canaries)
    torn = train(data, tmp_path / "torn", canaries=canaries, stops=(2, 3))
    assert any("went on from update" in note for note in torn.notes)
    assert torn.result["canaries"] == whole.result["canaries"]
    assert (torn.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()
    assert not list(torn.folder.glob("checkpoint*"))


def test_secret_coins_outlast_a_stop(data, tmp_path):
    """Guards: other canaries in after a resume than before, which the checks of the draws would see."""
    run = train(data, tmp_path / "run", replace(RECIPE, secret_noise=True), stops=(2, 3))
    assert run.not_private is None
    assert run.contradicted is None
    record = run.result["canaries"]
    assert record["count"] == 200
    assert 60 <= record["included"] <= 140  # 5.7 standard deviations
    assert run.result["privacy"]["examples"] == 120


def test_another_run_is_not_taken_for_this_one(data, tmp_path):
    train(data, tmp_path / "run")
    for other in (None, tl.Canaries("gradient", 201), tl.Canaries("blank", 100)):
        with pytest.raises(InputError, match="holds a run with other canaries"):
            train(data, tmp_path / "run", canaries=other)


@pytest.fixture
def contradicted():
    return {
        **{"kind": "gradient", "count": 1000, "included": 503, "auc": 0.9, "claim": 0.999, "delta": 1e-5},
        **{"significance": 0.05, "contradicted_by": ["counting", "gaussian"], "verdict": "contradicted"},
        "counting": {"epsilon": 1.331, "guesses": 62, "correct": 57, "tries": 7, "largest": 5.2},
        "gaussian": {"epsilon": 3.06, "assumption": "normal scores"},
    }


def test_the_auc_stands_beside_its_interval_and_what_the_budget_allows(data, tmp_path, contradicted, shadowed):
    """Guards: an AUC above the ceiling without a word on why no alarm is raised."""
    run = train(data, tmp_path / "run")
    record = run.result["canaries"]
    assert record["auc_ceiling"] == run.result["privacy"]["ceiling"]["auc"]
    assert record["auc_interval"][0] < record["auc"] < record["auc_interval"][1]
    shown = describe_run(replace(shadowed.run, result=shadowed.run.result | {"canaries": record}))
    assert "  canaries           200 gradient canaries, " in shown
    assert f"of them in, do not contradict ε = {upper(record['claim'])}: it is at least" in shown
    allowed = "the budget allows an attack on one training at most 0.702 on average"
    record |= {"auc": 0.707, "auc_interval": [0.648, 0.763], "auc_ceiling": 0.7012}
    assert canaries_in_words(record).endswith(
        f" Their AUC is 0.707 [0.648, 0.763], and {allowed}, which lies within the interval."
    )
    lower = record | {"auc": 0.690}
    assert canaries_in_words(lower).endswith(f" Their AUC is 0.690 [0.648, 0.763], and {allowed}.")
    above = record | {"auc_interval": [0.703, 0.763]}
    chance = ", but it also lies so in about 1 of 20 correct trainings: audit another seed."
    assert canaries_in_words(above).endswith(f"{allowed}; the interval lies above that{chance}")
    assert canaries_in_words(above | {"contradicted_by": ["counting"]}).endswith("the interval lies above that.")
    assert canaries_in_words(contradicted).endswith("Their AUC is 0.900.")  # of an earlier version
    config = json.loads((run.folder / "config.json").read_text())
    assert "200 gradient canaries, which do not contradict the guarantee." in card("digits", config, run.result)
    blanks = run.result | {"canaries": record | {"kind": "blank"}}
    assert "The training was audited. 200 blank canaries, " in card("digits", config, blanks)


def test_an_alarm_is_seen_everywhere(shadowed, tmp_path, contradicted):
    run = shadowed.run
    result = run.result | {"canaries": contradicted}
    assert "at least 1.33 (counting bound of 1,000 gradient canaries" in why_contradicted(result)
    (judgment,) = judge(conditions("epsilon<=8"), result)
    assert judgment.verdict == "fails"
    model = replace(OneModel.read(run.folder), result=result)
    statement = statement_of(model)
    assert statement["canaries"]["alarm"].startswith("The canaries contradict ε = 0.999")
    page = page_of(model, statement)
    assert 'role="alert"' in page
    assert "62 guesses right" in page
    says = "canaries, 503 of them in, contradict ε = 0.999: it is at least 1.33 by counting"
    assert says in statement["canaries"]["statement"]
    text = card("digits", json.loads((run.folder / "config.json").read_text()), result)
    assert "**The canaries contradict" in text
    # The scores of gradient canaries are made of the noise, so a card has no number of them.
    assert "0.900" not in text
    quiet = statement_of(model := replace(model, result=run.result))
    assert quiet["canaries"] is None
    assert 'role="alert"' not in page_of(model, quiet)


def test_a_contradicted_run_claims_nothing(data, tmp_path, capfd, monkeypatch):
    """Guards: an epsilon, the tag of private models, or a ceiling, in what a run says of itself."""
    heard = []
    listener = SimpleNamespace(on_update=lambda *_: None, on_end=heard.append)
    small = tl.Recipe(model="convnet-4", epsilon=0.5, batch_size=0, epochs=1, learning_rate=0.5, evaluations=1)
    monkeypatch.setattr("trilemma.trial.canary_record.gaussian_bound", lambda *_: 3.0)
    run = tl.train(small, data, tmp_path / "run", canaries=GRADIENT, progress=False, listeners=[listener])
    assert run.contradicted
    assert run.not_private == run.contradicted
    refusal = "No guarantee: the run's own canaries contradict its claim of ε = 0.5"
    stated = tl.load_model(run.folder).facts.privacy
    assert stated["statement"].startswith(refusal)
    assert stated["epsilon"] is None
    (told,) = heard
    assert "accuracy" in told
    assert told["epsilon"] == math.inf
    privacy = json.loads((run.folder / "result.json").read_text())["privacy"]
    assert (privacy["epsilon"], privacy["epsilon_rdp"], privacy["ceiling"]) == (None, None, None)
    assert privacy["covered"] == "nothing: its own canaries contradict the claim"
    history = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert [line["epsilon"] for line in history] == [None]
    study = StudyFolder(tmp_path / "study")
    shutil.copytree(run.folder, study.run("trial"))
    assert not study.finished("trial")
    assert "the canaries contradict" in study.reason("trial")
    with pytest.raises(PrivacyError, match="its claim was withdrawn"):
        PrivateTrial.from_files("trial", {"recipe": small.to_dict(), "data": {"name": "digits"}}, privacy)
    assert "none: its own canaries contradict the claim of ε 0.5" in describe_run(run)
    text = (run.folder / "README.md").read_text("utf-8")
    assert text.count(refusal) == 2
    assert "differential-privacy" not in text
    assert "An attacker who accuses" not in text
    assert main(["report", str(run.folder)]) == 1
    assert "trilemma: the canaries contradict" in capfd.readouterr().err
    audit = ["audit", str(run.folder), "--attacks", "threshold", "--resamples", "100", "--require", "accuracy>=0"]
    assert main([*audit, "--out", str(tmp_path / "audit")]) == 1
    assert "trilemma: the canaries contradict" in capfd.readouterr().err
    assert (tmp_path / "audit" / "audit.json").exists()
    statement = json.loads((run.folder / "statement.json").read_text())
    assert statement["verdict"][0].startswith(refusal)
    assert statement["guarantee"]["ceiling"] is statement["guarantee"]["attackers"] is None
    assert "epsilon" not in statement["guarantee"]
    assert OneModel.read(run.folder).ceiling is None
    assert "of at most" not in describe_run(run)
    ignored = (run.folder / ".gitignore").read_text().split("\n")
    assert {"model.html", "statement.json", "statement.pdf"} <= set(ignored)


def test_the_command_ends_with_status_1(shadowed, tmp_path, contradicted, capfd, monkeypatch):
    run = replace(shadowed.run, result=shadowed.run.result | {"canaries": contradicted})

    def trained(*_, progress, **more):
        progress(TrialProgress("training", 0, 1, about="by a stand-in"))
        return run

    monkeypatch.setattr("trilemma.cli.train.train", trained)
    options = ["--data", "digits", "--limit", "120", "--epsilon", "1", "--canaries", "1000", "--out", tmp_path / "run"]
    assert main(["train", *map(str, options)]) == 1
    printed = capfd.readouterr()
    assert "ALARM: the canaries contradict" in printed.out
    assert "trilemma: the canaries contradict" in printed.err
    assert "1,000 gradient canaries can contradict ε = 1 by counting" in printed.out + printed.err


def test_nothing_is_said_of_canaries_that_are_refused(tmp_path, capfd):
    """Guards: "20,000 gradient canaries cannot contradict ..." stood above "use fewer"."""
    options = ["--data", "digits", "--limit", "60", "--model", "convnet-4", "--epsilon", "1", "--batch-size", "20"]
    with pytest.raises(SystemExit) as caught:
        main(["train", *options, "--canaries", "20000", "--out", str(tmp_path / "run")])
    assert caught.value.code == 2
    printed = capfd.readouterr()
    assert "use fewer" in printed.err
    assert "contradict" not in printed.out + printed.err


def test_what_can_be_shown_is_said_before():
    assert "cannot contradict ε = 8 by counting: at most 5.8" in what_canaries_can_show(
        tl.Canaries("gradient", 1000), 8.0, 1e-5
    )
    assert "can contradict ε = 1 by counting" in what_canaries_can_show(GRADIENT, 1.0, 1e-5)


def test_more_canaries_than_prove_the_most_are_told_how_many_do():
    """Guards: the correction for the choice of guesses grows, so that 100,000 canaries prove less than 4,000."""
    many = what_canaries_can_show(tl.Canaries("gradient", 10_000), 8.0, 1e-5)
    assert "5.7 with the correction for the choice of guesses); 4,000 canaries would reach 6.0 with it" in many
    for count in (1000, 3000):
        assert "would reach" not in what_canaries_can_show(tl.Canaries("gradient", count), 8.0, 1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--canaries", "100"], "give --epsilon, or leave out --canaries"),
        (["--epsilon", "8", "--canaries", "100001"], "more than can be counted: use at most 100,000"),
        (["--canary", "blank"], "needs a number: add --canaries 1000"),
        (["--epsilon", "8", "--canaries", "1000", "--canary", "blank"], "more than 120 training examples can carry"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, capfd, arguments, words):
    options = ["--data", "digits", "--limit", "120", "--model", "convnet-4", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as end:
        raise SystemExit(main(["train", *options, *arguments]))
    assert end.value.code == 2
    assert words in capfd.readouterr().err
