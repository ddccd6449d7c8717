"""Numeric codes: the tool's number in decimal digits, zero-padded to one width. Knows numbers, no names.

ToolGen (arXiv 2410.03439, appendix D) writes the 47 thousand tools as ``0 0 0 1 2``: five digits, each a token.
"""

from toolgen.codebook import Codebook, Encode
from toolgen.errors import InputError
from toolgen.indexing.symbols import Digits, digit, settle_digits, value_of
from toolgen.tools import ToolCatalog


def build(
    catalog: ToolCatalog,
    *,
    encode: Encode,
    disambiguate: bool,
    base: Codebook | None,
    width: int | None = None,
    digits: Digits | None = None,
) -> Codebook:
    """Number the tools in catalogue order; see ``toolgen.indexing.build`` for the other arguments.

    Numbers never collide, so ``disambiguate`` has no say. Tools added to a base get the numbers after its greatest.

    Args:
        width: Digits a code. By default that of the base, or, without one, room for as many tools again: digits of
            ``2 * len(catalog) - 1``, which is 5 for ToolGen's 47 thousand.
        digits: ``text`` (unless told): the digits 0 to 9 of the base vocabulary, as ToolGen. ``new``: a new symbol for
            each digit of each place, with rows that training can tell from numbers in queries.

    Raises:
        InputError: The numbers need more digits, the base was built otherwise, or the tokenizer confuses two digits.
    """
    digits = settle_digits(digits, base, encode)
    codes = dict(base.codes) if base else {}
    first = 1 + max((_number(code) for code in codes.values()), default=-1)
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
    for number, tool_id in enumerate(added, start=first):
        places = enumerate(f"{number:0{width}d}", start=1)
        codes[tool_id] = tuple(digit("n", place, int(value), digits) for place, value in places)
    symbols = dict.fromkeys(base.new_symbols if base else ())
    if digits == "new":
        symbols |= dict.fromkeys(symbol for code in codes.values() for symbol in code)
    return Codebook(
        scheme="numeric",
        codes={tool_id: codes[tool_id] for tool_id in catalog},
        new_symbols=tuple(symbols),
        catalog_fingerprint=catalog.fingerprint,
        options={"width": width, "digits": digits},
    )


def _number(code: tuple[str, ...]) -> int:
    return int("".join(str(value_of(symbol)) for symbol in code))
