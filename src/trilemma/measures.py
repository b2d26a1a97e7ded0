"""What is measured of a trial: one table, from which results, pages, docs and claims take what they need.

A new measure is one entry in :data:`MEASURES`, and one line in ``trilemma.analysis.results`` that computes it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from trilemma.words import clean, spelled

Column = Literal["main", "attacks", "groups", "price", "terms", "removal", "cost"]
Where = Literal["always", "groups", "tracking", "removal", "budget", "price"]

COLUMN_SETS: dict[Column, str] = {
    "main": "main measures",
    "attacks": "every attack",
    "groups": "groups",
    "price": "privacy's price by group",
    "terms": "terms of the score",
    "removal": "survivors of a removal",
    "cost": "budget and cost",
}
"""Titles of the sets of columns that a page's table can show."""

ATTACK_WORDS = {
    "threshold": "loss threshold",
    "threshold-entropy": "entropy threshold",
    "mlp": "MLP",
    "rf": "random forest",
    "rmia": "RMIA",
    "rmia-offline": "RMIA, offline",
    "lira": "LiRA",
    "lira-offline": "LiRA, offline",
}
"""The names of all attacks: first ``RUN_ATTACKS``, in the paper's order."""


def attack_words(name: str) -> str:
    """An attack's name in a sentence, after an article; one from outside is called by its whole name.

    >>> attack_words("rf"), attack_words("mine:confidence")
    ('random forest', 'attack mine:confidence')
    """
    return ATTACK_WORDS.get(name) or f"attack {clean(name)}"


HEADLINE_ATTACKS = ("rmia", "threshold")
"""The attack whose numbers summarize an audit, fixed before they are seen: the first of these that was made."""

RUN_HEADLINE = HEADLINE_ATTACKS[-1]
"""That of every run, whose attacks have no reference models."""

RUN_ATTACKS = ("threshold", "threshold-entropy", "mlp", "rf")
"""The attacks of every run: the first two threshold one number, the other two are learned."""

SHADOW_ATTACKS = ("rmia", "rmia-offline", "lira", "lira-offline")
"""The attacks that need reference models."""

FPRS = (0.001, 0.01)
"""The false positive rates at which true positive rates are reported, measured or bounded."""

HEADLINE_FPR = 0.01
"""The one of them at which cells of class and group are compared."""

UNMATCHED = "_naive"
"""The ending of the names of measures that were taken against the whole test set, not against matched non-members."""


@dataclass(frozen=True)
class Measure:
    """One thing that is measured of a trial.

    Attributes:
      name: as in the results; a word in capitals stands for a group, an attack, an index or another measure.
      title: head of its column.
      meaning: in one phrase.
      unit: "fraction" (0 to 1), "epsilon", "count", "seconds" or "" (a number without a unit).
      better: "higher", "lower" or "" (neither).
      covered: whether it is computed from the released weights and test or public data alone, so that the guarantee of
        a private trial covers it.
      column: the set of columns it belongs to.
      digits: after the decimal point, where it is printed in a table.
      made: which trials have it: all, or those with groups, with tracked examples, with a removal, with a
        budget, or with a budget and groups beside the same trial without a budget (price).
      attack: whether it is taken against non-members, so that it has an unmatched counterpart (``UNMATCHED``).
      signed: whether it is a difference, which may be negative.
      scale: what its numbers are counted in, where that is not its unit.
      required_as: what a condition of ``--require`` calls it; "" where none can be about it.
    """

    name: str
    title: str
    meaning: str
    unit: str = "fraction"
    better: str = ""
    covered: bool = False
    column: Column = "attacks"
    digits: int = 3
    made: Where = "always"
    attack: bool = False
    signed: bool = False
    scale: str = ""
    required_as: str = ""

    @property
    def axis(self) -> str:
        """The title of an axis that shows it, for all groups where it is one group's."""
        words = self.title.removesuffix(" in")
        return f"{words}, {self.scale}" if self.scale else words

    @property
    def start(self) -> str:
        """The name up to its word in capitals; "" where it has none."""
        head = re.match(r"(.*?)[A-Z]{3,}", self.name)
        return head[1] if head else ""


