"""The long table holds what the runs say."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trilemma.analysis.results import COLUMNS, collect, read_results, write_results
from trilemma.errors import InputError
from trilemma.measures import described, planned_measures
from trilemma.study.folder import StudyFolder


@pytest.fixture(scope="module")
def table(finished):
    return collect(finished)


def test_the_columns_are_the_documented_ones(table):
    assert list(table.columns) == list(COLUMNS)
    for name, (kind, meaning) in COLUMNS.items():
        assert meaning
        assert str(table[name].dtype) == kind, name


def test_every_row_is_unique_and_every_measure_described(table):
    assert not table.duplicated(["trial", "measure", "update"]).any()
    for measure, rows in table.groupby("measure"):
        assert described(measure).meaning
        assert set(rows["unit"]) == {described(measure).unit}
        assert set(rows["better"]) == {described(measure).better}
        assert set(rows["covered"]) == {described(measure).covered}


def test_the_values_are_those_of_the_runs(finished, table):
    names = list(finished.trials())
    assert list(dict.fromkeys(table["trial"])) == names
    for name in names:
        result = json.loads((finished.run(name) / "result.json").read_text())
        rows = table[table["trial"] == name].set_index("measure")
        assert rows.loc["accuracy", "value"] == result["accuracy"]
        assert [rows.loc["accuracy", "low"], rows.loc["accuracy", "high"]] == result["accuracy_interval"]
        fairness = result["fairness"]
        assert rows.loc["bias", "value"] == fairness["bias"]
        for group, size in fairness["examples_by_group"].items():
            assert rows.loc[f"accuracy_in_{group}", "n"] == size < rows.loc["accuracy", "n"]
        assert rows.loc["worst_group_accuracy", "n"] == fairness["examples_by_group"][fairness["worst_group"]]
        assert rows.loc["worst_cell_accuracy", "n"] == fairness["worst_cell"]["examples"]
        assert rows.loc["auc_mlp", "value"] == result["attacks"]["mlp"]["auc"]
        assert rows.loc["auc_mlp_naive", "value"] == result["attacks_naive"]["mlp"]["auc"]
        strongest = result["attacks"][result["strongest_attack"]]
        # A mean over seeds must not cancel an AUC above one half by one as far below.
        assert rows.loc["auc_strongest", "value"] == 0.5 + abs(strongest["auc"] - 0.5)
        low, high = rows.loc["auc_strongest", ["low", "high"]]
        assert 0.5 <= low <= rows.loc["auc_strongest", "value"] <= high + 0.02
        assert result["strongest_interval_naive"] is not None
        assert strongest["tpr_at_fpr"]["0.01"] is None  # 150 test images are too few for that
        assert "tpr_at_0.01_strongest" not in rows.index
        assert rows.loc["harmonic_score", "value"] == result["harmonic_score"]["value"]
        assert ("epsilon_spent" in rows.index) == (result["privacy"] is not None)
        for kind, suffix in (("matched", ""), ("naive", "_naive")):
            check = result["null_check"][kind]
            assert rows.loc[f"null_auc{suffix}", "value"] == check["auc"]["threshold"]


def test_what_needs_training_images_is_not_called_covered(table):
    covered = set(table.loc[table["covered"], "measure"])
    covered.remove("ceiling_auc")  # it follows from the budget alone
    assert not [m for m in covered if "auc" in m or "train" in m or "exposure" in m or "probability" in m]
    assert {"accuracy", "bias", "worst_cell_accuracy"} <= covered


def test_conditions_hold_one_trial_of_each_seed(table):
    for _, rows in table.groupby("cell"):
        assert sorted(set(rows["seed"])) == [0, 1]
        assert rows.groupby("seed")["trial"].nunique().eq(1).all()
    assert table["cell"].nunique() == 6


def test_removed_examples_are_gone_and_the_survivors_scored(finished, table):
    removed = table[table["removal"] != ""]
    assert set(removed["examples"]) == {120}
    assert set(table[table["removal"] == ""]["examples"]) == {150}
    by_measure = removed.pivot_table(index="trial", columns="measure", values="value")
    assert by_measure["exposed_survivors"].between(0, 1).all()
    assert by_measure["mean_exposure"].between(0, 1).all()
    for name, trial in finished.trials().items():
        if trial.removal:
            written = json.loads(finished.removed(name).read_text())
            assert written["scored_by"] == trial.removal.scored_by
            assert len(set(written["removed"])) == 30
    arms = {
        (t.recipe.seed, t.recipe.techniques, t.recipe.epsilon, t.removal.arm): json.loads(
            finished.removed(n).read_text()
        )["removed"]
        for n, t in finished.trials().items()
        if t.removal
    }
    for (seed, techniques, epsilon, arm), rows in arms.items():
        # A budget changes nothing about who is left out.
        assert rows == arms[seed, techniques, 8.0 if epsilon is None else None, arm]
        assert (rows == arms[seed, techniques, epsilon, "random" if arm == "exposed" else "exposed"]) is False


def test_a_budget_s_price_is_paired_with_the_trial_that_lacks_the_budget_alone(finished, table):
    values = table.pivot_table(index="trial", columns="measure", values="value")
    trials = finished.trials()
    private = [name for name, trial in trials.items() if trial.recipe.epsilon is not None]
    assert private
    for name in private:
        recipe = replace(trials[name].recipe, epsilon=None, delta=None)
        (plain,) = [n for n, t in trials.items() if t == replace(trials[name], recipe=recipe)]
        lost = {}
        for group in ("gray", "colour"):
            both = values.loc[[plain, name], f"accuracy_in_{group}"]
            lost[group] = both.iloc[0] - both.iloc[1]
            assert values.loc[name, f"accuracy_lost_in_{group}"] == pytest.approx(lost[group])
        assert values.loc[name, "accuracy_lost_gap"] == pytest.approx(abs(lost["gray"] - lost["colour"]))
        assert values.loc[name, "excess_risk_gap"] >= 0
        assert values.loc[plain].filter(like="_lost").isna().all()


def test_pandas_reads_both_files_back(finished, table, tmp_path):
    write_results(table, tmp_path)
    pd.testing.assert_frame_equal(read_results(tmp_path), table)
    csv = pd.read_csv(tmp_path / "results.csv", keep_default_na=False, na_values=[""])
    for name in ("trial", "measure", "value", "n"):
        np.testing.assert_array_equal(csv[name], table[name])
    assert csv["epsilon"].map(math.isinf).sum() == table["epsilon"].map(math.isinf).sum() > 0


def test_other_versions_are_refused_in_one_line(finished, table, tmp_path):
    with pytest.raises(InputError, match=r"holds no results\.parquet"):
        read_results(tmp_path)
    table.drop(columns="covered").to_parquet(tmp_path / "results.parquet")
    with pytest.raises(InputError, match="another version"):
        read_results(tmp_path)
    (tmp_path / "results.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot read"):
        read_results(tmp_path)


def test_a_run_of_another_version_is_named(finished, tmp_path):
    copy = StudyFolder(tmp_path / "copy")
    shutil.copytree(finished.path, copy.path)
    name = next(iter(copy.trials()))
    path = copy.run(name) / "result.json"
    values = json.loads(path.read_text())
    del values["harmonic_score"], values["checksums"]
    path.write_text(json.dumps(values))
    with pytest.raises(
        InputError, match=f"{name}/result.json holds something other than what this version writes"
    ) as caught:
        collect(copy)
    assert "\n" not in str(caught.value)
    path.unlink()
    assert name not in set(collect(copy)["trial"])


def test_the_results_hold_what_was_planned(table):
    made = set(table["measure"])
    planned = planned_measures(groups=True, tracks=True, removes=True)
    starts = tuple(name for name in planned if name.endswith(("_", "/")))
    assert {name for name in made if name not in planned and not name.startswith(starts)} == set()
    # And each measure of the table has its line: 1,000 non-members and a removal by RMIA are more than this study has.
    missing = {name for name in planned if name not in made and not name.endswith(("_", "/"))}
    assert {name for name in missing if not name.startswith(("tpr_at_", "removed_by_"))} == set()
