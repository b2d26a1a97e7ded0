"""Without a terminal, no long phase is silent."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from trilemma.cli import shadows, study_display
from trilemma.cli.shadows import ShadowDisplay
from trilemma.cli.study import plan
from trilemma.cli.study_display import StudyDisplay
from trilemma.cli.table import describe_attacks
from trilemma.study.pool import Event
from trilemma.study.runner import StudyProgress
from trilemma.trial import display as training_display
from trilemma.trial.display import TrainingDisplay
from trilemma.trial.progress import TrialProgress


@pytest.fixture
def clock(monkeypatch):
    """The time that displays see, as a list of one number."""
    now = [1000.0]
    for module in (study_display, shadows, training_display):
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


def test_the_first_and_the_last_evaluation_promise_nothing(clock):
    """Guards: "0.0 updates/s  0 s left" at the first evaluation, before any time has passed."""
    console = Console(file=io.StringIO(), width=200)
    display = TrainingDisplay("training", console)
    line = {"epsilon": 1.0, "train_loss": 0.5, "accuracy": 0.5, "train_accuracy": 0.6}
    for update in (0, 10, 20, 40):
        display(TrialProgress("training", update, 40, 0.5, evaluation=line))
        clock[0] += 100.0
    first, second, third, last = lines(console)
    assert first.endswith("ε 1.000")
    assert second.endswith("10.0 s an update  about 5 min left")
    assert third.endswith("10.0 s an update  about 3 min left")
    assert last.endswith("7.5 s an update")


def test_every_shadow_is_reported_with_its_phase(clock, capsys):
    display = ShadowDisplay(2)
    for _ in range(250):  # twice a second, for two minutes
        clock[0] += 0.5
        for shadow, what in enumerate(("training", "computing features")):
            display(Event(f"shadow {shadow}", "progress", {"what": what, "update": 7, "updates": 9}))
    display(Event("shadow 0", "done", {"seconds": 120.0}))
    told = capsys.readouterr().err.splitlines()
    assert told == [
        *("shadow 0: 7/9 (0 trained now; 60 s)", "shadow 1: computing features, 7/9 (0 trained now; 60 s)"),
        *("shadow 0: 7/9 (0 trained now; 2 min)", "shadow 1: computing features, 7/9 (0 trained now; 2 min)"),
        "shadow 0 is trained (1 now, 2 in all; 2 min)",
    ]


def test_a_trial_is_estimated_by_those_that_differ_in_their_seed_alone(clock):
    (study,) = plan("quickstart", scale="short", seeds=2)
    progress = StudyProgress({trial.id: trial for trial in study.trials})
    display = StudyDisplay(progress, 1, Console(file=io.StringIO()))
    assert display.seconds_left() is None
    of_seed = {seed: [t for t in study.trials if t.recipe.seed == seed] for seed in (0, 1)}
    assert len(of_seed[0]) == len(of_seed[1]) > 1
    for place, trial in enumerate(of_seed[0]):
        progress.done.add(trial.id)
        progress.seconds[trial.id] = 10.0**place
    first, *others = of_seed[1]
    progress.running[first.id] = Event(first.id, "progress", {"what": "training", "update": 1, "updates": 4})
    by_kind = {trial.condition: progress.seconds[trial.id] for trial in of_seed[0]}
    seconds = [by_kind[trial.condition] for trial in (first, *others)]
    assert display.seconds_left() == pytest.approx(0.75 * seconds[0] + sum(seconds[1:]))


def test_a_study_says_what_a_silent_trial_is_doing(clock):
    console = Console(file=io.StringIO(), width=200)
    running = {"t": Event("t", "progress", {"what": "fitting maps", "update": 0, "updates": 0})}
    progress = SimpleNamespace(titles={"t": "cifar10, BL"}, running=running, seconds={})
    display = StudyDisplay(progress, 1, console)
    for _ in range(400):  # twice a second, no event comes
        clock[0] += 0.5
        display(progress, None)
    assert lines(console) == ["t  cifar10, BL: fitting maps"] * 3


def test_a_long_name_of_an_attack_moves_the_columns_of_all():
    entry = {"auc": 0.5, "advantage": 0.1, "tpr_at_fpr": {"0.01": None, "0.001": None}}
    entry |= {"interval": {"auc": [0.4, 0.6]}, "tpr_reason": {"0.01": "few", "0.001": "few"}}
    lines = describe_attacks({"threshold": entry, "mine_attack:confidence": entry}, None)
    assert len({line.index(" AUC ") for line in lines if " AUC " in line}) == 1
    assert lines[0].startswith("  threshold              AUC 0.500")
