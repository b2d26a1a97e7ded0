"""The findings of the paper, and ours, as statements that a study confirms, contradicts or cannot tell.

A sentence is printed only if the figures carry it.  Each claim is a question that was asked beforehand: which cells
it looks at, in which measure and in which direction, is fixed here and depends on no result.  Its comparisons
(:mod:`trilemma.analysis.comparisons`) form one Holm family, so that where nothing is true it is confirmed or
contradicted by chance in about one study of twenty at most (how far that rests on noise being alike in all cells is
said there).

A claim has a finding for each setting (data set, budget, ...) and a verdict over all of them: confirmed if at least one
is and none is contradicted, contradicted if at least one is and none is confirmed, else it cannot be told; mixed
findings are called mixed.  "Cannot tell" says that noise hides what there is, not that there is nothing.

Attacks are compared by ``auc_threshold``: always the same attack, where ``auc_strongest`` is the largest of several and
so drawn away from 1/2 by noise.  The latter is given beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from trilemma.analysis.cells import (
    NAIVE,
    WITHOUT_SKEW,
    Cell,
    Measured,
    cells_of,
    check_once,
    finished,
    measured,
    tell_apart,
)
from trilemma.analysis.comparisons import (
    Comparison,
    Pair,
    Pairs,
    budget_pairs,
    compare,
    number_words,
    removal_pairs,
    skew_pairs,
    technique_pairs,
)
from trilemma.analysis.turning_points import TurningPoints, turning_points
from trilemma.techniques import TECHNIQUES

MARGIN = 0.02
"""AUCs that differ by less than this count as equal, where that is shown."""

HEADLINE = 0.8111
"""The paper's accuracy on CIFAR-10 at (8, 1e-5)."""

SEED_NOISE = 0.02
"""Two standard deviations over seeds of such a training (0.93 points over 500 seeds, METHODS 2.5)."""

ATTACK = "auc_threshold"
STRONGEST = "auc_strongest"

Verdict = Literal["confirmed", "contradicted", "cannot tell", "not measured"]
Direction = Literal["higher", "lower"]
Source = Literal["paper", "Carlini et al. 2022", "ours"]


@dataclass(frozen=True)
class Finding:
    """What one setting says of a claim.

    Attributes:
      setting: data set, budget and so on, in words.
      verdict: of this setting alone.
      sentence: what was found, with its numbers.
      evidence: where these numbers are in ``results.csv``: a dict for each cell and measure, with ``role``, ``cell``,
        ``measure``, ``seeds``, ``trials``, ``values`` (by seed, in that order), and the cell in words (``about``) and
        by its columns; ``epsilon`` is None without a budget.
    """

    setting: str
    verdict: Verdict
    sentence: str
    evidence: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Claim:
    """A statement, and what a study says of it.

    Attributes:
      name: short and fixed.
      source: "paper", "Carlini et al. 2022" (the onion effect, which the paper takes up) or "ours".
      statement: what is claimed, in words.
      verdict: over all findings.
      sentence: what was found, or why nothing was.
      findings: one for each setting.
    """

    name: str
    source: Source
    statement: str
    verdict: Verdict
    sentence: str
    findings: tuple[Finding, ...] = ()

    @property
    def evidence(self) -> tuple[dict[str, Any], ...]:
        """Of all findings."""
        return tuple(entry for finding in self.findings for entry in finding.evidence)


def claims(results: pd.DataFrame, study: Mapping[str, Any] | None = None) -> tuple[Claim, ...]:
    """All claims, in the paper's order; then ours.

    Args:
      results: of a folder, all of its studies (``read_results``).
      study: its ``study.json``; without it the scale is not known, and neither are recipes that the columns of the
        results do not tell apart.

    Raises:
      InputError: the results are broken (columns missing, a seed twice in one cell, ...).
    """
    table = _Table(results, study)
    return (
        headline_accuracy(table),
        *technique_claims(table),
        *skew_claims(table),
        *removal_claims(table),
        onion_claim(table),
        memorization_claim(table),
        artefact_claim(table),
        budget_claim(table),
    )


