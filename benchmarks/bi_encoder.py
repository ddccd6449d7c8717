"""The trained baseline: a bi-encoder that learns from exactly the pairs that retrieval training learns from (ToolLLM's
ToolRetriever, arXiv 2307.16789). Knows the configuration, when a run is the same as an earlier one, and the command
line; what is learned is ``contrastive``, and how ``encoder_trainer``. ``DenseRetriever`` serves what comes out.

    python -m toolgen.benchmarks.bi_encoder --config configs/baselines/bi_encoder.yaml tools=T queries.path=Q

The encoder is looked at before the first step and after every epoch, by NDCG@5 on the validation queries, and the best
is kept. A finished run is not repeated; an interrupted one goes on when the same command is given again.
"""

import argparse
import math
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from transformers import set_seed

from toolgen import distributed
from toolgen.benchmarks.dense import SCALE, DenseRetriever
from toolgen.benchmarks.negatives import NegativesConfig, mine
from toolgen.checkpoint import publish
from toolgen.code_stage import VALIDATION_FIGURES, ValidationConfig, validation_queries
from toolgen.config import Section, describe_keys, load_config
from toolgen.embeddings import EMBEDDED, encoder_identity, load_encoder
from toolgen.errors import InputError, OutOfMemoryError
from toolgen.files import clear_unfinished, fingerprint, read_json, write_json
from toolgen.metrics import DEEPEST_CUT, evaluate, qrels_of, run_from_hits
from toolgen.order import Division, SampleStream, StepBatches
from toolgen.origin import resumable
from toolgen.parts import Reading
from toolgen.queries import Query
from toolgen.records import Record, memorization_records
from toolgen.resumption import checkpoints, step_of
from toolgen.stage import StageResult
from toolgen.stages.retrieval import PairsConfig, pairs
from toolgen.terminal import USER_ERRORS, err, progress_bar, report_error
from toolgen.tools import ToolCatalog
from toolgen.tracking import TrackingConfig, tracked
from toolgen.trainer import InterruptCallback
from toolgen.training import is_out_of_memory, uses_bf16
from toolgen.version import code_version

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

    from toolgen.benchmarks.encoder_trainer import PairTrainer

NAME = "bi_encoder"
"""As a stage's: of reports, trackers and configurations."""


