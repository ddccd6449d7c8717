"""ToolBench's instruction files and retrieval folders as queries."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_sources_toolbench import count
from toolbench_files import api as in_file
from toolbench_files import asked, listed, parameter, tool, toolbench, write

from toolgen.errors import InputError
from toolgen.sources.toolbench_folder import Imported, import_toolbench
from toolgen.tools import Tool, ToolCatalog

FORECAST = listed("Sky", "Forecast", "Tells the weather of tomorrow.", required_parameters=[parameter("city")])
ODDS = listed("Odds", "Live", "Live odds.", "Sports", optional_parameters=[parameter("n", "NUMBER", "3")])


def questions(folder: Path, *records: Any, name: str = "instruction/G1_query.json") -> Imported:
    return import_toolbench(toolbench(folder, {name: list(records)}))


def test_queries_have_their_gold_tools_and_what_was_listed(tmp_path: Path) -> None:
    both = [("Sky", "Forecast"), ("Odds", "Live"), ("Sky", "Forecast")]
    done = questions(tmp_path, asked(7, " Weather for the match? ", [FORECAST, ODDS, listed("Sky", "ID")], both))
    (query,) = done.queries
    assert (query.id, query.text) == ("G1_query.7", "Weather for the match?")
    assert query.tools == ("Sky&&Forecast", "Odds&&Live") and query.split is None
    assert query.metadata == {
        "type": "G1_query",
        "query_id": 7,
        "candidates": ["Sky&&Forecast", "Odds&&Live", "Sky&&ID"],
    }


def test_tools_that_only_a_query_lists_are_taken_over(tmp_path: Path) -> None:
    done = questions(tmp_path, *(asked(number, f"q{number}", [ODDS], [("Odds", "Live")]) for number in range(3)))
    odds = done.catalog["Odds&&Live"]
    assert odds.description == "Live odds." and odds.metadata["category"] == "Sports"
    assert odds.parameters == {"type": "object", "properties": {"n": {"type": "number", "default": "3"}}}
    assert count(done, "noted", "no tool file") == 1 and count(done, "merged", "again") == 0
    assert len(done.queries) == 3


def test_of_several_apis_with_a_name_the_one_that_is_listed_is_meant(tmp_path: Path) -> None:
    apis = (in_file("A", "First."), in_file("A", "Second."))
    records = [
        asked(1, "one", [listed("T", "A", "Second.")], [("T", "A")]),
        asked(2, "two", [listed("T", "A", "First.")], [("T", "A")]),
        asked(3, "three", [listed("T", "A", "Third.")], [("T", "A")]),
    ]
    files = {"toolenv/tools/Weather/t.json": tool("T", *apis, description="About T."), "G1_query.json": records}
    done = import_toolbench(toolbench(tmp_path, files))
    assert [query.tools for query in done.queries] == [("T&&A#2",), ("T&&A",), ("T&&A",)]
    assert count(done, "noted", "the first is taken") == 1


def test_queries_without_labels_and_with_unknown_ones_are_left_out_and_counted(tmp_path: Path) -> None:
    done = questions(
        tmp_path,
        {"query_id": 1, "query": "anything"},
        asked(2, "nothing", [FORECAST], []),
        asked(3, "half", [FORECAST], [("Sky", "Forecast"), ("Sky", "Nowhere")]),
        asked(4, "kept", [FORECAST], [("Sky", "Forecast")]),
    )
    assert [query.id for query in done.queries] == ["G1_query.4"]
    assert (count(done, "dropped", "without labels"), count(done, "dropped", "no file describes")) == (2, 1)
    assert ["G1_query, query 3: Sky&&Nowhere"] in done.remarks.examples.values()


def test_a_flat_folder_of_stabletoolbench(tmp_path: Path) -> None:
    for name in ("G1_category", "G1_tool"):
        write(tmp_path / "test_instruction" / f"{name}.json", [asked(5, name, [ODDS], [("Odds", "Live")])])
    write(tmp_path / "test_query_ids" / "G1_tool.json", {"5": 0})
    done = import_toolbench(tmp_path)
    assert [(query.id, query.metadata["type"]) for query in done.queries] == [
        ("G1_category.5", "G1_category"),
        ("G1_tool.5", "G1_tool"),
    ]
    known = ToolCatalog([Tool("mine", "Live", "Mine.", group="Odds")])
    assert import_toolbench(tmp_path / "test_instruction", known).queries[0].tools == ("mine",)


def test_ids_are_distinct_when_a_file_lies_in_two_folders(tmp_path: Path) -> None:
    record = asked(1, "q", [ODDS], [("Odds", "Live")])
    for folder in ("", "instruction/"):
        write(tmp_path / f"{folder}G1_query.json", [record, record])
    assert [query.id for query in import_toolbench(tmp_path).queries] == [
        "G1_query.1",
        *(f"G1_query.1#{number}" for number in (2, 3, 4)),
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"query_id": 1, "query": 5}, "record 2: 'query' must be a text"),
        ({"query_id": 1, "query": "q", "relevant APIs": [["T"]]}, "a pair of strings"),
        ({"query_id": 1, "query": "q", "relevant APIs": {"T": "A"}}, "'relevant APIs' must be a list"),
        ({"query_id": 1, "query": "q", "relevant APIs": [["T", "A"]], "api_list": {}}, "no file describes"),
        ({"query_id": 1, "query": "q", "relevant APIs": [["T", "A"]], "api_list": {"T": 1}}, "'api_list' must be"),
        ({"query_id": 1, "query": "q", "relevant APIs": [["T", "A"]], "api_list": ["A"]}, "must be an object"),
        ("text", "record 2: a JSON object is wanted, found str"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, record: Any, message: str) -> None:
    good = asked(1, "q", [ODDS], [("Odds", "Live")])
    if message == "no file describes":
        assert count(questions(tmp_path, good, record), "dropped", message) == 1
        return
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        questions(tmp_path, good, record)
    assert "G1_query.json" in str(caught.value)


def retrieval(folder: Path, corpus: Sequence[tuple[int, Any]], **files: str) -> Path:
    """A retrieval folder; documents are quoted as pandas does."""
    rows = [f'{number}\t"{json.dumps(document).replace(chr(34), chr(34) * 2)}"\n' for number, document in corpus]
    write(folder / "corpus.tsv", "docid\tdocument_content\n" + "".join(rows))
    for name, text in files.items():
        kind, split = name.split("_")
        write(folder / (f"qrels.{split}.tsv" if kind == "qrels" else f"{split}.query.txt"), text)
    return folder


def test_a_retrieval_folder_gives_tools_and_queries_with_a_split(tmp_path: Path) -> None:
    folder = retrieval(
        tmp_path / "G1",
        [(1, FORECAST), (2, {**ODDS, "template_response": {"a": "str"}}), (1, FORECAST)],
        query_train='1\tWeather?\n1\tWeather?\n2\t"Odds\tor ""goals""?\nSoon."\n',
        qrels_train="1\t0\t1\t1\n1\t0\t2\t1\n1\t0\t1\t1\n2\t0\t2\t1\n",
        query_test="3\tLate?\n4\tNone?\n5\tLost?\n",
        qrels_test="3\t0\t2\t1\n3\t0\t1\t0\n5\t0\t9\t1\n6\t0\t1\t1\n",
    )
    done = import_toolbench(folder)
    assert done.catalog.ids == ("Sky&&Forecast", "Odds&&Live")
    assert [(query.id, query.text, query.tools, query.split) for query in done.queries] == [
        ("G1.test.3", "Late?", ("Odds&&Live",), "test"),
        ("G1.train.1", "Weather?", ("Sky&&Forecast", "Odds&&Live"), "train"),
        ("G1.train.2", 'Odds\tor "goals"?\nSoon.', ("Odds&&Live",), "train"),
    ]
    assert count(done, "dropped", "without labels") == count(done, "dropped", "no file describes") == 1
    assert count(done, "dropped", "text is missing") == 1
    assert import_toolbench(folder / "corpus.tsv").queries == done.queries
    assert import_toolbench(tmp_path).queries == done.queries


def test_documents_of_a_corpus_that_differ_are_two_tools(tmp_path: Path) -> None:
    other = {**ODDS, "api_description": "Other odds."}
    texts = {"query_train": "1\tOne?\n2\tTwo?\n", "qrels_train": "1\t0\t1\t1\n2\t0\t2\t1\n"}
    done = import_toolbench(retrieval(tmp_path, [(1, ODDS), (2, other), (3, ODDS)], **texts))
    assert [query.tools for query in done.queries] == [("Odds&&Live",), ("Odds&&Live#2",)]
    assert count(done, "renamed", "in their ids") == 1


def test_queries_of_both_kinds_are_there_once_and_get_their_split(tmp_path: Path) -> None:
    records = [
        asked(1, "Weather?", [FORECAST], [("Sky", "Forecast")]),
        asked(2, "Odds?", [ODDS], [("Odds", "Live")]),
        asked(3, "Both?", [ODDS], [("Odds", "Live")]),
    ]
    folder = toolbench(tmp_path, {"instruction/G1_query.json": records})
    retrieval(
        folder / "retrieval" / "G1",
        [(1, FORECAST), (2, ODDS)],
        query_train="1\tWeather?\n3\tBoth?\n",
        qrels_train="1\t0\t1\t1\n3\t0\t2\t1\n",
        query_test="2\tOdds?\n3\tBoth?\n",
        qrels_test="2\t0\t1\t1\n3\t0\t2\t1\n",
    )
    done = import_toolbench(folder)
    assert [(query.id, query.tools, query.split) for query in done.queries] == [
        ("G1_query.1", ("Sky&&Forecast",), "train"),
        ("G1_query.2", ("Odds&&Live",), None),
        ("G1_query.3", ("Odds&&Live",), "test"),
        ("G1.test.2", ("Sky&&Forecast",), "test"),  # other tools, another query
        ("G1.train.3", ("Odds&&Live",), "train"),  # in both splits: nothing is hidden
    ]
    assert count(done, "merged", "their split") == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"query_train": "1\tq\n"}, "qrels.train.tsv: no such file"),
        ({"query_train": "1 q\n", "qrels_train": ""}, "train.query.txt:1: 2 cells between tabs are wanted, found 1"),
        ({"query_train": "1\tq\n", "qrels_train": "1\t0\t1\n"}, "qrels.train.tsv:1: 4 cells"),
    ],
)
def test_broken_retrieval_folders_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        import_toolbench(retrieval(tmp_path, [(1, ODDS)], **files))


@pytest.mark.parametrize(
    ("text", "message"), [("1\t{\n", "corpus.tsv:1: not valid JSON"), ("1\t5\n", "must be an obj")]
)
def test_a_broken_corpus_is_named(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "corpus.tsv", text)
    with pytest.raises(InputError, match=message):
        import_toolbench(tmp_path)
