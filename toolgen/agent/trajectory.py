"""What an agent did for a query: typed steps, JSON lines in and out. Knows catalogues, but no prompts and no models.

Trajectories are JSON lines::

    {"id": "t1", "query": "make a bucket", "ended": "answer", "answer": "Done.", "won": true,
     "steps": [{"tool": "s3.CreateBucket", "arguments": {"Bucket": "b"}, "observation": "{}", "thought": "First ..."}]}

Only ``id``, ``query``, ``steps`` and ``ended`` are required, and of a step ``tool`` and ``arguments``.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from toolgen.errors import InputError
from toolgen.files import read_jsonl, write_jsonl
from toolgen.tools import ToolCatalog

Ending = Literal["answer", "give_up", "unfinished"]
"""How it ended: with an answer, by giving up, or not at all."""

_FIELDS = ("id", "query", "steps", "ended", "answer", "last_thought", "won", "metadata")


@dataclass(frozen=True, slots=True)
class Step:
    """One call and what came back.

    Attributes:
        tool: Id of the tool that was called.
        arguments: What it was called with.
        observation: What came back, as text; None when the source stops before it.
        thought: What was said before the call; may be empty.
    """

    tool: str
    arguments: Mapping[str, Any]
    observation: str | None = None
    thought: str = ""

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict without what is absent."""
        record: dict[str, Any] = {"tool": self.tool, "arguments": dict(self.arguments)}
        if self.observation is not None:
            record["observation"] = self.observation
        if self.thought:
            record["thought"] = self.thought
        return record


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The steps from a query to an end. The end is no step: it calls no tool of the catalogue.

    Attributes:
        id: Unique within its file.
        query: What the user says.
        steps: In order; may be empty.
        ended: How it ended.
        answer: What the user was told, when it ended with an answer.
        last_thought: What was said after the last step, before the end; may be empty.
        won: Whether the source judges it right; None when it does not say.
        metadata: Whatever else the source says.
    """

    id: str
    query: str
    steps: tuple[Step, ...]
    ended: Ending
    answer: str | None = None
    last_thought: str = ""
    won: bool | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

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


def read_trajectories(path: str | os.PathLike[str], catalog: ToolCatalog | None = None) -> list[Trajectory]:
    """Read trajectories and check them against a catalogue.

    Args:
        path: JSON lines, gzip by suffix.
        catalog: When given, the tool of every step must be in it.

    Raises:
        InputError: A record is broken, an id is used twice, a tool is unknown, or there is none.
    """
    trajectories: list[Trajectory] = []
    seen: dict[str, str] = {}
    for record, where in read_jsonl(path):
        trajectory = _trajectory(record, where)
        if trajectory.id in seen:
            raise InputError(
                f"{where}: duplicate trajectory id {trajectory.id!r}, first given at {seen[trajectory.id]}."
            )
        seen[trajectory.id] = where
        if catalog is not None and (unknown := [step.tool for step in trajectory.steps if step.tool not in catalog]):
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


def _trajectory(record: Mapping[str, Any], where: str) -> Trajectory:
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
    if not isinstance(steps, list) or not all(_is_step(step) for step in steps):
        raise InputError(
            f"{where}: 'steps' of trajectory {record['id']!r} must be a list of objects with 'tool', a string, "
            "'arguments', an object, and, where they are known, the strings 'observation' and 'thought'."
        )
    extra = {key: value for key, value in record.items() if key not in _FIELDS}
    return Trajectory(
        id=record["id"],
        query=record["query"],
        steps=tuple(
            Step(step["tool"], step["arguments"], step.get("observation"), step.get("thought") or "") for step in steps
        ),
        ended=record["ended"],
        answer=record.get("answer"),
        last_thought=record.get("last_thought") or "",
        won=record.get("won"),
        metadata={**(record.get("metadata") or {}), **extra},
    )


def _is_step(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("tool"), str)
        and isinstance(value.get("arguments"), dict)
        and all(value.get(key) is None or isinstance(value[key], str) for key in ("observation", "thought"))
    )
