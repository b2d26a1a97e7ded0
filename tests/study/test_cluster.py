"""Two Ray nodes on this machine, one of which is killed while trials run on it; addresses that nobody answers."""

import os
import re
import subprocess
import sys
import time

import pandas as pd
import pytest

from trilemma.analysis.results import collect
from trilemma.errors import InputError
from trilemma.study.cluster import Cluster
from trilemma.study.folder import StudyFolder
from trilemma.trial.run import Run

# In a process of its own: Ray starts threads and daemons, and warns of things that are none of ours.
SCRIPT = """
import os
import sys
from pathlib import Path
from ray.cluster_utils import Cluster as Nodes
from trilemma.study.cluster import Cluster
from trilemma.study.folder import StudyFolder
from trilemma.study.file import load_study
from trilemma.study.trials import expand
from trilemma.study.runner import Settings, run_study, progress_of
from trilemma.training.execution import Execution

study = expand(load_study(sys.argv[1])[0], seeds=1)
folder = StudyFolder(Path(sys.argv[2]))
folder.path.mkdir()
folder.add(study, "test")
nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = nodes.add_node(num_cpus=1)
nodes.wait_for_nodes()
executor = Cluster(nodes.address)
assert executor.size == 2, executor.size
now = progress_of(folder, study.trials)
left = [second]

def watch(now, answer):
    # Both nodes are at work by the time that the second trial is done, and another one has begun.
    if len(now.done) >= 2 and now.running and left:
        nodes.remove_node(left.pop(), allow_graceful=False)

assert run_study(folder, now, executor, watch=watch)
assert not left
assert not now.failed, now.failed
print("FINISHED", len(now.done))

# Parts from outside, in a folder that neither Ray nor its workers were started in.
os.chdir(sys.argv[3])
study = expand(load_study("mine.toml")[0])
folder = StudyFolder(Path(sys.argv[2]).with_name("mine"))
folder.path.mkdir()
folder.add(study, "test")
now = progress_of(folder, study.trials)
assert run_study(folder, now, Cluster(nodes.address), Settings(execution=Execution("cpu")))
nodes.shutdown()
assert not now.failed, now.failed
print("OUTSIDE", *(folder.run(name) for name in now.done))
"""


PARTS = """
import torch

def halved(gradient, weights, update):
    return {name: values / 2 for name, values in gradient.items()}

def confidence(predictions):
    return predictions.outputs.max(axis=1)

def build(*, classes, image_shape):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))
"""
MINE = """
title = "Parts from outside"
figures = ["accuracy"]
seeds = 1

[[grid]]
data = {name = "digits", limit = 60, test_limit = 60}
recipe = "digits"
techniques = ["mine_on_ray:halved"]
epsilon = [8.0]
set = {model = "mine_on_ray:build", attacks = ["mine_on_ray:confidence"], batch_size = 20, epochs = 1, evaluations = 1}
"""


def test_a_node_is_killed_and_the_study_ends_with_the_same_results(tiny, tmp_path, finished):
    pytest.importorskip("ray", reason="ray is not installed (extra ray)")
    out, mine = tmp_path / "ray", tmp_path / "folder of mine"
    mine.mkdir()
    (mine / "mine_on_ray.py").write_text(PARTS)
    (mine / "mine.toml").write_text(MINE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny), str(out), str(mine)],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert f"FINISHED {len(finished.trials()) // 2}" in done.stdout

    (run,) = re.findall(r"^OUTSIDE (.+)$", done.stdout, re.MULTILINE)
    result = Run.load(run)
    assert result.recipe.techniques == ("mine_on_ray:halved",)
    assert "mine_on_ray:confidence" in result.result["attacks"]

    def compared(folder):
        table = collect(folder)
        # The retrained survivors need a second seed.
        other = table["measure"].isin(["seconds", "exposed_survivors_retrained"]) | (table["seed"] != 0)
        # In the process of the tests alone, learned attackers are smaller; the strongest attack may be one, and the
        # score's term of privacy is that of the strongest.
        learned = table["measure"].str.contains("_mlp|_rf|_strongest|score_privacy|harmonic_score")
        table.loc[learned, ["value", "low", "high"]] = 0.0
        return table[~other].reset_index(drop=True)

    pd.testing.assert_frame_equal(compared(StudyFolder(out)), compared(finished))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost", "auto-is-not-this:x"])
def test_an_address_that_nobody_answers_is_told_within_ten_seconds(address):
    pytest.importorskip("ray", reason="ray is not installed (extra ray)")
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        Cluster(address)
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)
    assert "ray start --head" in str(caught.value) or "HOST:PORT" in str(caught.value)


STRANGER = """
import socket, sys, time
import ray
from trilemma.errors import InputError
from trilemma.study.cluster import Cluster

server = socket.create_server(("127.0.0.1", 0))
began = time.monotonic()
try:
    Cluster(f"127.0.0.1:{server.getsockname()[1]}")
except InputError as error:
    print(f"{time.monotonic() - began:.1f}", error)
"""


def test_somebody_who_answers_but_is_no_ray():
    pytest.importorskip("ray", reason="ray is not installed (extra ray)")
    done = subprocess.run([sys.executable, "-c", STRANGER], capture_output=True, text=True, timeout=120)
    seconds, _, message = done.stdout.partition(" ")
    assert "no Ray cluster answers at 127.0.0.1" in message, done.stderr
    assert float(seconds) < 10
