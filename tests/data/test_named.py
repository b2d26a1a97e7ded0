"""The table of named data sets agrees with what is loaded, and is the only place for its facts."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import trilemma
from trilemma.data import Dataset, load_data
from trilemma.data.named import NAMED, Named, may_have_groups, same_images, takers
from trilemma.data.sets.catalog import READERS
from trilemma.study.estimate import estimate

SOURCE = Path(trilemma.__file__).parent


def is_as_the_table_says(data: Dataset, known: Named) -> None:
    assert data.name == known.name
    assert data.image_shape == known.shape
    assert (len(data.train), len(data.test)) == (known.train, known.test * known.test_copies)
    assert data.classes == known.classes
    assert (data.mean, data.std) == (known.mean, known.std)
    assert data.skew == known.skew
    assert (data.group_names is not None) == bool(known.groups) == may_have_groups(known.name)
    assert (data.flips, data.shift) == (known.flips, known.shift)
    if known.skew is not None:
        assert " or ".join(data.group_names or ()) == known.groups


@pytest.mark.parametrize("name", ["digits", "digits-s"])
def test_digits_are_as_the_table_says(name: str) -> None:
    is_as_the_table_says(load_data(name), NAMED[name])


def test_real_cifar10_is_as_the_table_says(cifar10: Dataset) -> None:
    is_as_the_table_says(cifar10, NAMED["cifar10"])


def test_a_set_made_from_another_shows_its_images() -> None:
    for known in NAMED.values():
        plain = NAMED[same_images(known.name)]
        assert not plain.made_from
        assert (plain.train, plain.test, plain.classes) == (known.train, known.test, known.classes)
        assert known.skew is None or plain is not known
    assert takers("skew") == tuple(known.name for known in NAMED.values() if known.skew is not None)


def test_every_set_has_a_reader_and_a_recipe() -> None:
    from trilemma.training.recipe import default_recipe_name, load_recipe

    for known in NAMED.values():
        assert known.reader in READERS
        assert load_recipe(default_recipe_name(known.name)) == load_recipe(known.recipe)


def test_a_new_set_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that asks about named sets reads the table: loading, listing, estimates, figures, the ledger."""
    from trilemma.analysis.private_trial import data_family
    from trilemma.data import describe_sources
    from trilemma.report.figures.catalog import planned_measures
    from trilemma.study.file import load_study
    from trilemma.study.trials import expand
    from trilemma.training.recipe import default_recipe_name

    monkeypatch.setitem(
        NAMED, "numerals-s", replace(NAMED["digits-s"], name="numerals-s", skew=0.8, train=1000, recipe="cifar-study")
    )
    data = load_data("numerals-s")
    assert (data.name, data.skew) == ("numerals-s", 0.8)
    assert "numerals-s" in [source.name for source in describe_sources()]
    assert default_recipe_name("numerals-s") == "cifar-study"
    assert data_family("numerals-s") == "digits"
    assert "bias" in planned_measures({"name": "numerals-s"}, tracks=False, removes=False)
    file, *_ = load_study("quickstart")
    study = expand(file, seeds=1, data=[{"name": "numerals-s"}])
    assert {dict(trial.data)["skew"] for trial in study.trials} == {0.8}
    assert estimate(study).seconds is not None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_second_entry_of_a_reader_loads_as_itself(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: a reader that knows the entries by name, and gives a new one the facts of an old one."""
    monkeypatch.setitem(
        NAMED,
        "numerals",
        replace(
            NAMED["digits"],
            name="numerals",
            shape=(channels, 8, 8),
            train=900,
            test=400,
            classes=tuple("abcdefghij"),
            mean=(0.4,) * channels,
            std=(0.3,) * channels,
            flips=True,
            shift=2,
        ),
    )
    data = load_data("numerals")
    is_as_the_table_says(data, NAMED["numerals"])


ALLOWED = {
    ("data/sets/catalog.py", "digits"),  # readers, not sets
    ("data/sets/catalog.py", "celeba"),
}
"""Beside the table; `digits` and `celeba` are also names of recipes and studies, and the defaults of commands."""


def test_no_other_module_lists_named_sets() -> None:
    for path in SOURCE.rglob("*.py"):
        where = path.relative_to(SOURCE).as_posix()
        if where == "data/named.py":
            continue
        names = {
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and node.value in NAMED
        }
        names -= {name for file, name in ALLOWED if file == where}
        assert len(names) < 2 or where == "training/recipe.py", f"{where} lists {names}: ask trilemma.data.named"
