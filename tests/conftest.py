"""The tiny study of ``tests/helpers/tiny_study.py``, run once, and the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_study import write_tiny


@pytest.fixture
def tiny(tmp_path):
    """The path of a study's file."""
    return write_tiny(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of that study, run to its end by two worker processes; not to be written to."""
    from trilemma.study.file import load_study
    from trilemma.study.folder import StudyFolder
    from trilemma.study.pool import Pool
    from trilemma.study.runner import progress_of, run_study
    from trilemma.study.trials import expand

    place = tmp_path_factory.mktemp("tiny")
    study = expand(load_study(write_tiny(place))[0])
    folder = StudyFolder(place / "out")
    folder.path.mkdir()
    folder.add(study, "test")
    now = progress_of(folder, study.trials)
    assert run_study(folder, now, Pool(2))
    assert not now.failed
    return folder


@pytest.fixture(scope="session")
def shadowed(tmp_path_factory):
    """A small run with a budget and four shadows of it (see ``trilemma.trial.shadows``); not to be written to."""
    import trilemma as tl
    from trilemma.trial.audited import choose_audited
    from trilemma.trial.shadows import Target, train_shadow

    data = tl.load_data("digits-s", skew=0.8, limit=200, test_limit=200)
    recipe = tl.Recipe(
        model="convnet-4", techniques="gn", norm_groups=2, epsilon=8, batch_size=50, epochs=3, evaluations=1
    )
    run = tl.train(recipe, data, tmp_path_factory.mktemp("shadowed") / "run")
    target = Target(run, data, choose_audited(data, 120, 0))
    for shadow in range(4):
        train_shadow(target, shadow)
    return target


@pytest.fixture
def command():
    """Run ``trilemma``; returns the finished process."""

    def run(*arguments, timeout=300, **options):
        return subprocess.run(
            [sys.executable, "-m", "trilemma.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            **options,
        )

    return run


@pytest.fixture
def results_of():
    """Everything in a folder's results that must not depend on how often its study was killed."""
    import pandas as pd

    def read(folder):
        table = pd.read_csv(Path(folder) / "results.csv")
        return table[table["measure"] != "seconds"].reset_index(drop=True)

    return read
