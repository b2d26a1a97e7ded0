"""Predictions in a table (CSV, Parquet, Arrow, or a data frame), whose columns are found by their common names.

Nothing in a file is trusted: no cell is evaluated, sizes are checked before a table is unpacked, and a column with
missing or unexpected values is an error that names the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.class_columns import class_labels, numbers_in, outputs_of
from trilemma.data.listing import has_ending
from trilemma.errors import InputError, check_type
from trilemma.hints import did_you_mean, listed, one_line

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".parquet", ".arrow", ".feather")

USUAL = {
    "label": ("label", "labels", "target", "targets", "y", "y_true", "true_label"),
    "member": ("member", "members", "is_member", "membership", "in_train", "train", "split"),
    "group": ("group", "groups"),
    "source": ("source", "sources"),
    "weight": ("weight", "weights"),
}
"""The names by which columns are found, case-insensitively and in this order."""

_FIELD = {"label": "labels", "member": "member", "group": "groups", "source": "sources", "weight": "weights"}
_NEEDED = ("label", "member")
_TRUE = ("true", "t", "yes", "y", "1", "1.0", "member", "in", "train", "training")
_FALSE = ("false", "f", "no", "n", "0", "0.0", "nonmember", "non-member", "non_member", "out", "test", "testing")


def read_table(path: Path, max_bytes: int) -> pd.DataFrame:
    """The table in a file.

    Raises:
      InputError: it cannot be read, or would take more than ``max_bytes`` of memory.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.ipc
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path} is not a file: give a table of predictions")
    try:
        if has_ending(path, ".csv"):
            _check_size(path, path.stat().st_size, max_bytes)
            # No text counts as a missing value: a class may be called NA.
            options = pyarrow.csv.ConvertOptions(null_values=[], strings_can_be_null=False)
            return pyarrow.csv.read_csv(path, convert_options=options).to_pandas()
        if has_ending(path, ".parquet"):
            about = pq.read_metadata(path)
            _check_size(path, 8 * about.num_rows * about.num_columns, max_bytes)
            return pq.read_table(path).to_pandas()
        with pa.memory_map(str(path)) as file:
            table = pyarrow.ipc.open_file(file).read_all()
            _check_size(path, 8 * table.num_rows * table.num_columns, max_bytes)
            return table.to_pandas()
    except InputError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path.name} cannot be read ({one_line(error)}): write it again") from error


def _check_size(path: Path, size: int, most: int) -> None:
    if size > most:
        raise InputError(
            f"{path.name} would take {size / 2**30:.1f} GiB, over the limit of {most / 2**30:.1f} GiB: give fewer "
            "rows, or raise max_bytes in Python if you trust it"
        )


def fields_of(table: Any, columns: Mapping[str, str] | None, where: str) -> dict[str, Any]:
    """The arguments of :class:`Predictions` that a table holds.

    Args:
      table: a pandas data frame, or anything with ``to_pandas`` (polars, Arrow).
      columns: names of columns by what they hold: ``label``, ``member``, ``group``, ``source``, ``weight``; and under
        ``logit`` or ``prob`` the prefix of the columns of outputs.
      where: how error messages refer to the table.

    Raises:
      InputError: a column is missing, is named wrongly in ``columns``, or has values that cannot be read.
    """
    import pandas as pd

    frame = table.to_pandas() if hasattr(table, "to_pandas") else table
    check_type(where, frame, pd.DataFrame, "a data frame (pandas.DataFrame makes one)")
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InputError(f"{where} has two columns with one name: rename one of them")
    frame = frame.set_axis(names, axis=1)
    chosen = dict(columns or {})
    unknown = [role for role in chosen if role not in (*USUAL, "logit", "prob")]
    if unknown:
        known = (*USUAL, "logit", "prob")
        raise InputError(f"columns are for {', '.join(known)}, not {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    columns_of = {role: _column(role, names, chosen, where) for role in _FIELD}
    labels = [_text(value) for value in frame[columns_of["label"]].to_numpy()]
    outputs = outputs_of(frame, chosen, labels, where)
    fields: dict[str, Any] = {outputs.kind: outputs.values, "class_names": outputs.classes}
    for role, field in _FIELD.items():
        name = columns_of[role]
        if name is None:
            continue
        values = frame[name].to_numpy()
        if role == "label":
            fields[field] = class_labels(labels, outputs.classes, where, name)
        elif role == "member":
            fields[field] = _members(values, where, name)
        elif role == "group":
            if not all(value is None or value != value for value in values):  # an empty column
                fields[field] = _plain(values)
        elif role == "source":
            fields[field] = _sources(frame, name, where)
        else:
            fields[field] = numbers_in(frame, name, where)
    return fields


def _column(role: str, names: Sequence[str], chosen: Mapping[str, str], where: str) -> str | None:
    if role in chosen:
        if chosen[role] not in names:
            raise InputError(f"{where} has no column {chosen[role]!r}{did_you_mean(chosen[role], names)}")
        return chosen[role]
    folded = {name.casefold(): name for name in reversed(names)}
    column = next((folded[usual] for usual in USUAL[role] if usual in folded), None)
    if column is None and role in _NEEDED:
        raise InputError(
            f"{where} has no column {role!r}{did_you_mean(role, names)} (it has {listed(names, most=8)}): rename it, "
            f"or say which it is (columns={{'{role}': ...}}, --columns {role}=...)"
        )
    return column


def _members(values: NDArray[Any], where: str, column: str) -> NDArray[np.bool_]:
    text = [_text(value).strip().casefold() for value in values]
    wrong = next((word for word in text if word not in _TRUE and word not in _FALSE), None)
    if wrong is not None:
        raise InputError(
            f"column {column!r} of {where} holds {wrong!r}: write true or false, 1 or 0, member or nonmember, train "
            "or test"
        )
    return np.array([word in _TRUE for word in text])


def _sources(frame: pd.DataFrame, column: str, where: str) -> NDArray[Any]:
    """The image of each row: numbers, or names."""
    missing = np.flatnonzero(frame[column].isna().to_numpy())
    if len(missing):
        raise InputError(f"column {column!r} of {where} holds no value in row {missing[0]}: fill it in")
    return _plain(frame[column].to_numpy())


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers if they are numbers, otherwise text."""
    return np.array([_text(value) for value in values]) if values.dtype.kind == "O" else values


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
