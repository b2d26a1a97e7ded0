"""Worker processes: their events, what happens when one dies, and how they share the cores."""

import json
import os
import signal
import threading
import time

import pytest

from trilemma.errors import InputError
from trilemma.files import alone_in
from trilemma.machine import cores
from trilemma.study import pool
from trilemma.study.file import load_study
from trilemma.study.folder import StudyFolder
from trilemma.study.job import Job, run_trial
from trilemma.study.pool import Pool, thread_limits, worker_limits
from trilemma.study.runner import progress_of, run_study
from trilemma.study.trials import expand
from trilemma.training.execution import Execution
from trilemma.trial.train import train


@pytest.fixture
def study(tiny):
    return expand(load_study(tiny)[0], seeds=1)


@pytest.mark.usefixtures("warm_workers")
def test_a_worker_that_is_killed_costs_its_trial_and_no_other(study, tmp_path, monkeypatch):
    """And every worker has the threads that it was given, whatever the environment says."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores() + 1))
    folder = StudyFolder(tmp_path / "out")
    folder.path.mkdir()
    trials = [trial for trial in study.trials if trial.removal is None]
    progress = progress_of(folder, trials)
    workers = Pool(2)
    victims = []

    def kill_the_first(progress, event):
        if event is not None and event.message.get("update", 0) > 0 and not victims:
            victims.append(event.trial)
            os.kill(workers._busy[event.trial]._process.pid, signal.SIGKILL)

    assert run_study(folder, progress, workers, watch=kill_the_first)
    assert list(progress.failed) == victims
    assert "was killed by signal 9" in progress.failed[victims[0]]
    assert progress.done == {trial.id for trial in trials} - set(victims)
    for name in progress.done:
        result = json.loads((folder.run(name) / "result.json").read_text())
        assert result["environment"]["threads"] == max(1, cores() // 2)
    # Again: it goes on and succeeds.
    folder.forget_failures(victims)
    again = progress_of(folder, trials)
    assert run_study(folder, again, Pool(1))
    assert not again.failed


def test_bad_data_fails_with_its_reason_and_without_a_trace(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[grid]]\ndata = "no-such-folder"\nrecipe = "digits"\n')
    study = expand(load_study(path)[0], seeds=1)
    folder = StudyFolder(tmp_path / "out")
    folder.path.mkdir()
    progress = progress_of(folder, study.trials)
    assert run_study(folder, progress, Pool(1))
    (reason,) = progress.failed.values()
    assert "no-such-folder" in reason
    assert "\n" not in reason
    assert folder.reason(study.trials[0].id) == reason


def test_events_wait_no_longer_than_they_are_told(tmp_path):
    began = time.monotonic()
    assert list(Pool(1).events(0.2)) == []
    assert time.monotonic() - began < 5


def test_the_cores_are_divided_not_multiplied():
    for size in (1, 2, cores(), 2 * cores()):
        threads = int(Pool(size)._environment["OMP_NUM_THREADS"])
        assert threads >= 1
        assert threads * size <= max(size, cores())
    assert thread_limits(3)["LOKY_MAX_CPU_COUNT"] == "3"


def test_fewer_threads_that_the_caller_asks_for_are_kept(monkeypatch):
    """Guards: on a machine that others use, two spinning threads take many times as long as the one asked for."""
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "3,1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "16")
    monkeypatch.setenv("NUMEXPR_NUM_THREADS", "many")
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    expected = {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "4",
        "NUMEXPR_NUM_THREADS": "4",
        "LOKY_MAX_CPU_COUNT": "4",
    }
    assert worker_limits(2) == expected
    assert Pool(2)._environment.items() >= expected.items()


def test_a_job_survives_the_pipe(study):
    job = Job(study.trials[-1], "/some/where", data_dir="/data", execution=Execution("cpu", memory=10**9))
    assert Job.from_json(job.to_json()) == job
    assert "\n" not in job.to_json()


def test_a_trial_waits_for_a_worker_of_a_killed_study_to_let_go(study, tmp_path, monkeypatch):
    folder = StudyFolder(tmp_path / "out")
    job = Job(study.trials[0], str(folder.path))
    run = folder.run(study.trials[0].id)
    run.mkdir(parents=True)
    held, let_go = threading.Event(), threading.Event()

    def orphan():
        with alone_in(run):
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=orphan)
    thread.start()
    assert held.wait(10)
    monkeypatch.setattr("trilemma.study.job.ORPHAN_SECONDS", 0.5)
    with pytest.raises(InputError, match="another process is at work"):
        run_trial(job)
    monkeypatch.setattr("trilemma.study.job.ORPHAN_SECONDS", 60)
    threading.Timer(1.0, let_go.set).start()
    assert run_trial(job).result["accuracy"] >= 0
    thread.join()


def test_a_worker_that_takes_the_lock_between_the_look_and_the_training_is_waited_for(study, tmp_path, monkeypatch):
    folder = StudyFolder(tmp_path / "out")
    job = Job(study.trials[0], str(folder.path))
    run = folder.run(study.trials[0].id)
    run.mkdir(parents=True)
    begun = []

    def beaten_once(*arguments, **options):
        begun.append(1)
        if len(begun) > 1:
            return train(*arguments, **options)
        with alone_in(run):
            return train(*arguments, **options)

    monkeypatch.setattr("trilemma.study.job.train", beaten_once)
    assert run_trial(job).result["accuracy"] >= 0
    assert len(begun) == 2
