"""Techniques on an axis: the paper's cumulative path, one at a time, all but one, or any mixes at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.words import mix

Mix = tuple[str, ...]


@dataclass(frozen=True)
class TechniquesAxis:
    """Combinations of techniques in order.

    Attributes:
      title: the title of the axis.
      mixes: the combinations.
      labels: what each is called there: "+GN" where it adds to the one before.
      path: whether each adds to the one before, so that a line between them means something.
    """

    title: str
    mixes: tuple[Mix, ...]
    labels: tuple[str, ...]
    path: bool


def techniques_axes(mixes: Iterable[Mix]) -> list[TechniquesAxis]:
    """The axes on which these combinations are best read; one combination may be on several.

    A chain, in which each combination holds the one before, is one axis.  Else the paper's cumulative order, one at
    a time (beside the baseline) and all but one (beside all) each make an axis, and the rest makes another.

    >>> [a.labels for a in techniques_axes([("obs", "gn"), (), ("obs",)])]
    [('BL', '+OBS', '+GN')]
    >>> [a.labels for a in techniques_axes([(), ("obs", "gn", "ws", "am", "pa", "sat")])]
    [('BL', 'all')]
    >>> for axis in techniques_axes([(), ("gn",), ("ws",), ("obs",), ("obs", "gn"), ("am", "pa")]):
    ...     print(axis.title, axis.labels)
    techniques, added one after another ('BL', '+OBS', '+GN')
    techniques, one at a time ('BL', 'OBS', 'GN', 'WS')
    other mixes of techniques ('AM+PA',)
    """
    wanted = list(dict.fromkeys(mixes))
    by_size = sorted(wanted, key=lambda m: (len(m), _places(m)))
    if all(set(small) < set(large) for small, large in pairwise(by_size)):
        return [_path(by_size)] if by_size else []
    present = set(wanted)
    steps = [PAPER_TECHNIQUES[:k] for k in range(len(PAPER_TECHNIQUES) + 1) if PAPER_TECHNIQUES[:k] in present]
    singles = [(code,) for code in PAPER_TECHNIQUES if (code,) in present]
    but_one = [tuple(c for c in PAPER_TECHNIQUES if c != code) for code in PAPER_TECHNIQUES]
    but_one = [m for m in but_one if m in present]
    axes = []
    placed: set[Mix] = set()
    if len(steps) > 2:
        axes.append(_path(steps))
        placed |= set(steps)
    if len(set(singles) - placed) > 0:
        shown = [m for m in [(), *singles] if m in present]
        axes.append(TechniquesAxis("techniques, one at a time", tuple(shown), tuple(mix(m) for m in shown), False))
        placed |= set(shown)
    if len(set(but_one) - placed) > 0:
        shown = [m for m in [PAPER_TECHNIQUES, *but_one] if m in present]
        labels = [
            "all" if m == PAPER_TECHNIQUES else f"−{mix([c for c in PAPER_TECHNIQUES if c not in m])}" for m in shown
        ]
        axes.append(TechniquesAxis("all techniques but one", tuple(shown), tuple(labels), False))
        placed |= set(shown)
    rest = [m for m in wanted if m not in placed]
    if rest:
        title = "other mixes of techniques" if axes else "techniques"
        axes.append(TechniquesAxis(title, tuple(rest), tuple(mix(m) for m in rest), False))
    return axes


def _path(chain: list[Mix]) -> TechniquesAxis:
    labels = []
    for index, current in enumerate(chain):
        added = [code for code in current if index and code not in chain[index - 1]]
        # A step of many techniques is named by where it leads.
        labels.append(f"+{mix(added)}" if index and len(added) <= 2 else mix(current))
    title = "techniques, added one after another" if len(chain) > 2 else "techniques"
    return TechniquesAxis(title, tuple(chain), tuple(labels), True)


def _places(codes: Mix) -> tuple[int, ...]:
    return tuple(PAPER_TECHNIQUES.index(code) if code in PAPER_TECHNIQUES else len(PAPER_TECHNIQUES) for code in codes)
