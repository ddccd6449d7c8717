"""TRAJECT-Bench: calls without observations, parallel and sequential."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from test_cli import refused, run
from toolbench_files import write

from toolgen.agent.trajectory import Step, Trajectory, count_trajectories, read_trajectories
from toolgen.errors import InputError
from toolgen.sources.set_folder import ImportedSet
from toolgen.sources.traject import NO_CALLS, import_traject
from toolgen.tools import ToolCatalog

Json = dict[str, Any]
CALLS = [{"tool": "b", "arguments": {"x": 1}}, {"tool": "a", "arguments": {}}, {"tool": "b", "arguments": {"x": "2"}}]
QUERY = {"id": "q1", "query": "Do.", "tools": ["b", "a"], "split": "sequential_traj_query", "calls": CALLS}


def imported(folder: Path, *queries: Json) -> ImportedSet:
    write(folder / "queries.jsonl", "\n".join(map(json.dumps, queries)))
    write(folder / "tools.jsonl", "\n".join(json.dumps({"id": name, "name": name}) for name in "abc"))
    return import_traject(folder)


def test_calls_are_steps_without_observation(tmp_path: Path) -> None:
    other = QUERY | {"id": "q2", "split": "parallel_hard_ver", "tools": ["a", "b"], "toolbench_ids": ["A&&a", "B&&b"]}
    first, second = imported(tmp_path, QUERY | {"category": "Travel"}, other).trajectories
    assert first == Trajectory(
        id="q1",
        query="Do.",
        steps=(Step("b", {"x": 1}), Step("a", {}), Step("b", {"x": "2"})),
        ended="unfinished",
        metadata={"category": "Travel", "split": "sequential_traj_query", "order": "sequential"},
    )
    assert second.metadata == {
        "toolbench_ids": ["A&&a", "B&&b"],
        "tools": ["a", "b"],
        "split": "parallel_hard_ver",
        "order": "parallel",
    }


def test_queries_without_calls_are_left_out_by_id(tmp_path: Path) -> None:
    done = imported(tmp_path, QUERY, QUERY | {"id": "q2", "calls": []})
    assert [one.id for one in done.trajectories] == ["q1"] and done.remarks.examples[NO_CALLS] == ["q2"]
    with pytest.raises(InputError, match="no query has 'calls'"):
        imported(tmp_path, QUERY | {"calls": []})


@pytest.mark.parametrize("split", ["hard", "", None])
def test_the_order_must_be_known(tmp_path: Path, split: str | None) -> None:
    with pytest.raises(InputError, match="query 'q1' must begin with parallel or sequential, found"):
        imported(tmp_path, QUERY | {"split": split})


def test_from_the_command_line(tmp_path: Path) -> None:
    imported(tmp_path / "data", QUERY)
    tools, steps = tmp_path / "tools.jsonl", tmp_path / "steps.jsonl"
    printed = run("import", "traject", tmp_path / "data", "--out", tools, "--trajectories", steps)
    assert "1 trajectories (unfinished 1; won 0, lost 0), 0 messages, 3 calls (not said 3) of 2 tools" in printed
    assert len(read_trajectories(steps, ToolCatalog.from_jsonl(tools))) == 1
    (tmp_path / "data" / "tools.jsonl").unlink()
    run("import", "traject", tmp_path / "data", "--out", tools, "--tools", tools)
    assert "--tools" in refused("import", "traject", tmp_path / "data", "--out", tools)
    assert "queries.jsonl" in refused("import", "traject", tmp_path, "--out", tools)


def test_the_real_queries_without_loss() -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    data = shared / "traject"
    if not data.is_dir():
        pytest.skip("TRAJECT-Bench is absent; set TOOLGEN_SHARED_DATA to the folder that holds traject/.")
    with gzip.open(data / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    done = import_traject(data)
    assert not done.remarks.counts and len(done.catalog) == 422
    assert [_record(one) for one in done.trajectories] == records
    counts = count_trajectories(done.trajectories)
    assert (counts.trajectories, counts.calls, counts.tools, counts.observations) == (3305, 21439, 405, 0)
    assert counts.statuses == {"not said": 21439} and counts.endings == {"unfinished": 3305}
    orders = [one.metadata["order"] for one in done.trajectories]
    assert (orders.count("parallel"), orders.count("sequential")) == (2400, 905)


def _record(trajectory: Trajectory) -> Json:
    """The query that a trajectory was made of."""
    calls = [{"tool": call.tool, "arguments": call.arguments} for call in trajectory.calls]
    tools = list(dict.fromkeys(call.tool for call in trajectory.calls))
    more = {key: value for key, value in trajectory.metadata.items() if key != "order"}
    return {"id": trajectory.id, "query": trajectory.query, "tools": tools, "calls": calls, **more}
