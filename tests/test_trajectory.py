"""Trajectories and the file under them: round trips, and every message a user can meet."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tools import NAMED, OBJECT, TEXT

from toolgen.agent.trajectory import Ending, Step, Trajectory, read_trajectories, write_trajectories
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

STEP = st.builds(Step, tool=NAMED, arguments=OBJECT, observation=st.none() | TEXT, thought=TEXT)
TRAJECTORY = st.builds(
    Trajectory,
    id=NAMED,
    query=TEXT,
    steps=st.lists(STEP, max_size=3).map(tuple),
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
        ({"steps": [{"tool": "a"}]}, "'steps' of trajectory '1' must be a list"),
        ({"steps": [{"tool": "a", "arguments": {}, "observation": 5}]}, "'steps' of trajectory '1' must be a list"),
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
