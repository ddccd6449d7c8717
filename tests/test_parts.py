"""Queries read by parts: how texts are cut, how parts make up a query, and whom gold tools go with in training."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolgen.benchmarks.dense import DenseRetriever
from toolgen.benchmarks.unconstrained import UnconstrainedRetriever
from toolgen.checkpoint import Artefacts, load_model
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.parts import MOST_PARTS, mixture, part_records, parts, search_by_parts
from toolgen.queries import Query, write_queries
from toolgen.records import Record
from toolgen.retriever import Hit
from toolgen.stages import retrieval
from toolgen.tools import Tool, ToolCatalog
from toolgen.training import TrainingConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make a bucket", ["make a bucket"]),
        ("Book a table for two. Then rent a car!", ["Book a table for two.", "Then rent a car!"]),
        ("Book a table for two, and rent a car.", ["Book a table for two", "and rent a car."]),
        ("I like salt and pepper, and you.", ["I like salt and pepper, and you."]),
        ("Short bits: what a word means — in one line", ["Short bits: what a word means", "in one line"]),
        ("Hi. Find me a hotel. OK?", ["Hi. Find me a hotel. OK?"]),
        ("one list of things\n\ntwo more of them\n", ["one list of things", "two more of them"]),
        ("预订一家酒店今晚入住。告诉我明天的天气情况。", ["预订一家酒店今晚入住。", "告诉我明天的天气情况。"]),
        ("It costs 3.50 at example.com today", ["It costs 3.50 at example.com today"]),
        ("...", ["..."]),
    ],
)
def test_texts_are_cut_where_a_request_may_end(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


@given(st.text(max_size=400))
def test_parts_hold_every_word_in_its_order(text: str) -> None:
    found = parts(text)
    assert 1 <= len(found) <= MOST_PARTS
    if text.strip():
        assert all(part.strip() for part in found)
        # What parts them may be lost: spaces, dashes, commas and closing quotes.
        letters = [character for character in text if character.isalnum()]
        assert [character for part in found for character in part if character.isalnum()] == letters


def test_a_text_of_very_many_sentences_keeps_neighbours_together() -> None:
    found = parts(" ".join(f"This is sentence number {number}." for number in range(100)))
    assert len(found) == MOST_PARTS and {part.count(".") for part in found} == {3, 4}


def test_a_mixture_is_the_mean_of_probabilities() -> None:
    log = lambda **tools: [Hit(tool, math.log(value)) for tool, value in tools.items()]  # noqa: E731
    found = mixture([log(a=0.6, b=0.3), log(b=0.5, c=0.4)], 2)
    assert [hit.tool for hit in found] == ["b", "a"]
    assert [math.exp(hit.score) for hit in found] == pytest.approx([0.4, 0.3])
    one = log(a=0.9, b=0.1)
    assert mixture([one], 1) == one[:1]
    far = mixture([[Hit("a", -2000.0)], [Hit("a", -2000.0)]], 1)
    assert far[0].score == pytest.approx(-2000.0)


def test_each_part_is_searched_for_once_and_belongs_to_its_query() -> None:
    asked: list[tuple[str, int]] = []

    def search(texts: Sequence[str], places: Sequence[int]) -> list[list[Hit]]:
        asked.extend(zip(texts, places, strict=True))
        return [[Hit(text.split()[0], 0.0)] for text in texts]

    found = search_by_parts(search, ["Rent a car. Book a table.", "copy a file"], 2)
    assert asked == [("Rent a car.", 0), ("Book a table.", 0), ("copy a file", 1)]
    assert [[hit.tool for hit in hits] for hits in found] == [["Rent", "Book"], ["copy"]]


TOOLS = ToolCatalog([Tool("rent", "Rent", "Rents a car."), Tool("book", "Book", "Books a table.")])


def counted(texts: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Embeddings by two words."""
    return np.array([[text.lower().count("car") + 1e-3, text.lower().count("table") + 1e-3] for text in texts])


def test_gold_tools_go_with_the_part_that_is_nearest() -> None:
    text = "I am on holiday. I want a car tonight. Then a table for two."
    record = Record(text, (("book",), ("rent",)))
    short = Record("a table and a car", (("rent",), ("book",)))
    assert part_records([record, short], TOOLS, counted) == [
        Record("I want a car tonight.", (("rent",),)),
        Record("Then a table for two.", (("book",),)),
        short,
    ]
    assert part_records([short], TOOLS, lambda _: pytest.fail("nothing is to be compared")) == [short]


def test_answers_in_sequence_have_no_part() -> None:
    with pytest.raises(InputError, match="multi_gold: rows"):
        part_records([Record("One car. One table.", (("rent", "book"),))], TOOLS, counted)


@pytest.fixture
def whole(untrained: Path) -> GenerativeRetriever:
    return GenerativeRetriever(load_model(untrained, torch.float32), Artefacts.load(untrained))


LONG = "Please copy the file to another place. Then delete the old bucket for me."


