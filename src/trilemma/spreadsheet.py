"""CSV files that are safe to open in a spreadsheet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from trilemma.files import written
from trilemma.words import clean

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # some spreadsheets treat the wide forms alike
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def csv_text(text: str) -> str:
    """Text from outside in the form that a CSV file may hold: a spreadsheet that opens the file computes nothing.

    Text that would begin a formula is preceded by an apostrophe, which spreadsheets read as "this is text"; control
    characters, which might begin a new row or cell, become � (see :func:`trilemma.words.clean`).

    >>> csv_text("=1+1"), csv_text("-0.5"), csv_text("a=b"), csv_text("\\r@x")
    ("'=1+1", '-0.5', 'a=b', '�@x')
    """
    shown = clean(text)
    formula = shown.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if formula else shown


def write_csv(table: pd.DataFrame, path: Path, *, durable: bool = True) -> None:
    """Write a table for spreadsheets, every text as :func:`csv_text` makes it; the index is left out.

    Raises:
      InputError: the disk is full or the file cannot be written.
    """
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    safe = table.copy()
    for name in table.columns:
        if not is_numeric_dtype(table[name].dtype):
            cells = [csv_text(cell) if isinstance(cell, str) else cell for cell in table[name]]
            safe[name] = pd.Series(cells, index=table.index, dtype=object)
    with written(path, durable=durable) as part:
        safe.to_csv(part, index=False, lineterminator="\n")
