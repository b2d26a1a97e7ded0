"""Conditions are compared only where all else is equal in what was asked for, and their names say where it is not."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up_study import PLAIN
from trilemma import titles
from trilemma.analysis.claims.evidence import Table
from trilemma.analysis.conditions import epsilon_column, measured
from trilemma.analysis.pairs import budget_pairs, removal_pairs, skew_pairs, technique_pairs
from trilemma.report.figures.skew import skew_panels
from trilemma.report.numbers import Numbers, setting_titles
from trilemma.study.file import load_study
from trilemma.study.trials import expand
from trilemma.titles import has_effect, settings_of, trial_titles

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
    assert (pairs, len(notes)) == ([], 1)
    names = [*settings, *(["data seed"] if "seed" in data else []), *(["test_limit"] if "test" in data else [])]
    assert all(name in notes[0].partition("; ")[2] for name in names)
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
    assert {(pair.change, pair.base, len(pair.block)) for pair in pairs} == {("AM", "BL", 2), ("GN+AM", "BL", 2)}


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("am", ("views = 2", "views = 8")),
        ("am", ("shift = 0", "shift = 2")),
        ("sat", ("sharpness_radius = 0.05", "sharpness_radius = 0.1")),
    ],
)
def test_each_value_of_a_techniques_setting_is_compared_with_the_baseline(tmp_path, code, values):
    """Guards: the baseline split off for a setting that has no effect in it, so that values are not compared."""
    tuned = "".join(grid(f'"{code}"').replace("set = {", f"set = {{{value}") for value in values)
    results, study = planned(tmp_path, grid('"none"') + tuned)
    pairs, notes = technique_pairs(measured(results, "accuracy", study))
    settings = [f"digits-s, skew 90 %, no budget, {value.replace(' =', '')}" for value in values]
    assert ([(pair.base, pair.setting) for pair in pairs], notes) == ([("BL", setting) for setting in settings], [])


def test_mixes_that_share_an_unused_setting_are_compared_with_each_other(tmp_path):
    grids = (grid('["none", "gn", "am"]', views=views) for views in (4, 8))
    results, study = planned(tmp_path, "".join(grids))
    pairs, notes = technique_pairs(measured(results, "accuracy", study))
    views = [{study["trials"][name]["recipe"]["views"] for name in ids(results, pair)} for pair in pairs]
    assert (views, notes) == ([{4}, {4}, {8}, {8}], [])
    results, study = planned(
        tmp_path, grid('["none", "gn"]') + grid('"am"', evaluations=3) + grid('"gn"', evaluations=3)
    )
    assert len(technique_pairs(measured(results, "accuracy", study))[0]) >= 3


def test_a_removal_is_compared_with_none_under_each_control_and_ranking(tmp_path):
    """Guards: two random arms that are alike in words, and no removal lost beside two controls."""
    head = '[[grid]]\nrecipe = "digits"\ndata = "digits-s"\nepsilon = "none"\nremoval = '
    for first, second in (('control = "class"', 'control = "class,group"'), ('rank = "rmia"', 'rank = "histogram"')):
        tables = ("{shares = [0.1], {}}".replace("{}", keys) for keys in (first, second))
        results, study = planned(tmp_path, "".join(f"{head}{table}\n" for table in tables))
        pairs, notes = removal_pairs(measured(results, "accuracy", study))
        assert len({(pair.change, pair.base, pair.setting) for pair in pairs}) == len(pairs) == 6
        assert notes == []


def test_two_mixes_of_classes_are_each_compared_with_no_skew(tmp_path):
    data = ", ".join(['"cifar100"', *(f'{{name = "cifar100s", classes_seed = {seed}}}' for seed in (1, 2))])
    results, study = planned(tmp_path, f'[[grid]]\nrecipe = "cifar-small"\ndata = [{data}]\n')
    pairs, notes = skew_pairs(measured(results, "accuracy", study))
    assert ([pair.setting[-14:] for pair in pairs], notes) == (["classes_seed 1", "classes_seed 2"], [])


@pytest.mark.parametrize(
    "values", [("evaluations", 3, 5), ("secret_noise", "true", "false"), ("clipping_norm", 1.0, 2.0)]
)
def test_budgets_are_compared_where_conditions_without_one_are_trained_alike(tmp_path, values):
    """Guards: what only measures or records a training, or has no effect without a budget, silences a comparison."""
    name, *each = values
    results, study = planned(tmp_path, "".join(grid('"none"', epsilon='["none", 8.0]', **{name: v}) for v in each))
    pairs, notes = budgets_of(results, study)
    recipes = [[study["trials"][trial]["recipe"][name] for trial in ids(results, pair)] for pair in pairs]
    assert all(first == second for first, second in recipes)
    assert (len({pair.setting for pair in pairs}), notes) == (2, [])


def test_two_deltas_are_named_where_budgets_are_compared(tmp_path):
    text = "".join(
        grid('"none"', epsilon=epsilon).replace("set =", f"delta = {delta}\nset =")
        for epsilon, delta in ((1.0, 1e-5), (8.0, 1e-3))
    )
    ((pair,), notes) = budgets_of(*planned(tmp_path, text))
    assert (pair.differing, notes) == ("δ = 1e-5 against δ = 0.001", [])


@pytest.mark.parametrize("delta", [None, 1e-3])
def test_pairs_of_two_studies_are_lost_only_where_their_conditions_are_the_same(tmp_path, delta):
    """Guards: two comparisons that are alike in words, of which claims read one."""
    texts = [grid('"none"', epsilon='["none", 8.0]'), grid('"none"', epsilon='["none", 8.0]')]
    if delta:
        texts[1] = texts[1].replace("set =", f"delta = {delta}\nset =")
    else:
        texts[1] = grid('"none"') + grid('"none"', epsilon=8.0, learning_rate=2.0)
    frames, trials, studies = [], {}, {}
    for name, text in zip("ab", texts, strict=True):
        frame, record = planned(tmp_path, text)
        frames.append(frame.assign(studies=name))
        trials |= record["trials"]
        studies[name] = record["studies"]["x"]
    shared = set(frames[0]["trial"]) & set(frames[1]["trial"])
    frames = [
        frame.assign(
            studies=["a b" if t in shared else s for t, s in zip(frame["trial"], frame["studies"], strict=True)]
        )
        for frame in frames
    ]
    results = pd.concat(frames).drop_duplicates(["trial", "measure"])
    pairs, notes = Table(results, {"trials": trials, "studies": studies}).pairs("accuracy", budget_pairs)
    assert len({(pair.change, pair.base, pair.where) for pair in pairs}) == len(pairs) == 2
    assert notes == []


def budgets_of(results, study):
    return budget_pairs(measured(results, "accuracy", study))


BUDGETS = {
    "the learning rate": (8.0, {"learning_rate": 0.4}, "each with the learning rate chosen for its budget"),
    "what has no effect": (8.0, {"views": 9, "sharpness_radius": 0.3}, ""),
    "the optimizer": (8.0, {"optimizer": "'adam'"}, ["optimizer"]),
    "the epochs": (8.0, {"epochs": 3}, ["epochs"]),
    "the clipping norm": (8.0, {"clipping_norm": 0.1}, ["clipping_norm"]),
    "the clipping norm and momentum": (8.0, {"clipping_norm": 0.1, "momentum": 0.5}, ["clipping_norm", "momentum"]),
    "the optimizer, against none": ('"none"', {"optimizer": "'adam'"}, ["optimizer"]),
    "the epochs, against none": ('"none"', {"epochs": 3}, ["epochs"]),
    "what the recipe chooses": ('"none"', {}, "each optimized as its recipe prescribes for its budget"),
    "what the recipe chooses, shortened": (
        '"none"',
        {"epochs": 20},
        "each optimized as its recipe prescribes for its budget",
    ),
}


@pytest.mark.parametrize("other", BUDGETS)
def test_budgets_are_compared_where_no_more_differs_than_recipes_choose_by_budget_and_words_say_so(tmp_path, other):
    """Guards: another optimizer or a tenth of the epochs taken for what a budget costs; a note without its name."""
    epsilon, settings, words = BUDGETS[other]
    pairs, notes = budgets_of(
        *planned(tmp_path, grid('"none"', epsilon=1.0) + grid('"none"', epsilon=epsilon, **settings))
    )
    if isinstance(words, str):
        assert ([pair.differing for pair in pairs], notes) == ([words], [])
    else:
        differ = f"{' and '.join(words)} {'differ' if len(words) > 1 else 'differs'} too"
        assert pairs == []
        assert [note.rpartition("; ")[2] for note in notes] == [
            f"{differ}, and by more than a recipe chooses by budget"
        ]


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
    assert ({pair.setting[-11:] for pair in pairs}, notes) == ({" delta 1e-5", " delta 1e-6"}, [])


def test_what_a_pair_is_said_to_share_is_so_of_both(tmp_path):
    """Of both, or of the one in which it has an effect.

    Guards: "momentum 0.9" for two conditions with 0.0, or words that no title has ("delta None")."""
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
            name = max((key for key in ("data shift", "shift") if words.startswith(key)), key=len, default=key)
            said = [words in title for title, setting in zip(both, settings, strict=True) if has_effect(name, setting)]
            told = bool(said) and all(said)
            affected = [setting for setting in settings if has_effect(key, setting)]
            assert told or all(str(s.get(key, s.get(f"data {key}"))).removesuffix(".0") == value for s in affected), (
                words
            )


def test_a_technique_with_settings_of_its_own_is_compared(tmp_path):
    for data, settings in (("limit = 200", {"shift": 2, "flips": "true"}), ("limit = 200, shift = 2", {"views": 8})):
        results, study = planned(tmp_path, grid('"none"') + grid('"am"', data, **settings))
        (pair,), _ = technique_pairs(measured(results, "accuracy", study))
        assert (pair.change, pair.base, pair.setting) == ("AM", "BL", "digits-s, skew 90 %, no budget")


WITHOUT_EFFECT_HERE = {"views": 8, "clipping_norm": 2.0, "head_rate": 5.0, "prior_seed": 3, "sharpness_radius": 0.5}


@pytest.mark.parametrize("setting", WITHOUT_EFFECT_HERE)
def test_what_has_no_effect_keeps_no_conditions_apart(tmp_path, setting):
    """Guards: mixes and skews that are not compared since a setting differs that neither of them uses."""
    other = {setting: WITHOUT_EFFECT_HERE[setting]}
    for axis, change, changed in (
        (technique_pairs, "GN", grid('"gn"', **other)),
        (skew_pairs, "skew 100 %", grid('"none"', "limit = 200, skew = 1.0", **other)),
    ):
        results, study = planned(tmp_path, grid('"none"') + changed)
        (pair,), notes = axis(measured(results, "accuracy", study))
        assert (pair.change, notes) == (change, [])
        assert not any(setting in title for title in trial_titles(study["trials"]).values())


def test_what_has_an_effect_with_a_budget_alone_is_said_once(tmp_path, monkeypatch):
    """Guards: a new setting of budgets that makes every comparison with no budget vanish."""
    monkeypatch.setitem(titles._EFFECT_WHERE, "label_smoothing", lambda settings: settings.get("epsilon") is not None)
    results, study = planned(tmp_path, grid('"none"', epsilon='["none", 1.0, 8.0]'))
    pairs, notes = budgets_of(results, study)
    assert ([pair.question for pair in pairs], notes) == (["budget", "budget", "budgets"], [])
    assert not any("label_smoothing" in title for title in trial_titles(study["trials"]).values())


def test_skews_that_are_trained_apart_are_neither_compared_nor_joined_by_a_line(tmp_path):
    """Guards: the figure of skews, which draws as one what the comparisons of the same page refuse."""
    optimizers = {0.6: "adam", 0.8: "sgd", 0.9: "sgd"}
    text = "".join(
        grid('"none"', f"limit = 200, skew = {skew}", optimizer=f'"{optimizer}"', evaluations=int(10 * skew))
        for skew, optimizer in optimizers.items()
    )
    results, study = planned(tmp_path, text)
    (pair,), (note,) = skew_pairs(measured(results, "accuracy", study))
    assert (pair.base, pair.change) == ("skew 80 %", "skew 90 %")
    assert note.endswith("optimizer differs too")
    results = pd.concat([results, results.assign(measure="auc_strongest")])
    numbers = Numbers(results, study)
    panels = skew_panels(numbers, list(numbers.conditions.values()), None)
    assert {panel.title: [point.x for point in panel.series[0].points] for panel in panels} == {
        "No budget, optimizer adam": [0.0],
        "No budget, optimizer sgd": [1.0, 2.0],
    }


def test_of_conditions_that_are_trained_alike_the_one_with_the_removals_settings_stands_for_all(tmp_path):
    """Guards: "views 8, (2)" for two baselines that differ in views, which neither of them uses."""
    removal = grid('"none"', views=8).replace("set =", "removal = {shares = [0.1]}\nset =")
    results, study = planned(tmp_path, grid('"none"') + removal)
    pairs, (note,) = removal_pairs(measured(results, "accuracy", study))
    assert [pair.question for pair in pairs] == ["control", "removal", "random"]
    assert {pair.setting for pair in pairs} == {"digits-s, skew 90 %, BL, no budget"}
    title = "digits-s, skew 90 %, BL, no budget, views"
    assert (
        note == f"not compared with other removals: {title} 4; {title} 8, which is trained alike, is compared instead"
    )


def one_of(**values):
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(choices) for key, choices in values.items()})


GRIDS = st.builds(
    lambda data, techniques, epsilon, removal, settings: (
        f'[[grid]]\nrecipe = "digits"\ndata = {{{", ".join(data)}}}\ntechniques = {techniques}\nepsilon = {epsilon}\n'
        f"{removal}set = {{{', '.join(f'{key} = {value}' for key, value in settings.items())}}}\n"
    ),
    st.sampled_from(
        [
            *(['name = "digits"'], ['name = "digits"', "limit = 200"], ['name = "digits-s"']),
            *(['name = "digits-s"', f"skew = {skew}"] for skew in (0.90000001, 0.5)),
        ]
    ),
    st.sampled_from(['"none"', '["none", "gn"]', '["none", "am"]', '"gn"']),
    st.sampled_from(['"none"', '["none", 8.0]', "[8.0, 8.0000001]"]),
    st.sampled_from(
        [
            *("", "", "removal = {shares = [0.1, 0.10000001]}\n"),
            *(f"removal = {{shares = [0.1], {key}}}\n" for key in ('control = "class,group"', 'rank = "histogram"')),
        ]
    ),
    one_of(
        views=[4, 8],
        clipping_norm=[1.0, 1.0000001],
        learning_rate=[0.1, 0.10000001],
        head_rate=[10.0, 5.0],
        batch_size=[32, 64],
        evaluations=[10, 3],
    ),
)


@hypothesis.settings(max_examples=20, deadline=None)
@given(st.lists(GRIDS, min_size=1, max_size=3))
def test_no_comparison_needs_a_number_to_be_told_from_another(grids):
    """Guards: "(2)" where words could name the difference, and numbers that words round until they are alike."""
    with TemporaryDirectory() as folder:
        results, study = planned(Path(folder), "".join(grids))
    assert len(set(trial_titles(study["trials"]).values())) == len(study["trials"])
    panels = setting_titles(Numbers(results, study).conditions.values()).values()
    asked = measured(results, "accuracy", study)
    pairs = [pair for axis in AXES for pair in axis(asked)[0]]
    assert not [words for words in (*panels, *(pair.where for pair in pairs)) if re.search(r"\(\d+\)", words)]
    alike = Counter((pair.question, pair.change, pair.base, pair.where) for pair in pairs)
    assert not [pair for pair, count in alike.items() if count > 1]


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
