"""The table and the figure of docs/results/frontier.md, from the runs that `trilemma train` left.

    python benchmarks/frontier.py RUNS... [--figure docs/results/frontier.png] [--first RUNS...]

RUNS are folders of finished runs, or folders of such.  A row is a data set, model and budget.  Where several
dictionaries (``prior_seed``) were run the interval is Student's t over their means, each a mean over its noise seeds,
so that it speaks of another dictionary too; with one it is over noise seeds.  With a figure, accuracy on CIFAR-10 is
drawn against the budget and against what a training cost, beside published numbers; what it cost is the time of those
RUNS, or of those after --first, that computed their features on the way.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from scipy.stats import t as student

ATTACKS = ("threshold", "threshold-entropy", "mlp", "rf")

Run = dict[str, Any]
Cells = dict[tuple[str, str, float], list[Run]]

# Test accuracy in percent by epsilon at delta 1e-5, without other real data; docs/results/frontier.md cites the works.
PUBLISHED: dict[str, dict[int, float]] = {
    "ScatterNet (Tramer, Boneh 2021), reproduced": {1: 60.88, 2: 66.96, 4: 69.74, 8: 72.40},
    "WRN-16-4 (De et al. 2022), reproduced": {1: 56.80, 2: 62.90, 4: 69.45, 8: 78.74},
    "WRN-40-4 (De et al. 2022), abstract": {8: 81.4},
    "ScaleNorm (Klause et al. 2022), abstract": {8: 82.5},
    "DP-RandP (Tang et al. 2023), abstract; 8: recalled": {1: 72.3, 8: 85.3},
    "Hassanpour et al. 2025, abstract": {8: 81.11},
}
# Hours of one training with this many cores or accelerators, where somebody said so: the reproduction of
# De et al. took about 55 hours on one A100.
PUBLISHED_COST = {"WRN-16-4 (De et al. 2022), reproduced: one A100": (55.0, 78.74)}


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and the ends of Student's t interval at 95 % (NaN with one value)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def over_dictionaries(runs: list[Run], value: Any) -> tuple[float, float, float]:
    """Mean and interval of ``value(run)``: over dictionaries' means if there are several, else over noise seeds."""
    by_dictionary: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        by_dictionary[run["recipe"].get("prior_seed", 0)].append(value(run))
    if len(by_dictionary) == 1:
        return interval(next(iter(by_dictionary.values())))
    return interval([statistics.fmean(values) for values in by_dictionary.values()])


def load(folders: list[Path]) -> dict[tuple[str, str, float], list[Run]]:
    """Finished runs by (data, model, epsilon); a budget of infinity is none."""
    runs_by_condition: dict[tuple[str, str, float], list[Run]] = defaultdict(list)
    for folder in folders:
        for result in sorted([*folder.glob("result.json"), *folder.glob("*/result.json")]):
            config = json.loads((result.parent / "config.json").read_text("utf-8"))
            run = json.loads(result.read_text("utf-8")) | {"recipe": config["recipe"]}
            request = config["data"]["request"]
            name = " ".join(str(request[key]) for key in ("name", "skew", "target", "protected") if request.get(key))
            budget = config["recipe"]["epsilon"]
            runs_by_condition[name, config["recipe"]["model"], float("inf") if budget is None else budget].append(run)
    return dict(sorted(runs_by_condition.items()))


def shown(values: tuple[float, float, float], digits: int) -> str:
    """mean [low, high]."""
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return mean if low == "nan" else f"{mean} [{low}, {high}]"


