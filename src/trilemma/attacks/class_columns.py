"""The columns of a table that hold a model's outputs, and the classes that they are named after.

A class has a name and, in most files, a number: ``prob_0``, ``prob_class_0``, ``prob_False`` and ``prob_negative`` are
all columns of the class 0.  Columns are ordered by these numbers, so that neither the order of the columns nor a single
column that is named after the class 0 turns an attack around.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import DataWarning, InputError
from trilemma.hints import did_you_mean, listed, one_line
from trilemma.spreadsheet import csv_text
from trilemma.words import clean

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["logits", "probs"]

_USUAL: dict[Kind, tuple[str, ...]] = {
    "logits": ("logit", "logits"),
    "probs": ("prob", "probs", "probability", "probabilities", "proba", "sigmoid"),
}
_PAIRS = (("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("neg", "pos"), ("negative", "positive"))
"""Words for the classes 0 and 1."""
_NUMBER = r"(?:([0-9]{1,9})(?:\.0+)?|(?:class|label|target|category|cls|c|y)[\s_.-]*([0-9]{1,9}))"
"""How numbers of classes are written; one table may mix both ways."""
_STATISTICS = (
    *("true", "label", "target", "margin", "gap", "diff", "difference", "max", "min", "mean", "std", "sum", "scaled"),
    *("pred", "predicted", "prediction", "correct", "top", "top1", "top2", "second", "true_class", "true_label"),
    *("entropy", "loss", "nll", "confidence", "uncertainty", "score"),
)
"""What a column that is no class's output is often named after."""


@dataclass(frozen=True)
class Outputs:
    """A model's outputs as a table holds them.

    Attributes:
      kind: logits or probs.
      values: float64 (N, C).
      classes: the names of the C classes.
    """

    kind: Kind
    values: NDArray[np.float64]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """Columns by the names of their classes, or one column with a list of all classes' outputs in each row."""

    kind: Kind
    columns: Mapping[str, str]
    values: NDArray[np.float64] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        if self.values is None:
            return tuple(self.columns.values())
        return tuple(str(index) for index in range(self.values.shape[1]))

    def agrees_with(self, other: _Candidate) -> bool:
        """Whether both may be outputs for the same classes; lists name none."""
        if self.values is None and other.values is None:
            return set(self.classes) == set(other.classes)
        return len(self.classes) == len(other.classes)


def outputs_of(frame: pd.DataFrame, chosen: Mapping[str, str], labels: Sequence[str], where: str) -> Outputs:
    """The outputs in a table: one column for each class, a column of lists, or a single column (a sigmoid's).

    Args:
      frame: the table; its columns have different names.
      chosen: under ``logit`` or ``prob`` the prefix of the columns, where it is not usual.
      labels: the text of each row's label.
      where: how error messages refer to the table.

    Raises:
      InputError: there are none, they are no numbers, or it is not certain which classes they are for.
    """
    several, alone = _candidates(frame, chosen, where)
    if several:
        if len(several) > 1 and not several[0].agrees_with(several[1]):
            first, second = (f"{c.kind[:-1]}_ for {listed(c.classes, most=4)}" for c in several)
            raise InputError(
                f"{where} has columns {first}, and {second}: remove or rename those that are no class's output, or say "
                "which to use (columns={'prob': 'prob_'}, --columns prob=prob_)"
            )
        best = several[0]  # logits, where the table holds both
        if best.values is not None:
            return Outputs(best.kind, best.values, best.classes)
        if len(several) == 1 or several[1].values is not None:
            _check_classes(best, labels, where)
        columns = _ordered(best.columns, where)
        return Outputs(best.kind, _numbers(frame, list(columns), where), tuple(columns.values()))
    if alone:
        return _both(frame, min(alone, key=lambda c: c.classes[0].casefold() in _STATISTICS), labels, where)
    names = list(frame.columns)
    raise InputError(
        f"{where} has no columns of outputs{did_you_mean('logit_0', names)} (it has {listed(names, most=8)}): name "
        "them logit_CLASS or prob_CLASS, one for each class (or one alone, a sigmoid's, prob_CLASS), or say how they "
        "begin (columns={'logit': ...}, --columns logit=...)"
    )


