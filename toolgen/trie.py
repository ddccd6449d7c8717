"""The trie of all codes, as arrays: which tokens may follow a prefix. Knows token ids, never tools, text or models.

Legend: ``S`` nodes (also called states), ``G`` segments, ``N`` codes, ``D`` tokens of the longest code, ``W`` children
of the widest node asked for, ``R`` prefixes of a search, ``n`` edges out of all of them; ``*`` is any shape, the same
for all arrays of a call.

Most nodes have one child: after a few tokens a code is told apart from all others, and the rest of it is certain. So
nodes lie in segments, runs without a choice, and only segments have children and codes (a radix tree): four bytes a
node, twelve a segment. Segments are numbered level by level and, within a level, in the order of their prefixes, so the
children of a segment are consecutive segments in ascending order of their first tokens, and compressed rows need no
column of targets. A node is its place among the tokens of all segments, one segment after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolgen.errors import InputError

Array = NDArray[Any]

ROOT = 0
NOWHERE = -1
"""The state of a prefix that begins no code. No token leads out of it."""


@dataclass(frozen=True, eq=False)
class Edges:
    """All edges out of R prefixes: by prefix, then by token.

    Attributes:
        prefixes_n: The prefix that an edge leaves.
        segments_n: The segment of the node that it enters.
        places_n: That node's place in its segment; 0 where there was a choice.
        degrees_R: Edges out of each prefix.
    """

    prefixes_n: Array
    segments_n: Array
    places_n: Array
    degrees_R: Array


@dataclass(frozen=True, eq=False)
class Segments:
    """A trie's arrays on the host, where a search keeps its books: thousands of numbers a step, which cost more to hand
    to a device than to work out. A last segment has neither tokens nor children: it is what ``NOWHERE`` means here.

    Attributes:
        tokens_S: Tokens of all segments, one segment after another.
        starts_G: Where in ``tokens_S`` a segment begins.
        lengths_G: Tokens of a segment.
        children_G: A segment's first child.
        degrees_G: Children of a segment: none or several, but for the root.
        codes_G: The code that ends with a segment, -1 where none does.
    """

    tokens_S: Array
    starts_G: Array
    lengths_G: Array
    children_G: Array
    degrees_G: Array
    codes_G: Array

    def edges(self, segments_R: Array, places_R: Array) -> Edges:
        """All edges out of prefixes, each given by the segment that it is in and its place there."""
        ended_R = places_R + 1 >= self.lengths_G.take(segments_R)
        degrees_R = np.where(ended_R, self.degrees_G.take(segments_R), 1)
        prefixes_n = np.arange(len(degrees_R)).repeat(degrees_R)
        firsts_R = np.where(ended_R, self.children_G.take(segments_R), segments_R)
        # Counted over all edges, less the count before the prefix: the first edge of each prefix has rank 0.
        shifts_R = firsts_R - (degrees_R.cumsum() - degrees_R)
        return Edges(
            prefixes_n=prefixes_n,
            segments_n=shifts_R.take(prefixes_n) + np.arange(len(prefixes_n)),
            places_n=np.where(ended_R, 0, places_R + 1).take(prefixes_n),
            degrees_R=degrees_R,
        )


@dataclass(frozen=True, eq=False)
class TokenTrie:
    """A trie over prefix-free codes. Immutable; every leaf is one code, every code one leaf.

    Attributes:
        tokens_S: ``[S]`` int32, token on the edge into a node; -1 for the root, which is node 0.
        starts_G1: ``[G + 1]`` int32. Segment g has the nodes ``starts_G1[g] .. starts_G1[g + 1] - 1``; the first one is
            the root alone.
        children_G1: ``[G + 1]`` int32. Segment g has the children ``children_G1[g] .. children_G1[g + 1] - 1``.
        codes_G: ``[G]`` int32, position of the code that ends with a segment; -1 where none does.
        depth: Tokens of the longest code.
        shortest: Tokens of the shortest code.
        code_count: Codes that the numbering in ``codes_G`` counts; ``restrict`` keeps it.

    Example:
        >>> trie = TokenTrie.from_codes([(7, 8), (7, 9), (5,)])
        >>> trie.allowed(torch.tensor([ROOT])).tolist()
        [[5, 7]]
        >>> state = trie.step(torch.tensor([ROOT]), torch.tensor([5]))
        >>> trie.codes(state).tolist()
        [2]
    """

    tokens_S: Tensor
    starts_G1: Tensor
    children_G1: Tensor
    codes_G: Tensor
    depth: int
    shortest: int
    code_count: int

    @classmethod
    def from_codes(cls, sequences: Sequence[Sequence[int]]) -> "TokenTrie":
        """Build the trie, on the CPU.

        Args:
            sequences: Token ids of each code, end symbol included where the code has one; a code's position is its
                number from here on.

        Raises:
            InputError: There is no code, a code is empty, a token is no token id, or one code equals or begins another.
        """
        codes_ND = _padded(sequences)
        return cls._build(codes_ND, np.arange(len(codes_ND)), len(codes_ND))

    @classmethod
    def _build(cls, codes_ND: Array, numbers_N: Array, code_count: int) -> "TokenTrie":
        """The trie of these codes, padded with -1 on the right; ``numbers_N`` is what the caller calls them."""
        order_N = np.lexsort(codes_ND.T[::-1])
        codes_DN, numbers_N = codes_ND[order_N].T, numbers_N[order_N]
        real_DN = codes_DN >= 0
        lengths_N = real_DN.sum(0)
        # In sorted order a code opens a new node at every depth from its first difference to the code before it.
        new_DN = np.ones(codes_DN.shape, dtype=bool)
        new_DN[:, 1:] = np.logical_or.accumulate(codes_DN[:, 1:] != codes_DN[:, :-1], axis=0)
        new_DN &= real_DN
        nodes_DN = np.cumsum(new_DN.ravel(), dtype=np.int32).reshape(new_DN.shape)
        above_DN = np.vstack([np.full_like(nodes_DN[:1], ROOT), nodes_DN[:-1]])
        leaves_N = nodes_DN[lengths_N - 1, np.arange(len(lengths_N))]
        degrees_S = np.bincount(above_DN[new_DN], minlength=int(nodes_DN[-1, -1]) + 1)
        _check_prefix_free(leaves_N, degrees_S, numbers_N)

        # A node begins a segment where its parent has other children too, and under the root.
        begins_DN = (degrees_S[above_DN] > 1) & real_DN
        begins_DN[0] = True
        heads_DN = np.maximum.accumulate(np.where(begins_DN, nodes_DN, 0), axis=0)
        levels_DN = begins_DN.cumsum(axis=0, dtype=np.int32)
        opens_DN = begins_DN & new_DN
        depths_G, columns_G = opens_DN.nonzero()
        order_G = np.lexsort((columns_G, levels_DN[opens_DN]))
        segments_S = np.zeros(len(degrees_S), dtype=np.int32)
        segments_S[nodes_DN[opens_DN][order_G]] = np.arange(1, len(order_G) + 1)
        parents_G = segments_S[np.where(depths_G > 0, heads_DN[depths_G - 1, columns_G], ROOT)]
        # So far only a segment's first node knows its segment; nodes are numbered by depth, which a stable sort keeps.
        segments_S[1:] = segments_S[heads_DN[new_DN]]
        codes_G = np.full(len(order_G) + 1, -1)
        codes_G[segments_S[leaves_N]] = numbers_N
        return cls(
            tokens_S=_int32(np.concatenate([[-1], codes_DN[new_DN]])[segments_S.argsort(kind="stable")]),
            starts_G1=_int32(_before(np.bincount(segments_S))),
            children_G1=_int32(1 + _before(np.bincount(parents_G, minlength=len(codes_G)))),
            codes_G=_int32(codes_G),
            depth=len(codes_DN),
            shortest=int(lengths_N.min()),
            code_count=code_count,
        )

    @property
    def size(self) -> int:
        """Number of nodes, the root included."""
        return len(self.tokens_S)

    @property
    def nbytes(self) -> int:
        """Bytes of the four arrays."""
        return sum(array.nbytes for array in (self.tokens_S, self.starts_G1, self.children_G1, self.codes_G))

    @cached_property
    def leaf_count(self) -> int:
        """Codes that can be reached: ``code_count``, or fewer after ``restrict``."""
        return int((self.codes_G >= 0).sum())

    @cached_property
    def first_count(self) -> int:
        """Tokens that codes begin with, those of segments 1 to ``first_count``."""
        return int(self.children_G1[1]) - 1

    @cached_property
    def first_tokens(self) -> slice | Tensor:
        """These tokens: a slice where they lie together. A slice takes a view of a model's rows, indices copy them."""
        tokens = self.tokens_S[self.starts_G1[1 : self.first_count + 1].long()]
        first, last = int(tokens[0]), int(tokens[-1])
        return slice(first, last + 1) if last - first + 1 == len(tokens) else tokens.long()

    @cached_property
    def largest_token(self) -> int:
        """The largest token id of any code; a model needs more rows than this."""
        return int(self.tokens_S.max())

    @cached_property
    def segments(self) -> Segments:
        """The arrays on the host."""
        starts_G1, children_G1 = self.starts_G1.cpu().numpy(), self.children_G1.cpu().numpy()
        return Segments(
            tokens_S=self.tokens_S.cpu().numpy(),
            starts_G=starts_G1,
            lengths_G=np.append(np.diff(starts_G1), 0),
            children_G=children_G1,
            degrees_G=np.append(np.diff(children_G1), 0),
            codes_G=np.append(self.codes_G.cpu().numpy(), -1),
        )

    def degrees(self, states: Tensor) -> Tensor:
        """Number of edges out of each state, ``[*]`` int64; none out of ``NOWHERE`` and leaves."""
        return self._degrees(states, *self._at(states))

    def _degrees(self, states: Tensor, segments: Tensor, ended: Tensor) -> Tensor:
        branches = self.children_G1.take(segments + 1) - self.children_G1.take(segments)
        return torch.where(states >= ROOT, torch.where(ended, branches, 1), 0).long()

    def codes(self, states: Tensor) -> Tensor:
        """Position of the code that each state is the end of, ``[*]`` int64; -1 where it is the end of none."""
        segments, ended = self._at(states)
        return torch.where(ended & (states >= ROOT), self.codes_G.take(segments), -1).long()

    def allowed(self, states: Tensor) -> Tensor:
        """The tokens that may follow each state.

        Args:
            states: ``[*]`` node numbers; ``NOWHERE`` and leaves have none.

        Returns:
            ``[*, W]`` int64, ascending, padded with -1 to W, the most children of any of these states (at least 1).
        """
        segments, ended = self._at(states)
        degrees = self._degrees(states, segments, ended)
        places = torch.arange(max(1, int(degrees.max())), device=states.device)
        real = places < degrees[..., None]
        branches = torch.where(real, self.children_G1.take(segments)[..., None] + places, 0)
        nodes = torch.where(ended[..., None], self.starts_G1.take(branches), states[..., None] + 1)
        return self.tokens_S.take(torch.where(real, nodes, ROOT)).long()

    def step(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Follow one token from each state, by bisection among the children.

        Args:
            states: ``[*]`` int64 node numbers or ``NOWHERE``.
            tokens: ``[*]`` token ids.

        Returns:
            ``[*]`` int64: the child that the token leads to, ``NOWHERE`` where it is not allowed.
        """
        segments, ended = self._at(states)
        low, end = self.children_G1.take(segments).long(), self.children_G1.take(segments + 1).long()
        high, last = end, len(self.codes_G) - 1
        for _ in range(int(self.children_G1.diff().max()).bit_length()):
            middle = (low + high) // 2
            smaller = self.tokens_S.take(self.starts_G1.take(middle.clamp(max=last)).long()) < tokens
            before = (low < high) & smaller
            low, high = torch.where(before, middle + 1, low), torch.where(before, high, middle)
        branch = torch.where(low < end, self.starts_G1.take(low.clamp(max=last)), ROOT)
        nodes = torch.where(ended, branch, states + 1)
        # The root's own token, -1, is no token.
        found = (states >= ROOT) & (self.tokens_S.take(nodes) == tokens) & (nodes != ROOT)
        return torch.where(found, nodes, NOWHERE)

    def restrict(self, code_indices: Sequence[int] | Tensor) -> "TokenTrie":
        """A trie of these codes only, which keep their numbers. Restricting twice leaves what both allow.

        Args:
            code_indices: Positions of codes; order and repetition do not matter.

        Raises:
            InputError: An index is no position of a code, or no code is left.
        """
        wanted_N = code_mask(code_indices, self.code_count).numpy()
        codes_G = self.segments.codes_G
        kept_n = np.flatnonzero((codes_G >= 0) & wanted_N[codes_G])
        if not len(kept_n):
            raise InputError("None of the codes asked for is left: the trie was restricted to others before.")
        small = self._build(_spelled(self.segments, kept_n, self.depth), codes_G[kept_n], self.code_count)
        return small.to(self.tokens_S.device)

    def to(self, device: torch.device | str) -> "TokenTrie":
        """The same trie on another device; itself when it is there already."""
        if torch.device(device) == self.tokens_S.device:
            return self
        names = "tokens_S", "starts_G1", "children_G1", "codes_G"
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def _at(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The segment of each state, and whether the state is its end; anything for ``NOWHERE``."""
        nodes = states.clamp(min=ROOT)
        segments = torch.searchsorted(self.starts_G1, nodes.int(), right=True) - 1
        return segments, self.starts_G1.take(segments + 1) == nodes + 1


def code_mask(code_indices: Sequence[int] | Tensor, code_count: int) -> Tensor:
    """``[N]`` bool on the CPU, true for the codes asked for.

    Raises:
        InputError: There is none, or an index is not in ``0 .. code_count - 1``.
    """
    indices = torch.as_tensor(code_indices, dtype=torch.int64).cpu().reshape(-1)
    if not len(indices):
        raise InputError("The subset of tools is empty: nothing could be answered. Allow at least one tool.")
    if bad := [index for index in (int(indices.min()), int(indices.max())) if not 0 <= index < code_count]:
        raise InputError(f"Code index {bad[0]} does not exist. Allowed are 0 to {code_count - 1:,}, one a tool.")
    return torch.zeros(code_count, dtype=torch.bool).index_fill(0, indices, True)


def _padded(sequences: Sequence[Sequence[int]]) -> Array:
    """Codes as ``[N, D]`` int64, padded with -1 on the right."""
    if not sequences:
        raise InputError("A trie needs at least one code, found none.")
    lengths_N = np.fromiter(map(len, sequences), np.int64, len(sequences))
    if not lengths_N.all():
        raise InputError(f"Code {int(lengths_N.argmin())} is empty. Every code needs at least one token.")
    flat = np.fromiter(chain.from_iterable(sequences), np.int64, int(lengths_N.sum()))
    largest = np.iinfo(np.int32).max
    if flat.min() < 0 or flat.max() > largest:
        bad = flat.min() if flat.min() < 0 else flat.max()
        raise InputError(f"Token id {bad} in a code is out of range. Token ids are 0 to {largest:,}.")
    codes_ND = np.full((len(sequences), lengths_N.max()), -1)
    codes_ND[np.arange(codes_ND.shape[1]) < lengths_N[:, None]] = flat
    return codes_ND


def _spelled(segments: Segments, leaves_N: Array, depth: int) -> Array:
    """The codes that end with these segments, padded like ``_padded``'s and as narrow as they can be."""
    parents_G = np.append(NOWHERE, np.arange(len(segments.codes_G)).repeat(segments.degrees_G))
    # Written from the right, the end of each code first.
    codes_ND, ends_N = np.full((len(leaves_N), depth), -1), np.full(len(leaves_N), depth)
    rows_n, at_n = np.arange(len(leaves_N)), leaves_N
    while len(rows_n):
        lengths_n = segments.lengths_G[at_n]
        ends_N[rows_n] -= lengths_n
        rows_t, places_t = rows_n.repeat(lengths_n), counted(lengths_n)
        codes_ND[rows_t, ends_N[rows_t] + places_t] = segments.tokens_S[
            segments.starts_G[at_n].repeat(lengths_n) + places_t
        ]
        at_n = parents_G[at_n]
        rows_n, at_n = rows_n[at_n != ROOT], at_n[at_n != ROOT]
    lengths_N = depth - ends_N
    spelled_ND = np.full((len(leaves_N), lengths_N.max()), -1)
    spelled_ND[np.arange(spelled_ND.shape[1]) < lengths_N[:, None]] = codes_ND[codes_ND >= 0]
    return spelled_ND


def _check_prefix_free(leaves_N: Array, degrees_S: Array, numbers_N: Array) -> None:
    """In sorted order, a code that equals or begins another stands directly before such a one."""
    clash_N = (leaves_N[:-1] == leaves_N[1:]) | (degrees_S[leaves_N[:-1]] > 0)
    if clash_N.any():
        row = int(clash_N.argmax())
        raise InputError(
            f"Code {numbers_N[row]} equals or begins code {numbers_N[row + 1]}: one of the two could never be told "
            "apart. Build the codes with Codebook.bind, which closes them with an end symbol and proves them "
            "prefix-free."
        )


def counted(lengths_n: Array) -> Array:
    """``0 .. length - 1`` for each length, one after another."""
    return np.arange(lengths_n.sum()) - _before(lengths_n)[:-1].repeat(lengths_n)


def _before(counts_n: Array) -> Array:
    """``[n + 1]``: the sum of the counts before each, and of all."""
    return np.append(0, counts_n.cumsum())


def _int32(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.int32))
