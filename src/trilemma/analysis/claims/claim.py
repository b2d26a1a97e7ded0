"""The values: a claim, its findings by setting, and the verdict over them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trilemma.analysis.comparison import Comparison
from trilemma.words import capital

Verdict = Literal["confirmed", "contradicted", "cannot tell", "not measured"]

Direction = Literal["higher", "lower"]

Source = Literal["paper", "Carlini et al. 2022", "ours"]


@dataclass(frozen=True)
class Change:
    """A difference that a finding rests on, in numbers.

    Attributes:
      measure: as in the results.
      change, base: what is compared with what, in words.
      value, against: the two means over seeds.
      difference, low, high: ``value`` minus ``against`` with its 95 % interval (NaN with one seed).
      verdict: of the comparison: "higher", "lower", "within noise" or "one seed".
      fragile: whether the verdict rests on a single seed (:attr:`~trilemma.analysis.comparison.Comparison.fragile`).
      seeds: how many.
      reason: why no difference is shown, to be read after "since"; "" where one is.
    """

    measure: str
    change: str
    base: str
    value: float
    against: float
    difference: float
    low: float
    high: float
    verdict: str
    fragile: bool
    seeds: int
    reason: str


@dataclass(frozen=True)
class Finding:
    """What one setting says about a claim.

    Attributes:
      setting: data set, budget and so on, in words.
      verdict: the verdict of this setting alone.
      sentence: what was found, with its numbers.
      evidence: where these numbers are in ``results.csv``: a dict for each condition and measure, with ``role``,
        ``cell`` (the condition's id), ``measure``, ``seeds``, ``trials`` and ``values`` (in the seeds' order), and
        the condition in words (``about``) and by its columns; ``epsilon`` is None without a budget.
      changes: the differences it rests on, first one that the verdict takes.
      reason: why the verdict is "cannot tell", to be read after "since"; "" for the others.
      brief: what was found in a few words, for a first screen that tells no difference.
    """

    setting: str
    verdict: Verdict
    sentence: str
    evidence: tuple[dict[str, Any], ...]
    changes: tuple[Change, ...] = ()
    reason: str = ""
    brief: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement, and what a study says about it.

    Attributes:
      name: short and fixed, for files.
      source: "paper", "Carlini et al. 2022" (the onion effect, which the paper takes up) or "ours".
      statement: the claim, in words.
      verdict: over all findings.
      sentence: what was found, or why nothing was measured.
      findings: one for each setting.
      lead: what it is about, in a word or two, if the first screen of a page may tell it; else "".
      by_verdict: whether that tells its verdict alone, and not the largest difference that it rests on.
    """

    name: str
    source: Source
    statement: str
    verdict: Verdict
    sentence: str
    findings: tuple[Finding, ...] = ()
    lead: str = ""
    by_verdict: bool = False

    @property
    def evidence(self) -> tuple[dict[str, Any], ...]:
        """Evidence of all findings."""
        return tuple(entry for finding in self.findings for entry in finding.evidence)


def overall_claim(
    name: str,
    source: Source,
    statement: str,
    findings: Sequence[Finding],
    missing: str,
    *,
    lead: str = "",
    by_verdict: bool = False,
) -> Claim:
    """A claim with the verdict over all its findings, and the sentence that sums them up."""
    whole = functools.partial(Claim, name, source, statement, lead=lead, by_verdict=by_verdict)
    if not findings:
        return whole("not measured", f"Not measured: {missing}.")
    counts = {kind: sum(f.verdict == kind for f in findings) for kind in ("confirmed", "contradicted", "cannot tell")}
    verdict: Verdict = "cannot tell"
    if counts["confirmed"] and not counts["contradicted"]:
        verdict = "confirmed"
    elif counts["contradicted"] and not counts["confirmed"]:
        verdict = "contradicted"
    if len(findings) == 1:
        sentence = findings[0].sentence
    else:
        mixed = "mixed: " if counts["confirmed"] and counts["contradicted"] else ""
        decided = [f for f in findings if f.verdict != "cannot tell"]
        shown = (decided or list(findings))[:_SHOWN]
        rest = len(decided or findings) - len(shown)
        total = f"{counts['confirmed']} confirm it, {counts['contradicted']} contradict it"
        sentence = f"{mixed}of {len(findings)} settings {total} and {counts['cannot tell']} cannot tell"
        sentence = ". ".join([sentence, *(capital(f.sentence) for f in shown), *([f"And {rest} more"] if rest else [])])
    return whole(verdict, f"{capital(sentence)}.", tuple(findings))


def doubt(comparison: Comparison) -> str:
    """Words for a difference beyond noise that settles nothing all the same; else ""."""
    return f"; but {comparison.reason}" if comparison.verdict in ("higher", "lower") and comparison.reason else ""


def change_of(comparison: Comparison) -> Change:
    """The numbers of a comparison that a finding rests on."""
    pair = comparison.pair
    return Change(
        comparison.measure,
        pair.change,
        pair.base,
        comparison.mean,
        comparison.against_mean,
        comparison.difference,
        comparison.low,
        comparison.high,
        comparison.verdict,
        comparison.fragile,
        comparison.n,
        comparison.reason,
    )


def joined_reasons(missing: str, notes: Iterable[str]) -> str:
    """Why nothing, or not everything, could be measured, in one sentence."""
    return "; ".join([missing, *dict.fromkeys(notes)])


_SHOWN = 3
"""How many findings the sentence of a claim quotes."""