_TABLE = (
    Measure("accuracy", "accuracy", "share of test examples that are classified correctly",
            better="higher", covered=True, column="main", required_as="accuracy"),
    Measure("auc_strongest", "strongest AUC, matched",
            "½ + the largest |AUC - ½| of any attack (biased upward; its interval is over the choice too)",
            better="lower", column="main", attack=True, required_as="auc"),
    Measure("auc_strongest_naive", "strongest AUC, unmatched",
            "the same against the whole test set, where that differs",
            better="lower", column="main", made="groups"),
    Measure("bias", "bias", "bias amplification of Wang et al. 2020, 0 to ½ for two groups",
            better="lower", covered=True, column="main", made="groups", required_as="bias"),
    Measure("harmonic_score", "score", "harmonic mean of its terms (definition: normalized)",
            better="higher", column="main", required_as="harmonic_score"),
    Measure("train_accuracy", "train accuracy", "share of training examples that are classified correctly",
            column="main"),
    Measure("epsilon_spent", "ε spent", "PLD bound of the epsilon that was spent",
            unit="epsilon", better="lower", covered=True, column="main", digits=2, made="budget",
            required_as="epsilon"),
    Measure("auc_ATTACK", "AUC", "AUC of one attack against matched non-members; ½ is chance",
            better="lower", attack=True),
    Measure("advantage_strongest", "advantage", "largest |TPR - FPR| of the strongest attack",
            better="lower", attack=True, required_as="advantage"),
    Measure("tpr_at_0.01_strongest", "TPR at 1 % FPR",
            "true positive rate of the strongest attack at 1 % false positives, from 1,000 non-members",
            better="lower", digits=4, attack=True, required_as="tpr_at_fpr_0.01"),
    Measure("tpr_at_0.01_threshold", "TPR at 1 % FPR, loss threshold",
            "true positive rate of the loss threshold, a run's headline attack, at 1 % false positives",
            better="lower", digits=4, attack=True),
    Measure("ceiling_auc", "AUC, at most", "largest AUC that the budget allows any attack",
            covered=True, column="attacks", made="budget"),
    Measure("ceiling_tpr_at_0.01", "TPR at 1 % FPR, at most",
            "largest true positive rate at 1 % false positives that the budget allows any attack",
            covered=True, column="attacks", digits=4, made="budget"),
    Measure("tpr_at_0.001_strongest", "TPR at 0.1 % FPR",
            "true positive rate of the strongest attack at 0.1 % false positives, from 10,000 non-members",
            better="lower", digits=4, attack=True, required_as="tpr_at_fpr_0.001"),
    Measure("null_auc", "AUC, negative control",
            "loss-threshold AUC of a classifier that never saw the members; should be ½", attack=True),
    Measure("MEASURE_naive", "unmatched",
            "an attack's measure against the whole test set (unmatched), where that differs", better="lower",
            made="groups"),
    Measure("worst_group_accuracy", "worst group", "accuracy on the group where it is lowest",
            better="higher", covered=True, column="groups", made="groups", required_as="worst_group_accuracy"),
    Measure("worst_class_accuracy", "worst class", "accuracy of the class where it is lowest",
            better="higher", covered=True, column="groups", required_as="worst_class_accuracy"),
    Measure("worst_cell_accuracy", "worst class and group", "accuracy of the worst class in one group",
            better="higher", covered=True, column="groups", made="groups", required_as="worst_cell_accuracy"),
    Measure("accuracy_in_GROUP", "accuracy in", "accuracy on the test examples of one group",
            better="higher", covered=True, column="groups", made="groups"),
    Measure("accuracy_lost_in_GROUP", "accuracy lost in",
            "accuracy on one group without the budget, less that with it (same data, recipe and seed)",
            better="lower", column="price", made="price", signed=True),
    Measure("accuracy_lost_gap", "accuracy lost, gap", "largest less smallest accuracy that a group loses",
            better="lower", column="price", made="price"),
    Measure("excess_risk_in_GROUP", "excess risk in",
            "mean test cross-entropy on one group with the budget, less that without it, in nats",
            unit="", scale="nats", better="lower", column="price", made="price", signed=True),
    Measure("excess_risk_gap_in_GROUP", "excess-risk gap in",
            "|excess risk of one group less that of all test examples| (Tran et al. 2021), in nats",
            unit="", scale="nats", better="lower", column="price", made="price"),
    Measure("excess_risk_gap", "excess-risk gap", "largest excess-risk gap over groups",
            unit="", scale="nats", better="lower", column="price", made="price"),
    Measure("unused_classes", "classes never predicted", "classes that are never predicted; each adds to the bias",
            unit="count", better="lower", covered=True, column="groups", digits=1, made="groups"),
    Measure("score_accuracy", "score's accuracy", "term of the score: accuracy",
            better="higher", covered=True, column="terms"),
    Measure("score_privacy", "score's privacy", "term of the score: 1 - |2 AUC - 1|, strongest attack",
            better="higher", column="terms"),
    Measure("score_fairness", "score's fairness", "term of the score: 1 - 2 bias",
            better="higher", covered=True, column="terms", made="groups"),
    Measure("exposed_survivors_before", "survivors above the cut, before",
            "survivors at or above the removed layer's cut, before the removal", column="removal", made="removal"),
    Measure("exposed_survivors", "survivors above the cut, after",
            "survivors at or above the removed layer's cut, after the removal",
            better="lower", column="removal", made="removal"),
    Measure("exposed_survivors_retrained", "survivors above the cut, none removed, other seed",
            "survivors at or above the removed layer's cut, in a training with the next seed and no removal",
            column="removal", made="removal"),
    Measure("mean_exposure_before", "survivors' mean score, before",
            "mean score of the survivors before the removal: RMIA's, the logistic function of LiRA's, or the "
            "histogram's probability",
            column="removal", made="removal"),
    Measure("mean_exposure", "survivors' mean score, after", "mean score of the survivors after the removal",
            better="lower", column="removal", made="removal"),
    Measure("removed_by_histogram_too", "removed by the histogram too",
            "share of the most exposed, by shadow models, that the loss histogram would have removed as well",
            column="removal", made="removal"),
    Measure("noise_multiplier", "noise multiplier", "sigma, in units of the clipping norm",
            unit="", covered=True, column="cost", made="budget"),
    Measure("updates", "updates", "updates that were made", unit="count", covered=True, column="cost", digits=0),
    Measure("batch_size", "batch size", "size of the logical batch (expected, with a budget)",
            unit="count", covered=True, column="cost", digits=0),
    # A duration follows the sizes of the secret draws, and includes measurements on training images.
    Measure("seconds", "seconds", "computing time, attacks included",
            unit="seconds", better="lower", column="cost", digits=0),
    Measure("membership_probability/INDEX", "membership probability",
            "membership probability of one tracked training example",
            better="lower", made="tracking"),
    Measure("correct/INDEX", "correct", "1 where one tracked training example is classified correctly",
            made="tracking"),
)  # fmt: skip

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _TABLE}
"""What is measured, by name, in the order of a page's columns."""

