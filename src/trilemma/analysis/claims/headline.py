"""The paper's headline: accuracy on CIFAR-10 at (8, 1e-5) with all techniques."""

from __future__ import annotations

import numpy as np

from trilemma.analysis.claims.claim import Claim, Finding, overall_claim
from trilemma.analysis.claims.evidence import Table, evidence_of, seed_words, values_by_seed
from trilemma.analysis.conditions import Condition, Measured
from trilemma.statistics.intervals import prediction_interval
from trilemma.techniques import PAPER_TECHNIQUES

HEADLINE = 0.8111
"""The paper's accuracy under the conditions below, with all techniques."""

DATA, MODEL, EXAMPLES, EPSILON, DELTA = "cifar10", "wrn-16-4", 50_000, 8, 1e-5
"""The conditions of the paper's headline: the only ones that a result can be compared with it under."""

SEED_NOISE = 0.02
"""Two standard deviations over seeds of such a training (0.93 points over 500 seeds: Bao and Bindschaedler, "R+R:
Towards Reliable and Generalizable Differentially Private Machine Learning", ACSAC 2024, table 2)."""


def headline_accuracy(table: Table) -> Claim:
    """81.11 % on CIFAR-10 at (8, 1e-5), which can only be compared at the paper's scale.

    Confirmed where the paper's figure is a plausible further seed of ours (inside the 95 % prediction interval for one
    more training, and no further from the mean than ``SEED_NOISE``) or our mean lies above; contradicted where it lies
    above that interval.
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
    mean, evidence = float(values.mean()), (evidence_of(measurements, condition.id, "all techniques at (8, 1e-5)"),)
    if len(values) < 2:
        return Finding(str(condition), "cannot tell", f"one seed, which reached {mean:.4f}, has no spread", evidence)
    low, high = prediction_interval(values)
    reached = f"accuracy {mean:.4f} over {len(values)} seeds; one more seed would lie in [{low:.4f}, {high:.4f}] (95 %)"
    if high < HEADLINE:
        return Finding(str(condition), "contradicted", f"{reached}, below the paper's {HEADLINE}", evidence)
    if low > HEADLINE:
        return Finding(str(condition), "confirmed", f"{reached}, above the paper's {HEADLINE}", evidence)
    if mean >= HEADLINE or HEADLINE - mean <= SEED_NOISE:
        return Finding(str(condition), "confirmed", f"{reached}, which contains the paper's {HEADLINE}", evidence)
    wide = f"{reached}: wide enough to contain the paper's {HEADLINE}, though the mean is far below it"
    return Finding(str(condition), "cannot tell", wide, evidence)
