"""Listeners and progress: who is told what, and that nothing is told under a budget that may not be released."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import trilemma as tl
from trilemma.cli.main import main
from trilemma.errors import InputError
from trilemma.trial.display import shown
from trilemma.trial.listeners import Listeners, MLflow, listener_for
from trilemma.trial.progress import TrialProgress

CPU = tl.Execution("cpu", 40, "float32")
RELEASED = {"accuracy", "epsilon", "bias", "worst_group_accuracy"}


class Recording:
    def __init__(self):
        self.updates, self.ends = [], []

    def on_update(self, update, values):
        self.updates.append((update, dict(values)))

    def on_end(self, values):
        self.ends.append(dict(values))


def recipe(**changes):
    return tl.Recipe(model="convnet-4", batch_size=40, epochs=1, evaluations=2, **({"secret_noise": False} | changes))


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits-s", limit=80, test_limit=40)


def test_a_listener_of_a_private_run_hears_released_numbers_alone(data, tmp_path):
    """Guards: a private run's tracker gets training losses or attack results."""
    ear = Recording()
    run = tl.train(recipe(epsilon=8.0), data, tmp_path / "run", execution=CPU, listeners=[ear], track=[3])
    assert [update for update, _ in ear.updates] == [1, 2]
    assert all(set(values) == {"accuracy", "epsilon"} for _, values in ear.updates)
    assert ear.updates[0][1]["epsilon"] < ear.updates[1][1]["epsilon"] == run.result["privacy"]["epsilon"]
    (end,) = ear.ends
    assert set(end) == RELEASED
    assert end["accuracy"] == run.result["accuracy"]
    # A finished run has nothing to tell.
    tl.train(recipe(epsilon=8.0), data, tmp_path / "run", execution=CPU, listeners=[ear], track=[3])
    assert len(ear.ends) == 1


def test_without_a_budget_it_hears_everything_and_a_failing_one_costs_no_update(data, tmp_path):
    ear, broken = Recording(), Recording()
    broken.on_end = lambda values: 1 / 0
    with pytest.raises(InputError, match=r"listener Recording failed \(ZeroDivisionError"):
        tl.train(recipe(), data, tmp_path / "run", execution=CPU, listeners=[ear, broken])
    assert {"train_loss", "train_accuracy", "auc_threshold"} < set(ear.updates[0][1])
    assert {"auc_threshold", "harmonic_score"} < set(ear.ends[0])
    assert (tmp_path / "run" / "result.json").exists()


def test_a_listener_that_empties_what_it_gets_takes_nothing_from_the_next():
    greedy, ear = Recording(), Recording()
    greedy.on_update = lambda update, values: values.clear()
    Listeners([greedy, ear], private=False).evaluated({"update": 3, "accuracy": 0.5})
    assert ear.updates == [(3, {"accuracy": 0.5})]
    with pytest.raises(InputError, match=r"type Recording: give a sequence"):
        Listeners(ear, private=False)


def test_listeners_are_found_by_name(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="did you mean 'tensorboard'"):
        listener_for("tensorbord", tmp_path, recipe())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"TensorBoard is not installed: pip install 'trilemma\[tensorboard\]'"):
        listener_for("tensorboard", tmp_path, recipe())
    written = []
    writer = SimpleNamespace(
        add_scalar=lambda *call: written.append(call), flush=lambda: None, close=lambda: written.append("closed")
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=lambda path: writer))
    board = listener_for("tensorboard", tmp_path, recipe())
    board.on_update(3, {"accuracy": 0.5})
    board.on_end({"accuracy": 0.6})
    assert written == [("accuracy", 0.5, 3), ("final/accuracy", 0.6, 3), "closed"]

    logged = []
    fake = SimpleNamespace(
        start_run=lambda run_name: logged.append(run_name),
        log_params=lambda values: logged.append(values["model"]),
        log_metrics=lambda values, step=None: logged.append((values, step)),
        end_run=lambda: logged.append("ended"),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    flow = listener_for("mlflow", tmp_path / "first", recipe())
    assert isinstance(flow, MLflow)
    assert logged == []  # a training that is refused leaves no run
    flow.on_update(3, {"accuracy": 0.5})
    flow.on_end({"accuracy": 0.6})
    assert logged == ["first", "convnet-4", ({"accuracy": 0.5}, 3), ({"final_accuracy": 0.6}, None), "ended"]


def test_tensorboard_listens_to_a_run_in_a_new_folder(tmp_path, monkeypatch):
    """Guards: the writer makes its folder before the run does, which wants a folder that is new or empty."""

    class Writer:
        def __init__(self, path):
            self.file = Path(path) / "events"
            self.file.parent.mkdir(parents=True)

        def add_scalar(self, name, value, update):
            with self.file.open("a") as file:
                file.write(f"{name} {update}\n")

        def flush(self):
            pass

        close = flush

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    arguments = ["train", "--data", "digits", "--limit", "80", "--test-limit", "40", "--model", "convnet-4"]
    arguments += ["--batch-size", "40", "--epochs", "1", "--device", "cpu", "--set", "evaluations=2"]
    assert main([*arguments, "--listen", "tensorboard", "--out", str(tmp_path / "run")]) == 0
    heard = (tmp_path / "run" / "tensorboard" / "events").read_text().splitlines()
    assert {"accuracy 1", "accuracy 2", "final/accuracy 2"} < set(heard)


def test_a_listener_that_ends_the_process_is_one_line(data, tmp_path):
    """Guards: ``sys.exit`` in somebody's code ends the command with status 0, as if the run had succeeded."""
    leaving = Recording()
    leaving.on_update = lambda update, values: sys.exit(0)
    with pytest.raises(InputError, match=r"listener Recording failed \(SystemExit: 0\)"):
        tl.train(recipe(), data, tmp_path / "run", execution=CPU, listeners=[leaving])


def test_one_from_outside_must_be_a_listener(data, tmp_path, monkeypatch):
    (tmp_path / "mine_ears.py").write_text("def deaf(folder):\n    return object()\n")
    monkeypatch.chdir(tmp_path)
    deaf = listener_for("mine_ears:deaf", tmp_path, recipe())
    with pytest.raises(InputError, match="the listener object lacks on_update or on_end"):
        tl.train(recipe(), data, tmp_path / "run", listeners=[deaf])


@pytest.mark.parametrize(
    ("progress", "terminal", "notebook", "told"),
    [
        (None, False, False, False),
        (None, True, False, True),
        (None, False, True, True),
        (True, False, False, True),
        (False, True, True, False),
    ],
)
def test_progress_is_shown_where_somebody_watches(monkeypatch, progress, terminal, notebook, told):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    shell = SimpleNamespace(kernel=object()) if notebook else None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    line = {"epsilon": None, "train_loss": 0.5, "accuracy": 0.75, "train_accuracy": 0.8}
    with shown(progress) as tell:
        tell(TrialProgress("training", 1, 2, 0.5, None, line))
    assert ("accuracy 0.750" in stream.getvalue()) == told
