"""The decoder against exhaustive scoring and against the constrained beam search of transformers."""

from copy import deepcopy
from itertools import pairwise
from math import inf, isclose, isnan, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CONTEXT, MODELS, PAD, VOCABULARY, tiny_model, watch
from torch import Tensor
from transformers import BertConfig, BertLMHeadModel, LlamaForCausalLM, LogitsProcessorList, PreTrainedModel

from toolgen.beam import BeamResult, Normalize, beam_search, rank_atomic
from toolgen.benchmarks.peers import beams_of
from toolgen.errors import InputError
from toolgen.processor import TrieLogitsProcessor
from toolgen.trie import TokenTrie

END, FIRST = 1, 3
TIE = 1e-5
"""Scores closer than this count as equal."""

Code = tuple[int, ...]
Hits = list[tuple[int, float]]


def prompts(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random prompts, padded on the left, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    ids_BT = torch.randint(FIRST, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    mask_BT = (torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths)[:, None]).long()
    return ids_BT.masked_fill(mask_BT == 0, PAD), mask_BT


def random_codes(count: int, seed: int = 0, alphabet: int = 6, longest: int = 4) -> list[Code]:
    """Distinct codes of different lengths, closed by the end symbol."""
    generator = torch.Generator().manual_seed(seed)
    codes: dict[Code, None] = {}
    while len(codes) < count:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        codes[(*torch.randint(FIRST, FIRST + alphabet, (length,), generator=generator).tolist(), END)] = None
    return list(codes)


closed_codes = st.lists(
    st.lists(st.integers(FIRST, FIRST + 7), min_size=1, max_size=4).map(lambda body: (*body, END)),
    min_size=1,
    max_size=40,
    unique=True,
)


@torch.inference_mode()
def exhaustive(
    model: PreTrainedModel, ids_BT: Tensor, mask_BT: Tensor, codes: list[Code], normalize: str = "vocab"
) -> list[Hits]:
    """Every code's score by teacher forcing, one query at a time without padding, best first."""
    ranked = []
    for ids_T, mask_T in zip(ids_BT, mask_BT, strict=True):
        prompt = ids_T[mask_T.bool()].tolist()
        longest = max(map(len, codes))
        rows = torch.tensor([[*prompt, *code] + [PAD] * (longest - len(code)) for code in codes], device=ids_BT.device)
        logits = model(input_ids=rows).logits.double()
        if normalize == "allowed":
            for row, code in enumerate(codes):
                for place in range(len(code)):
                    following = {other[place] for other in codes if other[:place] == code[:place]}
                    other = torch.ones(VOCABULARY, dtype=torch.bool).index_fill(0, torch.tensor(list(following)), False)
                    logits[row, len(prompt) + place - 1, other.to(logits.device)] = -torch.inf
        log_p = logits.log_softmax(-1)
        scores = [
            sum(float(log_p[row, len(prompt) + place - 1, token]) for place, token in enumerate(code))
            for row, code in enumerate(codes)
        ]
        ranked.append(sorted(enumerate(scores), key=lambda hit: -hit[1]))
    return ranked


def transformers_beams(
    model: PreTrainedModel,
    ids_BT: Tensor,
    mask_BT: Tensor,
    codes: list[Code],
    beams: int,
    *,
    ends: list[int],
    processor: TrieLogitsProcessor | None = None,
) -> list[Hits]:
    """The constrained beam search of ``generate``, by a dict of prefixes or by our processor."""
    width, following = ids_BT.shape[1], {}
    for code in codes:
        for length in range(len(code)):
            following.setdefault(code[:length], set()).add(code[length])

    def allowed(_: int, row: Tensor) -> list[int]:
        return sorted(following.get(tuple(row[width:].tolist()), {END}))

    constraint = (
        {"prefix_allowed_tokens_fn": allowed}
        if processor is None
        else {"logits_processor": LogitsProcessorList([processor])}
    )
    output = beams_of(
        model,
        ids_BT,
        mask_BT,
        beams,
        max_new_tokens=max(map(len, codes)),
        eos_token_id=ends,
        pad_token_id=PAD,
        output_scores=True,
        **constraint,
    )
    found: list[Hits] = []
    scores = output.sequences_scores.tolist() if beams > 1 else [nan] * len(ids_BT)
    for place, (row, score) in enumerate(zip(output.sequences[:, width:].tolist(), scores, strict=True)):
        if place % beams == 0:
            found.append([])
        found[-1] += [(i, score) for i, code in enumerate(codes) if tuple(row[: len(code)]) == code]
    return found


def hits(result: BeamResult) -> list[Hits]:
    """Results as lists; checks the form that every result has."""
    ranked = []
    for codes, scores in zip(result.codes_BK.tolist(), result.scores_BK.tolist(), strict=True):
        row = list(zip(codes, scores, strict=True))
        assert min(codes) >= 0 and len(set(codes)) == len(codes)
        assert all(a[1] > b[1] or (a[1] == b[1] and a[0] < b[0]) for a, b in pairwise(row))
        ranked.append(row)
    return ranked


def assert_same(found: list[Hits], wanted: list[Hits]) -> None:
    """Same codes in the same order, ties apart, and the same scores; the codes of ``wanted`` may be scoreless."""
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours) == len(theirs)
        scores = dict(ours)
        assert scores.keys() == dict(theirs).keys()
        for (code, score), (other, other_score) in zip(ours, theirs, strict=True):
            assert code == other or _close(score, scores[other])
            assert isnan(other_score) or _close(score, other_score)


