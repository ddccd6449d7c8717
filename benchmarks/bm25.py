"""BM25 over tool documents: the lexical baseline. Knows words, no models.

Shape legend: T tools, A tools that a search may answer with (all, or those of some groups), K answers.
"""

from collections.abc import Sequence

import numpy as np

from toolgen.errors import require
from toolgen.retriever import Hit, check_k
from toolgen.tools import ToolCatalog

_WORD = r"(?u)\b\w\w+\b"


class BM25Retriever:
    """Ranks tools by BM25 between the query and ``Tool.document()``.

    The scores are Lucene's variant as bm25s computes it, with its k1 = 1.5 and b = 0.75. Words are lower-cased, bm25s'
    English stop words and words of one character are left out, and plurals are cut by ``singular``. Tools of equal
    score, such as all tools for a query without a known word, follow in catalogue order.

    Example:
        >>> catalog = ToolCatalog([Tool("a", "CopyObject"), Tool("b", "DeleteObject")])
        >>> BM25Retriever(catalog).search(["delete this object"], k=1)[0][0].tool
        'b'
    """

    def __init__(self, catalog: ToolCatalog) -> None:
        """
        Args:
            catalog: Its documents are indexed at once.

        Raises:
            MissingPackageError: bm25s is not installed.
        """
        bm25s = require("bm25s", purpose="The BM25 baseline")
        self.name = "bm25"
        self._catalog = catalog
        self._ids = catalog.ids
        self._tokenizer = bm25s.tokenization.Tokenizer(splitter=_WORD, stopwords="english", stemmer=singular)
        # A document without any word must still be a row of the index: bm25s then gives it one empty word.
        documents = self._tokenizer.tokenize(
            [tool.document() for tool in catalog.values()],
            update_vocab=True,
            return_as="tuple",
            show_progress=False,
            allow_empty=True,
        )
        self._index = bm25s.BM25(method="lucene")
        self._index.index(documents, show_progress=False)

    def search(self, queries: Sequence[str], k: int, *, groups: Sequence[str] | None = None) -> list[list[Hit]]:
        """Answer each query with exactly ``k`` tools, best first.

        Raises:
            InputError: ``k`` is not between 1 and the number of tools to choose from, or a group has no tool.
        """
        if groups is None:
            positions_A = np.arange(len(self._ids))
        else:
            positions_A = np.array([self._catalog.position(tool_id) for tool_id in self._catalog.ids_of_groups(groups)])
        check_k(k, len(positions_A))
        words = self._tokenizer.tokenize(
            list(queries), update_vocab=False, return_as="ids", show_progress=False, allow_empty=False
        )
        answers = []
        for word_ids in words:
            scores_T = self._index.get_scores_from_ids(word_ids)
            best_K = positions_A[_first(scores_T[positions_A], k)]
            answers.append([Hit(self._ids[position], float(scores_T[position])) for position in best_K])
        return answers


def singular(word: str) -> str:
    """Cut the ending of English plurals and third persons: ``"copies"`` -> ``"copy"``, ``"deletes"`` -> ``"delete"``.

    The S stemmer of D. Harman, "How effective is suffixing?", JASIS 42(1), 1991. Tool documents say "deletes" where
    queries say "delete", so that BM25 without any stemming would be a needlessly weak baseline.
    """
    if word.endswith("ies") and not word.endswith(("aies", "eies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def _first(scores_A: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` highest scores, equal ones in order; a full stable sort would cost ten times as much."""
    threshold = np.partition(scores_A, -k)[-k]
    candidates = np.flatnonzero(scores_A >= threshold)
    return candidates[np.argsort(-scores_A[candidates], kind="stable")[:k]]
