"""Clustering of vectors with faiss: the same labels on every run and with any number of threads. Knows no tools.

Sums and products whose order hangs on the number of threads would differ in their last bits, and a point between two
clusters would change sides. So faiss works with one thread here (which on 47,073 vectors is no slower: its threads wait
for one another), and no product is left to numpy's linear algebra.

Legend: N vectors, D width, K clusters.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolgen.errors import require

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]

_ROUNDS = 5
"""Of balanced clustering: assign, then move the centroids. Further rounds change little."""


class Neighbours(NamedTuple):
    """Centroids by their distance from each vector, nearest first."""

    labels_NK: Labels
    distances_NK: Vectors


@contextmanager
def one_thread() -> Iterator[Any]:
    """faiss, working with one thread; what it had is restored."""
    faiss = require("faiss", purpose="Clustering documents", pip_name="faiss-cpu")
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(threads)


def nearest(vectors_ND: Vectors, centroids_KD: Vectors, among: int = 1) -> Neighbours:
    """The ``among`` nearest centroids of each vector; of equally near ones the first."""
    with one_thread() as faiss:
        index = faiss.IndexFlatL2(centroids_KD.shape[1])
        index.add(np.ascontiguousarray(centroids_KD))
        distances_NK, labels_NK = index.search(np.ascontiguousarray(vectors_ND), among)
    return Neighbours(labels_NK, distances_NK)


def split(vectors_ND: Vectors, clusters: int, *, seed: int, balanced: bool) -> Labels:
    """Part vectors by k-means (Lloyd's, in Euclidean distance) into at least two clusters.

    Args:
        vectors_ND: More of them than clusters.
        clusters: At most so many.
        seed: Of the first centroids.
        balanced: Make all clusters equally large (give or take one).

    Returns:
        For each vector its cluster, from 0 without a gap, in the order in which clusters first appear. Vectors that
        k-means cannot tell apart are shared out in their order.
    """
    count = len(vectors_ND)
    assert 1 < clusters < count, "fewer vectors than clusters need no clustering"
    with one_thread() as faiss:
        k_means = faiss.Kmeans(
            vectors_ND.shape[1], clusters, niter=25, seed=seed,
            min_points_per_centroid=1, max_points_per_centroid=count,
        )  # fmt: skip
        k_means.train(np.ascontiguousarray(vectors_ND))
    labels_N = nearest(vectors_ND, k_means.centroids).labels_NK[:, 0]
    if balanced:
        labels_N = _balanced(vectors_ND, k_means.centroids, labels_N)
    if (labels_N == labels_N[0]).all():
        labels_N = np.arange(count) * clusters // count
    _, first, labels_N = np.unique(labels_N, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[labels_N]


def fill(neighbours: Neighbours, room_K: Sequence[int]) -> Labels:
    """Give each vector the nearest cluster that has room, first those that lose most by their second choice.

    Returns:
        Cluster of each vector; the nearest one when none has room.
    """
    room = list(room_K)
    labels_NK, distances_NK = neighbours
    chosen_N = labels_NK[:, 0].copy()
    second = min(1, labels_NK.shape[1] - 1)
    for vector in np.argsort(distances_NK[:, 0] - distances_NK[:, second], kind="stable"):
        for label in labels_NK[vector].tolist():
            if room[label]:
                room[label] -= 1
                chosen_N[vector] = label
                break
    return chosen_N


def means(vectors_ND: Vectors, labels_N: Labels, clusters: int) -> Vectors:
    """Mean of each cluster's vectors, [K, D]; no cluster may be empty."""
    counts_K = np.bincount(labels_N, minlength=clusters)
    assert counts_K.all(), "a cluster without vectors has no mean"
    together_ND = vectors_ND[np.argsort(labels_N, kind="stable")].astype(np.float64)
    sums_KD = np.add.reduceat(together_ND, np.cumsum(counts_K) - counts_K)
    return (sums_KD / counts_K[:, None]).astype(np.float32)


def principal(vectors_ND: Vectors, fitted_on_MD: Vectors, dimensions: int) -> Vectors:
    """Vectors by their first principal components, those of ``fitted_on_MD``, [N, dimensions]."""
    with one_thread() as faiss:
        projection = faiss.PCAMatrix(vectors_ND.shape[1], dimensions)
        projection.train(np.ascontiguousarray(fitted_on_MD))
        projected: Vectors = projection.apply(np.ascontiguousarray(vectors_ND))
    return projected


def _balanced(vectors_ND: Vectors, centroids_KD: Vectors, labels_N: Labels) -> Labels:
    clusters = len(centroids_KD)
    size, larger = divmod(len(vectors_ND), clusters)
    room_K = np.full(clusters, size)
    # The clusters that k-means made large are those that one more vector hurts least.
    room_K[np.argsort(-np.bincount(labels_N, minlength=clusters), kind="stable")[:larger]] += 1
    for _ in range(_ROUNDS):
        labels_N = fill(nearest(vectors_ND, centroids_KD, among=clusters), room_K.tolist())
        centroids_KD = means(vectors_ND, labels_N, clusters)
    return labels_N
