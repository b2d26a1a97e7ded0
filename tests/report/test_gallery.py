"""The blocks of the gallery draw every figure from the folder of a study."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from documented import ROOT, blocks
from trilemma.analysis.results import write_results
from trilemma.report import drawing, study_roc
from trilemma.report.figures.catalog import FIGURES


def test_every_block_draws_its_figure(large, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = {}

    def save(figure, folder, stem):  # the drawing itself has tests of its own, and takes ten seconds here
        assert figure.panels
        figures[stem] = (figure.name, folder)

    assert list(inspect.signature(save).parameters) == list(inspect.signature(drawing.save_figure).parameters)
    monkeypatch.setattr(drawing, "save_figure", save)
    monkeypatch.setattr(study_roc, "FORMATS", ("svg",))
    folder = Path("runs/study")
    folder.mkdir(parents=True)
    write_results(large.results, folder)
    (folder / "study.json").write_text(json.dumps(large.study))
    first = large.results["cell"].iloc[0]
    for trial in large.results.loc[large.results["cell"] == first, "trial"].unique():
        (folder / "runs" / trial).mkdir(parents=True)
        member = np.arange(200) < 100
        scores = np.random.default_rng(0).normal(size=200)
        table = pd.DataFrame({"member": member, "weight": 1.0, "score_threshold": scores})
        table.to_parquet(folder / "runs" / trial / "signals.parquet")
    names = {}
    for block in blocks(ROOT / "docs" / "gallery.md", "python"):
        exec(block, names)
    assert figures == {name: (name, folder) for name in figures}
    assert set(figures) == set(FIGURES)
    assert (folder / "roc.svg").stat().st_size > 3000


def test_every_figure_has_an_image():
    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    assert text.count("![") == len(FIGURES) + 1, "docs/gallery.md shows every figure, and the ROC curves"


def test_the_example_of_a_study_names_every_figure():
    (line,) = re.findall(r"^figures = .*# (.*)$", (ROOT / "docs" / "studies.md").read_text("utf-8"), re.MULTILINE)
    assert set(line.split()) == set(FIGURES)
