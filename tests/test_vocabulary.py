"""A codebook in a model: the base's bits stay, both matrices grow, and plain transformers loads the result."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizer_zoo import ZOO
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from toolgen.codebook import Codebook, CollisionError, TokenCodes
from toolgen.errors import InputError
from toolgen.symbols import symbol_ids
from toolgen.vocabulary import (
    ExtendedVocabulary,
    extend,
    extend_model,
    first_free_id,
    input_weight,
    is_tied,
    output_weight,
    silence_words,
    write_rows,
)

SYMBOLS = ("<<s3&&CreateBucket>>", "<<café>>", "<<#2>>")
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
PADDING = 9


def llama(rows: int, tied: bool = False) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=tied, **SIZE))


def tied_llama(rows: int) -> PreTrainedModel:
    return llama(rows, tied=True)


def qwen2(rows: int) -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=rows + PADDING, num_key_value_heads=1, **SIZE))


def gpt2(rows: int) -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=rows, n_embd=32, n_layer=1, n_head=2))


def bert(rows: int) -> PreTrainedModel:
    return BertLMHeadModel(BertConfig(vocab_size=rows, is_decoder=True, **SIZE))


def phi(rows: int) -> PreTrainedModel:
    """An untied head with a bias."""
    return PhiForCausalLM(PhiConfig(vocab_size=rows, **SIZE))


MODELS: dict[str, tuple[Callable[[int], PreTrainedModel], str, bool]] = {
    "llama": (llama, "llama3", False),
    "tied_llama": (tied_llama, "llama2", True),
    "qwen2": (qwen2, "qwen2", False),
    "gpt2": (gpt2, "gpt2", True),
    "bert": (bert, "minilm", True),
    "phi": (phi, "gpt2", False),
}
every_model = pytest.mark.parametrize("name", sorted(MODELS))


def base(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    make, tokenizer_name, _ = MODELS[name]
    tokenizer = ZOO[tokenizer_name]()
    torch.manual_seed(0)
    model = make(len(tokenizer)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.5)
    return model, tokenizer


def book(*symbols: str) -> Codebook:
    return Codebook("atomic", {f"t{n}": (symbol,) for n, symbol in enumerate(symbols)}, symbols, "none")


def logits(model: PreTrainedModel, ids: list[int]) -> Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits


def extended(name: str) -> ExtendedVocabulary:
    model, tokenizer = base(name)
    return extend(model, tokenizer, book(*SYMBOLS))


@every_model
def test_new_rows_follow_every_row_and_id_of_the_base(name: str) -> None:
    model, tokenizer = base(name)
    rows, first_id = len(input_weight(model)), first_free_id(model, tokenizer)
    assert first_id == max(rows, len(tokenizer))
    result = extend(model, tokenizer, book(*SYMBOLS))
    assert result.first_id == first_id
    assert [ids for ids in result.codes.sequences] == [(first_id,), (first_id + 1,), (first_id + 2,)]
    assert len(input_weight(model)) == len(output_weight(model)) == first_id + 3 == model.config.vocab_size
    assert len(result.tokenizer) == first_id + 3
    assert len(tokenizer) <= rows, "the tokenizer that was given is not changed"


@every_model
def test_the_bases_rows_keep_their_bits(name: str) -> None:
    model, tokenizer = base(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rows = len(input_weight(model))
    text = tokenizer.encode("create a bucket")
    old = logits(model, text)
    extend(model, tokenizer, book(*SYMBOLS))
    after = model.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        grown = after[key][:rows] if value.shape != after[key].shape else after[key]
        assert torch.equal(grown, value), key
    assert torch.allclose(logits(model, text)[..., :rows], old, atol=1e-5)


@every_model
def test_ties_stay_as_they_are(name: str) -> None:
    result = extended(name)
    assert is_tied(result.model) == MODELS[name][2]
    assert result.model.config.tie_word_embeddings == MODELS[name][2]


@every_model
def test_plain_transformers_loads_the_saved_folder(name: str, tmp_path: Path) -> None:
    result = extended(name)
    torch.manual_seed(1)
    rows = torch.randn(2, len(SYMBOLS), 32)
    write_rows(result.model, result.first_id, rows[0], None if is_tied(result.model) else rows[1])
    result.model.save_pretrained(tmp_path)
    result.tokenizer.save_pretrained(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = [*result.tokenizer.encode("create a bucket"), result.first_id, result.first_id + 2]
    assert type(model) is type(result.model)
    assert is_tied(model) == is_tied(result.model)
    assert torch.equal(logits(model, ids), logits(result.model, ids))
    # Beside a config.json transformers may choose another tokenizer class than the one that was saved.
    assert symbol_ids(tokenizer, SYMBOLS) == dict(result.codes.new_ids)
    assert tokenizer.encode("create a bucket") == result.tokenizer.encode("create a bucket")
    assert [tokenizer.decode([token_id]) for token_id in result.codes.new_ids.values()] == list(SYMBOLS)
    assert len(tokenizer) == len(result.tokenizer)


@every_model
def test_rows_are_written_where_they_belong(name: str) -> None:
    result = extended(name)
    model, first = result.model, result.first_id
    before = input_weight(model).clone()
    rows_out, rows_in = torch.full((3, 32), 2.0), torch.full((3, 32), 5.0)
    if is_tied(model):
        write_rows(model, first, rows_out)
        assert torch.equal(input_weight(model)[first:], rows_out)
        with pytest.raises(AssertionError):
            write_rows(model, first, rows_out, rows_in)
    else:
        write_rows(model, first, rows_out, rows_in)
        assert torch.equal(input_weight(model)[first:], rows_in)
        with pytest.raises(AssertionError):
            write_rows(model, first, rows_out)
    assert torch.equal(output_weight(model)[first:], rows_out)
    assert torch.equal(input_weight(model)[:first], before[:first])
    assert input_weight(model).requires_grad


@pytest.mark.parametrize("name", ["bert", "phi"])
def test_new_biases_are_the_mean_of_the_bases(name: str) -> None:
    model, tokenizer = base(name)
    rows = len(input_weight(model))
    torch.nn.init.uniform_(model.get_output_embeddings().bias, 1.0, 2.0)
    mean = model.get_output_embeddings().bias.mean().item()
    result = extend(model, tokenizer, book(*SYMBOLS))
    bias = model.get_output_embeddings().bias
    assert bias[result.first_id :].tolist() == pytest.approx([mean] * 3)
    assert 1 < mean < 2 and len(bias) == rows + 3


def test_bert_keeps_one_bias() -> None:
    model = extended("bert").model
    assert model.cls.predictions.bias is model.cls.predictions.decoder.bias
    assert len(model.cls.predictions.bias) == model.config.vocab_size


def test_the_noise_is_the_same_on_every_call_and_leaves_the_global_generator_alone() -> None:
    noise = []
    for seed in (1, 2):
        model, tokenizer = base("llama")
        torch.manual_seed(seed)
        expected = torch.rand(1)
        torch.manual_seed(seed)
        result = extend(model, tokenizer, book(*SYMBOLS))
        assert torch.equal(torch.rand(1), expected)
        noise.append((output_weight(model)[result.first_id :].clone(), input_weight(model)[result.first_id :].clone()))
    assert torch.equal(noise[0][0], noise[1][0]) and torch.equal(noise[0][1], noise[1][1])


def test_low_precision_stays_low_precision() -> None:
    model, tokenizer = base("llama")
    result = extend(model.to(torch.bfloat16), tokenizer, book(*SYMBOLS))
    write_rows(result.model, result.first_id, torch.ones(3, 32), torch.ones(3, 32))
    assert output_weight(result.model).dtype == input_weight(result.model).dtype == torch.bfloat16


def test_a_model_grows_again_for_new_tools() -> None:
    first = extended("qwen2")
    second = extend(first.model, first.tokenizer, book("<<late>>"))
    assert second.first_id == first.first_id + len(SYMBOLS)
    assert symbol_ids(second.tokenizer, SYMBOLS) == dict(first.codes.new_ids)


def test_codes_of_text_alone_change_nothing() -> None:
    model, tokenizer = base("llama")
    rows = len(input_weight(model))
    result = extend(model, tokenizer, Codebook("semantic", {"a": ("create",), "b": ("list",)}, (), "none"))
    assert result.tokenizer is tokenizer
    assert len(input_weight(model)) == rows
    assert all(ids[-1] == tokenizer.eos_token_id for ids in result.codes.sequences)


def test_colliding_text_codes_are_refused_before_the_model_is_touched() -> None:
    model, tokenizer = base("bert")
    rows = len(input_weight(model))
    with pytest.raises(CollisionError):
        extend(model, tokenizer, Codebook("semantic", {"a": ("Create",), "b": ("create",)}, (), "none"))
    assert len(input_weight(model)) == rows


def test_a_refused_symbol_leaves_the_model_alone() -> None:
    model, tokenizer = base("bert")
    rows = len(input_weight(model))
    with pytest.raises(InputError, match="Text could become a tool"):
        extend(model, tokenizer, book(*SYMBOLS, "zzzunknown"))
    assert len(input_weight(model)) == rows


def test_covering_base_rows_is_a_bug() -> None:
    model, _ = base("llama")
    with pytest.raises(AssertionError, match="cover"):
        extend_model(model, len(input_weight(model)) - 1, 3)


def test_only_tokens_that_no_code_holds_are_silenced() -> None:
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, is_decoder=True)
    model = BertLMHeadModel(config)
    extend_model(model, 40, 3)
    codes = TokenCodes(("a", "b"), ((40,), (41, 7, 2)), end_id=2, new_ids={"<a>": 40, "<b>": 41})
    silence_words(model, codes)
    bias = model.get_output_embeddings().bias
    assert set((bias == 0).nonzero()[:, 0].tolist()) == {2, 7, 40, 41}
    assert (bias[bias != 0] <= -30).all()
    with torch.no_grad():
        assert torch.equal(
            model(torch.tensor([[5]])).logits[0, 0].topk(4).indices.sort().values, torch.tensor([2, 7, 40, 41])
        )
