"""Titles: trials that differ in anything but their seed never share one, and every word of a title is true."""

import importlib
from dataclasses import fields
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma import titles
from trilemma.report.figures.outliers import _arms
from trilemma.report.removals import removal_facts
from trilemma.study.trials import ARMS, Removal
from trilemma.techniques import TECHNIQUES, Technique
from trilemma.titles import (
    TECHNIQUES_OF,
    has_effect_with_a_budget_alone,
    settings_of,
    told_apart,
    trial_titles,
    wording,
)
from trilemma.training.by_budget import chosen_by_budget
from trilemma.training.recipe import _LATER, NAMED, Recipe
from trilemma.words import RANK_WORDS, RANKS, budget, epsilon_tick, exact, exact_percent, removal_words, skew_words

NAMES = st.builds(
    lambda start, middle, end: start + middle + end,
    st.sampled_from(["", "timm:" + "a" * 30, "/data/" + "b" * 40]),
    st.text("xy\x1b\u202e\u00e9", max_size=3),
    st.sampled_from(["", "c" * 50]),
)
TRIALS = st.builds(
    lambda model, provenance, rate, epsilon, codes, data: {
        "recipe": {
            **{"model": model, "provenance": provenance, "learning_rate": rate, "epsilon": epsilon, "seed": 0},
            "techniques": codes,
        },
        "data": data,
    },
    NAMES,
    NAMES,
    st.sampled_from([0.1, 0.25]),
    st.sampled_from([None, 8.0, 8.0000001]),
    st.sampled_from([[], ["gn"]]),
    st.fixed_dictionaries({"name": NAMES}, optional={"skew": st.sampled_from([0.9512, 0.95121]), "seed": st.just(1)}),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TRIALS, min_size=2, max_size=6))
def test_different_trials_have_different_titles(trials):
    """Guards: names that differ where a title shortens them, characters that it cannot show, numbers that it rounds."""
    named = {str(place): trial for place, trial in enumerate(trials)}
    titles = trial_titles(named, seed=False)
    for a, first in named.items():
        for b, second in named.items():
            assert (titles[a] == titles[b]) == (settings_of(first) == settings_of(second))


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES.filter(bool), min_size=2, max_size=5, unique=True))
def test_long_values_are_shortened_but_never_alike(values):
    shown = {value: value for value in values if value.isprintable()}
    words = wording([{"model": value} for value in shown])
    assert len({words("model", value) for value in shown}) == len(shown)
    assert all(words("model", value) == f"model {value}" for value in shown if len(value) <= 24)


def test_budgets_that_differ_in_more_than_the_learning_rate_say_so():
    def planned(**changes):
        trials = {"a": {"epsilon": 1.0, "epochs": 20} | changes, "b": {"epsilon": 8.0, "epochs": 20}}
        return told_apart({name: {"recipe": recipe, "data": {"name": "digits"}} for name, recipe in trials.items()})

    assert planned(learning_rate=0.3) == {"a": {}, "b": {}}
    assert planned(epochs=2) == {"a": {"epochs": "epochs 2"}, "b": {"epochs": "epochs 20"}}


def test_every_setting_of_a_technique_is_a_field_of_a_recipe():
    """What has an effect under one technique alone is said where the technique is, and nowhere again."""
    pairs = {(name, technique.code) for technique in TECHNIQUES.values() for name in technique.settings}
    assert {name for name, _ in pairs} <= set(Recipe.__dataclass_fields__)
    by_technique = {name: {code for other, code in pairs if other == name} for name, _ in pairs}
    assert by_technique | {"data shift": {"am"}, "data flips": {"am"}} == TECHNIQUES_OF


def test_a_setting_may_belong_to_several_techniques(monkeypatch):
    """Guards: a new technique that uses views takes them from augmentation multiplicity."""
    mixup = Technique("mixup", "mixup", "mixes views", "made up", "views", ("views",))
    monkeypatch.setitem(TECHNIQUES, "mixup", mixup)
    try:
        owners = importlib.reload(titles)
        assert [owners.has_effect("views", {"techniques": [code]}) for code in ("am", "mixup", "gn")] == [
            True,
            True,
            False,
        ]
    finally:
        monkeypatch.undo()
        importlib.reload(titles)


