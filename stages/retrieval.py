"""Stage 2, retrieval training: the model learns which codes answer a query (ToolGen, arXiv 2410.03439).

Training pairs come from labelled queries, from queries synthesised out of the tools' own documents, or from both.

    python stages/retrieval.py --config configs/embedded/retrieval.yaml model=runs/memorization/final
    deepspeed --num_gpus 8 stages/retrieval.py --config configs/paper/retrieval.yaml
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from toolgen.checkpoint import Artefacts
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.queries import read_queries
from toolgen.records import MultiGold, Record, retrieval_records
from toolgen.stage import StageConfig, StageResult, run_stage, stage_main
from toolgen.synthesis import joined_queries, synthetic_records


class QueriesConfig(Section):
    """Labelled training queries."""

    path: Path
    split: str | None = Field(None, description="Only the queries of this split.")


class RetrievalConfig(StageConfig):
    """Stage 2's own keys."""

    queries: QueriesConfig | None = None
    multi_gold: MultiGold = Field(
        "rows", description="Several gold tools: a row for each, or one row with their codes in sequence."
    )
    synthetic_per_tool: int = Field(0, ge=0, description="Queries made from each tool's document.")
    joined_per_tool: int = Field(0, ge=0, description="Long queries for several tools that each tool takes part in.")


def records(artefacts: Artefacts, config: RetrievalConfig) -> Sequence[Record]:
    """Pairs from labelled and from synthesised queries.

    Raises:
        InputError: The configuration names neither.
    """
    if config.queries is None and not config.synthetic_per_tool and not config.joined_per_tool:
        raise InputError(
            "Retrieval training needs queries: give queries.path (labelled queries), synthetic_per_tool (how many to "
            "make from each tool's document), joined_per_tool (long ones for several tools), or more than one of them."
        )
    pairs: list[Record] = []
    if config.queries is not None:
        labelled = read_queries(config.queries.path, artefacts.catalog, config.queries.split)
        pairs += retrieval_records(labelled, config.multi_gold)
    if config.synthetic_per_tool:
        pairs += synthetic_records(artefacts.catalog, config.synthetic_per_tool, config.training.seed)
    if config.joined_per_tool:
        joined = joined_queries(artefacts.catalog, config.joined_per_tool, config.training.seed)
        pairs += retrieval_records(joined, config.multi_gold)
    return pairs


def run(config: RetrievalConfig) -> StageResult:
    """Run stage 2."""
    return run_stage("retrieval", config, records)


if __name__ == "__main__":
    stage_main("retrieval", RetrievalConfig, records, __doc__ or "")
