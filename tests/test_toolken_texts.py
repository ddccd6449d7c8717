"""Annotated texts and their linearizers: round trips, refusals, and spans that are exact under any tokenizer."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_zoo import ZOO

from toolgen.errors import InputError
from toolgen.toolken.linearize import BoundaryError, opening_id, replace, turns
from toolgen.toolken.texts import AnnotatedText, Span, read_texts, tools_called, write_texts
from toolgen.tools import Tool, ToolCatalog
from toolgen.training import IGNORED

PENS = AnnotatedText(
    "pens",
    "3 boxes of 12 pens are 36 pens, and 36 less 6 is 30.",
    (Span(23, 25, "multiply", ("3", "12"), "36"), Span(49, 51, "subtract", ("36", "6"), "30")),
    "train",
)
ROWS = {"multiply": 10_000_000, "subtract": 10_000_001}


def written(tmp_path: Path, **record: Any) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": PENS.text, "calls": []} | record) + "\n", encoding="utf-8")
    return path


def test_texts_come_back_as_they_were_written(tmp_path: Path) -> None:
    named = AnnotatedText(
        "named", "It is 9° there.", (Span(6, 8, "weather", {"city": "Oslo"}, "9°"),), metadata={"a": 1}
    )
    bare = AnnotatedText("bare", "Nothing to call.", ())
    write_texts(tmp_path / "t.jsonl.gz", [PENS, named, bare])
    assert read_texts(tmp_path / "t.jsonl.gz") == [PENS, named, bare]
    assert read_texts(tmp_path / "t.jsonl.gz", split="train") == [PENS]
    assert tools_called([PENS, named]) == ["multiply", "subtract", "weather"]
    with pytest.raises(InputError, match="no text of split 'test'"):
        read_texts(tmp_path / "t.jsonl.gz", split="test")


def test_a_text_without_an_id_is_called_by_its_line(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path, tar_eq=["x"]))[0] == AnnotatedText(
        "1", PENS.text, (), metadata={"tar_eq": ["x"]}
    )


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"text": " "}, "'text', a string that says something"),
        ({"text": 3}, "'text'"),
        ({"calls": None}, "'calls' must be a list"),
        ({"calls": ["x"]}, "'calls' must be a list"),
        ({"calls": [{"start": 0, "end": 2}]}, "'tool', the id of a tool"),
        ({"calls": [{"start": 2, "end": 2, "tool": "a"}]}, "from 2 to 2"),
        ({"calls": [{"start": 0, "end": 99, "tool": "a"}]}, "characters from 0 to 52"),
        ({"calls": [{"start": True, "end": 9, "tool": "a"}]}, "True"),
        ({"calls": [{"start": 0, "end": 2, "tool": "a", "span": "3b"}]}, "count characters, not bytes"),
        ({"calls": [{"start": 0, "end": 3, "tool": "a"}, {"start": 2, "end": 4, "tool": "b"}]}, "do not overlap"),
        ({"calls": [{"start": 0, "end": 2, "tool": "a", "arguments": [3]}]}, "'arguments' of the call of 'a'"),
        ({"calls": [{"start": 0, "end": 2, "tool": "a", "result": 3}]}, "'result' of the call of 'a'"),
        ({"id": 7}, "'id' of a text must be a string"),
    ],
)
def test_broken_records_are_refused(record: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        read_texts(written(tmp_path, **record))


def test_unknown_tools_and_used_ids_are_refused(tmp_path: Path) -> None:
    write_texts(tmp_path / "t.jsonl", [PENS, PENS])
    with pytest.raises(InputError, match="duplicate text id 'pens'"):
        read_texts(tmp_path / "t.jsonl")
    with pytest.raises(InputError, match="unknown tool 'subtract'.*1 tools"):
        read_texts(tmp_path / "t.jsonl", ToolCatalog([Tool("multiply", "multiply")]))


def reads(tokenizer: Any, ids: Sequence[int], text: str) -> bool:
    """Whether tokens read as a text, blanks aside; an unknown token stands for anything."""
    read = "".join(tokenizer.decode(ids).removeprefix("##").split())  # WordPiece's sign of a word that goes on.
    pattern = ".+".join(map(re.escape, read.split(tokenizer.unk_token))) if tokenizer.unk_token else re.escape(read)
    return re.fullmatch(pattern, "".join(text.split())) is not None


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_result_is_labelled_at_its_first_token_and_nowhere_else(name: str) -> None:
    tokenizer = ZOO[name]()
    example = replace(PENS, tokenizer, ROWS)
    opening = opening_id(tokenizer)
    assert (example.input_ids[0] == opening) == (opening is not None)
    assert example.labels[0] == IGNORED
    called = [place for place, label in enumerate(example.labels) if label in ROWS.values()]
    assert [example.labels[place] for place in called] == list(ROWS.values())
    for place, span in zip(called, PENS.calls, strict=True):
        assert reads(tokenizer, example.input_ids[1 if opening is not None else 0 : place], PENS.text[: span.start])
    for place, (token_id, label) in enumerate(zip(example.input_ids[1:], example.labels[1:], strict=True), start=1):
        assert label == token_id or label == IGNORED or place in called


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from(["so ", "=", "$", "it is ", "x", " ", "(", "\n", "é"]), st.integers(0, 99_999)),
        min_size=1,
        max_size=4,
    ),
    name=st.sampled_from(sorted(ZOO)),
)
def test_spans_are_exact_or_refused(pieces: list[tuple[str, int]], name: str) -> None:
    text, spans = "", []
    for before, number in pieces:
        text += before
        spans.append(Span(len(text), len(text) + len(str(number)), "multiply"))
        text += str(number)
    tokenizer = ZOO[name]()
    try:
        example = replace(AnnotatedText("drawn", text, tuple(spans)), tokenizer, ROWS)
    except BoundaryError as error:
        assert "'drawn'" in str(error)
        return
    called = [place for place, label in enumerate(example.labels) if label == ROWS["multiply"]]
    assert len(called) == len(spans)
    for place, span in zip(called, spans, strict=True):
        behind = place + 1
        while behind < len(example.labels) and example.labels[behind] == IGNORED:
            behind += 1
        assert reads(tokenizer, example.input_ids[place:behind], text[span.start : span.end])


def test_rows_may_learn_from_calls_alone() -> None:
    example = replace(PENS, ZOO["gpt2"](), ROWS, words=False)
    assert [label for label in example.labels if label != IGNORED] == list(ROWS.values())


def test_what_cannot_be_parted_is_refused_by_name() -> None:
    torn = AnnotatedText("torn", "An answer is here.", (Span(4, 7, "multiply"),))
    with pytest.raises(BoundaryError, match="Text 'torn'.*within a token"):
        replace(torn, ZOO["minilm"](), ROWS)
    assert replace(torn, ZOO["gpt2"](), ROWS).labels.count(ROWS["multiply"]) == 1
    spelt = AnnotatedText("spelt", "A text that spells </s> is 5 long.", (Span(27, 28, "multiply"),))
    with pytest.raises(BoundaryError, match="Text 'spelt' spells a special token"):
        replace(spelt, ZOO["unigram"](), ROWS)


def test_turns_ask_for_each_tool_behind_the_text_before_it() -> None:
    first, second = turns(PENS)
    assert first.text == "3 boxes of 12 pens are " and first.answers == (("multiply",),)
    assert second.text.endswith("36 less 6 is ") and second.answers == (("subtract",),)
