"""Dense retrieval over tool documents: a sentence encoder and a FAISS index. Trains nothing, and serves encoders that
``bi_encoder`` has trained.

Shape legend: T tools, B queries, D width of an embedding, K answers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from toolgen.embeddings import EMBEDDED, TextEmbedder, check_tokens, load_encoder
from toolgen.errors import InputError, require
from toolgen.indexing.clustering import one_thread
from toolgen.parts import Reading, search_by_parts
from toolgen.retriever import Hit, check_k
from toolgen.terminal import progress_bar
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Index = Literal["flat", "hnsw"]
"""``flat`` compares a query with every tool; ``hnsw`` walks a graph of near ones and may miss some."""

SCALE = 20.0
"""Of cosines in a softmax, as encoders are trained by default: one over its temperature."""

PART_DEPTH = 100
"""Tools that a part of a query is compared with at least."""

HNSW_LINKS = 32
HNSW_BUILD = 100
HNSW_SEARCH = 128
"""Links of a tool in the graph, and candidates kept while it is built and searched; see faiss' ``IndexHNSW``."""


class DenseRetriever:
    """Ranks tools by the cosine between the embeddings of the query and of ``Tool.document()``.

    Text beyond the encoder's own limit is cut: 256 tokens for the embedded one. Long documents blur: where their first
    sentences say what the tool does, fewer ``document_tokens`` make a better baseline, and a faster one. The search is
    exact, unless ``index`` says otherwise, and always within groups.

    Example:
        >>> catalog = ToolCatalog([Tool("a", "CopyObject"), Tool("b", "DeleteObject")])
        >>> DenseRetriever(catalog).search(["remove a file"], k=1)[0][0].tool
        'b'
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        model: "str | SentenceTransformer" = EMBEDDED,
        *,
        index: Index = "flat",
        reading: Reading = "whole",
        scale: float = SCALE,
        name: str = "dense",
        document_tokens: int | None = None,
        title: float = 0.0,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        """
        Args:
            catalog: Its documents are embedded at once; what an encoder with a name makes of them is kept on disk.
            model: ``"embedded"``, or any sentence-transformers model by folder or name; a name may be downloaded. Or
                one that is loaded.
            index: The same catalogue and encoder give the same graph on every run.
            reading: ``parts``: a query's sentences and clauses are searched for by themselves, and a tool's score is
                the mean of what it is among those that a part finds: a softmax over cosines times ``scale``.
            scale: As in the encoder's training: one over its temperature.
            name: Labels the figures.
            document_tokens: Cut documents, but not queries, to this many tokens, markers included; by default only the
                encoder's own limit cuts.
            title: Share of the embedding of ``Tool.title()`` in a tool's vector, beside its document's, from 0 to 1.
            batch_size: Queries that the encoder takes at once; it bounds memory.
            device: Such as ``"cpu"`` or ``"cuda:0"``; by default sentence-transformers chooses.

        Raises:
            InputError: The model cannot be loaded, ``document_tokens`` leaves no room for a word, ``title`` is no
                share, or there is no such index.
            MissingPackageError: sentence-transformers, faiss or the embedded model is not installed.
        """
        check_tokens(document_tokens)
        if not 0 <= title <= 1:
            raise InputError(f"The share of the title is {title}; give a number from 0 (none) to 1 (nothing else).")
        if index not in get_args(Index):
            raise InputError(f"Unknown index {index!r}. Choose from {', '.join(get_args(Index))}.")
        self.name = name
        self._catalog = catalog
        self._reading = reading
        self._scale = scale
        self._ids = catalog.ids
        self._batch_size = batch_size
        purpose = "The dense baseline"
        self._faiss = require("faiss", purpose=purpose, pip_name="faiss-cpu")
        self._encoder = load_encoder(model, purpose=purpose, device=device) if isinstance(model, str) else model
        with progress_bar("Embedding documents") as progress:
            # As exact as queries are embedded.
            embed = TextEmbedder(
                self._encoder,
                document_tokens=document_tokens,
                precision="fp32",
                keep=isinstance(model, str),
                progress=progress,
            )
            embeddings_TD = embed([tool.document() for tool in catalog.values()])
            if title:
                titles_TD = embed([tool.title() for tool in catalog.values()])
                embeddings_TD = (1 - title) * embeddings_TD + title * titles_TD
                self._faiss.normalize_L2(embeddings_TD)
        self._exact = self._faiss.IndexFlatIP(embeddings_TD.shape[1])
        self._exact.add(embeddings_TD)
        self._graph = _graph(embeddings_TD) if index == "hnsw" else None

    def search(self, queries: Sequence[str], k: int, *, groups: Sequence[str] | None = None) -> list[list[Hit]]:
        """Answer each query with exactly ``k`` tools, best first.

        Raises:
            InputError: ``k`` is not between 1 and the number of tools to choose from, or a group has no tool.
        """
        restriction, available = None, len(self._ids)
        if groups is not None:
            allowed = [self._catalog.position(tool_id) for tool_id in self._catalog.ids_of_groups(groups)]
            restriction = self._faiss.SearchParameters(sel=self._faiss.IDSelectorBatch(np.array(allowed)))
            available = len(allowed)
        check_k(k, available)
        if not queries:
            return []
        if self._reading == "whole":
            return self._nearest(queries, k, restriction)
        among = min(max(k, PART_DEPTH), available)
        return search_by_parts(
            lambda texts, _: [_probable(hits, self._scale) for hits in self._nearest(texts, among, restriction)],
            queries,
            k,
        )

    def _nearest(self, queries: Sequence[str], k: int, restriction: Any) -> list[list[Hit]]:
        embeddings_BD = self._encoder.encode_query(
            list(queries), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        if self._graph is None or restriction is not None:
            cosines_BK, positions_BK = self._exact.search(embeddings_BD, k, params=restriction)
        else:
            cosines_BK, positions_BK = self._walk(embeddings_BD, k)
        return [
            [Hit(self._ids[position], float(cosine)) for position, cosine in zip(row, cosines, strict=True)]
            for row, cosines in zip(positions_BK, cosines_BK, strict=True)
        ]

    def _walk(self, embeddings_BD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and positions of the nearest tools that the graph leads to, [B, K] each."""
        assert self._graph is not None
        reach = self._faiss.SearchParametersHNSW(efSearch=max(HNSW_SEARCH, k))
        cosines_BK, positions_BK = self._graph.search(embeddings_BD, k, params=reach)
        # Where the graph led to fewer than k tools, the rest is -1.
        short_b = np.flatnonzero((positions_BK < 0).any(axis=1))
        if len(short_b):
            cosines_BK[short_b], positions_BK[short_b] = self._exact.search(embeddings_BD[short_b], k)
        return cosines_BK, positions_BK


def _probable(hits: Sequence[Hit], scale: float) -> list[Hit]:
    """Hits with logarithms of probabilities instead of cosines."""
    logits_K = scale * np.array([hit.score for hit in hits])
    total = np.logaddexp.reduce(logits_K)
    return [Hit(hit.tool, float(logit - total)) for hit, logit in zip(hits, logits_K, strict=True)]


def _graph(embeddings_TD: np.ndarray) -> Any:
    """The graph of near tools of Malkov and Yashunin (HNSW, arXiv 1603.09320)."""
    # Several threads would link the tools in an order of chance.
    with one_thread() as faiss:
        graph = faiss.IndexHNSWFlat(embeddings_TD.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = HNSW_BUILD
        graph.add(embeddings_TD)
    return graph
