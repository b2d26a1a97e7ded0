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
from trilemma.titles import settings_of, trial_titles

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
    by_budget = [{name: list(values) for name, values in recipe.items()} for recipe in study.by_budget]
    record = {"studies": {study.name: {"trials": list(trials), "by_budget": by_budget}}, "trials": trials}
    return pd.DataFrame([row_of(trial, study.name) for trial in study.trials]).astype({"delta": float}), record


def planned(tmp_path, grids):
    (tmp_path / "x.toml").write_text(HEAD + grids)
    return made_up(expand(load_study(tmp_path / "x.toml")[0]))


def grid(techniques, data="limit = 200", *, epsilon='"none"', recipe="digits", **settings):
    chosen = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return (
        f'[[grid]]\nrecipe = "{recipe}"\ndata = {{name = "digits-s", {data}}}\ntechniques = {techniques}\n'
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


def budgets_of(results, study):
    return budget_pairs(measured(results, "accuracy", study))


BUDGETS = {
    "the learning rate": (8.0, {"learning_rate": 0.4}, "each with the learning rate chosen for its budget"),
    "what has no effect": (8.0, {"views": 9, "sharpness_radius": 0.3}, ""),
    "the optimizer": (8.0, {"optimizer": "'adam'"}, None),
    "the epochs": (8.0, {"epochs": 3}, None),
    "the clipping norm": (8.0, {"clipping_norm": 0.1}, None),
    "the optimizer, against none": ('"none"', {"optimizer": "'adam'"}, None),
    "the epochs, against none": ('"none"', {"epochs": 3}, None),
    "what the recipe chooses": ('"none"', {}, "each optimized as its recipe does for its budget"),
    "what the recipe chooses, shortened": (
        '"none"',
        {"epochs": 20},
        "each optimized as its recipe does for its budget",
    ),
}


@pytest.mark.parametrize("other", BUDGETS)
def test_budgets_are_compared_where_no_more_differs_than_recipes_choose_by_budget_and_words_say_so(tmp_path, other):
    """Guards: another optimizer or a tenth of the epochs taken for what a budget costs."""
    epsilon, settings, words = BUDGETS[other]
    pairs, notes = budgets_of(
        *planned(tmp_path, grid('"none"', epsilon=1.0) + grid('"none"', epsilon=epsilon, **settings))
    )
    assert [pair.differing for pair in pairs] == ([] if words is None else [words])
    assert len(notes) == (words is None)
    assert all("more differs than a recipe chooses by budget" in note for note in notes)


def test_a_recipe_of_ones_own_is_compared_as_it_trains_with_and_without_a_budget(tmp_path):
    (tmp_path / "own.toml").write_text('model = "convnet-4"\n[with_budget]\noptimizer = "adam"\nwarmup = 0.1\n')
    results, study = planned(tmp_path, grid('"none"', epsilon='["none", 8.0]', recipe="own.toml"))
    (pair,), notes = budgets_of(results, study)
    assert (pair.differing, notes) == ("each with the warmup and optimizer chosen for its budget", [])
    study["studies"]["x"].pop("by_budget")  # of an earlier version, which knows the recipes of the package alone
    assert budgets_of(results, study)[0] == []


def test_two_recipes_are_compared_along_the_budgets_each_with_itself(tmp_path):
    """Guards: a second recipe in a study silences all of its comparisons of budgets."""
    both = (grid('"none"', epsilon='["none", 8.0]', recipe=recipe) for recipe in ("digits", "cifar-small"))
    results, study = planned(tmp_path, "".join(both))
    pairs, notes = budgets_of(results, study)
    batches = [[study["trials"][name]["recipe"]["batch_size"] for name in ids(results, pair)] for pair in pairs]
    assert (batches, notes) == ([[128, 32], [512, 64]], [])
    assert [pair.setting for pair in pairs] == [
        f"digits-s, skew 90 %, BL, with a budget batch_size {size}" for size in (128, 512)
    ]


def ids(results, pair):
    return [results[results["cell"] == cell]["trial"].iloc[0] for cell in (pair.condition, pair.against)]


def test_one_delta_is_not_lost_beside_another(tmp_path):
    text = grid('"none"', epsilon='["none", 8.0]') + grid('"none"', epsilon=8.0).replace("set =", "delta = 1e-6\nset =")
    pairs, notes = budgets_of(*planned(tmp_path, text))
    assert ({pair.setting[-11:] for pair in pairs}, notes) == ({"delta 1e-05", "delta 1e-06"}, [])


def test_what_a_pair_is_said_to_share_is_so_of_both(tmp_path):
    """Guards: "momentum 0.9" for two conditions with 0.0, or words that no title has ("delta None")."""
    text = "".join(
        [
            grid('"none"', optimizer="'adam'"),
            grid('"none"', optimizer="'adam'", momentum=0.5),
            grid('["none", "am"]', "limit = 200, skew = 1.0"),
            grid('["none", "gn"]', "limit = 200, seed = 1", epsilon='["none", 4.0, 8.0]'),
            grid('["none", "gn"]', "limit = 200", epsilon='["none", 8.0]', recipe="cifar-small"),
            grid('["gn,am", "all"]', "limit = 200, shift = 2", epsilon='["none", 8.0]', recipe="cifar-small"),
            grid('["gn,am", "all"]', "limit = 200", epsilon='["none", 8.0]', recipe="cifar-small"),
        ]
    )
    results, study = planned(tmp_path, text)
    titles = trial_titles(study["trials"], seed=False)
    pairs = [pair for axis in AXES for pair in axis(measured(results, "accuracy", study))[0]]
    assert len(pairs) > 10
    for pair in pairs:
        both = [set(titles[name].split(", ")) for name in ids(results, pair)]
        settings = [settings_of(study["trials"][name]) for name in ids(results, pair)]
        assert "(" not in pair.setting
        shared, _, _ = pair.setting.partition(", with a budget ")
        for words in shared.split(", "):
            key, _, value = words.rpartition(" ")
            told = all(words in title for title in both)
            assert told or all(str(setting.get(key, setting.get(f"data {key}"))) == value for setting in settings), (
                words
            )


def test_a_technique_with_settings_of_its_own_is_compared(tmp_path):
    for data, settings in (("limit = 200", {"shift": 2, "flips": "true"}), ("limit = 200, shift = 2", {"views": 8})):
        results, study = planned(tmp_path, grid('"none"') + grid('"am"', data, **settings))
        (pair,), _ = technique_pairs(measured(results, "accuracy", study))
        assert (pair.change, pair.base, pair.setting) == ("AM", "BL", "digits-s, skew 90 %, no budget")


def test_panels_of_other_images_say_what_differs(tmp_path):
    """Guards: two samples of one set, told apart by "(1)" and "(2)"."""
    text = grid('"none"', "limit = 200, seed = 3") + grid('"none"', "limit = 200, seed = 4", epsilon=8.0)
    results, study = planned(tmp_path, text)
    panels = setting_titles(Numbers(results, study).conditions.values()).values()
    assert list(panels) == ["digits-s, skew 90 %, data seed 3", "digits-s, skew 90 %, data seed 4"]


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        *(
            ("quickstart", None),
            ("quickstart", "short"),
            ("techniques", "small"),
            ("techniques", "medium"),
            ("budget", "small"),
        ),
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
