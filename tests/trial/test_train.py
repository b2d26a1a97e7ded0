"""What a run leaves behind."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import trilemma as tl
from trilemma.measures import RUN_ATTACKS
from trilemma.privacy import Event
from trilemma.privacy.ceiling import ceiling
from trilemma.training.execution import Execution
from trilemma.trial.fingerprint import read_fingerprint
from trilemma.trial.null import never_saw
from trilemma.trial.run import load_network

CPU = Execution("cpu", None, "float32")


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits-s", skew=0.9, limit=400)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    recipe = tl.Recipe(
        model="convnet-4", techniques="gn,pa", epsilon=8.0, batch_size=50, epochs=4.0, norm_groups=2, evaluations=3
    )
    return tl.train(recipe, data, tmp_path_factory.mktemp("runs") / "one", execution=CPU, track=[7, 3])


def test_the_contract_of_files(run):
    names = {p.name for p in run.folder.iterdir() if not p.name.startswith(".")}
    assert names == {
        "config.json",
        "fingerprint.private.json",
        "result.json",
        "history.jsonl",
        "signals.parquet",
        "model.safetensors",
        "README.md",
    }
    config = json.loads((run.folder / "config.json").read_text())
    assert tl.Recipe.from_dict(config["recipe"]) == run.recipe
    assert config["data"]["request"] == {"name": "digits-s", "skew": 0.9, "limit": 400, "seed": 0}
    again = tl.load_data(**config["data"]["request"])
    assert again.fingerprint == read_fingerprint(run.folder, config)


def test_the_contract_of_the_result(run, data):
    result = run.result
    assert {"accuracy", "train_accuracy", "privacy", "attacks", "fairness", "harmonic_score", "seconds"} <= set(result)
    privacy = result["privacy"]
    keys = {"epsilon", "delta", "noise_multiplier", "sampling", "neighbouring", "accountant", "updates"}
    assert keys <= set(privacy)
    assert (privacy["sampling"], privacy["neighbouring"], privacy["accountant"]) == (
        "poisson",
        "add-or-remove-one",
        "pld",
    )
    for values in result["attacks"].values():
        assert set(values["tpr_at_fpr"]) == {"0.001", "0.01"}
        low, high = values["interval"]["auc"]
        assert low <= values["auc"] <= high
    assert set(result["attacks"]) == set(RUN_ATTACKS) == set(result["attacks_naive"])
    assert set(result["harmonic_score"]["terms"]) == {"accuracy", "privacy", "fairness"}
    assert result["harmonic_score"]["definition"] == "normalized"
    assert set(result["environment"]) >= {"torch", "device", "commit", "seed"}
    assert set(result["fairness"]["accuracy_by_group"]) == {"colour", "gray"}


def test_epsilon_is_recomputed_from_the_event_that_happened(run):
    """Guards: number of updates wrong by one; epsilon by another path than the noise."""
    privacy = run.result["privacy"]
    event = Event.from_dict(privacy["event"])
    assert event.updates == privacy["updates"] == 32
    assert event.epsilon(1e-5) == privacy["epsilon"] <= 8.0
    assert event.epsilon(1e-5, accountant="rdp") == privacy["epsilon_rdp"] >= privacy["epsilon"]
    assert event.sampling_probability == 50 / 400
    assert privacy["ceiling"] == ceiling(event).to_dict()
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [11, 21, 32]
    spent = [line["epsilon"] for line in lines]
    assert spent == sorted(spent)
    assert spent[-1] == privacy["epsilon"]


def test_tracked_examples_are_in_every_line(run):
    for line in (run.folder / "history.jsonl").read_text().splitlines():
        tracked = json.loads(line)["tracked"]
        assert set(tracked) == {"3", "7"}
        assert all(0 <= t["membership_probability"] <= 1 for t in tracked.values())


def test_signals_are_those_of_the_released_weights(run, data):
    table = pq.read_table(run.folder / "signals.parquet").to_pandas()
    assert len(table) == 400 + 1000
    assert table.member.sum() == 400
    network = load_network(run, data)
    images = np.concatenate([data.train.images, data.test.images])
    with torch.no_grad():
        logits = network((torch.tensor(images).float() / 255 - 0.5) / 0.5)
    labels = torch.tensor(np.concatenate([data.train.labels, data.test.labels]))
    loss = nn.functional.cross_entropy(logits.double(), labels, reduction="none").numpy()
    assert np.allclose(loss.clip(max=-math.log(1e-8)), table.loss, atol=1e-4)
    assert (table.predicted == logits.argmax(1).numpy()).mean() > 0.999
    assert run.result["accuracy"] == pytest.approx((table.predicted == table.label)[400:].mean())


def test_matched_nonmembers_have_the_members_mix(run):
    table = pq.read_table(run.folder / "signals.parquet").to_pandas()
    used = table[~table.member & (table.weight > 0)]
    assert used.source.is_unique
    inside = table[table.member].groupby(["label", "group"]).size() / 400
    outside = used.groupby(["label", "group"]).weight.sum() / used.weight.sum()
    assert (inside - outside).abs().max() < 1e-9


def test_the_null_check_can_fail(data):
    """A classifier that never saw the members passes with matched non-members; with skewed members against the
    balanced test set it is told apart, and the check says so."""
    data = tl.load_data("digits-s", skew=0.95)
    groups, labels = data.test.groups, data.test.labels
    counts = np.array(
        [((data.train.labels == c) & (data.train.groups == g)).sum() for c, g in zip(labels, groups, strict=True)]
    )
    keep = np.zeros(len(labels))
    rng = np.random.default_rng(0)
    for source in range(500):
        rows = np.flatnonzero(data.test.sources == source)
        keep[rng.choice(rows, p=counts[rows] / counts[rows].sum())] = 1
    matched = never_saw(data.train, data.test, keep, keep, 10, seed=1)
    naive = never_saw(data.train, data.test, keep, np.ones(len(labels)), 10, seed=1)
    assert matched["passed"]
    assert not naive["passed"]
    assert naive["auc"]["threshold"] > 0.55


def test_without_groups_there_is_no_bias_and_the_score_has_two_terms(tmp_path):
    data = tl.load_data("digits", limit=200)
    recipe = tl.Recipe(model="convnet-4", batch_size=50, epochs=2.0, evaluations=1)
    result = tl.train(recipe, data, tmp_path / "run", execution=CPU).result
    assert result["fairness"] is None
    assert result["privacy"] is None
    assert set(result["harmonic_score"]["terms"]) == {"accuracy", "privacy"}


def test_a_network_of_ones_own(tmp_path):
    data = tl.load_data("digits", limit=200)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    recipe = tl.Recipe(model="mine", epsilon=8.0, batch_size=50, epochs=2.0, evaluations=1)
    run = tl.train(recipe, data, tmp_path / "run", network=network, execution=CPU)
    assert run.result["course"]["gradient_method"] == "auto"
    with pytest.raises(tl.InputError, match="network of your own"):
        load_network(run, data)
    with pytest.raises(tl.InputError, match=r"gn does not apply to your Sequential, .*: use --techniques pa"):
        tl.train(replace(recipe, techniques="gn,pa"), data, tmp_path / "other", network=network, execution=CPU)
    assert not (tmp_path / "other").exists()
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 10))
    with pytest.raises(tl.InputError, match="another network"):
        tl.train(recipe, data, tmp_path / "run", network=other, execution=CPU)


def test_tracking_what_is_not_there(tmp_path):
    data = tl.load_data("digits", limit=200)
    with pytest.raises(tl.InputError, match="cannot track example 200"):
        tl.train(tl.Recipe(), data, tmp_path / "run", track=[200])
    assert not (tmp_path / "run").exists()
