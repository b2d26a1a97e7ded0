"""The figures by name: which numbers each draws, and what a study must measure so that it can be drawn.

Pure: from a table of results to values (:mod:`trilemma.report.figure`); what they look like is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd

from trilemma import measures
from trilemma.analysis.turning_points import GAP
from trilemma.data.named import may_have_groups, same_images
from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.measures import ATTACK_WORDS, UNMATCHED
from trilemma.report.figure import Figure, Look, Panel, Point, Series, look
from trilemma.report.figures.axes import TechniquesAxis, techniques_axes
from trilemma.report.figures.memorization import memorization_panels
from trilemma.report.numbers import Numbers, PlacedCell, setting_titles
from trilemma.words import budget, budget_order, capital, clean, epsilon_tick, mix, number, percent

NO_LEAKAGE = 0.5
"""The AUC of an attack that cannot tell members from others."""

BUDGET = "budget ε"
"""Title of the axis where budgets stand in place of techniques."""

Pictures = Mapping[str, bytes]
Cells = Sequence[PlacedCell]


@dataclass(frozen=True)
class Kind:
    """An entry of the catalog.

    Attributes:
      title, about: for people; ``about`` says how to read it.
      needs: measures without which nothing can be drawn: one of each tuple; "accuracy_in_" means any that begins so.
      lack: why a study may not have them, and what to do.
      panels: makes them.
      references: what the reference lines mean.
    """

    title: str
    about: str
    needs: tuple[tuple[str, ...], ...]
    lack: str
    panels: Callable[[Numbers, Cells, Pictures], list[Panel]]
    references: tuple[str, ...] = ()


class PlannedStudy(Protocol):
    """What :func:`check_figures` asks of a study (``trilemma.study.trials.Study`` has it)."""

    @property
    def name(self) -> str: ...
    @property
    def figures(self) -> Sequence[str]: ...
    @property
    def trials(self) -> Sequence[Any]: ...


def check_figures(study: PlannedStudy) -> None:
    """Refuse, before anything is trained, a figure that does not exist or that no trial of the study can fill.

    Raises:
      InputError: naming the figure and the measure.
    """
    made: set[str] = set()
    for trial in study.trials:
        made |= planned_measures(dict(trial.data), tracks=bool(trial.track), removes=trial.removal is not None)
    check_names(study.figures, made, of=f"the study {study.name}")


def check_names(names: Iterable[str], measures: Iterable[str], *, of: str = "the study") -> None:
    """Refuse unknown figures, and those that need a measure which is not among ``measures``.

    >>> check_names(["accuracy"], ["accuracy"])

    Raises:
      InputError: naming the figure and the measure.
    """
    made = set(measures)
    for name in names:
        if name not in FIGURES:
            raise InputError(
                f"unknown figure {clean(name)!r} of {of}{did_you_mean(name, FIGURES)}: choose from {', '.join(FIGURES)}"
            )
        lacking = _lacking(FIGURES[name], made)
        if lacking:
            raise InputError(
                f"the figure {name!r} of {of} needs the measure {lacking}, which no trial makes: {FIGURES[name].lack}"
            )


def planned_measures(data: Mapping[str, Any], *, tracks: bool, removes: bool) -> set[str]:
    """Measures that a trial on this data will make, as far as its plan tells; what is unknown counts as made.

    Args:
      data: arguments of ``load_data``.
      tracks: whether it records examples on the way.
      removes: whether it leaves out examples.
    """
    groups = may_have_groups(str(data.get("name")))
    return measures.planned_measures(groups=groups, tracks=tracks, removes=removes)


def draw_numbers(
    name: str, results: pd.DataFrame, study: Mapping[str, Any], *, pictures: Pictures | None = None
) -> Figure:
    """The numbers of one figure.

    Args:
      name: out of ``FIGURES``.
      results: the rows that count, as ``trilemma.analysis.results.read_results`` gives them.
      study: ``study.json``.
      pictures: PNGs of tracked examples by "TRIAL/INDEX" or "INDEX".

    Returns:
      A figure; without panels where nothing that it needs was measured yet.

    Raises:
      InputError: no such figure.
    """
    check_names([name], [part for kind in FIGURES.values() for one in kind.needs for part in one])
    return figure_of(name, Numbers(results, study), pictures=pictures)


def figure_of(
    name: str, numbers: Numbers, cells: Iterable[PlacedCell] | None = None, *, pictures: Pictures | None = None
) -> Figure:
    """As :func:`draw_numbers`, from numbers that were read before; ``cells``: those that count."""
    kind = FIGURES[name]
    chosen = list(numbers.cells.values() if cells is None else cells)
    panels = [_filled(panel) for panel in kind.panels(numbers, chosen, pictures or {})]
    panels = [panel for panel in panels if panel.series]
    title = kind.title
    if panels and all(panel.x_title == BUDGET for panel in panels):
        title = title.replace("by technique", "by budget")
    return Figure(name, title, kind.about, tuple(panels), kind.references if panels else ())


def _filled(panel: Panel) -> Panel:
    return replace(panel, series=tuple(s for s in panel.series if s.points))


def _lacking(kind: Kind, made: set[str]) -> str:
    for alternatives in kind.needs:
        ends = tuple(name for name in alternatives if name.endswith(("_", "/")))
        if not made & set(alternatives) and not (ends and any(name.startswith(ends) for name in made)):
            return " or ".join(name.rstrip("_/") for name in alternatives)
    return ""


# Where cells stand


def _whole(cells: Cells) -> list[PlacedCell]:
    """Those trained on all their examples."""
    return [cell for cell in cells if not cell.removal]


def _settings(cells: Cells) -> list[tuple[str, list[PlacedCell]]]:
    """(title, its cells) of each setting: the study's order of data, each from the least skew to the largest."""
    titles = setting_titles(cells)
    data = list(dict.fromkeys(cell.data for cell in cells))
    by: dict[str, list[PlacedCell]] = {}
    for cell in sorted(cells, key=lambda cell: (data.index(cell.data), cell.skew or 0.0)):
        by.setdefault(cell.setting, []).append(cell)
    return [(titles[key], same) for key, same in by.items()]