class _Table:
    """The results, each measure of which is read once."""

    def __init__(self, results: pd.DataFrame, study: Mapping[str, Any] | None) -> None:
        self.finished = finished(results).astype({"measure": object, "cell": object})  # compared more often than read
        self.on_the_way = results[results["update"].notna()]
        self.study: Mapping[str, Any] = {} if study is None else study
        self._read: dict[str, Measured] = {}
        self._trials: dict[str, set[str]] = {}
        for names, trial in self.finished[["studies", "trial"]].drop_duplicates().itertuples(index=False):
            for name in str(names).split():
                self._trials.setdefault(name, set()).add(str(trial))

    def measured(self, measure: str) -> Measured:
        if measure not in self._read:
            self._read[measure] = measured(self.finished, measure)
        return self._read[measure]

    def pairs(self, measure: str, pairs_of: Callable[[Measured], Pairs]) -> Pairs:
        """Pairs within each study; of those that ask the same of cells alike in words, the one of the largest family.

        (A trial may be in several studies, and two studies may train nearly the same: neither counts twice.)
        """
        given = self.measured(measure)
        largest: dict[tuple[Any, ...], Pair] = {}
        notes: list[str] = []
        for trials in self._trials.values():
            pairs, missing = pairs_of(given.among(trials).told_apart(self.study))
            notes += missing
            for pair in pairs:
                cell = given.cells[pair.cell]
                key = (pair.question, pair.setting, pair.change, pair.base, cell.examples, cell.model)
                if key not in largest or len(pair.block) > len(largest[key].block):
                    largest[key] = pair
        return list(largest.values()), list(dict.fromkeys(notes))


def headline_accuracy(table: _Table) -> Claim:
    """81.11 % on CIFAR-10 at (8, 1e-5), which can only be compared at the paper's scale.

    Confirmed where the paper's figure is a plausible further seed of ours (inside the 95 % prediction interval for one
    more training, and no further from the mean than ``SEED_NOISE``) or our mean lies above; contradicted where it lies
    above that interval.
    """
    statement = "the paper says that with all techniques CIFAR-10 reaches 81.11 % at (8, 1e-5)"
    given = table.measured("accuracy").where(_asks_headline)
    comparable = given.where(lambda cell: cell.examples == 50_000 and cell.model == "wrn-16-4")
    comparable = comparable.where(lambda cell: cell.codes == tuple(TECHNIQUES) and _at_paper_scale(table, given, cell))
    findings = [_headline_finding(comparable, cell) for cell in comparable.cells.values()]
    missing = "only a study at the paper's scale, with all 50,000 examples and a wrn-16-4, can be compared"
    if given.cells:
        best = max(given.cells.values(), key=lambda cell: (len(cell.codes), float(np.mean(_values(given, cell.id)))))
        values = _values(given, best.id)
        missing += (
            f"; here {best.technique_words} reach {np.mean(values):.4f} at (8, 1e-5) with {best.examples} examples and "
            f"a {best.model} ({_seeds(values)})"
        )
        if not comparable.cells:
            reached = (_evidence(given, best.id, "reached at this size"),)
            finding = Finding(str(best), "not measured", missing, reached)
            sentence = f"Not measured: {missing}."
            return Claim("headline-accuracy", "paper", statement, "not measured", sentence, (finding,))
    else:
        missing += "; here nothing was trained on cifar10 at (8, 1e-5)"
    return _claim("headline-accuracy", "paper", statement, findings, missing)


def _asks_headline(cell: Cell) -> bool:
    return cell.data == "cifar10" and cell.epsilon == 8 and cell.delta == 1e-5 and cell.removed == 0


def _at_paper_scale(table: _Table, given: Measured, cell: Cell) -> bool:
    trials = set(given.trials[cell.id].values())
    studies = table.study.get("studies", {}).values()
    return any(one.get("scale") == "paper" and trials & set(one.get("trials", ())) for one in studies)


def _headline_finding(given: Measured, cell: Cell) -> Finding:
    values = np.array(_values(given, cell.id))
    mean, evidence = float(values.mean()), (_evidence(given, cell.id, "all techniques at (8, 1e-5)"),)
    if len(values) < 2:
        return Finding(str(cell), "cannot tell", f"one seed, which reached {mean:.4f}, has no spread", evidence)
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) * math.sqrt(1 + 1 / len(values)))
    low, high = mean - half, mean + half
    reached = f"accuracy {mean:.4f} over {len(values)} seeds; one more seed would lie in [{low:.4f}, {high:.4f}] (95 %)"
    if high < HEADLINE:
        return Finding(str(cell), "contradicted", f"{reached}, below the paper's {HEADLINE}", evidence)
    if low > HEADLINE:
        return Finding(str(cell), "confirmed", f"{reached}, above the paper's {HEADLINE}", evidence)
    if mean >= HEADLINE or HEADLINE - mean <= SEED_NOISE:
        return Finding(str(cell), "confirmed", f"{reached}, which holds the paper's {HEADLINE}", evidence)
    wide = f"{reached}: wide enough to hold the paper's {HEADLINE}, though the mean is far below it"
    return Finding(str(cell), "cannot tell", wide, evidence)


