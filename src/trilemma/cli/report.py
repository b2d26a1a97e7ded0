"""``trilemma report``: draw the page again, without training."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.terminal import show
from trilemma.report.collect import report_of
from trilemma.study.folder import StudyFolder


def report_command(given: argparse.Namespace) -> int:
    folders = [StudyFolder(Path(name)) for name in dict.fromkeys(given.folders)]
    page = report_of(folders, None if given.out is None else Path(given.out))
    show(str(page))
    return 0
