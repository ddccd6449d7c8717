"""The trie against brute force over the codes it was built from."""

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
    """Every path from the root to a leaf, with the code that the leaf names, by ``edges`` alone."""
    paths, open_paths = {}, [((), ROOT)]
    while open_paths:
        prefix, state = open_paths.pop()
        edges = trie.edges(torch.tensor([[state]]))
        below = [(t, n) for t, n in zip(edges.tokens[0].tolist(), edges.nodes[0].tolist(), strict=True) if t >= 0]
        if below:
            assert trie.codes_S[state] == -1
            open_paths += [((*prefix, token), node) for token, node in below]
        else:
            paths[prefix] = int(trie.codes_S[state])
    return paths


@given(prefix_free())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_code_walks_to_its_leaf_and_every_path_is_a_code(codes: Codes) -> None:
    trie = TokenTrie.from_codes(codes)
    for position, code in enumerate(codes):
        leaf = _walk(trie, code)
        assert trie.codes_S[leaf] == position
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
    for row, tokens in enumerate(following):
        assert allowed[row].tolist() == tokens + [-1] * (allowed.shape[1] - len(tokens))
    half = len(states) // 2
    edges = trie.edges(states[: 2 * half].view(2, half)) if half else trie.edges(states[None])
    for query, rows in enumerate((range(half), range(half, 2 * half)) if half else (range(1),)):
        expected = [(place, row, token) for place, row in enumerate(rows) for token in following[row]]
        count = len(expected)
        assert edges.real[query].tolist() == [True] * count + [False] * (edges.real.shape[1] - count)
        found = zip(edges.parents[query, :count].tolist(), edges.tokens[query, :count].tolist(), strict=True)
        assert list(found) == [(place, token) for place, _, token in expected]
        nodes = [state_of[(*prefixes[row], token)] for _, row, token in expected]
        assert edges.nodes[query, :count].tolist() == nodes
    for token in range(VOCABULARY + 1):
        stepped = trie.step(states, torch.full_like(states, token)).tolist()
        assert stepped == [state_of.get((*prefix, token), NOWHERE) for prefix in prefixes] + [NOWHERE]


@given(prefix_free())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_chain_runs_to_the_next_choice_or_to_the_last_node_before_a_code_is_whole(codes: Codes) -> None:
    trie = TokenTrie.from_codes(codes)
    prefixes = {code[:length] for code in codes for length in range(len(code) + 1)}
    for prefix in prefixes:
        chain, at = [], prefix
        while below := [p for p in prefixes if len(p) == len(at) + 1 and p[: len(at)] == at]:
            chain.append(_walk(trie, at))
            if len(below) > 1:
                break
            at = below[0]
        assert trie.chains(torch.tensor([_walk(trie, prefix)])).tolist() == [chain or [NOWHERE]]


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
    assert torch.equal(small.children_S1, fresh.children_S1) and torch.equal(small.tokens_S, fresh.tokens_S)
    assert small.depth == fresh.depth and small.leaf_count == len(set(subset)) and small.code_count == len(codes)
    assert small.children_S1.dtype == small.tokens_S.dtype == small.codes_S.dtype == torch.int32
    assert _paths(small) == {codes[i]: i for i in subset}
    other = data.draw(st.lists(st.integers(0, len(codes) - 1), min_size=1))
    if both := set(subset) & set(other):
        assert _paths(small.restrict(other)) == {codes[i]: i for i in both}
    else:
        with pytest.raises(InputError, match="restricted to others before"):
            small.restrict(torch.tensor(other))
    assert _paths(trie) == {code: i for i, code in enumerate(codes)}, "restrict must leave its trie alone"


def test_arrays_are_compact_int32() -> None:
    codes = [(*(10 + int(digit) for digit in f"{number:04}"), 2) for number in range(10_000)]
    trie = TokenTrie.from_codes(codes)
    assert trie.size == 1 + 10 + 100 + 1_000 + 10_000 + 10_000
    assert trie.nbytes == 12 * trie.size + 4
    assert trie.children_S1.dtype == trie.tokens_S.dtype == trie.codes_S.dtype == torch.int32
    assert trie.to("cpu") is trie


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_as_on_cpu() -> None:
    trie = TokenTrie.from_codes([(7, 8), (7, 9), (5,)])
    on_gpu = trie.to("cuda")
    states = torch.tensor([ROOT, NOWHERE])
    assert torch.equal(on_gpu.allowed(states.cuda()).cpu(), trie.allowed(states))
    assert torch.equal(on_gpu.edges(states[None].cuda()).nodes.cpu(), trie.edges(states[None]).nodes)
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
