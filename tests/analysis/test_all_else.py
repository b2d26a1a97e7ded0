"""Conditions are compared only where all else is equal in what was asked for, and their names say where it is not."""

from dataclasses import replace

import pandas as pd
import pytest

from made_up_study import PLAIN
from trilemma.analysis.conditions import epsilon_column, measured
from trilemma.analysis.pairs import budget_pairs, removal_pairs, skew_pairs, technique_pairs
from trilemma.report.numbers import Numbers, setting_titles
from trilemma.study.file import load_study
from trilemma.study.trials import expand
from trilemma.titles import trial_titles

AXES = (technique_pairs, budget_pairs, skew_pairs, removal_pairs)
HEAD = 'title = "x"\nfigures = ["accuracy"]\nseeds = 1\n'


def row_of(trial, name):
    recipe, data, removal = trial.recipe, dict(trial.data), trial.removal
    share = removal.share if removal else 0.0
    columns = {
        "trial": trial.id,
        "cell": trial.condition,
        "data": data["name"],
        **{key: data[key] for key in ("skew", "target", "protected") if key in data},
        "examples": round(data.get("limit", 50_000) * (1 - share)),
        "model": recipe.model,
        "techniques": "+".join(recipe.techniques) or "bl",
        "epsilon": epsilon_column(recipe.epsilon),
        "delta": recipe.delta,
        "seed": recipe.seed,
        "studies": name,
    }
    if removal:
        columns |= {"removed": share, "removal": removal.arm, "rank": removal.rank}
    values = {"measure": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "update": float("nan"), "n": 1000}
    return PLAIN | values | columns | {"unit": "fraction", "better": "higher", "covered": False}


def made_up(study):
    """A study's results with a made-up accuracy, and its ``study.json``."""
    trials = {trial.id: trial.to_dict() for trial in study.trials}
    record = {"studies": {study.name: {"trials": list(trials)}}, "trials": trials}
    return pd.DataFrame([row_of(trial, study.name) for trial in study.trials]).astype({"delta": float}), record


def planned(tmp_path, grids):
    (tmp_path / "x.toml").write_text(HEAD + grids)
    return made_up(expand(load_study(tmp_path / "x.toml")[0]))


def grid(techniques, data="limit = 200", *, epsilon='"none"', **settings):
    chosen = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return (
        f'[[grid]]\nrecipe = "digits"\ndata = {{name = "digits-s", {data}}}\ntechniques = {techniques}\n'
        f"epsilon = {epsilon}\nset = {{{chosen}}}\n"
    )


CONFOUNDED = {
    "data seed, learning rate and epochs": ("limit = 200, seed = 1", {"learning_rate": 0.3, "epochs": 2}),
    "data seed": ("limit = 200, seed = 1", {}),
    "limit of the test set": ("limit = 200, test_limit = 90", {}),
    "learning rate": ("limit = 200", {"learning_rate": 0.3}),
    "weight decay": ("limit = 200", {"weight_decay": 0.001}),
}


@pytest.mark.parametrize("other", CONFOUNDED)
def test_mixes_that_differ_in_more_than_techniques_are_not_compared_and_their_names_say_so(tmp_path, other):
    """Guards: a recipe's effect, or that of other images, told as the techniques'."""
    data, settings = CONFOUNDED[other]
    results, study = planned(tmp_path, grid('"none"') + grid('["all", "gn"]', data, **settings))
    pairs, notes = technique_pairs(measured(results, "accuracy", study))
    assert (pairs, notes) == ([], [])
    baseline, *others = trial_titles(study["trials"], seed=False).values()
    told = baseline.removeprefix("digits-s, skew 90 %, BL, no budget, ")
    assert told != baseline
    assert not any(title.endswith(told) for title in others)
    panels = set(setting_titles(Numbers(results, study).conditions.values()).values())
    others_told = others[0].split("no budget, ")[1]
    assert panels == {f"digits-s, skew 90 %, {words}" for words in (told, others_told)}


def test_a_setting_has_one_form_in_trials_panels_and_comparisons(tmp_path):
    grids = grid('["none", "gn"]') + grid('["am", "am,ws", "gn,ws,am"]', "limit = 300")
    results, study = planned(tmp_path, grids)
    assert set(trial_titles(study["trials"], seed=False).values()) == {
        *(f"digits-s, skew 90 %, {mix}, no budget, limit 200" for mix in ("BL", "GN")),
        *(f"digits-s, skew 90 %, {mix}, no budget, limit 300" for mix in ("AM", "WS+AM", "GN+WS+AM")),
    }
    panels = setting_titles(Numbers(results, study).conditions.values()).values()
    assert list(panels) == ["digits-s, skew 90 %, limit 200", "digits-s, skew 90 %, limit 300"]
    (pair,), _ = technique_pairs(measured(results, "accuracy", study))
    assert (pair.change, pair.setting) == ("GN", "digits-s, skew 90 %, no budget, limit 200")


def test_a_budget_on_other_images_is_not_compared_and_one_with_its_own_optimization_is(tmp_path):
    for data, settings, count in (("limit = 200, seed = 1", {}, 0), ("limit = 200", {"learning_rate": 0.4}, 1)):
        results, study = planned(tmp_path, grid('"none"') + grid('"none"', data, epsilon=8.0, **settings))
        assert len(budget_pairs(measured(results, "accuracy", study))[0]) == count


def test_a_setting_of_one_technique_may_differ_from_mixes_without_it_but_not_from_those_with_it(tmp_path):
    results, study = planned(tmp_path, grid('["none", "gn"]') + grid('"am"', views=8))
    pairs, _ = technique_pairs(measured(results, "accuracy", study))
    assert {(pair.change, pair.base) for pair in pairs} == {("GN", "BL"), ("AM", "BL")}
    results, study = planned(tmp_path, grid('["none", "am"]') + grid('"gn,am"', views=8))
    pairs, _ = technique_pairs(measured(results, "accuracy", study))
    assert {(pair.change, pair.base) for pair in pairs} == {("AM", "BL")}


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *(("quickstart", None), ("techniques", "small"), ("techniques", "medium"), ("budget", "small")),
        *(("celeba", "small"), ("budget", "medium"), ("outliers", "small"), ("outliers", "medium")),
    ],
)
def test_no_shipped_study_loses_a_comparison_to_settings_that_belong_to_its_axes(name, scale):
    (file,) = load_study(name)
    results, study = made_up(expand(file, scale=scale, seeds=1))
    asked = measured(results, "accuracy", study)
    described = replace(asked, conditions={key: replace(c, settings={}) for key, c in asked.conditions.items()})
    found = [{(p.condition, p.against, p.block) for p in axis(asked)[0]} for axis in AXES]
    assert found == [{(p.condition, p.against, p.block) for p in axis(described)[0]} for axis in AXES]
    assert any(found)
