"""Symbols that several schemes share: digits, of text or with rows of their own, and the numbers of tools that fall
together. Knows no scheme."""

from typing import Literal, cast, get_args

from toolgen.codebook import Codebook, Encode
from toolgen.errors import InputError
from toolgen.indexing.options import settle

DIGITS = "0123456789"

Digits = Literal["text", "new"]
"""``text``: digits of the base vocabulary. ``new``: a new symbol for each digit of each level of a code."""


def digit(scheme: str, level: int, value: int, digits: Digits) -> str:
    """A digit as a symbol, such as ``"7"`` or ``"<<h2:7>>"``; ``scheme`` is a letter, levels count from 1."""
    return str(value) if digits == "text" else f"<<{scheme}{level}:{value}>>"


def value_of(symbol: str) -> int:
    """The digit that a symbol of ``digit`` stands for."""
    return int(symbol.rpartition(":")[2].removesuffix(">>"))


def numbered(number: int) -> str:
    """The last symbol of the second, third, ... tool of one code; all codes share these few symbols."""
    assert number > 1, "the first tool needs no number"
    return f"<<#{number}>>"


def settle_digits(given: Digits | None, base: Codebook | None, encode: Encode) -> Digits:
    """The kind of digits as given, else the base's, else ``text``.

    Raises:
        InputError: There is no such kind, the base has the other, or the tokenizer confuses two digits of text.
    """
    digits = settle("digits", given, base, "text")
    if digits not in get_args(Digits):
        raise InputError(f"digits is {digits!r}. Choose one of {', '.join(get_args(Digits))}.")
    if digits == "text":
        _check_digits(encode)
    return cast(Digits, digits)


def _check_digits(encode: Encode) -> None:
    digit_of: dict[tuple[int, ...], str] = {}
    for text in DIGITS:
        ids = tuple(encode(text))
        if ids in digit_of:
            raise InputError(
                f"The tokenizer turns the digits {digit_of[ids]} and {text} into the same tokens {list(ids)}, so "
                "numbers cannot be told apart. Use a tokenizer with ten digits, --digits new, or --scheme atomic."
            )
        digit_of[ids] = text
