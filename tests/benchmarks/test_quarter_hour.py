"""The command for a quarter of an hour on a GPU, at a tiny size on the CPU: every part runs and is written down."""

import json
import os
import sys
from pathlib import Path

import warm

COMMAND = Path(__file__).parents[2] / "benchmarks" / "gpu" / "quarter_hour.py"


def run(out, *more):
    command = [sys.executable, COMMAND, "--device", "cpu", "--tiny", "--out", out, *more]
    return warm.run(command, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_every_part_is_measured_and_written_down(tmp_path):
    done = run(tmp_path / "out", "--minutes", "10")
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "out" / "quarter_hour.json").read_text())
    assert [name[0] for name in parts if name != "machine"] == ["a", "b", "c", "d"]
    checks = parts["a. exact"]
    assert len(checks) == 9
    assert all(row.get("passed", True) for row in checks)
    assert sum("passed" in row for row in checks) == 7
    assert {row["side"] for row in parts["b. costs"]} == {"plain", "private", "Opacus"}
    assert all(row["seconds"] > 0 for row in parts["b. costs"] if row["side"] != "Opacus")
    assert parts["c. whole"][0]["minutes for 2,500"] > 0
    assert len(parts["c. whole"]) > 5
    (training,) = parts["d. accuracy"]
    assert training["status"] == 0
    assert training["finished"]
    assert 0 < training["epsilon"] <= 8
    assert "## b. costs" in (tmp_path / "out" / "quarter_hour.md").read_text()


def test_nothing_is_pretended_without_a_gpu(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = warm.run([sys.executable, COMMAND, "--out", tmp_path / "out"], timeout=120, env=environment)
    assert done.returncode == 2
    assert "nothing was measured" in done.stderr
    assert not (tmp_path / "out").exists()
