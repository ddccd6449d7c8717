"""The agent's quickstart: a small decoder from scratch learns to act on AWS, and is measured. Knows every room.

AWS operations are the tools; tasks whose success is seen in the account that they leave are learnt from and tested on.
Test tasks share neither names nor wordings with those of training, and some are over services that no training task
calls.

A step whose files are there is not done again; stages and evaluations that were interrupted go on where they stopped.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from transformers import set_seed

from toolgen.agent.evaluation.evaluate import FIGURES, evaluate_agent
from toolgen.agent.load import AgentSettings
from toolgen.agent.tasks.generate import chosen_services
from toolgen.agent.turns import FINISH
from toolgen.base import load_tokenizer
from toolgen.benchmarks.agent_base import make_agent_base, tool_texts
from toolgen.benchmarks.agent_quickstart_figures import (
    AGENT,
    HELD_OUT_SERVICES,
    Costs,
    agent_figures,
    cost_table,
    success_table,
)
from toolgen.benchmarks.agent_recipe import (
    AgentQuickstartConfig,
    Run,
    agent_config,
    check_begun,
    memorization_config,
    retrieval_config,
)
from toolgen.benchmarks.agent_tasks import TaskFile, make_tasks
from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.checkpoint import publish, write_model
from toolgen.config import load_config
from toolgen.files import read_json, write_json
from toolgen.indexing import build
from toolgen.origin import start
from toolgen.sources.botocore import import_catalog
from toolgen.stages import agent, memorization, retrieval
from toolgen.terminal import err, out, progress_bar
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog


def run_agent_quickstart(output: Path, config: AgentQuickstartConfig | None = None) -> dict[str, Any]:
    """Run the agent's quickstart, or go on with it, and write ``figures.json``.

    Args:
        output: Folder of the run.
        config: None: configs/quickstart_agent.yaml.

    Returns:
        The content of ``figures.json``.

    Raises:
        InputError: The configuration cannot be used, or the folder was begun with another one.
        SystemExit: A signal stopped a stage; the same call goes on with it.
    """
    if config is None:
        with as_file(files("toolgen.configs") / "quickstart_agent.yaml") as path:
            config = load_config(AgentQuickstartConfig, path)
    run = Run(output, config)
    check_begun(run)
    if not run.figures.is_file():
        costs = Costs(run.costs)
        for step in steps(run):
            if not all(path.exists() for path in step.made):
                with costs.of(step.name):
                    step.make()
                err.print(f"{step.name}: {costs.seconds[step.name] / 60:.1f} minutes", markup=False)
        found = {line.name: read_json(run.evaluation(line.name) / FIGURES) for line in lines(run)}
        write_json(run.figures, {**agent_figures(found), **costs.to_record()})
    figures = read_json(run.figures)
    out.print(cost_table(figures))
    out.print(success_table(figures))
    _say(run, figures)
    return figures


@dataclass(frozen=True)
class Step:
    """Something that is done once.

    Attributes:
        name: For the terminal, and for what it costs.
        made: Files or folders that are there, whole, when it is done.
        make: Does it, or goes on with it.
    """

    name: str
    made: Sequence[Path]
    make: Callable[[], object]


def steps(run: Run) -> Iterator[Step]:
    """All there is to do. What a step reads, earlier ones have made."""
    yield Step("catalogue", [run.tools], lambda: make_catalog(run))
    parts = task_files(run)
    yield Step("tasks", [part.path for part in parts], lambda: make_tasks(parts))
    yield Step("base", [run.base, run.codebook], lambda: make_base(run))
    # A stage's report is the last that it writes.
    for stage, train in (
        ("memorization", lambda: memorization.run(memorization_config(run))),
        ("retrieval", lambda: retrieval.run(retrieval_config(run))),
        ("agent", lambda: agent.run(agent_config(run))),
    ):
        yield Step(stage, [run.root / stage / "report.json"], train)
    yield Step("untrained", [run.untrained], lambda: make_untrained(run))
    for line in lines(run):
        yield Step(f"evaluation: {line.name}", [run.evaluation(line.name) / FIGURES], partial(measure, run, line))


# ---- what is learnt from


def make_catalog(run: Run) -> None:
    """Import the operations of all services, and add the tool that ends an episode."""
    with progress_bar("Importing AWS services") as progress:
        operations = import_catalog(chosen_services(run.config.services), progress)
    ToolCatalog([*operations.values(), FINISH]).to_jsonl(run.tools)


def task_files(run: Run) -> list[TaskFile]:
    """The files of tasks that a run has."""
    numbers, seen, held_out = run.config.tasks, run.config.seen, run.config.held_out
    train = run.train_tasks
    # As many tasks in each, but for one more in some.
    counts = [numbers.train // len(train) + (seed < numbers.train % len(train)) for seed in range(len(train))]
    parts = [
        TaskFile(path, count, seed, "train", seen) for seed, (path, count) in enumerate(zip(train, counts, strict=True))
    ]
    parts += [
        TaskFile(run.tasks("validation"), numbers.validation, 0, "validation", seen),
        TaskFile(run.tasks("test"), numbers.test, 1, "test", seen),
    ]
    if held_out:
        parts.append(TaskFile(run.tasks("held-out"), numbers.held_out, 1, "test", held_out))
    return parts


def make_base(run: Run) -> None:
    """Make the base model, and one token a tool for its tokenizer."""
    catalog = ToolCatalog.from_jsonl(run.tools)
    make_agent_base(run.base, tool_texts(catalog), run.config.shape, run.config.upbringing, run.config.seed)
    tokenizer = load_tokenizer(str(run.base))
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(run.codebook)


def make_untrained(run: Run) -> None:
    """The model that the first stage starts with, as a checkpoint."""
    config = memorization_config(run)
    set_seed(config.training.seed)
    model, artefacts = start(config)
    publish(run.untrained, lambda target: write_model(target, model, artefacts))


# ---- what is measured


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        name: For the table and for the folder.
        checkpoint: Of the agent.
        tasks: File.
        settings: How the agent works.
        limit: So many tasks of the file, drawn; None: all.
    """

    name: str
    checkpoint: Path
    tasks: Path
    settings: AgentSettings
    limit: int | None = None


