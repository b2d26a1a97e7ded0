"""What a figure of the catalog is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trilemma.data.named import with_groups
from trilemma.report.figure import Panel
from trilemma.report.numbers import Numbers, PlacedCondition

NO_LEAKAGE = 0.5
"""The AUC of an attack that cannot tell members from others."""

HALF_LINE = "line at ½: an attack that cannot tell members from others"
"""What the reference line at ``NO_LEAKAGE`` means."""

GROUPS_LACK = f"its data has no groups; use one of {with_groups()} or images with groups, or leave the figure out"
"""Why a study may lack what is measured by group."""

Images = Mapping[str, bytes]
Conditions = Sequence[PlacedCondition]


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
    panels: Callable[[Numbers, Conditions, Images], list[Panel]]
    references: tuple[str, ...] = ()
