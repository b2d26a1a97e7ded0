"""The input of every attack: a model's outputs, the true labels, and which examples were in the training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trilemma.attacks.npz import MAX_BYTES, fields_of_arrays, read_arrays
from trilemma.attacks.outputs import fields_from_estimator, fields_from_model
from trilemma.attacks.table import ENDINGS, fields_of, read_table
from trilemma.data.listing import has_ending
from trilemma.errors import InputError, check_type

MINIMUM_SIDE = 10
"""The minimum number of members, and of non-members: an attack on fewer examples is not informative."""

_ARRAYS = (
    *("logits", "probs", "labels", "member", "group", "groups", "classes", "sources", "weights"),
    *("reference_logits", "reference_member"),
)
"""What is read from an ``.npz``."""

SUM_TOLERANCE = 1e-3
"""How far the sum of a row of probabilities may be from 1: enough for float16, but too little for logits to pass."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """One model's predictions on members (its training examples) and non-members.

    Everything is checked and converted on construction; lists, arrays and CPU tensors are all accepted.

    Attributes:
      logits: float (N, C), the model's outputs before the softmax, C >= 2.  Exactly one of ``logits`` and
        ``probs`` must be given; logits are preferable, since probabilities near 1 are rounded to 1.
      probs: float (N, C), each row summing to 1 within ``SUM_TOLERANCE``.
      labels: int64 (N,), the true classes, each in [0, C).
      member: bool (N,), True where the example was in the training set (0 and 1 are also accepted).
      groups: int64 (N,), the value of the protected attribute, or None.  Strings are also accepted: they are
        numbered in sorted order, and ``group_names`` holds the strings.
      sources: int64 (N,), the image that each row was made from, by number or by name (strings are numbered); None if
        every row has its own.  Sources are compared among members and among non-members only, so both may use the same.
      weights: float64 (N,), >= 0, the weight of each row (for non-members that match the members' mix); None
        gives all rows equal weight.  A row of weight 0 is scored, but enters no result.
      reference_logits: float (R, N, C), the same rows' outputs under R reference (shadow) models; (N, C) is also
        accepted for R = 1.  None without reference models.
      reference_member: bool (R, N), which rows each reference model was trained on; (N,) is also accepted for
        R = 1.  None means that no reference model was trained on any of the rows.
      group_names: the names of the groups, indexed by group number, or None.
      class_names: the names of the C classes, or None.

    Raises:
      InputError: lengths differ; a value is not finite; probabilities do not sum to 1; a label is out of
        range; all rows are members or none is; or fewer than ``MINIMUM_SIDE`` members or non-members have a
        weight above 0.

    >>> import numpy as np
    >>> p = Predictions(logits=np.eye(2)[[0, 1] * 20], labels=[0, 1] * 20, member=[True] * 20 + [False] * 20)
    >>> len(p), p.classes, p.members, p.nonmembers
    (40, 2, 20, 20)
    """

    logits: NDArray[np.floating[Any]] | None = None
    probs: NDArray[np.floating[Any]] | None = None
    labels: NDArray[np.int64]
    member: NDArray[np.bool_]
    groups: NDArray[np.int64] | None = None
    sources: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None
    reference_logits: NDArray[np.floating[Any]] | None = None
    reference_member: NDArray[np.bool_] | None = None
    group_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.logits is None) == (self.probs is None):
            raise InputError("give exactly one of logits and probs (logits where you have both)")
        name = "logits" if self.logits is not None else "probs"
        outputs = _outputs(name, self.logits if self.logits is not None else self.probs)
        rows, classes = outputs.shape
        if name == "probs":
            _check_probabilities(outputs)
        checked: dict[str, Any] = {name: outputs, "labels": _labels(self.labels, rows, classes)}
        checked["member"] = _member(self.member, rows)
        if self.groups is not None:
            checked["groups"], checked["group_names"] = _groups(self.groups, self.group_names, rows)
        elif self.group_names is not None:
            raise InputError("group_names without groups: also give groups, one for each row")
        if self.class_names is not None and len(self.class_names) != classes:
            raise InputError(f"class_names names {len(self.class_names)} classes of {classes}: name every class")
        if self.sources is not None:
            checked["sources"] = _sources(self.sources, rows)
        if self.weights is not None:
            checked["weights"] = _weights(self.weights, rows)
        if self.reference_logits is not None:
            checked["reference_logits"] = _reference(self.reference_logits, rows, classes)
        if self.reference_member is not None:
            if self.reference_logits is None:
                raise InputError("reference_member without reference_logits: also give the reference models' outputs")
            checked["reference_member"] = _reference_member(
                self.reference_member, checked["member"], len(checked["reference_logits"])
            )
        _check_sides(checked["member"], checked.get("weights"))
        for field, value in checked.items():
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        kind = "probabilities" if self.logits is None else "logits"
        references = 0 if self.reference_logits is None else len(self.reference_logits)
        return (
            f"<Predictions: {kind} of {self.classes} classes for {self.members:,} members and {self.nonmembers:,} "
            f"non-members, {'without' if self.groups is None else 'with'} groups, {references} reference models>"
        )

    @property
    def outputs(self) -> NDArray[np.floating[Any]]:
        """Whichever of ``logits`` and ``probs`` was given, (N, C)."""
        values = self.logits if self.logits is not None else self.probs
        assert values is not None
        return values

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return int(self.outputs.shape[1])

    @property
    def members(self) -> int:
        """The number of members with a weight above 0."""
        return int(np.count_nonzero(self.member & self.counted))

    @property
    def nonmembers(self) -> int:
        """The number of non-members with a weight above 0."""
        return int(np.count_nonzero(~self.member & self.counted))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """bool (N,): the rows with a weight above 0."""
        return np.ones(len(self), dtype=bool) if self.weights is None else self.weights > 0

    def name_of_group(self, group: int) -> str:
        """The name of the group, or its number as a string if it has no name."""
        return str(group) if self.group_names is None else self.group_names[group]

    @classmethod
    def load(
        cls, path: str | Path, *, columns: Mapping[str, str] | None = None, max_bytes: int = MAX_BYTES
    ) -> Predictions:
        """Read predictions from a file; pickled objects are refused and never unpickled.

        Args:
          path: a table (``.csv``, ``.parquet``, ``.arrow``, ``.feather``), see :meth:`from_table`; or an ``.npz`` with
            the arrays ``logits`` or ``probs``, ``labels``, ``member`` and, optionally, ``group`` (or ``groups``),
            ``classes`` (names), ``sources``, ``weights``, ``reference_logits``, ``reference_member``.  Other arrays are
            not read.  If the file contains both logits and probs, the logits are used.
          columns: the names of a table's columns.
          max_bytes: the maximum total size of the arrays in memory.

        Raises:
          InputError: the file cannot be read, lacks an array, contains objects, is a decompression bomb, or its
            arrays are not valid predictions.
        """
        check_type("the file of predictions", path, (str, Path), "its path")
        if has_ending(Path(path), *ENDINGS):
            return cls.from_table(read_table(Path(path), max_bytes), columns=columns, where=Path(path).name)
        if columns:
            raise InputError(f"{Path(path).name} is not a table, so it has no columns to name")
        arrays, available = read_arrays(path, _ARRAYS, max_bytes=max_bytes)
        return cls._named(fields_of_arrays(arrays, available, Path(path).name), Path(path).name)

    @classmethod
    def from_table(
        cls, table: Any, *, columns: Mapping[str, str] | None = None, where: str = "the table"
    ) -> Predictions:
        """Read predictions from a data frame (pandas, polars, Arrow) with one row for each example.

        Args:
          table: columns ``logit_CLASS`` or ``prob_CLASS`` (a class's name or number; if both kinds are present, the
            logits are used), or a single such column for a sigmoid (of the class 1 where labels are numbers, unless it
            is named after the class 0); ``label`` (a number, or the name of a class), ``member`` (true or false, 1 or
            0, member or nonmember, train or test) and, optionally, ``group``, ``source`` and ``weight``. Other common
            names are recognized, too.
          columns: names that are not recognized, by what they hold, such as ``{"label": "species", "prob": "p_"}``.
          where: how error messages refer to the table.

        Raises:
          InputError: a column is missing, or the values are not valid predictions.
        """
        return cls._named(fields_of(table, columns, where), where)

    @classmethod
    def from_model(cls, model: Any, train: Any, test: Any) -> Predictions:
        """Run a model on its training examples and on others; see :func:`fields_from_model`."""
        return cls(**fields_from_model(model, train, test))

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, member: Any, *, groups: Any = None) -> Predictions:
        """Run a fitted classifier with scikit-learn's interface; see :func:`fields_from_estimator`."""
        return cls(**fields_from_estimator(estimator, X, y, member, groups))

    @classmethod
    def _named(cls, fields: dict[str, Any], name: str) -> Predictions:
        try:
            return cls(**fields)
        except InputError as error:
            raise InputError(str(error) if name in str(error) else f"{name}: {error}") from None


def _outputs(name: str, values: ArrayLike | None) -> NDArray[np.floating[Any]]:
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


def _check_probabilities(array: NDArray[np.floating[Any]]) -> None:
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


def _labels(values: ArrayLike, rows: int, classes: int) -> NDArray[np.int64]:
    labels = _integers("labels", values, rows)
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"labels must lie in 0 to {classes - 1} for {classes} classes, but row {row} has {labels[row]}: "
            "number the classes from 0, in the order of the columns"
        )
    return labels


