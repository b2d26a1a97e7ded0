"""Recipes: read from TOML and JSON, told apart by fingerprint, refused in one line."""

import json
import math
import re
import tomllib
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trilemma.errors import InputError
from trilemma.privacy import Clipping, Plan
from trilemma.techniques import PAPER_TECHNIQUES, TECHNIQUES, parse_techniques
from trilemma.training.recipe import _RANGES, NAMED, Recipe, default_recipe_name, load_recipe
from trilemma.training.recipe_data import recipe_data
from trilemma.words import CLIPPING_NORMS

recipes = st.builds(
    Recipe,
    techniques=st.lists(st.sampled_from(sorted(TECHNIQUES)), unique=True).map(tuple),
    epsilon=st.none() | st.floats(0.01, 100),
    batch_size=st.integers(1, 10_000),
    learning_rate=st.floats(1e-6, 100),
    norm_first=st.none() | st.booleans(),
    secret_noise=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    prior_seed=st.integers(0, 3),
    provenance=st.text(st.characters(codec="utf-8"), max_size=20),
)


@settings(deadline=None, max_examples=60)
@given(recipes)
def test_a_recipe_survives_toml_and_json(recipe):
    assert Recipe.from_dict(tomllib.loads(recipe.to_toml())) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict(recipe.to_dict()).fingerprint == recipe.fingerprint


@settings(deadline=None, max_examples=60)
@given(recipes, recipes)
def test_fingerprints_differ_exactly_where_recipes_do(first, other):
    assert (first == other) == (first.fingerprint == other.fingerprint)


def test_a_recipe_file_is_read_back(tmp_path):
    recipe = Recipe(model="wrn-10-1", techniques=("sat", "gn"), epsilon=3.0, schedule="cosine")
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "r.toml") == recipe


def test_tables_for_a_budget_count_only_with_one(tmp_path):
    (tmp_path / "r.toml").write_text("batch_size = 8\n[with_budget]\nbatch_size = 16\n[without_budget]\nepochs = 3\n")
    ordinary, private = load_recipe(tmp_path / "r.toml"), load_recipe(tmp_path / "r.toml", epsilon=1.0)
    assert (ordinary.batch_size, ordinary.epochs) == (8, 3)
    assert (private.batch_size, private.epochs) == (16, Recipe().epochs)
    assert load_recipe(tmp_path / "r.toml", epsilon=1.0, batch_size=4).batch_size == 4


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("epsilon", [None, 8.0])
def test_named_recipes_load(name, epsilon):
    budget = epsilon or (float(name[-1]) if "-eps" in name else None)
    assert load_recipe(name, epsilon=epsilon, techniques="all").epsilon == budget


def test_a_recipe_may_name_its_data(tmp_path):
    assert recipe_data("cifar10s-eps8") == {"name": "cifar10s"}
    assert recipe_data("cifar100-eps8") == {"name": "cifar100"}
    assert recipe_data("digits") is None
    (tmp_path / "r.toml").write_text('model = "convnet"\ndata = "cifar10"\n')
    with pytest.raises(InputError, match="table with a name"):
        recipe_data(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text('model = "convnet"\ndata = {name = "cifar10", limit = 10}\n')
    assert recipe_data(tmp_path / "r.toml") == {"name": "cifar10", "limit": 10}
    assert load_recipe(tmp_path / "r.toml").model == "convnet"


def test_every_data_set_has_a_recipe():
    assert {default_recipe_name(d) for d in ("digits-s", "cifar10s", "celeba", "some/folder")} <= set(NAMED)


def test_techniques_come_in_the_papers_order():
    assert parse_techniques("sat, gn,OBS gn") == ("obs", "gn", "sat")
    assert parse_techniques("all") == PAPER_TECHNIQUES
    assert parse_techniques("none") == parse_techniques("bl") == ()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"bath_size": 3}, "did you mean 'batch_size'"),
        ({"batch_size": "3"}, "must be a int"),
        ({"batch_size": True}, "must be a int"),
        ({"batch_size": -1}, "at least 0"),
        ({"epsilon": 0.0}, "positive and finite"),
        ({"epsilon": -1.0}, "positive and finite"),
        ({"epsilon": float("nan")}, "positive and finite"),
        ({"epsilon": float("inf")}, "positive and finite"),
        ({"epsilon": 1.0, "delta": 0.0}, "delta must lie"),
        ({"epsilon": 1.0, "delta": 1.0}, "delta must lie"),
        ({"delta": 1e-5}, "without epsilon"),
        ({"techniques": ["gm"]}, "unknown technique 'gm'"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"schedule": "step"}, "schedule"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_values_are_one_clear_line(values, says):
    with pytest.raises(InputError, match=says) as caught:
        Recipe.from_dict(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["batch_size = ", "[with_budget]\nnonsense = 1", "with_budget = 3"])
