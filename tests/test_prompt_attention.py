"""Prompts that are read both ways: everything that reads them reads them alike, and as an encoder does."""

from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model
from tiny_stage import stage_one
from transformers import AutoModelForCausalLM, BertModel, LogitsProcessorList, PreTrainedModel

from toolgen.attention import PADDING, PROMPT, reads_both_ways, segments_seen, set_prompt_attention
from toolgen.base import load_tokenizer
from toolgen.beam import beam_search, left_padded, rank_atomic
from toolgen.benchmarks.peers import DictTrie, Generate, agreement
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.priors import Prior, hidden_vectors
from toolgen.processor import TrieLogitsProcessor, prompt_inputs
from toolgen.stages import memorization
from toolgen.tokenizer import encode_text
from toolgen.training import CodeCollator, answer_logits
from toolgen.trie import TokenTrie

PROMPTS = [[11, 12, 13, 14, 15], [16, 17], [18, 19, 20]]
CODES = [(30, 31, 1), (30, 32, 1), (33, 31, 1), (34, 35, 1), (34, 36, 1)]
END = 1
KINDS = ["llama", "gpt2", "bert"]


@pytest.fixture
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    model = tiny_model(request.param)
    monkeypatch.setattr(model.config, "prompt_attention", "full", raising=False)
    return model


def test_a_token_of_the_prompt_sees_all_of_it_and_no_continuation() -> None:
    segments, samples = (
        torch.tensor([[PADDING, PROMPT, PROMPT, 1, PROMPT, PROMPT, 1]]),
        torch.tensor([[-1, *[0] * 3, *[1] * 3]]),
    )
    assert segments_seen(segments, samples, both_ways=True)[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1],
    ]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("model", ["bert"], indirect=True)
def test_an_encoder_read_as_a_decoder_ranks_as_the_encoder_does(
    model: PreTrainedModel, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.config, "_attn_implementation_internal", implementation)
    tokens = [40, 41, 42, 43]
    ranked = rank_atomic(
        model, TokenTrie.from_codes([(token,) for token in tokens]), *left_padded(PROMPTS, 0), 4, normalize="vocab"
    )
    for row, prompt in enumerate(PROMPTS):
        expected = torch.log_softmax(model.cls(_encoder(model)(torch.tensor([prompt])).last_hidden_state)[0, -1], -1)[
            tokens
        ]
        assert ranked.codes_BK[row].tolist() == expected.argsort(descending=True).tolist()
        assert torch.allclose(ranked.scores_BK[row], expected.sort(descending=True).values, atol=1e-4)


@pytest.mark.parametrize("model", KINDS, indirect=True)
@pytest.mark.parametrize("row_tokens", [None, 24])
def test_training_reads_prompts_as_the_search_does(model: PreTrainedModel, row_tokens: int | None) -> None:
    answers = [CODES[:2], CODES[2:3], CODES[3:]]
    examples = [
        {"prompt": prompt, "answers": [list(code) for code in codes]}
        for prompt, codes in zip(PROMPTS, answers, strict=True)
    ]
    batch = CodeCollator(0, row_tokens)(examples)
    with torch.no_grad():
        logits_nV = answer_logits(model, model, batch)
    labels_n = batch["labels"][batch["labels"] >= 0]
    trained = torch.log_softmax(logits_nV, -1)[torch.arange(len(labels_n)), labels_n].sum()
    found = beam_search(model, TokenTrie.from_codes(CODES), *left_padded(PROMPTS, 0), 5, normalize="vocab")
    searched = sum(
        score
        for row, codes in enumerate(answers)
        for code, score in zip(found.codes_BK[row].tolist(), found.scores_BK[row].tolist(), strict=True)
        if CODES[code] in codes
    )
    assert float(trained) == pytest.approx(searched, abs=1e-3)


@pytest.mark.parametrize("model", KINDS, indirect=True)
def test_generate_of_transformers_finds_the_same_with_prompts_that_were_read_before(model: PreTrainedModel) -> None:
    ids_BT, mask_BT = left_padded(PROMPTS, 0)
    ours = beam_search(model, TokenTrie.from_codes(CODES), ids_BT, mask_BT, 4, normalize="vocab")
    assert agreement(ours, Generate(model, CODES, END, DictTrie(CODES)).result(ids_BT, mask_BT, 4)) == 1
    trie = TokenTrie.from_codes(CODES)
    greedy = model.generate(
        **prompt_inputs(model, ids_BT, mask_BT),
        logits_processor=LogitsProcessorList([TrieLogitsProcessor(trie, ids_BT.shape[1], END)]),
        max_new_tokens=3,
        eos_token_id=END,
        pad_token_id=END,
        do_sample=False,
    )
    assert all(tuple(row) in CODES for row in greedy[:, ids_BT.shape[1] :].tolist())
    set_prompt_attention(model, "causal")
    looked_back = beam_search(model, trie, ids_BT, mask_BT, 4, normalize="vocab")
    assert agreement(ours, looked_back) < 1, "the mask makes no difference"


@pytest.mark.parametrize("model", ["bert"], indirect=True)
def test_rows_that_are_states_of_documents_are_those_of_the_encoder(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, tiny_base: Path
) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    ids = [
        [token % 90 for token in encode_text(tokenizer, text)] for text in ("send a mail", "weather in a city today")
    ]
    monkeypatch.setattr("toolgen.priors.encode_texts", lambda _tokenizer, _texts: ids)
    found = hidden_vectors(Prior(), model, tokenizer, ["one", "two"])
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    prefix = [] if first is None else [first]
    for vector, text in zip(found, ids, strict=True):
        states = _encoder(model)(torch.tensor([prefix + text])).last_hidden_state
        expected = model.cls.predictions.transform(states)[0, len(prefix) :].mean(0)
        assert torch.allclose(vector, expected, atol=1e-4)


def test_a_checkpoint_says_how_its_prompts_are_read(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    done = memorization.run(stage_one(files, tiny_base, tmp_path / "one", prompt_attention="full"))
    assert reads_both_ways(AutoModelForCausalLM.from_pretrained(done.checkpoint))
    assert reads_both_ways(GenerativeRetriever.load(done.checkpoint).model)
    with pytest.raises(InputError, match="leave prompt_attention out"):
        memorization.run(
            memorization.MemorizationConfig(
                model=str(done.checkpoint), output=tmp_path / "two", prompt_attention="causal"
            )
        )


def test_a_model_whose_attention_takes_no_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(model.config, "prompt_attention", "full", raising=False)
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(InputError, match=r"flash_attention_2.*sdpa"):
        rank_atomic(model, TokenTrie.from_codes([(5,), (6,)]), *left_padded(PROMPTS, 0), 1)


def _encoder(model: PreTrainedModel) -> BertModel:
    """The same weights, with attention in both directions."""
    encoder = BertModel(type(model.config)(**{**model.config.to_dict(), "is_decoder": False}), add_pooling_layer=False)
    encoder.load_state_dict(model.bert.state_dict())
    return encoder.eval()
