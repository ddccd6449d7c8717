"""Fake embeddings for tests: the same vector for the same text, on every machine, and without an encoder."""

import hashlib
from collections.abc import Sequence

import numpy as np

WIDTH = 24


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
