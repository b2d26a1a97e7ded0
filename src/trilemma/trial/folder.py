"""A run on disk: complete configuration, history, signals, weights and result, each written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trilemma.errors import InputError
from trilemma.files import append_line, written

CONFIG, RESULT, HISTORY = "config.json", "result.json", "history.jsonl"
SIGNALS, WEIGHTS = "signals.parquet", "model.safetensors"


class History:
    """``history.jsonl``: one JSON line per evaluation."""

    def __init__(self, path: Path, keep: int) -> None:
        """Go on after the first ``keep`` lines: later ones belong to updates that will be made again."""
        self._path = path
        lines = path.read_text("utf-8").splitlines()[:keep] if path.exists() and keep else []
        if len(lines) < keep:
            raise InputError(f"{path} has fewer lines than the checkpoint knows: start anew in another --out")
        with written(path) as part:
            part.write_text("".join(line + "\n" for line in lines), "utf-8")
        self.lines = len(lines)

    def append(self, values: dict[str, Any]) -> None:
        append_line(self._path, json.dumps(values, allow_nan=False))
        self.lines += 1
