"""A disk that fails at any one write, flush, or rename loses nothing: some cases at random, new ones for each version.

The whole (some 2,000 cases) is ``python tests/faults/disk.py``.
"""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import trilemma

DISK = Path(__file__).with_name("disk.py")


def test_a_fault_at_one_operation_loses_nothing():
    seed = zlib.crc32(trilemma.__version__.encode())
    done = subprocess.run(
        [sys.executable, str(DISK), "--sample", "3", "--seed", str(seed)],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=600,
    )
    if done.returncode == 2 and "no C compiler" in done.stdout:
        pytest.skip("needs Linux and a C compiler")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed, 0 failed" in done.stdout
