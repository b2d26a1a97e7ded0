"""The tiny study of ``tests/helpers/tiny_study.py``, run once, and the command."""

import fcntl
import gc
import os
import sys
from pathlib import Path

import pytest

import warm
from tiny_study import write_tiny

# Read when torch is loaded, here and in children: threads that wait for a core that another test has must not spin on
# the one that they have.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LONGEST = (
    "end_to_end/test_study.py",
    "study/",
    "training/test_ranks.py",
    "faults/",
    "end_to_end/test_commands.py",
    "end_to_end/test_one_model.py",
    "trial/test_truth_of_runs.py",
    "trial/test_resume.py",
    "trial/test_preflight.py",
    "benchmarks/",
    "models/prior/",
)
"""The tests that take longest, which begin first: at the end, nobody waits for one of them while a core is idle."""


def pytest_collection():
    """What is imported and collected stays: looking for garbage in it takes a quarter of the time until the first test,
    and much of every later look."""
    gc.disable()


def pytest_collection_finish():
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(here).as_posix().startswith(LONGEST)
               if item.path.is_relative_to(here) else True)  # fmt: skip


@pytest.fixture
def tiny(tmp_path):
    """The path of a study's file."""
    return write_tiny(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of that study, run to its end by two worker processes; not to be written to.

    The processes that tests are dealt to share it: the first that asks for it makes it.
    """
    from trilemma.study.folder import StudyFolder

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place = shared / "tiny study"
    with open(shared / "tiny study.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "finished").exists():
            place.mkdir()
            _run_tiny(place)
            (place / "finished").touch()
    return StudyFolder(place / "out")


def _run_tiny(place):
    from trilemma.study.file import load_study
    from trilemma.study.folder import StudyFolder
    from trilemma.study.pool import Pool
    from trilemma.study.runner import progress_of, run_study
    from trilemma.study.trials import expand

    study = expand(load_study(write_tiny(place))[0])
    folder = StudyFolder(place / "out")
    folder.path.mkdir()
    folder.add(study, "test")
    now = progress_of(folder, study.trials)
    with warm.workers():
        assert run_study(folder, now, Pool(2))
    assert not now.failed


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
    """Run ``trilemma`` in a process of its own; returns that process, which has ended."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "trilemma.cli.main", *arguments]
        return warm.run(command, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)

    return run


@pytest.fixture(scope="session", autouse=True)
def small_attackers():
    """Few trees and epochs: most of the time that a short training takes goes to the attacks on it, and how strong they
    are matters to the tests of ``attacks/`` alone, which have the real ones.  Processes of ``warm`` have them too."""
    from trilemma.attacks.learned import ForestAttacker, MlpAttacker

    real = ForestAttacker.trees, MlpAttacker.most_epochs
    ForestAttacker.trees, MlpAttacker.most_epochs = 2, 2
    yield real
    ForestAttacker.trees, MlpAttacker.most_epochs = real


@pytest.fixture(scope="session", autouse=True)
def small_fonts():
    """PDFs with fonts that take a quarter of the time to write; ``test_drawing.py`` has the real ones, and processes of
    ``warm`` have these too."""
    from trilemma.report import style

    with pytest.MonkeyPatch.context() as patch:
        real = style._STYLE["pdf.fonttype"]
        patch.setitem(style._STYLE, "pdf.fonttype", 3)
        yield real


@pytest.fixture
def two_threads():
    """Which share the sums of one operation, and on a busy machine mostly wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def warm_workers():
    """The workers of studies and shadows begin at once (``test_pool.py`` and ``test_extend.py`` start real ones)."""
    with warm.workers():
        yield


@pytest.fixture
def results_of():
    """Everything in a folder's results that must not depend on how often its study was killed."""
    import pandas as pd

    def read(folder):
        table = pd.read_csv(Path(folder) / "results.csv")
        return table[table["measure"] != "seconds"].reset_index(drop=True)

    return read
