"""What a training of tool rows is told, and the texts and tools that this names. Knows files; no models.

Texts come with calls in them, or are made of labelled queries: a query is then asked, and its tool's title is the
result of a call, so that the tool's row answers (the shape of ToolkenGPT's experiment on KAMEL).
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from toolgen.agent.environment import Environment
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.functions.hub import HUBS
from toolgen.priors import Prior
from toolgen.queries import Query, read_queries
from toolgen.toolken.fitting import FitConfig
from toolgen.toolken.texts import AnnotatedText, Span, read_texts
from toolgen.tools import ToolCatalog
from toolgen.tracking import TrackingConfig

PARTS = ("train", "validation", "test")

_NUMBERS = re.compile(r"[\d.,$%]*\d[\d.,$%]*")


class TextsConfig(Section):
    """Where texts and tools come from."""

    texts: Path | None = Field(None, description="Texts with calls: .jsonl or .jsonl.gz.")
    queries: Path | None = Field(None, description="Labelled queries instead, each asked as a text; tools is needed.")
    hub: str | None = Field(None, description=f"Functions that the texts call: {', '.join(HUBS)}.")
    tools: Path | None = Field(None, description="Or a catalogue, whose tools are not run.")
    validation: float = Field(0.1, ge=0, lt=1, description="Share of the texts to choose epoch and bias by.")
    test: float = Field(0.1, ge=0, lt=1, description="Share that is measured at the end.")
    most_a_tool: int | None = Field(None, ge=1, description="Training texts that call a tool, at most; null: all.")
    most_tools: int | None = Field(None, ge=2, description="The catalogue's first tools only; null: all.")
    max_tokens: int | None = Field(
        None, ge=2, description="Longer texts lose their beginning; null: they are refused where the context ends."
    )

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if (self.texts is None) == (self.queries is None):
            raise ValueError("give either texts or queries")
        if (self.hub is None) == (self.tools is None):
            raise ValueError("give either hub or tools")
        if self.queries is not None and self.tools is None:
            raise ValueError("queries name tools of a catalogue: give tools")
        if self.hub is not None and self.hub not in HUBS:
            raise ValueError(f"unknown hub {self.hub!r}; choose from {', '.join(HUBS)}")
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing to train on")
        return self


class ToolkenConfig(Section):
    """A training of tool rows beside a frozen model."""

    output: Path = Field(description="Folder of the run.")
    model: str = Field("embedded", description="Base: embedded, a folder, or a name on the Hugging Face hub.")
    data: TextsConfig
    words: bool = Field(True, description="Whether rows also learn where no tool is called.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Of the base's weights.")
    device: str | None = Field(None, description="Such as cpu or cuda:0; null: CUDA when there is one.")
    prior: Prior = Field(Prior(kind="random", scale="linear"), description="Where rows start.")
    fit: FitConfig = FitConfig()
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Of training; the first one's rows are saved.")
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _seeds(self) -> Self:
        if self.fit.seed or self.prior.seed:
            raise ValueError("fit.seed and prior.seed are given by seeds, such as seeds=[0,1,2]; leave them out")
        return self


@dataclass(frozen=True)
class Material:
    """Texts in their parts, and the tools that they call.

    Attributes:
        catalog: The tools.
        environment: Runs them; None where nothing can.
        train: Texts to learn from.
        validation: To choose epoch and bias by.
        test: To measure on.
    """

    catalog: ToolCatalog
    environment: Environment | None
    train: tuple[AnnotatedText, ...]
    validation: tuple[AnnotatedText, ...]
    test: tuple[AnnotatedText, ...]


def load_material(config: TextsConfig) -> Material:
    """Read texts and tools and divide the texts.

    What a text says before its first call decides which part it is in, its numbers left out: texts that differ in their
    numbers alone are in one part, and the part stays when others come. A text that names its split as ``train``,
    ``validation`` or ``test`` is in that one; other names of a source's own say nothing here.

    Raises:
        InputError: A file is broken, a tool is unknown, or a part that is asked for is empty.
    """
    environment = HUBS[config.hub]() if config.hub is not None else None
    catalog = environment.catalog if environment is not None else ToolCatalog.from_jsonl(config.tools or "")
    if config.most_tools is not None:
        catalog = ToolCatalog(list(catalog.values())[: config.most_tools])
    if config.queries is not None:
        texts = [asked(query, catalog) for query in _of_one_tool(read_queries(config.queries), catalog)]
    else:
        texts = read_texts(config.texts or "", catalog)
    parts: dict[str, list[AnnotatedText]] = {name: [] for name in PARTS}
    for text in texts:
        parts[part_of(text, config)].append(text)
    train = parts["train"] if config.most_a_tool is None else few_a_tool(parts["train"], config.most_a_tool)
    for name, found in (("train", train), ("validation", parts["validation"]), ("test", parts["test"])):
        if not found and (name == "train" or getattr(config, name)):
            raise InputError(
                f"No text is left for the part '{name}' of {len(texts)}. Give more texts or a larger share."
            )
    return Material(catalog, environment, tuple(train), tuple(parts["validation"]), tuple(parts["test"]))


def part_of(text: AnnotatedText, config: TextsConfig) -> str:
    """Which of ``PARTS`` a text is in."""
    return text.split if text.split in PARTS else _part(text, config)


def asked(query: Query, catalog: ToolCatalog) -> AnnotatedText:
    """A query as a text: it is asked, and the title of its tool is the answer."""
    (tool,) = query.tools
    asks = f"Question: {query.text}\nTool: "
    title = catalog[tool].title()
    return AnnotatedText(query.id, asks + title, (Span(len(asks), len(asks) + len(title), tool),), query.split)


def few_a_tool(texts: Sequence[AnnotatedText], most: int) -> list[AnnotatedText]:
    """Texts in an order of their own, each taken while fewer than ``most`` taken before call one of its tools."""
    taken: dict[str, int] = defaultdict(int)
    found = []
    for text in sorted(texts, key=lambda text: _digest(text.text)):
        tools = {span.tool for span in text.calls}
        if any(taken[tool] < most for tool in tools):
            found.append(text)
            for tool in tools:
                taken[tool] += 1
    return found


def _of_one_tool(queries: Sequence[Query], catalog: ToolCatalog) -> list[Query]:
    return [query for query in queries if len(query.tools) == 1 and query.tools[0] in catalog]


def _part(text: AnnotatedText, config: TextsConfig) -> str:
    before = text.text[: text.calls[0].start] if text.calls else text.text
    place = _digest(" ".join(_NUMBERS.sub("#", before).split())) / 2**32
    if place < config.test:
        return "test"
    return "validation" if place < config.test + config.validation else "train"


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:4], "big")
