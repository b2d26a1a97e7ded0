"""One private training by several processes: it equals that by one, is complete, and ends when one of them dies."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import common_noise
import trilemma.training.ranks as ranks_module
import warm
from trilemma.cli.main import main
from trilemma.errors import PrivacyError
from trilemma.privacy.gradients.sums import ClippedSum
from trilemma.training.ranks import Ranks
from trilemma.trial.run import Run

BIN = Path(sys.executable).parent
RECIPE = ["--data", "digits", "--limit", "300", "--test-limit", "100", "--model", "convnet-4",
          "--compute", "float32",  # some CPUs are faster in bfloat16, which rounds otherwise in other physical batches
          "--set", "evaluations=12", "--reproducible"]  # fmt: skip
HARD = ["--epsilon", "8", "--techniques", "gn,ws,am,pa,sat", "--views", "3", "--batch-size", "48", "--epochs", "2"]

TINY = ["--epsilon", "8", "--batch-size", "1", "--epochs", "0.1"]


def command(processes, out, *more):
    launcher = [BIN / "torchrun", "--standalone", "--nproc-per-node", str(processes), "--no-python"] * (processes > 1)
    program = (sys.executable, common_noise.__file__)
    return [str(part) for part in (*launcher, *program, "train", *RECIPE, *more, "--out", out)]


def by_torchrun(processes, out, *more):
    """Exit status and what was said, of real interpreters."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(processes, out, *more),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def started(processes, out, log, *more):
    """The processes, as torchrun starts them, with what they say in one file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with open(log, "a", encoding="utf-8") as file:
        return [
            warm.Popen(
                command(1, out, *more),
                env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
                stdout=file,
                stderr=file,
            )
            for rank in range(processes)
        ]


def finished(processes, out, *more):
    """Exit status, of the first process that failed if any did, and what was said; one process is this one, which saves
    its imports."""
    if processes == 1:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            return main(command(1, out, *more)[2:]), output.getvalue()
    log = out.with_name("log")
    log.unlink(missing_ok=True)
    statuses = ended(started(processes, out, log, *more))
    return next(filter(None, statuses), 0), log.read_text("utf-8")


def ended(processes):
    """The exit status of each process."""
    try:
        return [process.wait(200) for process in processes]
    finally:
        for process in processes:
            process.kill()


def distance(first, second):
    first, second = (load_file(folder / "model.safetensors") for folder in (first, second))
    square = sum(float((first[n] - second[n]).double().square().sum()) for n in first)
    return (square / sum(float(v.double().square().sum()) for v in second.values())) ** 0.5


@pytest.fixture(scope="module", autouse=True)
def noise_that_no_rounding_changes():
    """In this process; the others run :mod:`common_noise`."""
    with common_noise.common_noise():
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Runs stopped after their first update, from which one process and several go on with the same streams (those of
    runs that begin differ, as do all of whose sums are rounded differently): one with every technique, and one with
    draws of none to three examples."""
    folder = tmp_path_factory.mktemp("begun")
    for name, more in (("hard", HARD), ("tiny", TINY)):
        status, output = finished(1, folder / name, *more, "--minutes", "1e-6")
        assert status != 0, output
        assert "stopped after update 1 of" in output
    return folder


