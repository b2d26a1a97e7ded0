"""The learned attacks beside the published grid search: time and AUC, on the same predictions in one run.

    python benchmarks/learned_attacks.py            # the real comparison, some 15 minutes on 2 cores
    python benchmarks/learned_attacks.py --quick    # two minutes: fewer examples, one pair, and
                                                    # the forests on one classifier only

Two classifiers are trained here, one that overfits and one that hardly leaks, on CIFAR-10 where a copy is at
hand (``$TRILEMMA_DATA`` or ``../shared/data``; shrunk to 8x8 so that training takes seconds), else on
scikit-learn's digits.  Both sides attack the same outputs with the same folds and the same balanced samples;
only the attacker differs: fixed settings here, TF-Privacy's GridSearchCV there, with all cores
for either.  Pairs are interleaved and their order alternates, since a shared machine's speed drifts.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from trilemma.attacks import Predictions, cross_fitted_scores, measure, read_signals
from trilemma.attacks.learned import Attacker, ForestAttacker, MlpAttacker, attack_features

Images = tuple[NDArray[np.float64], NDArray[np.int64]]


class GridAttacker:
    """TF-Privacy's trained attacker: a grid with three-fold cross-validation on features as they come."""

    def __init__(self, model: object, grid: dict[str, list[object]]) -> None:
        self._search = GridSearchCV(model, grid, cv=3, n_jobs=-1)

    def fit(self, features: NDArray[np.float64], member: NDArray[np.bool_]) -> None:
        """Search, then fit the best on everything."""
        self._search.fit(features, member)

    def score(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of member."""
        return self._search.predict_proba(features)[:, 1]


def grid_mlp(seed: int) -> GridAttacker:
    """The published grid of nets."""
    return GridAttacker(
        MLPClassifier(random_state=seed),
        {"hidden_layer_sizes": [(64,), (32, 32)], "solver": ["adam"], "alpha": [1e-4, 1e-3, 1e-2]},
    )


def grid_rf(seed: int) -> GridAttacker:
    """The published grid of forests."""
    return GridAttacker(
        RandomForestClassifier(random_state=seed),
        {
            "n_estimators": [100],
            "max_features": ["sqrt"],
            "max_depth": [5, 10, 20, None],
            "min_samples_split": [2, 5, 10],
            "min_samples_leaf": [1, 2, 4],
        },
    )


def images(count: int) -> tuple[str, Images]:
    """Name of the data, features (N, F) in [-1, 1] and labels; at most ``count`` examples."""
    for root in (os.environ.get("TRILEMMA_DATA"), "../shared/data"):
        files = sorted(Path(root, "cifar10").rglob("train-*.parquet")) if root else []
        if files:
            return "CIFAR-10 at 8x8", _cifar(files[0], count)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:count]
    return "digits", (digits.data[order] / 8 - 1, digits.target[order])


def _cifar(file: Path, count: int) -> Images:
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(file).slice(0, count)
    small = [
        np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB").reduce(4)).ravel()
        for row in table["img"].to_pylist()
    ]
    return np.stack(small) / 127.5 - 1, np.array(table["label"].to_pylist())


def predictions_of(kind: str, data: Images) -> Predictions:
    """A classifier of this kind, trained on the first half of the data, on all of it."""
    features, labels = data
    half = len(labels) // 2
    if kind == "overfitted":
        model = MLPClassifier((256,), learning_rate_init=2e-3, random_state=0)
        for _ in range(100):
            model.partial_fit(features[:half], labels[:half], classes=np.unique(labels))
    else:
        model = LogisticRegression(C=1e-3, max_iter=1000).fit(features[:half], labels[:half])
    member = np.arange(len(labels)) < half
    return Predictions(logits=np.log(model.predict_proba(features) + 1e-30), labels=labels, member=member)


def timed(predictions: Predictions, make: Callable[[int], Attacker], seed: int) -> tuple[float, float]:
    """Seconds and AUC of one attack."""
    start = time.perf_counter()
    features = attack_features(predictions, read_signals(predictions))
    scores = cross_fitted_scores(features, predictions.member, make, seed=seed)
    seconds = time.perf_counter() - start
    return seconds, float(measure(scores, predictions.member).auc)


def compare(
    predictions: Predictions, ours: Callable[[int], Attacker], grid: Callable[[int], Attacker], pairs: int
) -> str:
    """One row: seconds of either, ratio of each pair, AUC of either."""
    rows = []
    for pair in range(pairs):
        sides = [ours, grid] if pair % 2 == 0 else [grid, ours]
        results = [timed(predictions, side, seed=pair) for side in sides]
        rows.append(results if pair % 2 == 0 else results[::-1])
    fast, slow = [row[0][0] for row in rows], [row[1][0] for row in rows]
    ratio = [b / a for a, b in zip(fast, slow, strict=True)]
    auc_ours, auc_grid = (statistics.mean(row[side][1] for row in rows) for side in (0, 1))
    aucs = f"{auc_ours:8.4f} {auc_grid:8.4f} {auc_ours - auc_grid:+8.4f}"
    return f"{spread(fast)}  {spread(slow)}  {spread(ratio)}  {aucs}"


def spread(values: list[float]) -> str:
    """Median [least, largest]."""
    return f"{statistics.median(values):7.2f} [{min(values):6.2f}, {max(values):6.2f}]"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer examples, one pair, one forest")
    parser.add_argument("--examples", type=int, default=4000, help="members and non-members together")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    quick = options.quick
    # The published grid stops its nets at 200 passes, converged or not, here as there; workers inherit this.
    warnings.simplefilter("ignore", ConvergenceWarning)
    os.environ["PYTHONWARNINGS"] = "ignore"
    examples, pairs = (1200, 1) if quick else (options.examples, options.pairs)
    name, data = images(examples)
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}, numpy {np.__version__}")
    print(f"{name}: {len(data[1]) // 2} members, {len(data[1]) - len(data[1]) // 2} non-members, {pairs} pairs")
    print("median [least, largest] over pairs; ratio = grid / ours within a pair; AUC = mean over pairs\n")
    times = f"{'seconds, ours':^24}  {'seconds, grid':^24}  {'ratio':^24}"
    print(f"{'classifier':<12}{'attack':<6}{times}  AUC ours     grid     diff")
    GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, n_jobs=-1).fit(*data)  # starts the workers, untimed
    for kind in ("overfitted", "regular"):
        predictions = predictions_of(kind, data)
        for attack, ours, grid in (("mlp", MlpAttacker, grid_mlp), ("rf", ForestAttacker, grid_rf)):
            if quick and (kind, attack) == ("regular", "rf"):
                continue  # the 108 fits of the grid's forests take a minute however few the examples
            print(f"{kind:<12}{attack:<6}{compare(predictions, ours, grid, pairs)}", flush=True)


if __name__ == "__main__":
    main()
