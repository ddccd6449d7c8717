"""Stage 1, tool memorization: the model learns which code stands for which document (ToolGen, arXiv 2410.03439).

python stages/memorization.py --config configs/embedded/memorization.yaml training.epochs=2
deepspeed --num_gpus 8 stages/memorization.py --config configs/paper/memorization.yaml
"""

from collections.abc import Sequence

from toolgen.checkpoint import Artefacts
from toolgen.code_stage import CodeStageConfig, run_code_stage
from toolgen.records import Record, memorization_records
from toolgen.stage import StageResult, stage_main


class MemorizationConfig(CodeStageConfig):
    """Stage 1 needs nothing beyond what every stage is told: its records are the catalogue's documents."""


def records(artefacts: Artefacts, config: MemorizationConfig) -> Sequence[Record]:
    """One pair a tool: document -> code."""
    return memorization_records(artefacts.catalog)


def run(config: MemorizationConfig) -> StageResult:
    """Run stage 1."""
    return run_code_stage("memorization", config, records)


if __name__ == "__main__":
    stage_main("memorization", MemorizationConfig, run, __doc__ or "")
