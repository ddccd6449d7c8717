"""The tree of all codes: which codes begin alike. Knows token ids, never tools, text or models.

Legend: ``N`` codes, ``D`` tokens of the longest code, the end symbol included where a code has one. Codes are sorted,
so those that begin alike are neighbours, and every node of the tree is a run of rows. (``toolgen.trie`` serves decoding
and needs torch; this one serves counting and looking.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

NOTHING = -1
"""Stands behind the end of the shorter codes."""


@dataclass(frozen=True)
class Branch:
    """A node together with the chain of only children that leads to it: rows ``start .. stop - 1``.

    Attributes:
        start: First row.
        stop: Row after the last.
        above: Tokens of the node that it hangs on; the chain's own tokens follow these.
        depth: Tokens that all its codes share; for a single code, all of them.
    """

    start: int
    stop: int
    above: int
    depth: int

    @property
    def size(self) -> int:
        """Codes in it."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class CodeTree:
    """Codes in sorted order, and how much each shares with the one before.

    Attributes:
        codes_ND: ``[N, D]`` int64 token ids in sorted order, padded with ``NOTHING``.
        lengths_N: ``[N]`` tokens of each.
        order_N: ``[N]`` position of each in the sequences that the tree was built from.

    Example:
        >>> tree = CodeTree.of([(7, 8), (7, 9), (5,)])
        >>> tree.shared_N.tolist(), tree.order_N.tolist()
        ([0, 0, 1], [2, 0, 1])
    """

    codes_ND: np.ndarray
    lengths_N: np.ndarray
    order_N: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "CodeTree":
        """Sort codes; they must be distinct and prefix-free, as ``Codebook.bind`` proves them to be."""
        lengths_N = np.fromiter(map(len, sequences), np.int64, len(sequences))
        codes_ND = np.full((len(sequences), lengths_N.max()), NOTHING)
        flat = np.fromiter(chain.from_iterable(sequences), np.int64, int(lengths_N.sum()))
        codes_ND[np.arange(codes_ND.shape[1]) < lengths_N[:, None]] = flat
        order_N = np.lexsort(codes_ND.T[::-1])
        return cls(codes_ND[order_N], lengths_N[order_N], order_N)

    @cached_property
    def shared_N(self) -> np.ndarray:
        """``[N]`` tokens that each code shares with the one before it; 0 for the first."""
        alike = np.logical_and.accumulate(self.codes_ND[1:] == self.codes_ND[:-1], axis=1)
        return np.concatenate([[0], alike.sum(axis=1)])

    @property
    def root(self) -> Branch:
        """All codes, before the first token."""
        return Branch(0, len(self.codes_ND), 0, 0)

    def prefixes(self, depth: int) -> np.ndarray:
        """``[N]`` number of each code's prefix of ``depth`` tokens, from 0 in sorted order.

        A code with fewer tokens is a prefix of its own: it shares none of that length.
        """
        return np.cumsum(self.shared_N < depth) - (depth > 0)

    def children(self, branch: Branch) -> list[Branch]:
        """The branches that hang on a node, in sorted order; none hang on a whole code."""
        if branch.depth == self.lengths_N[branch.start]:
            return []
        opens = np.flatnonzero(self.shared_N[branch.start + 1 : branch.stop] <= branch.depth) + branch.start + 1
        bounds = [branch.start, *opens.tolist(), branch.stop]
        return [
            Branch(start, stop, branch.depth, self._shared_depth(start, stop))
            for start, stop in zip(bounds, bounds[1:], strict=False)
        ]

    def _shared_depth(self, start: int, stop: int) -> int:
        if stop - start == 1:
            return int(self.lengths_N[start])
        return int(self.shared_N[start + 1 : stop].min())

    def tokens(self, branch: Branch) -> list[int]:
        """The branch's own tokens: those below the node that it hangs on."""
        tokens: list[int] = self.codes_ND[branch.start, branch.above : branch.depth].tolist()
        return tokens

    def longest_shared(self, most: int) -> list[Branch]:
        """The longest prefixes that several codes share, no code in two of them; ties in sorted order."""
        found: list[Branch] = []
        named = np.zeros(len(self.codes_ND), dtype=bool)
        for row in np.argsort(-self.shared_N, kind="stable").tolist():
            depth = int(self.shared_N[row])
            if len(found) == most or depth == 0:
                break
            if named[row] or named[row - 1]:
                continue
            breaks = np.flatnonzero(self.shared_N < depth)
            start = int(breaks[breaks < row][-1])
            behind = breaks[breaks > row]
            stop = int(behind[0]) if len(behind) else len(self.codes_ND)
            if not named[start:stop].any():
                named[start:stop] = True
                found.append(Branch(start, stop, 0, depth))
        return found
