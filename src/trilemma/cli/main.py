"""The entry point of ``trilemma``.  Slow imports happen inside the commands."""

from __future__ import annotations

import argparse
import errno
import warnings
from collections.abc import Sequence

from trilemma.cli.arguments import fail, parser
from trilemma.cli.terminal import show, show_error
from trilemma.errors import DataWarning, InputError
from trilemma.words import shortened


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status (see the end of ``--help``)."""
    reader = parser()
    options = reader.parse_args(arguments)
    if options.version:
        from trilemma.version import __version__

        show(f"trilemma {__version__}")
        return 0
    if options.command is None:
        reader.print_help()
        return 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # the commands print the notes of a data set themselves
            status: int = COMMANDS[options.command](options)
            return status
    except InputError as error:
        fail(str(error))
    except KeyboardInterrupt:
        show_error("trilemma: stopped")
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        fail(f"the name {shortened(str(error.filename), 80)} is longer than file names can be: give a shorter one")
    except MemoryError:
        fail("not enough memory: use --limit, a smaller --physical-batch or a smaller model")


def _train(options: argparse.Namespace) -> int:
    from trilemma.cli.train import train_command

    return train_command(options)


def _quickstart(options: argparse.Namespace) -> int:
    from trilemma.cli.quickstart import quickstart_command

    return quickstart_command(options)


def _study(options: argparse.Namespace) -> int:
    from trilemma.cli.study import study_command

    return study_command(options)


def _studies(options: argparse.Namespace) -> int:
    from trilemma.cli.studies import studies_command

    return studies_command(options)


def _report(options: argparse.Namespace) -> int:
    from trilemma.cli.report import report_command

    return report_command(options)


def _audit(options: argparse.Namespace) -> int:
    from trilemma.cli.audit import audit_command

    return audit_command(options)


def _predict(options: argparse.Namespace) -> int:
    from trilemma.cli.predict import predict_command

    return predict_command(options)


def _export(options: argparse.Namespace) -> int:
    from trilemma.cli.export import export_command

    return export_command(options)


def _calibrate(options: argparse.Namespace) -> int:
    from trilemma.cli.budget import calibrate_command

    return calibrate_command(options)


def _epsilon(options: argparse.Namespace) -> int:
    from trilemma.cli.budget import epsilon_command

    return epsilon_command(options)


def _data(options: argparse.Namespace) -> int:
    from trilemma.data import describe_sources

    for source in describe_sources(options.data_dir):
        state = {True: "found", False: "not found", None: "give it"}[source.found]
        show(f"{source.name:<12} {state:<10} {source.what}", *([f"{'':<24}{source.where}"] if source.where else []))
    return 0


COMMANDS = {
    "train": _train,
    "quickstart": _quickstart,
    "study": _study,
    "studies": _studies,
    "report": _report,
    "audit": _audit,
    "predict": _predict,
    "export": _export,
    "calibrate": _calibrate,
    "epsilon": _epsilon,
    "data": _data,
}


if __name__ == "__main__":
    raise SystemExit(main())
