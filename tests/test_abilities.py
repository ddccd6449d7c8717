"""Perplexity: equal to what full logits give, whatever is computed together, and tools count against it."""

import math
import string
from dataclasses import replace

import pytest
import torch
from tiny_models import CONTEXT, MODELS, VOCABULARY, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import toolgen.head
from toolgen.abilities import Perplexity, perplexity
from toolgen.corpus import Corpus
from toolgen.errors import InputError

LETTERS = string.ascii_lowercase + " .<>/"
TEXTS = Corpus(
    "texts/held-out",
    (
        "the first one is a sentence.",
        "a",
        "the third is rather longer than the others are. it is cut into several windows. " * 3,
        "it spells </s> and <s> and stays text.",
        "the last.",
    ),
)


def letters(begin: bool) -> PreTrainedTokenizerBase:
    """A token a letter, with or without a beginning of sequence."""
    entries = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", *LETTERS])}
    backend = Tokenizer(models.WordLevel(entries, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if begin:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def naive(model: PreTrainedModel, begin: bool, length: int, size: int = VOCABULARY) -> Perplexity:
    """The same from full logits, one window after the other."""
    losses = []
    for text in TEXTS.documents:
        ids = [3 + LETTERS.index(letter) for letter in text]
        room = length - begin
        for start in range(0, len(ids), room):
            window = [1] * begin + ids[start : start + room]
            with torch.inference_mode():
                logits_TV = model(input_ids=torch.tensor([window])).logits[0, :-1, :size].double()
            losses.append(-logits_TV.log_softmax(-1)[torch.arange(len(window) - 1), window[1:]])
    joined = torch.cat(losses)
    return Perplexity(joined.mean().exp().item(), len(joined), length, size, TEXTS.name, TEXTS.fingerprint)


def assert_same(found: Perplexity, expected: Perplexity) -> None:
    assert replace(found, value=expected.value) == expected
    assert found.value == pytest.approx(expected.value, rel=1e-4)


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_it_is_what_full_logits_give(kind: str, tied: bool, begin: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind, tied)
    expected = naive(model, begin, 16)
    for batch_size in (1, 3, 100):
        assert_same(perplexity(model, letters(begin), TEXTS, length=16, batch_size=batch_size), expected)
    monkeypatch.setitem(toolgen.head._CHUNK, "cpu", 1000)
    assert_same(perplexity(model, letters(begin), TEXTS, length=16), expected)


@pytest.mark.parametrize("size", [VOCABULARY, 60, 3 + len(LETTERS)])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_the_first_rows_alone_may_compete(kind: str, tied: bool, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind, tied)
    expected = naive(model, True, 20, size)
    assert_same(perplexity(model, letters(True), TEXTS, length=20, vocabulary=size), expected)
    monkeypatch.setitem(toolgen.head._CHUNK, "cpu", 500)
    assert_same(perplexity(model, letters(True), TEXTS, length=20, vocabulary=size), expected)


def test_rows_beyond_the_base_count_against_the_model() -> None:
    model = tiny_model()
    whole = perplexity(model, letters(True), TEXTS)
    base = perplexity(model, letters(True), TEXTS, vocabulary=60)
    assert (whole.vocabulary, base.vocabulary) == (VOCABULARY, 60)
    assert whole.value > base.value


def test_windows_end_where_the_context_does() -> None:
    model = tiny_model("gpt2", True)
    assert_same(perplexity(model, letters(True), TEXTS, length=1000), naive(model, True, CONTEXT))


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("most", [1, 27, 28, 60])
def test_no_more_tokens_are_predicted_than_asked_for(begin: bool, most: int) -> None:
    found = perplexity(tiny_model(), letters(begin), TEXTS, length=16, most_tokens=most)
    assert found.tokens == most
    again = perplexity(tiny_model(), letters(begin), TEXTS, length=16, most_tokens=most, batch_size=1)
    assert again.value == pytest.approx(found.value, rel=1e-5)


def test_the_model_is_left_as_it_was_and_progress_is_told() -> None:
    model = tiny_model(seed=1)
    told: list[tuple[int, int]] = []
    model.train()
    perplexity(model, letters(True), TEXTS, batch_size=2, progress=lambda *state: told.append(state))
    assert model.training
    model.eval()
    perplexity(model, letters(True), TEXTS)
    assert not model.training
    assert told[-1] == (told[-1][1],) * 2 and len(told) == math.ceil(told[-1][1] / 2)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_cannot_be_measured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    for key, value in (("most_tokens", 0), ("length", 1), ("batch_size", 0)):
        with pytest.raises(InputError, match=f"{key} is {value}. Give at least"):
            perplexity(model, letters(True), TEXTS, **{key: value})
    for size in (0, VOCABULARY + 1):
        with pytest.raises(InputError, match=f"vocabulary is {size}, and the model predicts {VOCABULARY} tokens"):
            perplexity(model, letters(True), TEXTS, vocabulary=size)
    with pytest.raises(InputError, match="vocabulary is 10, and texts/held-out has the token"):
        perplexity(model, letters(True), TEXTS, vocabulary=10)
    with pytest.raises(InputError, match="hold no token that can be predicted"):
        perplexity(model, letters(False), Corpus("letters", ("a", "b")))
    monkeypatch.setattr(model.config, "final_logit_softcapping", 30.0, raising=False)
    with pytest.raises(InputError, match="final_logit_softcapping"):
        perplexity(model, letters(True), TEXTS)
