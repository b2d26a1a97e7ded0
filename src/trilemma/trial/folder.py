"""A run on disk: complete configuration, history, signals, weights and result, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.errors import InputError
from trilemma.files import append_line, written

CONFIG, RESULT, HISTORY = "config.json", "result.json", "history.jsonl"
SIGNALS, WEIGHTS = "signals.parquet", "model.safetensors"


def why_not_private(result: Mapping[str, Any]) -> str | None:
    """Which part of its truth check a run with a budget failed, in one line, from its ``result.json``; else None."""
    truth = (result.get("privacy") or {}).get("truth")
    if truth is None or truth["passed"]:  # runs of older versions have none
        return None
    failed = {name: check for name, check in truth["checks"].items() if not check["passed"]}
    name, check = next(iter(failed.items()))
    ends = [check["limit"]] if "limit" in check else check["interval"]
    allowed = " to ".join(_number(end) for end in ends)
    more = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    return (
        f"not private (truth check failed): {name} is {_number(check['value'])}, allowed is "
        f"{'at most ' if len(ends) == 1 else ''}{allowed} ({check['what']}){more}"
    )


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"


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

    def withdraw_epsilon(self) -> None:
        """The run turned out not to be private: its lines claim no epsilon."""
        lines = [json.loads(line) | {"epsilon": None} for line in self._path.read_text("utf-8").splitlines()]
        with written(self._path) as part:
            part.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), "utf-8")