def _close(score: float, other: float) -> bool:
    """Within ``TIE``, or within eight units in the last place of a float32 where scores are large."""
    return isclose(score, other, rel_tol=1e-6, abs_tol=TIE)


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_full_width_equals_exhaustive_scoring(kind: str, tied: bool) -> None:
    model, codes = tiny_model(kind, tied), random_codes(60)
    ids_BT, mask_BT = prompts([3, 9, 1, 6])
    result = beam_search(model, TokenTrie.from_codes(codes), ids_BT, mask_BT, len(codes))
    assert_same(hits(result), exhaustive(model, ids_BT, mask_BT, codes))


@given(codes=closed_codes, seed=st.integers(0, 10**6), model=st.sampled_from(MODELS))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_full_width_equals_exhaustive_scoring_on_any_trie(
    codes: list[Code], seed: int, model: tuple[str, bool]
) -> None:
    ids_BT, mask_BT = prompts([1 + seed % 7, 1 + seed % 3], seed)
    result = beam_search(tiny_model(*model), TokenTrie.from_codes(codes), ids_BT, mask_BT, len(codes))
    assert_same(hits(result), exhaustive(tiny_model(*model), ids_BT, mask_BT, codes))


@pytest.mark.parametrize("beams", [1, 2, 5, 17, 60])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_equals_transformers(kind: str, tied: bool, beams: int) -> None:
    model, codes = tiny_model(kind, tied), random_codes(60, seed=beams)
    ids_BT, mask_BT = prompts([3, 9, 1, 6], seed=beams)
    trie = TokenTrie.from_codes(codes)
    ours = hits(beam_search(model, trie, ids_BT, mask_BT, beams))
    assert_same(ours, transformers_beams(model, ids_BT, mask_BT, codes, beams, ends=[END]))
    processor = TrieLogitsProcessor(trie, ids_BT.shape[1], END)
    assert_same(ours, transformers_beams(model, ids_BT, mask_BT, codes, beams, ends=[END], processor=processor))


@given(codes=closed_codes, beams=st.integers(2, 12), seed=st.integers(0, 10**6), model=st.sampled_from(MODELS))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_equals_transformers_on_any_trie(codes: list[Code], beams: int, seed: int, model: tuple[str, bool]) -> None:
    ids_BT, mask_BT = prompts([1 + seed % 7, 1 + seed % 3], seed)
    beams = min(beams, len(codes))
    ours = hits(beam_search(tiny_model(*model), TokenTrie.from_codes(codes), ids_BT, mask_BT, beams))
    assert_same(ours, transformers_beams(tiny_model(*model), ids_BT, mask_BT, codes, beams, ends=[END]))