def lines(run: Run) -> list[Line]:
    """The agent, on held-out services too, and controls on fewer of the test tasks."""
    trained, test = run.checkpoint("agent"), run.tasks("test")
    budget, limit = run.config.budget, run.config.controls_limit
    usual = AgentSettings(budget=budget)
    bm25 = AgentSettings(retriever=BM25Retriever, hits=run.config.hits, budget=budget)
    held_out = [Line(HELD_OUT_SERVICES, trained, run.tasks("held-out"), usual)]
    return [
        Line(AGENT, trained, test, usual),
        *(held_out if run.config.held_out else ()),
        Line("unconstrained", trained, test, AgentSettings(constrained=False, budget=budget), limit),
        Line("free arguments", trained, test, AgentSettings(arguments="free", budget=budget), limit),
        Line("bm25", trained, test, bm25, limit),
        # It has learnt from no episode what turns look like; these are those of the trained one.
        Line("untrained", run.untrained, test, AgentSettings(budget=budget, documents=False), limit),
    ]


def measure(run: Run, line: Line) -> None:
    """Run the episodes of a line, or those that are missing."""
    with progress_bar(f"Running episodes: {line.name}") as progress:
        evaluate_agent(
            line.checkpoint,
            line.tasks,
            run.evaluation(line.name),
            line.settings,
            limit=line.limit,
            workers=run.config.workers,
            batch=run.config.batch,
            progress=progress,
        )


def _say(run: Run, figures: dict[str, Any]) -> None:
    out.print(
        f"{figures['minutes']:.1f} minutes, peak {figures['peak_gb']:.1f} GB a process; artefacts in {run.root}, "
        f"figures in {run.figures}",
        markup=False,
    )
    python, budget = os.path.relpath(sys.executable), run.config.budget
    out.print("Next, let it act:")
    out.print(
        f"{python} -m toolgen agent --checkpoint {shlex.quote(str(run.checkpoint('agent')))} --turns {budget.turns} "
        f'--tokens {budget.tokens} "Create a bucket named amber-river."',
        markup=False,
        soft_wrap=True,
    )
