"""Options of schemes when a codebook is extended. Knows no scheme."""

from typing import Any, TypeVar

from toolgen.codebook import Codebook
from toolgen.errors import InputError

Value = TypeVar("Value", int, str, bool)


def settle(name: str, given: Value | None, base: Codebook | None, default: Value) -> Value:
    """An option as given; else as the base has it; else the default.

    A base without the option was built before there was one, when the default was the only way.

    Raises:
        InputError: The base was built otherwise.
    """
    if base is None:
        return default if given is None else given
    fixed: Any = base.options.get(name, default)
    if given is not None and given != fixed:
        raise InputError(
            f"The codebook to extend was built with {name} {fixed}, but {name} {given} was asked for. Leave {name} "
            "out, or build a new codebook without extending."
        )
    value: Value = fixed
    return value


def check_at_least(name: str, value: int, least: int, reason: str) -> None:
    """Refuse a number below ``least``; ``reason`` is a sentence."""
    if value < least:
        raise InputError(f"{name} is {value}. {reason} Give {least} or more.")
