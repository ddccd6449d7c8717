"""Fake embeddings for tests: the same vector for the same text, on every machine, and without an encoder. And tools of
whose documents they know which are near."""

import hashlib
from collections.abc import Sequence

import numpy as np

from toolgen.tools import Tool, ToolCatalog

WIDTH = 24
TOPICS = ("weather", "music", "money", "travel")


def catalog_of(*documents: str) -> ToolCatalog:
    """Tools t0, t1, ... with these documents."""
    return ToolCatalog(Tool(f"t{number}", document) for number, document in enumerate(documents))


def topics(each: int) -> ToolCatalog:
    """Tools of four topics in turn, of which the fake embeddings know."""
    return catalog_of(*(f"{topic} number {number}" for number in range(each) for topic in TOPICS))


def hashed(texts: Sequence[str]) -> np.ndarray:
    """Random unit vectors, [N, 24]: equal for equal texts, unrelated for others."""
    digests = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)
    seeds = [int.from_bytes(digest[:8], "big") for digest in digests]
    return _unit(np.stack([np.random.default_rng(seed).standard_normal(WIDTH) for seed in seeds]))


def related(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors that are near for texts that begin with the same words, [N, 24]."""
    rows = []
    for text in texts:
        words = text.split()
        beginnings = [" ".join(words[:length]) for length in range(1, len(words) + 1)]
        weights_W1 = 0.5 ** np.arange(len(beginnings))[:, None]
        rows.append((hashed(beginnings) * weights_W1).sum(0))
    return _unit(np.stack(rows))


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    lengths_N1 = np.sqrt((vectors_ND * vectors_ND).sum(1, keepdims=True))
    return (vectors_ND / lengths_N1).astype(np.float32)
