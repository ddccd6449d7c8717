"""Exact numbers as texts write them: ``"$22,500"``, ``".8"``, ``"15%"``, ``"3/4"``. Knows no functions and no calls."""

import re
from fractions import Fraction
from math import ceil

DECIMALS = 4
"""Decimals of a shown number, as in FuncQA's answers. GSM8K's calls never show more than three."""

MOST_DIGITS = 4000
"""Longest number that is held. Python itself reads and writes no integer of more than 4,300 digits."""

_MOST_CHARACTERS = MOST_DIGITS + 100
"""With room for what stands beside the digits of a number that was shown."""

_GROUPED = "[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])"


def _number(whole: str) -> str:
    decimal = rf"(?:(?:{whole})(?:\.[0-9]*)?|\.[0-9]+)"
    return rf"[+-]?(?:(?:{whole})/(?:{whole})|\$?{decimal}%?)"


NUMBER = re.compile(_number(f"{_GROUPED}|[0-9]+"))
"""A number. Commas are part of it where they group all of its digits by thousands."""

NUMBER_WITHOUT_COMMAS = re.compile(_number("[0-9]+"))


class NumberError(ValueError):
    """A text is no number."""


def read_number(text: str) -> Fraction:
    """The exact value of a number that is all of a text but for spaces around it.

    Example:
        >>> [str(read_number(text)) for text in ("$22,500", "-.8", "15%", "6/8")]
        ['22500', '-4/5', '3/20', '3/4']

    Raises:
        NumberError: The text is no number, is too long or divides by zero.
    """
    text = text.strip()
    if len(text) > _MOST_CHARACTERS:
        raise NumberError(f"A number of {len(text):,} characters is too long; at most {_MOST_CHARACTERS:,} are read.")
    if not NUMBER.fullmatch(text):
        raise NumberError(f"{brief(text)} is no number. Numbers are written like 12, -0.5, 22,500, $8, 15% or 3/4.")
    bare = text.translate(str.maketrans("", "", "$,%"))
    try:
        return Fraction(bare) / (100 if text.endswith("%") else 1)
    except ZeroDivisionError as error:
        raise NumberError(f"{brief(text)} divides by zero.") from error


def show_number(value: Fraction) -> str:
    """Write a number of at most ``MOST_DIGITS`` digits: rounded half to even, no exponent, no zeros at the end.

    There are ``DECIMALS`` decimals, and for a number below a tenth as many digits behind its leading zeros: shown as 0
    it would be lost for every later call.

    Example:
        >>> [show_number(Fraction(text)) for text in ("7", "0.50", "2/3", "-1/30000")]
        ['7', '0.5', '0.6667', '-0.00003333']
    """
    size = abs(value)
    # As many digits as 1 / size has, but for powers of ten, which are themselves the first number without a zero.
    zeros = len(str(ceil(1 / size) - 1)) - 1 if 0 < size < 1 else 0
    decimals = DECIMALS + zeros
    digits = str(round(size * 10**decimals)).zfill(decimals + 1)
    shown = f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")
    return f"-{shown}" if value < 0 else shown


def brief(text: str) -> str:
    """A text in quotes, cut to what an error message has room for."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
