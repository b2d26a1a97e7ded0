"""The figure of what removing the most exposed examples does, compared with removing as many at random."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from trilemma.measures import measure_of
from trilemma.report.figure import Look, Panel, Series
from trilemma.report.figures.kind import HALF_LINE, NO_LEAKAGE, Conditions, Images, Kind
from trilemma.report.figures.placing import budget_looks, budgets_of, by_techniques, joined, points_of
from trilemma.report.numbers import Numbers, PlacedCondition
from trilemma.words import RANK_WORDS, budget, exact_percent, ranking_words, removed_words

_OVER_REMOVAL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("accuracy", {}),
    ("auc_strongest", {"y_reference": NO_LEAKAGE}),
    ("bias", {"floor": 0.0}),
)


def _arms(rank: str) -> tuple[tuple[str, str], ...]:
    first = removed_words("exposed", rank).removeprefix("the ")
    return ("exposed", f"{first} removed"), ("random", "as many at random")


def _ranks(conditions: Conditions) -> list[str]:
    """What ranked the examples, in order of appearance."""
    return list(dict.fromkeys(condition.rank for condition in conditions if condition.removal))


def _of_rank(conditions: Conditions, rank: str) -> list[PlacedCondition]:
    """The conditions without those whose examples something else ranked."""
    return [condition for condition in conditions if not condition.removal or condition.rank == rank]


def removal_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """Accuracy, AUC and bias over the share removed; and how exposed the survivors are, before and after."""
    removing = {(condition.setting, condition.codes) for condition in conditions if condition.removal}
    counted = [condition for condition in conditions if (condition.setting, condition.codes) in removing]
    looks = budget_looks(counted)
    panels = []
    ranks = _ranks(counted)
    for rank, (techniques, alike) in itertools.product(ranks, by_techniques(counted)):
        title = joined(techniques, *([ranking_words(rank)] if len(ranks) > 1 else []))
        same = _of_rank(alike, rank)
        for measure, options in _OVER_REMOVAL:
            y_title = measure_of(measure).axis
            series = []
            for epsilon in budgets_of(same):
                of_budget = [condition for condition in same if condition.epsilon == epsilon]
                for arm, words in _arms(rank):
                    seen = looks[epsilon] if arm == "exposed" else replace(looks[epsilon], hollow=True, dash="dotted")
                    placed = _along_shares(of_budget, arm)
                    if any(condition.removal for _, _, condition in placed):
                        name = f"{words}, {budget(epsilon)}"
                        series.append(Series(name, points_of(numbers, placed, measure), seen))
            panels.append(
                Panel(
                    joined(title, y_title),
                    y_title,
                    "share of the training examples removed",
                    tuple(series),
                    ticks=_share_ticks(same),
                    **options,
                )
            )
        for epsilon in budgets_of(same):
            of_budget = [condition for condition in same if condition.epsilon == epsilon]
            panels.append(_survivors(numbers, title, of_budget, epsilon, rank))
    return panels


def _survivors(numbers: Numbers, title: str, conditions: Conditions, epsilon: float | None, rank: str) -> Panel:
    inks = {"exposed": ("green", "triangle"), "random": ("purple", "diamond")}
    series = []
    for arm, words in _arms(rank):
        placed = [place for place in _along_shares(conditions, arm) if place[2].removal]
        ink, marker = inks[arm]
        for measure, when, seen in (
            ("exposed_survivors_before", "before", Look(ink, marker, "dotted", hollow=True)),
            ("exposed_survivors", "after", Look(ink, marker)),
        ):
            series.append(Series(f"{words}: survivors {when}", points_of(numbers, placed, measure), seen))
    return Panel(
        joined(title, "survivors above the cut", budget(epsilon)),
        "share of survivors above the cut",
        "share of the training examples removed",
        tuple(series),
        ticks=_share_ticks([condition for condition in conditions if condition.removal]),
        floor=0.0,
        share=f"survivors {title}",
    )


def _along_shares(conditions: Conditions, arm: str) -> list[tuple[float, str, PlacedCondition]]:
    """The whole training set, where both arms begin, then ever more removed."""
    chosen = sorted((c for c in conditions if c.removal in ("", arm)), key=lambda c: c.removed)
    return [(c.removed, f"{exact_percent(c.removed)} removed" if c.removal else "none removed", c) for c in chosen]


def _share_ticks(conditions: Conditions) -> tuple[tuple[float, str], ...]:
    return tuple((share, exact_percent(share)) for share in sorted({condition.removed for condition in conditions}))


OUTLIERS = Kind(
    "Removing the most exposed examples",
    "Models trained again without the examples that a ranking puts first, and a control trained without as many at "
    f"random. Shadow attacks (RMIA, LiRA) rank by exposure; {RANK_WORDS['histogram']}, which the paper used, does not. "
    "Survivors: the share of the remaining examples whose score reaches the removed layer’s cut, in the model that "
    "ranked them (before) and in the new one (after). A model without a budget chose which examples to remove, "
    "so no guarantee covers the choice.",
    (("exposed_survivors",), ("accuracy",)),
    "no grid has a removal; give one a removal, or leave the figure out",
    removal_panels,
    (HALF_LINE,),
)
