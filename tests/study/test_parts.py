"""A study whose parts from outside cannot be used is refused before its first trial."""

import pytest

from trilemma.cli.main import main
from trilemma.errors import InputError, PrivacyError
from trilemma.study.file import load_study
from trilemma.study.parts import refuse_parts_that_fail
from trilemma.study.trials import expand

PARTS = """
import torch
from torch import nn
import trilemma as tl

def build(*, classes, image_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

def build_small(classes):
    return build(classes=classes, image_shape=None)

class Mixing(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(64, classes)
    def forward(self, images):
        return self.layer((images - images.mean(0)).flatten(1))

def mixing(*, classes, image_shape):
    return Mixing(classes)

def halved(gradient, weights, update):
    return {name: values / 2 for name, values in gradient.items()}

def nothing(gradient, weights, update):
    return {}

def optimizer(parameters, *, learning_rate):
    return torch.optim.RMSprop(parameters, lr=learning_rate)

def no_optimizer(parameters, *, learning_rate):
    return None

def confidence(predictions):
    return predictions.outputs.max(axis=1)

def one_score(predictions):
    return [1.0]

def text(predictions):
    return "high"

def data():
    return tl.load_data("digits", limit=60, test_limit=60)

def no_data():
    return 5
"""
GOOD = {
    "data": "outside_parts:data",
    "technique": "outside_parts:halved",
    "model": "outside_parts:build",
    "optimizer": "outside_parts:optimizer",
    "attack": "outside_parts:confidence",
    "measure": "outside_parts:confidence_mean",
}


@pytest.fixture(autouse=True)
def parts(tmp_path, monkeypatch):
    more = "\ndef confidence_mean(predictions):\n    return confidence(predictions).mean()\n"
    (tmp_path / "outside_parts.py").write_text(PARTS + more)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


def study_with(folder, **changed):
    names = GOOD | changed
    path = folder / "mine.toml"
    path.write_text(f"""
title = "Parts from outside"
figures = ["accuracy"]
seeds = 2

[[grid]]
data = "{names["data"]}"
recipe = "digits"
techniques = ["{names["technique"]}"]
epsilon = [2.0, 8.0]

[grid.set]
model = "{names["model"]}"
optimizer = "{names["optimizer"]}"
attacks = ["{names["attack"]}"]
measures = ["{names["measure"]}"]
batch_size = 20
epochs = 1
evaluations = 1
""")
    return path


WRONG = [
    ({"model": "no_such_module:build"}, "cannot import no_such_module"),
    ({"model": "outside_parts:build_small"}, "has another signature"),
    ({"model": "outside_parts:mixing"}, r"^outside_parts:mixing: the network mixes examples"),
    ({"technique": "outside_parts:nothing"}, "must return a dict of gradients"),
    ({"optimizer": "outside_parts:no_optimizer"}, "must return a torch.optim.Optimizer"),
    ({"attack": "outside_parts:one_score"}, "must return a finite score"),
    ({"measure": "outside_parts:text"}, "must return a finite number"),
    ({"measure": "outside_parts:confidences"}, "has no 'confidences'"),
    ({"data": "outside_parts:no_data"}, "no_data"),
]


@pytest.mark.parametrize(("changed", "says"), WRONG, ids=[next(iter(wrong.values())) for wrong, _ in WRONG])
def test_a_wrong_part_is_refused_in_one_line(tmp_path, changed, says):
    trials = expand(load_study(str(study_with(tmp_path, **changed)))[0]).trials
    with pytest.raises(InputError, match=says) as refused:
        refuse_parts_that_fail(trials, None)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, PrivacyError) is ("mixing" in says)


def test_each_combination_is_tried_once(tmp_path, monkeypatch):
    """Guards: a study of a hundred trials that waits for a hundred checks of one network."""
    tried = []
    monkeypatch.setattr("trilemma.study.parts._try", lambda recipe, data: tried.append(recipe))
    trials = expand(load_study(str(study_with(tmp_path)))[0]).trials
    assert len(trials) == 4
    refuse_parts_that_fail(trials, None)
    assert len(tried) == 1
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path))
    refuse_parts_that_fail(trials, None)


def test_the_command_leaves_no_folder_that_hinders_the_corrected_study(tmp_path, capsys):
    path = study_with(tmp_path, attack="outside_parts:confidenc")
    with pytest.raises(SystemExit) as ended:
        main(["study", str(path), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
