"""Stage 2, retrieval training: the model learns which codes answer a query (ToolGen, arXiv 2410.03439).

Training pairs come from labelled queries, from queries that a model wrote, from queries synthesised out of the tools'
own documents, or from more than one of them.

    python stages/retrieval.py --config configs/embedded/retrieval.yaml model=runs/memorization/final
    deepspeed --num_gpus 8 stages/retrieval.py --config configs/paper/retrieval.yaml
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

from pydantic import Field, field_validator
from transformers import PreTrainedModel

from toolgen.checkpoint import Artefacts
from toolgen.code_stage import CodeStageConfig, run_code_stage
from toolgen.config import Section
from toolgen.document_rows import DocumentRows, DocumentRowsConfig
from toolgen.errors import InputError
from toolgen.parts import Reading, read_records
from toolgen.queries import read_queries
from toolgen.records import MultiGold, Record, retrieval_records
from toolgen.rivals import Rivals
from toolgen.stage import StageResult, stage_main
from toolgen.synthesis import Scope, joined_queries, joined_within, style_weights, synthetic_records
from toolgen.terminal import progress_bar
from toolgen.tools import ToolCatalog
from toolgen.trainer import CodeTrainer


class QueriesConfig(Section):
    """Labelled training queries."""

    path: Path
    split: str | None = Field(None, description="Only the queries of this split.")


class PairsConfig(Section):
    """Which queries are trained on. Every method that is compared with this stage takes the same."""

    later = ("made",)

    queries: QueriesConfig | None = None
    made: list[Path] = Field(
        [],
        description="Files of queries that nobody asked, such as those of `toolgen queries generate`: trained on like "
        "the labelled ones, but their tools do not count as labelled.",
    )
    synthetic_per_tool: int = Field(0, ge=0, description="Queries made from each tool's document.")
    joined_per_tool: int = Field(0, ge=0, description="Long queries for several tools that each tool takes part in.")
    joined_within: dict[Scope, Annotated[int, Field(ge=0)]] = Field(
        {}, description="The same for tools of one group or category, or of the catalogue: {category: 2, group: 1}."
    )
    styles: str | dict[str, float] = Field(
        "plain",
        description="Of synthetic_per_tool and joined_within: plain, varied, or styles and their weights. "
        "joined_per_tool stays plain.",
    )

    @field_validator("styles")
    @classmethod
    def _known(cls, styles: str | dict[str, float]) -> str | dict[str, float]:
        style_weights(styles)
        return styles


class RetrievalConfig(PairsConfig, CodeStageConfig):
    """Stage 2's own keys."""

    multi_gold: MultiGold = Field(
        "rows", description="Several gold tools: a row for each, or one row with their codes in sequence."
    )
    spare_unlabelled: bool = Field(
        False,
        description="Tools that no labelled query wants do not compete with those that one wants: nobody said that "
        "they were wrong. For catalogues of which few tools have labelled queries.",
    )
    document_rows: DocumentRowsConfig | None = Field(
        None,
        description="Rows follow what the model makes of their tools' documents, so that queries of some tools teach "
        "it about all; null: every row is free. For codes of one token.",
    )


def pairs(
    catalog: ToolCatalog, config: PairsConfig, seed: int, multi_gold: MultiGold = "rows", reading: Reading = "whole"
) -> list[Record]:
    """Pairs from labelled, made and synthesised queries.

    Args:
        catalog: The tools.
        config: Which queries.
        seed: Of the synthesised ones.
        multi_gold: What several gold tools of a query become.
        reading: How queries are read.

    Raises:
        InputError: The configuration names no queries, or they are unusable.
    """
    joined = config.joined_per_tool or any(config.joined_within.values())
    if config.queries is None and not config.made and not config.synthetic_per_tool and not joined:
        raise InputError(
            "Retrieval training needs queries: give queries.path (labelled queries), made (files of queries that were "
            "made), synthetic_per_tool (how many to make from each tool's document), joined_per_tool or joined_within "
            "(long ones for several tools), or more than one of them."
        )
    found: list[Record] = []
    if config.queries is not None:
        found += retrieval_records(read_queries(config.queries.path, catalog, config.queries.split), multi_gold)
    for path in config.made:
        found += retrieval_records(read_queries(path, catalog), multi_gold)
    styles = style_weights(config.styles)
    if config.synthetic_per_tool:
        found += synthetic_records(catalog, config.synthetic_per_tool, seed, styles)
    made = joined_queries(catalog, config.joined_per_tool, seed)
    for scope, per_tool in config.joined_within.items():
        made += joined_within(catalog, per_tool, seed, scope, styles)
    found += retrieval_records(made, multi_gold)
    with progress_bar("Comparing parts with documents") as progress:
        return read_records(reading, found, catalog, progress)


def records(artefacts: Artefacts, config: RetrievalConfig) -> Sequence[Record]:
    """The stage's own pairs; see ``pairs``."""
    return pairs(artefacts.catalog, config, config.training.seed, config.multi_gold, artefacts.reading)


def rivals(artefacts: Artefacts, config: RetrievalConfig) -> Rivals | None:
    """Whom the answers compete with; None: with every token.

    Raises:
        InputError: Tools are to be spared, and there are no labelled queries.
    """
    if not config.spare_unlabelled:
        return None
    if config.queries is None:
        raise InputError("spare_unlabelled needs labelled queries. Give queries.path, or leave it out.")
    queries = read_queries(config.queries.path, artefacts.catalog, config.queries.split)
    return Rivals(artefacts.codes, {tool for query in queries for tool in query.tools})


def document_rows(trainer: CodeTrainer, config: RetrievalConfig) -> DocumentRows | None:
    """What makes rows follow their documents; None: they are free.

    Raises:
        InputError: They are to follow, and several processes train, or not all weights do, or weights decay, or codes
            share tokens.
    """
    if config.document_rows is None:
        return None
    training = config.training
    if training.plan.train != "full" or training.deepspeed is not None or trainer.args.world_size > 1:
        raise InputError(
            "document_rows makes rows anew out of what the model makes of their documents: it needs a model that "
            "trains (training.plan.train=full), in one process without DeepSpeed. Change these, or leave it out."
        )
    if training.weight_decay:
        raise InputError(
            f"training.weight_decay is {training.weight_decay:g}: it would shrink rows away from the documents that "
            "they follow. Set it to 0, or leave document_rows out."
        )
    return DocumentRows(cast(PreTrainedModel, trainer.model), trainer.artefacts, config.document_rows)


def adjust(trainer: CodeTrainer, config: RetrievalConfig) -> None:
    """Give the trainer what only this stage trains with."""
    trainer.rivals = rivals(trainer.artefacts, config)
    trainer.document_rows = document_rows(trainer, config)


def run(config: RetrievalConfig) -> StageResult:
    """Run stage 2."""
    return run_code_stage("retrieval", config, records, adjust)


if __name__ == "__main__":
    stage_main("retrieval", RetrievalConfig, run, __doc__ or "")
