"""Checks of what predictions are made of: each array is given back in one form, or refused in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.errors import InputError

MINIMUM_SIDE = 10
"""The minimum number of members, and of non-members: an attack on fewer examples is not informative."""

SUM_TOLERANCE = 1e-3
"""How far the sum of a row of probabilities may be from 1: enough for float16, but too little for logits to pass."""

SMALLEST_WEIGHT = 1e-100
"""The smallest weight above 0; its inverse is the largest.  Squares of others might not be finite, or be 0."""


def checked_outputs(name: str, values: ArrayLike | None) -> NDArray[np.floating[Any]]:
    """Logits or probabilities float (N, C) with C >= 2, all finite.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array(name, values)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise InputError(f"{name} must be floating-point numbers, not {array.dtype}: convert them first")
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(
            f"{name} must be (N, C) with at least two classes, not {array.shape}: give one column for each "
            "class (a single sigmoid output s makes the two columns 0 and s)"
        )
    _check_finite(name, array)
    return array


def _check_finite(name: str, array: NDArray[Any]) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} holds {int(bad.sum())} values that are NaN or infinite (the first at {list(where)}): "
            "leave out those rows, or fix the model that computed them"
        )


def check_probabilities(array: NDArray[np.floating[Any]]) -> None:
    """Refuse rows that do not sum to 1, and negative values.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    if (array < 0).any():
        row = int(np.argwhere(array < 0)[0][0])
        raise InputError(
            f"probs holds negative values (the first in row {row}): if these are logits, pass them as logits"
        )
    sums = array.sum(axis=1, dtype=np.float64)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise InputError(
            f"{int(off.sum())} rows of probs do not sum to 1 within {SUM_TOLERANCE} (row {row} sums to "
            f"{sums[row]:.4g}): divide each row by its sum, or give logits"
        )


def checked_labels(values: ArrayLike, rows: int, classes: int) -> NDArray[np.int64]:
    """int64 (N,), each in [0, C).

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    labels = _integers("labels", values, rows)
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"labels must lie in 0 to {classes - 1} for {classes} classes, but row {row} has {labels[row]}: "
            "number the classes from 0, in the order of the columns"
        )
    return labels


def checked_member(values: ArrayLike, rows: int) -> NDArray[np.bool_]:
    """bool (N,).

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array("member", values)
    _check_length("member", array, rows)
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise InputError("member must be True or False (or 1 or 0) for each row: True for training examples")
    return array.astype(bool)


def checked_groups(
    values: ArrayLike, names: tuple[str, ...] | None, rows: int
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Numbers int64 (N,) of the groups, and their names.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array("groups", values)
    if array.dtype.kind == "U":
        _check_length("groups", array, rows)
        if names is not None:
            raise InputError("group_names is for numbered groups: leave it out when groups are strings")
        distinct, codes = np.unique(array, return_inverse=True)
        return codes.astype(np.int64), tuple(str(name) for name in distinct)
    names = None if names is None else checked_names("group_names", names)
    groups = _integers("groups", array, rows)
    if (groups < 0).any():
        raise InputError("groups must not be negative: number them from 0")
    if names is not None and int(groups.max()) >= len(names):
        raise InputError(f"groups go up to {int(groups.max())}, but group_names names {len(names)}: name every group")
    return groups, names


def checked_names(what: str, names: Any) -> tuple[str, ...]:
    """Different names; two groups of one name would be reported as one.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise InputError(f"{what} is an object of type {type(names).__name__}: give a sequence of names")
    if not all(isinstance(name, str | int | np.integer) for name in names):
        raise InputError(f"{what} holds something other than text: give names")
    texts = tuple(map(str, names))
    if len(set(texts)) < len(texts):
        raise InputError(f"{what} holds {next(name for name in texts if texts.count(name) > 1)!r} twice: rename one")
    return texts


