"""The two ways in which a command can end other than well."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what is wrong, and how to mend it.  The command line prints it without a
    traceback and ends with exit status 2; from Python it is a :class:`ValueError`.
    """


class PrivacyError(InputError):
    """What was asked for cannot be covered by the guarantee, so it is refused (never run with a warning)."""
