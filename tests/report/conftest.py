"""Studies that were never run: plausible numbers for every figure, and names that try to be more than names."""

import hashlib
import io
import json
import math

import numpy as np
import pandas as pd
import pytest

ORDER = ("obs", "gn", "ws", "am", "pa", "sat")
CUMULATIVE = [ORDER[:k] for k in range(7)]
NASTY = "<script>alert(1)</script>"
COLUMNS = (
    *("trial", "cell", "studies", "data", "skew", "target", "protected", "examples", "test_examples", "model"),
    *(
        "techniques",
        "epsilon",
        "delta",
        "seed",
        "removed",
        "removal",
        "rank",
        "update",
        "measure",
        "value",
        "low",
        "high",
    ),
    *("n", "unit", "better", "covered"),
)
COVERED = ("accuracy", "bias", "unused", "worst", "score_accuracy", "score_fairness", "epsilon", "noise", "updates")
COVERED += ("batch_size", "ceiling")


class MadeUp:
    """Collects trials into the files that a study leaves."""

    def __init__(self):
        self.study = {"format": 1, "version": "0.1.0", "studies": {}, "trials": {}}
        self.rows = []
        self.rng = np.random.default_rng(7)

    def new_study(self, name, title, figures, about="", scale="small", seeds=(0, 1, 2)):
        self.name, self.seeds = name, seeds
        self.study["studies"][name] = {
            "title": title,
            "about": about,
            "scale": scale,
            "seeds": list(seeds),
            "figures": figures,
            "trials": [],
            "file": {"title": title, "grid": [{"data": "made up"}]},
        }

    def trial(
        self, data, seed, techniques=(), epsilon=math.inf, removed=0.0, removal="", groups=(), track=(), **recipe
    ):
        """One trial with everything that it would measure."""
        made = {
            "model": "wrn-16-4",
            "techniques": list(techniques),
            "epsilon": None if math.isinf(epsilon) else epsilon,
            "delta": None if math.isinf(epsilon) else 1e-5,
            "learning_rate": 0.3,
            **recipe,
            "seed": seed,
        }
        taken = {"share": removed, "arm": removal, "control": "class", "rank": "rmia"} if removal else None
        tracked = {"label": 0, "first": len(track)} if track else None
        entry = {"recipe": made, "data": data, "track": tracked, "removal": taken}
        name = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:12]
        condition = hashlib.sha256(json.dumps(entry | {"recipe": made | {"seed": None}}).encode()).hexdigest()[:12]
        self.study["trials"][name] = entry
        self.study["studies"][self.name]["trials"].append(name)
        skew = data.get("skew")
        self.head = {
            "trial": name,
            "cell": condition,
            "studies": self.name,
            "data": data["name"],
            "skew": math.nan if skew is None else skew,
            "target": data.get("target", ""),
            "protected": data.get("protected", ""),
            "examples": round(data.get("limit", 2000) * (1 - removed)),
            "test_examples": 2000,
            "model": made["model"],
            "techniques": "+".join(techniques) or "bl",
            "epsilon": epsilon,
            "delta": math.nan if math.isinf(epsilon) else 1e-5,
            "seed": seed,
            "removed": removed,
            "removal": removal,
            "rank": "rmia" if removal else "",
        }
        self._measure(len(techniques), epsilon, skew, removed, removal, groups)
        if track:
            self._during_training(len(techniques), epsilon, track)
        return name

    def add(self, measure, value, half=math.nan, update=math.nan, n=4000):
        covered = measure.startswith(COVERED)
        count = measure in ("updates", "batch_size", "unused_classes")
        unit = (
            "count"
            if count
            else "seconds"
            if measure == "seconds"
            else "epsilon"
            if "epsilon" in measure
            else "fraction"
        )
        row = {"update": update, "measure": measure, "value": value, "low": value - half, "high": value + half}
        better = "lower" if "auc" in measure or measure == "bias" else "higher"
        self.rows.append(self.head | row | {"n": n, "unit": unit, "better": better, "covered": covered})

    def _noise(self, scale):
        return float(self.rng.normal(0, scale))

    def _measure(self, step, epsilon, skew, removed, removal, groups):
        cost = 0.0 if math.isinf(epsilon) else 0.22 / math.sqrt(epsilon / 2)
        tilt = 0.0 if skew is None else 2 * (skew - 0.5)
        exposed = 1.0 if removal == "exposed" else 0.25
        accuracy = 0.62 + 0.035 * step - cost - 0.1 * tilt - removed * 0.3 * exposed + self._noise(0.008)
        bias = 0.02 + 0.2 * tilt**2 + 0.3 * cost * tilt + 0.05 * removed * exposed + abs(self._noise(0.004))
        leak = (0.09 - 0.012 * step) * (1 if math.isinf(epsilon) else 0.12 * epsilon**0.3) - 0.05 * removed * exposed
        self.add("accuracy", accuracy, 0.02)
        self.add("train_accuracy", min(0.995, accuracy + 2.5 * leak + 0.02))
        strongest = {}
        for suffix, shift in (("", 0.0), ("_naive", 0.16 * tilt**2)):
            if suffix and not groups:
                continue
            values = {
                a: 0.5 + leak * k + shift + self._noise(0.004)
                for a, k in (("threshold", 1.0), ("threshold-entropy", 0.95), ("mlp", 0.7), ("rf", 1.1))
            }
            for attack, value in values.items():
                self.add(f"auc_{attack}{suffix}", value, 0.018)
            strongest[suffix] = max(values.values(), key=lambda v: abs(v - 0.5))
            self.add(f"auc_strongest{suffix}", strongest[suffix], 0.018)
            self.add(f"advantage_strongest{suffix}", max(0.0, 2 * (strongest[suffix] - 0.5)))
            self.add(f"tpr_at_0.01_strongest{suffix}", 0.011 + max(0, leak) / 10)
            self.add(f"tpr_at_0.01_threshold{suffix}", 0.010 + max(0, leak) / 10, 0.004)
            self.add(f"null_auc{suffix}", 0.5 + shift + self._noise(0.004), 0.018)
        terms = {"accuracy": accuracy, "privacy": 1 - abs(2 * strongest[""] - 1)}
        if groups:
            self.add("bias", bias, 0.006)
            self.add("unused_classes", 0)
            for position, group in enumerate(groups):
                self.add(f"accuracy_in_{group}", accuracy + (0.03 if position else -0.03) * (1 + tilt), 0.025)
            self.add("worst_group_accuracy", accuracy - 0.03 * (1 + tilt), 0.025)
            self.add("worst_cell_accuracy", accuracy - 0.2)
            terms["fairness"] = 1 - 2 * bias
        self.add("harmonic_score", len(terms) / sum(1 / v for v in terms.values()), 0.02)
        for term, value in terms.items():
            self.add(f"score_{term}", value)
        if not math.isinf(epsilon):
            self.add("epsilon_spent", epsilon * 0.998)
            self.add("ceiling_auc", 1 - 0.45 / (1 + epsilon / 4))
            self.add("ceiling_tpr_at_0.01", min(1.0, 0.01 + 0.03 * epsilon))
            for position, group in enumerate(groups):
                self.add(f"accuracy_lost_in_{group}", cost * (1 + 0.4 * position))
                self.add(f"excess_risk_in_{group}", 3 * cost * (1 + 0.4 * position))
                self.add(f"excess_risk_gap_in_{group}", 0.6 * cost)
            self.add("noise_multiplier", 12 / epsilon)
        for name, value in (("updates", 500), ("batch_size", 256), ("seconds", 61.5)):
            self.add(name, value)
        if removal:
            self.add("exposed_survivors", 0.06 if removal == "exposed" else 0.105)
            self.add("exposed_survivors_before", 0.0 if removal == "exposed" else 0.1)
            self.add("mean_exposure", 0.51 + leak / 2)
            self.add("mean_exposure_before", 0.53)

    def _during_training(self, step, epsilon, track):
        private = not math.isinf(epsilon)
        for k in range(1, 26):
            share = k / 25
            learned = (0.68 - 0.2 * private) * (1 - math.exp(-5 * share)) + 0.1
            memory = 0.0 if private else 0.09 * max(0.0, share - 0.25) * (1 - 0.09 * step)
            self.add("accuracy", learned - 0.05 * max(0.0, share - 0.6) + self._noise(0.006), update=40.0 * k, n=2000)
            self.add("train_accuracy", min(1.0, learned + 3.4 * memory), update=40.0 * k, n=2000)
            self.add("auc_threshold", 0.5 + memory + self._noise(0.002), update=40.0 * k, n=4000)
            for position, index in enumerate(track):
                probability = 0.5 + memory * (4.5 - position) + self._noise(0.008)
                self.add(f"membership_probability/{index}", min(1.0, max(0.0, probability)), update=40.0 * k, n=1)
                self.add(f"correct/{index}", float(share > 0.2), update=40.0 * k, n=1)

    @property
    def results(self):
        return pd.DataFrame(self.rows, columns=COLUMNS)


