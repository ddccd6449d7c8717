"""Queries read part by part: long ones want several tools, each in a sentence of its own. Knows texts, records, hits
and sentence embeddings; no language models.

One state of a model cannot point at six tools at once, so a query that wants six is ranked by what they have in common.
Read by parts it is a mixture: ``P(tool | query)`` is the mean of ``P(tool | part)``. A part that wants nothing spreads
its probability over the catalogue and decides nothing. A query without a boundary is one part, read as ever.

In training nobody says which part wants which gold tool; each goes with the part that is nearest to its document.

Legend: ``P`` parts of all texts, ``D`` width of an embedding.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from toolgen.embeddings import Progress, TextEmbedder
from toolgen.errors import InputError
from toolgen.records import Record
from toolgen.retriever import Hit
from toolgen.tools import ToolCatalog

Reading = Literal["whole", "parts"]
"""How a query is read: as one text, or as its sentences and clauses."""

MOST_PARTS = 32
"""Of a longer text neighbours stay together."""

DEPTH = 20
"""Tools of each part that are looked at, at least, where more cost nothing."""

_READ_TOKENS = 128
"""Tokens of a part or document that are compared."""

_FEWEST_WORDS = 3
_FEWEST_CHARACTERS = 10
"""A piece with fewer of both says nothing by itself and goes with its neighbour."""

_BOUNDARY = re.compile(
    r"(?<=[.!?;…])[\"')\]”’]*\s+"  # Not behind a colon: what it announces says little without it.
    r"|(?<=[。！？；])"  # The same in scripts that put no space there.
    r"|\s*\n+\s*"
    r"|\s+[—–]\s+|—"  # Dashes that set something apart.
    r"|,\s+(?=(?:and|then|also|plus)\b)",  # A list of requests.
    re.IGNORECASE,
)


def parts(text: str) -> list[str]:
    """The sentences and clauses of a text, at least one and at most ``MOST_PARTS``, in its order.

    Example:
        >>> parts("I fly to Oslo on Friday. Find me a hotel, and tell me what the weather will be.")
        ['I fly to Oslo on Friday.', 'Find me a hotel', 'and tell me what the weather will be.']
    """
    ends = [*(match.span() for match in _BOUNDARY.finditer(text)), (len(text), len(text))]
    found: list[tuple[int, int]] = []
    start = 0
    for stop, following in ends:
        if _says_something(text[start:stop]):
            found.append((start, stop))
            start = following
    if found and text[start:].strip():
        found[-1] = found[-1][0], len(text)
    if len(found) > MOST_PARTS:
        firsts = [round(number * len(found) / MOST_PARTS) for number in range(MOST_PARTS + 1)]
        found = [(found[first][0], found[behind - 1][1]) for first, behind in pairwise(firsts)]
    return [text[start:stop].strip() for start, stop in found] or [text]


def _says_something(piece: str) -> bool:
    piece = piece.strip()
    return len(piece.split()) >= _FEWEST_WORDS or len(piece) >= _FEWEST_CHARACTERS


def read_records(
    reading: Reading, records: Sequence[Record], catalog: ToolCatalog, progress: Progress | None = None
) -> list[Record]:
    """Training pairs as a model reads their queries; see ``part_records``, whose texts the embedded encoder compares.

    Raises:
        InputError: As ``part_records`` says.
        MissingPackageError: sentence-transformers or the embedded model is not installed.
    """
    if reading == "whole":
        return list(records)
    return part_records(records, catalog, TextEmbedder(document_tokens=_READ_TOKENS, progress=progress))


def mixture(found: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The best ``k`` tools of a query out of those of its parts: the mean of their probabilities.

    Args:
        found: Hits of each part, at least one part; scores are natural logarithms of probabilities. A tool that a part
            did not find has none there.
        k: Answers; every part has found as many.
    """
    if len(found) == 1:
        return list(found[0][:k])
    together: dict[str, list[float]] = defaultdict(list)
    for hits in found:
        for hit in hits:
            together[hit.tool].append(hit.score)
    scored = [
        Hit(tool, max(scores) + math.log(sum(math.exp(score - max(scores)) for score in scores) / len(found)))
        for tool, scores in together.items()
    ]
    return sorted(scored, key=lambda hit: -hit.score)[:k]


def all_parts(queries: Sequence[str]) -> tuple[list[str], list[int]]:
    """The parts of all queries, and the place of the query of each."""
    cut = [(part, place) for place, query in enumerate(queries) for part in parts(query)]
    return [part for part, _ in cut], [place for _, place in cut]


def search_by_parts(
    search: Callable[[Sequence[str], Sequence[int]], list[list[Hit]]], queries: Sequence[str], k: int
) -> list[list[Hit]]:
    """Rank tools for queries by their parts.

    Args:
        search: Ranks texts, at least ``k`` tools each; is given the texts and the place of the query of each.
        queries: Texts.
        k: Answers a query.
    """
    texts, places = all_parts(queries)
    found: list[list[list[Hit]]] = [[] for _ in queries]
    for place, hits in zip(places, search(texts, places), strict=True):
        found[place].append(hits)
    return [mixture(own, k) for own in found]


def part_records(
    records: Sequence[Record], catalog: ToolCatalog, embed: Callable[[Sequence[str]], "np.ndarray[Any, Any]"]
) -> list[Record]:
    """Training pairs whose queries are parts: each gold tool goes with the part that is nearest to its document.

    Args:
        records: Pairs; every answer is one tool.
        catalog: The tools.
        embed: Texts -> vectors of length one, ``[P, D]``.

    Returns:
        Records in the order given, those of one query in the order of its parts; parts that no tool goes with are left
        out.

    Raises:
        InputError: An answer holds several tools, which no one part wants.
    """
    if any(len(answer) > 1 for record in records for answer in record.answers):
        raise InputError(
            "reading: parts gives each gold tool to a part of the query, and an answer of several tools in sequence "
            "has none. Use multi_gold: rows."
        )
    cut = [parts(record.text) for record in records]
    several = [(record, own) for record, own in zip(records, cut, strict=True) if len(own) > 1]
    if not several:
        return list(records)
    texts = [part for _, own in several for part in own]
    wanted = list(dict.fromkeys(answer[0] for record, _ in several for answer in record.answers))
    # In one call: an encoder is loaded in each.
    vectors = embed([*texts, *(catalog[tool].document() for tool in wanted)])
    part_vectors_PD, document_vectors = vectors[: len(texts)], dict(zip(wanted, vectors[len(texts) :], strict=True))
    found: list[Record] = []
    start = 0
    for record, own in zip(records, cut, strict=True):
        if len(own) == 1:
            found.append(record)
            continue
        vectors_PD = part_vectors_PD[start : start + len(own)]
        start += len(own)
        answers: dict[int, list[tuple[str, ...]]] = defaultdict(list)
        for answer in record.answers:
            answers[int((vectors_PD @ document_vectors[answer[0]]).argmax())].append(answer)
        found += [Record(own[number], tuple(those)) for number, those in sorted(answers.items())]
    return found
