"""What the seeds govern: the same recipe and seed see the same images, alone or as a trial of a study."""

import json
from pathlib import Path

import pytest

from trilemma.cli.main import main
from trilemma.study.file import load_study
from trilemma.study.folder import StudyFolder
from trilemma.study.job import Job, run_trial
from trilemma.study.trials import expand
from trilemma.trial.fingerprint import read_fingerprint

RECIPE = 'model = "convnet-4"\nbatch_size = 50\nepochs = 1\nevaluations = 1\nfewest_updates = 1\n'
STUDY = """
title = "Seeds"
about = "For a test."
figures = []
seeds = [3, 4]

[[grid]]
data = {name = "digits-s", skew = 0.9, limit = 100, test_limit = 60SEED}
techniques = "none"
epsilon = ["none"]
recipe = "recipe.toml"
"""


def fingerprint(run: Path) -> tuple[int, str]:
    config = json.loads((run / "config.json").read_text())
    return config["recipe"]["seed"], read_fingerprint(run, config)


@pytest.mark.parametrize(("option", "table"), [([], ""), (["--data-seed", "7"], ", seed = 7")])
def test_train_and_study_see_the_same_images_whatever_the_seed(tmp_path, option, table, capsys):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "study.toml").write_text(STUDY.replace("SEED", table))
    folder = StudyFolder(tmp_path / "study")
    by_study = {}
    for trial in expand(load_study(tmp_path / "study.toml")[0]).trials:
        seed, print_of_data = fingerprint(run_trial(Job(trial, str(folder.path))).folder)
        by_study[seed] = print_of_data
    by_train = {}
    for seed in (3, 4):
        out = tmp_path / f"run-{seed}"
        data = ["--data", "digits-s", "--skew", "0.9", "--limit", "100", "--test-limit", "60"]
        command = ["train", *data, *option, "--recipe", str(tmp_path / "recipe.toml"), "--seed", str(seed)]
        assert main([*command, "--out", str(out)]) == 0
        seed, print_of_data = fingerprint(out)
        by_train[seed] = print_of_data
    assert by_train == by_study
    assert sorted(by_train) == [3, 4]
    assert len(set(by_train.values())) == 1, "the seed of a training changed its images"


def test_another_data_seed_gives_other_images(tmp_path):
    from trilemma.data import load_data

    first, second = (load_data("digits-s", limit=100, seed=seed) for seed in (0, 7))
    assert first.train.fingerprint != second.train.fingerprint
