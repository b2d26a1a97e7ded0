"""Every measure in results belongs to one entry of the table, and nothing is claimed about any other."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.attacks.named import ALL_ATTACKS, ATTACKS
from trilemma.measures import (
    ATTACK_WORDS,
    COMPARED,
    MEASURES,
    RUN_ATTACKS,
    UNMATCHED,
    described,
    measure_of,
    measure_range,
    number_words,
    planned_measures,
)

MATCHED = [measure for measure in MEASURES.values() if measure.attack and not measure.start]
MATCHED += [described(f"auc_{attack}") for attack in ATTACK_WORDS]


@pytest.mark.parametrize("matched", MATCHED, ids=lambda measure: measure.name)
def test_an_unmatched_measure_is_its_matched_one_elsewhere(matched):
    """Guards: an unmatched AUC that is shown, or counted as covered, otherwise than the matched one beside it."""
    unmatched = described(matched.name + UNMATCHED)
    assert (unmatched.unit, unmatched.better, unmatched.digits) == (matched.unit, matched.better, matched.digits)
    assert not unmatched.covered
    assert unmatched.title.endswith(", unmatched")
    assert "matched," not in unmatched.title


def test_nothing_that_is_taken_from_members_is_covered():
    for measure in MEASURES.values():
        if measure.attack or measure.made == "removal" or measure.start in ("membership_probability/", "correct/"):
            assert not measure.covered
    assert not MEASURES["train_accuracy"].covered
    assert not MEASURES["harmonic_score"].covered  # it has the attacks' AUC in it


@pytest.mark.parametrize("name", ["lira", "accuracy_naive", "auc", "AUC_rf", "bias_naive"])
def test_of_an_unknown_measure_nothing_is_claimed(name):
    with pytest.raises(KeyError):
        described(name)
    measure = measure_of(name)
    assert (measure.title, measure.unit, measure.better, measure.covered) == (name, "", "", False)
    assert measure_range(name) == (-math.inf, math.inf)


def test_every_attack_has_words():
    assert tuple(ATTACK_WORDS) == ALL_ATTACKS
    assert RUN_ATTACKS == ATTACKS == ALL_ATTACKS[: len(ATTACKS)]


def test_titles_tell_measures_apart():
    names = [*MEASURES, *(f"auc_{a}{end}" for a in ATTACK_WORDS for end in ("", UNMATCHED)), "accuracy_in_gray"]
    titles = [measure_of(name).title for name in names]
    assert len(set(titles)) == len(titles)
    for name in COMPARED:
        assert described(name).meaning


def test_what_a_trial_will_make_follows_from_the_table():
    least = planned_measures(groups=False, tracks=False, removes=False, private=False)
    assert {"accuracy", "auc_rf", "auc_strongest", "harmonic_score"} <= least
    assert not [name for name in least if name.endswith(UNMATCHED) or name.startswith(("accuracy_in_", "exposed"))]
    assert "bias" not in least
    assert "epsilon_spent" not in least
    grouped = planned_measures(groups=True, tracks=False, removes=False)
    assert {"bias", "accuracy_in_", "auc_mlp_naive", "auc_strongest_naive", "null_auc_naive"} <= grouped
    most = planned_measures(groups=True, tracks=True, removes=True)
    assert {"membership_probability/", "exposed_survivors", "mean_exposure_before"} <= most
    for name in most:
        described(name)


@given(st.floats(-1, 1), st.booleans())
def test_a_fraction_in_words_is_the_fraction(value, signed):
    words = number_words(value, "accuracy", signed=signed)
    assert "-" not in words  # one minus sign, the typographic one
    text = words.replace("−", "-")
    assert float(text) == pytest.approx(value, abs=5.1e-4)
    assert not (signed and float(text) > 0 and not text.startswith("+"))
    assert isinstance(pd.to_numeric(text), float)
