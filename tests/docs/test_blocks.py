"""Every Python block and study file of the README and the docs runs, or is checked, as it is printed."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trilemma as tl
from documented import PAGES, ROOT, blocks, name_of
from trilemma.errors import PrivacyError
from trilemma.report.figures.catalog import check_figures
from trilemma.study.file import load_study
from trilemma.study.trials import expand
from trilemma.training.execution import Execution

TESTED = {
    "README.md": "test_the_readme_s_example_runs",
    "docs/tasks/use.md": "test_a_trained_model_is_used_as_the_page_says",
    "docs/tasks/audit-predictions.md": "tests/end_to_end/test_one_model.py",  # the first block; the second is below
    "docs/tasks/loop.md": "test_the_loop_of_ones_own_runs",
    "docs/gallery.md": "tests/report/test_gallery.py",
    "docs/extend.md": "tests/end_to_end/test_extend.py",
}
"""Which test runs the Python blocks of a page."""


def block_of(page):
    (block,) = blocks(ROOT / page, "python")
    return block


def test_every_page_with_python_has_its_test():
    assert {name_of(page) for page in PAGES if blocks(page, "python")} == set(TESTED)
    assert all(name in globals() or (ROOT / name).is_file() for name in TESTED.values())


def test_the_readme_s_example_runs(tmp_path, monkeypatch, capsys):
    """The block runs on fewer digits and for fewer updates, and otherwise as printed."""
    monkeypatch.chdir(tmp_path)
    block = block_of("README.md")
    shorter = block.replace("skew=0.95", "skew=0.95, limit=150, test_limit=100").replace("epochs=60", "epochs=2")
    assert shorter.count("limit=") == 2
    assert "epochs=2," in shorter
    exec(shorter, {})
    accuracy, auc, score = map(float, capsys.readouterr().out.split()[:3])
    assert all(0 <= value <= 1 for value in (accuracy, auc, score))
    assert (tmp_path / "runs" / "python" / "result.json").exists()


def test_a_trained_model_is_used_as_the_page_says(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    data = tl.load_data("digits", limit=60, test_limit=60)
    recipe = tl.Recipe(model="convnet-4", techniques="gn", norm_groups=2, batch_size=20, epochs=0.4, evaluations=1)
    tl.train(recipe, data, "runs/first", execution=Execution("cpu", 20, "float32"))
    images = data.test.images[:3]
    (tmp_path / "folder" / "of" / "images").mkdir(parents=True)
    Image.fromarray(images[0, 0]).save("folder/of/images/a.png")
    names = {"tl": tl, "images": images}
    exec(block_of("docs/tasks/use.md"), names)
    assert names["model"].predict(images).shape == (3,)
    assert names["model"].predict_proba("folder/of/images").shape == (1, 10)


def test_predictions_come_from_each_source(tmp_path, monkeypatch):
    """The four lines of the page, each printed value being predictions of 40 rows that can be audited."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, y, member = rng.normal(size=(40, 5)), np.arange(40) % 2, np.arange(40) < 20
    probabilities = rng.uniform(0.1, 0.9, 40)
    data_frame = pd.DataFrame(
        {"species": y, "member": member, "prob_0": 1 - probabilities, "prob_1": probabilities},
    )
    data_frame.rename(columns={"species": "label"}).to_csv("predictions.csv", index=False)
    tensors = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    train_loader, test_loader = (
        DataLoader(TensorDataset(*(t[rows] for t in tensors)), 7) for rows in (member, ~member)
    )
    names = {
        "tl": tl,
        "data_frame": data_frame,
        "module": nn.Linear(5, 2),
        "train_loader": train_loader,
        "test_loader": test_loader,
        "classifier": LogisticRegression().fit(X[member], y[member]),
        "X": X,
        "y": y,
        "member": member,
    }
    _, block = blocks(ROOT / "docs/tasks/audit-predictions.md", "python")
    lines = block.splitlines()
    assert len(lines) == 4
    for line in lines:
        predictions = eval(line.split("  #")[0], names)
        assert predictions.member.sum() == 20
        assert len(predictions.labels) == 40
    assert 0 <= tl.audit(predictions, attacks=["threshold"], resamples=20).attacks["threshold"]["auc"] <= 1


def test_the_loop_of_ones_own_runs():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    names = {
        "images": torch.randn(300, 1, 8, 8),
        "labels": torch.arange(300) % 10,
        "network": network,
    }
    exec(block_of("docs/tasks/loop.md").replace("updates=500", "updates=5"), names)
    assert set(names["gradient"]) == dict(network.named_parameters()).keys()


def test_the_loop_makes_no_more_updates_than_planned_and_none_twice():
    """Guards: a sentence that promises more than the code holds."""
    names = {"images": torch.randn(60, 1, 4, 4), "labels": torch.arange(60) % 3}
    names["network"] = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    block = (
        block_of("docs/tasks/loop.md").replace("updates=500", "updates=2").replace("batch_size=256", "batch_size=20")
    )
    exec(block, names)
    plan, clipping, draw = names["plan"], names["clipping"], names["plan"].draw(names["sampling"])
    total = clipping.zero()
    if len(draw):
        total = total + clipping(names["images"][draw.indices].unsqueeze(1), names["labels"][draw.indices])
    with pytest.raises(PrivacyError, match="accounts for 2 updates"):
        plan.privatize(draw, total, names["noise"])
    with pytest.raises(PrivacyError, match="released before"):
        plan.privatize(names["draw"], names["total"], names["sampling"].secret())


@pytest.mark.parametrize(("page", "trials"), [("docs/studies.md", 60), ("docs/tasks/compare-techniques.md", 30)])
def test_the_study_of_ones_own_is_one(page, trials, tmp_path):
    (block,) = blocks(ROOT / page, "toml")
    path = tmp_path / "mine.toml"
    path.write_text(block)
    study = expand(load_study(path)[0])
    assert len(study.trials) == trials
    check_figures(study)
    path.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", block))
    tracked = [trial for trial in expand(load_study(path)[0]).trials if trial.removal and trial.track]
    assert bool(tracked) == ("# track = " in block)


def test_every_study_file_has_its_test():
    assert [name_of(page) for page in PAGES if blocks(page, "toml")] == [
        "docs/extend.md",  # in tests/end_to_end/test_extend.py, with the modules that it names
        "docs/studies.md",
        "docs/tasks/compare-techniques.md",
    ]
