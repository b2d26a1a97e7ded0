"""The notebooks run, and give the output that they are shown with."""

import importlib.util
import json

import pytest

from documented import ROOT

spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)
PATHS = sorted(notebooks.FOLDER.glob("*.ipynb"))


@pytest.mark.usefixtures("warm_workers")  # no cell shows what a learned attack finds
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_gives_the_output_that_it_is_shown_with(path, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = notebooks.read(path)
    code, results = notebooks.code_of(notebook), notebooks.run(notebook, tmp_path)
    assert len(code) > 5
    for cell, outputs in zip(code, results, strict=True):
        assert [sorted(output.get("data", ["text"])) for output in outputs] == [
            sorted(output.get("data", ["text"])) for output in cell["outputs"]
        ]
        expected = notebooks.text_of(cell["outputs"])
        assert list(notebooks.differences(expected, notebooks.text_of(outputs))) == [], "".join(cell["source"])


def test_a_difference_is_seen():
    """Guards: output that is kept by hand and no longer what the cell gives."""
    assert list(notebooks.differences("accuracy 0.51 of 300", "accuracy 0.55 of 300")) == []
    assert list(notebooks.differences("accuracy 0.51 of 300", "accuracy 0.75 of 300")) == ["0.51 has become 0.75"]
    assert list(notebooks.differences("accuracy 0.51 of 300", "accuracy 0.51 of 301")) == ["300 has become 301"]
    assert list(notebooks.differences("it holds", "it fails")) == ["'it holds' has become 'it fails'"]


def test_pages_show_every_cell_and_its_output(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["import PIL.Image\n", "print(1 + 1)\n", 'PIL.Image.new("L", (2, 2))']},
        {"cell_type": "code", "source": ["x = 3;"]},
        {"cell_type": "code", "source": ["import pandas as pd\n", 'pd.DataFrame({"a": [x]})']},
    ]
    notebook = {"cells": cells}
    for cell, outputs in zip(notebooks.code_of(notebook), notebooks.run(notebook, tmp_path), strict=True):
        cell["outputs"] = outputs
    path = tmp_path / "some.ipynb"
    path.write_text(json.dumps(notebook))
    page = notebooks.page_of(path)
    assert page.startswith("# Title\n\n[The notebook](some.ipynb)")
    for part in ("```python\nx = 3;\n```", "```text\n2\n```", 'src="data:image/png;base64,', "<td>3</td>"):
        assert part in page
    assert "None" not in page
