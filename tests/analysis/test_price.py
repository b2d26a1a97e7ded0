"""What a budget costs each group is computed from the files of two runs that belong together."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.analysis.price import Risk, price_of, without_budget
from trilemma.errors import InputError
from trilemma.study.trials import Removal, Trial
from trilemma.training.recipe import Recipe

NAMES = ["gray", "colour"]


def write_run(folder, losses, groups, member, accuracies):
    folder.mkdir()
    table = {"member": member, "group": groups, "loss": losses}
    pq.write_table(pa.table(table), folder / "signals.parquet")
    (folder / "config.json").write_text(json.dumps({"data": {"groups": NAMES}}))
    (folder / "result.json").write_text(json.dumps({"fairness": {"accuracy_by_group": accuracies}}))
    return folder


@pytest.fixture
def risks(tmp_path):
    """The losses of members are large and must not count."""
    rng = np.random.default_rng(0)
    groups, member = rng.integers(0, 2, 60), np.arange(60) < 20
    losses = [np.where(member, 100.0, rng.exponential(size=60)) for _ in range(2)]
    accuracies = [{"gray": 0.9, "colour": 0.8}, {"gray": 0.85, "colour": 0.5}]
    return (
        groups[~member],
        [each[~member] for each in losses],
        [
            Risk.read(write_run(tmp_path / str(number), losses[number], groups, member, accuracies[number]))
            for number in range(2)
        ],
    )


def test_the_price_is_what_the_definitions_say(risks):
    groups, (plain_losses, private_losses), (plain, private) = risks
    price = price_of(private, plain)
    assert price.accuracy_lost == pytest.approx({"gray": 0.05, "colour": 0.3})
    overall = private_losses.mean() - plain_losses.mean()
    for number, name in enumerate(NAMES):
        rows = groups == number
        excess = private_losses[rows].mean() - plain_losses[rows].mean()
        assert price.excess_risk[name] == pytest.approx(excess)
        assert price.excess_risk_gap[name] == pytest.approx(abs(excess - overall))
        assert private.counts[name] == rows.sum()
    assert set(price_of(plain, plain).excess_risk_gap.values()) == {0.0}


def test_a_trial_is_compared_with_the_one_that_differs_in_the_budget_alone():
    trial = Trial(
        Recipe(epsilon=8.0, seed=3, techniques="gn", secret_noise=False),
        (("name", "cifar10s"), ("skew", 0.95)),
        removal=Removal(0.1, "random", "x", rank="rmia"),
    )
    plain = without_budget(trial)
    assert plain.recipe.epsilon is None
    assert replace(plain, recipe=replace(plain.recipe, epsilon=8.0)) == trial
    assert without_budget(plain) is None


def test_without_groups_there_is_no_price_and_a_damaged_file_is_named(tmp_path):
    run = write_run(tmp_path / "run", np.ones(4), [0, 0, 1, 1], [True, False, True, False], {})
    (run / "result.json").write_text('{"fairness": null}')
    assert Risk.read(run) is None
    (run / "result.json").write_text('{"fairness": {"accuracy_by_group": {}}}')
    (run / "config.json").write_text('{"data": {"groups": ["gray"]}}')
    with pytest.raises(InputError, match=r"signals\.parquet"):
        Risk.read(run)
