"""Errors that the user can act on, and the warning about data that are used nonetheless."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what is wrong, and how to mend it.  The command line prints it without a
    traceback and ends with exit status 2; from Python it is a :class:`ValueError`.
    """


class PrivacyError(InputError):
    """The guarantee cannot cover what was asked for, so it is refused (never run with a warning)."""


class DataWarning(UserWarning):
    """What was left out, merged, renamed, converted or found twice while data were loaded, with counts.

    The same sentences are kept as the notes of the data set and of every run on it; the command line prints those.
    """