def quickstart():
    made = MadeUp()
    figures = ["tradeoff", "accuracy", "bias", "leakage", "score"]
    made.new_study(
        "quickstart", "Quickstart: color-skewed digits", figures, "A small Fig. 1 on real handwritten digits."
    )
    for seed in made.seeds:
        for epsilon in (math.inf, 8.0):
            for techniques in ((), ORDER):
                data = {"name": "digits-s", "skew": 0.9}
                made.trial(data, seed, techniques, epsilon, groups=("colour", "gray"), model="convnet-16")
    return made


def everything():
    """Every figure, several studies, and names from outside; small enough to be drawn in some seconds."""
    made = MadeUp()
    plain, groups = {"name": "cifar10", "limit": 2000}, ("colour", "gray")
    skewed = [{"name": "cifar10s", "skew": skew, "limit": 2000} for skew in (0.75, 0.95)]
    made.new_study("techniques", "Techniques, one after the other", ["tradeoff"])
    for seed in made.seeds:
        for epsilon in (math.inf, 8.0):
            for techniques in CUMULATIVE:
                made.trial(skewed[1], seed, techniques, epsilon, groups=groups)
    made.new_study("memorization", "Memorization over time", ["memorization"])
    for seed in made.seeds:
        for epsilon in (math.inf, 8.0):
            made.trial(plain, seed, ORDER, epsilon, track=(29, 30, 35), evaluations=25)
    made.new_study("budget", "Budget and skew", ["budget", "ceiling", "skew", "price"])
    for seed in made.seeds:
        for data in (plain, *skewed):
            for epsilon in (math.inf, 1.0, 8.0):
                made.trial(data, seed, ORDER, epsilon, groups=() if data is plain else groups, views=8)
    made.new_study("outliers", "Removing the most exposed examples", ["outliers"])
    for seed in made.seeds:
        for epsilon in (math.inf, 8.0):
            made.trial(plain, seed, (), epsilon, epochs=30)
            for share in (0.1, 0.3):
                for arm in ("exposed", "random"):
                    made.trial(plain, seed, (), epsilon, share, arm, epochs=30)
    made.new_study(f"faces-{NASTY}", f"Faces {NASTY}", ["accuracy", "groups"], f"About {NASTY} & more")
    data = {"name": f"pictures/{NASTY}", "target": NASTY, "protected": '"><img src=x onerror=alert(2)>'}
    for seed in made.seeds:
        for epsilon in (math.inf, 8.0):
            for techniques in ((), ("gn",), ("ws",), ("am",)):
                made.trial(data, seed, techniques, epsilon, groups=(NASTY, "$\\frac{1}{0}$"), model="resnet-$x$")
    return made


