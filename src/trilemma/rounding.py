"""Bounds as text: an upper bound is never printed below what it was, and a lower bound never above."""

from __future__ import annotations

import math
from decimal import MAX_EMAX, ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def upper(bound: float, decimals: int = 3) -> str:
    """An upper bound with a fixed number of decimals.

    >>> upper(7.9990001), upper(8.0), upper(0.5, 2)
    ('8.000', '8.000', '0.50')
    """
    return f"{decimals_up(exact(bound), decimals):f}" if math.isfinite(bound) else str(bound)


def lower(bound: float, decimals: int = 3) -> str:
    """A lower bound with a fixed number of decimals.

    >>> lower(1.3399999, 2), lower(0.0, 2)
    ('1.33', '0.00')
    """
    return f"{_quantized(exact(bound), decimals, ROUND_FLOOR):f}"


def rounded_up(bound: float, decimals: int = 3) -> str:
    """An upper bound with at most so many decimals.

    >>> rounded_up(8.0), rounded_up(7.90001), rounded_up(1234.5612), rounded_up(7.999046, 6)
    ('8', '7.901', '1234.562', '7.999046')
    """
    return f"{decimals_up(exact(bound), decimals).normalize():f}"


def percent_up(share: float) -> str:
    """An upper bound on a share, in percent with at most three digits.

    >>> percent_up(0.14448), percent_up(1.0)
    ('14.5', '100')
    """
    return f"{digits_up(100 * exact(share), 3).normalize():f}"


def exact(value: float) -> Decimal:
    """The number that the shortest text of a float is, as files hold it."""
    return Decimal(repr(float(value)))


def decimals_up(number: Decimal, decimals: int) -> Decimal:
    """The next number, upward, with so many decimals."""
    return _quantized(number, decimals, ROUND_CEILING)


def digits_up(number: Decimal, digits: int) -> Decimal:
    """The next number, upward, with so many significant digits."""
    return Context(prec=digits, rounding=ROUND_CEILING, Emax=MAX_EMAX).plus(number)


def _quantized(number: Decimal, decimals: int, rounding: str) -> Decimal:
    places = max(0, number.adjusted()) + decimals + 2
    return number.quantize(Decimal(1).scaleb(-decimals), rounding, Context(prec=places))