def checked_sources(values: ArrayLike, rows: int) -> NDArray[np.int64]:
    """int64 (N,); names are numbered.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array("sources", values)
    return _integers("sources", np.unique(array, return_inverse=True)[1] if array.dtype.kind == "U" else array, rows)


def checked_weights(values: ArrayLike, rows: int) -> NDArray[np.float64]:
    """float64 (N,), each 0 or of a size whose square is a normal number.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array("weights", values)
    _check_length("weights", array, rows)
    if array.dtype.kind not in "biuf":
        raise InputError(f"weights must be numbers, not {array.dtype}")
    weights = array.astype(np.float64)
    _check_finite("weights", weights)
    if (weights < 0).any():
        raise InputError("weights must not be negative: a weight of 0 leaves a row out")
    if (weights > 1 / SMALLEST_WEIGHT).any() or (weights[weights > 0] < SMALLEST_WEIGHT).any():
        raise InputError(f"weights must be 0, or from {SMALLEST_WEIGHT:g} to {1 / SMALLEST_WEIGHT:g}: scale them")
    return weights


def checked_reference(values: ArrayLike, rows: int, classes: int) -> NDArray[np.floating[Any]]:
    """float (R, N, C), all finite.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array("reference_logits", values)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] < 1 or array.shape[1:] != (rows, classes):
        raise InputError(
            f"reference_logits must be (models, {rows}, {classes}), or without models, not {array.shape}: "
            "predict the same rows with every reference model"
        )
    if array.dtype.kind != "f":
        raise InputError(f"reference_logits must be floating-point numbers, not {array.dtype}")
    _check_finite("reference_logits", array)
    return array


def checked_reference_member(values: ArrayLike, member: NDArray[np.bool_], models: int) -> NDArray[np.bool_]:
    """bool (R, N), no row of which is the target's.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    array = _array("reference_member", values)
    if array.ndim == 1:
        array = array[None]
    if array.shape != (models, len(member)):
        raise InputError(
            f"reference_member must be ({models}, {len(member)}), a row for each reference model, not {array.shape}"
        )
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise InputError(
            "reference_member must be True or False (or 1 or 0): True where the model was trained on the row"
        )
    matrix = array.astype(bool)
    same = (matrix == member).all(axis=1)
    if same.any():
        raise InputError(
            f"reference_member of model {int(np.flatnonzero(same)[0])} is the target's own member: a model with the "
            "target's members cannot be a reference (leave it out, or give the rows it was trained on)"
        )
    return matrix


def check_sides(member: NDArray[np.bool_], weights: NDArray[np.float64] | None) -> None:
    """Refuse fewer than ``MINIMUM_SIDE`` members or non-members.

    Raises:
      InputError: the values are something else, or cannot be read.
    """
    if member.all() or not member.any():
        raise InputError(
            f"member is {bool(member[0]) if len(member) else 'empty'} for every row: an attack needs "
            "members and non-members (also predict examples that the model was not trained on)"
        )
    counted = np.ones(len(member), dtype=bool) if weights is None else weights > 0
    for name, side in (("members", member), ("non-members", ~member)):
        count = int(np.count_nonzero(side & counted))
        if count < MINIMUM_SIDE:
            raise InputError(f"only {count} {name} have a weight above 0: give at least {MINIMUM_SIDE}")


def _array(name: str, values: ArrayLike | None) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be read as one array ({error}): give a rectangular array") from None
    if np.ma.is_masked(values):
        raise InputError(f"{name} has masked values, which would be read as they are: leave out those rows")
    if array.dtype.kind == "O":
        raise InputError(f"{name} holds Python objects (or rows of different lengths): give a plain numeric array")
    return array


def _integers(name: str, values: ArrayLike, rows: int) -> NDArray[np.int64]:
    array = _array(name, values)
    _check_length(name, array, rows)
    # Not all whole numbers beyond 2^53 are float64: different ones may be equal.
    if array.dtype.kind == "f" and (np.abs(array) < 2**53).all() and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise InputError(f"{name} must be whole numbers, one for each row, not {array.dtype} values")
    if len(array) and array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} must be below 2^63: number them from 0")
    return array.astype(np.int64)


def _check_length(name: str, array: NDArray[Any], rows: int) -> None:
    if array.shape != (rows,):
        raise InputError(f"{name} must be ({rows},), one for each row of the outputs, not {array.shape}")
