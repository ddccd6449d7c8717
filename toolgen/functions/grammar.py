"""What stands between the brackets of a call, parsed and never evaluated. Knows numbers, but no functions.

::

    arguments = [ number { separator number } ]
    separator = spaces "," spaces

A comma may also be part of a number. What tells the two apart:

- a comma that is followed by a space always separates, and in a text that has one a comma without a space belongs to
  the number if it groups all of its digits by thousands: ``22,500, 20`` are two numbers;
- in a text without such a comma every comma separates: FuncQA writes ``<lcm>(451,762,416)`` of three numbers;
- unless a function does not take that many: ``1,234`` is one number for a square root.
"""

import re

from toolgen.functions.numbers import NUMBER, NUMBER_WITHOUT_COMMAS, NumberError, brief, read_number

MOST_CHARACTERS = 10_000
"""Longest text that is parsed."""

MOST_ARGUMENTS = 100
"""Arguments of a function that takes any number of them."""

_SEPARATOR = re.compile(r"\s*,\s*")
_SEPARATED_BY_SPACE = re.compile(r",\s")


class ArgumentsError(ValueError):
    """A text or a set of values is no arguments of a call."""


def read_arguments(text: str, most: int = MOST_ARGUMENTS) -> tuple[str, ...]:
    """The numbers between the brackets of a call, as they are written there.

    Args:
        text: What stands between the brackets.
        most: Arguments that the function takes; it is for the caller to refuse more.

    Example:
        >>> read_arguments("22,500, 20"), read_arguments("451,762"), read_arguments("451,762", most=1)
        (('22,500', '20'), ('451', '762'), ('451,762',))

    Raises:
        ArgumentsError: The text is too long, or is anything but numbers with commas between them.
    """
    if len(text) > MOST_CHARACTERS:
        raise ArgumentsError(
            f"Arguments of {len(text):,} characters are too long; at most {MOST_CHARACTERS:,} are read."
        )
    text = text.strip()
    if not _SEPARATED_BY_SPACE.search(text):
        apart = _numbers(text, NUMBER_WITHOUT_COMMAS)
        if len(apart) <= most:
            return apart
    return _numbers(text, NUMBER)


def _numbers(text: str, number: re.Pattern[str]) -> tuple[str, ...]:
    found: list[str] = []
    place = 0
    while text:
        if not (argument := number.match(text, place)):
            raise ArgumentsError(
                f"Expected a number at {brief(text[place:])} of the arguments {brief(text)}. "
                "Arguments are numbers with commas between them, such as 4500, 5."
            )
        _check(argument.group())
        found.append(argument.group())
        if argument.end() == len(text):
            break
        if not (separator := _SEPARATOR.match(text, argument.end())):
            raise ArgumentsError(
                f"Expected a comma or the end at {brief(text[argument.end() :])} of the arguments {brief(text)}. "
                "Arguments are numbers with commas between them, such as 4500, 5."
            )
        place = separator.end()
    return tuple(found)


def _check(number: str) -> None:
    try:
        read_number(number)
    except NumberError as error:
        raise ArgumentsError(str(error)) from error
