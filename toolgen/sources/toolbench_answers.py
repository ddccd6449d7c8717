"""ToolBench's answer files: of each tree of a depth-first search, the path that won, as a trajectory. Knows how trees
are written, but no folders.

A node is a thought, an action (a function name) or an action's input with its observation; a turn is up to three nodes,
each the child of the one before. Function names are those that ToolBench exposed when it searched. They are looked up
among the tools that the query lists, where the query is known, else among all; a name that leads to none or to several
tools keeps the trajectory out. ToolBench itself called whatever API its model's text ended on, so that some of its
winning paths called tools that were never named.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from toolgen.agent.trajectory import Trajectory
from toolgen.errors import InputError
from toolgen.queries import Query
from toolgen.sources.episodes import FINISH, BrokenCallError, Episode
from toolgen.sources.function_names import ExposedNames
from toolgen.sources.remarks import Remark, Remarks
from toolgen.tools import Tool

NO_TREE = Remark("dropped", "answer files without a tree")
LOST = Remark("dropped", "trees without a path that won")
UNKNOWN_FUNCTION = Remark("dropped", "trajectories with a function name that no tool of theirs has")
SHARED_FUNCTION = Remark("dropped", "trajectories with a function name that several tools have")
BROKEN_CALL = Remark("dropped", "trajectories with arguments that are no JSON object")

_ANSWERED = 3
"""``observation_code`` of a ``Finish`` that gave an answer."""


class Answers:
    """Reads answer files, with the tools and queries that they are about."""

    def __init__(self, tools: Mapping[str, Tool], queries: Iterable[Query], remarks: Remarks) -> None:
        self._names = ExposedNames(tools)
        self._remarks = remarks
        self._asked: defaultdict[str, list[Query]] = defaultdict(list)
        for query in queries:
            if "candidates" in query.metadata:
                self._asked[_key(query.text)].append(query)

    def read(self, value: Any, name: str, where: str) -> Trajectory | None:
        """The path of an answer file that won; None, with a remark, when there is none that can be used.

        Args:
            value: What the file holds.
            name: The id of the trajectory.
            where: Path of the file, for error messages.

        Raises:
            InputError: The file is no answer file, or broken.
        """
        generation = value.get("answer_generation") if isinstance(value, dict) else None
        if not isinstance(generation, dict) or not isinstance(query := generation.get("query"), str):
            raise InputError(f"{where}: no answer file; 'answer_generation' with a 'query' is wanted.")
        root = value["tree"].get("tree") if isinstance(value.get("tree"), dict) else None
        if not isinstance(root, dict):
            self._remarks.add(NO_TREE, name)
            return None
        turns = _winning_turns(root, where) if value.get("win") is True else None
        if turns is None:
            self._remarks.add(LOST, name)
            return None
        asked = self._asked.get(_key(query), [])
        among = {tool for known in asked for tool in known.metadata["candidates"]} if asked else None
        episode = self._episode(turns, among, name)
        metadata = {"type": name.rpartition(".")[0], "queries": [known.id for known in asked]}
        return episode.trajectory(name, query.strip(), True, metadata) if episode else None

    def _episode(self, turns: "list[_Turn]", among: Collection[str] | None, name: str) -> Episode | None:
        episode = Episode()
        for turn in turns:
            for thought in turn.thoughts:
                episode.think(thought)
            tool = turn.function
            if tool != FINISH:
                ids = self._names.ids(tool, among)
                if len(ids) != 1:
                    self._remarks.add(SHARED_FUNCTION if ids else UNKNOWN_FUNCTION, f"{name}: {turn.function}")
                    return None
                tool = ids[0]
            try:
                episode.call(tool, turn.arguments)
            except BrokenCallError as error:
                self._remarks.add(BROKEN_CALL, f"{name}: {error}")
                return None
            if tool != FINISH and turn.observation is not None:
                episode.observe(turn.observation)
        return episode


class _Turn(NamedTuple):
    """What a model said in one go, and what came back."""

    thoughts: tuple[str, ...]
    function: str
    arguments: str
    observation: str | None


def _winning_turns(root: Mapping[str, Any], where: str) -> list[_Turn] | None:
    """The turns to the first answer, in the order of the search; None when there is no answer.

    Raises:
        InputError: A node is broken.
    """
    waiting: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = [(root, [])]
    while waiting:
        node, before = waiting.pop()
        path = [*before, node]
        if node.get("observation_code") == _ANSWERED and not node.get("pruned"):
            return _turns(path[1:], where)
        children = node.get("children") or []
        if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
            raise InputError(f"{where}: the 'children' of a node must be a list of nodes.")
        waiting.extend((child, path) for child in reversed(children))
    return None


def _turns(path: list[Mapping[str, Any]], where: str) -> list[_Turn]:
    turns: list[_Turn] = []
    thoughts: list[str] = []
    function: str | None = None
    for node in path:
        kind, text, observation = node.get("node_type"), node.get("description"), node.get("observation")
        if not isinstance(text, str) or not isinstance(observation, str | None):
            raise InputError(f"{where}: a node's 'description' must be a string, and so its 'observation', if any.")
        if kind == "Thought":
            thoughts.append(text)
        elif kind == "Action":
            function = text
        elif kind == "Action Input" and function is not None:
            turns.append(_Turn(tuple(thoughts), function, text, observation))
            thoughts, function = [], None
        else:
            raise InputError(f"{where}: a node of type {kind!r} stands where none may (Thought, Action, Action Input).")
    return turns


def _key(text: str) -> str:
    return " ".join(text.split())
