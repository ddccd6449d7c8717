"""What an agent did for a query: typed steps, JSON lines in and out. Knows catalogues, but no prompts and no models.

Trajectories are JSON lines::

    {"id": "t1", "query": "make a bucket", "ended": "answer", "answer": "Done.", "won": true,
     "steps": [{"role": "assistant", "text": "Which name?"}, {"role": "user", "text": "b"},
               {"tool": "s3.CreateBucket", "arguments": {"Bucket": "b"}, "observation": "{}", "status": "ok",
                "thought": "First ..."}]}

Only ``id``, ``query``, ``steps`` and ``ended`` are required; of a call ``tool`` and ``arguments``, of what was said in
between ``role`` and ``text``.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from toolgen.agent.environment import Status
from toolgen.errors import InputError
from toolgen.files import read_jsonl, write_jsonl
from toolgen.queries import Query
from toolgen.tools import ToolCatalog

Ending = Literal["answer", "give_up", "unfinished"]
"""How it ended: with an answer, by giving up, or not at all."""

Role = Literal["user", "assistant"]
"""Who says something."""

_FIELDS = ("id", "query", "steps", "ended", "answer", "last_thought", "won", "metadata")


@dataclass(frozen=True, slots=True)
class Step:
    """One call and what came back.

    Attributes:
        tool: Id of the tool that was called; where the status is ``UNKNOWN_TOOL``, the name that was written.
        arguments: What it was called with.
        observation: What came back, as text; None when the source stops before it.
        thought: What was said before the call; may be empty.
        status: How the call went; None where the source does not say.
    """

    tool: str
    arguments: Mapping[str, Any]
    observation: str | None = None
    thought: str = ""
    status: Status | None = None

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict without what is absent."""
        record: dict[str, Any] = {"tool": self.tool, "arguments": dict(self.arguments)}
        if self.observation is not None:
            record["observation"] = self.observation
        if self.thought:
            record["thought"] = self.thought
        if self.status is not None:
            record["status"] = self.status.value
        return record


@dataclass(frozen=True, slots=True)
class Message:
    """What was said between query and end, and neither stands before a call nor ends the trajectory: what the assistant
    asks back, and what the user says then.

    Attributes:
        role: Who says it.
        text: What is said.
    """

    role: Role
    text: str

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict."""
        return {"role": self.role, "text": self.text}


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The steps from a query to an end. The end is no step: it calls no tool of the catalogue.

    Attributes:
        id: Unique within its file.
        query: What the user says first.
        steps: Calls, and in dialogues what is said between them, in order; may be empty.
        ended: How it ended.
        answer: What the user was told, when it ended with an answer.
        last_thought: What was said after the last step, before the end; may be empty.
        won: Whether the source judges it right; None when it does not say.
        metadata: Whatever else the source says.
    """

    id: str
    query: str
    steps: tuple[Step | Message, ...]
    ended: Ending
    answer: str | None = None
    last_thought: str = ""
    won: bool | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def calls(self) -> tuple[Step, ...]:
        """The steps without what is said between them."""
        return tuple(step for step in self.steps if isinstance(step, Step))

    def as_query(self) -> Query:
        """What was asked, with the tools that were called, those that do not exist left out, as gold tools."""
        tools = (call.tool for call in self.calls if call.status is not Status.UNKNOWN_TOOL)
        return Query(self.id, self.query, tuple(dict.fromkeys(tools)), metadata=self.metadata)

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict without what is absent."""
        record: dict[str, Any] = {
            "id": self.id,
            "query": self.query,
            "steps": [step.to_record() for step in self.steps],
            "ended": self.ended,
        }
        if self.answer is not None:
            record["answer"] = self.answer
        if self.last_thought:
            record["last_thought"] = self.last_thought
        if self.won is not None:
            record["won"] = self.won
        if self.metadata:
            record["metadata"] = dict(self.metadata)
        return record


@dataclass(frozen=True, slots=True)
class TrajectoryCounts:
    """What trajectories hold, together.

    Attributes:
        trajectories: How many there are.
        calls: Calls of tools.
        messages: What users and assistants say between queries and ends; thoughts and answers are none.
        tools: Different tools that were called, those that do not exist left out.
        observations: Calls of which it is known what came back.
        statuses: How calls went, by the status' value; ``"not said"`` where the source does not say.
        endings: How trajectories ended.
        won: Trajectories that the source judges right.
        lost: Trajectories that the source judges wrong.
    """

    trajectories: int
    calls: int
    messages: int
    tools: int
    observations: int
    statuses: Mapping[str, int]
    endings: Mapping[str, int]
    won: int
    lost: int

    def __str__(self) -> str:
        ends, statuses = (
            ", ".join(f"{name} {count:,}" for name, count in counts.items()) for counts in (self.endings, self.statuses)
        )
        return (
            f"{self.trajectories:,} trajectories ({ends}; won {self.won:,}, lost {self.lost:,}), "
            f"{self.messages:,} messages, {self.calls:,} calls ({statuses or 'none'}) of {self.tools:,} tools, "
            f"{self.observations:,} observations"
        )


def count_trajectories(trajectories: Sequence[Trajectory]) -> TrajectoryCounts:
    """Count what trajectories hold."""
    calls = [call for trajectory in trajectories for call in trajectory.calls]
    statuses = Counter("not said" if call.status is None else call.status.value for call in calls)
    endings = Counter(trajectory.ended for trajectory in trajectories)
    return TrajectoryCounts(
        trajectories=len(trajectories),
        calls=len(calls),
        messages=sum(len(trajectory.steps) for trajectory in trajectories) - len(calls),
        tools=len({call.tool for call in calls if call.status is not Status.UNKNOWN_TOOL}),
        observations=sum(call.observation is not None for call in calls),
        statuses=dict(sorted(statuses.items())),
        endings=dict(sorted(endings.items())),
        won=sum(trajectory.won is True for trajectory in trajectories),
        lost=sum(trajectory.won is False for trajectory in trajectories),
    )


def read_trajectories(path: str | os.PathLike[str], catalog: ToolCatalog | None = None) -> list[Trajectory]:
    """Read trajectories and check them against a catalogue.

    Args:
        path: JSON lines, gzip by suffix.
        catalog: When given, every tool that was called must be in it, save those whose status says that there is none.

    Raises:
        InputError: A record is broken, an id is used twice, a tool is unknown, or there is none.
    """
    trajectories: list[Trajectory] = []
    seen: dict[str, str] = {}
    for record, where in read_jsonl(path):
        trajectory = trajectory_of(record, where)
        if trajectory.id in seen:
            raise InputError(
                f"{where}: duplicate trajectory id {trajectory.id!r}, first given at {seen[trajectory.id]}."
            )
        seen[trajectory.id] = where
        named = (call.tool for call in trajectory.calls if call.status is not Status.UNKNOWN_TOOL)
        if catalog is not None and (unknown := [tool for tool in named if tool not in catalog]):
            raise InputError(
                f"{where}: trajectory {trajectory.id!r} calls the unknown tool {unknown[0]!r}. Every tool that is "
                f"called must be in the catalogue ({len(catalog):,} tools, the first is {catalog.ids[0]!r})."
            )
        trajectories.append(trajectory)
    if not trajectories:
        raise InputError(f"{path}: no trajectory. At least one is needed.")
    return trajectories


def write_trajectories(path: str | os.PathLike[str], trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories one a line; gzip by suffix."""
    write_jsonl(path, (trajectory.to_record() for trajectory in trajectories))


