"""One training example while a network learns: when it is learned, and when it begins to stand out as a member."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from trilemma.analysis.turning_points import GAP, turning_points
from trilemma.errors import InputError
from trilemma.measures import measure_of
from trilemma.report.figure import Look, Panel, Point, Series
from trilemma.report.figures.kind import HALF_LINE, Conditions, Images, Kind
from trilemma.report.figures.placing import by_setting, without_removal
from trilemma.report.numbers import Number, Numbers, PlacedCondition
from trilemma.words import budget, clean, mix, number

PROBABILITY = "membership_probability/"

_LINES = (
    ("accuracy", "test accuracy", Look("blue", "circle")),
    ("train_accuracy", measure_of("train_accuracy").title, Look("blue", "circle", "dashed", hollow=True)),
    ("auc_threshold", measure_of("auc_threshold").title, Look("green", "triangle", "dotted")),
)
_FEATURED = Look("vermilion", "square")
_OTHERS = Look("black", "plus", "dotted", faint=True)


def memorization_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """A panel for each training, setting by setting."""
    return [
        panel
        for title, same in by_setting(without_removal(conditions))
        for panel in _of_setting(numbers, same, title, images)
    ]


def _of_setting(
    numbers: Numbers, conditions: Sequence[PlacedCondition], title: str, images: Mapping[str, bytes]
) -> list[Panel]:
    """A panel for each training of one setting; the same example is in the foreground of all."""
    tracking = [condition for condition in conditions if _tracked(numbers, condition)]
    if not tracking:
        return []
    featured = _most_exposed(numbers, tracking)
    panels = []
    for condition in tracking:
        series = [_series(name, numbers.during_training(condition, measure), look) for measure, name, look in _LINES]
        for index in _tracked(numbers, condition):
            probabilities = numbers.during_training(condition, PROBABILITY + index)
            if index == featured:
                name = f"membership probability of example {clean(featured)}"
                series.append(_series(name, probabilities, _FEATURED))
            else:
                series.insert(0, _series("membership probability of other examples", probabilities, _OTHERS))
        marks = turning_marks(numbers, condition)
        panels.append(
            Panel(
                ", ".join(word for word in (title, mix(condition.codes), budget(condition.epsilon)) if word),
                "accuracy, AUC, probability",
                "update",
                tuple(series),
                y_reference=0.5,
                share="memorization",
                marks=_marks(marks),
                image=_image(images, condition, featured),
                image_text=f"Training example {clean(featured)}, whose membership probability is drawn",
                summary=_ends(series),
                note=_note(marks),
            )
        )
    return panels


def turning_marks(numbers: Numbers, condition: PlacedCondition) -> dict[str, tuple[float, int, int]]:
    """The onset of something: (median update over the trainings in which it begins, their number, the number of all).

    ES early stopping, M memorization, OF overfitting: see :func:`trilemma.analysis.turning_points.turning_points`.  A
    training whose history lacks something is left out.
    """
    updates_by_mark: dict[str, list[float]] = {"ES": [], "M": [], "OF": []}
    count = 0
    for history in numbers.histories(condition).values():
        try:
            points = turning_points(history)
        except InputError:
            continue
        count += 1
        for name, update in zip(
            updates_by_mark, (points.early_stopping, points.memorization, points.overfitting), strict=True
        ):
            if update is not None:
                updates_by_mark[name].append(float(update))
    return {
        name: (statistics.median(updates), len(updates), count) for name, updates in updates_by_mark.items() if updates
    }


def _marks(marks: Mapping[str, tuple[float, int, int]]) -> tuple[tuple[float, str], ...]:
    """Vertical lines; what begins at one update has one."""
    by: dict[float, list[str]] = {}
    for name, (update, _, _) in marks.items():
        by.setdefault(update, []).append(name)
    return tuple((update, ", ".join(names)) for update, names in sorted(by.items()))


def _note(marks: Mapping[str, tuple[float, int, int]]) -> str:
    """What the marks mean in numbers."""
    words = {"ES": "best test accuracy (ES)", "M": "memorization begins (M)", "OF": "overfitting begins (OF)"}
    parts = []
    for name, text in words.items():
        if name not in marks:
            if marks:
                parts.append(f"{text}: never")
            continue
        update, reached, count = marks[name]
        part = "" if reached == count else f", in {reached} of {count} trainings"
        parts.append(f"{text} at update {number(update, 0)}{part}")
    return "; ".join(parts)


def _ends(series: Sequence[Series]) -> str:
    """The last values of the main curves."""
    ends = [f"{s.name} {number(s.points[-1].y.value)}" for s in series if s.points and not s.look.faint]
    return f"at the end {', '.join(ends)}"


def _series(name: str, numbers_over_time: Sequence[Number], look: Look) -> Series:
    points = (Point(value.update, f"update {number(value.update, 0)}", value) for value in numbers_over_time)
    return Series(name, tuple(points), look)


def _tracked(numbers: Numbers, condition: PlacedCondition) -> list[str]:
    measures = numbers.measured_during_training(condition)
    names = [measure.removeprefix(PROBABILITY) for measure in measures if measure.startswith(PROBABILITY)]
    return sorted(names, key=lambda name: (len(name), name))


def _most_exposed(numbers: Numbers, conditions: Sequence[PlacedCondition]) -> str:
    """The tracked example with the highest mean membership probability at the end, without a budget if there is such.

    Chosen by looking at the results: that is why the other tracked examples are drawn too.
    """
    ordinary = [condition for condition in conditions if not condition.private] or list(conditions)
    ends: dict[str, list[float]] = {}
    for condition in ordinary:
        for index in _tracked(numbers, condition):
            ends.setdefault(index, []).append(numbers.during_training(condition, PROBABILITY + index)[-1].value)
    return max(ends, key=lambda index: sum(ends[index]) / len(ends[index]))


def _image(images: Mapping[str, bytes], condition: PlacedCondition, index: str) -> bytes | None:
    names = [*(f"{trial}/{index}" for trial in condition.trials), index]
    return next((images[name] for name in names if name in images), None)


MEMORIZATION = Kind(
    "Memorization over time",
    "Accuracy, the loss attack’s AUC and one training example’s membership probability while the network learns. "
    "The example shown is the tracked one that ends most exposed without a budget (chosen after the fact); the others "
    "are faint. Vertical lines are medians over the trainings: ES, early stopping, the best test accuracy; M, "
    "memorization, from where on the attack’s AUC stays above chance; OF, overfitting, from where on train accuracy "
    f"exceeds test accuracy by more than {number(GAP, 2)}. Everything but test accuracy is measured with the training "
    "images.",
    (("membership_probability/",),),
    "no grid tracks examples; give one track = {label = 0, first = 1}, or leave the figure out",
    memorization_panels,
    (HALF_LINE,),
)
