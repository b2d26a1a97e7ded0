"""``--require "CONDITIONS"`` of ``train``, ``audit`` and ``report``: a gate, for people and for CI."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.cli.terminal import show
from trilemma.trial.gate import STATUS, Condition, conditions, judge


def required_by(options: argparse.Namespace, outside: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions that the command line requires, read before anything is computed.

    Args:
      options: of the command.
      outside: names of the attacks and measures that may be named besides ours, under ``attacks`` and ``measures``.

    Raises:
      InputError: one that names no measure or no number.
    """
    return () if options.require is None else conditions(options.require, outside)


def status_of(required: Sequence[Condition], result: Mapping[str, Any]) -> int:
    """Print a line for each condition; the exit status: 0, or 3 unless all hold."""
    judgments = judge(required, result)
    if judgments:
        show("required:", *(f"  {judgment.line}" for judgment in judgments))
    return 0 if all(judgment.verdict == "holds" for judgment in judgments) else STATUS
