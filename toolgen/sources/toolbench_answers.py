"""ToolBench's answer files: of each tree of a depth-first search, the path that won, and on request all other branches,
as trajectories. Knows how trees are written, but no folders.

A node is a thought, an action (a function name) or an action's input with its observation; a turn is up to three nodes,
each the child of the one before. Function names are those that ToolBench exposed when it searched. They are looked up
among the tools that the query lists, where the query is known, else among all; a name that leads to none or to several
tools keeps the trajectory out. ToolBench itself called whatever API its model's text ended on, so that some of its
winning paths called tools that were never named. A name that ToolBench itself refused is kept as it was written, with
the status that says so.

A branch is a path from the query to where the search turned back: to a node without children. Branches share what they
begin with, and each is told as a whole.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from toolgen.agent.trajectory import Trajectory
from toolgen.errors import InputError
from toolgen.queries import Query
from toolgen.sources.episodes import FINISH, NO_SUCH_FUNCTION, BrokenCallError, Episode, call_status
from toolgen.sources.function_names import ExposedNames
from toolgen.sources.remarks import Remark, Remarks
from toolgen.tools import Tool

NO_TREE = Remark("dropped", "answer files without a tree")
LOST = Remark("dropped", "trees without a path that won")
LOST_TAKEN = Remark("noted", "trees without a path that won; their branches are taken")
UNKNOWN_FUNCTION = Remark("dropped", "trajectories with a function name that no tool of theirs has")
SHARED_FUNCTION = Remark("dropped", "trajectories with a function name that several tools have")
BROKEN_CALL = Remark("dropped", "trajectories with arguments that are no JSON object")
OPEN_CALL = Remark("dropped", "trajectories that stop at a function name without arguments")
REFUSED_FINISH = Remark("dropped", "trajectories with a Finish that ended nothing")

_ANSWERED, _GAVE_UP = 3, 4
"""``observation_code`` of a ``Finish``."""


class Answers:
    """Reads answer files, with the tools and queries that they are about."""

    def __init__(
        self, tools: Mapping[str, Tool], queries: Iterable[Query], remarks: Remarks, *, branches: bool = False
    ) -> None:
        """
        Args:
            tools: What function names are looked up among.
            queries: Those that list the tools that their writers saw.
            remarks: What is left out.
            branches: Whether to take the branches that did not win too.
        """
        self._names = ExposedNames(tools)
        self._remarks = remarks
        self._wanted = branches
        self._asked: defaultdict[str, list[Query]] = defaultdict(list)
        for query in queries:
            if "candidates" in query.metadata:
                self._asked[_key(query.text)].append(query)

    def read(self, value: Any, name: str, where: str) -> Iterator[Trajectory]:
        """The path of an answer file that won, under the file's name, and its other branches, if they are wanted.

        Other branches have ``.branch-N`` in their ids: the N-th of the tree, from 1, in the order of the search. Those
        are lost; only of an answer that came after the one that won ToolBench does not say. What cannot be used is left
        out with a remark.

        Args:
            value: What the file holds.
            name: The id of the winning trajectory.
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
            return
        asked = self._asked.get(_key(query), [])
        among = {tool for known in asked for tool in known.metadata["candidates"]} if asked else None
        metadata = {"type": name.rpartition(".")[0], "queries": [known.id for known in asked]}
        judged_right, won = value.get("win") is True, False
        for number, branch in enumerate(_branches(root, where), start=1):
            wins = judged_right and branch.answered and not won
            won = won or wins
            if not wins and not self._wanted:
                continue
            told = name if wins else f"{name}.branch-{number}"
            episode = self._episode(_told(branch.nodes, where), among, told)
            if episode is not None:
                verdict = wins or (None if judged_right and branch.answered else False)
                more = {} if wins else {"branch": number}
                yield episode.trajectory(told, query.strip(), verdict, metadata | more)
            if wins and not self._wanted:
                break
        if not won:
            self._remarks.add(LOST_TAKEN if self._wanted else LOST, name)

    def _episode(self, told: "_Told", among: Collection[str] | None, name: str) -> Episode | None:
        episode = Episode()
        for turn in told.turns:
            for thought in turn.thoughts:
                episode.think(thought)
            if episode.ended or (turn.function == FINISH and turn.code not in (_ANSWERED, _GAVE_UP)):
                self._remarks.add(REFUSED_FINISH, name)
                return None
            tool = self._tool(turn, among, name)
            if tool is None:
                return None
            try:
                episode.call(tool, turn.arguments)
            except BrokenCallError as error:
                self._remarks.add(BROKEN_CALL, f"{name}: {error}")
                return None
            if tool != FINISH and turn.observation is not None:
                episode.observe(turn.observation, call_status(turn.observation, turn.code))
        for thought in told.thoughts:
            episode.think(thought)
        if told.function is not None:
            self._remarks.add(OPEN_CALL, f"{name}: {told.function}")
            return None
        return episode

    def _tool(self, turn: "_Turn", among: Collection[str] | None, name: str) -> str | None:
        """The id of the tool that a turn calls; None, with a remark, when there is not exactly one."""
        if turn.function == FINISH or turn.code == NO_SUCH_FUNCTION:
            return turn.function
        ids = self._names.ids(turn.function, among)
        if len(ids) != 1:
            self._remarks.add(SHARED_FUNCTION if ids else UNKNOWN_FUNCTION, f"{name}: {turn.function}")
            return None
        return ids[0]


