"""Train image classifiers with differential privacy, measure what they leak and whom they fail.

>>> import trilemma as tl
>>> print(tl.harmonic_score(accuracy=0.81, auc=0.52, bias=0.07))
0.872 (normalized, three terms: accuracy 0.810, privacy 0.960, fairness 0.860)

Names are imported when they are first used, so that ``import trilemma`` waits for nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trilemma.version import __version__ as __version__

if TYPE_CHECKING:
    from trilemma import attacks, data, fairness, harmonic, models, privacy, training
    from trilemma.attacks import Audit, Predictions, audit
    from trilemma.data import Dataset, Split, load_data
    from trilemma.errors import InputError, PrivacyError
    from trilemma.fairness import bias_amplification, fairness_report
    from trilemma.harmonic import harmonic_score
    from trilemma.training.canaries import Canaries
    from trilemma.training.execution import Execution
    from trilemma.training.recipe import Recipe, load_recipe
    from trilemma.trial.model import Model, load_model
    from trilemma.trial.run import Run
    from trilemma.trial.train import train

_MODULES = ("attacks", "data", "fairness", "harmonic", "models", "privacy", "training")
_HOME = {
    "Audit": "attacks",
    "Predictions": "attacks",
    "audit": "attacks",
    "Dataset": "data",
    "Split": "data",
    "load_data": "data",
    "InputError": "errors",
    "PrivacyError": "errors",
    "bias_amplification": "fairness",
    "fairness_report": "fairness",
    "harmonic_score": "harmonic",
    "Canaries": "training.canaries",
    "Execution": "training.execution",
    "Recipe": "training.recipe",
    "load_recipe": "training.recipe",
    "Model": "trial.model",
    "Run": "trial.run",
    "load_model": "trial.model",
    "train": "trial.train",
}

__all__ = [
    "Audit",
    "Canaries",
    "Dataset",
    "Execution",
    "InputError",
    "Model",
    "Predictions",
    "PrivacyError",
    "Recipe",
    "Run",
    "Split",
    "attacks",
    "audit",
    "bias_amplification",
    "data",
    "fairness",
    "fairness_report",
    "harmonic",
    "harmonic_score",
    "load_data",
    "load_model",
    "load_recipe",
    "models",
    "privacy",
    "train",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"trilemma.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'trilemma' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trilemma.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
