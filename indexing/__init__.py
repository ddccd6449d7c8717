"""Builders of codebooks, one indexing scheme a file: catalogue in, ``Codebook`` out. Knows no model and no torch.

Every builder takes ``(catalog, *, encode, disambiguate, base)`` and its own options, gives codes to the tools that
``base`` does not have, and appends what new symbols they need. ``build`` is the way in: it checks what was asked,
and proves on token ids what came out.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from toolgen.codebook import Codebook, Encode
from toolgen.errors import InputError
from toolgen.indexing import atomic, numeric, semantic
from toolgen.tools import ToolCatalog

SCHEMES: dict[str, Callable[..., Codebook]] = {
    "atomic": atomic.build,
    "numeric": numeric.build,
    "semantic": semantic.build,
}

_COMMON = {"catalog", "encode", "disambiguate", "base"}
"""Arguments that every builder takes; what else its signature names is an option of the scheme."""


def build(
    scheme: str,
    catalog: ToolCatalog,
    *,
    encode: Encode,
    end_id: int,
    disambiguate: bool = False,
    base: Codebook | None = None,
    **options: Any,
) -> Codebook:
    """Build the codebook of a catalogue, distinct and prefix-free on the token ids that ``encode`` gives.

    Args:
        scheme: A key of ``SCHEMES``.
        catalog: The tools, in the order that numbers them.
        encode: Base tokenizer without special tokens; called once for each distinct text.
        end_id: Token id that closes codes.
        disambiguate: Give a tool whose code another has already an own code instead of refusing.
        base: A codebook to extend with the tools that ``catalog`` has and it lacks. Its codes, and the order of its
            new symbols, stay as they are, also where the catalogue has renamed or moved a tool.
        options: Options of the scheme, such as ``width`` of ``numeric``.

    Returns:
        Codes in the order of ``catalog``.

    Raises:
        CollisionError: Two tools share a code and ``disambiguate`` is off; both are named.
        InputError: No such scheme or option, ``base`` cannot be extended to this catalogue, or a tool has no name
            that the scheme can use.

    Example:
        >>> book = build("atomic", catalog, encode=lambda text: [ord(c) for c in text], end_id=0)
        >>> book.codes["s3.CreateBucket"]
        ('<<s3&&CreateBucket>>',)
    """
    if scheme not in SCHEMES:
        raise InputError(f"Unknown indexing scheme {scheme!r}. Choose one of {', '.join(SCHEMES)}.")
    known = [name for name in inspect.signature(SCHEMES[scheme]).parameters if name not in _COMMON]
    if unknown := [name for name in options if name not in known]:
        raise InputError(
            f"Scheme {scheme!r} has no option {unknown[0]!r}. Its options: {', '.join(known) or 'none'}; leave it out."
        )

    @cache
    def encode_once(text: str) -> tuple[int, ...]:
        return tuple(encode(text))

    if base is not None:
        _check_base(base, scheme, catalog)
        _prove(base, encode_once, end_id)
    book = SCHEMES[scheme](catalog, encode=encode_once, disambiguate=disambiguate, base=base, **options)
    told: dict[str, Any] = {**book.options, "disambiguate": disambiguate}
    if base is not None:
        told["extends"] = base.fingerprint
        assert book.new_symbols[: len(base.new_symbols)] == base.new_symbols, "a row has moved"
        assert all(book.codes[tool_id] == code for tool_id, code in base.codes.items()), "a code has changed"
    _prove(book, encode_once, end_id)
    return replace(book, options=told)


def _prove(book: Codebook, encode: Encode, end_id: int) -> None:
    # A tokenizer gives no negative ids, so these stand for whatever rows the new symbols will get.
    book.bind(encode, {symbol: -1 - row for row, symbol in enumerate(book.new_symbols)}, end_id)


def _check_base(base: Codebook, scheme: str, catalog: ToolCatalog) -> None:
    if base.scheme != scheme:
        raise InputError(
            f"The codebook to extend has scheme {base.scheme!r}, but {scheme!r} was asked for. Use --scheme "
            f"{base.scheme}, or build a new codebook without extending."
        )
    if gone := [tool_id for tool_id in base.codes if tool_id not in catalog]:
        named = ", ".join(map(repr, gone[:5])) + (f" and {len(gone) - 5:,} more" if len(gone) > 5 else "")
        raise InputError(
            f"{len(gone):,} tool(s) of the codebook to extend are not in the catalogue: {named}. Extending only adds "
            "tools: put them back into the catalogue, or build a new codebook without extending."
        )
