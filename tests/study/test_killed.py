"""Killed at any moment, a study goes on by the same command and ends with the same results."""

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import trilemma
import warm

KILLS = 30
BENCH = Path(__file__).parents[1] / "faults" / "kills.py"


def test_killed_at_random_moments_nothing_is_lost_and_nothing_done_twice():
    """New moments for each version; 300 of them: ``python tests/faults/kills.py``."""
    seed = zlib.crc32(trilemma.__version__.encode())
    command = [sys.executable, str(BENCH), "--train", "0", "--study", str(KILLS), "--longest", "1", "--seed", str(seed)]
    done = warm.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"study: {KILLS} kills" in done.stdout


def test_a_terminated_study_says_how_to_go_on(tiny, tmp_path):
    out = tmp_path / "stopped"
    process = warm.Popen(
        [sys.executable, "-m", "trilemma.cli.main", "study", str(tiny), "--workers", "1", "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not list(out.glob("runs/*/config.json")):
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    output, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command resumes from there" in told
    assert "trials are finished; the page is" in output
    assert (out / "report.html").is_file()
