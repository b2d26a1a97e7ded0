"""Killed at any moment, a study goes on by the same command and ends with the same results."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

KILLS = 30


def start(tiny, out):
    return subprocess.Popen(
        [sys.executable, "-m", "trilemma.cli.main", "study", str(tiny), "--out", str(out)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def undisturbed(tiny, tmp_path, command, results_of):
    done = command("study", tiny, "--out", tmp_path / "undisturbed")
    assert done.returncode == 0, done.stderr
    return results_of(tmp_path / "undisturbed")


def test_killed_at_thirty_random_moments_nothing_is_lost_and_nothing_done_twice(
    tiny, tmp_path, undisturbed, results_of
):
    out = tmp_path / "killed"
    moments = random.Random(0)
    finished: dict[Path, int] = {}
    for kill in range(KILLS):
        process = start(tiny, out)
        # From before the first import to well into the trials; some kills take the parent only, and its workers must
        # then let go by themselves.
        time.sleep(moments.uniform(0.2, 5.0))
        if process.poll() is None:
            if kill % 4 == 3:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in (out / "runs").glob("*/result.json"):
            written = path.stat().st_mtime_ns
            assert finished.setdefault(path, written) == written, "a finished trial was run again"
    process = start(tiny, out)
    assert process.wait(timeout=300) == 0
    for path, written in finished.items():
        assert path.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(results_of(out), undisturbed)
    assert not list(out.rglob("*.part"))


def test_a_terminated_study_says_how_to_go_on(tiny, tmp_path):
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "trilemma.cli.main", "study", str(tiny), "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not list(out.glob("runs/*/config.json")):
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    said, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command resumes from there" in told
    assert "trials are finished; the page is" in said
    assert (out / "report.html").is_file()
