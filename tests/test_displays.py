"""Displays without a terminal: no long phase is silent."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from trilemma.cli import study_display
from trilemma.cli.study_display import StudyDisplay
from trilemma.study.pool import Event
from trilemma.trial import display as training_display
from trilemma.trial.display import TrainingDisplay
from trilemma.trial.progress import TrialProgress


@pytest.fixture
def clock(monkeypatch):
    """The time that displays see; a list of one number."""
    now = [1000.0]
    for module in (study_display, training_display):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def lines(console):
    return console.file.getvalue().splitlines()


def test_a_long_preparation_is_reported_every_half_minute(clock):
    console = Console(file=io.StringIO(), width=200)
    display = TrainingDisplay("training", console)
    display(TrialProgress("fitting one layer to synthetic images", 0, 0, preparing=True))
    for done in range(1, 101):
        clock[0] += 6.0
        display(TrialProgress("computing features", done, 100, preparing=True))
    shown = lines(console)
    assert shown[0] == "training  fitting one layer to synthetic images"
    assert 15 <= len(shown) <= 22
    assert shown[-1] == "training  computing features: 100"


def test_updates_without_an_evaluation_are_reported(clock):
    console = Console(file=io.StringIO(), width=200)
    display = TrainingDisplay("training", console)
    for update in range(1, 61):
        clock[0] += 1.0
        display(TrialProgress("training", update, 60, 0.5))
    assert 1 <= len(lines(console)) <= 2
    assert "updates/s" in lines(console)[0]


def test_a_study_says_what_a_silent_trial_is_doing(clock):
    console = Console(file=io.StringIO(), width=200)
    running = {"t": Event("t", "progress", {"what": "fitting maps", "update": 0, "updates": 0})}
    progress = SimpleNamespace(trials={"t": SimpleNamespace(title="cifar10, BL")}, running=running)
    display = StudyDisplay(progress, 1, console)
    for _ in range(400):  # twice a second, no event comes
        clock[0] += 0.5
        display(progress, None)
    assert lines(console) == ["t  cifar10, BL: fitting maps"] * 3
