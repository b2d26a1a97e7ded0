"""Labels beside points, where they hide as little as possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """An upright rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that both cover.

        >>> Box(0, 0, 2, 2).overlap(Box(1, 1, 3, 3)), Box(0, 0, 1, 1).overlap(Box(2, 2, 3, 3))
        (1, 0)
        """
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return wide * high if wide > 0 and high > 0 else 0

    def grown(self, by: float) -> Box:
        """The rectangle with every edge moved outward."""
        return Box(self.left - by, self.bottom - by, self.right + by, self.top + by)

    def distance(self, point: tuple[float, float]) -> float:
        """The distance from the edge of the rectangle to a point; 0 inside.

        >>> Box(0, 0, 2, 2).distance((5, 6)), Box(0, 0, 2, 2).distance((1, 1))
        (5.0, 0.0)
        """
        across = max(self.left - point[0], 0, point[0] - self.right)
        return math.hypot(across, max(self.bottom - point[1], 0, point[1] - self.top))


@dataclass(frozen=True)
class Label:
    """The center of the label of point ``index``, and whether it is so ``far`` that a line should lead to it."""

    index: int
    x: float
    y: float
    box: Box
    far: bool


_ANGLES = [math.pi / 4 * k for k in (1, 7, 3, 5, 0, 4, 2, 6)] + [math.pi / 8 * k for k in (1, 15, 7, 9, 3, 13, 5, 11)]
_NEAR, _FAR = (7.0, 10.0), (16.0, 24.0, 34.0, 46.0)
_MARKER = 4.5
_APART = 0.8
_SAME = 1.0
"""Points that are no further apart than this are one place."""


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
    *,
    unit: float = 1.0,
) -> list[Label]:
    """Place labels greedily, the most crowded point first, each where it hides the least and lies nearest.

    A label is nearer to its own point than to any other, measured from its middle and from its edge, and meets no other
    label; where no place is so, it is left out.  If there is room, labels keep ``_APART`` of their height from each
    other, since two lines of text that touch read as one label.

    Args:
      points: centers of the markers.
      sizes: (width, height) of the labels.
      obstacles: what should not be hidden, but may be.
      bounds: where labels must be.
      unit: length of a point of type.

    >>> [label.far for label in place_labels([(50, 50)], [(20, 10)], [], Box(0, 0, 100, 100))]
    [False]
    """
    markers = [Box(x - _MARKER * unit, y - _MARKER * unit, x + _MARKER * unit, y + _MARKER * unit) for x, y in points]
    crowd = [sum(math.dist(p, q) < 40 * unit for q in points) for p in points]
    placed: list[Label] = []
    for index in sorted(range(len(points)), key=lambda i: (-crowd[i], i)):
        (x, y), (wide, high) = points[index], sizes[index]
        reached = _FAR[-1] * unit + wide + high
        round_it = Box(x - reached, y - reached, x + reached, y + reached)
        near = [obstacle for obstacle in obstacles if obstacle.overlap(round_it)]
        close = [marker for marker in markers if marker.overlap(round_it)]
        others = [q for q in points if _SAME * unit < math.dist(q, (x, y)) < 2 * reached]
        best: tuple[float, Label] | None = None
        for reach in (*_NEAR, *_FAR):
            for order, angle in enumerate(_ANGLES):
                # The box touches a circle around the point, wherever it lies.
                away = reach * unit + abs(math.cos(angle)) * wide / 2 + abs(math.sin(angle)) * high / 2
                cx, cy = x + math.cos(angle) * away, y + math.sin(angle) * away
                box = Box(cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2)
                if not _belongs((cx, cy), box, (x, y), others) or any(box.overlap(label.box) for label in placed):
                    continue
                stacked = any(box.grown(_APART * high).overlap(label.box) for label in placed)
                inside = box.overlap(bounds) >= 0.999 * wide * high
                cost = (
                    10 * sum(box.overlap(marker) for marker in close)
                    + 2 * sum(box.overlap(obstacle) for obstacle in near)
                    + (0 if inside else 1e5)
                    + (1e4 if stacked else 0)
                    + (reach * 1.5 + order * 0.3) * unit**2
                )
                if best is None or cost < best[0]:
                    best = (cost, Label(index, cx, cy, box, reach in _FAR))
        if best is not None:
            placed.append(best[1])
    return placed


def _belongs(
    middle: tuple[float, float], box: Box, own: tuple[float, float], others: Sequence[tuple[float, float]]
) -> bool:
    """Whether a label is nearer to its own point than to the others, with a little to spare."""
    return all(
        1.08 * math.dist(middle, own) <= math.dist(middle, other) and 1.03 * box.distance(own) <= box.distance(other)
        for other in others
    )
