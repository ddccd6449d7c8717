"""The trie against brute force over the codes it was built from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.trie import NOWHERE, ROOT, TokenTrie, code_mask

VOCABULARY = 6

Codes = list[tuple[int, ...]]


def _is_prefix_free(codes: Codes) -> bool:
    return not any(i != j and b[: len(a)] == a for i, a in enumerate(codes) for j, b in enumerate(codes))


@st.composite
def prefix_free(draw: st.DrawFn, largest: int = VOCABULARY - 1) -> Codes:
    """Distinct codes of different lengths in any order, none of which begins another."""
    code = st.lists(st.integers(0, largest), min_size=1, max_size=5).map(tuple)
    kept: Codes = []
    for candidate in draw(st.lists(code, min_size=1, max_size=25)):
        if _is_prefix_free([*kept, candidate]):
            kept.append(candidate)
    return kept


def _walk(trie: TokenTrie, prefix: tuple[int, ...]) -> int:
    state = torch.tensor([ROOT])
    for token in prefix:
        state = trie.step(state, torch.tensor([token]))
    return int(state)


def _paths(trie: TokenTrie) -> dict[tuple[int, ...], int]:
    """Every path from the root to a leaf, with the code that the leaf names, by the edges alone."""
    segments = trie.segments
    paths, open_paths = {}, [((), 0, 0)]
    while open_paths:
        prefix, segment, place = open_paths.pop()
        edges = segments.edges(np.array([segment]), np.array([place]))
        if not len(edges.segments_n):
            paths[prefix] = int(segments.codes_G[segment])
        for into, at in zip(edges.segments_n.tolist(), edges.places_n.tolist(), strict=True):
            token = int(segments.tokens_S[segments.starts_G[into] + at])
            open_paths.append(((*prefix, token), into, at))
    return paths


@given(prefix_free())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_code_walks_to_its_leaf_and_every_path_is_a_code(codes: Codes) -> None:
    trie = TokenTrie.from_codes(codes)
    for position, code in enumerate(codes):
        leaf = _walk(trie, code)
        assert trie.codes(torch.tensor(leaf)) == position
        assert (trie.allowed(torch.tensor(leaf)) == -1).all()
    assert _paths(trie) == {code: position for position, code in enumerate(codes)}
    prefixes = {code[:length] for code in codes for length in range(len(code) + 1)}
    assert trie.size == len(prefixes)
    assert trie.depth == max(map(len, codes)) and trie.leaf_count == trie.code_count == len(codes)
    assert trie.largest_token == max(map(max, codes))


@given(prefix_free())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_allowed_and_step_equal_brute_force_on_whole_batches(codes: Codes) -> None:
    trie = TokenTrie.from_codes(codes)
    prefixes = sorted({code[:length] for code in codes for length in range(len(code) + 1)})
    state_of = {prefix: _walk(trie, prefix) for prefix in prefixes}
    assert len(set(state_of.values())) == len(prefixes) and NOWHERE not in state_of.values()
    states = torch.tensor([*state_of.values(), NOWHERE])
    allowed = trie.allowed(states)
    following = [sorted({p[-1] for p in prefixes if p[:-1] == prefix and p}) for prefix in prefixes] + [[]]
    assert allowed.shape == (len(states), max(1, *map(len, following)))
    assert trie.degrees(states).tolist() == list(map(len, following))
    whole = [codes.index(prefix) if prefix in codes else -1 for prefix in prefixes]
    assert trie.codes(states).tolist() == [*whole, -1]
    for row, tokens in enumerate(following):
        assert allowed[row].tolist() == tokens + [-1] * (allowed.shape[1] - len(tokens))
    for token in range(VOCABULARY + 1):
        stepped = trie.step(states, torch.full_like(states, token)).tolist()
        assert stepped == [state_of.get((*prefix, token), NOWHERE) for prefix in prefixes] + [NOWHERE]


@given(prefix_free(), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_edges_of_many_prefixes_equal_brute_force(codes: Codes, data: st.DataObject) -> None:
    """By prefix, then by token; none out of a leaf or of nowhere. Without a choice the segment goes on."""
    trie = TokenTrie.from_codes(codes)
    segments = trie.segments
    prefixes = sorted({code[:length] for code in codes for length in range(len(code) + 1)})
    asked = data.draw(st.lists(st.sampled_from([*prefixes, None]), min_size=1, max_size=8))
    at = [(NOWHERE, 0) if prefix is None else _segment_and_place(trie, prefix) for prefix in asked]
    edges = segments.edges(*np.array(at).T)
    expected = [
        (row, below)
        for row, prefix in enumerate(asked)
        if prefix is not None
        for below in prefixes
        if below and below[:-1] == prefix
    ]
    assert edges.prefixes_n.tolist() == [row for row, _ in expected]
    assert edges.degrees_R.tolist() == [sum(r == row for r, _ in expected) for row in range(len(asked))]
    found = list(zip(edges.segments_n.tolist(), edges.places_n.tolist(), strict=True))
    assert found == [_segment_and_place(trie, below) for _, below in expected]
    for (row, below), (_, place) in zip(expected, found, strict=True):
        siblings = sum(other == row for other, _ in expected)
        assert (place == 0) == (siblings > 1 or len(below) == 1)


def _segment_and_place(trie: TokenTrie, prefix: tuple[int, ...]) -> tuple[int, int]:
    node, starts = _walk(trie, prefix), trie.starts_G1
    segment = int((starts <= node).sum()) - 1
    return segment, node - int(starts[segment])


def test_states_of_any_shape() -> None:
    trie = TokenTrie.from_codes([(7, 8), (7, 9), (5,)])
    states = torch.tensor([[ROOT, NOWHERE], [_walk(trie, (7,)), _walk(trie, (5,))]])
    assert trie.allowed(states).tolist() == [[[5, 7], [-1, -1]], [[8, 9], [-1, -1]]]
    assert (trie.step(states, torch.tensor([[7, 7], [9, 9]])) != NOWHERE).tolist() == [[True, False], [True, False]]


@given(prefix_free(), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_restriction_equals_a_trie_of_the_subset(codes: Codes, data: st.DataObject) -> None:
    trie = TokenTrie.from_codes(codes)
    subset = data.draw(st.lists(st.integers(0, len(codes) - 1), min_size=1))
    small = trie.restrict(subset)
    fresh = TokenTrie.from_codes([codes[i] for i in sorted(set(subset))])
    for name in ("tokens_S", "starts_G1", "children_G1"):
        assert torch.equal(getattr(small, name), getattr(fresh, name)), name
    assert (
        small.depth == fresh.depth
        and small.shortest == fresh.shortest
        and small.leaf_count == len(set(subset))
        and small.code_count == len(codes)
    )
    assert _paths(small) == {codes[i]: i for i in subset}
    other = data.draw(st.lists(st.integers(0, len(codes) - 1), min_size=1))
    if both := set(subset) & set(other):
        assert _paths(small.restrict(other)) == {codes[i]: i for i in both}
    else:
        with pytest.raises(InputError, match="restricted to others before"):
            small.restrict(torch.tensor(other))
    assert _paths(trie) == {code: i for i, code in enumerate(codes)}, "restrict must leave its trie alone"


def test_arrays_are_compact_int32() -> None:
    codes = [(*(10 + int(digit) for digit in f"{number:04}"), 7, 2) for number in range(10_000)]
    trie = TokenTrie.from_codes(codes)
    assert trie.size == 1 + 10 + 100 + 1_000 + 10_000 + 10_000 + 10_000
    segments = trie.size - 2 * 10_000  # After its digits nothing of a code is a choice.
    assert trie.nbytes == 4 * trie.size + 12 * segments + 8
    for array in (trie.tokens_S, trie.starts_G1, trie.children_G1, trie.codes_G):
        assert array.dtype == torch.int32
    assert trie.to("cpu") is trie


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_as_on_cpu() -> None:
    trie = TokenTrie.from_codes([(7, 8), (7, 9), (5,)])
    on_gpu = trie.to("cuda")
    states = torch.tensor([ROOT, NOWHERE])
    assert torch.equal(on_gpu.allowed(states.cuda()).cpu(), trie.allowed(states))
    assert torch.equal(on_gpu.codes(states.cuda()).cpu(), trie.codes(states))
    assert (on_gpu.segments.tokens_S == trie.segments.tokens_S).all()
    assert torch.equal(on_gpu.step(states.cuda(), states.cuda() + 7).cpu(), trie.step(states, states + 7))
    assert torch.equal(on_gpu.restrict([1]).tokens_S.cpu(), trie.restrict([1]).tokens_S)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([], "at least one code"),
        ([(1,), ()], "Code 1 is empty"),
        ([(1, -2)], "Token id -2"),
        ([(1, 2**31)], "Token id 2147483648"),
        ([(3,), (1, 2), (1, 2)], "Code 1 equals or begins code 2"),
        ([(1, 2, 3), (4,), (1, 2)], "Code 2 equals or begins code 0"),
    ],
)
def test_unusable_codes(codes: Codes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenTrie.from_codes(codes)


@pytest.mark.parametrize(("subset", "message"), [([], "empty"), ([0, 3], "index 3"), ([-1], "index -1")])
def test_unusable_subsets(subset: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenTrie.from_codes([(1,), (2,), (3,)]).restrict(subset)


def test_code_mask() -> None:
    assert code_mask([2, 0, 2], 4).tolist() == [True, False, True, False]