def test_bad_files_are_refused(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InputError):
        load_recipe(tmp_path / "r.toml")
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_recipe("digit")


def test_recipes_keep_the_fingerprints_of_earlier_versions():
    """Runs made before ``prior_seed`` and ``provenance`` came must still be found and gone on with."""
    known = "079b03ebde99471def91925ecb5529928ab3a0da85f3a3784d76a080b9416236"
    assert Recipe(epsilon=8.0, secret_noise=False).fingerprint == known
    assert Recipe(epsilon=8.0, secret_noise=False, prior_seed=1).fingerprint != known


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batch_size": np.int64(32)}, {"batch_size": 32}),
        ({"seed": np.uint8(3)}, {"seed": 3}),
        ({"learning_rate": np.float64(0.1)}, {"learning_rate": 0.1}),
        ({"epochs": np.int32(3)}, {"epochs": 3}),
        ({"epsilon": np.int64(8), "delta": np.float64(1e-5)}, {"epsilon": 8.0, "delta": 1e-5}),
        ({"secret_noise": np.bool_(True), "epsilon": 1.0}, {"secret_noise": True}),
        ({"shift": np.int16(2), "flips": np.bool_(False)}, {"shift": 2, "flips": False}),
    ],
)
def test_numbers_of_numpy_are_taken_as_pythons_own(values, expected):
    recipe = Recipe(**values)
    plain = {key: value.item() for key, value in values.items() if isinstance(value, np.generic)}
    assert recipe.fingerprint == Recipe(**{**values, **plain}).fingerprint
    assert json.loads(json.dumps(recipe.to_dict())) == recipe.to_dict()
    for key, value in expected.items():
        assert getattr(recipe, key) == value
        assert type(getattr(recipe, key)) is type(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 32.0}, "batch_size must be a whole number, not 32.0"),
        ({"batch_size": np.float32(32)}, "batch_size must be a whole number"),
        ({"epsilon": True}, "epsilon must be a number, not True"),
        ({"epochs": np.bool_(True)}, "epochs must be a number"),
        ({"learning_rate": "0.1"}, "learning_rate must be a number, not '0.1'"),
        ({"seed": None}, "seed must be a whole number, not None"),
        ({"secret_noise": 1}, "secret_noise must be True or False, not 1"),
        ({"views": np.array([1, 2])}, "views must be a whole number"),
    ],
)
def test_numbers_of_another_kind_are_refused_when_the_recipe_is_made(values, message):
    with pytest.raises(InputError, match=message):
        Recipe(**values)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CLIPPING_NORMS).flatmap(lambda edge: st.floats(edge / 2, edge * 2)) | st.floats())
def test_recipes_plans_and_clipping_take_the_same_clipping_norms(norm):
    """Guards: a clipping norm that a recipe takes, and that ends in a traceback when the training begins."""
    made = (
        lambda: Recipe(epsilon=8.0, clipping_norm=norm),
        lambda: Plan(100, 10, 5, norm, 1.0),
        lambda: Clipping(nn.Linear(2, 2), norm),
    )
    if CLIPPING_NORMS[0] <= norm <= CLIPPING_NORMS[1]:
        assert all(make() for make in made)
        return
    for make in made:
        with pytest.raises(InputError, match=r"clipping.norm must be .*1e-30.*1e\+30"):
            make()


def test_every_number_of_a_recipe_has_a_range():
    """Guards: a new setting that takes -5 and NaN."""
    checked_by_itself = {"epsilon", "delta", "epochs", "learning_rate", "head_rate", "shift"}
    numbers = {field.name for field in fields(Recipe) if re.search(r"\b(int|float)\b", str(field.type))}
    assert numbers == set(_RANGES) | checked_by_itself
    for name in numbers:
        with pytest.raises(InputError):
            Recipe(**{"epsilon": 8.0, name: math.nan})
