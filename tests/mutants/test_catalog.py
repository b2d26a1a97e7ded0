"""The catalog of planted errors fits the source: each edit can still be made, and its tests are there.

Whether the tests fail on the errors is seen by ``tests/mutants/run.py`` (``make mutants``), which takes minutes.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from catalog import ERRORS, HARMLESS, NOT_PLANTED, PITFALLS
from planting import ROOT


@pytest.mark.parametrize("edit", [*ERRORS, *HARMLESS], ids=lambda edit: edit.name)
def test_the_edit_fits_the_source(edit):
    compile(edit.mutated(), edit.file, "exec")
    assert edit.tests
    for test in edit.tests:
        file, *names = test.split("[")[0].split("::")
        text = (ROOT / "tests" / file).read_text("utf-8")
        for name in names:
            assert f"def {name}(" in text or f"class {name}" in text, f"{file} has no {name}"


def test_names_are_unique():
    repeated = [name for name, count in Counter(edit.name for edit in [*ERRORS, *HARMLESS]).items() if count > 1]
    assert not repeated


def test_errors_of_privacy_and_training_are_seen_by_two_tests():
    for error in ERRORS:
        if error.file.split("/")[0] in ("privacy", "training"):
            assert len(set(error.tests)) >= 2, error.name


def test_every_known_error_of_the_field_is_planted():
    planted = {error.pitfall for error in ERRORS} - {""}
    assert planted <= set(PITFALLS)
    assert set(PITFALLS) - planted == NOT_PLANTED


def test_there_are_enough():
    assert len(ERRORS) >= 100
    assert len(HARMLESS) >= 20
