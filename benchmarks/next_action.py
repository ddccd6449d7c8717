"""Next actions on recorded trajectories: which tool an agent takes at each call, and which arguments it writes for the
recorded one. Knows trajectories, choosers and writers; trains nothing and runs no tool.

The history is the recorded one throughout (teacher forcing), thoughts included, in the tokens of training. It is read
once a trajectory: choosing and writing fork it, and a reader goes back to where they left it. What is recorded is one
way to solve a task; ``ahead`` also counts a tool that is called later on, which is no mistake where calls do not depend
on each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal, NamedTuple

from transformers import PreTrainedModel

from toolgen.agent.arguments import ArgumentWriter
from toolgen.agent.batch import Reader, finish
from toolgen.agent.choosing import Chooser, RetrieverChooser, TokenChooser
from toolgen.agent.load import load_agent
from toolgen.agent.stream import ContextError
from toolgen.agent.text import Text
from toolgen.agent.trajectory import Message, Step, Trajectory
from toolgen.agent.turns import FINISH, TurnRenderer
from toolgen.base import context_length
from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.benchmarks.next_action_figures import GENERATIVE, Action, Figures, Missed, figures
from toolgen.errors import InputError
from toolgen.tools import ToolCatalog

HITS = 5
"""Among which the model chooses where BM25 stands in front."""


@dataclass(frozen=True)
class Examinee:
    """An agent, with the ways in which it may take its tools.

    Attributes:
        model: A causal model in evaluation mode.
        catalog: The tools that are called; ``FINISH`` ends an episode and is no call.
        renderer: As in training.
        choosers: Name of the way -> what takes the tools.
        writer: Fills in arguments.
    """

    model: PreTrainedModel
    catalog: ToolCatalog
    renderer: TurnRenderer
    choosers: Mapping[str, Chooser]
    writer: ArgumentWriter


def load(checkpoint: Path, device: str | None = None) -> Examinee:
    """An agent from its checkpoint: with its own tool tokens, and with BM25 in front.

    Args:
        checkpoint: What the agent stage wrote.
        device: Such as ``"cpu"``; None: CUDA when there is one.

    Raises:
        InputError: See ``load_agent``.
    """
    loaded = load_agent(checkpoint, device=device)
    agent, bm25 = loaded.agent, BM25Retriever(loaded.tools)
    assert isinstance(agent.chooser, TokenChooser), "no retriever was asked for"
    return Examinee(
        agent.model,
        loaded.tools,
        agent.renderer,
        {
            GENERATIVE: agent.chooser,
            "bm25": RetrieverChooser(bm25, ()),
            f"bm25, best of {HITS}": RetrieverChooser(bm25, [FINISH.id], agent.chooser, min(HITS, len(loaded.tools))),
        },
        agent.writer,
    )


# ---- a trajectory


def next_actions(examinee: Examinee, trajectory: Trajectory) -> list[Action]:
    """Ask an agent for every call of a trajectory, each behind the recorded history."""
    told = _told(trajectory, examinee.catalog)
    actions = [
        Action(
            call,
            frozenset(later.tool for later in trajectory.calls[place:]),
            missed="context" if place < len(told.calls) else "unknown tool",
        )
        for place, call in enumerate(trajectory.calls)
    ]
    reader, text = Reader(examinee.model), Text((), context_length(examinee.model.config))
    try:
        for asked in _places(examinee.renderer, told):
            text.extend(asked.behind)
            action = actions[asked.call]
            if asked.part == "tool":
                chosen = {
                    way: finish(reader, chooser.choose(text, told.query, action.call.thought))
                    for way, chooser in examinee.choosers.items()
                }
                actions[asked.call] = replace(action, chosen=chosen)
            else:
                written = finish(reader, examinee.writer.write(text, examinee.renderer.parameters(action.call.tool)))
                missed: Missed | None = "unfinished" if written.arguments is None else None
                actions[asked.call] = replace(action, arguments=written.arguments, missed=missed)
    except ContextError:
        pass  # What comes behind cannot be read either.
    return actions


def _told(trajectory: Trajectory, catalog: ToolCatalog) -> Trajectory:
    """The trajectory up to the first call of a tool that the catalogue lacks: a history with it cannot be written."""
    steps = tuple(takewhile(lambda step: isinstance(step, Message) or step.tool in catalog, trajectory.steps))
    return replace(trajectory, steps=steps, ended="unfinished")


Part = Literal["tool", "arguments"]


class _Place(NamedTuple):
    """Where something is asked for."""

    call: int
    part: Part
    behind: list[int]
    """Tokens since the last such place."""


def _places(renderer: TurnRenderer, told: Trajectory) -> Iterator[_Place]:
    """Where tools and arguments are asked for, in order."""
    pieces = renderer.render(told)
    asked = iter(_asked(told))
    behind: list[int] = []
    for piece in pieces:
        if piece.learned and (found := next(asked)) is not None:
            yield _Place(*found, behind)
            behind = []
        behind += piece.ids
    assert next(asked, None) is None, "what the assistant says is a learned piece each"


def _asked(told: Trajectory) -> Iterator[tuple[int, Part] | None]:
    """For each piece that the assistant says which call it is of, and which part; None: a thought or a message."""
    call = 0
    for step in told.steps:
        if isinstance(step, Step):
            yield from (None, (call, "tool"), (call, "arguments"))
            call += 1
        elif step.role == "assistant":
            yield None


# ---- all of them


def measure(
    examinee: Examinee, trajectories: Sequence[Trajectory], progress: Callable[[int, int], None] | None = None
) -> Figures:
    """Figures of an agent on recorded trajectories.

    Args:
        examinee: See there.
        trajectories: What was recorded; those without calls are left out.
        progress: Called with trajectories done and their number.

    Raises:
        InputError: No call is one of a tool that the agent has.
    """
    recorded = [trajectory for trajectory in trajectories if trajectory.calls]
    if not any(step.tool in examinee.catalog for trajectory in recorded for step in trajectory.calls):
        raise InputError(
            f"Of the tools that the {len(trajectories):,} trajectories call the agent has none (its first is "
            f"{examinee.catalog.ids[0]!r}). Give trajectories over the catalogue that it was trained with."
        )
    actions = []
    for done, trajectory in enumerate(recorded, 1):
        actions.append(next_actions(examinee, trajectory))
        if progress is not None:
            progress(done, len(recorded))
    return figures(actions, list(examinee.choosers), examinee.catalog)
