"""Word problems and the decoder that is brought up on them: sums that are right, and only solutions learned."""

import itertools
import random
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from toolgen.base import load_base
from toolgen.benchmarks import arithmetic, decoder
from toolgen.benchmarks.arithmetic import (
    MOST_DIGITS,
    SIGNS,
    arithmetic_tokenizer,
    train_arithmetic_decoder,
    word_problem,
    word_problems,
)
from toolgen.benchmarks.decoder import Shape
from toolgen.functions.hub import gsm8k
from toolgen.tokenizer import decode
from toolgen.toolken.evaluation import is_right
from toolgen.toolken.form import BETWEEN
from toolgen.training import IGNORED


@given(seed=st.integers(0, 10**6), digits=st.integers(1, MOST_DIGITS), hops=st.sampled_from((1, 2)))
def test_a_solution_is_what_the_tools_compute(seed: int, digits: int, hops: int) -> None:
    one = word_problem(random.Random(seed), digits, hops, "p")
    hub = gsm8k()
    assert len(one.text.calls) == hops
    for call in one.text.calls:
        assert call.arguments is not None
        observation = hub.call(call.tool, list(call.arguments))
        assert observation.content == call.result == one.text.text[call.start : call.end]
        left, right = call.arguments
        assert one.text.text[: call.start].endswith(f" {left} {SIGNS[call.tool]} {right} = ")
    assert one.text.text.startswith(one.prompt) and is_right(one.text.text[len(one.prompt) :], one.answer)
    assert max(len(part) for part in one.text.calls[0].arguments or ()) <= digits


def test_problems_are_distinct_and_the_same_again() -> None:
    found = word_problems(40, (1, 5), (1, 2), 3)
    assert len({one.text.text for one in found}) == 40 and found == word_problems(40, (1, 5), (1, 2), 3)
    assert {len(one.text.calls) for one in found} == {1, 2}


def test_only_what_can_be_known_is_learned() -> None:
    tokenizer = arithmetic_tokenizer(600)
    ids_NT, labels_NT = decoder.document_windows(tokenizer, arithmetic._documents(0), 256, 30)
    assert ids_NT.shape == labels_NT.shape == (30, 256) and (ids_NT[:, 0] == tokenizer.bos_token_id).all()
    learned_NT = labels_NT != IGNORED
    assert torch.equal(labels_NT[learned_NT], ids_NT[learned_NT])
    for ids_T, learned_T in zip(ids_NT, learned_NT, strict=True):
        text = decode(tokenizer, ids_T[learned_T])
        assert "Q:" not in text and BETWEEN not in text
    shown = [one for one in itertools.islice(arithmetic._documents(0), 60) if "(" in one.text]
    assert len(shown) == 20
    for one in shown:
        # The first name comes as a surprise; from then on names are what is shown.
        begun, end = one.given[1]
        assert one.text[begun:end].strip(" (") in SIGNS and one.text.count("(") >= 2


def test_a_decoder_learns_and_is_loaded_as_a_base(tmp_path: Path) -> None:
    shape = Shape(entries=400, width=32, layers=1, heads=2, inner=48, context=192)
    losses = []
    for steps in (1, 30):
        folder = train_arithmetic_decoder(tmp_path / str(steps), shape=shape, steps=steps, batch_size=4)
        base = load_base(str(folder))
        ids_NT, labels_NT = decoder.document_windows(base.tokenizer, arithmetic._documents(9), 192, 8)
        with torch.inference_mode():
            losses.append(float(base.model(input_ids=ids_NT, labels=labels_NT).loss))
    assert losses[1] < losses[0] - 0.5