def _budgets(cells: Cells) -> list[float | None]:
    """Without a budget first, then from the loosest to the tightest."""
    return sorted({cell.epsilon for cell in cells}, key=budget_order, reverse=True)


def _budget_looks(cells: Cells) -> dict[float | None, Look]:
    """No budget is solid, every budget dashed."""
    found = {epsilon: look(at) for at, epsilon in enumerate(_budgets(cells))}
    return {e: seen if e is None else replace(seen, dash="dashed") for e, seen in found.items()}


def _points(numbers: Numbers, placed: Iterable[tuple[float, str, PlacedCell]], measure: str) -> tuple[Point, ...]:
    found = [(x, at, numbers.get(cell, measure)) for x, at, cell in placed]
    return tuple(Point(x, at, y) for x, at, y in found if y is not None)


def _join(*words: str) -> str:
    return ", ".join(word for word in words if word)


def _along(axis: TechniquesAxis, cells: Cells) -> list[tuple[float, str, PlacedCell]]:
    """Cells at their place on the axis."""
    place = {m: (float(at), label) for at, (m, label) in enumerate(zip(axis.mixes, axis.labels, strict=True))}
    found = [(*place[cell.codes], cell) for cell in cells if cell.codes in place]
    return sorted(found, key=lambda one: one[0])


def _along_budgets(cells: Cells) -> list[tuple[float, str, PlacedCell]]:
    """From the tightest budget to none."""
    order = sorted({cell.epsilon for cell in cells}, key=budget_order)
    found = [(float(order.index(c.epsilon)), budget(c.epsilon), c) for c in cells]
    return sorted(found, key=lambda one: one[0])


