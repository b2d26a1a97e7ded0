"""Bounds as text: an upper bound is never shown below what it was, and a lower bound never above."""

from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from trilemma.cli.budget import describe_ceiling
from trilemma.rounding import lower, percent_up, rounded_up, upper
from trilemma.trial.gate import shown_value


@given(st.floats(1e-6, 1e6), st.integers(1, 6))
@example(7.999046, 3)
@example(0.14448, 3)
def test_bounds_are_rounded_to_the_safe_side(bound, decimals):
    true, step = Decimal(repr(bound)), Decimal(1).scaleb(-decimals)
    for shown in (upper(bound, decimals), rounded_up(bound, decimals)):
        assert true <= Decimal(shown) < true + step
    assert true - step < Decimal(lower(bound, decimals)) <= true
    assert Decimal(shown_value("epsilon <= 8", bound)) >= true


@given(st.floats(1e-6, 1))
@example(0.14448)
def test_the_terminal_shows_no_less_than_the_ceiling(rate):
    rates = {"0.01": rate, "0.001": rate}
    lines = describe_ceiling({"tpr_at_fpr": rates, "auc": rate, "advantage": rate})
    assert percent_up(rate) in lines[0]
    assert Decimal(percent_up(rate)) >= 100 * Decimal(repr(rate))