COMPARED = ("accuracy", "auc_threshold", f"auc_threshold{UNMATCHED}", "bias", "harmonic_score")
"""Those that reports compare between conditions.

Of the attacks it is one that was fixed in advance, not the strongest, which is chosen by looking.
"""


def described(name: str) -> Measure:
    """The measure that a name in the results belongs to, with its own name and title.

    >>> described("auc_rf_naive").title, described("accuracy_in_gray").title, described("correct/7").name
    ('AUC, random forest, unmatched', 'accuracy in gray', 'correct/7')

    Raises:
      KeyError: no such measure.
    """
    if name in MEASURES:
        return MEASURES[name]
    if name.endswith(UNMATCHED):
        matched = described(name.removesuffix(UNMATCHED))
        if not matched.attack:
            raise KeyError(name)
        title = f"{matched.title.removesuffix(', matched')}, unmatched"
        return replace(matched, name=name, title=title, column="attacks", made="groups", attack=False)
    for measure in _TABLE:
        if measure.start and name.startswith(measure.start):
            which = name.removeprefix(measure.start)
            if measure.start == "auc_":
                return replace(measure, name=name, title=f"AUC, {ATTACK_WORDS.get(which, clean(which))}")
            return replace(measure, name=name, title=f"{measure.title} {spelled(which)}")
    raise KeyError(name)