def _budget_ticks(cells: Cells) -> tuple[tuple[float, str], ...]:
    order = sorted({cell.epsilon for cell in cells}, key=budget_order)
    return tuple((float(at), epsilon_tick(epsilon)) for at, epsilon in enumerate(order))


# Figures over techniques


def _over_techniques(
    numbers: Numbers, cells: Cells, measure: str, y_title: str, *, companion: str = "", **options: Any
) -> list[Panel]:
    """One measure over techniques, a panel for each setting, a series for each budget.

    Where a setting has one combination of techniques at several budgets, the budgets make the axis.
    """
    whole = _whole(cells)
    looks = _budget_looks(whole)
    panels = []
    for title, same in _settings(whole):
        mixes = list(dict.fromkeys(cell.codes for cell in same))
        if len(mixes) == 1 and len(_budgets(same)) > 1:
            line = Series(mix(mixes[0]), _points(numbers, _along_budgets(same), measure), look(0))
            faint = replace(look(0), faint=True, hollow=True, dash="dotted")
            beside = Series(f"{mix(mixes[0])}, train", _points(numbers, _along_budgets(same), companion), faint)
            panels.append(
                Panel(
                    title,
                    _terms(numbers, same, y_title),
                    BUDGET,
                    (line, beside),
                    ticks=_budget_ticks(same),
                    **options,
                )
            )
            continue
        for axis in techniques_axes(mixes):
            series, faint_series = [], []
            for epsilon in _budgets(same):
                placed = _along(axis, [cell for cell in same if cell.epsilon == epsilon])
                seen = replace(looks[epsilon], joined=axis.path)
                series.append(Series(budget(epsilon), _points(numbers, placed, measure), seen))
                faint = replace(seen, faint=True, hollow=True, dash="dotted")
                faint_series.append(Series(f"{budget(epsilon)}, train", _points(numbers, placed, companion), faint))
            ticks = tuple((float(at), label) for at, label in enumerate(axis.labels))
            panels.append(
                Panel(
                    title,
                    _terms(numbers, same, y_title),
                    axis.title,
                    (*series, *faint_series),
                    ticks=ticks,
                    **options,
                )
            )
    return panels


def _terms(numbers: Numbers, cells: Cells, y_title: str) -> str:
    """The score says of how many terms it is."""
    if y_title != "score":
        return y_title
    fair = any(numbers.get(cell, "bias") is not None for cell in cells)
    return f"score ({'three terms' if fair else 'two terms, no groups'})"