def picture():
    """A small PNG."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    pixels[8:24, 4:28] = (200, 220, 245)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def made_up():
    """The class that makes such studies."""
    return MadeUp


@pytest.fixture(scope="session")
def small():
    """The quickstart's study."""
    return quickstart()


@pytest.fixture(scope="session")
def large():
    """Studies for every figure."""
    return everything()


@pytest.fixture(scope="session")
def nasty():
    return NASTY


@pytest.fixture(scope="session")
def png():
    return picture()


@pytest.fixture(scope="session")
def small_page(small, tmp_path_factory):
    """The quickstart's page, with everything that goes beside the figures."""
    return written(small, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def large_page(large, png, tmp_path_factory):
    return written(large, tmp_path_factory.mktemp("large"), images={"29": png})


def written(made, folder, **more):
    from trilemma.analysis.claims import claims
    from trilemma.analysis.comparisons import comparisons
    from trilemma.analysis.conditions import of_study
    from trilemma.report import write_report

    first = next(iter(made.study["studies"]))
    results = of_study(made.results, first)
    compared = [comparisons(results, measure, made.study) for measure in ("accuracy", "auc_threshold_naive")]
    return write_report(
        folder,
        made.results,
        made.study,
        comparisons=[row for each in compared for row in each.table().to_dict("records")],
        comparison_notes=compared[0].notes,
        claims=claims(made.results, made.study),
        ledger={
            "paragraphs": [
                "6 private trials learned from the training examples; released alone, each costs epsilon 8."
            ],
            "families": [
                {
                    "family": "digits",
                    "trials": [{"id": "a1", "label": NASTY, "epsilon": 7.99, "delta": 1e-5, "chosen_by": None}],
                }
            ],
        },
        environment={"python": "3.11", "device": NASTY},
        commands=["trilemma study quickstart --out runs/quickstart", f"trilemma report {NASTY}"],
        **more,
    )
