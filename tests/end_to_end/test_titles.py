"""A trial has one name in everything that a study leaves."""

import html
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from trilemma.analysis.comparisons import comparisons
from trilemma.analysis.results import read_results
from trilemma.cli.closing import closing_lines
from trilemma.cli.study_display import StudyDisplay
from trilemma.report.collect import report_of
from trilemma.report.evidence import OneModel
from trilemma.report.model_page import write_model_page
from trilemma.report.numbers import Numbers
from trilemma.report.study_roc import roc_panels
from trilemma.study.file import load_study
from trilemma.study.folder import StudyFolder
from trilemma.study.job import Job, run_trial
from trilemma.study.pool import Event
from trilemma.study.runner import progress_of
from trilemma.study.trials import expand
from trilemma.titles import trial_titles
from trilemma.trial.card import plain

STUDY = """
title = "Alike"
figures = ["accuracy"]
seeds = 1

[[grid]]
recipe = "recipe.toml"
data = [{name = "digits", limit = 70, test_limit = 90}, {name = "digits", limit = 60, test_limit = 90, seed = 3}]

[[grid]]
recipe = "recipe.toml"
data = [{name = "digits", limit = 60, test_limit = 90}]
techniques = ["none", "pa"]

[[grid]]
recipe = "recipe.toml"
data = [{name = "digits", limit = 60, test_limit = 90}]
set = {learning_rate = 0.2}
"""
RECIPE = 'model = "convnet-4"\nbatch_size = 20\nepochs = 1\nfewest_updates = 1\nevaluations = 1\nlearning_rate = 0.1\n'
NAMES = {
    "digits, BL, no budget, limit 70, data seed 0, learning_rate 0.1",
    "digits, BL, no budget, limit 60, data seed 3, learning_rate 0.1",
    "digits, BL, no budget, limit 60, data seed 0, learning_rate 0.1",
    "digits, BL, no budget, limit 60, data seed 0, learning_rate 0.2",
    "digits, PA, no budget, limit 60, data seed 0, learning_rate 0.1",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "alike.toml").write_text(STUDY)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    study = expand(load_study(tmp_path / "alike.toml")[0])
    folder = StudyFolder(tmp_path / "out")
    folder.path.mkdir()
    # The cards are written while the folder holds less than it does in the end.
    folder.add(replace(study, trials=study.trials[:2]), "test")
    run_trial(Job(study.trials[1], str(folder.path)))
    card = folder.run(study.trials[1].id) / "README.md"
    card.write_text(card.read_text() + "Added by hand.\n")
    folder.add(study, "test")
    assert card.read_text().endswith("Added by hand.\n")
    for trial in study.trials[2:]:
        run_trial(Job(trial, str(folder.path)))
    report_of([folder])
    return folder


def on_the_terminal(folder):
    """What the display says of each trial as it ends."""
    trials = folder.trials()
    screen = io.StringIO()
    progress = progress_of(folder, trials.values())
    display = StudyDisplay(progress, 1, Console(file=screen, width=300))
    for name in trials:
        progress.seconds[name] = 1.0
        display(progress, Event(name, "done", {}))
    return re.findall(r"/5  (\w+)  (.*?): ", screen.getvalue())


def test_a_trial_has_one_name_on_the_terminal_on_pages_in_figures_in_comparisons_and_on_its_card(folder):
    """Guards: trials that differ in recipe, limit or data seed under one name, or one of them under several."""
    titles = trial_titles(folder.read()["trials"])
    assert set(titles.values()) == {f"{name}, seed 0" for name in NAMES}
    assert dict(on_the_terminal(folder)) == titles

    waiting, *finished = titles
    numbers = Numbers(read_results(folder.path), folder.read())
    names = {trial: condition.title for condition in numbers.conditions.values() for trial in condition.trials}
    assert {trial: f"{name}, seed 0" for trial, name in names.items()} == {t: titles[t] for t in finished}
    closing = closing_lines(folder.path)
    signals = {trial: folder.run(trial) / "signals.parquet" for trial in finished}
    assert sorted(panel.title for panel in roc_panels(numbers, signals)) == sorted(names.values())
    page = html.unescape((folder.path / "report.html").read_text())
    for trial, name in names.items():
        assert sum(line.startswith(f"{name}  ") for line in closing) == 1
        assert f">{name}<" in page  # of its panel, and of its recipe
        card = (folder.run(trial) / "README.md").read_text()
        assert f"# Image classifier: {plain(titles[trial])}\n" in card
        assert json.dumps(titles[trial]) in card
        model_page = write_model_page(OneModel.read(folder.run(trial)), folder.path / "model").read_text()
        (head,) = re.findall("<h1>(.*?)</h1>", model_page)  # whose terms are buttons that explain them
        assert html.unescape(re.sub("<[^>]*>", "", head)).replace("\u00a0", " ") == titles[trial]
    assert titles[waiting] in page
    # The file has them once all trials have finished.
    compared = comparisons(read_results(folder.path), "accuracy", folder.read())
    assert {comparison.pair.setting for comparison in compared} == {
        "digits, no budget, limit 60, data seed 0, learning_rate 0.1"
    }
