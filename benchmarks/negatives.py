"""Hard negatives of a bi-encoder: documents that an encoder ranks high for a query although they do not answer it.
Knows catalogues and encoders; no training.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from toolgen.benchmarks.dense import DenseRetriever
from toolgen.config import Section
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_BATCH = 512
"""Queries ranked at once."""


class NegativesConfig(Section):
    """Which documents a query is set against beside those of the other queries in its batch."""

    per_query: int = Field(0, ge=0, description="Drawn anew for each query whenever it is seen; 0: none.")
    among: int = Field(30, ge=1, description="Of so many, the first in rank that do not answer the query.")
    encoder: str | None = Field(
        None,
        description="Ranks them; null: the model before it is trained. Give a trained one's folder for a second round.",
    )


def mine(
    encoder: "str | SentenceTransformer",
    catalog: ToolCatalog,
    right: Mapping[str, frozenset[str]],
    among: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Sequence[str]]:
    """Rank the catalogue's documents for each query.

    Args:
        encoder: As for ``DenseRetriever``.
        catalog: Its documents.
        right: Query -> all documents that answer it; none of them is a negative.
        among: Documents a query at most.
        progress: Told (queries done, queries in all).

    Returns:
        Query -> the ``among`` documents, each once, that are ranked first and do not answer it; fewer where there are
        none or where tools with equal documents fill the ranks.
    """
    retriever = DenseRetriever(catalog, encoder)
    depth = min(len(catalog), among + max(map(len, right.values())))
    queries = list(right)
    negatives: dict[str, Sequence[str]] = {}
    for start in range(0, len(queries), _BATCH):
        batch = queries[start : start + _BATCH]
        for query, hits in zip(batch, retriever.search(batch, depth), strict=True):
            ranked = dict.fromkeys(catalog[hit.tool].document() for hit in hits)
            negatives[query] = [document for document in ranked if document not in right[query]][:among]
        if progress is not None:
            progress(start + len(batch), len(queries))
    return negatives