def table(cells: dict[tuple[str, str, float], list[Run]]) -> None:
    """Markdown, a row for each cell."""
    head = ["data", "model", "ε", "dictionaries", "runs", "test accuracy, %", "between noise seeds, sd", "train, %"]
    biased = any(run["fairness"] for runs in cells.values() for run in runs)
    head += [f"AUC {name}" for name in ATTACKS] + (["bias"] if biased else [])
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for (data, model, epsilon), runs in cells.items():
        by_dictionary: dict[int, list[float]] = defaultdict(list)
        for run in runs:
            by_dictionary[run["recipe"].get("prior_seed", 0)].append(100 * run["accuracy"])
        within = [statistics.variance(values) for values in by_dictionary.values() if len(values) > 1]
        row = [data, model, "none" if epsilon == float("inf") else f"{epsilon:g}", str(len(by_dictionary))]
        row += [str(len(runs)), f"**{shown(over_dictionaries(runs, lambda run: 100 * run['accuracy']), 2)}**"]
        row += [f"{statistics.fmean(within) ** 0.5:.2f}" if within else ""]
        row += [f"{statistics.fmean(100 * run['train_accuracy'] for run in runs):.1f}"]
        row += [shown(over_dictionaries(runs, lambda run, n=name: run["attacks"][n]["auc"]), 3) for name in ATTACKS]
        if biased:
            fair = [run for run in runs if run["fairness"]]
            row.append(shown(over_dictionaries(fair, lambda run: run["fairness"]["bias"]), 3) if fair else "")
        print("| " + " | ".join(row) + " |")
    everything = [run for runs in cells.values() for run in runs]
    checks = [check["passed"] for run in everything if (check := run["null_check"]["matched"])]
    print(f"\n{len(everything)} runs; {sum(checks)} of {len(checks)} negative controls passed")
    first = sorted(round(run["seconds"]["total"]) for run in everything if run["seconds"]["start"] > 120)
    later = sorted(round(run["seconds"]["total"]) for run in everything if run["seconds"]["start"] <= 120)
    print(f"seconds from images to result, features computed on the way: {first}")
    if later:
        print(f"seconds of a further run: median {statistics.median(later)}, {later[0]} to {later[-1]}")


def figure(cells: Cells, first: Cells, path: Path) -> None:
    """Accuracy on CIFAR-10 against epsilon, and against hours of one training."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    models = sorted({model for data, model, epsilon in cells if data == "cifar10" and epsilon < float("inf")})
    for color, model in zip(("#0b6e4f", "#1f78b4", "#8856a7"), reversed(models), strict=False):
        budgets = sorted(e for data, m, e in cells if (data, m) == ("cifar10", model) and e < float("inf"))
        scores = [over_dictionaries(cells["cifar10", model, e], lambda run: 100 * run["accuracy"]) for e in budgets]
        heights = [mean for mean, _, _ in scores]
        bars = [[mean - low for mean, low, _ in scores], [high - mean for mean, _, high in scores]]
        left.errorbar(budgets, heights, bars, fmt="o-", color=color, capsize=4, label=f"{model}, measured here")
        runs = [run for e in budgets for run in first.get(("cifar10", model, e), [])]
        whole = [run["seconds"]["total"] / 3600 for run in runs if run["seconds"]["start"] > 120]
        best = heights[-1]
        if whole:
            right.plot(statistics.median(whole), best, "o", color=color)
            right.annotate(
                f"{model}, features and all: two CPU cores",
                (statistics.median(whole), best),
                xytext=(8, -14),
                textcoords="offset points",
            )
    for marker, (name, values) in zip("sv^DXP", PUBLISHED.items(), strict=True):
        line = ":" if len(values) == 4 else ""
        left.plot(list(values), list(values.values()), marker + line, color="#666666", ms=6, lw=0.9, label=name)
    for name, (hours, height) in PUBLISHED_COST.items():
        right.plot(hours, height, "v", color="#666666")
        right.annotate(name, (hours, height), xytext=(-8, -16), textcoords="offset points", ha="right")
    left.set(xscale="log", xlabel="ε (δ = 1e-5)", ylabel="CIFAR-10 test accuracy, %", ylim=(52, 87))
    left.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    left.minorticks_off()
    left.legend(fontsize=7.5, loc="lower right")
    right.set(xscale="log", xlabel="hours of one training at ε = 8, on its own machine", xlim=(0.1, 200))
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read the runs, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--first", nargs="+", type=Path, help="runs whose time counts in the figure (RUNS)")
    options = parser.parse_args()
    cells = load(options.runs)
    if not cells:
        raise SystemExit(f"no finished run in {', '.join(map(str, options.runs))}")
    table(cells)
    if options.figure:
        figure(cells, load(options.first) if options.first else cells, options.figure)


if __name__ == "__main__":
    main()
