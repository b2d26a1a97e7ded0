"""Which cells a panel holds, and where they stand on its axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trilemma.data.named import same_images
from trilemma.report.figure import Look, Point, look
from trilemma.report.figures.axes import TechniquesAxis
from trilemma.report.figures.kind import Cells
from trilemma.report.numbers import Numbers, PlacedCell, setting_titles
from trilemma.words import budget, budget_order, clean, epsilon_tick, mix

BUDGET_AXIS = "budget ε"
"""Title of the axis where budgets stand in place of techniques."""


def without_removal(cells: Cells) -> list[PlacedCell]:
    """Those trained on all their examples."""
    return [cell for cell in cells if not cell.removal]


def by_setting(cells: Cells) -> list[tuple[str, list[PlacedCell]]]:
    """(title, its cells) of each setting: the study's order of data, each from the least skew to the largest."""
    titles = setting_titles(cells)
    data = list(dict.fromkeys(cell.data for cell in cells))
    by: dict[str, list[PlacedCell]] = {}
    for cell in sorted(cells, key=lambda cell: (data.index(cell.data), cell.skew or 0.0)):
        by.setdefault(cell.setting, []).append(cell)
    return [(titles[key], same) for key, same in by.items()]


def by_images(cells: Cells) -> list[tuple[str, list[PlacedCell]]]:
    """(title, its cells) for data of the same images, whatever its skew, one combination of techniques at a time."""
    by: dict[tuple[str, str, tuple[str, ...]], list[PlacedCell]] = {}
    for cell in cells:
        by.setdefault((same_images(cell.data), cell.model, cell.codes), []).append(cell)
    parts = [
        [clean(name) for name, _, _ in by],
        [mix(codes) for _, _, codes in by],
        [clean(model) for _, model, _ in by],
    ]
    telling = [part for part in parts if len(set(part)) > 1]
    return [(joined(*(part[at] for part in telling)), same) for at, same in enumerate(by.values())]


def by_techniques(cells: Cells) -> list[tuple[str, list[PlacedCell]]]:
    """Settings, one combination of techniques at a time; it is named where there are several."""
    found = []
    for title, same in by_setting(cells):
        mixes = list(dict.fromkeys(cell.codes for cell in same))
        for codes in mixes:
            name = joined(title, mix(codes)) if len(mixes) > 1 else title
            found.append((name, [cell for cell in same if cell.codes == codes]))
    return found


def budgets_of(cells: Cells) -> list[float | None]:
    """Without a budget first, then from the loosest to the tightest."""
    return sorted({cell.epsilon for cell in cells}, key=budget_order, reverse=True)


def budget_looks(cells: Cells) -> dict[float | None, Look]:
    """No budget is solid, every budget dashed."""
    found = {epsilon: look(at) for at, epsilon in enumerate(budgets_of(cells))}
    return {e: seen if e is None else replace(seen, dash="dashed") for e, seen in found.items()}


def points_of(numbers: Numbers, placed: Iterable[tuple[float, str, PlacedCell]], measure: str) -> tuple[Point, ...]:
    found = [(x, at, numbers.get(cell, measure)) for x, at, cell in placed]
    return tuple(Point(x, at, y) for x, at, y in found if y is not None)


def along_techniques(axis: TechniquesAxis, cells: Cells) -> list[tuple[float, str, PlacedCell]]:
    """Cells at their place on the axis."""
    place = {m: (float(at), label) for at, (m, label) in enumerate(zip(axis.mixes, axis.labels, strict=True))}
    found = [(*place[cell.codes], cell) for cell in cells if cell.codes in place]
    return sorted(found, key=lambda one: one[0])


def along_budgets(cells: Cells, axis_of: Cells = ()) -> list[tuple[float, str, PlacedCell]]:
    """Cells from the tightest budget to none, at the places of the axis of ``axis_of`` (by default their own)."""
    order = sorted({cell.epsilon for cell in axis_of or cells}, key=budget_order)
    placed = [(float(order.index(cell.epsilon)), budget(cell.epsilon), cell) for cell in cells]
    return sorted(placed, key=lambda place: place[0])


def budget_ticks(cells: Cells) -> tuple[tuple[float, str], ...]:
    order = sorted({cell.epsilon for cell in cells}, key=budget_order)
    return tuple((float(at), epsilon_tick(epsilon)) for at, epsilon in enumerate(order))


def joined(*words: str) -> str:
    return ", ".join(word for word in words if word)
