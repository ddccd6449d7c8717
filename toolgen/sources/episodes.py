"""Agents' calls as ToolBench writes them: arguments as JSON text, ``Finish`` as the call that ends, and what came back
as ``{"error": ..., "response": ...}``. Knows neither files nor tools.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import Ending, Step, Trajectory

FINISH = "Finish"
GIVE_ANSWER = "give_answer"

NO_SUCH_FUNCTION = 1
"""ToolBench's code for a function name that the query's tools do not have."""

_STATUSES = {0: Status.OK, NO_SUCH_FUNCTION: Status.UNKNOWN_TOOL, 2: Status.BAD_ARGUMENTS} | dict.fromkeys(
    # Time-out, no such address, not subscribed, not authorised, too many requests, the limit of a minute, an error that
    # the service told, a request that failed.
    range(5, 13),
    Status.FAILED,
)
"""Of ToolBench's observation codes; 3 and 4 are ends and no calls."""

_ERROR = re.compile(r'\s*\{\s*"error"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"response"\s*:')
"""How an observation begins. ToolBench cuts long ones, so that they are no JSON as a whole."""

_NO_SUCH_FUNCTION = "No such function name: "


def call_status(observation: str, code: int | None = None) -> Status | None:
    """How a call went, after what ToolBench says of it.

    Args:
        observation: What came back.
        code: ToolBench's ``observation_code``; None where only the text is known, as in training files.

    Returns:
        The code's status. A call whose error is not empty failed even where ToolBench gives it the code of success, as
        it does when its own wrapper of a service breaks. Without a code the error alone decides, and None is for text
        of another form.
    """
    found = _ERROR.match(observation)
    error = found.group(1) if found else None
    if code is not None:
        return Status.FAILED if code == 0 and error else _STATUSES.get(code)
    if error is None:
        return None
    if error.startswith(_NO_SUCH_FUNCTION):
        return Status.UNKNOWN_TOOL
    return Status.FAILED if error else Status.OK


class BrokenCallError(Exception):
    """Arguments that are no JSON object."""


class Episode:
    """Puts a trajectory together from what a source says, in its order: thoughts, calls, observations."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._thoughts: list[str] = []
        self._ended: Ending = "unfinished"
        self._answer: str | None = None

    @property
    def ended(self) -> bool:
        """Whether ``Finish`` was called."""
        return self._ended != "unfinished"

    @property
    def awaits(self) -> bool:
        """Whether the last call has no observation yet."""
        return bool(self._steps) and self._steps[-1].observation is None and not self._thoughts

    def think(self, text: str) -> None:
        """Something said before the next call."""
        if text.strip():
            self._thoughts.append(text.strip())

    def call(self, tool: str, arguments: str) -> None:
        """A call, or with ``Finish`` the end.

        Raises:
            BrokenCallError: The arguments are no JSON object.
        """
        given = _object(arguments)
        if tool == FINISH:
            answered = given.get("return_type") == GIVE_ANSWER
            self._ended = "answer" if answered else "give_up"
            if answered:
                answer = given.get("final_answer", "")
                self._answer = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        else:
            self._steps.append(Step(tool, given, thought="\n".join(self._thoughts)))
            self._thoughts.clear()

    def observe(self, text: str, status: Status | None) -> None:
        """What came back from the last call, and how it went."""
        self._steps[-1] = replace(self._steps[-1], observation=text, status=status)

    def trajectory(
        self, trajectory_id: str, query: str, won: bool | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Trajectory:
        """All of it."""
        return Trajectory(
            id=trajectory_id,
            query=query,
            steps=tuple(self._steps),
            ended=self._ended,
            answer=self._answer,
            last_thought="\n".join(self._thoughts),
            won=won,
            metadata=metadata or {},
        )


class Longest:
    """Keeps, of trajectories that begin alike, the longest: a training file may hold each of them step by step."""

    def __init__(self) -> None:
        self._kept: defaultdict[str, list[Trajectory]] = defaultdict(list)

    def add(self, trajectory: Trajectory) -> bool:
        """Take one more; False when it begins another one or another one begins it, so that there is no more of them
        than before."""
        kept = self._kept[trajectory.query]
        for place, other in enumerate(kept):
            if _begins(trajectory, other):
                return False
            if _begins(other, trajectory):
                kept[place] = trajectory
                return False
        kept.append(trajectory)
        return True

    def all(self) -> list[Trajectory]:
        """What was kept, in the order in which their queries first came."""
        return [trajectory for kept in self._kept.values() for trajectory in kept]


def _begins(first: Trajectory, whole: Trajectory) -> bool:
    """Whether ``whole`` goes on from all that ``first`` says, or is the same."""
    if first.ended != "unfinished":
        return (first.steps, first.ended, first.answer, first.last_thought) == (
            whole.steps,
            whole.ended,
            whole.answer,
            whole.last_thought,
        )
    # An episode has no messages: all its steps are calls.
    count, calls = len(first.calls), whole.calls
    if count > len(calls):
        return False
    following = calls[count].thought if count < len(calls) else whole.last_thought
    if not following.startswith(first.last_thought):
        return False
    if count and first.calls[-1].observation is None:
        last, same = first.calls[-1], calls[count - 1]
        if (last.tool, last.arguments, last.thought) != (same.tool, same.arguments, same.thought):
            return False
        count -= 1
    return first.calls[:count] == calls[:count]


def _object(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise BrokenCallError(str(error)) from error
    if not isinstance(value, dict):
        raise BrokenCallError(f"found {type(value).__name__}")
    return value
