"""Listeners: what follows a training from outside, such as TensorBoard, MLflow, or an object of your own.

A listener gets numbers by name.  With a budget it gets only what may be released: numbers computed from the weights and
test images alone, which the guarantee covers at every update, and the epsilon spent so far.  Training losses, training
accuracy and everything that an attack measured are computed from the training images, and no listener gets them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from trilemma.errors import InputError, check_type
from trilemma.hints import did_you_mean, one_line
from trilemma.measures import described
from trilemma.outside import called, is_outside, resolve
from trilemma.training.recipe import Recipe
from trilemma.trial.run import guaranteed

Values = Mapping[str, float]


class Listener(Protocol):
    """Follows one training."""

    def on_update(self, update: int, values: Values) -> None:
        """Called after every evaluation.

        Args:
          update: how many updates have been made.
          values: ``accuracy`` (of test examples) and, with a budget, ``epsilon``, what is claimed so far: nothing has
            checked it yet; without a budget also ``train_loss``, ``train_accuracy`` and ``auc_threshold``.
        """

    def on_end(self, values: Values) -> None:
        """Called once, when the run is measured.

        Args:
          values: ``accuracy``, ``epsilon`` with a budget (infinite if the run failed its truth check or its canaries
            contradict it, whatever ``on_update`` was told), ``bias`` and ``worst_group_accuracy`` where there are
            groups; without a budget also ``train_accuracy``, ``harmonic_score`` and ``auc_ATTACK`` of every attack.
        """


class Listeners:
    """Passes evaluations and results on to several listeners.

    Attributes:
      listeners: all of them.
      private: whether the training has a budget.
    """

    def __init__(self, listeners: Iterable[Listener], *, private: bool) -> None:
        check_type("listeners", listeners, Iterable, "a sequence of listeners")
        self.listeners, self.private = tuple(listeners), private
        for listener in self.listeners:
            if not all(callable(getattr(listener, method, None)) for method in ("on_update", "on_end")):
                raise InputError(f"the listener {_name(listener)} lacks on_update or on_end; see docs/extend.md")

    def evaluated(self, line: Mapping[str, Any]) -> None:
        """Report a line of the history to the listeners.

        Raises:
          InputError: a listener failed.
        """
        if self.listeners:
            values = self._released({name: line[name] for name in line if name not in ("update", "tracked")})
            self._each("on_update", int(line["update"]), values)

    def ended(self, result: Mapping[str, Any]) -> None:
        """Report ``result.json`` to the listeners.

        Raises:
          InputError: a listener failed; the run is kept.
        """
        if self.listeners:
            stands, fairness = guaranteed(result), result["fairness"] or {}
            withdrawn = math.inf if self.private else None
            self._each(
                "on_end",
                self._released(
                    {
                        "accuracy": result["accuracy"],
                        "epsilon": stands["epsilon"] if stands else withdrawn,
                        "bias": fairness.get("bias"),
                        "worst_group_accuracy": fairness.get("worst_group_accuracy"),
                        "train_accuracy": result["train_accuracy"],
                        "harmonic_score": result["harmonic_score"]["value"],
                        **{f"auc_{name}": attack["auc"] for name, attack in result["attacks"].items()},
                    }
                ),
            )

    def _released(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Those of these numbers that listeners may receive."""
        return {
            name: float(value)
            for name, value in values.items()
            if value is not None and (not self.private or _covered(name))
        }

    def _each(self, method: str, *arguments: Any) -> None:
        for listener in self.listeners:
            try:
                getattr(listener, method)(*deepcopy(arguments))  # the next one gets the same
            except InputError:
                raise
            except (Exception, SystemExit) as error:  # code from outside may raise anything
                raise InputError(
                    f"the listener {_name(listener)} failed ({type(error).__name__}: {one_line(error)}): leave it out, "
                    "and the same command resumes from there"
                ) from error


def _covered(name: str) -> bool:
    """Whether the guarantee covers a number; one that is not in the table of measures is withheld."""
    try:
        return described("epsilon_spent" if name == "epsilon" else name).covered
    except KeyError:
        return False


def _name(listener: object) -> str:
    return type(listener).__name__


class TensorBoard:
    """Writes scalars for TensorBoard (extra ``tensorboard``) into the folder ``tensorboard`` of the run."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("TensorBoard is not installed: pip install 'trilemma[tensorboard]'") from error
        self._open: Any = lambda: SummaryWriter(folder / "tensorboard")  # it must not be there before the run begins
        self._writer: Any = None
        self._last = 0

    def on_update(self, update: int, values: Values) -> None:
        self._last = update
        self._writer = self._writer or self._open()
        for name, value in values.items():
            self._writer.add_scalar(name, value, update)
        self._writer.flush()

    def on_end(self, values: Values) -> None:
        self._writer = self._writer or self._open()
        for name, value in values.items():
            self._writer.add_scalar(f"final/{name}", value, self._last)
        self._writer.close()


class MLflow:
    """Logs to MLflow (extra ``mlflow``): a run with the folder's name, where MLflow's own settings say."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise InputError("MLflow is not installed: pip install 'trilemma[mlflow]'") from error
        self._mlflow: Any = mlflow
        self._name, self._parameters, self._begun = folder.name, recipe.to_dict(), False

    def _begin(self) -> None:
        if not self._begun:  # not before: a training that is refused leaves no run there
            self._mlflow.start_run(run_name=self._name)
            self._mlflow.log_params(self._parameters)
            self._begun = True

    def on_update(self, update: int, values: Values) -> None:
        self._begin()
        self._mlflow.log_metrics(dict(values), step=update)

    def on_end(self, values: Values) -> None:
        self._begin()
        self._mlflow.log_metrics({f"final_{name}": value for name, value in values.items()})
        self._mlflow.end_run()


NAMES = ("tensorboard", "mlflow")


def listener_for(name: str, folder: Path, recipe: Recipe) -> Listener:
    """The listener with this name.

    Args:
      name: one of ``NAMES``, ``module:name`` of a function from the run's folder to a listener, or an entry point in
        ``trilemma.listeners``.
      folder: of the run.
      recipe: of the run.

    Raises:
      InputError: there is none, or its package is not installed.
    """
    if name == "tensorboard":
        return TensorBoard(folder)
    if name == "mlflow":
        return MLflow(folder, recipe)
    if not is_outside(name, "listeners"):
        raise InputError(
            f"no listener {name!r}{did_you_mean(name, NAMES)}: give one of {', '.join(NAMES)}, or module:name"
        )
    listener: Listener = called(name, resolve(name, "listeners"), folder)
    return listener