def measure_of(name: str) -> Measure:
    """As :func:`described`; a measure that is not in the table keeps its own name, and nothing is claimed about it.

    >>> measure_of("lira").title, measure_of("lira").covered
    ('lira', False)
    """
    try:
        return described(name)
    except KeyError:
        return Measure(name, clean(name), "", unit="", column="terms" if name.startswith("score_") else "attacks")


def measure_range(name: str, groups: int | None = None) -> tuple[float, float]:
    """The least and the largest value that a measure can have.

    Args:
      name: the name of the measure.
      groups: how many, for ``bias``, which ends at 1 - 1/groups; None: unknown.

    >>> measure_range("bias", groups=2), measure_range("seconds"), measure_range("something else")
    ((0.0, 0.5), (0.0, inf), (-inf, inf))
    >>> measure_range("accuracy_lost_in_gray"), measure_range("excess_risk_gap_in_gray")
    ((-1.0, 1.0), (0.0, inf))
    """
    if name == "bias" and groups is not None and groups >= 2:
        return 0.0, 1 - 1 / groups
    try:
        measure = described(name)
    except KeyError:
        return -math.inf, math.inf
    most = 1.0 if measure.unit == "fraction" else math.inf
    return -most if measure.signed else 0.0, most


def in_words(name: str) -> str:
    """A measure as a sentence names it.

    >>> in_words("auc_threshold"), in_words("auc_strongest_naive")
    ('the AUC of the loss threshold (matched)', 'the AUC of the strongest attack (unmatched)')
    >>> in_words("accuracy"), in_words("auc_threshold_naive minus auc_threshold")
    ('accuracy', 'the AUC of the loss threshold (unmatched) minus the AUC of the loss threshold (matched)')
    """
    if " minus " in name:
        return " minus ".join(in_words(part) for part in name.split(" minus "))
    measure = measure_of(name)
    plain = name.removesuffix(UNMATCHED)
    if plain.startswith("auc_"):
        which = plain.removeprefix("auc_")
        attack = "strongest attack" if which == "strongest" else ATTACK_WORDS.get(which, clean(which))
        return f"the AUC of the {attack} ({'unmatched' if name != plain else 'matched'})"
    return "the harmonic score" if name == "harmonic_score" else measure.title


def number_words(value: float, name: str, *, signed: bool = False) -> str:
    """A measure's value, or a difference of two, as it is printed: three decimals of a fraction, else four digits.

    (More decimals where three would show a zero.)

    >>> number_words(-0.0313, "accuracy", signed=True), number_words(0.0, "bias", signed=True), number_words(3.5, "?")
    ('−0.031', '0.000', '3.5')
    """
    if measure_range(name)[1] == 1.0:
        # As many more decimals as its first digit needs.
        first = math.ceil(-math.log10(abs(value))) if 1e-6 < abs(value) < 5e-4 else 3
        text = f"{value:.{first}f}"
    else:
        text = f"{value:.4g}"
    if float(text) == 0.0:
        return text.lstrip("-")
    return f"+{text}" if signed and value > 0 else text.replace("-", "−")


def planned_measures(*, groups: bool, tracks: bool, removes: bool, private: bool = True) -> set[str]:
    """Names of the measures that a trial will have; for those with a word in capitals, the beginnings of their names.

    Args:
      groups: whether its data has groups, or may have.
      tracks: whether it records examples during training.
      removes: whether it leaves out examples.
      private: whether it has a budget, or may have.
    """
    holds = {"always": True, "groups": groups, "tracking": tracks, "removal": removes, "budget": private}
    holds["price"] = groups and private
    made = set()
    for measure in _TABLE:
        if not holds[measure.made] or measure.name == "MEASURE_naive":
            continue
        names = [f"auc_{attack}" for attack in RUN_ATTACKS] if measure.start == "auc_" else []
        names = names or [measure.start or measure.name]
        made.update(names)
        if measure.attack and groups:
            made.update(f"{name}{UNMATCHED}" for name in names)
    return made
