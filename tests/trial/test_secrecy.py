"""A private run draws from a key that nobody has once the run is done; who trains reproducibly is told what follows."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import trilemma as tl
from trilemma.cli.main import main
from trilemma.privacy.randomness import RandomStream
from trilemma.training import loop
from trilemma.training.execution import Execution
from trilemma.training.network import network_for
from trilemma.training.recipe import Recipe
from trilemma.training.streams import Computation, stream_for
from trilemma.trial import train as module
from trilemma.words import SEEDED_NOISE

CPU = Execution("cpu", 20, "float32")
RECIPE = tl.Recipe(model="convnet-4", epsilon=8.0, batch_size=20, epochs=0.5, norm_groups=2, evaluations=1, seed=3)


@pytest.fixture(scope="module")
def digits():
    return tl.load_data("digits", limit=80, test_limit=60)


def trained(recipe, data, out, monkeypatch):
    """The digests of the keys that a training drew sampling and noise from."""
    used = []

    def recorded(*arguments, **own):
        used.append(stream_for(*arguments, **own))
        return used[-1]

    monkeypatch.setattr(loop, "stream_for", recorded)
    tl.train(recipe, data, out, execution=CPU)
    assert len(used) == 2
    return {stream.key_digest for stream in used}


def guessed(folder: Path, data) -> set[str]:
    """Digests of all keys that somebody comes by who has what is left in a run's folder, its data and this code."""
    config, result = (json.loads((folder / name).read_text()) for name in ("config.json", "result.json"))
    recipe = replace(Recipe.from_dict(config["recipe"]), secret_noise=False)
    course, network = result["course"], network_for(recipe, data)
    how = Computation("torch.float32", course["physical_batch"], course["gradient_method"], "cpu", 1)
    keys = {stream_for(purpose, recipe, data, network, how).key_digest for purpose in ("sampling", "noise")}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        keys |= {RandomStream(content[offset : offset + 32]).key_digest for offset in range(len(content) - 31)}
        for text in re.findall(rb"[0-9a-fA-F]{64}", content):
            keys.add(RandomStream(bytes.fromhex(text.decode())).key_digest)
    return keys


def test_nothing_that_is_left_of_a_finished_run_draws_its_noise_again(digits, tmp_path, monkeypatch):
    used = trained(RECIPE, digits, tmp_path / "run", monkeypatch)
    assert not used & guessed(tmp_path / "run", digits)
    again = trained(RECIPE, digits, tmp_path / "again", monkeypatch)
    assert not used & again


def test_the_same_attempt_succeeds_on_seeded_noise_and_on_a_checkpoint_that_stays(digits, tmp_path, monkeypatch):
    seeded = trained(replace(RECIPE, secret_noise=False), digits, tmp_path / "seeded", monkeypatch)
    assert seeded <= guessed(tmp_path / "seeded", digits)
    with monkeypatch.context() as patch:
        patch.setattr(module.checkpoints, "remove", lambda folder: None)
        left = trained(RECIPE, digits, tmp_path / "left", monkeypatch)
    assert left <= guessed(tmp_path / "left", digits)
    # The next call sees a finished run, and takes it away.
    tl.train(RECIPE, digits, tmp_path / "left", execution=CPU)
    assert not left & guessed(tmp_path / "left", digits)


def test_checkpoints_can_be_read_by_their_owner_alone(digits, tmp_path, monkeypatch):
    copies, real = tmp_path / "kept", module.checkpoints.save

    def save(folder, checkpoint):
        monkeypatch.setattr("trilemma.training.checkpoints.PIECE", 2000)  # in several files
        real(folder, checkpoint)
        shutil.copytree(folder, copies, dirs_exist_ok=True)  # which keeps the modes

    monkeypatch.setattr(module.checkpoints, "save", save)
    before = os.umask(0)
    try:
        tl.train(RECIPE, digits, tmp_path / "run", execution=CPU)
    finally:
        os.umask(before)
    files = list(copies.glob("checkpoint*"))
    assert len(files) > 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


TRAIN = ["train", "--data", "digits", "--limit", "80", "--test-limit", "60", "--model", "convnet-4", "--epsilon", "8",
         "--batch-size", "20", "--epochs", "0.5", "--set", "evaluations=1", "--device", "cpu"]  # fmt: skip


def test_the_command_names_what_is_secret_and_says_first_what_is_not_for_release(tmp_path, capsys):
    assert main([*TRAIN, "--out", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"secret: until the run is done, the checkpoints \(\S+run/checkpoint\*.safetensors\) hold", err)
    assert SEEDED_NOISE not in out + err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["privacy"]["noise_source"] == "secret"
    assert "not_for_release" not in result
    assert main([*TRAIN, "--reproducible", "--out", str(tmp_path / "seeded")]) == 0
    out, err = capsys.readouterr()
    assert f"caution: {SEEDED_NOISE}" in err
    assert "secret:" not in err
    assert out.splitlines()[0] == SEEDED_NOISE
    result = json.loads((tmp_path / "seeded" / "result.json").read_text())
    assert result["privacy"]["noise_source"] == "seeded"
    assert next(iter(result.items())) == ("not_for_release", SEEDED_NOISE)
    assert tl.Run.load(tmp_path / "seeded").not_for_release == SEEDED_NOISE