def _accuracy(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    return _over_techniques(numbers, cells, "accuracy", "accuracy", companion="train_accuracy")


def _bias(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    return _over_techniques(numbers, cells, "bias", "bias", floor=0.0)


def _score(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    return _over_techniques(numbers, cells, "harmonic_score", "score", span=0.2)


def _leakage(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    """A panel for each setting and budget, a series for each attack, matched and naive."""
    panels = []
    for title, same in _settings(_whole(cells)):
        mixes = list(dict.fromkeys(cell.codes for cell in same))
        for axis in techniques_axes(mixes):
            for epsilon in _budgets(same):
                placed = _along(axis, [cell for cell in same if cell.epsilon == epsilon])
                series = []
                for naive in (False, True):
                    for at, (attack, words) in enumerate(ATTACK_WORDS.items()):
                        seen = replace(look(at), hollow=naive, joined=axis.path, dash="dotted" if naive else "")
                        name = f"{words}, naive" if naive else words
                        measure = f"auc_{attack}{UNMATCHED if naive else ''}"
                        series.append(Series(name, _points(numbers, placed, measure), seen))
                panels.append(
                    Panel(
                        _join(title, budget(epsilon)),
                        "AUC",
                        axis.title,
                        tuple(series),
                        ticks=tuple((float(at), label) for at, label in enumerate(axis.labels)),
                        y_reference=NO_LEAKAGE,
                        share=title or "all",
                        summary=_leakage_summary(series),
                    )
                )
    return panels


def _leakage_summary(series: Sequence[Series]) -> str:
    """From where to where the attacks' AUCs lie at either end of the axis."""
    parts = []
    for kind in ("matched", "naive"):
        lines = [s.points for s in series if s.points and s.name.endswith(", naive") == (kind == "naive")]
        ends = []
        for at in (0, -1):
            values = [points[at].y.value for points in lines]
            if values:
                ends.append(f"{number(min(values))} to {number(max(values))} at {lines[0][at].at}")
        if ends:
            parts.append(f"{kind}: {' → '.join(dict.fromkeys(ends))}")
    return " · ".join(parts)


def _groups(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    """A panel for each setting and budget, a series for each group."""
    panels = []
    for title, same in _settings(_whole(cells)):
        names = [m for m in numbers.measures if m.startswith("accuracy_in_")]
        names = [m for m in names if any(numbers.get(cell, m) for cell in same)]
        for axis in techniques_axes(list(dict.fromkeys(cell.codes for cell in same))):
            for epsilon in _budgets(same):
                placed = _along(axis, [cell for cell in same if cell.epsilon == epsilon])
                series = [
                    Series(
                        clean(name.removeprefix("accuracy_in_")),
                        _points(numbers, placed, name),
                        replace(look(at), joined=axis.path),
                    )
                    for at, name in enumerate(names)
                ]
                worst = Look("black", "cross", "dotted", faint=True, joined=axis.path)
                series.append(Series("worst class and group", _points(numbers, placed, "worst_cell_accuracy"), worst))
                panels.append(
                    Panel(
                        _join(title, budget(epsilon)),
                        "accuracy in the group",
                        axis.title,
                        tuple(series) if names else (),
                        ticks=tuple((float(at), label) for at, label in enumerate(axis.labels)),
                        share=title or "all",
                    )
                )
    return panels


def _tradeoff(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    """Accuracy against the strongest attack's AUC, and against bias; a point for each combination of techniques."""
    whole = _whole(cells)
    looks = _budget_looks(whole)
    panels = []
    for title, same in _settings(whole):
        for axis in techniques_axes(list(dict.fromkeys(cell.codes for cell in same))):
            for measure, x_title in (("auc_strongest", "AUC of the strongest attack"), ("bias", "bias")):
                series = []
                for epsilon in _budgets(same):
                    points = []
                    for _, label, cell in _along(axis, [cell for cell in same if cell.epsilon == epsilon]):
                        y, across = numbers.get(cell, "accuracy"), numbers.get(cell, measure)
                        if y is not None and across is not None:
                            points.append(Point(across.value, label, y, across))
                    seen = replace(looks[epsilon], joined=axis.path)
                    series.append(Series(budget(epsilon), tuple(points), seen, labelled=True))
                words = "accuracy and bias" if measure == "bias" else "accuracy and leakage"
                panels.append(
                    Panel(
                        _join(title, *([] if axis.path else [axis.title]), words),
                        "accuracy",
                        x_title,
                        tuple(series),
                        x_reference=NO_LEAKAGE if measure == "auc_strongest" else None,
                    )
                )
    return panels


# Figures over budget, skew, removal


_OVER_BUDGET: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("accuracy", "accuracy", {}),
    ("auc_strongest", "AUC, matched", {"y_reference": NO_LEAKAGE, "share": "auc"}),
    (f"auc_strongest{UNMATCHED}", "AUC, naive", {"y_reference": NO_LEAKAGE, "share": "auc"}),
    ("bias", "bias", {"floor": 0.0}),
    ("harmonic_score", "score", {"span": 0.2}),
)


def _families(cells: Cells) -> list[tuple[str, list[PlacedCell]]]:
    """(title, its cells) for data of the same pictures, whatever its skew, one combination of techniques at a time."""
    by: dict[tuple[str, str, tuple[str, ...]], list[PlacedCell]] = {}
    for cell in cells:
        by.setdefault((same_images(cell.data), cell.model, cell.codes), []).append(cell)
    parts = [
        [clean(name) for name, _, _ in by],
        [mix(codes) for _, _, codes in by],
        [clean(model) for _, model, _ in by],
    ]
    telling = [part for part in parts if len(set(part)) > 1]
    return [(_join(*(part[at] for part in telling)), same) for at, same in enumerate(by.values())]


def _over_budget(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    """A panel for each measure, a series for each skew."""
    whole = _whole(cells)
    panels = []
    for title, same in _families(whole):
        settings = _settings(same)
        for measure, y_title, options in _OVER_BUDGET:
            series = [
                Series(name, _points(numbers, _along_budgets_of(same, part), measure), look(at))
                for at, (name, part) in enumerate(settings)
            ]
            panels.append(
                Panel(
                    _join(title, y_title) if title else capital(y_title),
                    y_title,
                    BUDGET,
                    tuple(series),
                    ticks=_budget_ticks(same),
                    note=_mixed_terms(numbers, same) if measure == "harmonic_score" else "",
                    **options,
                )
            )
    return panels


def _mixed_terms(numbers: Numbers, cells: Cells) -> str:
    """Scores of two and of three terms in one panel are not of one kind."""
    fair = {numbers.get(cell, "bias") is not None for cell in cells}
    return "data without groups has a score of two terms, the others of three" if len(fair) > 1 else ""


def _along_budgets_of(family: Cells, cells: Cells) -> list[tuple[float, str, PlacedCell]]:
    """As :func:`_along_budgets`, at the places of the whole family's axis."""
    order = sorted({cell.epsilon for cell in family}, key=budget_order)
    found = [(float(order.index(c.epsilon)), budget(c.epsilon), c) for c in cells]
    return sorted(found, key=lambda one: one[0])


def _over_skew(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    """Naive and matched AUC, a panel for each budget; beside them a classifier that never saw the members."""
    skewed = [cell for cell in _whole(cells) if cell.skew is not None]
    kinds = (
        ("auc_strongest", "matched non-members", look(0)),
        (f"auc_strongest{UNMATCHED}", "naive non-members", Look("vermilion", "square", "dashed", hollow=True)),
        ("null_auc", "never saw the members, matched", Look("black", "plus", "dotted")),
        (f"null_auc{UNMATCHED}", "never saw the members, naive", Look("black", "cross", "dotted", hollow=True)),
    )
    panels = []
    for title, same in _families(skewed):
        skews = sorted({cell.skew for cell in same if cell.skew is not None})
        for epsilon in _budgets(same):
            chosen = sorted((c for c in same if c.epsilon == epsilon), key=lambda c: c.skew or 0.0)
            placed = [(float(skews.index(c.skew)), f"skew {percent(c.skew)}", c) for c in chosen if c.skew is not None]
            series = tuple(Series(name, _points(numbers, placed, measure), seen) for measure, name, seen in kinds)
            panels.append(
                Panel(
                    _join(title, budget(epsilon)) if title else capital(budget(epsilon)),
                    "AUC of the strongest attack",
                    "skew of the training images",
                    series if any(s.points for s in series[:2]) else (),
                    ticks=tuple((float(at), percent(s)) for at, s in enumerate(skews)),
                    y_reference=NO_LEAKAGE,
                    share="auc",
                )
            )
    return panels


_OVER_REMOVAL: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("accuracy", "accuracy", {}),
    ("auc_strongest", "AUC, matched", {"y_reference": NO_LEAKAGE}),
    ("bias", "bias", {"floor": 0.0}),
)

_ARMS = (("exposed", "most exposed removed"), ("random", "as many at random"))


def _outliers(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    """Accuracy, AUC and bias over the share removed; and how exposed the survivors are, before and after."""
    removing = {(cell.setting, cell.codes) for cell in cells if cell.removal}
    counted = [cell for cell in cells if (cell.setting, cell.codes) in removing]
    looks = _budget_looks(counted)
    panels = []
    for title, same in _by_mix(counted):
        for measure, y_title, options in _OVER_REMOVAL:
            series = []
            for epsilon in _budgets(same):
                of_budget = [cell for cell in same if cell.epsilon == epsilon]
                for arm, words in _ARMS:
                    seen = looks[epsilon] if arm == "exposed" else replace(looks[epsilon], hollow=True, dash="dotted")
                    placed = _along_shares(of_budget, arm)
                    if any(cell.removal for _, _, cell in placed):
                        name = f"{words}, {budget(epsilon)}"
                        series.append(Series(name, _points(numbers, placed, measure), seen))
            panels.append(
                Panel(
                    _join(title, y_title),
                    y_title,
                    "share of the training examples removed",
                    tuple(series),
                    ticks=_share_ticks(same),
                    **options,
                )
            )
        for epsilon in _budgets(same):
            panels.append(_survivors(numbers, title, [cell for cell in same if cell.epsilon == epsilon], epsilon))
    return panels


def _survivors(numbers: Numbers, title: str, cells: Cells, epsilon: float | None) -> Panel:
    inks = {"exposed": ("green", "triangle"), "random": ("purple", "diamond")}
    series = []
    for arm, words in _ARMS:
        placed = [one for one in _along_shares(cells, arm) if one[2].removal]
        ink, marker = inks[arm]
        for measure, when, seen in (
            ("exposed_survivors_before", "before", Look(ink, marker, "dotted", hollow=True)),
            ("exposed_survivors", "after", Look(ink, marker)),
        ):
            series.append(Series(f"{words}: survivors {when}", _points(numbers, placed, measure), seen))
    return Panel(
        _join(title, "exposed survivors", budget(epsilon)),
        "share of survivors still exposed",
        "share of the training examples removed",
        tuple(series),
        ticks=_share_ticks([cell for cell in cells if cell.removal]),
        floor=0.0,
        share=f"survivors {title}",
    )


def _by_mix(cells: Cells) -> list[tuple[str, list[PlacedCell]]]:
    """Settings, one combination of techniques at a time; it is named where there are several."""
    found = []
    for title, same in _settings(cells):
        mixes = list(dict.fromkeys(cell.codes for cell in same))
        for codes in mixes:
            name = _join(title, mix(codes)) if len(mixes) > 1 else title
            found.append((name, [cell for cell in same if cell.codes == codes]))
    return found


def _along_shares(cells: Cells, arm: str) -> list[tuple[float, str, PlacedCell]]:
    """The whole training set, where both arms begin, then ever more removed."""
    chosen = sorted((c for c in cells if c.removal in ("", arm)), key=lambda c: c.removed)
    return [(c.removed, f"{percent(c.removed)} removed" if c.removal else "none removed", c) for c in chosen]


def _share_ticks(cells: Cells) -> tuple[tuple[float, str], ...]:
    return tuple((share, percent(share)) for share in sorted({cell.removed for cell in cells}))


def _memorization(numbers: Numbers, cells: Cells, pictures: Pictures) -> list[Panel]:
    return [
        panel
        for title, same in _settings(_whole(cells))
        for panel in memorization_panels(numbers, same, title, pictures)
    ]


_GROUPS_LACK = "its data has no groups; use digits-s, cifar10s, celeba or pictures with groups, or leave the figure out"
_ATTACKS = tuple(f"auc_{name}" for name in ATTACK_WORDS)
_HALF = "line at ½: an attack that cannot tell members from others"

FIGURES: dict[str, Kind] = {
    "accuracy": Kind(
        "Accuracy by technique",
        "Test accuracy on the balanced test set. Faint, dotted: accuracy on the training "
        "images, which no guarantee covers.",
        (("accuracy",),),
        "every finished trial has it",
        _accuracy,
    ),
    "bias": Kind(
        "Bias by technique",
        "Bias amplification on the balanced test set: 0 is best, 0.5 the worst for two groups.",
        (("bias",),),
        _GROUPS_LACK,
        _bias,
    ),
    "leakage": Kind(
        "Leakage by technique",
        "AUC of four membership-inference attacks. Filled: against matched non-members, which is leakage. Hollow and "
        "dotted: against the whole test set (naive), which on skewed data also sees the skew.",
        (_ATTACKS,),
        "no attack was made",
        _leakage,
        (_HALF,),
    ),
    "score": Kind(
        "Harmonic score by technique",
        "The harmonic mean of accuracy, privacy and (where there are groups) fairness: 1 is best. Read it with its "
        "terms, which are in the table.",
        (("harmonic_score",),),
        "every finished trial has it",
        _score,
    ),
    "budget": Kind(
        "What a budget costs",
        "From the tightest budget to none (∞), a series for each skew of the training images.",
        (("accuracy",), ("auc_strongest",)),
        "every finished trial has it",
        _over_budget,
        (_HALF,),
    ),
    "skew": Kind(
        "Skew, or leakage?",
        "AUC of the strongest attack as the training images become more skewed. Against matched non-members it is "
        "leakage; against the whole, balanced test set (naive) it also sees the skew: a classifier that never saw the "
        "members (black; its loss threshold’s AUC) must lie at ½ where an AUC means leakage.",
        (("auc_strongest",), (f"auc_strongest{UNMATCHED}",)),
        "its data has no skewed groups, so that matched and naive are the same; use cifar10s or digits-s, or leave "
        "the figure out",
        _over_skew,
        (_HALF,),
    ),
    "outliers": Kind(
        "Removing the most exposed examples",
        "Trained again without the examples of highest membership probability, beside a control that lost as many at "
        "random. Survivors: the share of what was left that is at least as exposed as what was removed, in the model "
        "that scored them (before) and in the new one (after). Whom to remove was chosen by a model without a budget, "
        "so no guarantee covers the choice.",
        (("exposed_survivors",), ("accuracy",)),
        "no grid has a removal; give one a removal, or leave the figure out",
        _outliers,
        (_HALF,),
    ),
    "memorization": Kind(
        "Memorisation over time",
        "Accuracy, the loss attack’s AUC and one training example’s membership probability while the network learns. "
        "The example is the tracked one that ends most exposed without a budget (chosen by looking); the others are "
        f"faint. Upright lines, medians over the trainings: ES, early stopping, the best test accuracy; M, from where "
        "on the attack’s AUC stays above chance; OF, overfitting, from where on train accuracy exceeds test accuracy "
        f"by more than {number(GAP, 2)}. Everything but test accuracy is measured with the training images.",
        (("membership_probability/",),),
        "no grid tracks examples; give one track = {label = 0, first = 1}, or leave the figure out",
        _memorization,
        (_HALF,),
    ),
    "tradeoff": Kind(
        "Accuracy, leakage and bias at once",
        "Each point is one combination of techniques, with its interval both ways; lines lead from the baseline (BL) "
        "on, one technique after another. Up is more accurate; nearer to the dashed line, and further left on the "
        "bias axis, is better.",
        (("accuracy",), ("auc_strongest",)),
        "every finished trial has it",
        _tradeoff,
        ("upright line at ½: no leakage; distance to either side counts",),
    ),
    "groups": Kind(
        "Accuracy by group",
        "Test accuracy in each group, and in the class and group that fare worst.",
        (("accuracy_in_",),),
        _GROUPS_LACK,
        _groups,
    ),
}
"""The figures by name."""