def trajectory_of(record: Mapping[str, Any], where: str) -> Trajectory:
    """A trajectory as one line holds it.

    Args:
        record: What the line holds; fields that no trajectory has go into ``metadata``.
        where: File and line, for error messages.

    Raises:
        InputError: The record is broken.
    """
    for key in ("id", "query"):
        if not isinstance(record.get(key), str):
            raise InputError(
                f"{where}: a trajectory needs the strings 'id' and 'query', found keys {', '.join(record)}."
            )
    if record.get("ended") not in get_args(Ending):
        raise InputError(
            f"{where}: 'ended' of trajectory {record['id']!r} must be one of {', '.join(get_args(Ending))}, "
            f"found {record.get('ended')!r}."
        )
    texts, objects = ("answer", "last_thought"), ("metadata",)
    for key, kind in (*((key, str) for key in texts), ("won", bool), *((key, dict) for key in objects)):
        if record.get(key) is not None and not isinstance(record[key], kind):
            raise InputError(f"{where}: '{key}' of trajectory {record['id']!r} is of the wrong type: {record[key]!r}.")
    steps = record.get("steps")
    if not isinstance(steps, list):
        raise InputError(f"{where}: 'steps' of trajectory {record['id']!r} must be a list, found {steps!r:.200}.")
    extra = {key: value for key, value in record.items() if key not in _FIELDS}
    return Trajectory(
        id=record["id"],
        query=record["query"],
        steps=tuple(
            _step(step, f"{where}: step {number} of trajectory {record['id']!r}")
            for number, step in enumerate(steps, 1)
        ),
        ended=record["ended"],
        answer=record.get("answer"),
        last_thought=record.get("last_thought") or "",
        won=record.get("won"),
        metadata={**(record.get("metadata") or {}), **extra},
    )


def _step(value: Any, where: str) -> Step | Message:
    if _is_message(value):
        return Message(value["role"], value["text"])
    if not _is_call(value):
        raise InputError(
            f"{where} must be an object with 'tool', a string, 'arguments', an object, and, where they are known, the "
            f"strings 'observation', 'thought' and 'status'; or one with 'role' ({' or '.join(get_args(Role))}) and "
            f"'text', a string. Found {value!r:.200}."
        )
    statuses = {status.value: status for status in Status}
    status = value.get("status")
    if status is not None and status not in statuses:
        raise InputError(f"{where} has the unknown 'status' {status!r}. It must be one of {', '.join(statuses)}.")
    return Step(
        tool=value["tool"],
        arguments=value["arguments"],
        observation=value.get("observation"),
        thought=value.get("thought") or "",
        status=None if status is None else statuses[status],
    )


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and "tool" not in value
        and value.get("role") in get_args(Role)
        and isinstance(value.get("text"), str)
    )


def _is_call(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("tool"), str)
        and isinstance(value.get("arguments"), dict)
        and all(value.get(key) is None or isinstance(value[key], str) for key in ("observation", "thought", "status"))
    )