def _member(values: ArrayLike, rows: int) -> NDArray[np.bool_]:
    array = _array("member", values)
    _check_length("member", array, rows)
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise InputError("member must be True or False (or 1 or 0) for each row: True for training examples")
    return array.astype(bool)


def _groups(
    values: ArrayLike, names: tuple[str, ...] | None, rows: int
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    array = _array("groups", values)
    if array.dtype.kind == "U":
        _check_length("groups", array, rows)
        if names is not None:
            raise InputError("group_names is for numbered groups: leave it out when groups are strings")
        distinct, codes = np.unique(array, return_inverse=True)
        return codes.astype(np.int64), tuple(str(name) for name in distinct)
    groups = _integers("groups", array, rows)
    if (groups < 0).any():
        raise InputError("groups must not be negative: number them from 0")
    if names is not None and int(groups.max()) >= len(names):
        raise InputError(f"groups go up to {int(groups.max())}, but group_names names {len(names)}: name every group")
    return groups, None if names is None else tuple(names)


def _sources(values: ArrayLike, rows: int) -> NDArray[np.int64]:
    array = _array("sources", values)
    return _integers("sources", np.unique(array, return_inverse=True)[1] if array.dtype.kind == "U" else array, rows)


def _weights(values: ArrayLike, rows: int) -> NDArray[np.float64]:
    array = _array("weights", values)
    _check_length("weights", array, rows)
    if array.dtype.kind not in "biuf":
        raise InputError(f"weights must be numbers, not {array.dtype}")
    weights = array.astype(np.float64)
    _check_finite("weights", weights)
    if (weights < 0).any():
        raise InputError("weights must not be negative: a weight of 0 leaves a row out")
    return weights


def _reference(values: ArrayLike, rows: int, classes: int) -> NDArray[np.floating[Any]]:
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


def _reference_member(values: ArrayLike, member: NDArray[np.bool_], models: int) -> NDArray[np.bool_]:
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


def _check_sides(member: NDArray[np.bool_], weights: NDArray[np.float64] | None) -> None:
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
    if array.dtype.kind == "O":
        raise InputError(f"{name} holds Python objects (or rows of different lengths): give a plain numeric array")
    return array


def _integers(name: str, values: ArrayLike, rows: int) -> NDArray[np.int64]:
    array = _array(name, values)
    _check_length(name, array, rows)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise InputError(f"{name} must be whole numbers, one for each row, not {array.dtype} values")
    return array.astype(np.int64)


def _check_length(name: str, array: NDArray[Any], rows: int) -> None:
    if array.shape != (rows,):
        raise InputError(f"{name} must be ({rows},), one for each row of the outputs, not {array.shape}")
