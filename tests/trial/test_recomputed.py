"""What a run reports, computed again by an independent few lines from ``signals.parquet``, the weights and the images.

Nothing of ``trilemma.attacks``, ``fairness`` or ``harmonic`` is used here: formulas are those of their papers.
Intervals are compared with a bootstrap of another random stream; their ends differ by its chance alone, about a tenth
of a standard deviation, and half of one is allowed.
"""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import trilemma as tl
from trilemma.training import loop
from trilemma.training.execution import Execution
from trilemma.trial.measure import measure
from trilemma.trial.run import load_network

CPU = Execution("cpu", None, "float32")
RESAMPLES = 2000


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits-s", skew=0.95, limit=600)


@pytest.fixture(scope="module")
def averages():
    """Filled by the run: the weights after each update, of the latest training."""
    return []


@pytest.fixture(scope="module")
def run(data, averages, tmp_path_factory):
    """Trained for so long that it leaks and is biased, with parameter averaging."""
    patch = pytest.MonkeyPatch()
    real = loop.Training.step

    def step(self):
        if self.state.update == 0:
            averages.append({n: v.clone() for n, v in self.state.model.state_dict().items()})
        loss = real(self)
        averages.append({n: v.clone() for n, v in self.state.model.state_dict().items()})
        return loss

    patch.setattr(loop.Training, "step", step)
    recipe = tl.Recipe(
        model="convnet-4",
        techniques="gn,pa",
        batch_size=60,
        epochs=12.0,
        learning_rate=0.2,
        norm_groups=2,
        evaluations=1,
    )
    yield tl.train(recipe, data, tmp_path_factory.mktemp("runs") / "one", execution=CPU)
    patch.undo()


@pytest.fixture(scope="module")
def rows(run):
    """``signals.parquet``, with what follows from the logits in it."""
    table = pd.read_parquet(run.folder / "signals.parquet")
    logits = np.stack(table.logits.to_numpy()).astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    mine = p[np.arange(len(p)), table.label]
    table["top"] = logits.argmax(axis=1)
    table["right"] = table.top == table.label
    table["minus_loss"] = np.log(mine.clip(1e-8))
    small = np.where(np.eye(10)[table.label] == 1, 1, 1 - p).clip(1e-8)
    table["minus_entropy"] = (1 - mine) * np.log(mine.clip(1e-8)) + (p * np.log(small)).sum(axis=1)
    return table


def auc(score, member, weight):
    """P(score of a member > score of a non-member), ties counted half."""
    values, place = np.unique(score, return_inverse=True)
    inside = np.bincount(place, weight * member, len(values))
    outside = np.bincount(place, weight * ~member, len(values))
    below = np.cumsum(outside) - outside / 2
    return (inside @ below) / inside.sum() / outside.sum()


def bias(top, group):
    shares = []
    for label in range(10):
        counts = np.array([(top[group == g] == label).sum() for g in (0, 1)])
        shares.append(counts.max() / counts.sum() if counts.sum() else 1.0)
    return np.mean(shares) - 0.5


def sample_counts(sources, rng):
    """How often each row is in a bootstrap sample of sources."""
    names, place = np.unique(sources, return_inverse=True)
    return np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[place]


def close(interval, draws):
    low, high = np.quantile(draws, [0.025, 0.975])
    width = (interval[1] - interval[0]) / (high - low)
    return max(abs(interval[0] - low), abs(interval[1] - high)) < 0.5 * draws.std() and abs(width - 1) < 0.12


@pytest.fixture(scope="module")
def resampled_test_set(rows):
    """(accuracies, biases, floors of the bias) of bootstrap samples of the test images."""
    rng, test = np.random.default_rng(1), rows[~rows.member]
    top, group, right = test.top.to_numpy(), test.group.to_numpy(), test.right.to_numpy()
    counts = [sample_counts(test.source.to_numpy(), rng) for _ in range(RESAMPLES)]
    cell = top * 2 + group
    by_cell = np.stack([np.bincount(cell, c, 20).reshape(10, 2) for c in counts])
    total = by_cell.sum(axis=2, keepdims=True)
    shares = np.where(total > 0, by_cell / np.maximum(total, 1), 1.0)
    dominant = np.bincount(cell, minlength=20).reshape(10, 2).argmax(axis=1)
    of_dominant = shares[:, range(10), dominant]
    whole = np.bincount(cell, minlength=20).reshape(10, 2)
    whole = np.where(whole.sum(axis=1, keepdims=True) > 0, whole / np.maximum(whole.sum(axis=1, keepdims=True), 1), 1.0)
    certain = whole.max(axis=1) - 0.5 > 3 * of_dominant.std(axis=0)
    floor = np.maximum(0, np.where(certain, of_dominant - 0.5, 0).mean(axis=1))
    accuracies = np.array([c @ right / c.sum() for c in counts])
    return accuracies, (shares.max(axis=2) - 0.5).mean(axis=1), floor