def test_a_models_answer_to_a_query_is_the_mean_of_those_to_its_parts(
    whole: GenerativeRetriever, catalog: ToolCatalog
) -> None:
    by_parts = GenerativeRetriever(whole.model, replace(whole.artefacts, reading="parts"))
    seen: list[tuple[int, int]] = []
    (found, short) = by_parts.search([LONG, "make it"], len(catalog), progress=lambda *each: seen.append(each))
    ones = [{hit.tool: math.exp(hit.score) for hit in hits} for hits in whole.search(parts(LONG), len(catalog))]
    assert {hit.tool: math.exp(hit.score) for hit in found} == pytest.approx(
        {tool: (ones[0][tool] + ones[1][tool]) / 2 for tool in catalog}, rel=1e-4
    )
    assert [hit.tool for hit in short] == [hit.tool for hit in whole.search(["make it"], len(catalog))[0]]
    assert seen[-1] == (2, 2)
    assert sum(math.exp(hit.score) for hit in by_parts.search([LONG], 3)[0]) < 1


def test_faults_name_the_query_and_not_the_part(whole: GenerativeRetriever) -> None:
    by_parts = GenerativeRetriever(whole.model, replace(whole.artefacts, reading="parts"))
    with pytest.raises(InputError, match="Query number 2 is blank"):
        by_parts.search([LONG, " "], 1)
    with pytest.raises(InputError, match="Query number 2"):
        by_parts.search([LONG, "word " * 5000], 1)
    # As a whole it would not fit the context.
    assert by_parts.search(["Copy this file to another place. " * 60], 1)


def test_a_query_is_checked_as_it_is_read(whole: GenerativeRetriever) -> None:
    by_parts = GenerativeRetriever(whole.model, replace(whole.artefacts, reading="parts"))
    long = "Copy this file to another place. " * 60
    by_parts.check([long])
    UnconstrainedRetriever(by_parts).search([long], 1)
    with pytest.raises(InputError, match="Query number 1"):
        whole.check([long])
    with pytest.raises(InputError, match="Query number 2"):
        by_parts.check([long, "word " * 5000])


def test_what_is_written_freely_is_combined_alike(whole: GenerativeRetriever) -> None:
    by_parts = GenerativeRetriever(whole.model, replace(whole.artefacts, reading="parts"))
    found = UnconstrainedRetriever(by_parts).search([LONG], 4)[0]
    alone = UnconstrainedRetriever(whole).search(parts(LONG), 4)
    assert len(found) == 4
    for hit in found:
        probabilities = [math.exp(other.score) for hits in alone for other in hits if other.tool == hit.tool]
        assert math.exp(hit.score) == pytest.approx(sum(probabilities) / len(parts(LONG)), rel=1e-4)


def test_dense_search_by_parts_finds_what_each_part_wants(catalog: ToolCatalog) -> None:
    tools = ToolCatalog(
        [
            Tool("rent", "Rent car", "Rents a car for some days."),
            Tool("book", "Book table", "Books a table in a restaurant."),
            Tool("both", "Holiday", "Plans a holiday with a car and restaurants."),
        ]
    )
    query = "Rent me a car for Friday. Book a table for two at night."
    assert {hit.tool for hit in DenseRetriever(tools, reading="parts").search([query], 2)[0]} == {"rent", "book"}
    group = DenseRetriever(catalog, reading="parts").search([query], 1, groups=[next(iter(catalog.values())).group])
    sharp, soft = (DenseRetriever(tools, reading="parts", scale=scale).search([query], 3)[0] for scale in (80.0, 2.0))
    assert math.exp(soft[0].score) < math.exp(sharp[0].score) <= 0.51, "either tool is half of what is wanted"
    assert group[0][0].tool in catalog.ids_of_groups([next(iter(catalog.values())).group])


def test_a_stage_trains_on_parts_and_its_model_reads_them(
    files: dict[str, Path], tiny_base: Path, queries: list[Query], tmp_path: Path
) -> None:
    joined = [
        Query(f"both-{place}", f"{one.text} for me today. {other.text} as well now.", (*one.tools, *other.tools))
        for place, (one, other) in enumerate(zip(queries[:6], queries[6:12], strict=True))
    ]
    write_queries(tmp_path / "joined.jsonl", joined)
    config = retrieval.RetrievalConfig(
        model=str(tiny_base),
        tools=files["tools"],
        codebook=files["codebook"],
        reading="parts",
        output=tmp_path / "run",
        queries={"path": tmp_path / "joined.jsonl"},
        validation={"queries": tmp_path / "joined.jsonl"},
        abilities=None,
        prior={"kind": "name"},
        tracking={"mode": "disabled"},
        training=TrainingConfig(epochs=1, batch_size=4, precision="fp32"),
    )
    done = retrieval.run(config)
    assert len(joined) < done.report["records"] <= 2 * len(joined)
    assert Artefacts.load(done.checkpoint).reading == "parts"
