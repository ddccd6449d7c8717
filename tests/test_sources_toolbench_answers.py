"""ToolBench's answer trees: the path that won, and names that lead to exactly one tool."""

import re
from pathlib import Path
from typing import Any

import pytest
from test_sources_toolbench import count
from toolbench_files import asked, finish, listed, node, toolbench, tree, turn

from toolgen.agent.trajectory import Step
from toolgen.errors import InputError
from toolgen.sources.toolbench_folder import Imported, import_toolbench

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
    assert found.steps == (Step("Sky&&Forecast", {"city": "Rome"}, "rain", "Sky."), Step("Goals&&Live", {}, "3:1"))
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
        (tree("q", {"node_type": "Thought", "description": 5, "children": [finish()]}), "'description' must be a str"),
        (tree("q", {"node_type": "Thought", "description": "x", "children": ["y"]}), "'children' of a node"),
    ],
)
def test_broken_trees_are_named(tmp_path: Path, broken: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        answers(tmp_path, broken)
    assert "1_DFS.json" in str(caught.value)
