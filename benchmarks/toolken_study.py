"""The study of TokenLearning's prior (arXiv 2506.14248): does it help tool rows, and is it its direction or its size
that does?

    python -m toolgen.benchmarks.toolken_study --data DIR --out runs/toolken/study

The model reads the texts once. Every cell (start, pull, examples a tool, seed) then takes seconds, and is kept as soon
as it is done: a study that was interrupted goes on. Knows what is studied, the file of cells, and the command line; a
cell is ``toolken_cells``, the page ``toolken_page``.
"""

import json
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from shlex import join
from typing import Annotated, Any

import typer

from toolgen.base import Base, load_base
from toolgen.benchmarks.funcqa import one_hop_texts
from toolgen.benchmarks.toolken_cells import (
    EPOCHS,
    NEIGHBOUR,
    Cell,
    Direction,
    Method,
    Outcome,
    Place,
    Scale,
    Start,
    Starts,
    TextSet,
    restricted,
    run_cell,
)
from toolgen.benchmarks.toolken_findings import Outcomes, Rates, Results, SetFacts, findings
from toolgen.benchmarks.toolken_page import answers, render
from toolgen.config import load_config
from toolgen.embeddings import Progress
from toolgen.files import fingerprint, read_jsonl, replacing
from toolgen.regularizer import RegularizerConfig
from toolgen.terminal import err, out, progress_bar, run_app
from toolgen.toolken.config import ToolkenConfig, load_material
from toolgen.toolken.measures import Figures
from toolgen.toolken.states import weights_checksum
from toolgen.toolken.texts import AnnotatedText
from toolgen.toolken.training import prepare

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Of learning; each method takes the one with the lower loss on validation."""
RATE_EXAMPLES = 10
"""Examples a tool with which the rate is chosen, for all numbers of examples."""

MOST_VALIDATION = 400
"""Validation texts, so that few examples do not cost as much as many."""
MOST_TRAINING = 1500
"""Training texts where all their words are labels too."""

TITLES = {
    "metatool": "MetaTool",
    "gsm8k": "GSM8K",
    "funcqa": "FuncQA",
    "onehop": "FuncQA's questions of one hop",
    "virtualhome": "VirtualHome",
}
_ONE_HOP = "onehop"
"""Rows of FuncQA's training texts, measured on questions that come without a solution."""

PULLS = (
    RegularizerConfig(weight=1e-3, distance="squared"),
    RegularizerConfig(weight=1e-2, distance="squared"),
    RegularizerConfig(weight=1e-2, distance="plain"),
)
"""TokenLearning's paper squares the distance, its code does not and has this weight."""

_DIRECTIONS: tuple[Direction, ...] = ("random", "name", "hidden", "description")
_SCALES: tuple[Scale, ...] = ("small", "word")
_STARTS = (*(Start(kind, scale) for kind in _DIRECTIONS for scale in _SCALES), Start("name", "small", "max"))
_TOOLKENGPT = Method(Start("random", "linear"))
_PULLED = (Start("random", "small"), *(Start(kind, scale) for kind in _DIRECTIONS[1:3] for scale in _SCALES))

