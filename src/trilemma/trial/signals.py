"""``signals.parquet``: what an audit knows of each example, written and read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.limits import check_packing, check_size, memory_cap
from trilemma.errors import InputError
from trilemma.files import opened, written
from trilemma.hints import one_line

if TYPE_CHECKING:
    from trilemma.attacks import Audit, Predictions

_ROW = 64
"""Bytes that a row takes in a file at least, as losses and scores do not repeat."""


def write_signals(path: Path, predictions: Predictions, audit: Audit, index: NDArray[np.int64] | None = None) -> None:
    """``signals.parquet``: a row per audited example, in the predictions' order.  Its owner alone can read it.

    Args:
      path: the file.
      predictions: what was audited.
      found: the audit.
      index: int64 (N,), each example's place in its split; None counts the rows.

    ``weight`` is what the row counted in the attacks (0: not compared), ``score_NAME`` an attack's score, higher
    meaning member.  ``membership_probability`` is that of the loss's histograms, ``membership_probability_NAME`` that
    of a shadow attack: null where it could not be checked, for the ``reason`` in the metadata of that column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    total, signals = len(predictions), audit.signals
    columns = {
        "index": np.arange(total) if index is None else index,
        "source": np.arange(total) if predictions.sources is None else predictions.sources,
        "member": predictions.member,
        "label": predictions.labels,
        "group": pa.nulls(total, pa.int64()) if predictions.groups is None else pa.array(predictions.groups),
        "weight": np.ones(total) if audit.weights is None else audit.weights,
        "predicted": signals.predicted,
        "loss": signals.loss,
        "confidence": signals.confidence,
        "entropy": signals.entropy,
        "modified_entropy": signals.modified_entropy,
        "membership_probability": audit.membership_probability,
        **{f"membership_probability_{name}": values for name, values in audit.probabilities.items()},
        **{f"score_{name}": scores for name, scores in audit.scores.items()},
    }
    if predictions.logits is not None:
        flat = pa.array(np.ascontiguousarray(predictions.logits, dtype=np.float32).reshape(-1))
        columns["logits"] = pa.FixedSizeListArray.from_arrays(flat, predictions.classes)
    table = pa.table(columns)
    for name, reason in audit.probability_reason.items():
        column = pa.field(f"membership_probability_{name}", pa.float64(), metadata={"reason": reason})
        table = table.append_column(column, pa.nulls(total, pa.float64()))
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    with written(path, private=True) as part:
        part.write_bytes(content.getvalue())


def read_signals(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Some or all columns of ``signals.parquet``, as a table of Arrow.

    Raises:
      InputError: the file cannot be read, has no such column, or holds more rows than its size can: as a bomb does.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with opened(path) as stream, pq.ParquetFile(stream) as file:
            about = file.metadata
            size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
            check_size(max(size, _ROW * about.num_rows), memory_cap(), str(path))
            check_packing(max(size, _ROW * about.num_rows), path.stat().st_size, str(path))
            missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
            if missing:
                raise KeyError(f"it has no column {missing[0]}")
            return file.read(columns)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path} ({one_line(error)}): train again, or put the file back") from error
