"""Baseline retrievers by name. Knows which there are; each one's file knows the rest."""

from collections.abc import Sequence

from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.benchmarks.dense import DenseRetriever
from toolgen.errors import InputError
from toolgen.parts import Reading
from toolgen.retriever import Retriever
from toolgen.tools import ToolCatalog

BASELINES = ("bm25", "dense")
"""Of every table."""

BY_PARTS = " by parts"
"""Ends the name of a method that reads queries by parts."""

FURTHER = (f"dense{BY_PARTS}",)
"""Of tables that ask for them."""


def check_baselines(names: Sequence[str], others: Sequence[str] = ()) -> None:
    """
    Raises:
        InputError: One of the names is no baseline, and none of ``others``.
    """
    known = (*BASELINES, *FURTHER, *others)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"Unknown baseline {unknown[0]!r}. Choose from {', '.join(known)}.")


def make_baseline(
    name: str,
    catalog: ToolCatalog,
    dense_model: str = "embedded",
    dense_tokens: int | None = None,
    dense_title: float = 0.0,
) -> Retriever:
    """Build a baseline over the documents of ``catalog``.

    Args:
        name: One of ``BASELINES`` or ``FURTHER``.
        catalog: The tools.
        dense_model: Encoder of ``dense``: ``"embedded"`` or any sentence-transformers model, such as the folder of one
            that ``bi_encoder`` has trained.
        dense_tokens: Tokens of a document that ``dense`` reads; None: as many as the encoder takes.
        dense_title: Share of a tool's title in its vector; see ``DenseRetriever``.

    Raises:
        InputError: No such baseline, or what ``DenseRetriever`` refuses.
        MissingPackageError: A package that the baseline needs is not installed.
    """
    check_baselines([name])
    if name == "bm25":
        return BM25Retriever(catalog)
    reading: Reading = "parts" if name.endswith(BY_PARTS) else "whole"
    return DenseRetriever(
        catalog, dense_model, document_tokens=dense_tokens, title=dense_title, reading=reading, name=name
    )
