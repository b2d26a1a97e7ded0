"""What a budget costs each group, over the budget."""

from __future__ import annotations

from trilemma.measures import MEASURES
from trilemma.report.figure import Panel, Series, look
from trilemma.report.figures.kind import Conditions, Images, Kind
from trilemma.report.figures.placing import (
    BUDGET_AXIS,
    along_budgets,
    budget_ticks,
    joined,
    points_of,
    private_by_techniques,
)
from trilemma.report.numbers import Numbers
from trilemma.words import capital, spelled

_MEASURES = tuple(MEASURES[name] for name in ("accuracy_lost_in_GROUP", "excess_risk_gap_in_GROUP"))


def price_panels(numbers: Numbers, conditions: Conditions, images: Images) -> list[Panel]:
    """For each setting: accuracy lost and the excess-risk gap over the budget, a series for each group."""
    panels = []
    for title, same in private_by_techniques(conditions):
        for measure in _MEASURES:
            start, y_title = measure.start, measure.axis
            names = [name for name in numbers.measures if name.startswith(start)]
            series = tuple(
                Series(spelled(name.removeprefix(start)), points_of(numbers, along_budgets(same), name), look(position))
                for position, name in enumerate(names)
            )
            panels.append(
                Panel(
                    joined(title, y_title) if title else capital(y_title),
                    y_title,
                    BUDGET_AXIS,
                    series,
                    ticks=budget_ticks(same),
                    y_reference=0.0,
                )
            )
    return panels


PRICE = Kind(
    "Privacy’s price by group",
    "What each group loses to the budget, against the same training without one, paired over seeds: its accuracy, and "
    "how far its excess risk (test cross-entropy with the budget less without) is from that of all test examples (Tran "
    "et al. 2021). A budget that costs all groups alike has one line on the left and none above zero on the right.",
    (("accuracy_lost_in_",),),
    "its data has no groups, or nothing is trained both with and without a budget; give it both, or leave the figure "
    "out",
    price_panels,
    ("line at 0: nothing lost",),
)
