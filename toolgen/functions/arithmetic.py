"""FuncQA's 13 functions on exact numbers, each bounded. Knows no text of calls, no catalogues and no models.

A result is exact while its numerator and denominator have at most ``MOST_DIGITS`` digits each. Beyond that, and where
it is irrational, it has ``PRECISION`` significant digits, computed from the first ``PRECISION + 30`` of each argument.
A result that would take more than ``MOST_DIGITS`` digits to write is refused before it is computed in full.
"""

import math
from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation, Overflow, Underflow
from fractions import Fraction
from functools import reduce

from toolgen.functions.numbers import MOST_DIGITS

PRECISION = 50
"""Significant digits of results that are not exact."""

_TOO_LONG = 10**MOST_DIGITS
_WORKING = Context(prec=PRECISION + 30, traps=[InvalidOperation, Overflow, Underflow])
_FINAL = Context(prec=PRECISION)


class NoResultError(ArithmeticError):
    """A function has no result for these numbers, or none that can be held."""


def add(*numbers: Fraction) -> Fraction:
    """The sum."""
    return reduce(lambda one, other: _held(one + other), numbers)


def subtract(*numbers: Fraction) -> Fraction:
    """The first number less all others."""
    return reduce(lambda one, other: _held(one - other), numbers)


def multiply(*numbers: Fraction) -> Fraction:
    """The product."""
    return reduce(lambda one, other: _held(one * other), numbers)


def divide(*numbers: Fraction) -> Fraction:
    """The first number divided by all others, one after the other.

    Raises:
        NoResultError: One of the others is zero.
    """
    return reduce(lambda one, other: _held(one / _divisor(other)), numbers)


def remainder(dividend: Fraction, divisor: Fraction) -> Fraction:
    """What a division into whole parts leaves; it has the divisor's sign.

    Raises:
        NoResultError: The divisor is zero.
    """
    return _held(dividend % _divisor(divisor))


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """A power; exact where the base has the root that a fractional exponent asks for.

    Example:
        >>> power(Fraction(8, 27), Fraction(-2, 3))
        Fraction(9, 4)

    Raises:
        NoResultError: Zero has a negative exponent or a negative base a fractional one, or the result is too long.
    """
    if base < 0 and exponent.denominator != 1:
        raise NoResultError("a negative number has no real power with a fractional exponent")
    if base == 0 and exponent < 0:
        raise NoResultError("division by zero: zero has no power with a negative exponent")
    sign = -1 if base < 0 and exponent.numerator % 2 else 1
    size = abs(base)
    above, below = (_root(part, exponent.denominator) for part in (size.numerator, size.denominator))
    if above is not None and below is not None:
        # Bits less one, times the exponent, are never more than the bits of the power.
        if (max(above, below).bit_length() - 1) * abs(exponent.numerator) <= _TOO_LONG.bit_length():
            return _held(sign * Fraction(above, below) ** exponent.numerator)
    return sign * _rounded(lambda: _WORKING.power(_decimal(size), _decimal(exponent)))


def sqrt(number: Fraction) -> Fraction:
    """The square root; exact where it is rational.

    Raises:
        NoResultError: The number is negative.
    """
    if number < 0:
        raise NoResultError("a negative number has no real square root")
    return power(number, Fraction(1, 2))


def log(number: Fraction) -> Fraction:
    """The logarithm to base 10; exact for powers of ten.

    Raises:
        NoResultError: The number is not above zero.
    """
    return _rounded(lambda: _WORKING.log10(_decimal(_above_zero(number))))


def ln(number: Fraction) -> Fraction:
    """The natural logarithm.

    Raises:
        NoResultError: The number is not above zero.
    """
    return _rounded(lambda: _WORKING.ln(_decimal(_above_zero(number))))


def lcm(*numbers: Fraction) -> Fraction:
    """The least common multiple of whole numbers.

    Raises:
        NoResultError: It is too long.
    """
    return reduce(lambda one, other: _held(Fraction(math.lcm(int(one), int(other)))), numbers, Fraction(1))


def gcd(*numbers: Fraction) -> Fraction:
    """The greatest common divisor of whole numbers."""
    return Fraction(math.gcd(*map(int, numbers)))


def choose(things: Fraction, chosen: Fraction) -> Fraction:
    """In how many ways so many things can be chosen, their order aside.

    Raises:
        NoResultError: A number is negative or the result is too long.
    """
    n, k = _counts(things, chosen)
    if k > n:
        return Fraction(0)
    ways = 1
    for taken in range(min(k, n - k)):
        ways = _short(ways * (n - taken) // (taken + 1))
    return Fraction(ways)


def permutate(things: Fraction, chosen: Fraction) -> Fraction:
    """In how many orders so many things can be chosen.

    Raises:
        NoResultError: A number is negative or the result is too long.
    """
    n, k = _counts(things, chosen)
    if k > n:
        return Fraction(0)
    ways = 1
    for taken in range(k):
        ways = _short(ways * (n - taken))
    return Fraction(ways)


def _counts(things: Fraction, chosen: Fraction) -> tuple[int, int]:
    if things < 0 or chosen < 0:
        raise NoResultError("neither number may be negative")
    return int(things), int(chosen)


def _above_zero(number: Fraction) -> Fraction:
    if number <= 0:
        raise NoResultError("only numbers above zero have a logarithm")
    return number


def _divisor(number: Fraction) -> Fraction:
    if number == 0:
        raise NoResultError("division by zero")
    return number


def _short(number: int) -> int:
    if number >= _TOO_LONG:
        raise NoResultError(f"the result has more than {MOST_DIGITS:,} digits")
    return number


def _root(number: int, degree: int) -> int | None:
    """The whole root of a number that is not negative, if it has one."""
    if degree == 1 or number < 2:
        return number
    if degree >= number.bit_length():
        return None
    # Newton's method from above: the steps fall until they are at the root, rounded down.
    lower = 1 << -(-number.bit_length() // degree)
    root = lower + 1
    while lower < root:
        root, lower = lower, ((degree - 1) * lower + number // lower ** (degree - 1)) // degree
    return root if root**degree == number else None


def _decimal(number: Fraction) -> Decimal:
    return _WORKING.divide(Decimal(number.numerator), Decimal(number.denominator))


def _held(number: Fraction) -> Fraction:
    if max(abs(number.numerator), number.denominator) < _TOO_LONG:
        return number
    return _rounded(lambda: _decimal(number))


def _rounded(compute: Callable[[], Decimal]) -> Fraction:
    try:
        result = _FINAL.plus(compute())
    except (Overflow, Underflow) as error:
        raise NoResultError(f"the result has more than {MOST_DIGITS:,} digits") from error
    if abs(result.adjusted()) >= MOST_DIGITS:
        raise NoResultError(f"the result has more than {MOST_DIGITS:,} digits")
    return Fraction(result)
