"""Records and the linearizer: several gold tools are several answers, and no code is ever cut."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toolgen.records
from toolgen.base import load_tokenizer
from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.prompts import PromptRenderer
from toolgen.queries import Query
from toolgen.records import Record, kept_examples, linearize, memorization_records, retrieval_records
from toolgen.tools import ToolCatalog

CODES = TokenCodes(("a", "b"), ((900,), (901, 902, 1)), end_id=1, new_ids={})


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> PromptRenderer:
    return PromptRenderer(load_tokenizer(str(tiny_base)))


def test_memorization_is_one_document_a_tool(catalog: ToolCatalog) -> None:
    records = memorization_records(catalog)
    assert [record.answers for record in records] == [((tool,),) for tool in catalog]
    assert records[0].text == "buckets create bucket. Creates one bucket of the account."


def test_where_nothing_stops_a_code_of_one_token_stands_alone(renderer: PromptRenderer) -> None:
    records = [Record("make", (("a",),)), Record("make", (("b",),)), Record("make", (("a", "b"),))]
    assert linearize(records, renderer, CODES, 64)["answers"][:] == [
        [[900, 1]],
        [[901, 902, 1]],
        [[900, 901, 902, 1, 1]],
    ]
    open_ = linearize(records, renderer, CODES, 64, stops=False)["answers"][:]
    assert open_ == [[[900]], [[901, 902, 1]], [[900, 901, 902, 1, 1]]]


def test_each_gold_tool_is_an_answer() -> None:
    records = retrieval_records([Query("1", "both", ("a", "b")), Query("2", "one", ("b",))])
    assert records == [Record("both", (("a",), ("b",))), Record("one", (("b",),))]


def test_every_code_ends_with_the_end_symbol_once(renderer: PromptRenderer) -> None:
    data = linearize([Record("make", (("a",),)), Record("make", (("b",), ("a",)))], renderer, CODES, 64)
    assert data["answers"][:] == [[[900, 1]], [[901, 902, 1], [900, 1]]]
    assert data["length"][:] == [len(data["prompt"][0]) + 2, len(data["prompt"][1]) + 5]


def test_a_long_text_is_cut_and_the_code_is_not(renderer: PromptRenderer) -> None:
    (row,) = linearize([Record("bucket " * 500, (("a",), ("b",)))], renderer, CODES, 20)
    assert len(row["prompt"]) == 17
    assert row["prompt"][-1] == renderer.closing_ids[-1]
    assert row["answers"] == [[900, 1], [901, 902, 1]]


def test_a_code_longer_than_the_longest_text_is_refused(renderer: PromptRenderer) -> None:
    with pytest.raises(InputError, match="training.max_length is 5.*Give at least 11"):
        linearize([Record("make", (("b",),))], renderer, CODES, 5)


def test_an_unknown_tool_is_a_bug_of_the_caller(renderer: PromptRenderer) -> None:
    with pytest.raises(KeyError):
        linearize([Record("make", (("c",),))], renderer, CODES, 20)


def test_in_sequence_a_query_is_one_record_whose_order_hangs_on_its_id_alone() -> None:
    queries = [Query(str(number), "all", ("a", "b", "c")) for number in range(600)]
    records = retrieval_records(queries, "sequence")
    assert {tuple(sorted(answer)) for record in records for answer in record.answers} == {("a", "b", "c")}
    firsts = Counter(record.answers[0][0] for record in records)
    assert len(records) == 600 and all(150 < firsts[tool] < 250 for tool in "abc")
    turned = [Query(query.id, query.text, query.tools[::-1]) for query in queries[::-1]]
    assert retrieval_records(turned, "sequence")[::-1] == records


def test_several_codes_follow_each_other_and_the_whole_is_closed(renderer: PromptRenderer) -> None:
    both = [Record("make", (tools,)) for tools in (("a", "b"), ("b", "a"), ("a",))]
    found = linearize(both, renderer, CODES, 64)["answers"][:]
    assert found == [[[900, 901, 902, 1, 1]], [[901, 902, 1, 900, 1]], [[900, 1]]]


def test_every_text_gets_the_room_that_its_longest_answer_leaves_and_keeps_its_place(renderer: PromptRenderer) -> None:
    answers = [(("a",),), (("a", "b"),), (("b",), ("a",)), (("a",),)]
    data = linearize([Record(f"bucket {'table ' * 500}", own) for own in answers], renderer, CODES, 20, batch=1)
    assert [len(prompt) for prompt in data["prompt"]] == [18, 15, 17, 18]
    assert [list(map(len, own)) for own in data["answers"]] == [[2], [5], [3, 2], [2]]
    with pytest.raises(InputError, match="training.max_length is 7, but the longest answer takes 5"):
        linearize([Record("make", (("a", "b"),))], renderer, CODES, 7)


def test_examples_are_kept_for_the_same_records_and_tokenizer_only(
    renderer: PromptRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(*given: Any, **told: Any) -> Any:
        made.append(1)
        return linearize(*given, **told)

    monkeypatch.setattr(toolgen.records, "linearize", counted)
    monkeypatch.setattr(toolgen.records, "FEWEST_KEPT", 2)
    pair = [Record("make", (("a",),)), Record("list", (("b",), ("a",)))]
    expected = linearize(pair, renderer, CODES, 64)[:]
    for _ in range(2):
        assert kept_examples(pair, renderer, CODES, 64, tmp_path)[:] == expected
    assert len(made) == 1
    others = [pair[::-1], [pair[0], replace(pair[1], text="lists")], [pair[0], replace(pair[1], answers=(("b",),))]]
    for number, other in enumerate(others, start=2):
        assert kept_examples(other, renderer, CODES, 64, tmp_path)[:] == linearize(other, renderer, CODES, 64)[:]
        assert len(made) == number
    assert kept_examples(pair, renderer, CODES, 20, tmp_path)[:] and len(made) == 5
    assert len(list(tmp_path.iterdir())) == 5
    kept_examples(pair[:1], renderer, CODES, 64, tmp_path)
    assert len(list(tmp_path.iterdir())) == 5, "a few are not worth it"


def test_what_cannot_be_kept_is_made_anew(
    renderer: PromptRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolgen.records, "FEWEST_KEPT", 1)
    (tmp_path / "file").write_text("no folder")
    pair = [Record("make", (("a",),))]
    assert (
        kept_examples(pair, renderer, CODES, 64, tmp_path / "file" / "below")[:]
        == linearize(pair, renderer, CODES, 64)[:]
    )
