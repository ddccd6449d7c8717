"""A decoder that copies before it has learned anything, and facts to practise on."""

import itertools

import pytest
import torch
from tokenizer_zoo import ZOO
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from toolgen.benchmarks.decoder import Shape, start_decoder
from toolgen.benchmarks.upbringing import bring_up, copying_decoder, facts

PIECES = ["ar", "bel", "con", "dor", "el", "fi", "gan", "hu"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return ZOO["gpt2"]()


def copied(model: LlamaForCausalLM, words: int) -> float:
    """How much of a random text a model says again when it stands there twice."""
    once = torch.randint(words, (8, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        said = model.eval()(torch.cat([once, once], 1)).logits[:, 40:-1].argmax(-1)
    return float((said == once[:, 1:]).float().mean())


@pytest.mark.parametrize(("width", "heads", "layers"), [(256, 4, 4), (192, 3, 2)])
def test_a_fresh_decoder_copies(tokenizer: PreTrainedTokenizerBase, width: int, heads: int, layers: int) -> None:
    shape = Shape(width=width, layers=layers, heads=heads, inner=256, context=256)
    words = len(tokenizer)
    assert copied(copying_decoder(shape, tokenizer, 0), words) > 0.8
    assert copied(start_decoder(shape, tokenizer, 0), words) < 0.1, "no other one does"
    ours, again = (copying_decoder(shape, tokenizer, 3).state_dict() for _ in range(2))
    assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_what_is_recalled_was_told() -> None:
    for fact in itertools.islice(facts(PIECES, 0), 200):
        told = fact.text[: fact.given[0][1]]
        ends = [stop for _, stop in fact.given]
        starts = [start for start, _ in fact.given[1:]] + [len(fact.text)]
        learned = [fact.text[stop:start] for stop, start in zip(ends, starts, strict=True)]
        assert learned[0] == "" and len(learned) >= 2
        for recalled in learned[1:]:
            value = recalled.removesuffix("\n").removesuffix('"').removesuffix(". ")
            assert value and value in told


def test_practice_makes_it_recall(tokenizer: PreTrainedTokenizerBase) -> None:
    model = copying_decoder(Shape(width=128, layers=2, heads=2, inner=128, context=256), tokenizer, 0)
    before = [parameter.clone() for parameter in model.parameters()]
    losses = []
    for steps in (2, 40):
        bring_up(model, tokenizer, steps, 0)
        text = next(facts(PIECES, 99))
        ids = tokenizer(text.text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            losses.append(float(model(ids, labels=ids).loss))
    assert losses[1] < losses[0]
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
