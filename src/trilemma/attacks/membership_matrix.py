"""Which shadow model trained on which example: the table that shadow attacks read, and what is refused of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError

NEEDS: dict[str, dict[str, Any]] = {
    "rmia": {"fewest": 2},
    "rmia-offline": {"fewest": 1, "sides": ("out",)},
    "lira": {"fewest": 4, "each": 2},
    "lira-offline": {"fewest": 2, "each": 2, "sides": ("out",)},
}
"""What each shadow attack asks of the matrix, as arguments of :func:`check_matrix`.

LiRA needs two values on each side: the least that a spread can be read from.
"""


def check_matrix(
    shadow_member: NDArray[np.bool_],
    shape: tuple[int, ...],
    *,
    attack: str,
    fewest: int,
    each: int = 1,
    sides: Sequence[Literal["in", "out"]] = ("in", "out"),
) -> None:
    """Refuse a membership matrix that an attack cannot use.

    Args:
      shadow_member: bool (R, N): whether shadow r trained on example n.
      shape: (R, N) of the shadows' signals.
      attack: its name, for the message.
      fewest: the fewest shadows that it needs.
      each: the fewest shadows that each example must be in, and out of.
      sides: which of the two the attack needs.

    Raises:
      InputError: says what is missing.
    """
    if shadow_member.dtype != np.bool_ or shadow_member.shape != shape:
        raise InputError(
            f"reference_member must be True or False for each of {shape[0]} reference models and {shape[1]} examples, "
            f"not {shadow_member.dtype} {shadow_member.shape}"
        )
    if len(shadow_member) < fewest:
        raise InputError(
            f"{attack} needs at least {fewest} reference models, not {len(shadow_member)}: train more shadows"
        )
    counts = {"in": shadow_member.sum(axis=0), "out": (~shadow_member).sum(axis=0)}
    for side in sides:
        short = counts[side] < each
        if short.any():
            what = "trained on" if side == "in" else "not trained on"
            raise InputError(
                f"{attack} needs, for each example, at least {each} reference model{'s' * (each > 1)} {what} it, and "
                f"{int(short.sum()):,} examples have fewer (the first is row {int(np.flatnonzero(short)[0])}): train "
                "each model on half of the examples, so that each example is in half of the models"
            )
