"""Results of made-up studies, in the columns of ``trilemma.analysis.results``."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

CUMULATIVE = ["bl", "obs", "obs+gn", "obs+gn+ws", "obs+gn+ws+am", "obs+gn+ws+am+pa", "obs+gn+ws+am+pa+sat"]
ALL = CUMULATIVE[-1]
PLAIN: dict[str, Any] = {
    "data": "cifar10",
    "skew": math.nan,
    "target": "",
    "protected": "",
    "examples": 2000,
    "test_examples": 2000,
    "model": "convnet",
    "techniques": "bl",
    "epsilon": math.inf,
    "removed": 0.0,
    "removal": "",
    "rank": "",
}


class Study:
    """Adds conditions whose measures are a mean plus what the seed does to all conditions plus noise of their own.

    Args:
      name: of the study.
      seeds: of every condition, unless said otherwise.
      noise: standard deviation of the noise; of what the seed does to all conditions alike it is three times that.
      rng: seed of both.
    """

    def __init__(self, name: str = "made-up", seeds: Sequence[int] = (0, 1, 2), noise: float = 0.002, rng: int = 0):
        self.name, self.seeds, self.noise = name, tuple(seeds), noise
        self.rng = np.random.default_rng(rng)
        self.rows: list[dict[str, Any]] = []
        self._shift: dict[tuple[str, int], float] = {}

    def add(self, measures: Mapping[str, float | Sequence[float]], seeds: Sequence[int] | None = None, **columns: Any):
        """A condition: a number is a mean to which noise is added, a sequence the values by seed as they are."""
        condition = {**PLAIN, "delta": 1e-5 if math.isfinite(columns.get("epsilon", math.inf)) else math.nan, **columns}
        salt = condition.pop("salt", "")
        name = hashlib.sha256(repr((sorted(condition.items()), self.name, salt)).encode()).hexdigest()[:12]
        seeds = self.seeds if seeds is None else tuple(seeds)
        for measure, value in measures.items():
            if isinstance(value, int | float):
                values = [value + self._noise(measure, seed) for seed in seeds]
            else:
                values = list(value)
            for seed, number in zip(seeds, values, strict=True):
                self.row(condition, name, seed, measure, number)
        return name

    def row(self, condition, name, seed, measure, value, update=math.nan, n=4000):
        self.rows.append(
            {
                "trial": f"{name}-{seed}",
                "studies": self.name,
                **condition,
                "seed": seed,
                "cell": name,
                "update": update,
                "measure": measure,
                "value": value,
                "low": value - 0.01,
                "high": value + 0.01,
                "n": n,
                "unit": "fraction",
                "better": "",
                "covered": True,
            }
        )

    def history(self, accuracy, train_accuracy, auc, seeds=None, n=(1000, 1000), apart=0.001, **columns):
        """Evaluations of a condition at updates 10, 20, ...; by seed, all accuracies are ``apart`` from the last."""
        condition = {**PLAIN, "delta": math.nan, **columns}
        name = hashlib.sha256(repr((sorted(condition.items()), self.name, "tracked")).encode()).hexdigest()[:12]
        for seed, (place, values) in itertools.product(
            seeds or self.seeds, enumerate(zip(accuracy, train_accuracy, auc, strict=True), 1)
        ):
            counts = n[1], n[0], sum(n)
            for measure, value, count in zip(
                ("accuracy", "train_accuracy", "auc_threshold"), values, counts, strict=True
            ):
                shift = 0.0 if measure == "auc_threshold" else apart * seed
                self.row(condition, name, seed, measure, value + shift, update=10.0 * place, n=count)
        return name

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def _noise(self, measure: str, seed: int) -> float:
        key = (measure, seed)
        if key not in self._shift:
            self._shift[key] = 3 * self.noise * self.rng.standard_normal()
        return self._shift[key] + self.noise * self.rng.standard_normal()
