"""Errors that the user can act on, and the warning about data that are used nonetheless."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what is wrong, and how to mend it.  The command line prints it without a
    traceback and ends with exit status 2; from Python it is a :class:`ValueError`.
    """


def check_type(what: str, value: object, wanted: type | tuple[type, ...], mend: str) -> None:
    """Refuse an argument of another type.

    >>> check_type("network", 5, str, "its name")
    Traceback (most recent call last):
    trilemma.errors.InputError: network is an object of type int: give its name

    Raises:
      InputError: ``value`` is of none of the types ``wanted``.
    """
    if not isinstance(value, wanted):
        raise InputError(f"{what} is an object of type {type(value).__name__}: give {mend}")


class PrivacyError(InputError):
    """The guarantee cannot cover what was asked for, so it is refused (never run with a warning)."""


class DataWarning(UserWarning):
    """What was left out, merged, renamed, converted or found twice while data were loaded, with counts; or how a column
    of a table of predictions was read where that is not certain.

    The sentences on data are kept as the notes of the data set and of every run on it; the command line prints those.
    """
