"""What each extra offers, with the package itself; where it is not installed, the test says so and is skipped.

Elsewhere stand-ins test the wiring.  ``onnx`` is tested in ``test_one_model.py``, ``ray`` in
``tests/study/test_cluster.py`` and ``timm`` in ``tests/models/test_timm.py``.
"""

import json
from pathlib import Path

import pytest

from trilemma.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of others
TRAIN = [
    "train",
    "--data",
    "digits",
    "--limit",
    "80",
    "--test-limit",
    "40",
    "--model",
    "convnet-4",
    "--batch-size",
    "40",
]
TRAIN += ["--epochs", "1", "--device", "cpu", "--epsilon", "8", "--set", "evaluations=2", "--out", "run"]


def needed(module, extra):
    return pytest.importorskip(module, reason=f"the extra {extra} is not installed", exc_type=ImportError)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tensorboard_shows_what_may_be_released(folder):
    reader = needed("tensorboard.backend.event_processing.event_accumulator", "tensorboard")
    assert main([*TRAIN, "--listen", "tensorboard"]) == 0
    events = reader.EventAccumulator("run/tensorboard")
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"accuracy", "epsilon", "final/accuracy", "final/epsilon"} <= names
    assert not [name for name in names if "train" in name or "auc" in name]
    assert [event.step for event in events.Scalars("epsilon")] == [1, 2]


def test_mlflow_shows_what_may_be_released(folder, monkeypatch):
    mlflow = needed("mlflow", "mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with pytest.raises(SystemExit):
        main([*TRAIN, "--listen", "mlflow", "--track", "5000"])  # refused: there is no such example
    assert main([*TRAIN, "--listen", "mlflow"]) == 0
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert (run.info.run_name, run.info.status, run.data.params["model"]) == ("run", "FINISHED", "convnet-4")
    assert {"accuracy", "epsilon", "final_accuracy", "final_epsilon"} <= set(run.data.metrics)
    assert not [name for name in run.data.metrics if "train" in name or "auc" in name]


def test_the_page_is_printed(folder):
    needed("weasyprint", "pdf")
    assert main(TRAIN) == 0
    assert main(["report", "run", "--pdf"]) == 0
    assert Path("run/statement.pdf").read_bytes().startswith(b"%PDF-")
    assert json.loads(Path("run/statement.json").read_text())["guarantee"]["epsilon"] <= 8
