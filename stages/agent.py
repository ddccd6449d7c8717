"""Stage 3, end-to-end agent tuning: the model learns to think, to take tools and to fill in their arguments (ToolGen,
arXiv 2410.03439, section 3.4), from recorded episodes.

    python stages/agent.py --config configs/aws/agent.yaml model=runs/retrieval/final
    deepspeed --num_gpus 8 stages/agent.py --config configs/paper/agent.yaml
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from transformers import PreTrainedModel

from toolgen.agent.environment import Status
from toolgen.agent.training import SFT_ARGUMENTS, EpisodeCollator, EpisodeTrainer, linearize_episodes
from toolgen.agent.trajectory import Trajectory, read_trajectories
from toolgen.agent.turns import TurnRenderer
from toolgen.attention import check_side_by_side
from toolgen.checkpoint import Artefacts
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.files import read_json
from toolgen.stage import Setting, StageConfig, StageResult, run_stage, stage_main
from toolgen.terminal import err
from toolgen.tools import ToolCatalog
from toolgen.training import TrainingConfig


class HeldOutConfig(Section):
    """Episodes that are looked at during training: the loss of what is said in them. Never the test split."""

    trajectories: list[Path] = Field(min_length=1)
    most: int = Field(200, ge=1, description="Episodes read at each evaluation; more are thinned out evenly.")


class EpisodeTrainingConfig(TrainingConfig):
    """How this stage trains: its examples are longer than the other stages'."""

    learning_rate: float = Field(4e-5, gt=0, description="Of all weights but rows; of adapters.")
    max_length: int = Field(6144, ge=4, description="Tokens of an episode; a longer one loses its end.")
    row_tokens: int | None = Field(
        6144, ge=1, description="Pack episodes into rows of so many tokens; null: each is padded to the longest."
    )


class AgentConfig(StageConfig):
    """Stage 3's own keys."""

    trajectories: list[Path] = Field(
        min_length=1, description="Files of episodes: of `toolgen import`, or tasks of `toolgen tasks`."
    )
    documents: bool = Field(
        True, description="Show a tool's document before its arguments (three-part turns), or not (two-part turns)."
    )
    lost: bool = Field(False, description="Also learn from episodes that gave up, did not end or are judged wrong.")
    validation: HeldOutConfig | None = None
    training: EpisodeTrainingConfig = EpisodeTrainingConfig()


def chosen(paths: Sequence[Path], catalog: ToolCatalog, lost: bool) -> list[Trajectory]:
    """The episodes of some files that are learned from.

    Args:
        paths: Files; an id may come up in several of them.
        catalog: Its tools are known.
        lost: Whether episodes count that gave up, did not end or are judged wrong.

    Raises:
        InputError: A file is broken, or nothing is left.
    """
    read = [trajectory for path in paths for trajectory in read_trajectories(path, catalog)]
    # A call of a tool that does not exist has no code, so nothing could say it.
    sayable = [one for one in read if all(call.status is not Status.UNKNOWN_TOOL for call in one.calls)]
    kept = [one for one in sayable if lost or (one.ended == "answer" and one.won is not False)]
    if len(kept) < len(read):
        err.print(
            f"{len(read) - len(kept):,} of {len(read):,} episodes are left out: {len(read) - len(sayable):,} call "
            f"unknown tools, {len(sayable) - len(kept):,} gave up, did not end or are judged wrong.",
            markup=False,
        )
    if not kept:
        raise InputError(
            f"trajectories: none of {len(read):,} episodes ended with an answer that is not judged wrong. Give others, "
            "or lost=true to learn from all."
        )
    return kept


@dataclass(frozen=True)
class _Episodes:
    """What the stage trains on."""

    learned: Sequence[Trajectory]
    held_out: Sequence[Trajectory]

    @property
    def size(self) -> int:
        return len(self.learned)

    def trainer(self, setting: Setting[AgentConfig]) -> EpisodeTrainer:
        config, artefacts = setting.config, setting.artefacts
        training = config.training
        renderer = TurnRenderer(
            artefacts.tokenizer, artefacts.catalog, artefacts.codes, artefacts.prompt, documents=config.documents
        )
        examples = linearize_episodes(self.learned, renderer, training.max_length)
        cut = sum(length == training.max_length for length in examples["length"])
        if cut:
            err.print(f"{cut:,} episodes are cut at training.max_length={training.max_length}.", markup=False)
        return EpisodeTrainer(
            model=setting.model,
            args=setting.arguments,
            artefacts=artefacts,
            division=setting.division,
            lengths=examples["length"][:],
            resumed=setting.resumed,
            train_dataset=examples,
            eval_dataset=linearize_episodes(self.held_out, renderer, training.max_length) if self.held_out else None,
            data_collator=EpisodeCollator(artefacts.pad_id, training.row_tokens),
            optimizer_cls_and_kwargs=setting.optimizer,
        )


def episodes(model: PreTrainedModel, artefacts: Artefacts, config: AgentConfig) -> _Episodes:
    """Read and check the episodes of both kinds.

    Raises:
        InputError: They, or the configuration, are unusable.
    """
    if config.training.row_tokens is not None:
        check_side_by_side(model, config.training.max_length)
    held_out: list[Trajectory] = []
    if config.validation is not None:
        found = chosen(config.validation.trajectories, artefacts.catalog, config.lost)
        held_out = found[:: max(1, -(-len(found) // config.validation.most))]
    return _Episodes(chosen(config.trajectories, artefacts.catalog, config.lost), held_out)


def _check(config: AgentConfig) -> None:
    """Keys that do not go together, before anything is loaded."""
    training = config.training
    if training.plan.cached_states or training.regularizer is not None:
        raise InputError(
            "training.plan.cached_states and training.regularizer are for the stages before this one. Leave them out."
        )
    if training.plan.train != "full" and training.deepspeed is not None:
        stage = read_json(training.deepspeed).get("zero_optimization", {}).get("stage")
        if stage == 3:
            raise InputError(
                f"training.plan.train={training.plan.train} in the agent stage needs a head that is whole, and under "
                "ZeRO-3 it is partitioned. Use ZeRO-2 (configs/deepspeed/zero2.json), or training.plan.train=full."
            )


def run(config: AgentConfig) -> StageResult:
    """Run stage 3."""
    _check(config)
    return run_stage("agent", config, episodes, validates=config.validation is not None, kind=SFT_ARGUMENTS)


if __name__ == "__main__":
    stage_main("agent", AgentConfig, run, __doc__ or "")
