"""What the stages share whose examples are a text and the codes that answer it: records, labelled queries that are
ranked during training, general text beside them. Knows the library; no particular stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field
from transformers import PreTrainedModel

from toolgen.abilities import TextWindows, text_windows
from toolgen.attention import check_side_by_side, reads_both_ways
from toolgen.base import is_encoder
from toolgen.cached import cache_states
from toolgen.checkpoint import Artefacts
from toolgen.config import Section
from toolgen.corpus import load_corpus
from toolgen.embeddings import cache_folder
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.metrics import evaluate, qrels_of, run_from_hits
from toolgen.parts import read_records
from toolgen.queries import Query, read_queries
from toolgen.records import Record, kept_examples, linearize, retrieval_records
from toolgen.regularizer import Regularizer
from toolgen.replay import ReplayConfig, check_replay, windows_a_step, with_text
from toolgen.stage import BEST, Setting, StageConfig, StageResult, run_stage
from toolgen.terminal import progress_bar
from toolgen.tools import ToolCatalog
from toolgen.trainer import BestModel, CodeTrainer
from toolgen.training import CodeCollator

VALIDATION_FIGURES = ("ndcg@1", "ndcg@5", "recall@5")


class ValidationConfig(Section):
    """Labelled queries that are looked at during training. Never the test split."""

    queries: Path
    split: str | None = Field(None, description="Only the queries of this split.")
    most: int = Field(500, ge=1, description="Queries ranked at each evaluation; more are thinned out evenly.")


class CodeStageConfig(StageConfig):
    """What these stages are told beyond what every stage is."""

    replay: ReplayConfig | None = Field(None, description="General text in every step; null: none.")
    validation: ValidationConfig | None = None
    keep: Literal["last", "best"] = Field(
        "last",
        description="The model that becomes final: the last step's, or that of the evaluation with the best NDCG@5.",
    )


Config = TypeVar("Config", bound=CodeStageConfig)
MakeRecords = Callable[[Artefacts, Config], Sequence[Record]]
Adjust = Callable[[CodeTrainer, Config], None]


def run_code_stage(
    name: str, config: Config, make_records: MakeRecords[Config], adjust: Adjust[Config] | None = None
) -> StageResult:
    """Run a stage on records.

    Args:
        name: The stage, for reports and trackers.
        config: Its configuration.
        make_records: Training pairs of this stage for the tools of the run.
        adjust: Gives the trainer what only this stage trains with; None: nothing.

    Raises:
        InputError: Something in the configuration or in the data is unusable.
        SystemExit: A signal stopped the training; a checkpoint to resume from was saved.
    """
    if config.keep == "best" and config.validation is None:
        raise InputError("keep: best needs queries to choose by. Give validation.queries, or keep: last.")
    if config.replay is not None:
        check_replay(config.replay, config.training.plan)

    def make(model: PreTrainedModel, artefacts: Artefacts, config: Config) -> _CodeData[Config]:
        records = make_records(artefacts, config)
        queries = validation_queries(config.validation, artefacts.catalog)
        # Before any training: a text that is too long would be noticed at the first evaluation.
        GenerativeRetriever(model, artefacts).check([query.text for query in queries])
        return _CodeData(records, queries, adjust)

    return run_stage(name, config, make, validates=config.validation is not None)


@dataclass(frozen=True)
class _CodeData(Generic[Config]):
    """Records, and queries to look at."""

    records: Sequence[Record]
    queries: Sequence[Query]
    adjust: Adjust[Config] | None

    @property
    def size(self) -> int:
        return len(self.records)

    def trainer(self, setting: Setting[Config]) -> CodeTrainer:
        config, model, artefacts, division = setting.config, setting.model, setting.artefacts, setting.division
        renderer, codes, longest = artefacts.renderer, artefacts.codes, config.training.max_length
        packed = config.training.row_tokens is not None
        if packed or reads_both_ways(model) or any(len(record.answers) > 1 for record in self.records):
            check_side_by_side(model, longest)
        text = _text(config, artefacts, setting.arguments.max_steps)
        queries = self.queries
        asked = read_records(artefacts.reading, retrieval_records(queries), artefacts.catalog)
        collator = CodeCollator(artefacts.pad_id, config.training.row_tokens)
        # An encoder writes nothing freely that would have to be stopped.
        stops = not is_encoder(artefacts.base)
        examples: Any = kept_examples(self.records, renderer, codes, longest, cache_folder(), stops=stops)
        lengths = examples["length"][:]
        if config.replay is not None and text is not None:
            count = windows_a_step(config.replay, division.batch)
            examples = with_text(examples, text.windows, text.opening, division.batch, count)
        if config.training.plan.cached_states:
            with progress_bar("Running the model once") as progress:
                examples = cache_states(
                    model.to(setting.arguments.device),  # type: ignore[arg-type]
                    examples,
                    collator.pad_id,
                    setting.states,
                    batch=division.micro,
                    bf16=setting.arguments.bf16,
                    progress=progress,
                )
        trainer = CodeTrainer(
            model=model,
            args=setting.arguments,
            artefacts=artefacts,
            rank=(lambda current: rank_figures(current, artefacts, queries)) if queries else None,
            division=division,
            lengths=lengths,
            replay=config.replay,
            text_lengths=[len(window) for window in text.windows] if text is not None else (),
            resumed=setting.resumed,
            train_dataset=examples,
            eval_dataset=linearize(asked, renderer, codes, longest, stops=stops) if asked else None,
            data_collator=collator,
            optimizer_cls_and_kwargs=setting.optimizer,
        )
        if config.training.regularizer is not None:
            trainer.regularizer = Regularizer(model, config.training.regularizer)
        if config.keep == "best":
            trainer.best = BestModel(trainer, config.output / BEST)
            trainer.add_callback(trainer.best)
        if self.adjust is not None:
            self.adjust(trainer, config)
        return trainer


def _text(config: CodeStageConfig, artefacts: Artefacts, steps: int) -> TextWindows | None:
    """The windows of text that a run replays; no more than it needs."""
    if (replay := config.replay) is None:
        return None
    most = steps * windows_a_step(replay, config.training.batch_size) * replay.length
    with progress_bar("Reading text to replay") as progress:
        corpus = load_corpus(replay.text, "train", progress=progress)
    return text_windows(artefacts.tokenizer, corpus, replay.length, most)


def rank_figures(model: PreTrainedModel, artefacts: Artefacts, queries: Sequence[Query]) -> dict[str, float]:
    """Constrained ranking of labelled queries against the whole catalogue: means of ``VALIDATION_FIGURES``.

    Every process ranks the same queries: under ZeRO-3 each product with the weights is a collective.
    """
    depth = min(10, len(artefacts.catalog))
    answers = GenerativeRetriever(model, artefacts).search([query.text for query in queries], depth)
    run = {query.id: run_from_hits(hits) for query, hits in zip(queries, answers, strict=True)}
    means = evaluate(qrels_of(queries), run).means
    return {name: means[name] for name in VALIDATION_FIGURES}


def validation_queries(config: ValidationConfig | None, catalog: ToolCatalog) -> list[Query]:
    """The queries that are looked at during training; none without a configuration."""
    if config is None:
        return []
    return thinned(read_queries(config.queries, catalog, config.split), config.most)


def thinned(queries: Sequence[Query], most: int) -> list[Query]:
    """At most so many queries, evenly out of all."""
    return list(queries[:: max(1, -(-len(queries) // most))])
