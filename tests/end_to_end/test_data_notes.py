"""What loading left out, converted or found twice is told by the commands and kept with what they measured."""

import json

import numpy as np
import pytest
from PIL import Image

from trilemma.cli.main import main

RECIPE = 'model = "convnet-4"\nbatch_size = 8\nepochs = 1\nevaluations = 1\nfewest_updates = 1\n'
STUDY = """
title = "Notes"
about = "For a test."
figures = []
seeds = 2

[[grid]]
data = {name = "DATA"}
techniques = "none"
epsilon = ["none"]
recipe = "recipe.toml"
"""


@pytest.fixture
def images(tmp_path):
    """A folder with a test image that is a training image too, and with a file that is no image."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        for name in "ab":
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    copy = (tmp_path / "images/train/a/0.png").read_bytes()
    (tmp_path / "images/test/b/0.png").write_bytes(copy)
    (tmp_path / "images/train/a/notes.txt").write_text("x")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "images"


EXPECTED = ("1 file not read as images (.txt 1)", "1 of 40 test images are also in the training set")


def test_train_tells_and_keeps_them(images, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--data", str(images), "--recipe", str(tmp_path / "recipe.toml"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    notes = json.loads((out / "result.json").read_text())["data"]["notes"]
    assert len(notes) == len(EXPECTED)
    for note, expected in zip(notes, EXPECTED, strict=True):
        assert expected in note
        assert f"note: {note}" in printed.out
        assert expected[:20] in printed.err.replace("\n", " ")
    assert "also in the training set" not in (out / "config.json").read_text()  # which may be released


@pytest.mark.usefixtures("warm_workers")
def test_a_study_tells_them_once(images, tmp_path, capsys):
    (tmp_path / "study.toml").write_text(STUDY.replace("DATA", str(images)))
    assert main(["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "study"), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    for expected in EXPECTED:
        assert printed.count(expected) == 1