def technique_claims(table: _Table) -> tuple[Claim, ...]:
    """All techniques against BL: accuracy with a budget; bias with and without one."""

    def pairs(measure: str, private: bool) -> Pairs:
        found, notes = table.pairs(measure, technique_pairs)
        cells = table.measured(measure).cells
        wanted = [p for p in found if p.question == "all" and cells[p.cell].private is private]
        return [p for p in wanted if cells[p.cell].removed == 0], notes

    missing = "it takes BL and all techniques {}, in one study, with {} measured"
    accuracy = _direction_claim(
        table,
        "techniques-accuracy",
        "the paper says that its techniques together raise the accuracy of private training",
        pairs("accuracy", True),
        "accuracy",
        "higher",
        missing.format("at one budget", "accuracy"),
    )
    bias = [
        _direction_claim(
            table,
            f"techniques-bias-{'private' if private else 'ordinary'}",
            f"the paper says that its techniques together amplify bias ({'with' if private else 'without'} a budget)",
            pairs("bias", private),
            "bias",
            "higher",
            missing.format("at one budget" if private else "without a budget", "bias (data with groups)"),
            beside=_unused_classes,
        )
        for private in (True, False)
    ]
    return accuracy, *bias


def _unused_classes(table: _Table, comparison: Comparison) -> tuple[str, list[dict[str, Any]]]:
    """A class that is never predicted counts as wholly biased: say so where it happens."""
    given = table.measured("unused_classes")
    cells = (comparison.pair.cell, comparison.pair.against)
    if not any(any(_values(given, cell)) for cell in cells) or not set(cells) <= set(given.values):
        return "", []
    counts = [f"{given.cells[cell].technique_words} {np.mean(_values(given, cell)):.3g}" for cell in cells]
    note = f"; classes never predicted, each of which counts as wholly biased: {', '.join(counts)}"
    return note, [_evidence(given, cell, "classes never predicted") for cell in cells]


def skew_claims(table: _Table) -> tuple[Claim, ...]:
    """The largest skew against the least, or none: accuracy, AUC (naive and matched) and bias.

    Where a set was trained at different numbers of skews, the settings with most of them count.
    Accuracy is compared between skews of one set, whose test pictures are the same; against the set without skew only
    where there is no second skew, and then with a word of warning.
    """
    missing = "it takes a set without skew and with, or with two skews, alike in all else"
    accuracy_pairs, notes = table.pairs("accuracy", skew_pairs)
    extremes = _extreme_skews(accuracy_pairs, table.measured("accuracy").cells)
    accuracy = _direction_claim(
        table,
        "skew-accuracy",
        "the paper says that more bias in the data lowers accuracy",
        ([pair for none, one_set in extremes if (pair := one_set or none)], notes),
        "accuracy",
        "lower",
        missing,
        beside=_other_test_set,
    )
    aucs = []
    for suffix, name, how in (
        (NAIVE, "skew-auc-naive", "measured against the whole test set, as the paper most likely did"),
        ("", "skew-auc-matched", "measured against test examples with the members' own mix of class and group"),
    ):
        found, notes = table.pairs(ATTACK + suffix, skew_pairs)
        extremes = _extreme_skews(found, table.measured(ATTACK + suffix).cells)
        aucs.append(
            _direction_claim(
                table,
                name,
                f"the paper says that more bias in the data makes attacks stronger; {how}",
                ([pair for none, one_set in extremes if (pair := none or one_set)], notes),
                ATTACK + suffix,
                "higher",
                missing,
                secondary=STRONGEST + suffix,
            )
        )
    bias_pairs, notes = table.pairs("bias", skew_pairs)
    extremes = _extreme_skews(bias_pairs, table.measured("bias").cells)
    bias = _direction_claim(
        table,
        "skew-bias",
        "the paper says that more bias in the data gives more bias in predictions",
        ([pair for none, one_set in extremes if (pair := one_set or none)], notes),
        "bias",
        "higher",
        "it takes two skews of one set, alike in all else, with bias measured",
    )
    return accuracy, *aucs, bias