def auc_draws(score, rows, weight):
    rng, member, source = np.random.default_rng(2), rows.member.to_numpy(), rows.source.to_numpy()
    aucs = []
    for _ in range(RESAMPLES // 2):
        count = np.zeros(len(rows))
        for side in (member & (weight > 0), ~member & (weight > 0)):
            count[side] = sample_counts(source[side], rng)
        aucs.append(auc(score, member, count * weight))
    return np.array(aucs)


def test_logits_are_those_of_the_released_weights(run, rows, data):
    images = torch.tensor(np.concatenate([data.train.images, data.test.images]))
    with torch.no_grad():
        logits = load_network(run, data)((images.float() / 255 - 0.5) / 0.5).numpy()
    assert np.allclose(logits, np.stack(rows.logits.to_numpy()), atol=1e-4)
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert np.array_equal(rows.label, labels)
    assert np.array_equal(rows.group, np.concatenate([data.train.groups, data.test.groups]))
    assert np.array_equal(rows.member, np.arange(len(labels)) < 600)


def test_released_weights_are_the_average(run, averages):
    """Computed from the weights after every update (De et al. 2022), not the last of them."""
    average = {n: v.double() for n, v in averages[0].items()}
    for update, weights in enumerate(averages[1:], start=1):
        d = min(run.recipe.average_decay, (1 + update) / (10 + update))
        average = {n: d * a + (1 - d) * weights[n].double() for n, a in average.items()}
    released = load_file(run.folder / "model.safetensors")
    assert len(averages) == 1 + run.result["course"]["updates"]
    for name, value in released.items():
        assert torch.allclose(value.double(), average[name], atol=1e-5)
    assert any(not torch.allclose(value, averages[-1][name], atol=1e-3) for name, value in released.items())


def test_accuracies_agree_with_the_signals(run, rows, resampled_test_set):
    assert run.result["accuracy"] == pytest.approx(rows[~rows.member].right.mean())
    assert run.result["train_accuracy"] == pytest.approx(rows[rows.member].right.mean())
    assert run.result["train_accuracy"] > run.result["accuracy"] + 0.05
    assert close(run.result["accuracy_interval"], resampled_test_set[0])
    for name, group in (("gray", 0), ("colour", 1)):
        names = run.result["fairness"]["accuracy_by_group"]
        index = list(names).index(name)
        code = sorted(rows.group.unique())[index]
        test = rows[~rows.member & (rows.group == code)]
        assert names[name] == pytest.approx(test.right.mean()), group


def test_matched_attacks_agree_with_the_signals(run, rows):
    """The weights in the file give the members' mix of class and group, and each image counts once."""
    member, weight = rows.member.to_numpy(), rows.weight.to_numpy()
    used = rows[~rows.member & (rows.weight > 0)]
    inside = rows[rows.member].groupby(["label", "group"]).size() / 600
    outside = used.groupby(["label", "group"]).weight.sum() / used.weight.sum()
    assert (inside.sub(outside, fill_value=0)).abs().max() < 1e-9
    assert used.source.is_unique
    assert np.allclose(rows.score_threshold, rows.minus_loss, atol=1e-5)
    assert np.allclose(rows["score_threshold-entropy"], rows.minus_entropy, atol=1e-4)
    for name, values in run.result["attacks"].items():
        score = rows[f"score_{name}"].to_numpy()
        assert values["auc"] == pytest.approx(auc(score, member, weight), abs=1e-9), name
        draws = auc_draws(score, rows, weight)
        if name in ("mlp", "rf"):
            # The attacker of each half is judged on the half that trains the other: twice the variance.
            draws = values["auc"] + np.sqrt(2) * (draws - values["auc"])
        assert close(values["interval"]["auc"], draws), name
    aucs = {name: values["auc"] for name, values in run.result["attacks"].items()}
    assert run.result["strongest_attack"] == max(aucs, key=lambda name: abs(aucs[name] - 0.5))
    about = run.result["nonmembers"]
    assert (about["members"], about["nonmembers"]) == (600, len(used))
    assert about["matched_by"] == "class,group"
    for code, name in enumerate(run.result["attacks_by_class"]):
        values, part = run.result["attacks_by_class"][name], rows[rows.label == code]
        assert values["members"] == (part.member & (part.weight > 0)).sum()
        if "attacks" in values:
            expected = auc(part.score_threshold.to_numpy(), part.member.to_numpy(), part.weight.to_numpy())
            assert values["attacks"]["threshold"]["auc"] == pytest.approx(expected, abs=1e-9)


def test_unmatched_attacks_agree_with_the_signals(run, rows):
    """Every test example, with weight 1; under skew they are not the matched ones."""
    member, ones = rows.member.to_numpy(), np.ones(len(rows))
    for name, score in (("threshold", rows.minus_loss), ("threshold-entropy", rows.minus_entropy)):
        values = run.result["attacks_naive"][name]
        assert values["auc"] == pytest.approx(auc(score.to_numpy(), member, ones), abs=1e-6)
        assert close(values["interval"]["auc"], auc_draws(score.to_numpy(), rows, ones))
        assert values["auc"] - run.result["attacks"][name]["auc"] > 0.02


def test_the_negative_control_agrees_with_an_independent_one(run, rows, data):
    """A ridge classifier on pixels, and how often a class has a group, from half of the matched non-members; members
    against the other half.  Halvings are drawn again, so that single results differ: their mean must be near."""
    weight = rows.weight[~rows.member].to_numpy()
    pixels = {"train": data.train, "test": data.test}
    x = {name: np.c_[part.images.mean(axis=1).reshape(len(part), -1) / 127.5 - 1, np.ones(len(part))]
         for name, part in pixels.items()}  # fmt: skip
    aucs = {"matched": [], "naive": []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first = np.isin(data.test.sources, rng.permutation(500)[:250])
        fit = first & (weight > 0)
        target = np.eye(10)[data.test.labels[fit]]
        a = (x["test"][fit] * weight[fit][:, None]).T
        w = np.linalg.solve(a @ x["test"][fit] + 1.0 * np.eye(len(a)), a @ target)
        table = np.log(1 + np.stack([np.bincount(data.test.labels[fit & (data.test.groups == g)], minlength=10)
                                     for g in (0, 1)]))  # fmt: skip
        score = {}
        for name, part in pixels.items():
            logits = 6 * x[name] @ w + table[part.groups]
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            score[name] = logits[np.arange(len(part)), part.labels]
        for kind, counted in (("matched", weight), ("naive", np.ones(len(weight)))):
            use = ~first & (counted > 0)
            both = np.r_[score["train"], score["test"][use]]
            member = np.arange(len(both)) < len(data.train)
            aucs[kind].append(auc(both, member, np.r_[np.ones(len(data.train)), counted[use]]))
    for kind, values in aucs.items():
        reported = run.result["null_check"][kind]
        assert abs(reported["auc"]["threshold"] - np.mean(values)) < 3 * np.std(values) + 0.02, kind
        low, high = reported["interval"]["threshold"]
        assert reported["passed"] == all(a <= 0.5 <= b for a, b in reported["interval"].values())
        assert low < reported["auc"]["threshold"] < high
    assert run.result["null_check"]["matched"]["passed"]
    assert not run.result["null_check"]["naive"]["passed"]
    assert np.mean(aucs["naive"]) > np.mean(aucs["matched"]) + 0.05


def test_bias_agrees_with_the_signals(run, rows, resampled_test_set):
    test = rows[~rows.member]
    fairness = run.result["fairness"]
    assert fairness["bias"] == pytest.approx(bias(test.top.to_numpy(), test.group.to_numpy()), abs=1e-9)
    assert fairness["bias"] > 0.02
    _, biases, floors = resampled_test_set
    low, high = fairness["interval"]["bias"]
    assert abs(low - min(np.quantile(floors, 0.025), fairness["bias"])) < 0.5 * biases.std()
    assert abs(high - max(np.quantile(biases, 0.975), fairness["bias"])) < 0.5 * biases.std()


def test_the_score_agrees_with_the_signals(run, rows, resampled_test_set):
    """The harmonic mean of accuracy, 1 - |2 AUC - 1| of the strongest matched attack, and 1 - 2 bias."""
    result, score = run.result, run.result["harmonic_score"]
    member, weight = rows.member.to_numpy(), rows.weight.to_numpy()
    name = result["strongest_attack"]
    strongest = rows[f"score_{name}"].to_numpy()
    test = rows[~rows.member]
    terms = {
        "accuracy": test.right.mean(),
        "privacy": 1 - abs(2 * auc(strongest, member, weight) - 1),
        "fairness": 1 - 2 * bias(test.top.to_numpy(), test.group.to_numpy()),
    }
    assert score["terms"] == pytest.approx(terms, abs=1e-9)
    assert score["value"] == pytest.approx(3 / sum(1 / term for term in terms.values()), abs=1e-9)
    accuracies, biases, floors = (draws[: RESAMPLES // 2] for draws in resampled_test_set)
    leak = 2 * auc_draws(strongest, rows, weight) - 1
    sign = np.sign(np.median(leak))
    lower = 3 / (1 / accuracies + 1 / (1 - abs(leak)) + 1 / (1 - 2 * biases))
    upper = 3 / (1 / accuracies + 1 / np.minimum(1, 1 - sign * leak) + 1 / (1 - 2 * floors))
    assert abs(score["interval"][0] - min(np.quantile(lower, 0.025), score["value"])) < 0.5 * lower.std()
    assert abs(score["interval"][1] - max(np.quantile(upper, 0.975), score["value"])) < 0.5 * upper.std()


def test_the_score_is_of_the_strongest_attack(data):
    """Outputs that reveal members by a logit of another class, which only the learned attacks use."""
    rng = np.random.default_rng(3)
    logits = []
    for part, signature in ((data.train, 1.0), (data.test, 0.0)):
        values = rng.normal(size=(len(part), 10)).astype(np.float32)
        values[np.arange(len(part)), part.labels] += rng.choice([6, -1], len(part), p=[0.8, 0.2]).astype(np.float32)
        values[:, 0] = values[:, 0] + signature * rng.choice([-9, 0], len(part), p=[0.5, 0.5]) * (part.labels != 0)
        logits.append(values)
    result, audited = measure(data, *logits, recipe=tl.Recipe(seed=0), tell=lambda _: None)
    aucs = {name: attack["auc"] for name, attack in result["attacks"].items()}
    assert result["strongest_attack"] in ("mlp", "rf")
    strongest = aucs[result["strongest_attack"]]
    assert strongest > max(aucs["threshold"], aucs["threshold-entropy"]) + 0.1
    assert result["harmonic_score"]["terms"]["privacy"] == pytest.approx(1 - abs(2 * strongest - 1), abs=1e-9)
    member = np.arange(len(data.train) + len(data.test)) < len(data.train)
    rows = pd.DataFrame({"member": member, "source": np.r_[np.arange(len(data.train)), data.test.sources]})
    leak = 2 * auc_draws(audited.scores[result["strongest_attack"]], rows, audited.weights) - 1
    # Of the three terms it is by far the smallest and the least sure one.
    others = sum(1 / result["harmonic_score"]["terms"][name] for name in ("accuracy", "fairness"))
    draws = 3 / (1 / (1 - leak) + others)
    low, high = result["harmonic_score"]["interval"]
    assert low == pytest.approx(np.quantile(draws, 0.025), abs=0.03)
    assert high == pytest.approx(np.quantile(draws, 0.975), abs=0.03)


def test_nothing_of_it_is_trivial(run, data):
    """A run in which members and non-members, matched and unmatched, or the groups were alike would show nothing."""
    attacks, unmatched = run.result["attacks"], run.result["attacks_naive"]
    assert attacks["threshold"]["auc"] > 0.52
    assert unmatched["threshold"]["auc"] > attacks["threshold"]["auc"] + 0.02
    json.dumps(run.result, allow_nan=False)
