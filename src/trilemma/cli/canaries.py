"""The options that put canaries into a training.  No slow module is imported before they are used."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trilemma.errors import InputError

if TYPE_CHECKING:
    from trilemma.training.canaries import Canaries


def add_canary_options(command: argparse.ArgumentParser) -> None:
    """Add ``--canaries`` and ``--canary``."""
    group = command.add_argument_group("audit of the budget in this one training")
    group.add_argument(
        "--canaries",
        type=int,
        metavar="M",
        help="add M extra examples that nobody owns, each with probability ½, and bound epsilon from below by what "
        "the training shows of them; the guarantee of the real examples stays as it is",
    )
    group.add_argument(
        "--canary",
        metavar="KIND",
        help="what they are: gradient (directions of the clipping norm; the default, and the strongest), mislabelled "
        "(synthetic images with random labels), blank (images of one color)",
    )


def canaries_of(options: argparse.Namespace) -> Canaries | None:
    """The canaries that the command line asks for.

    Raises:
      InputError: a kind without a number, or a kind or number that cannot be.
    """
    if options.canaries is None:
        if options.canary is not None:
            raise InputError(f"--canary {options.canary} needs a number: add --canaries 1000")
        return None
    from trilemma.training.canaries import Canaries

    return Canaries(options.canary or "gradient", options.canaries)
