"""Trajectories and the file under them: round trips, and every message a user can meet."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tools import NAMED, OBJECT, TEXT

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import (
    Ending,
    Message,
    Role,
    Step,
    Trajectory,
    count_trajectories,
    read_trajectories,
    write_trajectories,
)
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

STEP = st.builds(
    Step,
    tool=NAMED,
    arguments=OBJECT,
    observation=st.none() | TEXT,
    thought=TEXT,
    status=st.none() | st.sampled_from(Status),
)
MESSAGE = st.builds(Message, role=st.sampled_from(get_args(Role)), text=TEXT)
TRAJECTORY = st.builds(
    Trajectory,
    id=NAMED,
    query=TEXT,
    steps=st.lists(STEP | MESSAGE, max_size=4).map(tuple),
    ended=st.sampled_from(get_args(Ending)),
    answer=st.none() | TEXT,
    last_thought=TEXT,
    won=st.none() | st.booleans(),
    metadata=OBJECT,
)
RECORD = {"id": "1", "query": "q", "ended": "answer", "steps": [{"tool": "a", "arguments": {}}]}


@given(
    st.lists(TRAJECTORY, min_size=1, max_size=4, unique_by=lambda one: one.id), st.sampled_from([".jsonl", ".jsonl.gz"])
)
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, trajectories: list[Trajectory], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("trajectories") / f"x{suffix}"
    write_trajectories(path, trajectories)
    assert read_trajectories(path) == trajectories


def lines(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_other_keys_are_kept_as_metadata(tmp_path: Path) -> None:
    (found,) = read_trajectories(lines(tmp_path, RECORD | {"turns": 3, "metadata": {"a": 1}}))
    assert found.metadata == {"a": 1, "turns": 3} and found.won is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 1}, "needs the strings 'id' and 'query'"),
        ({"query": None}, "needs the strings 'id' and 'query'"),
        ({"ended": "well"}, "must be one of answer, give_up, unfinished, found 'well'"),
        ({"answer": 1}, "'answer' of trajectory '1' is of the wrong type: 1"),
        ({"won": "yes"}, "'won' of trajectory '1' is of the wrong type"),
        ({"metadata": []}, "'metadata' of trajectory '1' is of the wrong type"),
        ({"steps": None}, "'steps' of trajectory '1' must be a list"),
        ({"steps": [{"tool": "a"}]}, "step 1 of trajectory '1' must be an object with 'tool'"),
        ({"steps": [{"tool": "a", "arguments": {}, "observation": 5}]}, "step 1 of trajectory '1' must be"),
        ({"steps": [{"tool": "a", "arguments": {}, "status": 5}]}, "step 1 of trajectory '1' must be"),
        (
            {"steps": [{"role": "user", "text": ""}, {"tool": "a", "arguments": {}, "status": "fine"}]},
            "step 2 of trajectory '1' has the unknown 'status' 'fine'. It must be one of ok, unknown tool, bad arg",
        ),
        ({"steps": [{"role": "system", "text": "x"}]}, "'role' .user or assistant. and 'text', a string"),
        ({"steps": [{"role": "user"}]}, "step 1 of trajectory '1' must be"),
        ({"steps": ["a"]}, "step 1 of trajectory '1' must be"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_trajectories(lines(tmp_path, RECORD | change))
    assert "x.jsonl:1" in str(caught.value)


def test_ids_are_distinct_and_tools_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="duplicate trajectory id '1', first given at .*x.jsonl:1"):
        read_trajectories(lines(tmp_path, RECORD, RECORD))
    path = lines(tmp_path, RECORD)
    assert len(read_trajectories(path, ToolCatalog([Tool("a", "A")]))) == 1
    with pytest.raises(InputError, match="calls the unknown tool 'a'"):
        read_trajectories(path, ToolCatalog([Tool("b", "B")]))
    with pytest.raises(InputError, match="no trajectory"):
        read_trajectories(lines(tmp_path))


def test_files_from_before_there_were_statuses_and_messages_read_and_write_alike(tmp_path: Path) -> None:
    step = {"tool": "a", "arguments": {}, "observation": "x", "thought": "y"}
    (found,) = read_trajectories(lines(tmp_path, RECORD | {"steps": [step]}))
    assert found.steps == (Step("a", {}, "x", "y"),) and found.to_record() == RECORD | {"steps": [step]}


def test_a_name_that_no_tool_has_is_no_unknown_tool_where_the_status_says_so(tmp_path: Path) -> None:
    refused = {"tool": "nobody", "arguments": {}, "observation": "no such tool", "status": "unknown tool"}
    path = lines(tmp_path, RECORD | {"steps": [refused, {"tool": "a", "arguments": {}}]})
    (found,) = read_trajectories(path, ToolCatalog([Tool("a", "A")]))
    assert [call.status for call in found.calls] == [Status.UNKNOWN_TOOL, None]


def test_what_trajectories_hold_is_counted() -> None:
    steps = (
        Step("a", {}, "x", status=Status.OK),
        Message("assistant", "Which?"),
        Message("user", "That."),
        Step("b", {}, "y", status=Status.FAILED),
        Step("nobody", {}, "z", status=Status.UNKNOWN_TOOL),
        Step("a", {}),
    )
    won = Trajectory("1", "q", steps, "answer", won=True)
    assert won.calls == (steps[0], *steps[3:])
    counts = count_trajectories([won, Trajectory("2", "q", (), "give_up", won=False)])
    assert counts.statuses == {"failed": 1, "not said": 1, "ok": 1, "unknown tool": 1}
    assert str(counts) == (
        "2 trajectories (answer 1, give_up 1; won 1, lost 1), 2 messages, "
        "4 calls (failed 1, not said 1, ok 1, unknown tool 1) of 2 tools, 3 observations"
    )
    assert "0 calls (none)" in str(count_trajectories([]))
