"""The ROC curves of an audit's page and of its ``roc.svg``."""

import re

import numpy as np
import pytest

from trilemma.report.audit_parts import _reliability, _shown
from trilemma.report.figures.audit_roc import roc_svg


@pytest.mark.parametrize(("lowest", "least"), [(1e-4, 4), (0.01, 2), (0.12, 1)])
def test_the_axes_are_labelled_in_percent_alone(lowest, least):
    """Guards: a short logarithmic axis, as of an audit with few non-members, is full of powers of ten."""
    fpr = np.geomspace(lowest, 1, 20).tolist()
    curve = {"tpr": fpr, "low": fpr, "high": fpr}
    svg = roc_svg({"roc": {"fpr": fpr, "attacks": {"threshold": curve}, "ceiling": None}}).decode()
    words = [re.sub("<[^>]*>", "", text).strip() for text in re.findall(r"<text.*?</text>", svg, re.DOTALL)]
    numbers = [text for text in words if re.search(r"\d", text)]
    assert len(numbers) >= 2 * least
    assert all(re.fullmatch(r"[\d.]+ %", text) for text in numbers), numbers


def test_the_reliability_of_probabilities_is_drawn_and_said():
    curves = {
        "rmia": {"predicted": [0.2, 0.5, 0.9], "observed": [0.1, 0.6, 0.8], "expected_calibration_error": 0.0241},
        "lira": {"predicted": [0.3, 0.7], "observed": [0.5, 0.5], "expected_calibration_error": 0.2},
    }
    drawn, held = _reliability(curves, {})
    assert "0.024 for RMIA and 0.200 for LiRA" in held
    assert drawn.count("<use ") >= 5  # a marker for every point
    assert "no probabilities" not in held
    few = {"lira": "needs 6 shadow models, has 4"}
    assert "no probabilities by LiRA: checking them needs 6 shadow models, has 4." in _reliability(curves, few)[1]
    assert _reliability({}, few)[0] == ""
    assert "no probabilities by LiRA" in _reliability({}, few)[1]
    assert "leaves out 1 reference model that" in _reliability({"rmia": curves["rmia"] | {"left_out": 1}}, {})[1]
    assert _reliability({}, {}) == ("", "")


def test_a_probability_that_was_not_checked_is_not_shown():
    """Guards: LiRA's of four shadow models, which audits before 0.2.0 wrote, and "100 %" of what only rounds to it."""
    example = {
        "index": 3, "class": "4", "group": None, "png": None,
        "probability": {"rmia": 0.9987, "lira": 0.9999, "histogram": 0.5},
    }  # fmt: skip
    shown = dict(_shown(example, False, {"rmia", "histogram"})["probabilities"])
    assert list(shown.values()) == ["> 99 %", "–", "50 %"]
