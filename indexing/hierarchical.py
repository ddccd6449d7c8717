"""Hierarchical codes: a tool's path down a tree of clusters of documents. Knows vectors of documents, no encoder.

ToolGen (arXiv 2410.03439, appendix D) clusters the documents ten ways, each cluster ten ways again, and so on until
one tool is left in each; a level of the tree is a digit of the code (``0 1 2 2 3 3 3``), as in DSI (arXiv 2202.06991).

Legend: N tools, D width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolgen.codebook import Codebook, Encode
from toolgen.embeddings import Embed, Vectors
from toolgen.errors import InputError
from toolgen.indexing.clustering import split
from toolgen.indexing.options import check_at_least, settle
from toolgen.indexing.symbols import DIGITS, Digits, digit, settle_digits, value_of
from toolgen.tools import ToolCatalog

Path = tuple[int, ...]
"""Children from the root of the tree to a tool, each counted from 0."""

_EQUALLY_NEAR = 1e-6
"""Squared distances of unit vectors that differ by less are equal but for rounding."""


def build(
    catalog: ToolCatalog,
    *,
    encode: Encode,
    disambiguate: bool,
    base: Codebook | None,
    embed: Embed,
    branching: int | None = None,
    balanced: bool | None = None,
    digits: Digits | None = None,
    seed: int | None = None,
) -> Codebook:
    """Cluster the documents recursively; see ``toolgen.indexing.build`` for the other arguments.

    Paths never collide, so ``disambiguate`` has no say. A tool added to a base walks down the base's tree by the
    nearest centroid and gets a free child where its walk ends, below a leaf if need be.

    Args:
        branching: Clusters that each cluster is parted into; 10 unless told.
        balanced: Make the clusters of one parting equally large (give or take one): all codes get about the same
            length, and near neighbours are parted more often. Off unless told.
        digits: ``text`` (unless told): the digits 0 to 9 of the base vocabulary, as ToolGen. ``new``: a new symbol for
            each digit of each level, with rows that training can tell from numbers in queries.
        seed: Of the clustering; 0 unless told.

    Raises:
        InputError: ``branching`` is below 2, or above 10 with digits of text; the base was built otherwise; or the
            tokenizer confuses two digits.
    """
    branching = settle("branching", branching, base, 10)
    balanced = settle("balanced", balanced, base, False)
    seed = settle("seed", seed, base, 0)
    digits = settle_digits(digits, base, encode)
    check_at_least("branching", branching, 2, "A tree needs two branches.")
    if digits == "text" and branching > len(DIGITS):
        raise InputError(
            f"branching is {branching}, but digits of text are ten. Give branching 10 or less, or --digits new."
        )
    vectors_ND = embed([tool.document() for tool in catalog.values()])
    if base is None:
        paths = dict(zip(catalog, _cluster(vectors_ND, branching, seed, balanced), strict=True))
        if digits == "new":
            # A code of one new symbol has no end, so no code that is added later could begin with it.
            paths = {tool_id: path if len(path) > 1 else (*path, 0) for tool_id, path in paths.items()}
    else:
        paths = _extend(base, catalog, vectors_ND, branching)
    codes = {
        tool_id: tuple(digit("h", level, child, digits) for level, child in enumerate(paths[tool_id], start=1))
        for tool_id in catalog
    }
    symbols = dict.fromkeys(base.new_symbols if base else ())
    if digits == "new":
        symbols |= dict.fromkeys(symbol for code in codes.values() for symbol in code)
    return Codebook(
        scheme="hierarchical",
        codes=codes,
        new_symbols=tuple(symbols),
        catalog_fingerprint=catalog.fingerprint,
        options={"branching": branching, "balanced": balanced, "digits": digits, "seed": seed},
    )


def _cluster(vectors_ND: Vectors, branching: int, seed: int, balanced: bool) -> list[Path]:
    """A path for each vector, none the beginning of another."""
    paths: list[Path] = [()] * len(vectors_ND)
    todo = [np.arange(len(vectors_ND))]
    while todo:
        members = todo.pop()
        labels = np.arange(len(members))
        if len(members) > branching:
            labels = split(vectors_ND[members], branching, seed=seed, balanced=balanced)
        for label in range(labels.max() + 1):
            child = members[labels == label]
            for member in child:
                paths[member] += (label,)
            if len(child) > 1:
                todo.append(child)
    return paths


def _extend(base: Codebook, catalog: ToolCatalog, vectors_ND: Vectors, branching: int) -> dict[str, Path]:
    """The base's paths, and those of the tools that join it, in the order in which they join."""
    paths = {tool_id: tuple(map(value_of, code)) for tool_id, code in base.codes.items()}
    tree = _Node((), vectors_ND)
    for tool_id, path in paths.items():
        tree.add(path, catalog.position(tool_id))
    for number, tool_id in enumerate(catalog):
        if tool_id not in paths:
            paths[tool_id] = tree.free_path(vectors_ND[number], branching)
            tree.add(paths[tool_id], number)
    return paths


class _Node:
    """A cluster of the tree: the tools whose path leads to it or through it."""

    def __init__(self, path: Path, vectors_ND: Vectors) -> None:
        self.path = path
        self.children: dict[int, _Node] = {}
        self._vectors_ND = vectors_ND
        self._members: list[int] = []
        self._sum_D: NDArray[Any] | None = None

    def add(self, path: Path, member: int) -> None:
        """Put the tool of a path, by its number, into the nodes from this one, the root, down to its own."""
        node = self
        node._take(member)
        for depth, number in enumerate(path, start=1):
            if number not in node.children:
                node.children[number] = _Node(path[:depth], self._vectors_ND)
            node = node.children[number]
            node._take(member)

    def free_path(self, vector_D: Vectors, branching: int) -> Path:
        """A path that no tool has, near the tools that the vector is near."""
        node, child = self, self._nearest_child(vector_D)
        while child.children:
            node, child = child, child._nearest_child(vector_D)
        free = next((number for number in range(branching) if number not in node.children), None)
        return (*child.path, 0) if free is None else (*node.path, free)

    def _nearest_child(self, vector_D: Vectors) -> "_Node":
        """Of equally near ones that with the fewest tools, so that identical documents do not make a chain."""
        distances = {number: child._distance(vector_D) for number, child in self.children.items()}
        least = min(distances.values()) + _EQUALLY_NEAR
        near = [self.children[number] for number, distance in distances.items() if distance <= least]
        return min(near, key=lambda child: len(child._members))

    def _take(self, member: int) -> None:
        self._members.append(member)
        if self._sum_D is not None:
            self._sum_D += self._vectors_ND[member]

    def _distance(self, vector_D: Vectors) -> float:
        if self._sum_D is None:
            self._sum_D = self._vectors_ND[self._members].sum(0, dtype=np.float64)
        difference_D = self._sum_D / len(self._members) - vector_D
        return float((difference_D * difference_D).sum())