def _candidates(
    frame: pd.DataFrame, chosen: Mapping[str, str], where: str
) -> tuple[list[_Candidate], list[_Candidate]]:
    """What may be the outputs: those for several classes, and those of one column (whose class may have no name)."""
    names = list(frame.columns)
    several, alone = [], []
    for kind, usual in _USUAL.items():
        prefix = chosen.get(kind[:-1])
        if prefix is None and any(other in chosen for other in ("logit", "prob")):
            continue
        words = tuple(f"{word}_" for word in usual)
        starts = words if prefix is None else (prefix,)
        named = {name: rest for name in names if (rest := _rest(name, starts))}
        whole = [name for name in names if name.casefold() in usual or name == prefix]
        lists = [name for name in whole if any(isinstance(row, list | tuple | np.ndarray) for row in frame[name])]
        if lists:
            several.append(_Candidate(kind, {}, _listed_numbers(frame, lists[0], where)))
        elif len(named) >= 2:
            several.append(_Candidate(kind, named))
        elif len(single := [*named, *whole]) == 1:
            alone.append(_Candidate(kind, {single[0]: _rest(single[0], (*starts, *words))}))
    return several, alone


def _rest(name: str, starts: Sequence[str]) -> str:
    return next((name[len(s) :] for s in starts if name.casefold().startswith(s.casefold()) and len(name) > len(s)), "")


def class_number(name: str) -> int | None:
    """The number of the class that a name or a label says, or None.

    >>> class_number("3"), class_number("class_3"), class_number("False"), class_number("covid19"), class_number("-1")
    (3, 3, 0, None, None)
    """
    numbers = class_numbers([name])
    return numbers[0] if numbers else None


def _number(name: str) -> int | None:
    """The number that a name has in digits."""
    match = re.fullmatch(_NUMBER, name.strip(), re.IGNORECASE)
    return int(match[1] or match[2]) if match else None


def class_numbers(names: Sequence[str]) -> list[int] | None:
    """The numbers of all classes, if every name has one in digits, or all are words of one pair; otherwise None.

    >>> class_numbers(["class_1", "0"]), class_numbers(["true", "false"]), class_numbers(["true", "0"])
    ([1, 0], [1, 0], None)
    >>> class_numbers(["digit_0", "digit_10", "digit_2"]), class_numbers(["covid19"])
    ([0, 10, 2], None)
    """
    numbers = [number for name in names if (number := _number(name)) is not None]
    if len(numbers) == len(names):
        return numbers
    # Several names that differ in a number alone, such as digit_0 and digit_10.
    parts = [re.fullmatch(r"(.*\D)([0-9]{1,9})", name.strip().casefold()) for name in names]
    stemmed = [(part[1], int(part[2])) for part in parts if part]
    if (
        len(stemmed) == len(names) > 1
        and len(dict(stemmed)) == 1
        and not {n.casefold() for n in names} & {*_STATISTICS}
    ):
        return [number for _, number in stemmed]
    words = [name.strip().casefold() for name in names]
    pair = next((pair for pair in _PAIRS if set(words) <= set(pair)), None)
    return [pair.index(word) for word in words] if pair else None