class _Branch(NamedTuple):
    """The nodes of a branch, without the root, and whether it ends with an answer that stands."""

    nodes: tuple[Mapping[str, Any], ...]
    answered: bool


class _Turn(NamedTuple):
    """What a model said in one go, and what came back."""

    thoughts: tuple[str, ...]
    function: str
    arguments: str
    observation: str | None
    code: int | None


class _Told(NamedTuple):
    """The turns of a branch, and what it ends with: thoughts, and perhaps a function name without arguments."""

    turns: tuple[_Turn, ...]
    thoughts: tuple[str, ...]
    function: str | None


def _branches(root: Mapping[str, Any], where: str) -> Iterator[_Branch]:
    """In the order of the search.

    Raises:
        InputError: A node's children are broken.
    """
    waiting: list[tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]] = [(root, ())]
    while waiting:
        node, path = waiting.pop()
        answered = node.get("observation_code") == _ANSWERED and not node.get("pruned")
        children = node.get("children") or []
        if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
            raise InputError(f"{where}: the 'children' of a node must be a list of nodes.")
        if path and (answered or not children):
            yield _Branch(path, answered)
        else:
            waiting.extend((child, (*path, child)) for child in reversed(children))


def _told(nodes: Iterable[Mapping[str, Any]], where: str) -> _Told:
    """
    Raises:
        InputError: A node is broken.
    """
    turns: list[_Turn] = []
    thoughts: list[str] = []
    function: str | None = None
    for node in nodes:
        kind, text, observation = node.get("node_type"), node.get("description"), node.get("observation")
        if not isinstance(text, str) or not isinstance(observation, str | None):
            raise InputError(f"{where}: a node's 'description' must be a string, and so its 'observation', if any.")
        if not isinstance(code := node.get("observation_code"), int | None):
            raise InputError(f"{where}: a node's 'observation_code' must be a number, if any, found {code!r:.200}.")
        if kind == "Thought":
            thoughts.append(text)
        elif kind == "Action":
            function = text
        elif kind == "Action Input" and function is not None:
            turns.append(_Turn(tuple(thoughts), function, text, observation, code))
            thoughts, function = [], None
        else:
            raise InputError(f"{where}: a node of type {kind!r} stands where none may (Thought, Action, Action Input).")
    return _Told(tuple(turns), tuple(thoughts), function)


def _key(text: str) -> str:
    return " ".join(text.split())
