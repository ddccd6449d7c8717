"""Numeric codes: the tool's number in decimal digits, zero-padded to one width. Knows numbers, no names.

ToolGen (arXiv 2410.03439, appendix D) writes the 47 thousand tools as ``0 0 0 1 2``: five digits, each a token.
"""

from toolgen.codebook import Codebook, Encode
from toolgen.errors import InputError
from toolgen.tools import ToolCatalog

_DIGITS = "0123456789"


def build(
    catalog: ToolCatalog, *, encode: Encode, disambiguate: bool, base: Codebook | None, width: int | None = None
) -> Codebook:
    """Number the tools in catalogue order; see ``toolgen.indexing.build`` for the other arguments.

    Numbers never collide, so ``disambiguate`` has no say. Tools added to a base get the numbers after its greatest.

    Args:
        width: Digits a code. By default that of the base, or, without one, room for as many tools again: digits of
            ``2 * len(catalog) - 1``, which is 5 for ToolGen's 47 thousand.

    Raises:
        InputError: The numbers need more digits, the base has another width, or the tokenizer confuses two digits.
    """
    _check_digits(encode)
    codes = dict(base.codes) if base else {}
    first = 1 + max((int("".join(code)) for code in codes.values()), default=-1)
    added = [tool_id for tool_id in catalog if tool_id not in codes]
    fixed = base.options["width"] if base else None
    if width is None:
        width = fixed or len(str(2 * len(catalog) - 1))
    if fixed and width != fixed:
        raise InputError(
            f"The codebook to extend has {fixed} digits a code, but a width of {width} was asked for. Leave the width "
            "out, or build a new codebook without extending."
        )
    needed = len(str(first + len(added) - 1))
    if needed > width:
        raise InputError(
            f"{first + len(added):,} numbers need {needed} digits, but a code has {width}. Build "
            f"{'a new codebook without extending, ' if base else ''}with --width {needed} or more."
        )
    codes |= {tool_id: tuple(f"{number:0{width}d}") for number, tool_id in enumerate(added, start=first)}
    return Codebook(
        scheme="numeric",
        codes={tool_id: codes[tool_id] for tool_id in catalog},
        new_symbols=(),
        catalog_fingerprint=catalog.fingerprint,
        options={"width": width},
    )


def _check_digits(encode: Encode) -> None:
    digit_of: dict[tuple[int, ...], str] = {}
    for digit in _DIGITS:
        ids = tuple(encode(digit))
        if ids in digit_of:
            raise InputError(
                f"The tokenizer turns the digits {digit_of[ids]} and {digit} into the same tokens {list(ids)}, so "
                "numbers cannot be told apart. Use a tokenizer with ten digits, or --scheme atomic."
            )
        digit_of[ids] = digit
