"""From text to ranked tools, measured: one forward of a model whose vocabulary holds the tools, beside FAISS and BM25.

The encoder of FAISS is the embedded one, in float32; with the trunk ``22m`` the layers of the model are as large. All
that a query needs is in the time: tokenizing, the forward, the search, and naming the tools.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from transformers import PreTrainedModel

from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.benchmarks.speed import Coded, Row, peak_megabytes, take_turns
from toolgen.embeddings import TextEmbedder, load_encoder
from toolgen.errors import require
from toolgen.generative import GenerativeRetriever
from toolgen.terminal import err, progress_bar

K = 10
"""Answers asked for."""

_LINKS = 32
"""Of a node in HNSW's graph."""


def measure_pipelines(
    model: PreTrainedModel, atomic: Coded, texts: Sequence[str], batches: Sequence[int], repeats: int
) -> list[Row]:
    """All methods at each batch size; the share of its ten that HNSW finds is printed.

    Args:
        model: Its vocabulary holds the tools.
        atomic: Codes of one token.
        texts: At least as many as the largest batch.
        batches: Queries answered together.
        repeats: See ``take_turns``.
    """
    faiss = require("faiss", purpose="The benchmark", pip_name="faiss-cpu")
    catalog = atomic.artefacts.catalog
    with progress_bar("Embedding documents") as progress:
        vectors_ND = TextEmbedder(progress=progress)([tool.document() for tool in catalog.values()])
    indexes = {
        "faiss-flat": faiss.IndexFlatIP(vectors_ND.shape[1]),
        "faiss-hnsw": faiss.IndexHNSWFlat(vectors_ND.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT),
    }
    for index in indexes.values():
        index.add(vectors_ND)
    encoder = load_encoder("embedded", purpose="The benchmark", device=str(model.device))
    count, ids = min(K, len(catalog)), catalog.ids

    def neighbours(name: str, asked: Sequence[str]) -> list[list[str]]:
        vectors_BD = encoder.encode_query(
            list(asked), batch_size=len(asked), normalize_embeddings=True, show_progress_bar=False
        )
        return [[ids[place] for place in row] for row in indexes[name].search(vectors_BD, count)[1].tolist()]

    generative = GenerativeRetriever(model, atomic.artefacts, batch_size=max(batches))
    lexical = BM25Retriever(catalog)
    methods = {
        "toolgen": lambda asked: generative.search(asked, count),
        "faiss-flat": lambda asked: neighbours("faiss-flat", asked),
        "faiss-hnsw": lambda asked: neighbours("faiss-hnsw", asked),
        "bm25": lambda asked: lexical.search(asked, count),
    }
    rows = []
    for batch in batches:
        ready = {name: partial(call, texts[:batch]) for name, call in methods.items()}
        seconds = take_turns(ready, repeats, model.device)
        memory = {name: peak_megabytes(call, model.device) for name, call in ready.items() if name != "bm25"}
        rows += [
            Row("text", batch, count, name, s * 1e3 / batch, None, None, memory.get(name))
            for name, s in seconds.items()
        ]
    exact, near = (neighbours(name, texts) for name in indexes)
    recall = np.mean([len(set(own) & set(other)) / count for own, other in zip(exact, near, strict=True)])
    err.print(f"faiss-hnsw finds {recall:.3f} of the {count} tools that faiss-flat finds, over {len(texts)} queries")
    return rows
