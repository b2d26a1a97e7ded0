"""Inputs made to harm do none: nothing in them is run, nothing is written outside of --out, memory and time stay small.

A sample of the cases, each family in turn; ``benchmarks/hostile_inputs.py`` runs all of them.
"""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the peak of memory is read from /proc", allow_module_level=True)

from hostile import CASES, complaints, warmed_up

EVERY = 4
"""One case of so many, a different one each time the catalog's order changes."""


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory):
    warmed_up(tmp_path_factory.mktemp("warm"))


def test_there_are_as_many_as_planned():
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES[::EVERY], ids=lambda case: case.name)
def test_hostile_input_does_no_harm(case, tmp_path, monkeypatch):
    monkeypatch.setenv("TRILEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRILEMMA_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert not complaints(case, tmp_path)
