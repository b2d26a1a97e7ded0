"""Predictions in a table (CSV, Parquet, Arrow, or a data frame), whose columns are found by their common names.

Nothing in a file is trusted: no cell is evaluated, sizes are checked before a table is unpacked, and a column with
missing or unexpected values is an error that names the column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.hints import did_you_mean, listed, one_line
from trilemma.spreadsheet import csv_text

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

_OUTPUTS = {
    "logits": ("logit", "logits"),
    "probs": ("prob", "probs", "probability", "probabilities", "proba", "sigmoid"),
}
_SECOND_CLASS = "1"
"""What the class of a single column is called that is named after none."""
_FIELD = {"label": "labels", "member": "member", "group": "groups", "source": "sources", "weight": "weights"}
_BOOLEANS = {"false": 0, "true": 1}
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
        if path.suffix == ".csv":
            _check_size(path, path.stat().st_size, max_bytes)
            # No text counts as a missing value: a class may be called NA.
            options = pyarrow.csv.ConvertOptions(null_values=[], strings_can_be_null=False)
            return pyarrow.csv.read_csv(path, convert_options=options).to_pandas()
        if path.suffix == ".parquet":
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
            "rows, or raise max_bytes if you trust it"
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
    frame = table.to_pandas() if hasattr(table, "to_pandas") else table
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InputError(f"{where} has two columns with one name: rename one of them")
    frame = frame.set_axis(names, axis=1)
    chosen = dict(columns or {})
    unknown = [role for role in chosen if role not in (*USUAL, "logit", "prob")]
    if unknown:
        known = (*USUAL, "logit", "prob")
        raise InputError(f"columns are for {', '.join(known)}, not {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    kind, outputs, classes = _outputs(frame, chosen, where)
    fields: dict[str, Any] = {kind: outputs, "class_names": classes}
    for role, field in _FIELD.items():
        name = _column(role, names, chosen, where, needed=role in ("label", "member"))
        if name is None:
            continue
        values = frame[name].to_numpy()
        if role == "label":
            if len(classes) == 1:
                fields["class_names"] = classes = _both_classes(classes[0], values, where, name)
            fields[field] = _labels(values, classes, where, name)
        elif role == "member":
            fields[field] = _members(values, where, name)
        elif role == "group":
            if not all(value is None or value != value for value in values):  # an empty column
                fields[field] = _plain(values)
        else:
            fields[field] = values
    return fields


def _column(role: str, names: Sequence[str], chosen: Mapping[str, str], where: str, *, needed: bool) -> str | None:
    if role in chosen:
        if chosen[role] not in names:
            raise InputError(f"{where} has no column {chosen[role]!r}{did_you_mean(chosen[role], names)}")
        return chosen[role]
    folded = {name.casefold(): name for name in reversed(names)}
    column = next((folded[usual] for usual in USUAL[role] if usual in folded), None)
    if column is None and needed:
        raise InputError(
            f"{where} has no column {role!r}{did_you_mean(role, names)} (it has {listed(names, most=8)}): name it so, "
            f"or say which it is (columns={{'{role}': ...}}, --columns {role}=...)"
        )
    return column


def _outputs(
    frame: pd.DataFrame, chosen: Mapping[str, str], where: str
) -> tuple[str, NDArray[np.float64], tuple[str, ...]]:
    """(logits or probs, float64 (N, C), names of the classes); of a single column, the name of its class alone."""
    names = list(frame.columns)
    for kind, usual in _OUTPUTS.items():
        prefix = chosen.get(kind[:-1])
        if prefix is None and any(other in chosen for other in ("logit", "prob")):
            continue
        starts = (prefix,) if prefix is not None else tuple(f"{word}_" for word in usual)
        columns = {name: _rest(name, starts) for name in names}
        class_names = {name: rest for name, rest in columns.items() if rest}
        if len(class_names) >= 2:
            if all(re.fullmatch(r"[0-9]+", rest) for rest in class_names.values()):
                if len({int(rest) for rest in class_names.values()}) < len(class_names):
                    raise InputError(f"{where} has two columns of outputs for one class: remove one of them")
                class_names = dict(sorted(class_names.items(), key=lambda item: int(item[1])))
            return kind, _numbers(frame, list(class_names), where), tuple(class_names.values())
        lists = [name for name in names if name.casefold() in usual or name == prefix]
        if lists and len(frame) and isinstance(frame[lists[0]].iloc[0], list | np.ndarray):
            values = np.stack([np.asarray(row, dtype=np.float64) for row in frame[lists[0]]])
            return kind, values, tuple(str(index) for index in range(values.shape[1]))
        alone = [*class_names, *lists]
        if len(alone) == 1:  # a sigmoid's output
            score = _numbers(frame, alone, where)
            both = np.concatenate([np.zeros_like(score) if kind == "logits" else 1 - score, score], axis=1)
            return kind, both, (_rest(alone[0], (*starts, *(f"{word}_" for word in usual))) or _SECOND_CLASS,)
    raise InputError(
        f"{where} has no columns of outputs{did_you_mean('logit_0', names)} (it has {listed(names, most=8)}): name "
        "them logit_CLASS or prob_CLASS, one for each class (or one alone, a sigmoid's, prob_CLASS), or say how they "
        "begin (columns={'logit': ...}, --columns logit=...)"
    )


def _rest(name: str, starts: Sequence[str]) -> str:
    return next((name[len(s) :] for s in starts if name.casefold().startswith(s.casefold()) and len(name) > len(s)), "")


def _numbers(frame: pd.DataFrame, names: list[str], where: str) -> NDArray[np.float64]:
    columns = []
    for name in names:
        try:
            columns.append(frame[name].to_numpy(dtype=np.float64))
        except (ValueError, TypeError) as error:
            raise InputError(f"column {name!r} of {where} holds no numbers ({one_line(error)}): remove it") from error
    return np.stack(columns, axis=1)


def _both_classes(second: str, values: NDArray[Any], where: str, column: str) -> tuple[str, str]:
    """The two classes that a single column of outputs distinguishes: the other one, and that of the column.

    They are 0 and 1 where the labels are numbers or booleans.

    Raises:
      InputError: the labels name other than two classes, or the column is named after neither.
    """
    labels = sorted({_text(value) for value in values})
    if all(_is_number(label) or label.casefold() in _BOOLEANS for label in labels):
        return "0", "1"
    others = [label for label in labels if label not in (second, csv_text(second))]
    if len(labels) != 2 or len(others) != 1:
        raise InputError(
            f"{where} has a single column of outputs, for the class {second!r}, but column {column!r} holds "
            f"{listed(labels, most=4)}: it must hold {second!r} and one other label; give one column for each class "
            "(prob_CLASS), or name the column after its class"
        )
    return others[0], second


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(values: NDArray[Any], classes: tuple[str, ...], where: str, column: str) -> NDArray[Any]:
    """Indices of classes: the labels themselves or, where a label is the text of a class's name, found by name.

    Booleans are the classes 0 and 1, unless classes are named after them.
    """
    text = [_text(value) for value in values]
    if classes == ("0", "1") and all(label.casefold() in _BOOLEANS for label in text):
        return np.array([_BOOLEANS[label.casefold()] for label in text], dtype=np.int64)
    places = {name: index for index, name in enumerate(classes)} | {
        csv_text(name): index for index, name in enumerate(classes)
    }
    named = not all(re.fullmatch(r"[0-9]+", name) for name in classes)
    if named and all(label in places for label in text):
        return np.array([places[label] for label in text], dtype=np.int64)
    try:
        numbers = np.array([float(label) for label in text])
    except ValueError:
        wrong = next(label for label in text if not re.fullmatch(r"[-+0-9.eE]+", label))
        raise InputError(
            f"column {column!r} of {where} has the label {wrong!r}, which no column of outputs is named after"
            f"{did_you_mean(wrong, classes)}: the classes are {listed(classes, most=8)}"
        ) from None
    if not named and all(label in places for label in text):
        return np.array([places[label] for label in text], dtype=np.int64)
    return numbers


def _members(values: NDArray[Any], where: str, column: str) -> NDArray[np.bool_]:
    text = [_text(value).strip().casefold() for value in values]
    wrong = next((word for word in text if word not in _TRUE and word not in _FALSE), None)
    if wrong is not None:
        raise InputError(
            f"column {column!r} of {where} holds {wrong!r}: write true or false, 1 or 0, member or nonmember, train "
            "or test"
        )
    return np.array([word in _TRUE for word in text])


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Groups as numbers if they are numbers, otherwise as text."""
    return np.array([_text(value) for value in values]) if values.dtype.kind == "O" else values


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
