"""Labels and groups as people write them (words, sparse numbers) mapped to 0 .. C - 1, names kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.hints import did_you_mean, listed

_WHOLE = re.compile(r"-?\d+\Z")


def code(
    parts: Sequence[Sequence[object]],
    *,
    names: tuple[str, ...] | None = None,
    what: str = "label",
    where: str = "the data",
) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Codes 0 .. C - 1 for the values in all ``parts``, which share one coding, and the C names.

    Values are whole numbers (also as text, also as floats without a fraction), words, or booleans.  Without
    ``names`` the values that occur are sorted (numbers by size) and numbered; their texts are the names.
    With ``names``, numbers are positions in them, and words must be among them.

    >>> codes, names = code([[30, 10, 30], [20]])
    >>> [list(map(int, part)) for part in codes], names
    ([[2, 0, 2], [1]], ('10', '20', '30'))

    Args:
      parts: the values of each split.
      names: the names where they are known beforehand.
      what, where: for error messages ("label", "faces.npz").

    Raises:
      InputError: a value is missing, negative, not whole, out of range or not among the names; numbers and
        words are mixed.
    """
    cleaned = [[_clean(value, row, what, where) for row, value in enumerate(part)] for part in parts]
    values = {value for part in cleaned for value in part}
    if all(isinstance(value, str) and _WHOLE.match(value) for value in values) and not (names and values <= set(names)):
        cleaned = [[int(value) for value in part] for part in cleaned]
        values = {value for part in cleaned for value in part}
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        raise InputError(f"{where} mixes numbers and words as {what}s: write all of them the same way")
    coding: dict[int | str, int]
    if kinds == {int}:
        smallest, largest = min(values), max(values)
        if isinstance(smallest, int) and smallest < 0:
            raise InputError(
                f"{where} has the negative {what} {smallest}: {what}s count from 0; remove or renumber these rows"
            )
        if names is None:
            ordered = sorted(values)
            names = tuple(str(value) for value in ordered)
            coding = {value: position for position, value in enumerate(ordered)}
        elif isinstance(largest, int) and largest >= len(names):
            raise InputError(
                f"{where} has the {what} {largest}, out of range for {len(names)} names: "
                f"{what}s go from 0 to {len(names) - 1}"
            )
        else:
            coding = {position: position for position in range(len(names))}
    else:
        if names is None:
            names = tuple(sorted(str(value) for value in values))
        coding = {name: position for position, name in enumerate(names)}
        for value in sorted(str(value) for value in values):
            if value not in coding:
                raise InputError(
                    f"{where} has the {what} {value!r}, which is not one of: {listed(names)}"
                    f"{did_you_mean(value, names)}"
                )
    return [np.array([coding[value] for value in part], dtype=np.int64) for part in cleaned], names


def _clean(value: object, row: int, what: str, where: str) -> int | str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str) and value.strip():
        return value.strip()
    if value is None or isinstance(value, str) or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"{where} has no {what} in row {row}: fill it in or remove the row")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise InputError(
        f"{where} has the {what} {value!r} in row {row}: a {what} is a whole number or a word"
        + ("; for regression targets there is nothing here" if isinstance(value, float) else "")
    )
