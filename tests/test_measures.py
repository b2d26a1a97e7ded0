"""Every measure in results belongs to one entry of the table, and nothing is claimed about any other."""

import ast
import importlib
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trilemma
from trilemma import measures
from trilemma.attacks.named import ALL_ATTACKS, ATTACKS, SHADOW_SCORES
from trilemma.measures import (
    ATTACK_WORDS,
    COMPARED,
    MEASURES,
    RUN_ATTACKS,
    SHADOW_ATTACKS,
    UNMATCHED,
    described,
    measure_of,
    measure_range,
    number_words,
    planned_measures,
)
from trilemma.report import glossary
from trilemma.trial.gate import QUANTITIES, measured

SOURCE = Path(trilemma.__file__).parent
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
    assert not MEASURES["seconds"].covered, "a duration follows the secret draws and includes measurements on members"


@pytest.mark.parametrize("name", ["lira", "accuracy_naive", "auc", "AUC_rf", "bias_naive"])
def test_of_an_unknown_measure_nothing_is_claimed(name):
    with pytest.raises(KeyError):
        described(name)
    measure = measure_of(name)
    assert (measure.title, measure.unit, measure.better, measure.covered) == (name, "", "", False)
    assert measure_range(name) == (-math.inf, math.inf)


def test_every_attack_has_words():
    assert set(ATTACK_WORDS) == set(ALL_ATTACKS)
    assert ATTACKS == RUN_ATTACKS == tuple(ATTACK_WORDS)[: len(RUN_ATTACKS)]
    assert tuple(SHADOW_SCORES) == SHADOW_ATTACKS


@pytest.fixture
def glossary_with_two_more_attacks(monkeypatch):
    """One that every run makes, and one that needs no reference models either, by its name."""
    with monkeypatch.context() as patch:
        patch.setitem(ATTACK_WORDS, "margin", "margin threshold")
        patch.setitem(ATTACK_WORDS, "gap", "gap of losses")
        patch.setattr(measures, "RUN_ATTACKS", (*RUN_ATTACKS, "margin"))
        yield importlib.reload(glossary).GLOSSARY
    importlib.reload(glossary)


def test_new_attacks_leave_the_words_for_others_as_they_are(glossary_with_two_more_attacks):
    assert glossary_with_two_more_attacks["shadow"].title == "RMIA and LiRA, the attacks with shadow models"
    assert glossary_with_two_more_attacks["learned"].title == "MLP and random forest, the learned attacks"


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


COMMON = {"AUC", "score", "advantage", "unmatched", "correct", "bias", "accuracy", "updates", "seconds", "batch size"}
"""Titles that are also terms of the field, or keys of JSON."""

ALLOWED = {
    ("trial/course_record.py", "noise multiplier"),  # a sentence about it
    ("study/removal.py", "lira"),  # whose scores are log odds
    ("words.py", "rmia"),  # RANKS, which stands below the table of attacks
    ("words.py", "lira"),
}


def texts(source):
    """The literals of a module, without its docstrings."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs and n.value is not ...
            and isinstance(n.value, str)]  # fmt: skip


def copied(source, where):
    """What a module has of the table of measures and of that of attacks."""
    titles = {measure.title for measure in MEASURES.values()} | {described(f"auc_{a}").title for a in ATTACK_WORDS}
    attacks = {*ATTACK_WORDS, *ATTACK_WORDS.values()}
    seen = set()
    for text in texts(source):
        words = text.strip()
        parts = [words, *(word for word in titles if words.startswith(f"{word},"))]
        parts += words.split(",") if "," in words and " " not in words else []
        seen |= {part for part in parts if part in titles - COMMON or part in attacks}
    return {part for part in seen if (where, part) not in ALLOWED}


def test_titles_of_measures_and_names_of_attacks_stand_in_their_tables_alone():
    """Guards: a title or a name that is written a second time, and keeps its old form when the table changes."""
    for path in SOURCE.rglob("*.py"):
        where = path.relative_to(SOURCE).as_posix()
        # Examples are commands as somebody types them, which another test gives to the parser.
        if where not in ("measures.py", "cli/examples.py") and not where.startswith("attacks/"):
            assert not copied(path.read_text("utf-8"), where), f"{where}: ask trilemma.measures"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('Panel("strongest AUC, matched")', {"strongest AUC, matched"}),
        ('y_title = f"excess-risk gap, nats {x}"', {"excess-risk gap"}),
        ('print(f"  train accuracy   {value}")', {"train accuracy"}),
        ('help="threshold,mlp,rf"', {"threshold", "mlp", "rf"}),
        ('attacks.get("threshold")', {"threshold"}),
        ('("x", "loss threshold")', {"loss threshold"}),
        ('def f():\n    """Takes rmia and lira."""', set()),
    ],
)
def test_a_copy_of_a_title_or_a_name_is_seen(line, found):
    assert copied(line, "report/somewhere.py") == found


def test_what_a_condition_can_be_about_is_in_the_table():
    assert set(QUANTITIES) == {"delta", *(measure.required_as for measure in MEASURES.values())} - {""}
    result = {
        "attacks": {"mlp": {"auc": 0.6, "advantage": 0.1, "tpr_at_fpr": {"0.01": 0.1, "0.001": 0.2},
                            "interval": {"auc": [0.5, 0.7], "advantage": [0.0, 0.2],
                                         "tpr_at_fpr": {"0.01": [0, 1], "0.001": [0, 1]}}}},
        "privacy": {"epsilon": 8.0, "delta": 1e-5},
        "fairness": {"bias": 0.1, "worst_group_accuracy": 0.5, "worst_cell_accuracy": 0.4,
                     "worst_cell_interval": [0.3, 0.5],
                     "worst_cell": {"class": 0, "group": "gray", "examples": 9},
                     "least_known_cell": {"class": 0, "group": "gray", "examples": 9}},
        "worst_class": {"class": 0, "examples": 9, "accuracy": 0.4, "interval": [0.3, 0.5],
                        "least_known": {"class": 0, "examples": 9}},
        "accuracy": 0.7, "harmonic_score": {"value": 0.5},
    }  # fmt: skip
    assert [quantity for quantity in QUANTITIES if not measured(quantity, result)] == []