def _extreme_skews(pairs: Iterable[Pair], cells: Mapping[str, Cell]) -> list[tuple[Pair | None, Pair | None]]:
    """For each setting the largest skew against none and against the least of the same set, where these are there."""
    found: dict[tuple[Any, ...], dict[str, Pair]] = {}
    most: dict[str, int] = {}
    for pair in pairs:
        cell = cells[pair.cell]
        pictures = WITHOUT_SKEW.get(cell.data, cell.data)
        most[pictures] = max(most.get(pictures, 0), len(pair.block))
        asked = found.setdefault((pictures, pair.setting, cell.examples, cell.model), {})
        if pair.question not in asked or (cell.skew or 0) > (cells[asked[pair.question].cell].skew or 0):
            asked[pair.question] = pair
    return [
        (asked.get("skew"), asked.get("skew of one set"))
        for (pictures, *_), asked in found.items()
        if max(len(pair.block) for pair in asked.values()) == most[pictures]
    ]


def _other_test_set(table: _Table, comparison: Comparison) -> tuple[str, list[dict[str, Any]]]:
    if comparison.pair.question != "skew":
        return "", []
    return "; but the two are tested on different pictures (gray ones only with skew), which is in the difference", []


def removal_claims(table: _Table) -> tuple[Claim, ...]:
    """Removing the most exposed examples: accuracy and bias, against removing none and against as many at random.

    It is a finding about exposure only if it beats the control; so a setting confirms the claim where the removal moves
    the measure in the claimed direction against both.
    """
    wanted: tuple[tuple[str, str, Direction], ...] = (
        ("accuracy", "lowers accuracy", "lower"),
        ("bias", "raises bias", "higher"),
    )
    return tuple(_removal_claim(table, measure, what, direction) for measure, what, direction in wanted)


def _removal_claim(table: _Table, measure: str, what: str, wanted: Direction) -> Claim:
    pairs, notes = table.pairs(measure, removal_pairs)
    given = table.measured(measure)
    tried = compare(given, [pair for pair in pairs if pair.question in ("control", "removal")])
    by_cell: dict[str, dict[str, Comparison]] = {}
    for comparison in tried:
        by_cell.setdefault(comparison.pair.cell, {})[comparison.pair.question] = comparison
    findings = []
    for asked in by_cell.values():
        first = next(iter(asked.values()))
        verdict, words = _removal_verdict(asked.get("removal"), asked.get("control"), wanted)
        evidence = _distinct(entry for comparison in asked.values() for entry in _both(given, comparison))
        findings.append(Finding(f"{first.pair.setting}, {first.pair.change}", verdict, words, evidence))
    return _claim(
        f"removal-{measure}",
        "paper",
        f"the paper says that removing the most exposed examples {what}",
        findings,
        _why(f"it takes a study that removes exposed examples, with {measure} measured", [*notes, *tried.notes]),
    )


def _removal_verdict(removal: Comparison | None, control: Comparison | None, wanted: Direction) -> tuple[Verdict, str]:
    words = "; ".join(c.words for c in (removal, control) if c is not None)
    against = "lower" if wanted == "higher" else "higher"
    if control is None:
        return "cannot tell", f"{words}; there is no random control, so that it may be the smaller training set"
    if removal is None:
        return "cannot tell", f"{words}; there is no training with all examples to compare with"
    if "one seed" in (removal.verdict, control.verdict):
        return "cannot tell", words
    if against in (removal.verdict, control.verdict):
        if wanted in (removal.verdict, control.verdict):
            return "cannot tell", f"{words}; the two disagree"
        return "contradicted", words
    if removal.verdict == control.verdict == wanted:
        return "confirmed", f"{words}; so it is exposure, not the smaller training set"
    if removal.verdict == wanted:
        return "cannot tell", f"{words}; so far it may be the smaller training set, not exposure"
    return "cannot tell", words