def _ordered(columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Columns by the numbers of their classes, or as they are in the table if the classes have none."""
    numbers = class_numbers(list(columns.values()))
    if numbers is None:
        return dict(columns)
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{where} has two columns of outputs for one class: remove one of them")
    order = sorted(zip(numbers, columns.items(), strict=True))
    return dict(item for _, item in order)


def _check_classes(outputs: _Candidate, labels: Sequence[str], where: str) -> None:
    """Refuse a column that is probably no class's output, since it would become a class of its own.

    No label names it, and it is named after something that is often computed of outputs (also of one class's:
    ``cat_scaled``), or not after a number where others are.  Where labels name the other classes, a warning names it:
    it may be a class without examples.
    """
    if class_numbers(outputs.classes) is not None:
        return
    numbered = any(_number(name) is not None for name in outputs.classes)
    known = set(labels)
    unnamed = {c: name for c, name in outputs.columns.items() if not known & {name, csv_text(name)}}
    for column, name in unnamed.items():
        of_class = next((len(c) for c in outputs.classes if re.match(re.escape(c) + r"[\s_.-]", name)), -1)
        computed = {name.casefold(), name[of_class + 1 :].casefold()} & set(_STATISTICS)
        if computed or (numbered and _number(name) is None):
            raise InputError(
                f"column {column!r} of {where} would be the output for a class {name!r}, which no label names: rename "
                "or remove it if it is something else, or name the class in the labels"
            )
    if unnamed and len(unnamed) < len(outputs.classes):
        _note(
            f"{where} has outputs for {listed(list(unnamed.values()), most=4)}, which no label names: they count as "
            "classes without examples; remove or rename columns that are something else"
        )


def _note(text: str) -> None:
    warnings.warn(clean(text), DataWarning, stacklevel=2)


def _both(frame: pd.DataFrame, outputs: _Candidate, labels: Sequence[str], where: str) -> Outputs:
    """The outputs for two classes of the single column of a sigmoid.

    Raises:
      InputError: the labels name other than two classes, or the column is named after neither.
    """
    (column, name), *_ = outputs.columns.items()
    score = _numbers(frame, [column], where)
    distinct, second = sorted(set(labels)), True
    if all(_is_number(label) or label.casefold() in _PAIRS[0] for label in distinct):
        number = class_number(name)
        # p_0 and score0, where p_ and score would be the prefix
        unclear = not name and (class_number(column.rpartition("_")[2]) == 0 or re.search(r"(?<![0-9.])0$", column))
        if unclear or (number is not None and number > 1):
            raise InputError(
                f"{where} has a single column of outputs, {column!r}: name it after the class 0 or 1 (prob_1), or give "
                "one column for each class"
            )
        if name and number is None:
            _note(
                f"the single column {column!r} of {where} counts as the output for class 1: name it prob_0 if it is not"
            )
        second, classes = number != 0, ("0", "1")
    else:
        classes = (_other_label(name or "1", distinct, where), name or "1")
    other = np.zeros_like(score) if outputs.kind == "logits" else 1 - score
    return Outputs(outputs.kind, np.concatenate([other, score] if second else [score, other], axis=1), classes)


def _other_label(name: str, distinct: Sequence[str], where: str) -> str:
    others = [label for label in distinct if label not in (name, csv_text(name))]
    if len(distinct) != 2 or len(others) != 1:
        raise InputError(
            f"{where} has a single column of outputs, for the class {name!r}, but its column of labels holds "
            f"{listed(distinct, most=4)}: it must hold {name!r} and one other label; give one column for each class "
            "(prob_CLASS), or name the column after its class"
        )
    return others[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def class_labels(labels: Sequence[str], classes: tuple[str, ...], where: str, column: str) -> NDArray[Any]:
    """Indices of classes: found by the classes' names, or else their numbers; otherwise the labels are the indices.

    Raises:
      InputError: a label is neither.
    """
    places = {name: index for index, name in enumerate(classes)} | {
        csv_text(name): index for index, name in enumerate(classes)
    }
    distinct = set(labels)
    if not distinct <= places.keys():
        by_number = {number: index for index, number in enumerate(class_numbers(classes) or ())}
        numbers = {label: class_number(label) for label in distinct}
        if by_number and all(number in by_number for number in numbers.values()):
            places = {label: by_number[number] for label, number in numbers.items() if number is not None}
        elif not all(map(_is_number, distinct)):
            wrong = next(label for label in labels if label not in places)
            raise InputError(
                f"column {column!r} of {where} has the label {wrong!r}, which no column of outputs is named after"
                f"{did_you_mean(wrong, classes)}: the classes are {listed(classes, most=8)}"
            )
        else:
            return np.array([float(label) for label in labels])
    return np.array([places[label] for label in labels], dtype=np.int64)


def _numbers(frame: pd.DataFrame, names: Sequence[str], where: str) -> NDArray[np.float64]:
    return np.stack([numbers_in(frame, name, where) for name in names], axis=1)


def numbers_in(frame: pd.DataFrame, name: str, where: str) -> NDArray[np.float64]:
    """The real numbers float64 (N,) in a column.

    Raises:
      InputError: it holds something else, or lacks a value.
    """
    try:
        return _real(frame[name])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"column {name!r} of {where} holds something other than numbers ({one_line(error)}): correct or remove it"
        ) from error


def _listed_numbers(frame: pd.DataFrame, name: str, where: str) -> NDArray[np.float64]:
    """float64 (N, C), of a column with a list of C numbers in each row."""
    rows: list[NDArray[np.float64]] = []
    for number, row in enumerate(frame[name]):
        try:
            values = _real(row)
        except (ValueError, TypeError):
            values = np.zeros(())
        if values.ndim != 1 or (rows and len(values) != len(rows[0])):
            raise InputError(
                f"column {name!r} of {where} must hold one number for each class in every row, but row {number} holds "
                "something else, or another number of them: correct that row or leave it out"
            )
        rows.append(values)
    return np.stack(rows)


def _real(values: Any) -> NDArray[np.float64]:
    """Real numbers; a conversion alone would read dates as numbers, and drop what is imaginary.

    Raises:
      ValueError, TypeError: they are none.
    """
    array = np.asarray(values)
    if array.dtype.kind in "cmM":
        raise ValueError(f"values of type {array.dtype}")
    return array.astype(np.float64)
