"""Dense retrieval over tool documents: a sentence encoder and an exact FAISS index. Trains nothing.

Shape legend: T tools, B queries, D width of an embedding, K answers.
"""

from collections.abc import Sequence

import numpy as np

from toolgen.embeddings import EMBEDDED, check_tokens, load_encoder
from toolgen.errors import require
from toolgen.retriever import Hit, check_k
from toolgen.tools import ToolCatalog


class DenseRetriever:
    """Ranks tools by the cosine between the embeddings of the query and of ``Tool.document()``.

    Text beyond the encoder's own limit is cut: 256 tokens for the embedded one. Long documents blur: where their first
    sentences say what the tool does, fewer ``document_tokens`` make a better baseline, and a faster one. The search is
    exact.

    Example:
        >>> catalog = ToolCatalog([Tool("a", "CopyObject"), Tool("b", "DeleteObject")])
        >>> DenseRetriever(catalog).search(["remove a file"], k=1)[0][0].tool
        'b'
    """

    def __init__(
        self,
        catalog: ToolCatalog,
        model: str = EMBEDDED,
        *,
        document_tokens: int | None = None,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        """
        Args:
            catalog: Its documents are embedded at once.
            model: ``"embedded"``, or any sentence-transformers model by folder or name; a name may be downloaded.
            document_tokens: Cut documents, but not queries, to this many tokens, markers included; by default only the
                encoder's own limit cuts.
            batch_size: Texts that the encoder takes at once; it bounds memory.
            device: Such as ``"cpu"`` or ``"cuda:0"``; by default sentence-transformers chooses.

        Raises:
            InputError: The model cannot be loaded, or ``document_tokens`` leaves no room for a word.
            MissingPackageError: sentence-transformers, faiss or the embedded model is not installed.
        """
        check_tokens(document_tokens)
        self.name = "dense"
        self._catalog = catalog
        self._ids = catalog.ids
        self._batch_size = batch_size
        self._faiss = require("faiss", purpose="The dense baseline", pip_name="faiss-cpu")
        self._encoder = load_encoder(model, purpose="The dense baseline", device=device)
        embeddings_TD = self._embed_documents(document_tokens)
        self._index = self._faiss.IndexFlatIP(embeddings_TD.shape[1])
        self._index.add(embeddings_TD)

    def search(self, queries: Sequence[str], k: int, *, groups: Sequence[str] | None = None) -> list[list[Hit]]:
        """Answer each query with exactly ``k`` tools, best first.

        Raises:
            InputError: ``k`` is not between 1 and the number of tools to choose from, or a group has no tool.
        """
        restriction = None
        if groups is None:
            check_k(k, len(self._ids))
        else:
            allowed = [self._catalog.position(tool_id) for tool_id in self._catalog.ids_of_groups(groups)]
            check_k(k, len(allowed))
            restriction = self._faiss.SearchParameters(sel=self._faiss.IDSelectorBatch(np.array(allowed)))
        if not queries:
            return []
        embeddings_BD = self._encoder.encode_query(
            list(queries), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        cosines_BK, positions_BK = self._index.search(embeddings_BD, k, params=restriction)
        return [
            [Hit(self._ids[position], float(cosine)) for position, cosine in zip(row, cosines, strict=True)]
            for row, cosines in zip(positions_BK, cosines_BK, strict=True)
        ]

    def _embed_documents(self, document_tokens: int | None) -> np.ndarray:
        own_limit = self._encoder.max_seq_length
        if document_tokens is not None:
            self._encoder.max_seq_length = min(document_tokens, own_limit or document_tokens)
        embeddings_TD: np.ndarray = self._encoder.encode_document(
            [tool.document() for tool in self._catalog.values()],
            batch_size=self._batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        self._encoder.max_seq_length = own_limit
        return embeddings_TD