def onion_claim(table: _Table) -> Claim:
    """Whether a new layer becomes exposed once the most exposed examples are gone (the onion effect).

    That the survivors' exposure rises proves nothing: they were chosen for having little in the first model, and would
    come out higher in any second one (regression to the mean), while the survivors of the random arm were not chosen.
    So, by what is measured:

    - ``exposed_survivors_retrained`` (optional: the same survivors, same cut, in a training of the same recipe with
      nothing removed and another seed) is free of that choice: confirmed if ``exposed_survivors`` is higher than it,
      contradicted if lower.
    - Without it: confirmed if the exposed arm's survivors are, in the new models, more exposed than the random arm's,
      among whom most of the exposed ones still are; contradicted if their exposure rose less than the random arm's did,
      though the choice works the other way.  Between the two it cannot be told.
    """
    now, before = table.measured("exposed_survivors"), table.measured("exposed_survivors_before")
    fresh = table.measured("exposed_survivors_retrained")
    rise = now.less(before, "exposed_survivors less exposed_survivors_before")
    pairs, notes = table.pairs("exposed_survivors", removal_pairs)
    pairs = [p for p in pairs if p.question == "control" and {p.cell, p.against} <= set(rise.values)]
    refreshed, fresh_pairs = _beside(now, fresh, [pair for pair in pairs if pair.cell in fresh.values])
    retrained = {comparison.pair.cell: comparison for comparison in compare(refreshed, fresh_pairs)}
    levels = {comparison.pair.cell: comparison for comparison in compare(now, pairs)}
    rises = {comparison.pair.cell: comparison for comparison in compare(rise, pairs)}
    findings = []
    for pair in pairs:
        if pair.cell not in rises:
            continue
        verdict, words = _onion_verdict(rises[pair.cell], levels[pair.cell], retrained.get(pair.cell))
        arms = "; ".join(
            f"{name}: {np.mean(_values(before, cell)):.3f} of the survivors were exposed before, "
            f"{np.mean(_values(now, cell)):.3f} are after"
            for name, cell in ((pair.change, pair.cell), (pair.base, pair.against))
        )
        evidence = [
            _evidence(given, cell, role)
            for role, cell in ((pair.change, pair.cell), (pair.base, pair.against))
            for given in (now, before, fresh)
            if cell in given.values
        ]
        findings.append(Finding(f"{pair.setting}, {pair.change}", verdict, f"{arms}; {words}", tuple(evidence)))
    return _claim(
        "onion",
        "Carlini et al. 2022",
        "Carlini et al. say that once the most exposed examples are removed, others become exposed (the onion effect)",
        findings,
        _why("it takes a study that removes exposed examples, and as many at random", notes),
    )


def _beside(now: Measured, fresh: Measured, pairs: Sequence[Pair]) -> tuple[Measured, list[Pair]]:
    """Two measures of the same cells as one measure of two cells each, and the pairs of these."""
    mark = " retrained"
    chosen = {pair.cell for pair in pairs}
    first, second = now.where(lambda cell: cell.id in chosen), fresh.where(lambda cell: cell.id in chosen)
    both = Measured(
        now.measure,
        {**first.cells, **{cell + mark: replace(found, id=cell + mark) for cell, found in second.cells.items()}},
        {**first.values, **{cell + mark: by for cell, by in second.values.items()}},
        {**first.trials, **{cell + mark: by for cell, by in second.trials.items()}},
    )
    base = "training anew on all examples"
    return both, [
        replace(pair, against=pair.cell + mark, block=(pair.cell, pair.cell + mark), base=base) for pair in pairs
    ]


def _onion_verdict(rise: Comparison, level: Comparison, retrained: Comparison | None) -> tuple[Verdict, str]:
    if retrained is not None:
        return _judge(retrained, "higher"), retrained.words
    if rise.verdict == "lower":
        return "contradicted", f"the rise is smaller than at random, though survivors were chosen to rise: {rise.words}"
    if level.verdict == "higher":
        return "confirmed", level.words
    return "cannot tell", (
        f"survivors of the exposed arm were chosen for little exposure and rise in any second model; {level.words}"
    )


