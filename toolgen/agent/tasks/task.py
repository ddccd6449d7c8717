"""Tasks, JSON lines in and out. Knows trajectories and patterns; not how tasks are made or run.

A line is a trajectory, the reference, with what makes a task of it beside it; so a file of tasks is a file of
trajectories, too::

    {"id": "train-0-7", "query": "Drop the queue jobs.", "steps": [...], "ended": "answer", "answer": "...",
     "won": true, "recipe": "sqs-delete", "services": ["sqs"], "split": "train", "seed": 81,
     "setup": [{"tool": "sqs.CreateQueue", "arguments": {"QueueName": "jobs"}}],
     "expected": [{"QueueUrl": {"$ref": ["call", 1, "QueueUrl"]}}, ...],
     "checks": [{"looks": [{"tool": "sqs.GetQueueUrl", "arguments": {"QueueName": "jobs"}}],
                 "fails": "AWS.SimpleQueueService.NonExistentQueue"}], "told": []}

``expected`` are the arguments of the reference's calls, ids of earlier responses as references. The language of
``checks`` is that of ``toolgen.agent.tasks.patterns``.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from toolgen.agent.trajectory import Trajectory, trajectory_of
from toolgen.errors import InputError
from toolgen.files import read_jsonl, write_jsonl
from toolgen.queries import Call

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold when a task is done.

    Attributes:
        looks: Operations that change nothing. Arguments may refer to what earlier looks saw.
        holds: Pattern that the last one's response must fit; not read where ``fails`` is given.
        fails: Code with which AWS must refuse the last one, such as ``NoSuchBucket``; None where it must not.
    """

    looks: tuple[Call, ...]
    holds: Any = None
    fails: str | None = None

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict."""
        must = {"holds": self.holds} if self.fails is None else {"fails": self.fails}
        return {"looks": [_call_record(look) for look in self.looks], **must}


@dataclass(frozen=True, slots=True)
class Task:
    """What somebody wants done in an account, and how it is seen that it is done.

    Attributes:
        reference: One way to do it, as it was executed; its id and query are the task's.
        recipe: What it was made from.
        services: Those that the reference calls.
        split: The part it belongs to.
        seed: Of the ids that calls make, of the setup and of the task.
        setup: Calls that make the account what it is when the task begins.
        expected: Arguments of the reference's calls, with references in the place of ids from responses.
        checks: What must hold afterwards, all of it.
        told: What the answer must contain, whatever the case of its letters; empty where nothing is asked.
    """

    reference: Trajectory
    recipe: str
    services: tuple[str, ...]
    split: Split
    seed: int
    setup: tuple[Call, ...]
    expected: tuple[Mapping[str, Any], ...]
    checks: tuple[Check, ...]
    told: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique within its file."""
        return self.reference.id

    @property
    def query(self) -> str:
        """What the user says."""
        return self.reference.query

    @property
    def calls(self) -> int:
        """How many calls the reference has."""
        return len(self.reference.calls)

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict."""
        return {
            **self.reference.to_record(),
            "recipe": self.recipe,
            "services": list(self.services),
            "split": self.split,
            "seed": self.seed,
            "setup": [_call_record(call) for call in self.setup],
            "expected": [dict(arguments) for arguments in self.expected],
            "checks": [check.to_record() for check in self.checks],
            "told": list(self.told),
        }


def read_tasks(path: str | os.PathLike[str]) -> list[Task]:
    """Read tasks.

    Args:
        path: JSON lines, gzip by suffix.

    Raises:
        InputError: A record is broken, an id is used twice, or there is none.
    """
    tasks: dict[str, Task] = {}
    for record, where in read_jsonl(path):
        task = _task(record, where)
        if task.id in tasks:
            raise InputError(f"{where}: the id {task.id!r} is used twice. Give every task its own.")
        tasks[task.id] = task
    if not tasks:
        raise InputError(f"{path}: no task. Make some with toolgen tasks aws.")
    return list(tasks.values())


def write_tasks(path: str | os.PathLike[str], tasks: Iterable[Task]) -> None:
    """Write tasks one a line; gzip by suffix."""
    write_jsonl(path, (task.to_record() for task in tasks))


def _task(record: dict[str, Any], where: str) -> Task:
    kept = ("recipe", "services", "split", "seed", "setup", "expected", "checks", "told")
    reference = trajectory_of({key: value for key, value in record.items() if key not in kept}, where)
    try:
        task = Task(
            reference=reference,
            recipe=_of(str, record["recipe"]),
            services=tuple(_of(str, name) for name in _of(list, record["services"])),
            split=_of(str, record["split"]),
            seed=_of(int, record["seed"]),
            setup=tuple(_call(call) for call in _of(list, record["setup"])),
            expected=tuple(_of(dict, arguments) for arguments in _of(list, record["expected"])),
            checks=tuple(_check(check) for check in _of(list, record["checks"])),
            told=tuple(_of(str, text) for text in _of(list, record["told"])),
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{where}: task {reference.id!r} lacks a field, or one is of the wrong type: {error}. A task has "
            f"{', '.join(kept)}; make the file anew with toolgen tasks aws."
        ) from error
    if len(task.expected) != task.calls:
        raise InputError(
            f"{where}: task {task.id!r} has {task.calls} calls and {len(task.expected)} expected arguments. "
            "There must be as many of both."
        )
    return task


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r:.100} is no {kind.__name__}")
    return value


def _call_record(call: Call) -> dict[str, Any]:
    return {"tool": call.tool, "arguments": dict(call.arguments)}


def _call(record: Any) -> Call:
    return Call(_of(str, _of(dict, record)["tool"]), _of(dict, record["arguments"]))


def _check(record: Any) -> Check:
    looks = tuple(_call(look) for look in _of(list, _of(dict, record)["looks"]))
    if not looks:
        raise TypeError("a check without a look")
    if "fails" in record:
        return Check(looks, fails=_of(str, record["fails"]))
    return Check(looks, record["holds"])
