"""The paper's headline: accuracy on CIFAR-10 at (8, 1e-5) with all techniques."""

from __future__ import annotations

import numpy as np

from trilemma.analysis.claims.claim import Claim, Finding, overall_claim
from trilemma.analysis.claims.decisions import decide, shown_mean
from trilemma.analysis.claims.evidence import Table, evidence_of, seed_words, values_by_seed
from trilemma.analysis.comparison import FEWEST_SEEDS
from trilemma.analysis.conditions import Condition, Measured
from trilemma.statistics.intervals import mean_interval, prediction_interval
from trilemma.techniques import PAPER_TECHNIQUES

HEADLINE = 0.8111
"""The paper's accuracy under the conditions below, with all techniques."""

DATA, MODEL, EXAMPLES, EPSILON, DELTA = "cifar10", "wrn-16-4", 50_000, 8, 1e-5
"""The conditions of the paper's headline: the only ones that a result can be compared with it under."""

MARGIN = 0.005
"""A mean that lies below the paper's accuracy by less than this reaches it."""

SEED_NOISE = 0.02
"""Two standard deviations over seeds of such a training (0.93 points over 500 seeds: Bao and Bindschaedler, "R+R:
Towards Reliable and Generalizable Differentially Private Machine Learning", ACSAC 2024, table 2)."""


def headline_accuracy(table: Table) -> Claim:
    """81.11 % on CIFAR-10 at (8, 1e-5), which can only be compared at the paper's scale.

    Confirmed where our mean is shown to be at least the paper's figure less ``MARGIN``.  An interval that covers the
    figure would not do, since a wide one covers anything.  Contradicted where our mean is shown to lie below the figure
    by more than ``SEED_NOISE``, and one more training of ours would lie below it too (95 % prediction interval).
    """
    statement = "the paper says that with all techniques CIFAR-10 reaches 81.11 % at (8, 1e-5)"
    measurements = table.measured("accuracy").where(_asks_headline)
    comparable = measurements.where(lambda condition: condition.examples == EXAMPLES and condition.model == MODEL)
    comparable = comparable.where(
        lambda condition: condition.codes == PAPER_TECHNIQUES and _at_paper_scale(table, measurements, condition)
    )
    findings = [_headline_finding(comparable, condition) for condition in comparable.conditions.values()]
    missing = "only a study at the paper's scale, with all 50,000 examples and a wrn-16-4, can be compared"
    if measurements.conditions:
        best = max(
            measurements.conditions.values(),
            key=lambda condition: (len(condition.codes), float(np.mean(values_by_seed(measurements, condition.id)))),
        )
        values = values_by_seed(measurements, best.id)
        missing += (
            f"; here {best.technique_words} reach {np.mean(values):.4f} at (8, 1e-5) with {best.examples} examples and "
            f"a {best.model} ({seed_words(values)})"
        )
        if not comparable.conditions:
            reached = (evidence_of(measurements, best.id, "reached at this size"),)
            finding = Finding(str(best), "not measured", missing, reached)
            sentence = f"Not measured: {missing}."
            return Claim("headline-accuracy", "paper", statement, "not measured", sentence, (finding,), _LEAD, True)
    else:
        missing += "; here nothing was trained on cifar10 at (8, 1e-5)"
    return overall_claim("headline-accuracy", "paper", statement, findings, missing, lead=_LEAD, by_verdict=True)


_LEAD = "The paper’s accuracy"


def _asks_headline(condition: Condition) -> bool:
    private = condition.epsilon == EPSILON and condition.delta == DELTA
    return private and condition.data == DATA and condition.removed == 0


def _at_paper_scale(table: Table, measurements: Measured, condition: Condition) -> bool:
    trials = set(measurements.trials[condition.id].values())
    studies = table.study.get("studies", {}).values()
    return any(record.get("scale") == "paper" and trials & set(record.get("trials", ())) for record in studies)


def _headline_finding(measurements: Measured, condition: Condition) -> Finding:
    values = np.array(values_by_seed(measurements, condition.id))
    evidence = (evidence_of(measurements, condition.id, "all techniques at (8, 1e-5)"),)
    if len(values) < FEWEST_SEEDS:
        reached = f"accuracy {values.mean():.4f} over {seed_words(list(values))}"
        reason = f"that takes at least {FEWEST_SEEDS} seeds"
        return Finding(str(condition), "cannot tell", f"{reached}; {reason}", evidence, reason=reason, brief=reached)
    low, high = np.clip(mean_interval(values), 0.0, 1.0)
    reached = f"accuracy {values.mean():.4f} [{low:.4f}, {high:.4f}] over {len(values)} seeds"
    far = HEADLINE - SEED_NOISE
    decision = decide(
        shown_mean(values, HEADLINE - MARGIN, "higher"),
        shown_mean(values, far, "lower") and prediction_interval(values)[1] < HEADLINE,
        f"it is shown neither to be at least {HEADLINE - MARGIN:.4f} nor to be below {far:.4f}",
    )
    words = {
        "confirmed": f"shown to be at least {HEADLINE - MARGIN:.4f}, the paper's {HEADLINE} less {MARGIN}",
        "contradicted": f"shown to be below {far:.4f}, further from the paper's {HEADLINE} than another seed explains",
    }.get(decision.verdict, decision.reason)
    return Finding(
        str(condition), decision.verdict, f"{reached}; {words}", evidence, reason=decision.reason, brief=reached
    )