def memorization_claim(table: _Table) -> Claim:
    """Whether memorization can begin before overfitting.

    A training confirms it where memorization begins first in every seed, and contradicts it where overfitting begins
    first, or both at once, in every seed.  (:func:`~trilemma.analysis.turning_points.turning_points` defines them.)
    That it *can* is confirmed by one such training and contradicted only where all trainings are against it.
    """
    rows = table.on_the_way
    looked_at = rows[rows["measure"] == ATTACK]
    check_once(looked_at, ["cell", "update"])
    points: dict[str, dict[int, TurningPoints]] = {}
    trials: dict[str, dict[int, str]] = {}
    for trial, history in rows[rows["trial"].isin(looked_at["trial"])].groupby("trial", sort=False):
        name, seed = str(history["cell"].iloc[0]), int(history["seed"].iloc[0])
        points.setdefault(name, {})[seed] = turning_points(history)
        trials.setdefault(name, {})[seed] = str(trial)
    findings = []
    for name, cell in tell_apart(cells_of(looked_at), trials, table.study).items():
        by_seed = points[name]
        seeds = sorted(by_seed)
        words = "; ".join(f"seed {seed}: {_turning_words(by_seed[seed])}" for seed in seeds)
        orders = {by_seed[seed].order for seed in seeds}
        verdict: Verdict = "cannot tell"
        if len(seeds) < 2:
            words = f"one seed tells nothing of others: {words}"
        elif orders == {"memorization first"}:
            verdict = "confirmed"
        elif orders <= {"together", "overfitting first"}:
            verdict = "contradicted"
        entry = {
            "role": "turning points",
            **_about(cell),
            "measure": ATTACK,
            "seeds": seeds,
            "trials": [trials[name][seed] for seed in seeds],
            "values": [
                {
                    "early_stopping": by_seed[seed].early_stopping,
                    "overfitting": by_seed[seed].overfitting,
                    "memorization": by_seed[seed].memorization,
                }
                for seed in seeds
            ],
        }
        findings.append(Finding(str(cell), verdict, words, (entry,)))
    claim = _claim(
        "memorization-first",
        "paper",
        "the paper says that memorization can begin before the overfitting point",
        findings,
        "it takes a study that measures accuracies and AUC on the way (one that tracks an example)",
    )
    verdicts = {finding.verdict for finding in findings}
    if "confirmed" in verdicts:
        return replace(claim, verdict="confirmed")
    return claim if len(verdicts) < 2 else replace(claim, verdict="cannot tell")


def _turning_words(points: TurningPoints) -> str:
    def at(update: int | None) -> str:
        return "never" if update is None else f"at update {update}"

    return (
        f"memorization begins {at(points.memorization)}, overfitting {at(points.overfitting)} "
        f"(the best test accuracy is {at(points.early_stopping)})"
    )


def artefact_claim(table: _Table) -> Claim:
    """Ours: the naive AUC climbs with skew and the matched one does not, so that the climb is no memory.

    For each setting (every budget its own) the largest skew against none, or the least.  Confirmed where the naive AUC
    is higher and the matched one either within +- ``MARGIN`` (two one-sided tests, at 5 % over all settings together)
    or not higher, and its difference significantly smaller than the naive one; contradicted where the naive AUC is not
    higher but lower, or the matched one is higher too and not shown to be within the margin.
    """
    naive, matched = table.measured(ATTACK + NAIVE), table.measured(ATTACK)
    gap = naive.less(matched, f"{ATTACK}{NAIVE} less {ATTACK}")
    found, notes = table.pairs(ATTACK + NAIVE, skew_pairs)
    extremes = _extreme_skews(found, naive.cells)
    pairs = [p for none, one_set in extremes if (p := none or one_set) and {p.cell, p.against} <= set(gap.values)]
    sides = [{(c.pair.cell, c.pair.against): c for c in compare(given, pairs)} for given in (naive, matched, gap)]
    findings = []
    for key in (key for key in sides[0] if all(key in side for side in sides)):
        climb, flat, less = (side[key] for side in sides)
        verdict, words = _artefact_verdict(climb, flat, less, 0.05 / len(pairs))
        evidence = _distinct([*_both(naive, climb), *_both(matched, flat)])
        findings.append(Finding(climb.pair.setting, verdict, words, evidence))
    return _claim(
        "naive-artefact",
        "ours",
        "we say that the AUC against the whole test set climbs with skew and the one against matched test examples "
        "does not: the climb is the test set's, not memory",
        findings,
        _why("it takes a set without skew and with, or with two skews, alike in all else", notes),
    )