@given(codes=closed_codes, seed=st.integers(0, 10**6), model=st.sampled_from(MODELS))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_normalised_over_what_is_allowed_equals_exhaustive_scoring_of_that(
    codes: list[Code], seed: int, model: tuple[str, bool]
) -> None:
    ids_BT, mask_BT = prompts([1 + seed % 7, 1 + seed % 3], seed)
    trie = TokenTrie.from_codes(codes)
    result = beam_search(tiny_model(*model), trie, ids_BT, mask_BT, len(codes), normalize="allowed")
    assert_same(hits(result), exhaustive(tiny_model(*model), ids_BT, mask_BT, codes, "allowed"))


def test_the_two_normalisers_are_two_scorers() -> None:
    model, codes = tiny_model(), random_codes(60)
    trie, (ids_BT, mask_BT) = TokenTrie.from_codes(codes), prompts([5] * 40)
    vocab, allowed = (beam_search(model, trie, ids_BT, mask_BT, 3, normalize=n).codes_BK for n in ("vocab", "allowed"))
    assert not torch.equal(vocab, allowed)
    trie = TokenTrie.from_codes([(token,) for token in (80, 12, 43, 5, 77, 30)])
    vocab, allowed = (rank_atomic(model, trie, ids_BT, mask_BT, 6, normalize=n) for n in ("vocab", "allowed"))
    assert torch.equal(vocab.codes_BK, allowed.codes_BK), "of one token, only the scores differ"
    assert torch.allclose(allowed.scores_BK.exp().sum(-1), torch.ones(40)) and (vocab.scores_BK.exp().sum(-1) < 1).all()


