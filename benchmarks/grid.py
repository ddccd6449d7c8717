"""The grid of a comparison: its configuration, the cells that follow from it, and the stages that train a cell. Trains
nothing.

A cell is one model to train: an indexing scheme, where its rows start, what trains, and a seed. The grid crosses
schemes, priors and plans under the first seed; ablations and the other seeds are for the best cell alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from toolgen.base import EMBEDDED, ENCODER
from toolgen.benchmarks.baselines import BY_PARTS
from toolgen.benchmarks.recipe import Recipe, Variant, parsed_stage
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.files import slug
from toolgen.indexing import SCHEMES
from toolgen.origin import OriginConfig
from toolgen.parts import Reading
from toolgen.plans import TrainPlan
from toolgen.priors import Prior
from toolgen.splits import NEAR
from toolgen.stages.memorization import MemorizationConfig
from toolgen.stages.retrieval import RetrievalConfig
from toolgen.tracking import TrackingConfig

TRAINED = f"{ENCODER}trained"
"""Base model of a recipe: the encoder that is trained as a baseline, under the cell's own seed."""

Ablation = Literal["no memorization", "no retrieval training", "no constraint"]


class SplitConfig(Section):
    """How the queries are dealt out; see `toolgen split`."""

    by: Literal["query", "tool", "group"] = Field("query", description="What no two parts share.")
    key: str | None = Field(None, description="By group: key of a query that names its group; null: its tools' groups.")
    shares: dict[str, float] | None = Field(
        None, description="Part -> its share, the one to train on first; null: the queries carry their splits."
    )
    only: str | None = Field(None, description="Deal out the queries of this split; the others keep theirs.")
    near: float = Field(NEAR, description="Jaccard similarity of words that makes texts near duplicates.")


class DataConfig(Section):
    """Tools and labelled queries, by path."""

    tools: Path = Field(description="Catalogue.")
    queries: Path = Field(description="Labelled queries.")
    gold: str = Field("tools", description="Key of a query's gold tools; those without any are left out.")
    style: str | None = Field(None, description="Key of a query that says how it is worded, for the report.")
    split: SplitConfig = SplitConfig()
    train: str = Field("train", description="Split to train on.")
    validation: str = Field("validation", description="Split that chooses: the best cell, the epochs of an encoder.")
    test: str = Field("test", description="Split of the leaderboard; nothing is chosen by it.")
    most_train: int | None = Field(None, ge=1, description="Train on so many queries, thinned out evenly; null: all.")
    most_test: int | None = Field(None, ge=1, description="The same of the test split.")


class GridConfig(Section):
    """What is trained."""

    schemes: list[str] = Field(list(SCHEMES), min_length=1, description="With options: numeric:digits=new.")
    priors: dict[str, Prior] = Field({}, description="Name -> where rows start; empty: as the recipe says.")
    plans: dict[str, TrainPlan] = Field({}, description="Name -> what trains; empty: as the recipe says.")
    ablations: list[Ablation] = Field([], description="Of the best cell, each with one thing left out.")
    seeds: list[int] = Field([0], min_length=1, description="The first of all cells, the others of the best one.")


class CompareConfig(Section):
    """A comparison; see configs/benchmarks/."""

    name: str = Field(pattern=r"^\w[\w.-]*$", description="Of its folder, and of its group in the tracker.")
    output: Path = Field(Path("runs/compare"), description="Holds the folder.")
    data: DataConfig
    recipe: Recipe = Recipe()
    grid: GridConfig = GridConfig()
    baselines: list[str] = Field(
        ["bm25", "dense"],
        description="bm25, dense, bi-encoder, bi-encoder hnsw; dense by parts and bi-encoder by parts read long "
        "queries sentence by sentence.",
    )
    launch: list[str] = Field(
        [], description="What starts a stage's processes, such as [deepspeed, --num_gpus, '8']; empty: this one."
    )
    depth: int = Field(10, ge=10, description="Answers a query.")
    latency_queries: int = Field(50, ge=0, description="Queries that are timed one by one.")
    tracking: TrackingConfig = TrackingConfig()

    @property
    def folder(self) -> Path:
        """Everything that the comparison writes is in here."""
        return self.output / self.name


@dataclass(frozen=True)
class Cell:
    """One model of a comparison.

    Attributes:
        variant: Indexing scheme with its options.
        seed: Of order, dropout and synthetic queries.
        prior: Name in ``GridConfig.priors``; None: the recipe's.
        plan: Name in ``GridConfig.plans``; None: the recipe's.
        ablation: What is left out.
    """

    variant: Variant
    seed: int
    prior: str | None = None
    plan: str | None = None
    ablation: Ablation | None = None

    @property
    def method(self) -> str:
        """Its name in tables, the same under every seed."""
        parts = (self.variant.name, self.prior and f"prior {self.prior}", self.plan, self.ablation)
        return ", ".join(part for part in parts if part)

    @property
    def folder(self) -> Path:
        """Where it lies under the comparison's folder."""
        return Path("cells") / slug(self.method) / f"seed-{self.seed}"


def grid_cells(grid: GridConfig) -> list[Cell]:
    """All cells under the first seed.

    Raises:
        InputError: A scheme is unknown or named twice, or seeds repeat.
    """
    variants = [Variant.parse(name) for name in grid.schemes]
    if len({slug(variant.name) for variant in variants}) < len(variants):
        raise InputError(f"grid.schemes is {grid.schemes}. Name each scheme once.")
    if len(set(grid.seeds)) < len(grid.seeds):
        raise InputError(f"grid.seeds is {grid.seeds}. Give each seed once.")
    return [
        Cell(variant, grid.seeds[0], prior, plan)
        for variant in variants
        for prior in (grid.priors or (None,))
        for plan in (grid.plans or (None,))
    ]


