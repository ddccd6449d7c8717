"""API-Bank: dialogues as trajectories, from which every turn can be built again."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import refused, run
from test_tools import JSON, NAMED, OBJECT, TEXT
from toolbench_files import write

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import (
    Message,
    Step,
    Trajectory,
    count_trajectories,
    read_trajectories,
    write_trajectories,
)
from toolgen.errors import InputError
from toolgen.sources.apibank import CALLED_TOOL, EMPTY_DIALOGUE, import_apibank
from toolgen.sources.set_folder import ImportedSet
from toolgen.tools import Tool, ToolCatalog

Json = dict[str, Any]
ALARM = {"id": "AddAlarm", "name": "AddAlarm", "description": "Sets an alarm.", "category": "Time"}


def user(text: str) -> Json:
    return {"role": "User", "text": text}


def assistant(text: str) -> Json:
    return {"role": "AI", "text": text}


def called(tool: str, arguments: Json, output: Any = "success", exception: Any = None, **more: Any) -> Json:
    result = {"api_name": tool, "input": arguments, "output": output, "exception": exception} | more
    return {"role": "API", "api_name": tool, "param_dict": arguments, "result": result}


def imported(folder: Path, *dialogues: Any, known: ToolCatalog | None = None) -> ImportedSet:
    """Lists of turns, or whole records."""
    records = [
        {"id": f"d{number}", "level": "one", "turns": dialogue} if isinstance(dialogue, list) else dialogue
        for number, dialogue in enumerate(dialogues, start=1)
    ]
    write(folder / "dialogues.jsonl", "\n".join(map(json.dumps, records)))
    write(folder / "tools.jsonl", json.dumps(ALARM))
    return import_apibank(folder, known)


def turns_of(trajectory: Trajectory) -> list[Json]:
    """The dialogue that a trajectory was made of."""
    turns = [user(trajectory.query)]
    rests = iter(trajectory.metadata.get("results", ()))
    for step in trajectory.steps:
        if isinstance(step, Message):
            turns.append(user(step.text) if step.role == "user" else assistant(step.text))
            continue
        if step.thought:
            turns.append(assistant(step.thought))
        rest = next(rests)
        result = rest if "output" in rest else rest | {"output": json.loads(step.observation or "")}
        turns.append({"role": "API", "api_name": step.tool, "param_dict": step.arguments, "result": result})
    if trajectory.answer is not None:
        turns.append(assistant(trajectory.answer))
    return turns


def test_a_dialogue_is_one_trajectory(tmp_path: Path) -> None:
    turns = [
        user("Wake me."),
        assistant("When?"),
        user("At six."),
        called("AddAlarm", {"time": "5"}, output=["é", 1]),
        assistant("Again."),
        called("AddAlarm", {"time": "6"}, output=None, exception="Too early."),
        assistant(" Done. "),
    ]
    done = imported(tmp_path, turns)
    (found,) = done.trajectories
    assert found == Trajectory(
        id="d1",
        query="Wake me.",
        steps=(
            Message("assistant", "When?"),
            Message("user", "At six."),
            Step("AddAlarm", {"time": "5"}, '["é", 1]', "", Status.OK),
            Step("AddAlarm", {"time": "6"}, '"Too early."', "Again.", Status.FAILED),
        ),
        ended="answer",
        answer=" Done. ",
        metadata={
            "level": "one",
            "results": [
                {"api_name": "AddAlarm", "input": {"time": "5"}, "exception": None},
                {"api_name": "AddAlarm", "input": {"time": "6"}, "output": None, "exception": "Too early."},
            ],
        },
    )
    assert turns_of(found) == turns
    assert done.catalog.ids == ("AddAlarm",) and done.catalog["AddAlarm"].source == "apibank" and done.new_tools == 1


def test_the_users_last_word_is_no_answer(tmp_path: Path) -> None:
    thanks, alone = imported(tmp_path, [user("Hi."), assistant("Hello."), user("Thanks.")], [user("Hi.")]).trajectories
    assert (thanks.ended, thanks.answer) == ("unfinished", None) and thanks.steps[-1] == Message("user", "Thanks.")
    assert alone.steps == () and alone.metadata == {"level": "one"}


TURN = st.one_of(
    st.builds(user, TEXT),
    st.builds(assistant, TEXT),
    st.builds(called, NAMED, OBJECT, JSON, st.none() | TEXT),
    st.builds(called, NAMED, OBJECT, JSON, input=JSON),
)
DIALOGUE = st.lists(TURN, max_size=6).map(lambda turns: [user("First."), *turns])


# Strangers' files are read without infinite numbers, which JSON lacks: their names stand in their place.
@given(st.lists(DIALOGUE, min_size=1, max_size=3).filter(lambda found: "Infinity" not in json.dumps(found)))
def test_every_turn_can_be_built_again(tmp_path_factory: pytest.TempPathFactory, dialogues: list[list[Json]]) -> None:
    folder = tmp_path_factory.mktemp("apibank")
    done = imported(folder, *dialogues)
    write_trajectories(folder / "steps.jsonl", done.trajectories)
    assert list(map(turns_of, read_trajectories(folder / "steps.jsonl", done.catalog))) == dialogues


def test_tools_that_only_dialogues_name_are_added(tmp_path: Path) -> None:
    done = imported(tmp_path, [user("Hi."), called("ToolSearcher", {}), called("ToolSearcher", {})])
    assert done.catalog["ToolSearcher"] == Tool("ToolSearcher", "ToolSearcher", source="apibank")
    assert done.remarks.counts[CALLED_TOOL] == 1
    known = ToolCatalog([Tool("Other", "Other"), Tool("AddAlarm", "Mine")])
    again = imported(tmp_path, [user("Hi."), called("ToolSearcher", {})], known=known)
    assert again.catalog.ids == ("Other", "AddAlarm", "ToolSearcher") and again.new_tools == 1
    assert again.catalog["AddAlarm"].name == "Mine"


def declared(tmp_path: Path, **told: Any) -> Json | None:
    """The schema of a tool whose parameters are told in text."""
    imported(tmp_path, [user("Hi.")])
    write(tmp_path / "tools.jsonl", json.dumps(ALARM | {"parameters": {"type": "object", "properties": {}}} | told))
    schema = import_apibank(tmp_path).catalog["AddAlarm"].parameters
    return None if schema is None else dict(schema)


def test_parameters_are_read_off_their_text(tmp_path: Path) -> None:
    told = (
        "description = \"Sets it {'a': 1}.\"\ninput_parameters = {\n"
        "    'time': {'type': 'str', 'description': \"When. Format: {%H}\", 'required': True},\n"
        "    'count': {'type': 'int', 'description': 'How often.'},\n"
        "}\noutput_parameters = {\n    'token': {'type': 'str', 'description': 'No parameter.'}\n}"
    )
    text = "(token: str, time: datetime, count: int, rate: float, to: List[str], image: object)"
    properties = {
        "token": {"type": "string"},
        "time": {"type": "string", "x-type": "datetime", "description": "When. Format: {%H}"},
        "count": {"type": "integer", "description": "How often."},
        "rate": {"type": "number"},
        "to": {"type": "array", "items": {"type": "string"}},
        "image": {"x-type": "object"},
    }
    whole = {"type": "object", "properties": properties, "required": ["time"]}
    assert declared(tmp_path, parameters_text=text, api_info=told) == whole
    alone = {"type": "object", "properties": {"a": {"type": "string"}}}
    for told in (".", "input_parameters = {\n    __import__('os')\n}", "input_parameters = {\n    None\n}"):
        assert declared(tmp_path, parameters_text="(a: str)", api_info=told) == alone


def test_parameters_that_are_told_otherwise_are_left(tmp_path: Path) -> None:
    empty: Json = {"type": "object", "properties": {}}
    for text in (None, 5, "", "()", "(a)", "(a: str, b)", "(a: str = 'b')", "takes a: str"):
        assert declared(tmp_path, parameters_text=text) == empty
    own = {"type": "object", "properties": {"b": {"type": "integer"}}}
    assert declared(tmp_path, parameters_text="(a: str)", parameters=own) == own
    known = ToolCatalog([Tool("AddAlarm", "AddAlarm", metadata={"parameters_text": "(a: str)"})])
    assert import_apibank(tmp_path, known).catalog["AddAlarm"].parameters is None


def test_dialogues_without_a_query_are_left_out_by_id(tmp_path: Path) -> None:
    done = imported(tmp_path, [], [assistant("Hello.")], [user("Hi.")])
    assert [one.id for one in done.trajectories] == ["d3"]
    assert {remark.text: names for remark, names in done.remarks.examples.items()} == {
        "dialogues without a turn": ["d1"],
        "dialogues that no user begins": ["d2"],
    }
    with pytest.raises(InputError, match="no dialogue with turns"):
        imported(tmp_path, [])


@pytest.mark.parametrize(
    ("dialogue", "message"),
    [
        ({"id": "1"}, "needs 'id', a string, and 'turns', a list; found id"),
        ({"id": 1, "turns": []}, "needs 'id', a string"),
        ([user("Hi."), "text"], "turn 2 of dialogue 'd1' must be an object"),
        ([user("Hi."), {"role": "System", "text": "x"}], "found {'role': 'System'"),
        ([user("Hi.") | {"mood": "good"}], "turn 1 of dialogue 'd1' must be an object with the keys of its role"),
        ([user("Hi."), assistant(5)], "'text' must be a string, found 5"),  # type: ignore[arg-type]
        ([user("Hi."), called("A", [])], "'param_dict' an object"),  # type: ignore[arg-type]
        ([user("Hi."), called("A", {}) | {"result": {"output": 1}}], "'result' must be an object with 'output'"),
    ],
)
def test_broken_dialogues_are_named(tmp_path: Path, dialogue: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        imported(tmp_path, dialogue)
    assert "dialogues.jsonl, record 1" in str(caught.value)


def test_files_that_are_absent_or_double(tmp_path: Path) -> None:
    one = {"id": "1", "turns": [user("Hi.")]}
    with pytest.raises(InputError, match="duplicate dialogue id '1'"):
        imported(tmp_path, one, one)
    with pytest.raises(InputError, match=r"dialogues.jsonl or dialogues.jsonl.gz is wanted"):
        import_apibank(tmp_path / "nowhere")
    imported(tmp_path, one)
    (tmp_path / "tools.jsonl").unlink()
    with pytest.raises(InputError, match="--tools"):
        import_apibank(tmp_path)
    assert import_apibank(tmp_path, ToolCatalog([Tool("a", "A")])).new_tools == 0


def test_from_the_command_line(tmp_path: Path) -> None:
    imported(tmp_path / "data", [user("Wake me."), called("AddAlarm", {}), assistant("Done.")], [])
    tools, steps = tmp_path / "tools.jsonl.gz", tmp_path / "steps.jsonl.gz"
    printed = run("import", "apibank", tmp_path / "data", "--out", tools, "--trajectories", steps)
    assert "1 trajectories (answer 1; won 0, lost 0), 0 messages, 1 calls (ok 1) of 1 tools, 1 observations" in printed
    assert "dialogues without a turn" in printed
    assert len(read_trajectories(steps, ToolCatalog.from_jsonl(tools))) == 1
    run("import", "apibank", tmp_path / "data", "--out", tmp_path / "again.jsonl", "--tools", tools)
    assert ToolCatalog.from_jsonl(tmp_path / "again.jsonl").ids == ("AddAlarm",)
    assert "dialogues.jsonl" in refused("import", "apibank", tmp_path, "--out", tools)


def test_the_real_dialogues_without_loss() -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    data = shared / "apibank"
    if not data.is_dir():
        pytest.skip("API-Bank is absent; set TOOLGEN_SHARED_DATA to the folder that holds apibank/.")
    with gzip.open(data / "dialogues.jsonl.gz", "rt", encoding="utf-8") as lines:
        dialogues = {record["id"]: record for record in map(json.loads, lines)}
    done = import_apibank(data)
    left_out = done.remarks.examples[EMPTY_DIALOGUE]
    assert (len(dialogues), len(done.trajectories), left_out) == (264, 263, ["SearchEngine-level-1-1"])
    assert [one.id for one in done.trajectories] == [name for name in dialogues if name not in left_out]
    for one in done.trajectories:
        assert turns_of(one) == dialogues[one.id]["turns"] and one.metadata["level"] == dialogues[one.id]["level"]
    assert sum(len(dialogue["turns"]) for dialogue in dialogues.values()) == 2582
    counts = count_trajectories(done.trajectories)
    assert (counts.calls, counts.observations, counts.messages, counts.tools) == (508, 508, 1207, 50)
    assert counts.statuses == {"ok": 508} and counts.endings == {"answer": 258, "unfinished": 5}
    assert done.remarks.examples[CALLED_TOOL] == ["ToolSearcher"] and len(done.catalog) == 101 + 1
    schemas = {name: (tool.parameters or {}).get("properties") for name, tool in done.catalog.items()}
    assert [name for name, schema in schemas.items() if not schema] == ["GetToday", "ReceiveEmail", "ToolSearcher"]
    described = [
        call
        for one in done.trajectories
        for call in one.calls
        if set(call.arguments) <= set(schemas[call.tool] or ())
        and jsonschema.Draft202012Validator(dict(done.catalog[call.tool].parameters or {})).is_valid(call.arguments)
    ]
    assert len(described) == 217