METHODS = (
    _TOOLKENGPT,
    *(Method(start) for start in _STARTS),
    *(Method(start, pull) for start in _PULLED for pull in PULLS),
)
PUBLISHED = {
    "ToolkenGPT": _TOOLKENGPT,
    "TokenLearning by names": Method(Start("name", "small"), PULLS[2]),
    "TokenLearning by states": Method(Start("hidden", "small"), PULLS[2]),
}
"""The first one is what the others are compared with."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Plan:
    """What is studied.

    Attributes:
        methods: Trainings that are tried with few examples; the published ones are among them.
        few: Data with few examples a tool.
        examples: A tool, there and for the curve.
        full: Data with all their examples: the published methods.
        curve: Data with fewer tools: the published methods.
        tools: How many, beside all.
        curve_examples: A tool.
        seeds: Of every cell.
        most_tools: Of a catalogue whose tools are not run; None: all.
    """

    methods: tuple[Method, ...] = METHODS
    few: tuple[str, ...] = ("metatool", "gsm8k")
    examples: tuple[int, ...] = (5, 10, 20, 40)
    full: tuple[str, ...] = ("funcqa", _ONE_HOP, "gsm8k", "virtualhome", "metatool")
    curve: str = "metatool"
    tools: tuple[int, ...] = (30, 60, 100)
    curve_examples: int = 10
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    most_tools: int | None = None


PLAN = Plan()
QUICK = Plan(few=("metatool",), examples=(5, 10), full=("metatool",), tools=(5,), seeds=(0,), most_tools=10)
"""To see that it works, and what the page looks like."""


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
        config = _config("funcqa" if name == _ONE_HOP else name, data, model, plan.most_tools)
        material = load_material(config.data)
        if name == _ONE_HOP:
            asked = one_hop_texts(data / "toolken" / "funcqa_onehop_test.jsonl.gz", material.catalog)
            material = replace(material, test=tuple(asked))
        if config.words:
            material = replace(material, train=_thinned(material.train, MOST_TRAINING))
        material = replace(material, validation=_thinned(material.validation, MOST_VALIDATION))
        with progress_bar(f"Reading {name}") as progress:
            longest = config.data.max_tokens
            prepared = prepare(base, material, checksum, words=config.words, max_tokens=longest, progress=progress)
        everything = tuple(range(len(material.catalog)))
        found[name] = TextSet(name, material.catalog, prepared, config.words, config.fit.batch_size, everything)
    return found


class Study:
    """A plan under way: a cell is run, or taken from those that are kept."""

    def __init__(self, plan: Plan, sets: Mapping[str, TextSet], base: Base, kept: Kept) -> None:
        """
        Args:
            plan: What to study.
            sets: From ``load_sets``.
            base: The model that read them.
            kept: Where cells are kept.
        """
        self._sets = sets
        self._kept = kept
        self._starts = Starts(base)
        self._fewer: dict[tuple[str, int], TextSet] = {}
        self.methods = plan.methods
        self.seeds = plan.seeds
        self.few = tuple(self._place(name, examples) for name in plan.few for examples in plan.examples)
        self.full = tuple(self._place(name, None) for name in plan.full)
        everything = len(sets[plan.curve].catalog)
        counts = [*(count for count in plan.tools if count < everything), everything]
        self.curve = tuple(Place(plan.curve, count, plan.curve_examples) for count in counts)

    @property
    def jobs(self) -> list[tuple[Place, Method]]:
        """Every method with every place that it is tried on."""
        few = [(place, method) for place in self.few for method in (*self.methods, NEIGHBOUR)]
        rest = [(place, method) for place in (*self.curve, *self.full) for method in (*PUBLISHED.values(), NEIGHBOUR)]
        return list(dict.fromkeys((*few, *rest)))

    @property
    def trials(self) -> list[tuple[Place, Method]]:
        """Where the rate of each method is chosen."""
        return list(dict.fromkeys((self._trial(place), method) for place, method in self.jobs if method.start))

    @property
    def planned(self) -> int:
        """Number of cells; one of those that the rate is chosen by serves as a cell."""
        tried = {Cell(*trial, rate, self.seeds[0]) for trial in self.trials for rate in RATES}
        return len(tried | {cell for job in self.jobs for cell in self._cells(*job, RATES[0])})

    def run(self, progress: Progress) -> tuple[Outcomes, Rates]:
        """Choose the rates and run all cells.

        Args:
            progress: Told cells done and all.

        Returns:
            The outcomes, one a seed; and the rates of the trainings.
        """
        done: dict[Cell, Outcome] = {}
        total = self.planned

        def outcome(cell: Cell) -> Outcome:
            if cell not in done:
                done[cell] = self._outcome(cell)
                progress(len(done), total)
            return done[cell]

        chosen = {trial: self._rate(trial, outcome) for trial in self.trials}
        rates = {
            (place, method): chosen[self._trial(place), method]
            for place, method in self.jobs
            if method.start is not None
        }
        outcomes = {job: tuple(outcome(cell) for cell in self._cells(*job, rates.get(job))) for job in self.jobs}
        return outcomes, rates

    def _rate(self, trial: tuple[Place, Method], outcome: Callable[[Cell], Outcome]) -> float:
        def loss(rate: float) -> float:
            found = outcome(Cell(*trial, rate, self.seeds[0])).validation
            assert found is not None, "rows have a loss"
            return found

        return min(RATES, key=loss)

    def _cells(self, place: Place, method: Method, rate: float | None) -> list[Cell]:
        """One a seed; nothing of a neighbour among all examples is left to chance."""
        if method.start is None:
            seeds = self.seeds if place.examples is not None else self.seeds[:1]
            return [Cell(place, method, None, seed) for seed in seeds]
        return [Cell(place, method, rate, seed) for seed in self.seeds]

    def _outcome(self, cell: Cell) -> Outcome:
        wanted = (cell.place.data, cell.place.tools)
        if wanted not in self._fewer:
            self._fewer[wanted] = restricted(self._sets[cell.place.data], cell.place.tools)
        texts = self._fewer[wanted]
        found = self._kept.find(cell, texts)
        if found is None:
            found = run_cell(cell, texts, self._starts)
            self._kept.add(cell, texts, found)
        return found

    def _place(self, name: str, examples: int | None) -> Place:
        return Place(name, len(self._sets[name].catalog), examples)

    def _trial(self, place: Place) -> Place:
        return self._place(place.data, None if place.examples is None else RATE_EXAMPLES)


def run_study(plan: Plan, data: Path, output: Path, model: str, command: str) -> Results:
    """Run what is not done of a plan.

    Args:
        plan: What to study.
        data: Folder that holds ``toolken`` and ``metatool``.
        output: Of the file of cells.
        model: Name of the base.
        command: What the page says made it.

    Raises:
        InputError: A file of the data is missing or broken, or the file of cells is.
    """
    kept = Kept(output / "cells.jsonl")
    base = load_base(model)
    sets = load_sets(plan, data, base, model)
    study = Study(plan, sets, base, kept)
    err.print(f"{study.planned:,} cells", markup=False)
    with progress_bar("Cells") as progress:
        outcomes, rates = study.run(progress)
    facts = {
        name: SetFacts(
            TITLES[name], len(one.catalog), len(one.prepared.train), len(one.prepared.validation), one.measures
        )
        for name, one in sets.items()
    }
    rates_told = ", ".join(f"{rate:g}" for rate in RATES)
    batches = ", ".join(f"{TITLES[name]} {one.batch}" for name, one in sets.items())
    origin = {
        "command": command,
        "base model": model,
        "training": f"{EPOCHS} epochs; texts a step: {batches}; the epoch with the lowest validation loss is kept",
        "learning rates": f"{rates_told}, the one with the lower validation loss under seed {plan.seeds[0]}: at "
        f"{RATE_EXAMPLES} examples of all tools for few examples and fewer tools, at all examples for these",
        "at most": f"{MOST_VALIDATION} validation texts; {MOST_TRAINING:,} training texts where words are labels too",
        "code": ", ".join(sorted({one.code for seeds in outcomes.values() for one in seeds})),
    }
    places = study.few, study.curve, study.full
    return Results(*places, plan.methods, PUBLISHED, outcomes, rates, facts, plan.seeds, origin)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder that holds toolken/ and metatool/.")],
    output: Annotated[Path, typer.Option("--out", help="Folder of cells and page.")] = Path("runs/toolken/study"),
    model: Annotated[
        str, typer.Option(help="Base: embedded, a folder, or a name on the Hugging Face hub.")
    ] = "embedded",
    quick: Annotated[bool, typer.Option("--quick", help="Ten tools, one seed: to see that it works.")] = False,
) -> None:
    """Study where tool rows should start, and write a page of it.

    An hour on one core. Writes cells.jsonl as it goes, from which the same command goes on, and study.html.
    """
    command = join(["python", "-m", "toolgen.benchmarks.toolken_study", *sys.argv[1:]])
    results = run_study(QUICK if quick else PLAN, data, output, model, command)
    with progress_bar("Comparing") as progress:
        found = findings(results, progress)
    for heading, told in answers(results, found).items():
        out.print("\n".join((heading, *(f"  {one}" for one in told))), markup=False)
    with replacing(output / "study.html") as temporary:
        # The page's policy knows its scripts by their bytes, so no system may change the ends of lines.
        temporary.write_bytes(render(results, found).encode())
    err.print(f"page written to {output / 'study.html'}", markup=False)


def _config(name: str, data: Path, model: str, most_tools: int | None) -> ToolkenConfig:
    """The configuration of a data set's own training, with the files of this folder."""
    with as_file(files("toolgen.configs") / "toolken" / f"{name}.yaml") as path:
        config = load_config(ToolkenConfig, path, [f"model={json.dumps(model)}"])
    named = {key: getattr(config.data, key) for key in ("texts", "queries", "tools")}
    # The files name a folder of data beside the project; its own folders are the same everywhere.
    paths: dict[str, Any] = {
        key: data / path.parent.name / path.name for key, path in named.items() if path is not None
    }
    if config.data.hub is None:
        paths["most_tools"] = most_tools
    return config.model_copy(update={"data": config.data.model_copy(update=paths)})


def _thinned(texts: Sequence[AnnotatedText], most: int) -> tuple[AnnotatedText, ...]:
    """Some of the texts in their order, by chance that is the same every time."""
    if len(texts) <= most:
        return tuple(texts)
    places = sorted(random.Random(0).sample(range(len(texts)), most))
    return tuple(texts[place] for place in places)


def _key(cell: Cell, texts: TextSet) -> str:
    return fingerprint([texts.key, cell.record()])


def _outcome(record: Mapping[str, Any]) -> Outcome:
    counts = {name: tuple(record[name]) for name in ("calls_T", "right_T", "triggers_T", "hits_T")}
    return Outcome(**{**record, **counts, "figures": Figures(**record["figures"])})


if __name__ == "__main__":
    run_app(app)
