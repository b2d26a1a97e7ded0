"""``trilemma report``: draw the page of studies again, without training."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.terminal import show
from trilemma.report.collect import report_of
from trilemma.study.folder import StudyFolder


def report_command(options: argparse.Namespace) -> int:
    folders = [StudyFolder(Path(name)) for name in dict.fromkeys(options.folders)]
    page = report_of(folders, None if options.out is None else Path(options.out))
    show(str(page))
    return 0
