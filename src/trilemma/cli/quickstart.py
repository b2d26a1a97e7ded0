"""``trilemma quickstart``: the study ``quickstart`` on the embedded digits, and where its page is."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.study import conduct, default_workers, plan
from trilemma.cli.terminal import show
from trilemma.study.pool import Pool
from trilemma.study.runner import Settings
from trilemma.training.execution import Execution

SHORT_SEEDS = 2


def quickstart_command(given: argparse.Namespace) -> int:
    out = Path(given.out) / "short" if given.short else Path(given.out)
    studies = plan("quickstart", scale="short" if given.short else "small", seeds=SHORT_SEEDS if given.short else None)
    show(studies[0].about)
    workers = default_workers("cpu", len(studies[0].trials))
    return conduct(studies, out, Pool(workers), Settings(execution=Execution("cpu")))
