"""ToolGen's files: memorization pairs, retrieval pairs, agents' conversations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sources_toolbench import count
from toolbench_files import api, conversation, tool, toolbench, write

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import Step
from toolgen.errors import InputError
from toolgen.sources.sharegpt import Document, is_document, parse_document
from toolgen.sources.toolbench_folder import Imported, import_toolbench
from toolgen.tools import Tool, ToolCatalog

REQUEST = ("user", "Generate the action.")
SHOWN = ("user", "Please give the input. Here is the documentation: {'name': '<<T&&A>>', 'description': 'x'}")


def memory(tool_name: str, api_name: str, about_tool: str = "None", about_api: str = "None.") -> dict[str, Any]:
    text = f"Tool Name: {tool_name}. Tool Description: {about_tool} Api Name: {api_name} Api Description: {about_api}"
    return conversation(("user", text), ("assistant", f"<<{tool_name}&&{api_name}>>"))


def wanted(text: str, *codes: str) -> list[dict[str, Any]]:
    return [conversation(("user", text), ("assistant", f"<<{code}>>")) for code in codes]


def acted(*messages: tuple[str, str], query: str = "Do it.\nBegin!\n") -> dict[str, Any]:
    return conversation(("system", "You are AutoGPT."), ("user", query), *messages)


def called(code: str, arguments: str = "{}", seen: str = "seen", thought: str = "") -> list[tuple[str, str]]:
    """A turn of three parts and what came back."""
    said = [("assistant", thought), REQUEST] if thought else []
    return [*said, ("assistant", f"<<{code}>>"), SHOWN, ("assistant", arguments), ("function", seen)]


def finished(answer: str | None = "Done.") -> list[tuple[str, str]]:
    end = {"return_type": "give_up_and_restart"} if answer is None else {"return_type": "give_answer"}
    given = end | ({} if answer is None else {"final_answer": answer})
    return [
        ("assistant", "So that is it."),
        REQUEST,
        ("assistant", "<<Finish>>"),
        SHOWN,
        ("assistant", json.dumps(given)),
    ]


def imported(folder: Path, *records: dict[str, Any], known: bool = True) -> Imported:
    write(folder / "agent.json", [memory("T", "A"), memory("T", "B"), *records] if known else list(records))
    return import_toolbench(folder)


def test_memorization_pairs_become_tools(tmp_path: Path) -> None:
    first = memory("QRCheck", "quality_v1", "Check the quality of any QRCode", "Checks it. At once.")
    done = imported(tmp_path, first, memory("QRCheck", "Bare"), first, known=False)
    assert done.catalog["QRCheck&&quality_v1"] == Tool(
        id="QRCheck&&quality_v1",
        name="quality_v1",
        description="Checks it. At once\nCheck the quality of any QRCode",
        group="QRCheck",
        source="toolbench",
        metadata={"tool_description": "Check the quality of any QRCode", "function": "quality_v1_for_qrcheck"},
    )
    assert done.catalog["QRCheck&&Bare"].description == ""
    assert count(done, "merged", "memorization pairs") == 1


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        (
            "Tool Name: A. B: C. Tool Description: Says: x. Api Name: y. Api Name: D.e Api Description: F: g. H..",
            "A. B: C&&D.e",
            Document("A. B: C", "Says: x. Api Name: y.", "D.e", "F: g. H."),
        ),
        (
            "Tool Name: A&&B. Tool Description: x Api Name: C Api Description: y.",
            "A&&B&&C",
            Document("A&&B", "x", "C", "y"),
        ),
        (
            "Tool Name: Café. Tool Description: x Api Name: É Api Description: y.",
            "Cafe&&E",
            Document("Café", "x", "É", "y"),
        ),
        ("Tool Name: Café. Tool Description: x Api Name: é Api Name: É Api Description: y.", "Cafe&&E", None),
        ("Tool Name: Café. Tool Description: x Api Description: y.", "Cafe&&E", None),
        ("Which tool name is good?", "Cafe&&E", None),
    ],
)
def test_documents_are_taken_apart(text: str, code: str, expected: Document | None) -> None:
    assert parse_document(text, code) == expected
    assert is_document(text) or expected is None


TEXT = st.text("ab.: &", max_size=8) | st.sampled_from(["Tool Name: x.", " Api Name: ", "Tool Description", "&&"])
NAME = st.text("ab.: &", min_size=1, max_size=6)


@given(NAME, TEXT, NAME, TEXT)
def test_a_document_gives_back_what_it_was_made_of(tool: str, about_tool: str, api: str, about_api: str) -> None:
    text = f"Tool Name: {tool}. Tool Description: {about_tool} Api Name: {api} Api Description: {about_api}."
    found = parse_document(text, f"{tool}&&{api}")
    assert found is not None
    assert f"{found.tool}&&{found.api}" == f"{tool}&&{api}"
    if "&" not in tool + api and "Api Name: " not in about_tool:
        assert found == Document(tool, about_tool, api, about_api)


def test_pairs_whose_parts_cannot_be_told_apart_are_left_out(tmp_path: Path) -> None:
    mixed = "Tool Name: Ü. Tool Description: x Api Name: é Api Name: É Api Description: y."
    done = imported(tmp_path, conversation(("user", mixed), ("assistant", "<<U&&E>>")))
    assert len(done.catalog) == 2 and count(done, "dropped", "told apart") == 1


def test_rows_of_one_query_are_one_query(tmp_path: Path) -> None:
    rows = [*wanted("Both?", "T&&A", "T&&B"), *wanted("One?", "T&&B"), *wanted(" Both?", "T&&A")]
    write(tmp_path / "memorization.json", [memory("T", "A"), memory("T", "B")])
    # JSON lines, and before the file that describes the tools.
    write(tmp_path / "a_retrieval.jsonl", "\n".join(map(json.dumps, rows)))
    done = import_toolbench(tmp_path)
    assert [(query.id, query.text, query.tools, query.metadata) for query in done.queries] == [
        ("a_retrieval.1", "Both?", ("T&&A", "T&&B"), {"type": "a_retrieval"}),
        ("a_retrieval.3", "One?", ("T&&B",), {"type": "a_retrieval"}),
    ]
    assert count(done, "merged", "came before") == 2


def test_a_query_with_an_unknown_code_is_left_out(tmp_path: Path) -> None:
    done = imported(tmp_path, *wanted("Half?", "T&&A", "T&&C"), *wanted("Whole?", "T&&A"))
    assert [query.text for query in done.queries] == ["Whole?"]
    assert ["agent.3: T&&C"] in done.remarks.examples.values()


def test_codes_alone_describe_no_tool(tmp_path: Path) -> None:
    write(tmp_path / "retrieval.json", wanted("One?", "T&&A"))
    with pytest.raises(InputError, match="no tool is described"):
        import_toolbench(tmp_path / "retrieval.json")
    known = ToolCatalog([Tool("T&&A", "A")])
    assert import_toolbench(tmp_path / "retrieval.json", known).queries[0].tools == ("T&&A",)


def test_tool_files_come_first_and_codes_in_other_letters_mean_their_tools(tmp_path: Path) -> None:
    text = "Tool Name: Café. Tool Description: General. Api Name: A Api Description: Own.."
    pair = conversation(("user", text), ("assistant", "<<Cafe&&A>>"))
    cafe = tool("Café", api("A", "Own.", method=None), description="General.")
    agent = acted(*called("Cafe&&A"), *finished())
    done = import_toolbench(
        toolbench(
            tmp_path,
            {
                "toolenv/tools/Food/cafe.json": cafe | {"api_list": [{"name": "A", "description": "Own."}]},
                "toolgen.json": [pair, *wanted("Coffee?", "Cafe&&A"), agent, memory("Sky", "Forecast", "x", "y.")],
            },
        )
    )
    assert done.queries[0].tools == ("Café&&A",) and done.trajectories[0].steps[0].tool == "Café&&A"
    assert len(done.catalog) == 5
    assert done.catalog["Sky&&Forecast"].description.startswith("Tells the weather")


def test_an_agents_turns(tmp_path: Path) -> None:
    turns = [
        *called("T&&A", '{"p": [1]}', '{"error": "", "response": "x"}', "First A."),
        *called("T&&B", " "),
        *finished('"Yes", it is.'),
    ]
    (found,) = imported(tmp_path, acted(*turns)).trajectories
    assert found.query == "Do it." and found.id == "agent.3" and found.metadata == {"type": "agent"}
    assert found.steps == (
        Step("T&&A", {"p": [1]}, '{"error": "", "response": "x"}', "First A.", Status.OK),
        Step("T&&B", {}, "seen", ""),
    )
    assert (found.ended, found.answer, found.last_thought, found.won) == (
        "answer",
        '"Yes", it is.',
        "So that is it.",
        None,
    )


def test_ends_other_than_an_answer(tmp_path: Path) -> None:
    up = acted(*called("T&&A"), *finished(None), query="Up?")
    open_end = acted(*called("T&&A")[:-1], query="Open?")
    gave_up, unfinished = imported(tmp_path, up, open_end).trajectories
    assert (gave_up.ended, gave_up.answer) == ("give_up", None)
    assert (unfinished.ended, unfinished.steps) == ("unfinished", (Step("T&&A", {}),))


def test_observations_may_come_from_the_user_and_documents_from_anyone(tmp_path: Path) -> None:
    turn = [("assistant", "<<T&&A>>"), ("assistant", SHOWN[1]), ("assistant", "{}"), ("user", "seen")]
    (found,) = imported(tmp_path, acted(*turn, ("user", "Please generate the action."), *finished()[2:])).trajectories
    assert found.steps == (Step("T&&A", {}, "seen"),) and found.ended == "answer"


def test_a_trajectory_told_step_by_step_is_one(tmp_path: Path) -> None:
    first, second = called("T&&A", thought="First."), called("T&&B", thought="Then.")
    parts = [first[:-1], [*first, *second[:-1]], [*first, *second, *finished()], [*first, *second, *finished()]]
    branch = [*first[:-1], ("function", "something else"), *finished()]
    other = acted(*first[:-1], query="Other.\nBegin!")
    for records in (parts, parts[::-1]):
        done = imported(tmp_path, *(acted(*part) for part in records), acted(*branch), other)
        assert [(len(one.steps), one.query, one.ended) for one in done.trajectories] == [
            (2, "Do it.", "answer"),
            (1, "Do it.", "answer"),
            (1, "Other.", "unfinished"),
        ]
        assert count(done, "merged", "begin or repeat") == 3


def test_trajectories_that_begin_in_another_way_stay_apart(tmp_path: Path) -> None:
    whole = [*called("T&&A"), *called("T&&B"), *finished()]
    others = ([*called("T&&B")], [*called("T&&A", seen="else")], [*called("T&&A", thought="Else.")[:-1]])
    done = imported(tmp_path, acted(*whole), *(acted(*other) for other in others))
    assert [len(one.steps) for one in done.trajectories] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        (called("T&&A", "city=Rome"), "no JSON object"),
        (called("T&&A", "[1]"), "no JSON object"),
        (called("T&&C"), "no file describes"),
        ([*called("T&&A"), ("function", "again")], "neither a pair"),
        ([SHOWN, *called("T&&A")], "neither a pair"),
        ([("assistant", "<<T&&A>>"), ("function", "seen")], "neither a pair"),
        ([("assistant", "Thinking."), REQUEST, ("assistant", "<<T&&A>>")], "neither a pair"),
        ([("assistant", "Hello."), ("user", "Hello.")], "neither a pair"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path, turns: list[Any], text: str) -> None:
    done = imported(tmp_path, acted(*turns), acted(*called("T&&A"), query="Kept."))
    assert [one.query for one in done.trajectories] == ["Kept."]
    assert count(done, "dropped", text) == 1


def test_other_conversations_are_passed_over(tmp_path: Path) -> None:
    toolllama = {"id": "1", "conversations": [{"from": "user", "value": "Hello."}]}
    write(tmp_path / "toolllama.json", [toolllama])
    done = imported(tmp_path)
    assert count(done, "noted", "passed over") == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"conversations": "text"}, "record 3: 'conversations', a list, is wanted"),
        ({"other": 1}, "record 3: 'conversations', a list, is wanted; found keys other"),
        ({"conversations": [{"role": "user"}]}, "record 3: a message needs the strings"),
        ({"conversations": [{"role": "user", "content": None}]}, "'role' and 'content'"),
        ({"conversations": ["text"]}, "record 3: a message needs the strings"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        imported(tmp_path, record)
    assert "agent.json" in str(caught.value)