def told(*recipes):
    named = {str(place): {"recipe": recipe, "data": {"name": "digits"}} for place, recipe in enumerate(recipes)}
    return [title.removeprefix("digits, ") for title in trial_titles(named, seed=False).values()]


def test_what_a_trial_leaves_out_is_said_as_it_is():
    """Guards: "no optimizer" for SGD, "no shift" for whatever the data set allows, "rank rmia" for RMIA."""
    assert told({}, {"optimizer": "adam"}) == ["BL, no budget, optimizer sgd", "BL, no budget, optimizer adam"]
    am = {"techniques": ["am"]}
    assert told(am | {"shift": None}, am | {"shift": 0}) == [
        "AM, no budget, shift as the data set allows",
        "AM, no budget, shift 0",
    ]
    assert told({"norm_first": None}, {"norm_first": True}, {"norm_first": False}) == [
        "BL, no budget, norm and ReLU in the order of the network",
        "BL, no budget, norm before ReLU",
        "BL, no budget, ReLU before norm",
    ]
    assert (
        told({"epsilon": 8.0, "delta": 1e-5}, {"epsilon": 8.0, "delta": 1e-3}, {"epsilon": None})[2] == "BL, no budget"
    )
    removals = [None, *({"share": 0.1, "arm": "random"} | rank for rank in ({}, {"rank": "rmia"}))]
    named = {str(k): {"data": {"name": "digits"}, "removal": removal} for k, removal in enumerate(removals)}
    removal = "digits, BL, no budget, removal of 10 % at random, ranking by"
    assert list(trial_titles(named, seed=False).values()) == [
        "digits, BL, no budget",
        f"{removal} the loss histogram",
        f"{removal} RMIA with shadow models",
    ]
    tracked = {"1": {"data": {}, "track": {"label": 0, "first": 8}}, "2": {"data": {}, "track": None}}
    assert [title.split(", ")[-1] for title in trial_titles(tracked, seed=False).values()] == [
        "tracking the first 8 examples of class 0",
        "nothing tracked",
    ]


@pytest.mark.parametrize(
    ("option", "value", "without", "with_it"),
    [
        ("size", 32, "images of the size that they have", "size 32"),
        ("columns", {"image": "a", "label": "b"}, "columns by their usual names", "columns image=a label=b"),
        ("test_split", "valid", "test split as the data set has it", "test_split valid"),
    ],
)
def test_an_option_of_the_data_that_is_left_out_is_said_as_a_default(option, value, without, with_it):
    """Guards: "no size", "no columns", "no test_split", "columns {'image': 'a'}"."""
    trials = {"a": {"data": {"name": "mine"}}, "b": {"data": {"name": "mine", option: value}}}
    assert [title.split(", ")[-1] for title in trial_titles(trials, seed=False).values()] == [without, with_it]


def test_a_setting_without_effect_is_named_only_where_nothing_else_tells_trials_apart():
    """Guards: "no pretraining, head_first 0.2", which no training without pre-training asks."""
    pretrained = {"pretrain": "synthetic"}
    assert told({}, pretrained, pretrained | {"head_first": 0.5}) == [
        "BL, no budget, no pretraining",
        "BL, no budget, pretrain synthetic, head_first 0.2",
        "BL, no budget, pretrain synthetic, head_first 0.5",
    ]
    assert told({}, {"head_first": 0.5}) == ["BL, no budget, head_first 0.2", "BL, no budget, head_first 0.5"]


