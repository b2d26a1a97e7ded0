"""The guarantee in words: no number that is an upper bound is printed below the true one."""

import re
from decimal import Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trilemma.trial.statement import ceiling_in_words, guarantee_in_short, guarantee_in_words
from trilemma.words import SEEDED_NOISE

EXACT = Context(prec=80, Emax=10**9)
PRIVACY = {"epsilon": 8.0, "delta": 1e-5, "noise_source": "secret"}


def number(pattern, text):
    return Decimal(re.search(pattern, text)[1].replace(",", ""))


@given(st.floats(1e-6, 1e5))
@example(31.0)
@example(1234.5612)
@example(1000.0)
def test_epsilon_and_its_factor_are_never_below_the_true_ones(epsilon):
    privacy = PRIVACY | {"epsilon": epsilon}
    words, true = guarantee_in_words(privacy), Decimal(repr(epsilon))
    for text in (words, guarantee_in_short(privacy)):
        assert true <= number(r"ε = ([\d.,]+?) ", text) < true + Decimal("0.001")
    factor = EXACT.exp(true)
    shown = number(r"at most ([\d.,e+]+), apart", words)
    assert factor <= shown
    assert shown <= EXACT.multiply(factor, Decimal("1.1"))


@given(st.floats(1e-6, 1))
@example(0.12341)
def test_the_ceiling_is_never_below_the_true_one(rate):
    true = 100 * Decimal(repr(rate))
    shown = number(r"at most ([\d.]+) of", ceiling_in_words({"tpr_at_fpr": {"0.01": rate}, "auc": rate}))
    assert true <= shown <= true * Decimal("1.0101")
    shown = number(r"AUC above ([\d.]+)\.$", ceiling_in_words({"tpr_at_fpr": {"0.01": rate}, "auc": rate}))
    assert true / 100 <= shown <= true / 100 + Decimal("0.001")


@pytest.mark.parametrize(
    ("source", "releasable"),
    [
        ("secret", True),
        ("operating system, not recorded", True),
        ("seeded", False),
        ("seeded: whoever knows the seed can subtract the noise", False),
        (None, False),
    ],
)
def test_only_noise_that_nobody_can_draw_again_is_for_release(source, releasable):
    """Guards: runs of earlier versions, which hold a sentence where newer ones hold one word."""
    privacy = PRIVACY | {"noise_source": source}
    assert (SEEDED_NOISE not in guarantee_in_words(privacy)) == releasable
    assert ("not for release" not in guarantee_in_short(privacy)) == releasable
