"""The ROC curves of an audit's page and of its ``roc.svg``."""

import re

import numpy as np
import pytest

from trilemma.report.audit_parts import _reliability
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
    drawn, held = _reliability(curves, lira=True)
    assert "0.024 for RMIA and 0.200 for LiRA" in held
    assert drawn.count("<use ") >= 5  # a marker for every point
    assert "not checked" not in held
    assert "LiRA's were not checked: that takes 6 " in _reliability({"rmia": curves["rmia"]}, lira=True)[1]
    assert _reliability({}, lira=True) == ("", "")