def test_skews_that_differ_in_more_say_so():
    """Guards: Adam at 60 % and SGD at 90 % under titles that differ in skew alone."""

    def planned(recipe, **data):
        return {"recipe": {"epsilon": 8.0} | recipe, "data": {"name": "digits-s"} | data}

    def titles_of(*trials):
        return [title.split("ε = 8")[1] for title in trial_titles(dict(enumerate(trials)), seed=False).values()]

    skewed = planned({}, skew=0.6)
    assert titles_of(skewed, planned({"optimizer": "adam"}, skew=0.9)) == [", optimizer sgd", ", optimizer adam"]
    assert titles_of(planned({"clipping_norm": 1.0}, skew=0.6), planned({"clipping_norm": 2.0}, skew=0.9)) == [
        ", clipping_norm 1",
        ", clipping_norm 2",
    ]
    classes = [planned({}, skew=skew, classes_seed=seed) for skew, seed in ((0.6, 1), (0.9, 3))]
    assert titles_of(*classes, planned({})) == [
        ", classes_seed 1",
        ", classes_seed 3",
        "",
    ]
    assert titles_of(skewed, planned({"views": 8, "evaluations": 3}, skew=0.9)) == ["", ""]


def test_the_defaults_that_titles_name_are_those_of_recipes():
    left_out = {name: value for name, value in titles._LEFT_OUT.items() if name != "data seed"}
    assert left_out == {f.name: f.default for f in fields(Recipe) if f.name in _LATER}


def test_a_budget_and_none_say_what_no_recipe_chooses_by_budget():
    """Guards: SGD without a budget and Adam with one, or two deltas, under titles that differ in epsilon alone."""
    assert told({"epsilon": None}, {"epsilon": 8.0, "optimizer": "adam"}) == [
        "BL, no budget, optimizer sgd",
        "BL, ε = 8, optimizer adam",
    ]
    assert told({"epsilon": 1.0, "delta": 1e-5}, {"epsilon": 8.0, "delta": 1e-3}) == [
        "BL, ε = 1, delta 1e-5",
        "BL, ε = 8, delta 0.001",
    ]
    chosen = {name for recipe in NAMED for name in chosen_by_budget(recipe)}
    assert set(titles.BY_BUDGET) == chosen | {"epsilon"}
    of_budgets = {name for name in titles._EFFECT_WHERE if has_effect_with_a_budget_alone(name)}
    assert {"delta", "clipping_norm"} <= of_budgets
    assert not of_budgets & {"epsilon", "classes_seed", "views"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1e-9, 1.0, exclude_max=True), min_size=2, max_size=4, unique=True))
def test_numbers_that_differ_are_never_alike_in_words(values):
    """Guards: skews of 0.9 and 0.90000001 that are both "skew 90 %"."""
    for words in (exact, exact_percent, skew_words, budget, epsilon_tick, lambda share: removal_words(share, "random")):
        assert len({words(value) for value in values}) == len(values)
    assert [float(exact(value)) for value in values] == values
    assert [exact(value) for value in (8.0, 0.1, 1e-5, 1e22)] == ["8", "0.1", "1e-5", "1e+22"]


def test_the_defaults_of_a_removal_are_those_of_trials():
    """Guards: a title that tells a removal from one that leaves the same default out."""
    removal = Removal(0.1, "random", "x").to_dict()
    short = {"share": 0.1, "arm": "random", "scored_by": "x"}
    assert settings_of({"removal": removal}) == settings_of({"removal": short})
    assert Removal(**short).to_dict() == removal


def test_titles_figures_and_facts_name_a_ranking_in_the_same_words(monkeypatch):
    """Guards: "rank rmia" in a title, "RMIA with shadow models" in a figure, "loss histogram" in one of two forms."""
    for rank in RANKS:
        monkeypatch.setitem(RANK_WORDS, rank, f"the words of {rank}")
    removals = [{"share": 0.1, "arm": arm, "rank": rank} for rank in RANKS for arm in ARMS]
    named = {str(k): {"data": {"name": "digits"}, "removal": removal} for k, removal in enumerate(removals)}
    for removal, title in zip(removals, trial_titles(named, seed=False).values(), strict=True):
        assert title.count(f"the words of {removal['rank']}") == 1
    assert _arms("histogram")[0][1] == "highest by the words of histogram removed"
    condition = SimpleNamespace(removal="exposed", removed=0.1, rank="lira")
    facts = dict(removal_facts([condition, SimpleNamespace(**{**vars(condition), "rank": "histogram"})], None))
    assert facts["Ranked by"].startswith("the words of histogram, as in the paper")
