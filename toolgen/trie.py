"""The trie of all codes, as arrays: which tokens may follow a prefix. Knows token ids, never tools, text or models.

Legend: ``S`` nodes (also called states), ``N`` codes, ``D`` tokens of the longest code, ``W`` children of the widest
node asked for, ``B`` queries with ``K`` states each and ``C`` edges in all, ``J`` nodes of the longest chain; ``*`` is
any shape, the same for all arrays of a call.

Nodes are numbered level by level and, within a level, in the order of their prefixes, so the children of a node are
consecutive nodes in ascending order of token. An edge is therefore named by the node that it enters, and compressed
rows need no column of targets: three arrays of ``int32`` hold everything, 12 bytes a node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from toolgen.errors import InputError

ROOT = 0
NOWHERE = -1
"""The state of a prefix that begins no code. No token leads out of it."""


@dataclass(frozen=True, eq=False)
class Edges:
    """All edges out of the K states of each query, ``[B, C]`` int64: by state, then by token; padding at the end.

    Attributes:
        tokens: The token on each edge, -1 in padding.
        nodes: The node it leads to, ``ROOT`` in padding.
        parents: Which of the K states it leaves.
        real: False in padding.
        alone: Whether it is the only edge out of its state; anything in padding.
    """

    tokens: Tensor
    nodes: Tensor
    parents: Tensor
    real: Tensor
    alone: Tensor


@dataclass(frozen=True, eq=False)
class TokenTrie:
    """A trie over prefix-free codes. Immutable; every leaf is one code, every code one leaf.

    Attributes:
        children_S1: ``[S + 1]`` int32. The children of node s are ``children_S1[s] .. children_S1[s + 1] - 1``.
        tokens_S: ``[S]`` int32, token on the edge into a node; -1 for the root, which is node 0.
        codes_S: ``[S]`` int32, position of the code that ends at a node; -1 for inner nodes.
        depth: Tokens of the longest code.
        shortest: Tokens of the shortest code.
        code_count: Codes that the numbering in ``codes_S`` counts; ``restrict`` keeps it.

    Example:
        >>> trie = TokenTrie.from_codes([(7, 8), (7, 9), (5,)])
        >>> trie.allowed(torch.tensor([ROOT])).tolist()
        [[5, 7]]
        >>> state = trie.step(torch.tensor([ROOT]), torch.tensor([5]))
        >>> trie.codes_S[state].tolist()
        [2]
    """

    children_S1: Tensor
    tokens_S: Tensor
    codes_S: Tensor
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
        codes_ND, lengths_N = _padded(sequences)
        order_N = np.lexsort(codes_ND.T[::-1])
        codes_DN, lengths_N = codes_ND[order_N].T, lengths_N[order_N]
        # In sorted order a code opens a new node at every depth from its first difference to the code before it.
        new_DN = np.ones(codes_DN.shape, dtype=bool)
        new_DN[:, 1:] = np.logical_or.accumulate(codes_DN[:, 1:] != codes_DN[:, :-1], axis=0)
        new_DN &= codes_DN >= 0
        nodes_DN = np.cumsum(new_DN.ravel()).reshape(new_DN.shape)
        parents_DN = np.vstack([np.full_like(nodes_DN[:1], ROOT), nodes_DN[:-1]])
        size = int(nodes_DN[-1, -1]) + 1
        degrees_S = np.bincount(parents_DN[new_DN], minlength=size)
        leaves_N = nodes_DN[lengths_N - 1, np.arange(len(lengths_N))]
        _check_prefix_free(leaves_N, degrees_S, order_N)

        tokens_S = np.concatenate([[-1], codes_DN[new_DN]])
        codes_S = np.full(size, -1)
        codes_S[leaves_N] = order_N
        return cls(
            children_S1=_int32(1 + np.concatenate([[0], np.cumsum(degrees_S)])),
            tokens_S=_int32(tokens_S),
            codes_S=_int32(codes_S),
            depth=len(codes_DN),
            shortest=int(lengths_N.min()),
            code_count=len(order_N),
        )

    @property
    def size(self) -> int:
        """Number of nodes, the root included."""
        return len(self.tokens_S)

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.children_S1.nbytes + self.tokens_S.nbytes + self.codes_S.nbytes

    @cached_property
    def leaf_count(self) -> int:
        """Codes that can be reached: ``code_count``, or fewer after ``restrict``."""
        return int((self.codes_S >= 0).sum())

    @cached_property
    def first_tokens(self) -> slice | Tensor:
        """The tokens that codes begin with, those of nodes 1 to ``first_count``: a slice where they lie together.

        A slice takes a view of a model's rows, indices copy them.
        """
        tokens = self.tokens_S[1 : self.first_count + 1]
        first, last = int(tokens[0]), int(tokens[-1])
        return slice(first, last + 1) if last - first + 1 == len(tokens) else tokens.long()

    @cached_property
    def first_count(self) -> int:
        """Children of the root."""
        return int(self.children_S1[1]) - 1

    @cached_property
    def single_S(self) -> Tensor:
        """``[S + 1]`` bool: whether a node has one child and that is no leaf; the last stands for ``NOWHERE``."""
        only_S = self.children_S1.diff() == 1
        child_S = self.children_S1[:-1].clamp(max=self.size - 1).long()
        return torch.nn.functional.pad(only_S & (self.codes_S[child_S] < 0), (0, 1))

    @cached_property
    def largest_token(self) -> int:
        """The largest token id of any code; a model needs more rows than this."""
        return int(self.tokens_S.max())

    @cached_property
    def widest(self) -> int:
        """Children of the node that has most."""
        return int(self.children_S1.diff().max())

    def degrees(self, states: Tensor) -> Tensor:
        """Number of edges out of each state, ``[*]`` int64; none out of ``NOWHERE`` and leaves."""
        at = states.clamp(min=ROOT)
        return torch.where(states >= ROOT, self.children_S1.take(at + 1) - self.children_S1.take(at), 0).long()

    def first_child(self, states: Tensor) -> Tensor:
        """The child by the smallest token of each state, ``[*]`` int64; the states must have children."""
        return self.children_S1.take(states).long()

    def allowed(self, states: Tensor) -> Tensor:
        """The tokens that may follow each state.

        Args:
            states: ``[*]`` node numbers; ``NOWHERE`` and leaves have none.

        Returns:
            ``[*, W]`` int64, ascending, padded with -1 to W, the most children of any of these states (at least 1).
        """
        degrees = self.degrees(states)
        places = torch.arange(max(1, int(degrees.max())), device=states.device)
        real = places < degrees[..., None]
        nodes = torch.where(real, self.first_child(states.clamp(min=ROOT))[..., None] + places, ROOT)
        return self.tokens_S.take(nodes).long()

    def edges(self, states_BK: Tensor) -> Edges:
        """All edges out of ``[B, K]`` states, gathered for each query."""
        degrees_BK = self.degrees(states_BK)
        ends_BK = degrees_BK.cumsum(1)
        count = max(1, int(ends_BK[:, -1].max()))
        places_BC = torch.arange(count, device=states_BK.device).expand(len(states_BK), -1)
        real_BC = places_BC < ends_BK[:, -1:]
        # The edge at a place leaves the state before which as many others have ended as end at or before that place.
        ended_BC1 = torch.zeros(len(states_BK), count + 1, dtype=torch.int64, device=states_BK.device)
        ended_BC1.scatter_add_(1, ends_BK, torch.ones_like(ends_BK))
        parents_BC = ended_BC1[:, :count].cumsum(1).clamp(max=states_BK.shape[1] - 1)
        before_BK = self.first_child(states_BK.clamp(min=ROOT)) - (ends_BK - degrees_BK)
        nodes_BC = torch.where(real_BC, before_BK.gather(1, parents_BC) + places_BC, ROOT)
        alone_BC = (degrees_BK == 1).gather(1, parents_BC)
        return Edges(self.tokens_S.take(nodes_BC).long(), nodes_BC, parents_BC, real_BC, alone_BC)

    def chains(self, states: Tensor) -> Tensor:
        """From each state down to where there is a choice, or to the last node before a whole code.

        Returns:
            ``[*, J]`` int64 nodes, the state first, padded with ``NOWHERE``; nothing else for leaves.
        """
        nodes = states.masked_fill(self.codes_S.take(states.clamp(min=ROOT)) >= 0, NOWHERE)
        found = [nodes]
        while (goes_on := self.single_S.take(nodes)).any():
            nodes = torch.where(goes_on, self.first_child(nodes), NOWHERE)
            found.append(nodes)
        return torch.stack(found, dim=-1)

    def step(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Follow one token from each state, by bisection among the children.

        Args:
            states: ``[*]`` int64 node numbers or ``NOWHERE``.
            tokens: ``[*]`` token ids.

        Returns:
            ``[*]`` int64: the child that the token leads to, ``NOWHERE`` where it is not allowed.
        """
        at = states.clamp(min=ROOT)
        low = self.children_S1[at].long()
        end = torch.where(states >= ROOT, self.children_S1[at + 1].long(), low)
        high = end
        for _ in range(self.widest.bit_length()):
            middle = (low + high) // 2
            before = (low < high) & (self.tokens_S[middle.clamp(max=self.size - 1)] < tokens)
            low, high = torch.where(before, middle + 1, low), torch.where(before, high, middle)
        found = (low < end) & (self.tokens_S[low.clamp(max=self.size - 1)] == tokens)
        return torch.where(found, low, NOWHERE)

    def restrict(self, code_indices: Sequence[int] | Tensor) -> "TokenTrie":
        """A trie of these codes only, which keep their numbers. Restricting twice leaves what both allow.

        Args:
            code_indices: Positions of codes; order and repetition do not matter.

        Raises:
            InputError: An index is no position of a code, or no code is left.
        """
        wanted_N = code_mask(code_indices, self.code_count).to(self.codes_S.device)
        kept_S = (self.codes_S >= 0) & wanted_N[self.codes_S.clamp(min=0)]
        if not kept_S.any():
            raise InputError("None of the codes asked for is left: the trie was restricted to others before.")
        nodes_S = torch.arange(self.size, device=kept_S.device)
        parents_S = torch.cat([nodes_S[:1], nodes_S.repeat_interleave(self.children_S1.diff())])
        depth = shortest = 0
        ancestors = nodes_S[kept_S]
        while (inner := ancestors != ROOT).any():
            shortest += bool(inner.all())
            ancestors = parents_S[ancestors]
            kept_S[ancestors] = True
            depth += 1
        # A node's new number is the count of kept nodes before it, and so is the number of its first kept child.
        before_S1 = torch.nn.functional.pad(kept_S.cumsum(0, dtype=torch.int32), (1, 0))
        kept_children = before_S1[self.children_S1[:-1][kept_S]]
        return replace(
            self,
            children_S1=torch.cat([kept_children, before_S1[-1:]]),
            tokens_S=self.tokens_S[kept_S],
            codes_S=self.codes_S[kept_S],
            depth=depth,
            shortest=shortest,
        )

    def to(self, device: torch.device | str) -> "TokenTrie":
        """The same trie on another device; itself when it is there already."""
        if torch.device(device) == self.tokens_S.device:
            return self
        arrays = {name: getattr(self, name).to(device) for name in ("children_S1", "tokens_S", "codes_S")}
        return replace(self, **arrays)


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


def _padded(sequences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Codes as ``[N, D]`` int64, padded with -1 on the right, and their lengths ``[N]``."""
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
    return codes_ND, lengths_N


def _check_prefix_free(leaves_N: np.ndarray, degrees_S: np.ndarray, order_N: np.ndarray) -> None:
    """In sorted order, a code that equals or begins another stands directly before such a one."""
    clash_N = (leaves_N[:-1] == leaves_N[1:]) | (degrees_S[leaves_N[:-1]] > 0)
    if clash_N.any():
        row = int(clash_N.argmax())
        raise InputError(
            f"Code {order_N[row]} equals or begins code {order_N[row + 1]}: one of the two could never be told apart. "
            "Build the codes with Codebook.bind, which closes them with an end symbol and proves them prefix-free."
        )


def _int32(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int32))
