"""A task in an environment, and how well it was done. Knows tasks, patterns and environments that can be looked at; no
agent.

What counts is the state that is left: whoever reached it by another route has done the task. How far the calls were the
reference's is told beside it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.tasks.patterns import RefError, read_json_text, resolve
from toolgen.agent.tasks.patterns import fits as fits_pattern
from toolgen.agent.tasks.task import Check, Task
from toolgen.errors import InputError
from toolgen.tools import ToolCatalog


class Account(Protocol):
    """An environment whose state can be looked at, such as ``AwsEnvironment``."""

    @property
    def catalog(self) -> ToolCatalog:
        """Its tools."""
        ...

    def reset(self, seed: int | None = None) -> None:
        """Begin another task, whose ids are of a seed."""
        ...

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Run a tool."""
        ...

    def query(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Observation:
        """Look at the state and change nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A call that an agent made.

    Attributes:
        tool: What was called.
        arguments: What with; None where they were not even arguments.
        observation: What came back.
    """

    tool: str
    arguments: Arguments | None
    observation: Observation


class TaskWorld:
    """An ``Environment`` in which one task begins with every reset, its setup done.

    Attributes:
        calls: What was called since.
    """

    def __init__(self, account: Account, task: Task) -> None:
        """
        Args:
            account: Where calls run; its catalogue must have the tools of the setup.
            task: What begins.
        """
        self._account = account
        self._task = task
        self.calls: list[Made] = []

    @property
    def catalog(self) -> ToolCatalog:
        """The account's tools."""
        return self._account.catalog

    def reset(self) -> None:
        """Begin the task.

        Raises:
            InputError: A call of the setup does not succeed.
        """
        self.calls.clear()
        self._account.reset(self._task.seed)
        for call in self._task.setup:
            made = self._account.call(call.tool, call.arguments)
            if made.status is not Status.OK:
                raise InputError(
                    f"Task {self._task.id!r} cannot begin: {call.tool} is needed before it, and came back as "
                    f"{made.status.value}: {made.content:.200}. The environment's catalogue must have the tools of "
                    "the setup; or the file was made with another version of moto, then make it anew."
                )

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Run a tool and keep in mind what came of it."""
        observation = self._account.call(tool, arguments)
        self.calls.append(Made(tool, arguments, observation))
        return observation


@dataclass(frozen=True, slots=True)
class TaskScore:
    """How well a task was done.

    Attributes:
        success: All checks hold, and the answer contains what it must.
        calls: Share of the reference's calls whose tool was called and came back OK, each call counted once.
        arguments: Share of the reference's calls that were made, OK, with just its arguments.
        invalid: Calls with bad arguments.
        hallucinated: Calls of tools that do not exist.
    """

    success: bool
    calls: float
    arguments: float
    invalid: int
    hallucinated: int


def score(task: Task, account: Account, calls: Sequence[Made], answer: str | None = None) -> TaskScore:
    """Judge an episode.

    Ids from responses are compared with what the agent's own call of that kind brought; where it made none, because it
    found the id elsewhere, any value is right. Texts that are JSON, such as policies, are compared as JSON.

    Args:
        task: What was to be done.
        account: As the agent left it; is looked at only.
        calls: All that the agent called, in order, the setup not included.
        answer: What the user was told at the end.
    """
    fine = [made for made in calls if made.observation.status is Status.OK]
    wanted = Counter(step.tool for step in task.reference.calls)
    statuses = Counter(made.observation.status for made in calls)
    return TaskScore(
        success=all(holds(check, account) for check in task.checks) and tells(task, answer),
        calls=(wanted & Counter(made.tool for made in fine)).total() / wanted.total(),
        arguments=_same_arguments(task, fine) / wanted.total(),
        invalid=statuses[Status.BAD_ARGUMENTS],
        hallucinated=statuses[Status.UNKNOWN_TOOL],
    )


def holds(check: Check, account: Account) -> bool:
    """Whether a check holds in the account as it is."""
    looked: list[Any] = []
    for look in check.looks:
        try:
            arguments = resolve(look.arguments, {"look": looked})
        except RefError:
            return False
        seen = account.query(look.tool, arguments)
        if seen.status is not Status.OK:
            # Only the last look may be refused.
            refused = seen.status is Status.FAILED and seen.content.startswith(f"{check.fails}:")
            return refused and len(looked) == len(check.looks) - 1
        looked.append(json.loads(seen.content))
    return check.fails is None and fits_pattern(check.holds, looked[-1])


def tells(task: Task, answer: str | None) -> bool:
    """Whether an answer contains what it must."""
    return all(text.casefold() in (answer or "").casefold() for text in task.told)


def _same_arguments(task: Task, fine: Sequence[Made]) -> int:
    """How many of the reference's calls were made with their arguments."""
    free = list(fine)
    brought: list[Any] = []
    for step, expected in zip(task.reference.calls, task.expected, strict=True):
        match = next((made for made in free if made.tool == step.tool and _equal(expected, made, brought)), None)
        brought.append(None if match is None else read_json_text(match.observation.content))
        if match is not None:
            free.remove(match)
    return sum(response is not None for response in brought)


def _equal(expected: Any, made: Made, brought: Sequence[Any]) -> bool:
    return isinstance(made.arguments, Mapping) and _same(expected, dict(made.arguments), brought)


def _same(expected: Any, value: Any, brought: Sequence[Any]) -> bool:
    if isinstance(expected, Mapping):
        if "$ref" in expected or "$join" in expected:
            try:
                return bool(resolve(expected, {"call": brought}) == value)
            except RefError:
                return True
        return (
            isinstance(value, Mapping)
            and expected.keys() == value.keys()
            and all(_same(part, value[key], brought) for key, part in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(expected) == len(value)
            and all(_same(part, other, brought) for part, other in zip(expected, value, strict=True))
        )
    return bool(read_json_text(expected) == read_json_text(value))