def _artefact_verdict(climb: Comparison, flat: Comparison, less: Comparison, alpha: float) -> tuple[Verdict, str]:
    def signed(value: float) -> str:
        return number_words(value, ATTACK, signed=True)

    def interval(ends: tuple[float, float]) -> str:
        return "" if math.isnan(ends[0]) else f" [{signed(ends[0])}, {signed(ends[1])}]"

    pair = climb.pair
    where = f"{pair.change} against {pair.base} ({pair.setting})"
    if climb.n < 2:
        changes = f"the naive AUC by {signed(climb.difference)}, the matched one by {signed(flat.difference)}"
        return "cannot tell", f"one seed: {where} changes {changes}"
    naive, matched = (f"{signed(c.difference)}{interval((c.low, c.high))} ({c.verdict})" for c in (climb, flat))
    words = f"{where} changes the naive AUC by {naive} and the matched one by {matched}, paired over {climb.n} seeds"
    within = flat.no_more_than(MARGIN, alpha)
    shown = interval(flat.margin_interval(alpha)) or " (noise not known)"
    margin = f"at most {MARGIN} either way ({100 * (1 - 2 * alpha):.3g} % interval{shown})"
    if climb.verdict == "lower":
        return "contradicted", f"{words}; the naive AUC falls"
    if flat.verdict == "higher" and not within:
        return "contradicted", f"{words}; the matched AUC climbs too, and is not shown to do so by {margin}"
    if climb.verdict != "higher":
        return "cannot tell", f"{words}; the naive AUC does not climb beyond noise"
    if within:
        return "confirmed", f"{words}; the matched one is shown to change by {margin}"
    if less.verdict == "higher":
        smaller = f"smaller than the naive change by {number_words(less.difference, ATTACK)}, beyond noise"
        return "confirmed", f"{words}; the matched change is {smaller}, though not shown to be {margin}"
    return "cannot tell", f"{words}; whether the matched one changes by as much is lost in noise"


def budget_claim(table: _Table) -> Claim:
    """Ours: the AUC falls toward 1/2 as epsilon gets smaller.

    For each setting the least epsilon against no budget and against the largest epsilon: confirmed where either is
    lower, neither higher, and the least epsilon's AUC nearer to 1/2 than what it is compared with.  Where a data set
    was trained at different numbers of budgets, the settings with most of them count.
    """
    given = table.measured(ATTACK)
    found, notes = table.pairs(ATTACK, budget_pairs)
    most: dict[str, int] = {}
    for pair in found:
        most[given.cells[pair.cell].data] = max(most.get(given.cells[pair.cell].data, 0), len(pair.block))
    asked: dict[tuple[str, int, str], dict[str, Pair]] = {}
    for pair in found:
        cell = given.cells[pair.cell]
        if len(pair.block) < most[cell.data]:
            continue
        pairs = asked.setdefault((pair.setting, cell.examples, cell.model), {})
        if pair.question not in pairs or cell.epsilon < given.cells[pairs[pair.question].cell].epsilon:
            pairs[pair.question] = pair
    chosen = [pair for pairs in asked.values() for pair in pairs.values()]
    tried = {(c.pair.cell, c.pair.against): c for c in compare(given, chosen)}
    strongest = _secondary(table, STRONGEST, chosen)
    findings = []
    for pairs in asked.values():
        compared = [c for pair in pairs.values() if (c := tried.get((pair.cell, pair.against))) is not None]
        if not compared:
            continue
        verdict, words = _budget_verdict(compared)
        evidence = [entry for c in compared for entry in _both(given, c)]
        for c in compared:
            note, more = strongest.get((c.pair.cell, c.pair.against), ("", []))
            words, evidence = words + note, evidence + more
        findings.append(Finding(compared[0].pair.setting, verdict, words, _distinct(evidence)))
    return _claim(
        "budget-auc",
        "ours",
        "we say that a budget brings the attack's AUC toward 1/2, the more so the smaller epsilon is",
        findings,
        _why("it takes two budgets, or one and none, alike in all else", notes),
    )


def _budget_verdict(compared: Sequence[Comparison]) -> tuple[Verdict, str]:
    words = "; ".join(comparison.words for comparison in compared)
    lower = [c for c in compared if c.verdict == "lower"]
    higher = [c for c in compared if c.verdict == "higher"]
    if lower and higher:
        return "cannot tell", f"{words}; the two disagree"
    if higher:
        return "contradicted", words
    if not lower:
        return "cannot tell", words
    if all(abs(c.mean - 0.5) < abs(c.against_mean - 0.5) for c in lower):
        return "confirmed", f"{words}; it is {lower[0].mean:.3f} at {lower[0].pair.change}"
    return "cannot tell", f"{words}; but at {lower[0].mean:.3f} it is no nearer to 1/2"