@pytest.fixture(scope="module")
def alone(begun, tmp_path_factory):
    """The same trainings to their ends, by one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name, more in (("hard", HARD), ("tiny", TINY)):
        status, output = finished(1, copied(begun / name, folder / name), *more)
        assert status == 0, output
    return folder


def copied(begun, out):
    shutil.copytree(begun, out)
    return out


def test_two_processes_are_one_to_rounding(begun, alone, tmp_path):
    """Guards: noise added by every rank; a share left out or counted twice; ranks that drift apart."""
    run = copied(begun / "hard", tmp_path / "run")
    status, output = finished(2, run, *HARD, "--minutes", "1e-6")  # a stop ends both without complaint
    assert status != 0
    assert "stopped after update 2 of" in output
    assert "another process" not in output
    status, output = by_torchrun(2, run, *HARD)
    assert status == 0, output
    assert distance(run, alone / "hard") < 1e-5
    by_one_process, by_two = Run.load(alone / "hard").result, Run.load(run).result
    truths = [
        result["privacy"].pop("truth") for result in (by_one_process, by_two)
    ]  # whose numbers are equal to rounding
    assert by_one_process["privacy"] == by_two["privacy"]
    assert all(truth["passed"] for truth in truths)
    attacks = re.findall(r"^ +(threshold|threshold-entropy|mlp|rf) +AUC", output, re.MULTILINE)
    assert len(attacks) == 4  # only the first process measures and speaks
    status, output = finished(2, run, *HARD)
    assert status == 0, output  # a finished run is shown again


def test_processes_may_have_no_share_of_a_draw(begun, alone, tmp_path):
    """Draws of fewer examples than processes, and of none."""
    run = copied(begun / "tiny", tmp_path / "run")
    status, output = finished(3, run, *TINY)
    assert status == 0, output
    assert distance(run, alone / "tiny") < 1e-5


def test_a_process_that_dies_ends_the_job_and_another_number_goes_on(begun, alone, tmp_path):
    run = copied(begun / "hard", tmp_path / "run")
    first = (run / "checkpoint.safetensors").read_bytes()
    log = tmp_path / "log"
    processes = started(2, run, log, *HARD)
    deadline = time.monotonic() + 200
    while (run / "checkpoint.safetensors").read_bytes() == first:
        assert processes[0].poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes[1].kill()
    statuses, output = ended(processes), log.read_text("utf-8")
    assert statuses[0] not in (0, None), output
    assert statuses[1] == -signal.SIGKILL
    assert "trilemma: another process of this training has ended" in output
    assert not (run / "result.json").exists()
    status, output = finished(1, run, *HARD)
    assert status == 0, output
    assert any("went on from update" in note for note in Run.load(run).result["notes"])
    assert distance(run, alone / "hard") < 1e-5


def test_what_several_processes_are_not_for_is_refused(tmp_path):
    status, output = finished(2, tmp_path / "run", "--batch-size", "48")
    assert status != 0
    assert "several processes are for a budget" in output
    assert not (tmp_path / "run" / "result.json").exists()


def test_fixed_features_by_several_processes_are_refused(tmp_path, monkeypatch, capsys):
    """A training as the first of two processes sees it."""
    monkeypatch.setattr(Ranks, "joined", classmethod(lambda cls, device: cls(0, 2)))
    monkeypatch.setattr(Ranks, "tell", lambda self, value: value)
    monkeypatch.setattr(Ranks, "dismiss", lambda self: None)
    with pytest.raises(SystemExit) as refused:
        main(command(1, tmp_path / "run", "--model", "prior-s", "--epsilon", "8", "--batch-size", "48")[2:])
    assert refused.value.code == 2
    assert "is trained by one process" in capsys.readouterr().err
    assert not (tmp_path / "run" / "result.json").exists()


def total(places, count):
    generator = torch.Generator().manual_seed(0)
    sums = torch.randn(count, 3, generator=generator)[places].sum(0)
    return ClippedSum({"w": sums}, torch.arange(1.0, 1 + count)[places], torch.ones(len(places)), 1.0)


def test_shares_are_everyone_once():
    for size in (1, 2, 3, 7):
        for count in (0, 1, 2, 6, 50):
            shares = torch.cat([Ranks(rank, size).share(count) for rank in range(size)])
            assert torch.equal(shares.sort().values, torch.arange(count))


@pytest.mark.parametrize("second", ["same share", "no share", "other share"])
def test_a_batch_that_is_not_complete_is_refused(monkeypatch, second):
    """Guards: an example counted twice or never, where processes share a batch."""
    count, seen = 6, []

    def other(vector):
        places = {"same share": Ranks(0, 2), "other share": Ranks(1, 2)}.get(second, Ranks(5, 9)).share(count)
        if seen:
            return None
        seen.append(True)
        theirs = total(places, count)
        by_place = torch.zeros(3, count)
        by_place[:, places] = torch.stack([theirs.norms, theirs.losses, torch.ones(len(places))])
        vector += torch.cat([theirs.sums["w"], by_place.flatten()])

    monkeypatch.setattr(ranks_module.dist, "all_reduce", other)
    mine = Ranks(0, 2).share(count)
    if second == "other share":
        total_sum = Ranks(0, 2).add_up(total(mine, count), mine, count)
        expected = total(torch.arange(count), count)
        torch.testing.assert_close(total_sum.sums, expected.sums)
        torch.testing.assert_close(total_sum.norms, expected.norms)
    else:
        with pytest.raises(PrivacyError, match="who computes which"):
            Ranks(0, 2).add_up(total(mine, count), mine, count)
