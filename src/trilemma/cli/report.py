"""``trilemma report``: the page of one model, or that of studies again, without training."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.required import required_by, status_of
from trilemma.cli.terminal import show, show_error
from trilemma.errors import InputError
from trilemma.report.collect import report_of
from trilemma.report.evidence import AUDIT, OneModel
from trilemma.report.model_page import PDF, write_model_page
from trilemma.study.folder import StudyFolder
from trilemma.trial.gate import judge
from trilemma.trial.run import CONFIG, why_not_private
from trilemma.words import clean


def report_command(options: argparse.Namespace) -> int:
    folders = [Path(name) for name in dict.fromkeys(options.folders)]
    out = None if options.out is None else Path(options.out)
    missing = next((folder for folder in folders if not folder.exists()), None)
    if missing is not None:
        raise InputError(f"{missing} does not exist: give the folder of a run, an audit or a study")
    models = [folder for folder in folders if (folder / CONFIG).exists() or (folder / AUDIT).exists()]
    if not models:
        if options.require is not None or options.pdf:
            raise InputError("--require and --pdf are for one model: give the folder of a run or an audit")
        show(str(report_of([StudyFolder(folder) for folder in folders], out)))
        return 0
    if len(folders) > 1:
        raise InputError("the page of one model is about one run or one audit: give one folder")
    model = OneModel.read(models[0])
    required = required_by(options, model.result)
    page = write_model_page(
        model, out or models[0], judge(required, model.result), pdf=options.pdf, images=options.images
    )
    show(str(page), *([str(page.with_name(PDF))] if options.pdf else []))
    if wrong := why_not_private(model.result):
        show_error(f"trilemma: {clean(wrong)}")
        return 1
    return status_of(required, model.result)