def _direction_claim(
    table: _Table,
    name: str,
    statement: str,
    pairs: Pairs,
    measure: str,
    wanted: Direction,
    missing: str,
    *,
    secondary: str = "",
    beside: Callable[[_Table, Comparison], tuple[str, list[dict[str, Any]]]] | None = None,
) -> Claim:
    """A claim that a measure is higher, or lower, in the first cell of each pair."""
    given = table.measured(measure)
    tried = compare(given, pairs[0])
    others = _secondary(table, secondary, pairs[0]) if secondary else {}
    findings = []
    for comparison in tried:
        key = comparison.pair.cell, comparison.pair.against
        notes = [others.get(key, ("", [])), beside(table, comparison) if beside else ("", [])]
        findings.append(
            Finding(
                comparison.pair.setting,
                _judge(comparison, wanted),
                comparison.words + "".join(words for words, _ in notes),
                tuple(_both(given, comparison) + [entry for _, entries in notes for entry in entries]),
            )
        )
    return _claim(name, "paper", statement, findings, _why(missing, [*pairs[1], *tried.notes]))


def _secondary(
    table: _Table, measure: str, pairs: Sequence[Pair]
) -> dict[tuple[str, str], tuple[str, list[dict[str, Any]]]]:
    """What another measure says of the same pairs, in words and evidence; its own Holm family, and no verdict."""
    given = table.measured(measure)
    found = {}
    for c in compare(given, [pair for pair in pairs if {pair.cell, pair.against} <= set(given.values)]):
        difference, low, high = (number_words(v, measure, signed=True) for v in (c.difference, c.low, c.high))
        interval = "" if math.isnan(c.low) else f" [{low}, {high}]"
        found[c.pair.cell, c.pair.against] = f"; {measure}: {difference}{interval}, {c.verdict}", _both(given, c)
    return found


def _judge(comparison: Comparison, wanted: Direction) -> Verdict:
    if comparison.verdict == wanted:
        return "confirmed"
    return "contradicted" if comparison.verdict in ("higher", "lower") else "cannot tell"


def _claim(name: str, source: Source, statement: str, findings: Sequence[Finding], missing: str) -> Claim:
    """The verdict over all findings, and its sentence."""
    if not findings:
        return Claim(name, source, statement, "not measured", f"Not measured: {missing}.")
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
        sentence = ". ".join(
            [sentence, *(_capital(f.sentence) for f in shown), *([f"And {rest} more"] if rest else [])]
        )
    return Claim(name, source, statement, verdict, f"{_capital(sentence)}.", tuple(findings))


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


_SHOWN = 3
"""How many findings the sentence of a claim quotes."""


def _why(missing: str, notes: Iterable[str]) -> str:
    return "; ".join([missing, *dict.fromkeys(notes)])


def _both(given: Measured, compared: Comparison) -> list[dict[str, Any]]:
    """Evidence of a comparison."""
    pair = compared.pair
    sides = ((pair.cell, pair.change), (pair.against, pair.base))
    return [_evidence(given, cell, role, compared.seeds) for cell, role in sides]


def _distinct(entries: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for entry in entries:
        if entry not in found:
            found.append(entry)
    return tuple(found)


def _values(given: Measured, cell: str) -> list[float]:
    """By seed, ascending; empty where it was not measured."""
    by_seed = given.values.get(cell, {})
    return [by_seed[seed] for seed in sorted(by_seed)]


def _seeds(values: Sequence[float]) -> str:
    return "one seed" if len(values) == 1 else f"{len(values)} seeds"


def _about(cell: Cell) -> dict[str, Any]:
    columns = ("data", "skew", "target", "protected", "examples", "model", "techniques", "removed", "removal")
    epsilon = cell.epsilon if cell.private else None
    return {
        "cell": cell.id,
        "about": str(cell),
        **{name: getattr(cell, name) for name in columns},
        "epsilon": epsilon,
    }


def _evidence(given: Measured, cell: str, role: str, seeds: Sequence[int] | None = None) -> dict[str, Any]:
    seeds = sorted(given.values[cell]) if seeds is None else list(seeds)
    return {
        "role": role,
        **_about(given.cells[cell]),
        "measure": given.name_in_results(cell),
        "seeds": seeds,
        "trials": [given.trials[cell][seed] for seed in seeds],
        "values": [given.values[cell][seed] for seed in seeds],
    }
