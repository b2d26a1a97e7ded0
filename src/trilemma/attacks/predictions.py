"""The input of every attack: a model's outputs, the true labels, and which examples were in the training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.checks import (
    check_probabilities,
    check_sides,
    checked_groups,
    checked_labels,
    checked_member,
    checked_names,
    checked_outputs,
    checked_reference,
    checked_reference_member,
    checked_sources,
    checked_weights,
)
from trilemma.attacks.npz import MAX_BYTES, fields_of_arrays, read_arrays
from trilemma.attacks.outputs import fields_from_estimator, fields_from_model
from trilemma.attacks.table import ENDINGS, fields_of, read_table
from trilemma.data.listing import has_ending
from trilemma.errors import InputError, check_type

_ARRAYS = (
    *("logits", "probs", "labels", "member", "group", "groups", "classes", "sources", "weights"),
    *("reference_logits", "reference_member"),
)
"""What is read from an ``.npz``."""


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
      InputError: lengths differ, a value is not finite, probabilities do not sum to 1, or a label is out of range.
        Also where all rows are members or none is, and where fewer than ``MINIMUM_SIDE`` members or non-members
        have a weight above 0.

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
        outputs = checked_outputs(name, self.logits if self.logits is not None else self.probs)
        rows, classes = outputs.shape
        if name == "probs":
            check_probabilities(outputs)
        checked: dict[str, Any] = {name: outputs, "labels": checked_labels(self.labels, rows, classes)}
        checked["member"] = checked_member(self.member, rows)
        if self.groups is not None:
            checked["groups"], checked["group_names"] = checked_groups(self.groups, self.group_names, rows)
        elif self.group_names is not None:
            raise InputError("group_names without groups: also give groups, one for each row")
        if self.class_names is not None:
            checked["class_names"] = checked_names("class_names", self.class_names)
            if len(checked["class_names"]) != classes:
                raise InputError(
                    f"class_names names {len(checked['class_names'])} classes of {classes}: name every class"
                )
        if self.sources is not None:
            checked["sources"] = checked_sources(self.sources, rows)
        if self.weights is not None:
            checked["weights"] = checked_weights(self.weights, rows)
        if self.reference_logits is not None:
            checked["reference_logits"] = checked_reference(self.reference_logits, rows, classes)
        if self.reference_member is not None:
            if self.reference_logits is None:
                raise InputError("reference_member without reference_logits: also give the reference models' outputs")
            checked["reference_member"] = checked_reference_member(
                self.reference_member, checked["member"], len(checked["reference_logits"])
            )
        check_sides(checked["member"], checked.get("weights"))
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