class EncoderTrainingConfig(Section):
    """How the encoder is trained. The schedule is linear, as sentence-transformers' own."""

    epochs: float = Field(3.0, gt=0, description="At most: the best of them is kept.")
    batch_size: int = Field(64, ge=2, description="Queries a step; each is set against the documents of all.")
    micro_batch_size: int | None = Field(
        None, ge=1, description="Texts embedded at once, for less memory and the same loss; null: all of a step."
    )
    learning_rate: float = Field(3e-4, gt=0)
    warmup: float = Field(0.1, ge=0, description="Steps; below 1 the share of all steps.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(128, ge=4, description="Tokens of a query or document; in training and in search.")
    scale: float = Field(SCALE, gt=0, description="Of the cosines in the loss: one over its temperature.")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    look_every: float = Field(1.0, gt=0, description="Epochs between two looks at the validation queries.")
    seed: int = 0


class BiEncoderConfig(PairsConfig):
    """What the run is told. Its pairs are those of the retrieval stage with the same keys and seed."""

    model: str = Field(
        EMBEDDED, description="'embedded', or any sentence-transformers model or encoder by folder or name."
    )
    tools: Path = Field(description="Catalogue.")
    output: Path = Field(description="The run's folder.")
    reading: Reading = Field("whole", description="How queries are read, in training and search: whole or by parts.")
    documents: bool = Field(
        False, description="Also pair every document with itself, told apart by dropout: memorization's pairs."
    )
    hard_negatives: NegativesConfig = NegativesConfig()
    validation: ValidationConfig | None = Field(None, description="Chooses the epoch; null: the last is kept.")
    training: EncoderTrainingConfig = EncoderTrainingConfig()
    tracking: TrackingConfig = TrackingConfig()


@dataclass(frozen=True)
class _Data:
    catalog: ToolCatalog
    records: Sequence[Record]
    queries: Sequence[Query]

    @classmethod
    def load(cls, config: BiEncoderConfig) -> "_Data":
        catalog = ToolCatalog.from_jsonl(config.tools)
        records = pairs(catalog, config, config.training.seed, reading=config.reading)
        if config.documents:
            records += memorization_records(catalog)
        return cls(catalog, records, validation_queries(config.validation, catalog))


def run(config: BiEncoderConfig) -> StageResult:
    """Train, or take what an earlier run with the same settings left.

    Returns:
        Folder of the encoder that was chosen, and the content of ``report.json``.

    Raises:
        InputError: Something in the configuration or in the data is unusable, or the folder holds another run.
        SystemExit: A signal stopped the training; a checkpoint to go on from was saved.
    """
    started = time.perf_counter()
    # Now, while the sources are those that were loaded.
    code_version()
    if distributed.world_size() > 1:
        raise InputError("The bi-encoder is trained by one process. Run it with plain python.")
    data = _Data.load(config)
    # Before the encoder is loaded: weights that its files lack, such as a pooler that nothing uses, start at random.
    set_seed(config.training.seed)
    encoder = load_encoder(config.model, purpose="The bi-encoder")
    encoder.max_seq_length = min(config.training.max_length, encoder.max_seq_length or config.training.max_length)
    miner = _miner(config, encoder)
    _check_folder(config, data, encoder, miner)
    final, report_path = config.output / "final", config.output / "report.json"
    if report_path.is_file():
        return StageResult(final, read_json(report_path))
    settings = config.model_dump(mode="json")
    with tracked(config.tracking, settings, config.output, NAME) as tracker:
        trainer, interrupt = _trainer(config, data, encoder, miner, tracker.report_to)
        seconds = _fit(trainer, interrupt, config)
        if interrupt.received is not None:
            _stop(config, trainer, interrupt.received)
        best, looks = trainer.best_look, trainer.looks
        _settle(config, trainer)
        report: dict[str, Any] = {
            "stage": NAME,
            "tools": len(data.catalog),
            "records": len(data.records),
            "steps": trainer.state.global_step,
            "epoch": best["epoch"] if best else config.training.epochs,
            "validation": {name: best[name] for name in VALIDATION_FIGURES} if best else {},
            "looks": looks,
            "seconds": time.perf_counter() - started,
            "seconds_training": seconds,
            "code_versions": trainer.work.code_versions,
            "catalog_fingerprint": data.catalog.fingerprint,
            "config": settings,
        }
        tracker.summary({key: value for key, value in report.items() if not isinstance(value, dict | list)})
        columns = ("epoch", "step", *VALIDATION_FIGURES)
        tracker.table(f"{NAME}/looks", columns, [[look[column] for column in columns] for look in looks])
        clear_unfinished(report_path)
        write_json(report_path, report)
        shutil.rmtree(config.output / "checkpoints", ignore_errors=True)
    return StageResult(final, report)


def rank_figures(
    encoder: "SentenceTransformer",
    catalog: ToolCatalog,
    queries: Sequence[Query],
    reading: Reading,
    scale: float = SCALE,
) -> dict[str, float]:
    """Exact dense ranking of labelled queries against the whole catalogue: means of ``VALIDATION_FIGURES``."""
    retriever = DenseRetriever(catalog, encoder, reading=reading, scale=scale)
    answers = retriever.search([query.text for query in queries], min(DEEPEST_CUT, len(catalog)))
    found = {query.id: run_from_hits(hits) for query, hits in zip(queries, answers, strict=True)}
    means = evaluate(qrels_of(queries), found).means
    return {name: means[name] for name in VALIDATION_FIGURES}


def _miner(config: BiEncoderConfig, encoder: "SentenceTransformer") -> "SentenceTransformer | None":
    """The encoder that finds hard negatives; None where none are wanted."""
    if not config.hard_negatives.per_query:
        return None
    if config.hard_negatives.encoder is None:
        return encoder
    return load_encoder(config.hard_negatives.encoder, purpose="Mining hard negatives")


def _check_folder(
    config: BiEncoderConfig, data: _Data, encoder: "SentenceTransformer", miner: "SentenceTransformer | None"
) -> None:
    """A folder holds one run: what lies there was made with the same settings, of the same data, from the same encoder.

    Data and encoders count by content: a file may move, and a trained encoder's folder may get another encoder.
    """
    training = config.training.model_dump(mode="json", exclude={"micro_batch_size"})
    settings: dict[str, Any] = {f"training.{key}": value for key, value in training.items()}
    settings |= {
        "hard_negatives": config.hard_negatives.model_dump(mode="json", exclude={"encoder"}),
        "catalogue": data.catalog.fingerprint,
        "training pairs": fingerprint([[record.text, record.answers] for record in data.records]),
        "reading": config.reading,
        "validation queries": fingerprint([query.to_record() for query in data.queries]),
        "model": fingerprint(encoder_identity(encoder)),
        "hard_negatives.encoder": fingerprint(encoder_identity(miner)) if miner is not None else None,
    }
    path = config.output / "settings.json"
    if not (config.output / "report.json").is_file() and not checkpoints(config.output / "checkpoints"):
        # Nothing came of an earlier run.
        write_json(path, settings)
        return
    # Runs of earlier versions do not say how they read.
    earlier = {"reading": "whole", **read_json(path)}
    if differing := sorted(key for key in {*earlier, *settings} if earlier.get(key) != settings.get(key)):
        raise InputError(
            f"{config.output} holds a run with other settings ({', '.join(differing)} differ). Give the same ones "
            "again, or another output."
        )


def _trainer(
    config: BiEncoderConfig,
    data: _Data,
    encoder: "SentenceTransformer",
    miner: "SentenceTransformer | None",
    report_to: list[str],
) -> "tuple[PairTrainer, InterruptCallback]":
    # These import sentence-transformers; load_encoder has seen to it that it is there.
    from toolgen.benchmarks.contrastive import PairCollator, RankingLoss, examples_of, right_documents
    from toolgen.benchmarks.encoder_trainer import PairTrainer, Steps

    training = config.training
    examples = examples_of(data.records, data.catalog)
    negatives: Mapping[str, Sequence[str]] = {}
    if miner is not None:
        with progress_bar("Mining hard negatives") as progress:
            right = right_documents(examples)
            negatives = mine(miner, data.catalog, right, config.hard_negatives.among, progress)
    steps = math.ceil(training.epochs * len(examples) / training.batch_size)
    between = max(1, round(training.look_every * len(examples) / training.batch_size))
    arguments = _arguments(config, steps, between, report_to)
    # Of queries alone: by documents, a batch would hold the queries of few tools.
    stream = SampleStream([len(example.query) for example in examples], training.seed)
    division = Division.of(training.batch_size, None, processes=1)
    interrupt = InterruptCallback()
    trainer = PairTrainer(
        batches=StepBatches(stream, division, 0, steps),
        rows=len(examples),
        model=encoder,
        args=arguments,
        loss=RankingLoss(encoder, training.scale, training.micro_batch_size),
        data_collator=PairCollator(encoder, examples, negatives, config.hard_negatives.per_query, training.seed),
        callbacks=[interrupt],
    )

    def look() -> dict[str, float]:
        return rank_figures(encoder, data.catalog, data.queries, config.reading, training.scale)

    trainer.add_callback(Steps(trainer, len(examples), between, look if data.queries else None, config.output / "best"))
    return trainer, interrupt


def _arguments(
    config: BiEncoderConfig, steps: int, between: int, report_to: list[str]
) -> "SentenceTransformerTrainingArguments":
    from sentence_transformers import SentenceTransformerTrainingArguments

    training = config.training
    cuda = torch.cuda.is_available()
    return SentenceTransformerTrainingArguments(
        output_dir=str(config.output / "checkpoints" / "unfinished"),
        per_device_train_batch_size=training.batch_size,
        max_steps=steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup if training.warmup < 1 else int(training.warmup),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=uses_bf16(training.precision),
        use_cpu=not cuda,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        ignore_data_skip=True,
        logging_steps=10,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=between,
        seed=training.seed,
        report_to=report_to,
        log_level="warning",
    )


def _fit(trainer: "PairTrainer", interrupt: InterruptCallback, config: BiEncoderConfig) -> float:
    """Train to the end or to an interruption; seconds that it took."""
    folder = config.output / "checkpoints"
    resumed = resumable(folder, resume=True) if checkpoints(folder) else None
    if resumed is not None:
        trainer.batches.first_step = step_of(resumed)
        trainer.work.restore(resumed)
    try:
        trainer.train(resume_from_checkpoint=str(resumed) if resumed is not None else None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        texts = config.training.micro_batch_size or config.training.batch_size
        raise OutOfMemoryError(
            f"Out of memory in step {trainer.state.global_step + 1} ({str(error).splitlines()[0][:200]}). Try, in this "
            f"order: training.micro_batch_size={max(1, texts // 2)} (the same loss); a shorter training.max_length; a "
            "smaller training.batch_size."
        ) from error
    finally:
        # A comparison may go on with other runs.
        interrupt.release()
    return trainer.work.seconds


def _settle(config: BiEncoderConfig, trainer: "PairTrainer") -> None:
    """Give the run's encoder its name: the best look's, else the last step's."""
    best = config.output / "best"

    def write(folder: Path) -> None:
        if trainer.best_look is not None:
            shutil.copytree(best, folder, dirs_exist_ok=True)
        else:
            trainer.write_encoder(folder)

    publish(config.output / "final", write)
    shutil.rmtree(best, ignore_errors=True)


def _stop(config: BiEncoderConfig, trainer: "PairTrainer", number: int) -> None:
    err.print(
        f"Stopped by {signal.Signals(number).name} after step {trainer.state.global_step} of "
        f"{trainer.state.max_steps}. Everything is saved in {config.output / 'checkpoints'}. To go on, give the same "
        "command again.",
        markup=False,
    )
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: ``--config FILE key=value ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m toolgen.benchmarks.bi_encoder",
        description=__doc__,
        epilog=describe_keys(BiEncoderConfig),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file; see configs/baselines/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="override single keys")
    arguments = parser.parse_intermixed_args(argv)
    try:
        result = run(load_config(BiEncoderConfig, arguments.config, arguments.overrides))
    except USER_ERRORS as error:
        report_error(error)
        sys.exit(2)
    for look in result.report["looks"]:
        err.print(f"epoch {look['epoch']:.2f}: " + ", ".join(f"{name} {look[name]:.3f}" for name in VALIDATION_FIGURES))
    err.print(f"{NAME}: epoch {result.report['epoch']:.2f} saved in {result.checkpoint}", markup=False)


if __name__ == "__main__":
    main()
