"""ToolBench's answer trees: the path that won, other branches, names that lead to exactly one tool, how calls went."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli import refused, run
from test_sources_toolbench import ROOT, count
from toolbench_files import asked, finish, listed, node, toolbench, tree, turn

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import Step, count_trajectories, read_trajectories
from toolgen.errors import InputError
from toolgen.sources.episodes import call_status
from toolgen.sources.toolbench_answers import UNKNOWN_FUNCTION
from toolgen.sources.toolbench_folder import Imported, import_toolbench
from toolgen.tools import ToolCatalog

ANSWER = "answer/G1_answer/1_DFS.json"


def answers(folder: Path, *files: Any, **more: Any) -> Imported:
    trees = {f"answer/G1_answer/{number}_DFS.json": value for number, value in enumerate(files, start=1)}
    return import_toolbench(toolbench(folder, trees | more))


def forecast(*children: Any, **more: Any) -> Any:
    return turn("forecast_for_sky", {"city": "Rome"}, *children, **more)


def test_the_winning_path_is_the_trajectory(tmp_path: Path) -> None:
    lost = turn("live_for_goals", {}, finish(None), thought="Goals first.")
    won = forecast(turn("live_for_goals", "", finish("Rain.", "I know."), seen="3:1"), thought="Sky.", seen="rain")
    done = answers(tmp_path, tree(" Weather? ", lost, won))
    (found,) = done.trajectories
    assert found.id == "G1_answer.1_DFS" and found.query == "Weather?"
    assert found.steps == (
        Step("Sky&&Forecast", {"city": "Rome"}, "rain", "Sky.", Status.OK),
        Step("Goals&&Live", {}, "3:1", status=Status.OK),
    )
    assert (found.ended, found.answer, found.last_thought, found.won) == ("answer", "Rain.", "I know.", True)
    assert found.metadata == {"type": "G1_answer", "queries": []}


def test_the_first_answer_in_the_order_of_the_search_is_taken(tmp_path: Path) -> None:
    done = answers(tmp_path, tree("q", forecast(finish("First.")), forecast(finish("Second."))))
    assert done.trajectories[0].answer == "First."


def test_trees_without_a_path_that_won(tmp_path: Path) -> None:
    pruned = finish("Pruned.")
    pruned["children"][0]["pruned"] = True
    done = answers(
        tmp_path,
        tree("q", forecast(finish(None)), win=False),
        tree("q", forecast(finish("Not judged right.")), win=False),
        tree("q", forecast(pruned)),
        tree("q", finish("At once.")),
    )
    assert [(found.steps, found.answer) for found in done.trajectories] == [((), "At once.")]
    assert count(done, "dropped", "without a path") == 3


def test_a_thought_alone_belongs_to_what_comes_next(tmp_path: Path) -> None:
    done = answers(tmp_path, tree("q", node("Thought", "One.", forecast(finish(), thought="Two."))))
    assert done.trajectories[0].steps[0].thought == "One.\nTwo."


def test_a_shared_name_is_looked_up_among_the_tools_of_the_query(tmp_path: Path) -> None:
    # Sky's and Sky!'s ID are both exposed as is_id_for_sky.
    call = tree("Which ID?", turn("is_id_for_sky", {}, finish()))
    unknown = answers(tmp_path, call)
    assert not unknown.trajectories and count(unknown, "dropped", "several tools") == 1
    records = [asked(1, "Which  ID?", [listed("Sky!", "ID"), listed("Goals", "Live")], [("Sky!", "ID")])]
    done = answers(tmp_path, call, **{"instruction/G1_query.json": records})
    assert done.trajectories[0].steps[0].tool == "Sky!&&ID"
    assert done.trajectories[0].metadata["queries"] == ["G1_query.1"]


@pytest.mark.parametrize("function", ["for_sky", "sky", "Forecast", "xforecast_for_sky", "is_id_for_sky_2", ""])
def test_names_that_no_tool_has_keep_a_trajectory_out(tmp_path: Path, function: str) -> None:
    done = answers(tmp_path, tree("q", turn(function, {}, finish())), tree("q", forecast(finish())))
    assert [found.id for found in done.trajectories] == ["G1_answer.2_DFS"]
    assert count(done, "dropped", "no tool of theirs") == 1


def test_a_tool_that_the_query_does_not_list_keeps_a_trajectory_out(tmp_path: Path) -> None:
    records = [asked(1, "q", [listed("Goals", "Live")], [("Goals", "Live")])]
    done = answers(tmp_path, tree("q", forecast(finish())), **{"G1_query.json": records})
    assert not done.trajectories and count(done, "dropped", "no tool of theirs") == 1


@pytest.mark.parametrize("arguments", ["city=Rome", "[1]", '{"city": '])
def test_arguments_that_are_no_object_keep_a_trajectory_out(tmp_path: Path, arguments: str) -> None:
    done = answers(tmp_path, tree("q", turn("forecast_for_sky", arguments, finish())))
    assert not done.trajectories and count(done, "dropped", "no JSON object") == 1


def test_answers_of_a_chain_have_no_tree(tmp_path: Path) -> None:
    done = answers(tmp_path, {"win": True, "trys": [], "answer_generation": {"query": "q"}})
    assert not done.trajectories and count(done, "dropped", "without a tree") == 1


def test_folders_of_several_models_have_ids_of_their_own(tmp_path: Path) -> None:
    same = tree("q", forecast(finish()))
    files = {f"answer/{model}/G1_instruction/1_DFS.json": same for model in ("one", "two")}
    done = import_toolbench(toolbench(tmp_path, files))
    assert [found.id for found in done.trajectories] == ["one.G1_instruction.1_DFS", "two.G1_instruction.1_DFS"]


def test_trees_are_not_read_when_nobody_asks(tmp_path: Path) -> None:
    done = import_toolbench(toolbench(tmp_path, {ANSWER: "{broken"}), trajectories=False)
    assert not done.trajectories and count(done, "noted", "not read") == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{broken", "not valid JSON"),
        ([], "no answer file"),
        ({"win": True}, "no answer file"),
        (tree("q", node("Action Input", "{}", observation="x", code=3)), "a node of type 'Action Input' stands where"),
        (tree("q", node("Guess", "x", finish())), "a node of type 'Guess' stands where"),
        (tree("q", turn("f", "{}", finish(), code=[0])), "'observation_code' must be a number"),
        (tree("q", {"node_type": "Thought", "description": 5, "children": [finish()]}), "'description' must be a str"),
        (tree("q", {"node_type": "Thought", "description": "x", "children": ["y"]}), "'children' of a node"),
    ],
)
def test_broken_trees_are_named(tmp_path: Path, broken: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        answers(tmp_path, broken)
    assert "1_DFS.json" in str(caught.value)


SEEN = '{"error": "", "response": "x"}'


@pytest.mark.parametrize(
    ("observation", "code", "expected"),
    [
        (SEEN, 0, Status.OK),
        ("anything", 0, Status.OK),
        ('{"error": "Function executing from a.b error...\\n5 redirects", "response": ""}', 0, Status.FAILED),
        ('{"error": "No such function name: a", "response": ""}', 1, Status.UNKNOWN_TOOL),
        ("", 2, Status.BAD_ARGUMENTS),
        *((SEEN, code, Status.FAILED) for code in range(5, 13)),
        (SEEN, 3, None),
        (SEEN, 13, None),
        (SEEN, None, Status.OK),
        ('{"error": "", "response": "cut off ...', None, Status.OK),
        ('{"error": "say \\"no\\"", "response": "cut', None, Status.FAILED),
        ('{"error": "No such function name: a", "response": ""}', None, Status.UNKNOWN_TOOL),
        ('{"error": "cut', None, None),
        ('{"response": "x"}', None, None),
        ("seen", None, None),
    ],
)
def test_how_a_call_went(observation: str, code: int | None, expected: Status | None) -> None:
    assert call_status(observation, code) is expected


def test_other_branches_are_told_as_a_whole_and_say_which_they_are(tmp_path: Path) -> None:
    shared = forecast(
        turn("live_for_goals", {}, finish(None), seen="0:0", code=5),
        node("Thought", "No more steps."),
        finish("Rain."),
        finish("Sun."),
        seen="rain",
    )
    folder = toolbench(tmp_path, {ANSWER: tree("q", shared)})
    done = import_toolbench(folder, branches=True)
    first = Step("Sky&&Forecast", {"city": "Rome"}, "rain", status=Status.OK)
    gave_up, stopped, won, later = done.trajectories
    assert [one.id for one in done.trajectories] == [
        "G1_answer.1_DFS.branch-1",
        "G1_answer.1_DFS.branch-2",
        "G1_answer.1_DFS",
        "G1_answer.1_DFS.branch-4",
    ]
    assert gave_up.steps == (first, Step("Goals&&Live", {}, "0:0", status=Status.FAILED))
    assert (gave_up.ended, gave_up.won, gave_up.metadata["branch"]) == ("give_up", False, 1)
    assert (stopped.steps, stopped.ended, stopped.last_thought) == ((first,), "unfinished", "No more steps.")
    assert (won.answer, won.won, "branch" in won.metadata) == ("Rain.", True, False)
    # ToolBench says of a tree that it was won, not which of its answers is right.
    assert (later.answer, later.won) == ("Sun.", None)
    assert import_toolbench(folder).trajectories == [won]


def test_lost_trees_have_branches_only(tmp_path: Path) -> None:
    folder = toolbench(tmp_path, {ANSWER: tree("q", finish("Judged wrong."), finish(None), win=False)})
    done = import_toolbench(folder, branches=True)
    assert [(one.ended, one.won) for one in done.trajectories] == [("answer", False), ("give_up", False)]
    assert count(done, "noted", "branches are taken") == 1 and not count(done, "dropped", "without a path")
    nothing = import_toolbench(toolbench(tmp_path, {ANSWER: tree("q", win=False)}), branches=True)
    assert not nothing.trajectories


def test_a_name_that_toolbench_refused_is_kept_as_it_was_written(tmp_path: Path) -> None:
    no_such = '{"error": "No such function name: dream", "response": ""}'
    done = answers(tmp_path, tree("q", turn("dream", {}, forecast(finish()), seen=no_such, code=1)))
    assert done.trajectories[0].calls[0] == Step("dream", {}, no_such, status=Status.UNKNOWN_TOOL)


@pytest.mark.parametrize(
    ("last", "text"),
    [
        (node("Action", "forecast_for_sky"), "without arguments"),
        (turn("Finish", {}, finish(None), code=2), "ended nothing"),
        (turn("Finish", {}, code=2), "ended nothing"),
        (turn("live_for_goals", "broken"), "no JSON object"),
        (turn("xlive_for_goals", {}), "no tool of theirs"),
    ],
)
def test_branches_that_cannot_be_told_are_left_out_by_id(tmp_path: Path, last: Any, text: str) -> None:
    trees = {f"answer/G1_answer/{number}_DFS.json": tree("q", forecast(last), win=False) for number in range(5)}
    done = import_toolbench(toolbench(tmp_path, trees), branches=True)
    assert not done.trajectories and count(done, "dropped", text) == 5
    (named,) = [names for remark, names in done.remarks.examples.items() if text in remark.text]
    assert [name.partition(":")[0] for name in named] == [f"G1_answer.{number}_DFS.branch-1" for number in range(5)]


def test_branches_from_the_command_line(tmp_path: Path) -> None:
    folder = toolbench(tmp_path / "data", {ANSWER: tree("q", forecast(finish(None)), forecast(finish()))})
    tools, steps = tmp_path / "tools.jsonl", tmp_path / "steps.jsonl"
    printed = run("import", "toolbench", folder, "--out", tools, "--trajectories", steps, "--branches")
    assert "2 trajectories (answer 1, give_up 1; won 1, lost 1)" in printed
    assert [one.won for one in read_trajectories(steps, ToolCatalog.from_jsonl(tools))] == [False, True]
    assert "--trajectories" in refused("import", "toolbench", folder, "--out", tools, "--branches")


def nodes(of: Any) -> Iterator[Any]:
    yield of
    for child in of["children"]:
        yield from nodes(child)


def test_the_real_trees_without_loss() -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", ROOT.parent / "shared" / "data")) / "toolbench"
    data = shared / "original"
    if not data.is_dir():
        pytest.skip(
            "ToolBench's trees are absent; set TOOLGEN_SHARED_DATA to the folder that holds toolbench/original."
        )
    trees = {
        f"{file.parent.name}.{file.stem}": list(nodes(json.loads(file.read_text(encoding="utf-8"))["tree"]["tree"]))
        for file in data.glob("answer/*/*.json")
    }
    leaves = {name: sum(not one["children"] for one in found) for name, found in trees.items()}
    assert len(trees) == 15 and sum(leaves.values()) == 156
    done = import_toolbench(data, ToolCatalog.from_jsonl(shared / "tools.jsonl.gz"), branches=True)
    # The samples lack most tools that the trees call, so the whole catalogue is given. What cannot be told is left out,
    # branch by branch and by name: here one tree, of a single branch.
    left_out = [name.partition(": ")[0] for name in done.remarks.examples[UNKNOWN_FUNCTION]]
    assert left_out == ["G3_answer.21_ChatGPT_DFS_woFilter_w2"] and leaves[left_out[0]] == 1
    told = {one.id for one in done.trajectories}
    for name, branches in leaves.items():
        others = {one for one in told if one.startswith(f"{name}.branch-")}
        assert len(others) == branches - (name in told or name in left_out)
    counts = count_trajectories(done.trajectories)
    assert (counts.trajectories, counts.won, counts.lost) == (155, 8, 147)
    assert counts.endings == {"answer": 8, "give_up": 19, "unfinished": 128}
    assert counts.statuses == {"failed": 194, "ok": 493, "unknown tool": 24}
    assert (counts.calls, counts.observations, counts.tools) == (711, 711, 31)
    # Every call of a tree, its observation and every thought are in some branch.
    for name in set(trees) - set(left_out):
        branches_of = [one for one in done.trajectories if one.id == name or one.id.startswith(f"{name}.branch-")]
        calls = [one for one in trees[name] if one.get("observation_code") not in (None, 3, 4)]
        steps = [step for one in branches_of for step in one.calls]
        assert {one["observation"] for one in calls} == {step.observation for step in steps}
        said = "\n".join([step.thought for step in steps] + [one.last_thought for one in branches_of])
        assert all(one["description"].strip() in said for one in trees[name] if one["node_type"] == "Thought")
