"""A checkpoint of an agent that nobody has trained, an account that is a set of names, and tasks over it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.tasks.task import Check, Task
from toolgen.agent.trajectory import Step, Trajectory
from toolgen.agent.turns import FINISH
from toolgen.benchmarks.tiny import save_tiny_base
from toolgen.queries import Call
from toolgen.tools import Tool, ToolCatalog

NAMED = {"type": "object", "properties": {"Name": {"type": "string", "maxLength": 8}}, "required": ["Name"]}
TOOLS = (
    Tool("box.Make", "Make", "Makes a box.", parameters=NAMED, group="box"),
    Tool("box.Drop", "Drop", "Drops a box.", parameters=NAMED, group="box"),
    Tool("bag.List", "List", "Lists what there is.", parameters={"type": "object", "properties": {}}, group="bag"),
)
DEADLY, BROKEN = "deadly", "broken"
"""A name with which a call ends the process, and one with which it raises."""


class Boxes:
    """An account that holds names."""

    def __init__(self, catalog: ToolCatalog) -> None:
        self.catalog = catalog
        self.names: set[str] = set()
        self.open = True

    def reset(self, seed: int | None = None) -> None:
        assert self.open
        self.names.clear()

    def call(self, tool: str, arguments: Arguments) -> Observation:
        assert self.open and isinstance(arguments, Mapping)
        if tool not in self.catalog:
            return Observation(Status.UNKNOWN_TOOL, f"There is no tool {tool!r}.")
        name = arguments.get("Name", "")
        if name == DEADLY:
            os._exit(3)
        if name == BROKEN:
            raise RuntimeError("the account is broken")
        if tool == "box.Make":
            self.names.add(name)
        elif tool == "box.Drop" and name not in self.names:
            return Observation(Status.FAILED, "NoBox: it is not there")
        else:
            self.names.discard(name)
        return Observation(Status.OK, '{"Names": [' + ", ".join(f'"{one}"' for one in sorted(self.names)) + "]}")

    def query(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Observation:
        return self.call(tool, arguments or {})

    def close(self) -> None:
        self.open = False


def box_task(number: int, *names: str, setup: tuple[str, ...] = ()) -> Task:
    """Make boxes."""
    steps = tuple(Step("box.Make", {"Name": name}, "", "I make it.", Status.OK) for name in names)
    return Task(
        Trajectory(f"t{number}", f"Make {' and '.join(names)} ({number}).", steps, "answer", "Done."),
        recipe="box-make",
        services=("box",) if len(names) == 1 else ("box", "bag"),
        split="test",
        seed=number,
        setup=tuple(Call("box.Make", {"Name": name}) for name in setup),
        expected=tuple({"Name": name} for name in names),
        checks=(Check((Call("bag.List", {}),), {"Names": list(names)}),),
    )


def save_agent(folder: Path, tools: ToolCatalog, *, context: int = 2048, history: tuple[Any, ...] = ()) -> Path:
    """A random model over tools and FINISH, as a checkpoint."""
    import torch

    from toolgen.base import load_base
    from toolgen.checkpoint import Artefacts, publish, write_model
    from toolgen.indexing import build
    from toolgen.tokenizer import encode_text, end_token_id
    from toolgen.vocabulary import extend

    catalog = ToolCatalog([*tools.values(), FINISH])
    save_tiny_base(folder / "base", [tool.document() for tool in catalog.values()])
    base = load_base(str(folder / "base"))
    base.model.config.max_position_embeddings = context
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in base.model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    encode = lambda text: encode_text(base.tokenizer, text)  # noqa: E731
    book = build("atomic", catalog, encode=encode, end_id=end_token_id(base.tokenizer))
    extended = extend(base.model, base.tokenizer, book)
    artefacts = Artefacts(extended.tokenizer, catalog, book, extended.codes, "plain", "tiny", history=history)
    publish(folder / "final", lambda target: write_model(target, extended.model, artefacts))
    return folder / "final"
