"""Which data a training is on: one answer for `train` and for a study, refused early where it can be none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.cli.arguments import parser
from trilemma.cli.train import data_of
from trilemma.data import load_data
from trilemma.data.options import one_form
from trilemma.errors import InputError
from trilemma.study.file import load_study
from trilemma.study.job import load_for
from trilemma.study.trials import expand

RECIPE = 'model = "convnet-4"\nbatch_size = 8\nfewest_updates = 1\ndata = {name = "digits-s"%s}\n'

made_for = st.fixed_dictionaries(
    {}, optional={"skew": st.sampled_from([0.6, 0.9, 1]), "limit": st.sampled_from([0, 100]), "seed": st.integers(0, 2)}
)
asked = st.fixed_dictionaries(
    {}, optional={"skew": st.sampled_from([0.7, 1.0]), "limit": st.sampled_from([0, 50]), "seed": st.integers(0, 2)}
)


def by_train(recipe, options):
    names = {"name": "--data", "seed": "--data-seed", "limit": "--limit", "skew": "--skew", "target": "--target"}
    words = [word for option, value in options.items() for word in (names[option], str(value))]
    return data_of(parser().parse_args(["train", "--recipe", str(recipe), "--out", "run", *words]))


def by_study(folder, recipe, options):
    table = ", ".join(f"{option} = {json.dumps(value)}" for option, value in options.items())
    (folder / "study.toml").write_text(f'seeds = 1\n[[grid]]\nrecipe = "{recipe}"\ndata = {{{table}}}\n')
    (trial,) = expand(load_study(folder / "study.toml")[0]).trials
    return dict(trial.data)


@settings(max_examples=15, deadline=None)
@given(table=made_for, options=asked)
def test_one_recipe_and_seed_are_on_the_same_data_by_train_and_by_study(tmp_path_factory, table, options):
    """Guards: data in a recipe's file that only one of the two commands uses."""
    folder = tmp_path_factory.mktemp("recipe")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE % "".join(f", {option} = {value}" for option, value in table.items()))
    train, study = by_train(recipe, options), by_study(folder, recipe, {"name": "digits-s"} | options)
    data = load_for(json.dumps(study), None)
    assert load_data(**train).fingerprint == data.fingerprint
    wanted = table | options
    assert data.skew == wanted.get("skew", 0.9)
    assert len(data.train) == (wanted.get("limit") or 1297)


def test_a_recipe_of_the_package_brings_its_data_to_both(tmp_path):
    options = {"name": "celeba", "target": "Bald"}
    train, study = by_train("celeba-smiling-eps8", options), by_study(tmp_path, "celeba-smiling-eps8", options)
    assert one_form(train) == study == {"name": "celeba", "target": "Bald", "protected": "Male", "size": 64}


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("cifar10-eps8", {"name": "cifar100"}, "was made for cifar10, not for cifar100"),
        ("cifar100-eps8", {"name": "cifar10"}, "was made for cifar100, not for cifar10"),
        ("digits", {"name": "digits", "skew": 0.9}, "skew does not apply to digits: it is for digits-s"),
        ("digits", {"name": "digits-s", "skew": 0.2}, r"skew must lie in \[0.5, 1\]"),
        ("digits", {"name": "cifar100", "target": "corse"}, "must be fine or coarse, not 'corse'"),
        ("digits", {"name": "celeba", "target": "Smilling"}, "did you mean 'Smiling'"),
        ("digits", {"name": "digits", "limit": -1}, "limit must be a whole number of at least 1"),
    ],
)
def test_both_refuse_what_the_data_cannot_have_before_anything_is_written(tmp_path, recipe, options, message):
    with pytest.raises(InputError, match=message):
        by_train(recipe, options)
    with pytest.raises(InputError, match=message):
        by_study(tmp_path, recipe, options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("lmit = 3", "no option 'lmit'.*did you mean 'limit'"),
        ('data_dir = "/data"', "data_dir does not say what the data are"),
        ('columns = "label"', "columns must name columns by what they hold"),
        ('flips = "no"', "flips must be true or false"),
    ],
)
def test_a_recipe_says_of_its_data_what_they_are(tmp_path, table, message):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE % f", {table}")
    with pytest.raises(InputError, match=message):
        by_train(recipe, {})
    with pytest.raises(InputError, match=message):
        by_study(tmp_path, recipe, {"name": "digits-s"})
