"""Builders of codebooks, one indexing scheme a file: catalogue in, ``Codebook`` out. Knows no model and no torch.

Every builder takes ``(catalog, *, encode, disambiguate, base)``, ``embed`` too if it reads documents, and its own
options; it gives codes to the tools that ``base`` does not have, and appends what new symbols they need. ``build`` is
the way in: it checks what was asked, and proves on token ids what came out.

Legend: N tools, D width.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from toolgen.codebook import Codebook, Encode
from toolgen.embeddings import Embed, Vectors
from toolgen.errors import InputError
from toolgen.indexing import atomic, hierarchical, numeric, residual, semantic
from toolgen.tools import ToolCatalog

SCHEMES: dict[str, Callable[..., Codebook]] = {
    "atomic": atomic.build,
    "numeric": numeric.build,
    "hierarchical": hierarchical.build,
    "semantic": semantic.build,
    "residual": residual.build,
}

_COMMON = {"catalog", "encode", "disambiguate", "base", "embed"}
"""Arguments that ``build`` gives; what else a builder's signature names is an option of the scheme."""

_LONGEST = 1.01
"""Squared length of a vector of length 1, rounding included."""


def build(
    scheme: str,
    catalog: ToolCatalog,
    *,
    encode: Encode,
    end_id: int,
    disambiguate: bool = False,
    base: Codebook | None = None,
    embed: Embed | None = None,
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
        embed: Gives vectors of documents to the schemes that cluster them (``hierarchical``, ``residual``); see
            ``toolgen.embeddings.TextEmbedder``. Others never call it.
        options: Options of the scheme, such as ``width`` of ``numeric``.

    Returns:
        Codes in the order of ``catalog``.

    Raises:
        CollisionError: Two tools share a code and ``disambiguate`` is off; both are named.
        InputError: No such scheme or option, ``base`` cannot be extended to this catalogue, or a tool has no name
            that the scheme can use. Or the scheme needs ``embed``.

    Example:
        >>> book = build("atomic", catalog, encode=lambda text: [ord(c) for c in text], end_id=0)
        >>> book.codes["s3.CreateBucket"]
        ('<<s3&&CreateBucket>>',)
    """
    known = [name for name in _parameters(scheme) if name not in _COMMON]
    if unknown := [name for name in options if name not in known]:
        raise InputError(
            f"Scheme {scheme!r} has no option {unknown[0]!r}. Its options: {', '.join(known) or 'none'}; leave it out."
        )

    if reads_documents(scheme):
        options["embed"] = _checked(scheme, embed)

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


def reads_documents(scheme: str) -> bool:
    """Whether ``build`` needs ``embed`` for a scheme.

    Raises:
        InputError: No such scheme.
    """
    return "embed" in _parameters(scheme)


def _parameters(scheme: str) -> Mapping[str, inspect.Parameter]:
    if scheme not in SCHEMES:
        raise InputError(f"Unknown indexing scheme {scheme!r}. Choose one of {', '.join(SCHEMES)}.")
    return inspect.signature(SCHEMES[scheme]).parameters


def _prove(book: Codebook, encode: Encode, end_id: int) -> None:
    # A tokenizer gives no negative ids, so these stand for whatever rows the new symbols will get.
    book.bind(encode, {symbol: -1 - row for row, symbol in enumerate(book.new_symbols)}, end_id)


def _checked(scheme: str, embed: Embed | None) -> Embed:
    """``embed``, with what it gives made sure of."""
    if embed is None:
        raise InputError(
            f"Scheme {scheme!r} clusters the tools' documents and needs their embeddings. Give `embed`, such as a "
            "toolgen.embeddings.TextEmbedder, or choose a scheme that reads no documents: atomic, numeric, semantic."
        )

    def checked(texts: Sequence[str]) -> Vectors:
        vectors_ND = np.asarray(embed(texts), dtype=np.float32)
        fits = vectors_ND.ndim == 2 and len(vectors_ND) == len(texts)
        # Infinite and missing values fail this too; faiss would end the process on them, and on huge ones.
        if not fits or not (np.square(vectors_ND, dtype=np.float64).sum(1) < _LONGEST).all():
            raise InputError(
                f"`embed` gave an array of shape {vectors_ND.shape} for {len(texts):,} documents, or one with values "
                "beyond 1. It must give a vector of length 1 for each text."
            )
        return vectors_ND

    return checked


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
