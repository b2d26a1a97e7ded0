"""Maps labels and groups as people write them (words, sparse numbers) to 0 .. C - 1, and keeps their names."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.hints import did_you_mean, listed

_DIGITS = re.compile(r"-?[0-9]+\Z")
_WHOLE = re.compile(r"(0|-?[1-9][0-9]*)\Z")
_LARGEST = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Coded:
    """Values coded as numbers, and the names of the codes.

    Attributes:
      codes: int64 (N,) in [0, C), one array for each part.
      names: the names of the C codes.
      notes: what was changed, in sentences.
    """

    codes: list[NDArray[np.int64]]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def code(
    parts: Sequence[Sequence[object]],
    *,
    names: tuple[str, ...] | None = None,
    what: str = "label",
    where: str = "the data",
) -> Coded:
    """Codes 0 .. C - 1 for the values in all ``parts``, which share one coding, and the C names.

    Values are whole numbers (also as floats without a fraction), words, or booleans.  Words stay as they are written,
    blanks, case and leading zeros included, but for their Unicode form, which becomes NFC.  Without ``names`` the
    values that occur are sorted (numbers by size, also where they are text) and numbered; their texts are the names.
    With ``names``, words must be among them, and numbers are positions in them.

    >>> coded = code([[30, 10, 30], [20]])
    >>> [list(map(int, part)) for part in coded.codes], coded.names
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
    notes = _composed(parts, cleaned, what, where)
    if names is not None:
        names = check_names(names, what, where)
    if all(isinstance(value, str) and _WHOLE.match(value) for value in values) and not (names and values <= set(names)):
        cleaned = [[int(value) for value in part] for part in cleaned]
        values = {value for part in cleaned for value in part}
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        raise InputError(f"{where} mixes numbers and words as {what}s: write all of them the same way")
    if kinds == {int}:
        coding, names = _by_number({int(value) for value in values}, names, what, where)
    else:
        notes += () if names is not None else _alike(values, what, where)
        coding, names = _by_word({str(value) for value in values}, names, what, where)
    codes = [np.array([coding[value] for value in part], dtype=np.int64) for part in cleaned]
    return Coded(codes, names, notes)


def check_names(names: Iterable[object], what: str, where: str) -> tuple[str, ...]:
    """The names of numbered labels as text in Unicode's form NFC; bytes are read as UTF-8.

    Raises:
      InputError: a name is blank or not readable, or two are the same.
    """
    texts = tuple(_text(name, f"{where} has the {what} name") for name in names)
    for position, text in enumerate(texts):
        if not text.strip():
            raise InputError(f"{where} has a blank name for the {what} {position}: give it one")
    name, count = Counter(texts).most_common(1)[0] if texts else ("", 0)
    if count > 1:
        raise InputError(f"{where} has the {what} name {name!r} more than once: give each {what} a name of its own")
    return texts


def by_name(values: Sequence[object], names: Sequence[str], what: str, where: str) -> list[object]:
    """Replace numbered values by the names that are recorded for them; other values stay as they are.

    >>> by_name([1, 0, None], ["cat", "dog"], "label", "x.parquet")
    ['dog', 'cat', None]

    Raises:
      InputError: a number has no name.
    """
    named: list[object] = []
    for row, value in enumerate(values):
        if isinstance(value, (bool, float)) and float(value).is_integer():
            value = int(value)
        if isinstance(value, int):
            if not 0 <= value < len(names):
                raise InputError(
                    f"{where} has the {what} {value}, out of range for {len(names)} names, in row {row}: {what}s go "
                    f"from 0 to {len(names) - 1}"
                )
            value = names[value]
        named.append(value)
    return named


def _by_number(
    values: set[int], names: tuple[str, ...] | None, what: str, where: str
) -> tuple[dict[int | str, int], tuple[str, ...]]:
    smallest, largest = min(values), max(values)
    if smallest < 0:
        raise InputError(
            f"{where} has the negative {what} {smallest}: {what}s count from 0; remove or renumber these rows"
        )
    if largest > _LARGEST:
        raise InputError(f"{where} has the {what} {str(largest)[:20]}...: {what}s are whole numbers of at most 64 bits")
    if names is None:
        ordered = sorted(values)
        return {value: position for position, value in enumerate(ordered)}, tuple(str(value) for value in ordered)
    if largest >= len(names):
        raise InputError(
            f"{where} has the {what} {largest}, out of range for {len(names)} names: "
            f"{what}s go from 0 to {len(names) - 1}"
        )
    return {position: position for position in range(len(names))}, names


def _by_word(
    values: set[str], names: tuple[str, ...] | None, what: str, where: str
) -> tuple[dict[int | str, int], tuple[str, ...]]:
    if names is None:
        numbered = all(_DIGITS.match(value) and len(value) < 20 for value in values)
        names = tuple(sorted(values, key=(lambda word: (int(word), word)) if numbered else (lambda word: (0, word))))
    coding: dict[int | str, int] = {name: position for position, name in enumerate(names)}
    for value in sorted(values - set(names)):
        raise InputError(
            f"{where} has the {what} {value!r}, which is not one of: {listed(names)}{did_you_mean(value, names)}"
        )
    return coding, names


def _clean(value: object, row: int, what: str, where: str) -> int | str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, (str, bytes)):
        value = _text(value, f"{where} has in row {row} the {what}")
        if value.strip():
            return value
    if value is None or isinstance(value, str) or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"{where} has no {what} in row {row}: fill it in or remove the row")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise InputError(
        f"{where} has the {what} {_short(value)} in row {row}: a {what} is a whole number or a word"
        + ("; regression targets are not supported" if isinstance(value, float) else "")
    )


def _text(value: object, value_words: str) -> str:
    """Text in NFC; bytes are UTF-8 and nothing else, since replacing what is not would merge names."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{value_words} {_short(value)}, which is not UTF-8: write it as text") from None
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{value_words} {_short(text)}, which is not Unicode text: rename it") from None
    return unicodedata.normalize("NFC", text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _composed(
    parts: Sequence[Sequence[object]], cleaned: Sequence[Sequence[int | str]], what: str, where: str
) -> tuple[str, ...]:
    """A note on words whose Unicode form was changed."""
    changed = [
        text
        for part, texts in zip(parts, cleaned, strict=True)
        for value, text in zip(part, texts, strict=True)
        if isinstance(value, str) and value != text
    ]
    if not changed:
        return ()
    texts = listed(sorted(set(map(str, changed))))
    return (f"{where}: {len(changed)} {what}s were brought to Unicode's form NFC ({texts}), so that a name is one",)


def _alike(values: set[int | str], what: str, where: str) -> tuple[str, ...]:
    """A note on words that differ only in what is easily mistyped; they stay different."""
    near: dict[str, list[str]] = {}
    for value in sorted(str(value) for value in values):
        plain = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
        near.setdefault(str(int(plain)) if _DIGITS.match(plain) and len(plain) < 4000 else plain, []).append(value)
    return tuple(
        f"{where}: the {what}s {listed(map(repr, group))} differ only in blanks, case or leading zeros, and are "
        f"taken as {len(group)} different ones"
        for group in near.values()
        if len(group) > 1
    )