@pytest.mark.parametrize(
    ("device", "dtype", "tolerance"),
    [
        ("cpu", torch.bfloat16, 0.2),
        pytest.param("cuda", torch.float32, 1e-3, marks=pytest.mark.gpu),
        pytest.param("cuda", torch.bfloat16, 0.2, marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_other_devices_and_dtypes(kind: str, device: str, dtype: torch.dtype, tolerance: float) -> None:
    """All codes come out, with the scores that a plain forward of the same model gives them, up to rounding."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = deepcopy(tiny_model(kind)).to(device=device, dtype=dtype)
    ids_BT, mask_BT = prompts([5, 2, 7])
    closed = random_codes(25)
    for codes, search in ((closed, beam_search), ([(token,) for token in range(10, 40)], rank_atomic)):
        trie = TokenTrie.from_codes(codes)
        for normalize in ("vocab", "allowed"):
            result = search(model, trie, ids_BT, mask_BT, len(codes), normalize=normalize)
            narrow = search(model, trie, ids_BT, mask_BT, 3, normalize=normalize)
            assert result.scores_BK.dtype == narrow.scores_BK.dtype == torch.float32
            whole = exhaustive(model, ids_BT.to(device), mask_BT.to(device), codes, normalize)
            for row, some, wanted in zip(hits(result), hits(narrow), whole, strict=True):
                assert dict(row) == pytest.approx(dict(wanted), abs=tolerance)
                assert len(some) == 3
                assert all(dict(wanted)[code] == pytest.approx(score, abs=tolerance) for code, score in some)


@pytest.mark.parametrize(("kind", "tied"), MODELS)
@pytest.mark.parametrize("beams", [2, 3, 7])
def test_long_chains_equal_transformers(kind: str, tied: bool, beams: int) -> None:
    """Of different lengths, behind the root, between choices and before the end, some of them pruned half-way."""
    codes = [
        (3, 4, 5, 6, 7, 8, END), (3, 4, 5, 6, 9, END), (3, 4, 10, 11, 12, 13, 14, 15, END), (16, 17, 18, END),
        (16, 17, 19, 20, 21, 22, END), (23, 24, 25, 26, 27, 28, 29, END), (30, END),
    ]  # fmt: skip
    model, trie = tiny_model(kind, tied), TokenTrie.from_codes(codes)
    ids_BT, mask_BT = prompts([3, 9, 1, 6, 5, 4], seed=beams)
    ours = hits(beam_search(model, trie, ids_BT, mask_BT, beams))
    assert_same(ours, transformers_beams(model, ids_BT, mask_BT, codes, beams, ends=[END]))


@pytest.mark.parametrize(("normalize", "forwards"), [("vocab", 3), ("allowed", 2)])
def test_a_chain_is_read_in_one_forward_and_under_allowed_none_before_an_end(
    normalize: Normalize, forwards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [(3, 4, 5, 6, 7, 8, END), (3, 4, 5, 6, 9, 10, 11, END)]
    calls: list[int] = []
    watch(monkeypatch, tiny_model(), lambda: calls.append(1))
    beam_search(tiny_model(), TokenTrie.from_codes(codes), *prompts([5, 3]), 2, normalize=normalize)
    assert len(calls) == forwards, "prompt, four tokens, and the rest of both codes together"


@pytest.mark.parametrize("beams", [2, 4, 9])
def test_equals_transformers_on_codes_with_and_without_end(beams: int) -> None:
    """Single tokens beside longer codes; transformers knows them as further end symbols."""
    singles = [(token,) for token in range(40, 60)]
    codes = [code for pair in zip(random_codes(20, seed=beams), singles, strict=True) for code in pair]
    ids_BT, mask_BT = prompts([4, 2, 7], seed=beams)
    ours = hits(beam_search(tiny_model(), TokenTrie.from_codes(codes), ids_BT, mask_BT, beams))
    ends = [END, *(token for (token,) in singles)]
    assert_same(ours, transformers_beams(tiny_model(), ids_BT, mask_BT, codes, beams, ends=ends))


def test_narrow_beams_do_prune() -> None:
    """Otherwise the comparisons above could not tell beam search from exhaustive scoring."""
    model, codes = tiny_model(), random_codes(60, seed=2)
    ids_BT, mask_BT = prompts([5] * 40)
    trie = TokenTrie.from_codes(codes)
    narrow, full = (beam_search(model, trie, ids_BT, mask_BT, beams).codes_BK[:, :2] for beams in (2, 60))
    assert not torch.equal(narrow, full)


def test_batch_equals_one_by_one() -> None:
    model, codes = tiny_model("gpt2"), random_codes(60)
    trie = TokenTrie.from_codes(codes)
    ids_BT, mask_BT = prompts([2, 11, 5, 1, 8])
    alone = []
    for ids_T, mask_T in zip(ids_BT, mask_BT, strict=True):
        prompt = ids_T[mask_T.bool()][None]
        alone += hits(beam_search(model, trie, prompt, torch.ones_like(prompt), 7))
    assert_same(hits(beam_search(model, trie, ids_BT, mask_BT, 7)), alone)


@given(codes=closed_codes, data=st.data())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_restriction_equals_exhaustive_on_the_subset(codes: list[Code], data: st.DataObject) -> None:
    subset = data.draw(st.lists(st.integers(0, len(codes) - 1), min_size=1, unique=True).map(sorted))
    ids_BT, mask_BT = prompts([6, 2])
    trie = TokenTrie.from_codes(codes).restrict(subset)
    wanted = exhaustive(tiny_model(), ids_BT, mask_BT, [codes[i] for i in subset])
    result = beam_search(tiny_model(), trie, ids_BT, mask_BT, len(subset))
    assert_same(hits(result), [[(subset[i], score) for i, score in row] for row in wanted])


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_atomic_equals_beam_search_and_exhaustive(kind: str, tied: bool) -> None:
    model, tokens = tiny_model(kind, tied), [80, 12, 43, 5, 77, 30, 31, 60]
    ids_BT, mask_BT = prompts([4, 1, 7])
    codes = [(token,) for token in tokens]
    trie = TokenTrie.from_codes(codes)
    for k in (1, 3, 8):
        ours = rank_atomic(model, trie, ids_BT, mask_BT, k, normalize="vocab")
        searched = beam_search(model, trie, ids_BT, mask_BT, k)
        assert ours.codes_BK.shape == searched.codes_BK.shape == (3, k)
        assert_same(hits(ours), hits(searched))
        assert_same(hits(ours), [row[:k] for row in exhaustive(model, ids_BT, mask_BT, codes)])
        if k > 1:
            assert_same(hits(ours), transformers_beams(model, ids_BT, mask_BT, codes, k, ends=[END]))
    # Rows that lie together are read as a slice, others one by one.
    for some in (trie.restrict([6, 1, 2]), TokenTrie.from_codes([(token,) for token in range(20, 28)])):
        for normalize in ("vocab", "allowed"):
            ours = hits(rank_atomic(model, some, ids_BT, mask_BT, 3, normalize=normalize))
            assert {code for row in ours for code, _ in row} <= set(some.codes_G[1:].tolist())
            assert_same(ours, hits(beam_search(model, some, ids_BT, mask_BT, 3, normalize=normalize)))


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_a_second_step_adds_the_end_of_atomic_codes(kind: str, tied: bool) -> None:
    """As ``generate`` scores them when it closes each: log p(tool) + log p(end | tool)."""
    model = tiny_model(kind, tied)
    closed = [(token, END) for token in (80, 12, 43, 5, 77, 30, 31, 60)]
    ids_BT, mask_BT = prompts([4, 1, 7])
    ours = hits(beam_search(model, TokenTrie.from_codes(closed), ids_BT, mask_BT, 5))
    assert_same(ours, transformers_beams(model, ids_BT, mask_BT, closed, 5, ends=[END]))


def test_equal_scores_come_in_the_order_of_codes() -> None:
    model = tiny_model(seed=99)
    tokens = [70, 50, 60, 40]
    # The head's rows are shared by the four codes, so that their scores are equal bit for bit.
    head = model.get_output_embeddings().weight
    head.data[tokens] = head.data[40].clone()
    ids_BT, mask_BT = prompts([4, 6])
    trie = TokenTrie.from_codes([(token,) for token in tokens])
    assert rank_atomic(model, trie, ids_BT, mask_BT, 4).codes_BK.tolist() == [[0, 1, 2, 3]] * 2
    # At the border the smaller tokens are in: 40, 50 and 60.
    for search in (rank_atomic, beam_search):
        assert search(model, trie, ids_BT, mask_BT, 3).codes_BK.tolist() == [[1, 2, 3]] * 2
    assert beam_search(model, trie, ids_BT, mask_BT, 4).codes_BK.tolist() == [[0, 1, 2, 3]] * 2


def test_results_are_as_many_as_beams() -> None:
    trie = TokenTrie.from_codes(random_codes(4))
    result = beam_search(tiny_model(), trie, *prompts([3, 5]), 4)
    assert result.codes_BK.shape == result.scores_BK.shape == (2, 4)
    assert [sorted(code for code, _ in row) for row in hits(result)] == [[0, 1, 2, 3]] * 2
    assert result.codes_BK.dtype == torch.int64 and result.scores_BK.dtype == torch.float32


def test_no_hallucinated_code_in_ten_thousand_decodes() -> None:
    """Scores of the beams are those of their codes, and what ``generate`` samples is a code, symbol by symbol."""
    for seed in range(10):
        model, codes = tiny_model("llama", False, seed), random_codes(50, seed, alphabet=12)
        ids_BT, mask_BT = prompts([5] * 1_000, seed)
        trie = TokenTrie.from_codes(codes)
        result = beam_search(model, trie, ids_BT, mask_BT, 3)
        assert result.codes_BK.min() >= 0 and result.codes_BK.max() < len(codes)
        some = slice(0, 5)
        truth = [dict(row) for row in exhaustive(model, ids_BT[some], mask_BT[some], codes)]
        for row, scores in zip(hits(BeamResult(result.codes_BK[some], result.scores_BK[some])), truth, strict=True):
            assert all(_close(scores[code], score) for code, score in row)

        torch.manual_seed(seed)
        processor = TrieLogitsProcessor(trie, 5, END)
        sampled = model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            do_sample=True,
            top_k=0,
            max_new_tokens=trie.depth + 2,
            eos_token_id=END,
            pad_token_id=PAD,
            logits_processor=LogitsProcessorList([processor]),
        )
        known = set(codes)
        for row in sampled[:, 5:].tolist():
            assert tuple(row[: row.index(END) + 1]) in known


def test_search_stops_once_no_prefix_can_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long code that is out of the race must not cost its length in forwards."""
    model = tiny_model()
    calls: list[int] = []
    watch(monkeypatch, model, lambda: calls.append(1))
    ids_BT, mask_BT = prompts([5, 3])
    every = TokenTrie.from_codes([(token,) for token in range(FIRST, VOCABULARY)])
    ranked = rank_atomic(model, every, ids_BT[:1], mask_BT[:1], every.leaf_count).codes_BK[0]
    best, worst = (int(code) + FIRST for code in (ranked[0], ranked[-1]))
    calls.clear()
    trie = TokenTrie.from_codes([(best,), (worst, *range(20, 40))])
    assert beam_search(model, trie, ids_BT[:1], mask_BT[:1], 1).codes_BK.tolist() == [[0]]
    assert len(calls) == 1


@pytest.mark.parametrize("decode", ["beam", "atomic"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "is 0. Allowed are 1 to 2"),
        ({"width": 3}, "is 3. Allowed are 1 to 2"),
        ({"normalize": "local"}, "'local'.*vocab, allowed"),
        ({"tokens": [5, VOCABULARY]}, "outside the model's vocabulary"),
        ({"lengths": [3, CONTEXT + 1]}, "leaves"),
        ({"right": True}, "pad on the left"),
        ({"ids": torch.full((1, 2), VOCABULARY)}, "of a prompt is outside"),
        ({"ids": torch.full((1, 2), -1)}, "Token -1 of a prompt"),
        ({"ids": torch.zeros((1, 0), dtype=torch.int64)}, "non-empty"),
        ({"ids": torch.zeros(3, dtype=torch.int64)}, "matrices"),
    ],
)
def test_bad_input_before_any_compute(decode: str, change: dict, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch, tiny_model(), lambda: pytest.fail("computed before the check"))
    ids_BT, mask_BT = prompts(change.get("lengths", [3, 5]))
    ids_BT = change.get("ids", ids_BT)
    mask_BT = torch.ones_like(ids_BT) if "ids" in change else mask_BT.flip(1) if "right" in change else mask_BT
    tokens, width = change.get("tokens", [5, 6]), change.get("width", 2)
    with pytest.raises(InputError, match=message):
        trie = TokenTrie.from_codes([(token,) for token in tokens])
        search = rank_atomic if decode == "atomic" else beam_search
        search(tiny_model(), trie, ids_BT, mask_BT, width, normalize=change.get("normalize", "vocab"))


def test_context_counts_tokens_and_not_padding() -> None:
    """The last symbol is scored, never read: a code of 3 tokens wants 2 positions after the prompt."""
    trie = TokenTrie.from_codes([(5, 6, END), (7, END)])
    for kind in ("gpt2", "bert"):
        ids_BT, mask_BT = prompts([CONTEXT - 2, 1])
        beam_search(tiny_model(kind), trie, ids_BT, mask_BT, 2)
        with pytest.raises(InputError, match=f"longest code 3; the model's context holds {CONTEXT}, which leaves 46"):
            beam_search(tiny_model(kind), trie, *prompts([CONTEXT - 1]), 2)


def test_only_codes_of_one_token_are_ranked_without_a_search() -> None:
    with pytest.raises(InputError, match="up to 2 tokens. Use beam_search"):
        rank_atomic(tiny_model(), TokenTrie.from_codes([(5,), (6, END)]), *prompts([3]), 1)


def test_models_that_cannot_decode() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = BertLMHeadModel(BertConfig(vocab_size=VOCABULARY, **sizes)).eval()
    with pytest.raises(InputError, match="is_decoder=True"):
        beam_search(encoder, TokenTrie.from_codes([(5, END)]), *prompts([3]), 1)
    ids_BT, mask_BT = prompts([3, 5])
    trie = TokenTrie.from_codes([(5,), (6,), (7,)])
    ours = rank_atomic(encoder, trie, ids_BT, mask_BT, 3, normalize="vocab")
    assert_same(hits(ours), exhaustive_encoder(encoder, ids_BT, mask_BT, [5, 6, 7]))
    with pytest.raises(AssertionError, match="eval"):
        rank_atomic(LlamaForCausalLM(tiny_model().config).train(), trie, ids_BT, mask_BT, 1)


@torch.inference_mode()
def exhaustive_encoder(model: PreTrainedModel, ids_BT: Tensor, mask_BT: Tensor, tokens: list[int]) -> list[Hits]:
    """Scores of single tokens at the last position of each prompt alone; an encoder must not see the code."""
    ranked = []
    for ids_T, mask_T in zip(ids_BT, mask_BT, strict=True):
        scores = model(input_ids=ids_T[mask_T.bool()][None]).logits[0, -1].log_softmax(-1)[tokens].tolist()
        ranked.append(sorted(enumerate(scores), key=lambda hit: -hit[1]))
    return ranked


@pytest.mark.parametrize("normalize", ["vocab", "allowed"])
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("ends", [(), (END,)])
def test_logits_that_are_not_finite(ends: Code, value: float, normalize: Normalize) -> None:
    """Also where all codes are wanted and the sums are finite: a code that cannot be said has no rank."""
    broken = deepcopy(tiny_model("bert"))
    broken.get_output_embeddings().bias.data[7] = value
    trie = TokenTrie.from_codes([(token, *ends) for token in (5, 6, 7)])
    for search in (beam_search, *([] if ends else [rank_atomic])):
        with pytest.raises(InputError, match="not finite"):
            search(broken, trie, *prompts([3]), 3, normalize=normalize)


def test_processor_rejects_what_does_not_fit() -> None:
    trie = TokenTrie.from_codes([(5, END), (8, END)])
    with pytest.raises(InputError, match="negative"):
        TrieLogitsProcessor(trie, -1, END)
    with pytest.raises(InputError, match="prompt_length is 4"):
        TrieLogitsProcessor(trie, 4, END)(torch.zeros((1, 3), dtype=torch.int64), torch.zeros(1, 9))
    with pytest.raises(InputError, match="use token 8"):
        TrieLogitsProcessor(trie, 3, END)(torch.zeros((1, 3), dtype=torch.int64), torch.zeros(1, 8))


def test_processor_allows_only_the_end_after_a_code() -> None:
    trie = TokenTrie.from_codes([(5,), (6, 7)])
    rows = torch.tensor([[9, 5, 4], [9, 6, 4], [9, 6, 7], [9, 4, 4]])
    for length, wanted in ((1, [{5, 6}] * 4), (2, [{END}, {7}, {7}, {END}]), (3, [{END}] * 4)):
        scores = torch.randn(4, 10)
        masked = TrieLogitsProcessor(trie, 1, END)(rows[:, :length], scores)
        assert [set(row.isfinite().nonzero().flatten().tolist()) for row in masked] == wanted
        assert torch.equal(masked[masked.isfinite()], scores[masked.isfinite()])
