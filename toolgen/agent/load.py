"""An agent from a checkpoint: how it chooses tools and writes arguments, its budget, what its episodes look like. Knows
checkpoints; no environment and no task.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from toolgen.agent.arguments import ArgumentWriter, FreeWriter
from toolgen.agent.choosing import Chooser, FreeChooser, RetrieverChooser, TokenChooser
from toolgen.agent.loop import Agent, Attempts, Budget
from toolgen.agent.turns import FINISH, FreeRenderer, TurnRenderer
from toolgen.checkpoint import Artefacts, load_model
from toolgen.errors import InputError
from toolgen.generative import usable_device
from toolgen.retriever import Retriever
from toolgen.tokenizer import special_ids
from toolgen.tools import ToolCatalog

STAGE = "agent"
"""Name of the training stage in a checkpoint's history."""


@dataclass(frozen=True)
class AgentSettings:
    """How an agent works.

    Attributes:
        retriever: Makes a retriever over the tools, which stands in front of the model's choice; None: the model
            chooses among all tools.
        hits: Tools that the retriever finds, ``FINISH`` not counted.
        constrained: Whether only tools of the catalogue can be named; without, for measuring what that is worth.
        arguments: Written under the tool's schema, or freely and looked over afterwards, for the same reason.
        budget: Of an episode.
        attempts: At a task (ReAct@N).
        documents: Whether turns show a tool's document; None: as in the newest training of an agent.
    """

    retriever: Callable[[ToolCatalog], Retriever] | None = None
    hits: int = 5
    constrained: bool = True
    arguments: Literal["schema", "free"] = "schema"
    budget: Budget = Budget()
    attempts: Attempts = Attempts()
    documents: bool | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: A number is below 1, or a retriever is to stand in front of an unconstrained choice.
        """
        for name, value in (("hits", self.hits), *asdict(self.budget).items()):
            if value < 1:
                raise InputError(f"{name} is {value}. It must be at least 1.")
        if self.retriever is not None and not self.constrained:
            raise InputError(
                "A retriever's hits constrain the choice, so it cannot be unconstrained. Let the model choose among "
                "all tools, or leave the constraint on."
            )

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict."""
        front = {} if self.retriever is None else {"retriever": self.retriever.__name__, "hits": self.hits}
        return {
            **front,
            "constrained": self.constrained,
            "arguments": self.arguments,
            "budget": asdict(self.budget),
            "attempts": asdict(self.attempts),
            **({} if self.documents is None else {"documents": self.documents}),
        }


@dataclass(frozen=True)
class LoadedAgent:
    """An agent and what it acts with.

    Attributes:
        agent: Ready for episodes.
        tools: What an environment needs: the catalogue without ``FINISH``.
    """

    agent: Agent
    tools: ToolCatalog


def load_agent(
    checkpoint: str | os.PathLike[str],
    settings: AgentSettings | None = None,
    *,
    groups: Sequence[str] | None = None,
    device: str | None = None,
) -> LoadedAgent:
    """Load an agent from a checkpoint.

    Args:
        checkpoint: What the agent's stage wrote; any checkpoint whose tools hold ``FINISH`` will do.
        settings: See there.
        groups: Only tools of these groups, such as services, are offered; None: all.
        device: Such as ``"cpu"`` or ``"cuda:1"``; None: CUDA when there is one.

    Raises:
        InputError: The folder is no whole checkpoint, its tools lack ``FINISH``, a group has no tool, or the device
            cannot be used.

    Example:
        >>> loaded = load_agent("runs/agent/final")  # doctest: +SKIP
        >>> loaded.agent.run("Create the bucket b.", AwsEnvironment(loaded.tools)).answer  # doctest: +SKIP
        'The bucket b is there.'
    """
    settings = settings or AgentSettings()
    artefacts = Artefacts.load(checkpoint)
    tools = environment_tools(artefacts, checkpoint, groups)
    model = load_model(checkpoint)
    model.to(usable_device(device))  # type: ignore[arg-type]
    kind = TurnRenderer if settings.constrained else FreeRenderer
    renderer = kind(
        artefacts.tokenizer,
        artefacts.catalog,
        artefacts.codes,
        artefacts.prompt,
        documents=shows_documents(artefacts.history) if settings.documents is None else settings.documents,
    )
    closing = {*special_ids(artefacts.tokenizer), renderer.frames.close[-1]}
    words = min(artefacts.codes.new_ids.values(), default=len(artefacts.tokenizer))
    writer = (
        ArgumentWriter(artefacts.tokenizer, words)
        if settings.arguments == "schema"
        else FreeWriter(artefacts.tokenizer, words, closing)
    )
    agent = Agent(
        model,
        artefacts.tokenizer,
        renderer,
        _chooser(artefacts, tools, settings, closing),
        writer,
        settings.budget,
        settings.attempts,
    )
    return LoadedAgent(agent, tools)


def environment_tools(
    artefacts: Artefacts, checkpoint: str | os.PathLike[str], groups: Sequence[str] | None = None
) -> ToolCatalog:
    """The tools of a checkpoint, or of some groups of them, without ``FINISH``.

    Raises:
        InputError: ``FINISH`` is missing, or a group has no tool.
    """
    catalog = artefacts.catalog
    if FINISH.id not in catalog:
        raise InputError(
            f"{Path(checkpoint)}: the catalogue has no tool {FINISH.id!r}, with which episodes end. Give a checkpoint "
            "that the agent's stage wrote."
        )
    wanted = catalog.ids if groups is None else catalog.ids_of_groups(groups)
    return ToolCatalog(catalog[tool] for tool in wanted if tool != FINISH.id)


def shows_documents(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether turns have three parts, a tool's document among them, as the newest training of an agent had them."""
    for entry in reversed(history):
        if entry["stage"] == STAGE:
            return bool(entry["config"]["documents"])
    return True


def _chooser(artefacts: Artefacts, tools: ToolCatalog, settings: AgentSettings, closing: set[int]) -> Chooser:
    if not settings.constrained:
        return FreeChooser(artefacts.codes, artefacts.tokenizer, closing)
    offered = [*tools.ids, FINISH.id]
    tokens = TokenChooser(artefacts.codes, offered if len(offered) < len(artefacts.catalog) else None)
    if settings.retriever is None:
        return tokens
    found = settings.retriever(tools)
    return RetrieverChooser(found, [FINISH.id], tokens, min(settings.hits, len(tools)))
