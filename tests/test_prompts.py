"""Prompts: one frame, strangers' text inside it, and nothing that the text could forge."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from toolgen.base import load_tokenizer
from toolgen.errors import InputError
from toolgen.prompts import PromptRenderer

TEMPLATE = (
    "<s>{% for message in messages %}[{{ message.role }}]{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def embedded() -> PreTrainedTokenizerBase:
    return load_tokenizer("embedded")


@pytest.fixture
def tiny(tiny_base: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_base)


def test_plain_is_what_the_tokenizer_puts_around_a_text(embedded: PreTrainedTokenizerBase) -> None:
    assert PromptRenderer(embedded).render(["make a bucket"]) == [embedded("make a bucket")["input_ids"]]


def test_plain_asks_for_a_tool_where_the_tokenizer_ends_with_nothing(tiny: PreTrainedTokenizerBase) -> None:
    (prompt,) = PromptRenderer(tiny).render(["make"])
    assert tiny.decode(prompt) == "<s>make\nTool:"


def test_chat_has_one_beginning_and_opens_the_answer(tiny: PreTrainedTokenizerBase) -> None:
    tiny.chat_template = TEMPLATE
    (prompt,) = PromptRenderer(tiny, "chat").render(["make"])
    assert tiny.decode(prompt) == "<s>[user]make</s>[assistant]"
    assert prompt.count(tiny.bos_token_id) == 1


def test_chat_needs_a_template(tiny: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="no chat template"):
        PromptRenderer(tiny, "chat")


def test_an_unknown_style_is_refused(tiny: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="Allowed: plain, chat"):
        PromptRenderer(tiny, "fancy")  # type: ignore[arg-type]


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4), st.integers(3, 12))
def test_a_long_text_loses_its_end_and_never_the_frame(texts: list[str], longest: int) -> None:
    renderer = PromptRenderer(load_tokenizer("embedded"))
    for short, whole in zip(renderer.render(texts, longest), renderer.render(texts), strict=True):
        assert len(short) == min(longest, len(whole))
        assert short[0] == whole[0] and short[-1] == whole[-1]
        assert short[1:-1] == whole[1 : len(short) - 1]


def test_a_length_that_leaves_no_room_is_refused(embedded: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="at least 3"):
        PromptRenderer(embedded).render(["a"], 2)


@given(st.text(max_size=30), st.sampled_from(["[SEP]", "[CLS]", "[MASK]", "[PAD]", "<<a&&b>>", " [SEP] "]))
def test_text_cannot_forge_the_frame(text: str, marker: str) -> None:
    tokenizer = load_tokenizer("embedded")
    (prompt,) = PromptRenderer(tokenizer).render([text + marker + text])
    forbidden = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not forbidden & set(prompt[1:-1])
