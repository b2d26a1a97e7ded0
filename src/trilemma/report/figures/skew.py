"""AUC over the skew of the training images, with a negative control: a classifier that never saw the members."""

from __future__ import annotations

from trilemma.analysis.conditions import gathered
from trilemma.data.named import with_groups
from trilemma.measures import UNMATCHED
from trilemma.report.figure import Look, Panel, Series, look
from trilemma.report.figures.kind import HALF_LINE, NO_LEAKAGE, Conditions, Images, Kind
from trilemma.report.figures.placing import budgets_of, by_images, joined, points_of, without_removal
from trilemma.report.numbers import Numbers, PlacedCondition
from trilemma.titles import beside_skew, settings_key, telling, wording, words_of
from trilemma.words import budget, capital, clean, exact_percent, skew_words


def skew_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """Matched and unmatched AUC and those of the negative control, a panel for each budget, and for each training of
    those that comparisons do not join either."""
    skewed = [condition for condition in without_removal(conditions) if condition.skew is not None]
    kinds = (
        ("auc_strongest", "matched non-members", look(0)),
        (f"auc_strongest{UNMATCHED}", "unmatched non-members", Look("vermilion", "square", "dashed", hollow=True)),
        ("null_auc", "negative control, matched", Look("black", "plus", "dotted")),
        (f"null_auc{UNMATCHED}", "negative control, unmatched", Look("black", "cross", "dotted", hollow=True)),
    )
    panels = []
    for title, same in by_images(skewed):
        skews = sorted({condition.skew for condition in same if condition.skew is not None})
        alike = [part for epsilon in budgets_of(same) for part in _trained_alike(same, epsilon)]
        for more, chosen in alike:
            epsilon = chosen[0].epsilon
            placed = [(float(skews.index(c.skew)), skew_words(c.skew), c) for c in chosen if c.skew is not None]
            series = tuple(Series(name, points_of(numbers, placed, measure), seen) for measure, name, seen in kinds)
            panels.append(
                Panel(
                    joined(title, budget(epsilon), more) if title else capital(joined(budget(epsilon), more)),
                    "AUC of the strongest attack",
                    "skew of the training images",
                    series if any(s.points for s in series[:2]) else (),
                    ticks=tuple((float(index), exact_percent(s)) for index, s in enumerate(skews)),
                    y_reference=NO_LEAKAGE,
                    share="auc",
                )
            )
    return panels


def _trained_alike(conditions: Conditions, epsilon: float | None) -> list[tuple[str, list[PlacedCondition]]]:
    """The conditions with this budget by their skew, those that differ in nothing else together; and what tells these
    from the others, in words."""
    chosen = sorted((c for c in conditions if c.epsilon == epsilon), key=lambda c: c.skew or 0.0)
    parts = gathered(chosen, lambda c: settings_key(beside_skew(c.settings)))
    settings = [beside_skew(part[0].settings) for part in parts]
    keys, words = telling([settings]), wording(settings)
    return [(clean(words_of(own, keys, words)), part) for own, part in zip(settings, parts, strict=True)]


SKEW = Kind(
    "Skew, or leakage?",
    "AUC of the strongest attack as the training images become more skewed. Against matched non-members it measures "
    "leakage; against the whole, balanced test set (unmatched) it also measures the skew. The negative control (black; "
    "AUC of the loss threshold) is a classifier that never saw the members: it must lie at ½ wherever an AUC means "
    "leakage.",
    (("auc_strongest",), (f"auc_strongest{UNMATCHED}",)),
    "its data has no skewed groups, so matched and unmatched AUCs are the same; use one of "
    f"{with_groups(skewed=True)}, or leave the figure out",
    skew_panels,
    (HALF_LINE,),
)
