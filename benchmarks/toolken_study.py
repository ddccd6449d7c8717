"""The study of TokenLearning's prior (arXiv 2506.14248): does it help rows where they start, and is it its direction or its
size that does?

    python -m toolgen.benchmarks.toolken_study --data DIR --out runs/toolken/study

The model reads the texts once. Every cell (start, pull, examples a tool, seed) then takes seconds, and is kept as soon
as it is done: a study that was interrupted goes on. Knows what is studied, the file of cells, and the command line; a
cell is ``toolken_cells``, the page ``toolken_page``.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from shlex import join
from typing import Annotated, Any

import typer

from toolgen.base import Base, load_base
from toolgen.benchmarks.toolken_cells import (
    BY_NAME,
    BY_STATE,
    METHODS,
    NEIGHBOUR,
    TOOLKENGPT,
    Cell,
    Method,
    Outcome,
    Place,
    Results,
    Starts,
    TextSet,
    restricted,
    run_cell,
)
from toolgen.benchmarks.toolken_page import answers, render
from toolgen.config import load_config
from toolgen.errors import InputError
from toolgen.files import fingerprint, read_jsonl, replacing
from toolgen.terminal import err, out, progress_bar, run_app
from toolgen.toolken.config import Material, ToolkenConfig, load_material
from toolgen.toolken.measures import Figures
from toolgen.toolken.states import weights_checksum
from toolgen.toolken.texts import AnnotatedText
from toolgen.toolken.training import prepare

RATES = (1e-3, 1e-2)
"""Of learning; each method takes the one with the lower loss on validation."""
RATE_EXAMPLES = 10
"""Examples a tool with which the rate is chosen, for all numbers of examples."""

MOST_VALIDATION = 400
"""Validation texts, so that few examples do not cost as much as many."""
MOST_TRAINING = 1500
"""Training texts where all their words are labels too."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Plan:
    """What is studied.

    Attributes:
        few: Data with few examples a tool: all methods.
        examples: A tool, there and for the curve.
        full: Data with all their examples: the published methods.
        curve: Data with fewer tools: the published methods.
        tools: How many, beside all.
        curve_examples: A tool.
        seeds: Of every cell.
        most_tools: Of a catalogue whose tools are not run; None: all.
    """

    few: tuple[str, ...] = ("metatool", "gsm8k")
    examples: tuple[int, ...] = (5, 10, 20, 40)
    full: tuple[str, ...] = ("funcqa", "gsm8k", "virtualhome", "metatool")
    curve: str = "metatool"
    tools: tuple[int, ...] = (30, 60, 100)
    curve_examples: int = 10
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    most_tools: int | None = None


QUICK = Plan(few=("metatool",), examples=(5, 10), full=("metatool",), tools=(5,), seeds=(0,), most_tools=10)
"""To see that it works, and what the page looks like."""

_PUBLISHED = (TOOLKENGPT, BY_NAME, BY_STATE)


class Kept:
    """Outcomes on disk, one a line, written as they come."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: JSON lines; made where it is missing. A last line that was not written to its end is taken off.

        Raises:
            InputError: Another line is broken.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.read_bytes() if path.exists() else b""
        if not written.endswith(b"\n"):
            path.write_bytes(written[: written.rfind(b"\n") + 1])
        self._found = {record["key"]: _outcome(record["outcome"]) for record, _ in read_jsonl(path)}

    def find(self, cell: Cell, texts: TextSet) -> Outcome | None:
        """What is known of a cell."""
        return self._found.get(_key(cell, texts))

    def add(self, cell: Cell, texts: TextSet, outcome: Outcome) -> None:
        """Keep an outcome."""
        key = _key(cell, texts)
        line = json.dumps({"key": key, "cell": cell.record(), "outcome": asdict(outcome)}, separators=(",", ":"))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._found[key] = outcome


def load_sets(plan: Plan, data: Path, base: Base, model: str) -> dict[str, TextSet]:
    """Texts of all data of a plan, as states of the model; what is on disk already is taken from there.

    Raises:
        InputError: A file is missing or broken.
    """
    checksum = weights_checksum(base.model)
    found = {}
    for name in dict.fromkeys((*plan.few, *plan.full, plan.curve)):
        config = _config(name, data, model, plan.most_tools)
        material = load_material(config.data)
        if config.words:
            material = replace(material, train=_thinned(material.train, MOST_TRAINING))
        material = replace(material, validation=_thinned(material.validation, MOST_VALIDATION))
        _check(material, name)
        with progress_bar(f"Reading {name}") as progress:
            prepared = prepare(base, material, config, checksum, progress)
        everything = tuple(range(len(material.catalog)))
        found[name] = TextSet(name, material.catalog, prepared, config.words, everything)
    return found


class Study:
    """A plan under way: cells are run, or taken from those that are kept."""

    def __init__(self, plan: Plan, sets: Mapping[str, TextSet], base: Base, kept: Kept) -> None:
        """
        Args:
            plan: What to study.
            sets: From ``load_sets``.
            base: The model that read them.
            kept: Where cells are kept.
        """
        self._plan = plan
        self._kept = kept
        self._starts = Starts(base)
        self._sets = dict.fromkeys(self._places())
        self._sets = {place: restricted(sets[place.data], place.tools) for place in self._places(sets)}

    def run(self) -> Results:
        """Run all cells."""
