"""What the agent's quickstart is told, where its artefacts lie, and how its three stages are configured. Runs nothing.

ROOT/
    recipe.json      what the run was begun with
    tools.jsonl, tasks/, base/, codebook.json
    memorization/, retrieval/, agent/, untrained/
    evaluation/      a folder of ``toolgen agent-eval`` for each line of the table
    costs.json       seconds of each step, over all runs, and the most memory
    figures.json     written last
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeVar

from pydantic import Field, field_validator

from toolgen.agent.loop import Budget
from toolgen.agent.tasks.generate import HELD_OUT, chosen_services, task_services
from toolgen.benchmarks.decoder import Shape
from toolgen.benchmarks.quickstart import quoted
from toolgen.config import Section, load_config
from toolgen.errors import InputError
from toolgen.files import read_json, slug, write_json
from toolgen.stage import StageConfig
from toolgen.stages.agent import AgentConfig
from toolgen.stages.memorization import MemorizationConfig
from toolgen.stages.retrieval import RetrievalConfig

TASKS_A_FILE = 1000
"""Training tasks that a process makes at once. A file has a seed of its own, so that the tasks are the same on any
number of cores."""


class TaskNumbers(Section):
    """How many tasks."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=2, description="Half of them take one call, the others several.")
    held_out: int = Field(ge=2, description="The same over services that no training task calls.")


class AgentQuickstartConfig(Section):
    """What the agent's quickstart is told; see configs/quickstart_agent.yaml."""

    services: str = Field(description="all, or names separated by commas, as of `toolgen tasks aws`.")
    tasks: TaskNumbers
    seed: int = Field(0, description="Of the base's weights and of the three stages.")
    shape: Shape
    upbringing: int = Field(ge=1, description="Steps in which the base practises recalling, before any stage.")
    budget: Budget = Field(description="Of an episode.")
    hits: int = Field(5, ge=1, description="Tools that BM25 finds, where it stands in front.")
    controls_limit: int = Field(100, ge=1, description="Tasks drawn for each control.")
    workers: int = Field(2, ge=1, description="Processes of an evaluation, each with its own model.")
    batch: int = Field(8, ge=1, description="Episodes in lockstep in each; an account takes about 120 MB.")

    @field_validator("services")
    @classmethod
    def _usable(cls, services: str) -> str:
        # Now, and not when the run has begun.
        named, known = chosen_services(services), task_services()
        if unknown := [service for service in named if service not in known]:
            raise ValueError(f"there are no tasks for {unknown[0]!r}; services with tasks are {', '.join(known)}")
        if all(service in HELD_OUT for service in named):
            raise ValueError(f"{', '.join(HELD_OUT)} are for tests alone; name a service to train on, too")
        return services

    @property
    def seen(self) -> tuple[str, ...]:
        """Services of training tasks."""
        return tuple(service for service in chosen_services(self.services) if service not in HELD_OUT)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Services that no training task calls."""
        return tuple(service for service in chosen_services(self.services) if service in HELD_OUT)


@dataclass(frozen=True)
class Run:
    """A run: what it is told, and where its artefacts lie."""

    root: Path
    config: AgentQuickstartConfig

    @property
    def tools(self) -> Path:
        return self.root / "tools.jsonl"

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def codebook(self) -> Path:
        return self.root / "codebook.json"

    @property
    def untrained(self) -> Path:
        return self.root / "untrained"

    @property
    def figures(self) -> Path:
        return self.root / "figures.json"

    @property
    def costs(self) -> Path:
        return self.root / "costs.json"

    def checkpoint(self, stage: str) -> Path:
        return self.root / stage / "final"

    def tasks(self, name: str) -> Path:
        return self.root / "tasks" / f"{name}.jsonl.gz"

    @property
    def train_tasks(self) -> list[Path]:
        return [self.tasks(f"train-{seed}") for seed in range(-(-self.config.tasks.train // TASKS_A_FILE))]

    def evaluation(self, line: str) -> Path:
        return self.root / "evaluation" / slug(line)


def memorization_config(run: Run) -> MemorizationConfig:
    """configs/aws/memorization.yaml on the run's files."""
    values = {"model": run.base, "tools": run.tools, "codebook": run.codebook}
    return _stage_config(MemorizationConfig, "memorization", run, values)


def retrieval_config(run: Run) -> RetrievalConfig:
    """configs/aws/retrieval.yaml on the run's files."""
    return _stage_config(RetrievalConfig, "retrieval", run, {"model": run.checkpoint("memorization")})


def agent_config(run: Run) -> AgentConfig:
    """configs/aws/agent.yaml on the run's files."""
    values = {
        "model": run.checkpoint("retrieval"),
        "trajectories": run.train_tasks,
        "validation.trajectories": [run.tasks("validation")],
    }
    return _stage_config(AgentConfig, "agent", run, values)


Kind = TypeVar("Kind", bound=StageConfig)


def _stage_config(
    kind: type[Kind], stage: str, run: Run, values: Mapping[str, object], overrides: Sequence[str] = ()
) -> Kind:
    shared = {
        "output": run.root / stage,
        "training.seed": run.config.seed,
        # An interrupted quickstart goes on where it stopped.
        "resume": True,
        "tracking.group": "quickstart-agent",
    }
    with as_file(files("toolgen.configs") / "aws" / f"{stage}.yaml") as path:
        return load_config(kind, path, (*quoted({**shared, **values}), *overrides))


_PATHS = {"model", "tools", "codebook", "output", "trajectories", "validation", "tracking", "resume"}
"""Keys of stages that say where things lie, and decide nothing."""


def check_begun(run: Run) -> None:
    """Note what a run is begun with, or compare it with what is noted.

    Raises:
        InputError: They differ, in more than how many episodes run at a time.
    """
    recipe = {
        "quickstart": run.config.model_dump(mode="json", exclude={"workers", "batch"}),
        "memorization": memorization_config(run).model_dump(mode="json", exclude=_PATHS),
        "retrieval": retrieval_config(run).model_dump(mode="json", exclude=_PATHS),
        "agent": agent_config(run).model_dump(mode="json", exclude=_PATHS),
    }
    noted = run.root / "recipe.json"
    if not noted.is_file():
        write_json(noted, recipe)
        return
    earlier = read_json(noted)
    differing = [
        f"{part}.{key}"
        for part, keys in recipe.items()
        for key in {**earlier[part], **keys}
        if earlier[part].get(key) != keys.get(key)
    ]
    if differing:
        raise InputError(
            f"{run.root} was begun with another configuration: {', '.join(differing)} differ(s). Give another --out, "
            "go on with what it was begun with, or remove the folder."
        )
