"""``trilemma studies``: list the studies, with their trials and an estimate of the time on this machine."""

from __future__ import annotations

import argparse
from dataclasses import replace

from trilemma.cli.closing import aligned
from trilemma.cli.terminal import show
from trilemma.machine import cores
from trilemma.study.estimate import estimate
from trilemma.study.file import STUDIES, load_study, read_study
from trilemma.study.trials import Study, Trial, expand
from trilemma.words import clock


def studies_command(options: argparse.Namespace) -> int:
    names = [options.study] if options.study else list(STUDIES)
    rows = []
    for name in names:
        head = read_study(name)
        parts = load_study(name)
        scales: list[str | None] = list(dict.fromkeys(scale for part in parts for scale in part.scales))
        for scale in scales or [None]:
            plans = [expand(part, scale=scale, seeds=options.seeds) for part in parts]
            trials = {trial.id: trial for plan in plans for trial in plan.trials}
            # All parts as one study, since trials that several parts share are run once.
            whole = estimate(_merged(plans[0], trials))
            spent = "?" if whole.seconds is None else _time_here(whole.seconds / cores())
            rows.append((name, scale or "", str(whole.trials), spent, head.title))
    show(
        *aligned(("study", "scale", "trials", "time here", ""), rows),
        "",
        f"Times are estimates for {cores()} workers, from a few updates of each kind of trial, just measured on "
        "one core; the time of attacks is a rule of thumb.",
        "Run one: trilemma study NAME --scale SCALE --out DIR",
    )
    return 0


LONGEST = 14 * 86400.0
"""Seconds on this machine above which a study is not meant for its CPU."""


def _time_here(seconds: float) -> str:
    """The time that a study takes on this machine, in words.

    >>> _time_here(7300), _time_here(3e9)
    ('2 h 1 min', 'needs a GPU')
    """
    return clock(seconds) if seconds < LONGEST else "needs a GPU"


def _merged(plan: Study, trials: dict[str, Trial]) -> Study:
    return replace(plan, trials=tuple(trials.values()))
