"""Text from outside is printed as text: nothing reaches the terminal that it would obey."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from hostile_text import FAMILIES, PAYLOADS
from trilemma.cli.main import main
from trilemma.cli.study_display import StudyDisplay
from trilemma.cli.table import describe_run
from trilemma.cli.terminal import show
from trilemma.study.pool import Event
from trilemma.trial.display import TrainingDisplay
from trilemma.trial.interrupt import Interruptible
from trilemma.words import clean

OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys, but for the end of a line."""

RICH = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
"""What rich itself sends to draw a live display."""


def test_every_line_is_one_line_of_plain_text(capsys):
    show(*PAYLOADS)
    printed = capsys.readouterr().out
    assert not OBEYED.search(printed)
    assert printed.split("\n") == [*map(clean, PAYLOADS), ""]


@pytest.mark.parametrize("command", ["report", "audit", "train", "study", "nosuch"])
def test_errors_that_repeat_an_argument(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for payload in PAYLOADS:
        text = payload[:300]
        arguments = {
            "report": ["report", f"./{text}"],
            "audit": ["audit", f"./{text}", "--out", "out"],
            "train": ["train", "--recipe", f"./{text}.toml", "--out", "out"],
            "study": ["study", f"./{text}.toml", "--out", "out"],
            "nosuch": [f"no{text}"],
        }[command]
        with pytest.raises(SystemExit) as end:
            main(arguments)
        told = capsys.readouterr().err
        assert end.value.code == 2, payload
        assert not OBEYED.search(told), payload
        assert told.count("\n") == 1, payload


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_display_says_is_literal(terminal):
    for payload in PAYLOADS:
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        Interruptible(console).say(payload)
        assert console.file.getvalue() == f"{clean(payload)}\n"


def lives(display, console, step):
    """What a live display sends in one step, without rich's own control sequences."""
    with display:
        step()
    return RICH.sub("", console.file.getvalue()).replace("\r", "")


SHORT = [payload for name in ("escape sequences", "terminal markup", "templates") for payload in FAMILIES[name]]


@pytest.mark.parametrize("payload", SHORT)
def test_live_displays_are_literal(payload):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    display = TrainingDisplay("training", console)
    sent = lives(display, console, lambda: (display.data(f"a{payload}b", 1, 2), display._live.refresh()))
    assert f"a{clean(payload)}b" in sent
    assert not OBEYED.search(sent)

    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    progress = SimpleNamespace(
        trials={"t": None},
        titles={"t": f"a{payload}b"},
        done=set(),
        failed={"t": f"c{payload}d"},
        waiting=[],
        seconds={},
        done_before=0,
        running={"t": Event("t", "progress", {"what": f"e{payload}f"})},
    )
    display = StudyDisplay(progress, 1, console)
    sent = lives(display, console, lambda: display(progress, Event("t", "failed", {})))
    assert not OBEYED.search(sent)
    for text in (f"a{payload}b", f"c{payload}d", f"e{payload}f"):
        assert clean(text) in sent


def test_a_run_is_described_by_one_line_for_each_fact():
    attack = {
        "auc": 0.5,
        "interval": {"auc": [0.4, 0.6], "tpr_at_fpr": {"0.001": None, "0.01": [0.0, 0.1]}},
        "advantage": 0.0,
        "tpr_at_fpr": {"0.001": None, "0.01": 0.0},
        "tpr_reason": {"0.001": "needs 10,000 non-members, has 5,000"},
    }

    def described(text):
        result = {
            "privacy": None,
            "accuracy": 0.5,
            "accuracy_interval": [0.4, 0.6],
            "train_accuracy": 0.6,
            "fairness": {
                "accuracy_by_group": {text: 0.5},
                "bias": 0.1,
                "interval": {"bias": [0.0, 0.2]},
                "unused_classes": [],
            },
            "harmonic_score": {"value": 0.5, "interval": [0.4, 0.6], "terms": {"accuracy": 0.5}, "definition": "d"},
            "attacks": {"threshold": attack},
            "attacks_naive": None,
            "null_check": {"matched": None},
        }
        recipe = SimpleNamespace(provenance=text)
        return describe_run(
            SimpleNamespace(
                result=result,
                notes=[text],
                not_private=text,
                contradicted=None,
                not_for_release=None,
                recipe=recipe,
                folder=f"runs/{text}",
            )
        )

    lines = described("plain").count("\n")
    for payload in PAYLOADS:
        assert described(payload).count("\n") == lines, payload
        assert not OBEYED.search(described(payload)), payload
        assert described(payload).count(clean(payload)) >= 5
