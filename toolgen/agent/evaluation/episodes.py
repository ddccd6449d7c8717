"""What an agent did for tasks, as JSON lines, and the figures that follow from them. Knows outcomes, tasks and scores;
no models, and not how episodes are run.

A line is an episode::

    {"id": "test-1-7", "query": "...", "turns": [{"thought": "...", "tool": "sqs.CreateQueue", "arguments": "{...}",
     "status": "ok", "observation": "{...}"}, ...], "ended": "answer", "answer": "...", "tokens": 210, "attempts": 1,
     "score": {"success": true, "calls": 1.0, "arguments": 0.5, "invalid": 0, "hallucinated": 0}}
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from toolgen.agent.loop import Outcome, Turn
from toolgen.agent.tasks.score import Made, TaskScore
from toolgen.agent.tasks.task import Task
from toolgen.metrics import bootstrap_interval

Episode = Mapping[str, Any]
"""A line as it is read."""

MISSING = "missing"
"""How an episode ended that there is not."""


def made_calls(outcome: Outcome) -> list[Made]:
    """All calls of an episode, those that were refused before they reached the environment among them."""
    return [
        Made(turn.tool, None if turn.written is None else turn.written.arguments, turn.observation)
        for turn in outcome.turns
        if turn.tool is not None and turn.observation is not None
    ]


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """An episode without id and score, as a JSON-serialisable dict."""
    return {
        "query": outcome.query,
        "turns": [turn_record(turn) for turn in outcome.turns],
        "ended": outcome.ended,
        "answer": outcome.answer,
        "tokens": outcome.said,
        "attempts": outcome.attempts,
    }


def turn_record(turn: Turn) -> dict[str, Any]:
    """A turn as a JSON-serialisable dict; ``arguments`` is their text as it was written."""
    observation = turn.observation
    return {
        "thought": turn.thought,
        "tool": turn.tool,
        "arguments": None if turn.written is None else turn.written.text,
        "status": None if observation is None else observation.status.value,
        "observation": None if observation is None else observation.content,
    }


def episode_record(task: Task, outcome: Outcome, scored: TaskScore) -> dict[str, Any]:
    """A line of the file."""
    return {"id": task.id, **outcome_record(outcome), "score": asdict(scored)}


@dataclass(frozen=True)
class Figures:
    """What some tasks came to. A missing episode is a failure, without a call.

    Attributes:
        tasks: How many.
        missing: Of them without an episode.
        success: Share that was done.
        low: Lower end of its 95% bootstrap interval.
        high: Upper end.
        calls: Share of the references' calls that were made; mean over the tasks.
        arguments: Likewise, with just their arguments.
        made: Calls that were made, refused ones included.
        hallucinated: Calls of tools that do not exist.
        invalid: Calls with arguments that are none.
        turns: In which a tool was taken, the finishing one included; mean over the episodes, None where there is none.
        tokens: That the model said; mean over the episodes.
        ended: How many ended how, ``missing`` among it.
    """

    tasks: int
    missing: int
    success: float
    low: float
    high: float
    calls: float
    arguments: float
    made: int
    hallucinated: int
    invalid: int
    turns: float | None
    tokens: float | None
    ended: Mapping[str, int]

    @property
    def invalid_a_call(self) -> float:
        """Share of the calls with arguments that are none; 0 without calls."""
        return self.invalid / max(1, self.made)

    @property
    def hallucinated_a_call(self) -> float:
        """Share of the calls of tools that do not exist; 0 without calls."""
        return self.hallucinated / max(1, self.made)

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict."""
        return {
            **asdict(self),
            "invalid_a_call": self.invalid_a_call,
            "hallucinated_a_call": self.hallucinated_a_call,
        }


KINDS: Mapping[str, Callable[[Task], bool]] = {
    "one call": lambda task: task.calls == 1,
    "chained": lambda task: task.calls > 1,
    "all": lambda task: True,
}
"""Kinds of tasks that are told apart."""


def figures_by_kind(tasks: Sequence[Task], episodes: Mapping[str, Episode], seed: int = 0) -> dict[str, Figures]:
    """Figures of each of ``KINDS`` that has tasks.

    Args:
        tasks: What was to be done.
        episodes: By the task's id; some may be missing.
        seed: Of the bootstrap.
    """
    parts = {kind: [task for task in tasks if belongs(task)] for kind, belongs in KINDS.items()}
    return {kind: figures_of(part, episodes, seed) for kind, part in parts.items() if part}


def figures_by_service(tasks: Sequence[Task], episodes: Mapping[str, Episode], seed: int = 0) -> dict[str, Figures]:
    """Figures of each service, sorted; a task that calls several counts for each. The arguments are as above."""
    services = sorted({service for task in tasks for service in task.services})
    return {
        service: figures_of([task for task in tasks if service in task.services], episodes, seed)
        for service in services
    }


def figures_of(tasks: Sequence[Task], episodes: Mapping[str, Episode], seed: int = 0) -> Figures:
    """Figures of some tasks, one at least; the arguments are as above."""
    there = [episodes[task.id] for task in tasks if task.id in episodes]
    scores = [episode["score"] for episode in there]
    missing = len(tasks) - len(there)
    nothing = [0.0] * missing
    success = [float(score["success"]) for score in scores] + nothing
    interval = bootstrap_interval(success, seed=seed)
    ended = Counter(episode["ended"] for episode in there)
    return Figures(
        tasks=len(tasks),
        missing=missing,
        success=fmean(success),
        low=interval.low,
        high=interval.high,
        calls=fmean([score["calls"] for score in scores] + nothing),
        arguments=fmean([score["arguments"] for score in scores] + nothing),
        made=sum(turn["status"] is not None for episode in there for turn in episode["turns"]),
        hallucinated=sum(score["hallucinated"] for score in scores),
        invalid=sum(score["invalid"] for score in scores),
        turns=fmean(sum(turn["tool"] is not None for turn in one["turns"]) for one in there) if there else None,
        tokens=fmean(episode["tokens"] for episode in there) if there else None,
        ended=dict(sorted((ended + Counter({MISSING: missing})).items())),
    )