def further_cells(grid: GridConfig, best: Cell) -> list[Cell]:
    """What is trained, or decoded otherwise, of the best cell beyond itself."""
    return [replace(best, ablation=ablation) for ablation in grid.ablations] + [
        replace(best, seed=seed) for seed in grid.seeds[1:]
    ]


def encoder_name(reading: Reading) -> str:
    """What the trained baseline is called that reads queries so."""
    return f"bi-encoder{BY_PARTS if reading == 'parts' else ''}"


def encoder_folder(config: CompareConfig, seed: int, reading: Reading = "whole") -> Path:
    """Where the trained baseline of a seed lies."""
    return config.folder / "cells" / slug(encoder_name(reading)) / f"seed-{seed}"


def base_of(config: CompareConfig, seed: int) -> str:
    """The base model of the cells of a seed."""
    model = config.recipe.model
    return f"{ENCODER}{encoder_folder(config, seed) / 'final'}" if model == TRAINED else model


def tokenizer_of(config: CompareConfig) -> str:
    """A base model with the tokenizer of all cells, which is there before anything is trained."""
    model = config.recipe.model
    return f"{ENCODER}{config.recipe.bi_encoder.get('model', EMBEDDED)}" if model == TRAINED else model


@dataclass(frozen=True)
class Material:
    """Files that all cells are trained from.

    Attributes:
        tools: Catalogue.
        queries: Labelled queries with their splits.
        codebooks: Folder of the schemes' codebooks.
        made: Queries that were made for training; None: there are none.
    """

    tools: Path
    queries: Path
    codebooks: Path
    made: Path | None = None

    @property
    def pairs(self) -> dict[str, Any]:
        """Keys of ``PairsConfig`` that say where queries lie, but for the split of the labelled ones."""
        return {} if self.made is None else {"made": [self.made]}

    def codebook(self, variant: Variant) -> Path:
        """Where a scheme's codebook lies."""
        return self.codebooks / f"{slug(variant.name)}.json"


def stages_of(cell: Cell, config: CompareConfig, material: Material) -> list[MemorizationConfig | RetrievalConfig]:
    """Configurations of the stages that train a cell, made before anything is trained, so that a fault shows at once.

    Raises:
        InputError: The recipe names an unknown key, or one that is given here, or one that does not fit the cell.
    """
    # A cell that ends after memorization is the whole cell's, which is trained already.
    whole = replace(cell, ablation=None) if cell.ablation == "no retrieval training" else cell
    folder, data, grid = config.folder / whole.folder, config.data, config.grid
    watched = {"queries": material.queries, "split": data.validation, "most": config.recipe.validated}
    common: dict[str, Any] = {"resume": True, "validation": watched, "tracking": {"mode": "disabled"}}
    origin: dict[str, Any] = {
        "model": base_of(config, cell.seed),
        "tools": material.tools,
        "codebook": material.codebook(cell.variant),
        "reading": config.recipe.reading,
    }
    start: dict[str, Any] = {"prior": grid.priors[cell.prior]} if cell.prior is not None else {}
    training: dict[str, Any] = {"seed": cell.seed}
    if cell.plan is not None:
        training["plan"] = grid.plans[cell.plan]
    memorized = {key: value for key, value in config.recipe.memorization.items() if key not in start}
    stages: list[MemorizationConfig | RetrievalConfig] = []
    if cell.ablation != "no memorization":
        given = {**origin, **start, **common, "output": folder / "memorization"}
        stages.append(parsed_stage(MemorizationConfig, "memorization", memorized, given, training))
        origin, start = {"model": str(folder / "memorization" / "final")}, {}
    else:
        # Model and rows start alike with and without the stage.
        start |= {key: memorized[key] for key in OriginConfig.model_fields if key in memorized}
    if cell.ablation != "no retrieval training":
        queries = {"path": material.queries, "split": data.train}
        # The baselines' encoder is chosen in the same way.
        given = {**origin, **start, **common, "queries": queries, "keep": "best", "output": folder / "retrieval"}
        keys = {key: value for key, value in config.recipe.retrieval.items() if key != "made"}
        stage = parsed_stage(RetrievalConfig, "retrieval", keys, {**given, **material.pairs}, training)
        _check_fits(stage, cell, config)
        stages.append(stage)
    return stages


def _check_fits(stage: RetrievalConfig, cell: Cell, config: CompareConfig) -> None:
    """The stage would say so too, but only when the cells before this one are trained. A launcher is taken for one of
    several processes."""
    training = stage.training
    apart = bool(config.launch) or training.deepspeed is not None
    follows = cell.variant.scheme == "atomic" and training.plan.train == "full" and not apart
    if stage.document_rows is not None and not follows:
        raise InputError(
            f"The recipe sets retrieval.document_rows, and the grid holds {cell.method!r}"
            f"{', trained by processes of its own or DeepSpeed' if apart else ''}. Rows follow documents where every "
            "tool has a token and all weights train in one process: leave out the key, or all schemes but atomic, all "
            "plans but full, launch and training.deepspeed."
        )
    if stage.document_rows is not None and training.weight_decay:
        raise InputError(
            f"The recipe sets retrieval.document_rows and training.weight_decay={training.weight_decay:g}, which would "
            "shrink rows away from their documents. Leave one of them out."
        )
    if config.recipe.reading == "parts" and stage.multi_gold != "rows":
        raise InputError(
            f"recipe.reading is parts, and retrieval.multi_gold is {stage.multi_gold}: each part of a query goes with "
            "one gold tool. Set multi_gold to rows, or reading to whole."
        )
