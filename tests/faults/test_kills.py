"""Some kills inside trainings (all: ``python tests/faults/kills.py``).  Studies: ``tests/study/test_killed.py``."""

import sys
from pathlib import Path

import warm


def test_a_training_killed_at_random_moments_has_the_weights_of_an_undisturbed_one():
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--train", "5", "--study", "0"]
    done = warm.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "training: 5 kills" in done.stdout
