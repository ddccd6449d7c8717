"""What the stages share: where a run starts, how it is fitted, tracked, interrupted and saved. The stages themselves
differ in their records only. Knows the library; no particular stage.

A run's folder holds ``final/`` (the checkpoint), ``checkpoints/`` (intermediate ones, for resuming), ``report.json``
and the tracker's files.
"""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, Field
from transformers import PreTrainedModel, set_seed

from toolgen import distributed
from toolgen.base import load_base, without_bars
from toolgen.checkpoint import Artefacts, is_checkpoint, load_model, publish
from toolgen.codebook import Codebook
from toolgen.config import Section, load_config, section_of
from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.generative import GenerativeRetriever
from toolgen.metrics import evaluate, qrels_of, run_from_hits
from toolgen.priors import Prior, initialise_rows
from toolgen.prompts import PromptStyle
from toolgen.queries import Query, read_queries
from toolgen.records import Record, linearize, retrieval_records
from toolgen.terminal import USER_ERRORS, err, progress_bar, report_error
from toolgen.tools import ToolCatalog
from toolgen.tracking import Run, TrackingConfig, tracked
from toolgen.training import (
    CodeCollator,
    CodeTrainer,
    InterruptCallback,
    TrainingConfig,
    checkpoints,
    parameter_groups,
    training_arguments,
)
from toolgen.vocabulary import extend

VALIDATION_FIGURES = ("ndcg@1", "ndcg@5", "recall@5")


class ValidationConfig(Section):
    """Labelled queries that are looked at during training. Never the test split."""

    queries: Path
    split: str | None = Field(None, description="Only the queries of this split.")
    most: int = Field(500, ge=1, description="Queries ranked at each evaluation; more are thinned out evenly.")


class StageConfig(Section):
    """What every stage is told."""

    model: str = Field("embedded", description="'embedded', a Hugging Face causal LM, or a stage's checkpoint.")
    tools: Path | None = Field(None, description="Catalogue; needed unless model is a checkpoint.")
    codebook: Path | None = Field(None, description="From `toolgen index`; needed unless model is a checkpoint.")
    output: Path = Field(description="The run's folder.")
    prompt: PromptStyle = "plain"
    prior: Prior = Prior()
    input_prior: Prior | None = Field(None, description="For input rows of untied models; None: as prior.")
    validation: ValidationConfig | None = None
    training: TrainingConfig = TrainingConfig()
    tracking: TrackingConfig = TrackingConfig()
    resume: bool = Field(False, description="Go on from the last checkpoint in the run's folder.")


Config = TypeVar("Config", bound=StageConfig)
MakeRecords = Callable[[Artefacts, Config], Sequence[Record]]


@dataclass(frozen=True)
class StageResult:
    """What a finished stage leaves behind.

    Attributes:
        checkpoint: Folder of the final checkpoint.
        report: The content of ``report.json``.
    """

    checkpoint: Path
    report: Mapping[str, Any]


def run_stage(name: str, config: Config, make_records: MakeRecords[Config]) -> StageResult:
    """Run a stage: load or extend the model, make records, train, evaluate, save.

    Args:
        name: The stage, for reports and trackers.
        config: Its configuration.
        make_records: Training pairs of this stage for the tools of the run.

    Raises:
        InputError: Something in the configuration or in the data is unusable.
        SystemExit: A signal stopped the training; a checkpoint to resume from was saved.
    """
    started = time.perf_counter()
    set_seed(config.training.seed)
    resumed = _resume_from(config)
    model, artefacts = start(config)
    settings = config.model_dump(mode="json")
    artefacts = replace(artefacts, history=(*artefacts.history, {"stage": name, "config": settings}))
    if resumed is not None:
        _check_resumed(resumed, artefacts)
    records = make_records(artefacts, config)
    queries = _validation_queries(config.validation, artefacts.catalog)
    GenerativeRetriever(model, artefacts).prompts([query.text for query in queries])
    with tracked(config.tracking, settings, config.output, name) as run:
        trainer, interrupt = _trainer(config, model, artefacts, records, queries, run)
        outcome = trainer.train(resume_from_checkpoint=str(resumed) if resumed is not None else None)
        if interrupt.received is not None:
            _stop(config, trainer, interrupt.received)
        # The model first: an interruption while it is evaluated must not lose it.
        final = config.output / "final"
        _save(trainer, final)
        figures = trainer.evaluate() if queries else {}
        report: dict[str, Any] = {
            "stage": name,
            "tools": len(artefacts.catalog),
            "records": len(records),
            "steps": trainer.state.global_step,
            "train_loss": outcome.training_loss,
            "validation": {key.removeprefix("eval_"): value for key, value in figures.items()},
            "seconds": time.perf_counter() - started,
            "seconds_training": outcome.metrics["train_runtime"],
            "resumed_at_step": int(resumed.name.removeprefix("checkpoint-")) if resumed is not None else None,
            "catalog_fingerprint": artefacts.catalog.fingerprint,
            "codebook_fingerprint": artefacts.codebook.fingerprint,
            "config": settings,
        }
        run.summary({key: value for key, value in report.items() if key not in ("config", "validation")})
        rows = [[key, value] for key, value in sorted(report["validation"].items())]
        run.table(f"{name}/final", ("figure", "value"), rows)
        if distributed.is_main():
            write_json(config.output / "report.json", report)
            if config.training.save_every is None:
                # What an interruption saved has served its purpose.
                shutil.rmtree(_checkpoint_folder(config), ignore_errors=True)
    return StageResult(final, report)


def start(config: StageConfig) -> tuple[PreTrainedModel, Artefacts]:
    """Load a checkpoint, or extend a base model by a codebook.

    Raises:
        InputError: Catalogue or codebook are missing, surplus or do not belong together.
    """
    if is_checkpoint(config.model):
        if given := [
            key for key in ("tools", "codebook", "prompt", "prior", "input_prior") if key in config.model_fields_set
        ]:
            raise InputError(
                f"model: {config.model} is a checkpoint and brings its own tools, codebook, prompt and rows; "
                f"leave {', '.join(given)} out, or start from a base model."
            )
        artefacts = Artefacts.load(config.model)
        return load_model(config.model, dtype=torch.float32), artefacts
    if config.tools is None or config.codebook is None:
        raise InputError(
            f"model: {config.model} is no checkpoint of this library, so 'tools' (a catalogue) and 'codebook' "
            "(from `toolgen index`) are needed."
        )
    catalog = ToolCatalog.from_jsonl(config.tools)
    codebook = Codebook.load(config.codebook)
    codebook.check_catalog(catalog)
    base = load_base(config.model)
    extended = extend(base.model, base.tokenizer, codebook)
    # Hidden states of thousands of documents are a matter of seconds or of days, depending on the device.
    extended.model.to(distributed.device())  # type: ignore[arg-type]
    with progress_bar("Starting the tools' rows") as progress:
        initialise_rows(extended, catalog, codebook, config.prior, input_prior=config.input_prior, progress=progress)
    artefacts = Artefacts(extended.tokenizer, catalog, codebook, extended.codes, config.prompt, config.model)
    return extended.model, artefacts


def _trainer(
    config: StageConfig,
    model: PreTrainedModel,
    artefacts: Artefacts,
    records: Sequence[Record],
    queries: Sequence[Query],
    run: Run,
) -> tuple[CodeTrainer, InterruptCallback]:
    renderer, codes, longest = artefacts.renderer, artefacts.codes, config.training.max_length
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and longest > context:
        raise InputError(f"training.max_length is {longest}, but the model's context holds {context} tokens.")
    arguments = training_arguments(
        config.training,
        _checkpoint_folder(config),
        rows=len(records),
        evaluate=bool(queries),
        report_to=run.report_to,
    )
    interrupt = InterruptCallback()
    pad_id = artefacts.tokenizer.pad_token_id
    trainer = CodeTrainer(
        model=model,
        args=arguments,
        artefacts=artefacts,
        rank=(lambda current: rank_figures(current, artefacts, queries)) if queries else None,
        train_dataset=linearize(records, renderer, codes, longest),
        eval_dataset=linearize(retrieval_records(queries), renderer, codes, longest) if queries else None,
        data_collator=CodeCollator(codes.end_id if pad_id is None else pad_id),
        optimizer_cls_and_kwargs=(
            torch.optim.AdamW,
            {"params": parameter_groups(model, config.training), "lr": config.training.learning_rate, "fused": True},
        ),
        callbacks=[interrupt],
    )
    return trainer, interrupt


def rank_figures(model: PreTrainedModel, artefacts: Artefacts, queries: Sequence[Query]) -> dict[str, float]:
    """Constrained ranking of labelled queries against the whole catalogue: means of ``VALIDATION_FIGURES``."""
    depth = min(10, len(artefacts.catalog))
    answers = GenerativeRetriever(model, artefacts).search([query.text for query in queries], depth)
    run = {query.id: run_from_hits(hits) for query, hits in zip(queries, answers, strict=True)}
    means = evaluate(qrels_of(queries), run).means
    return {name: means[name] for name in VALIDATION_FIGURES}


def _validation_queries(config: ValidationConfig | None, catalog: ToolCatalog) -> list[Query]:
    if config is None:
        return []
    queries = read_queries(config.queries, catalog, config.split)
    stride = max(1, -(-len(queries) // config.most))
    return queries[::stride]


def _checkpoint_folder(config: StageConfig) -> Path:
    return config.output / "checkpoints"


def _resume_from(config: StageConfig) -> Path | None:
    """The checkpoint to go on from, None for a fresh run.

    Raises:
        InputError: There is none to resume from, or a fresh run would mix its checkpoints with those of an earlier one.
    """
    folder = _checkpoint_folder(config)
    found = checkpoints(folder)
    if config.resume and not found:
        raise InputError(f"resume: {folder} holds no checkpoint to go on from. Start without resume=true.")
    if found and not config.resume:
        raise InputError(
            f"{folder} holds checkpoints of an earlier run (the last is {found[-1].name}). Add resume=true to go on "
            "from it, give another output, or remove the folder."
        )
    return found[-1] if found else None


def _check_resumed(checkpoint: Path, artefacts: Artefacts) -> None:
    """Check that a checkpoint was written by this very stage, on this catalogue, these codes and this configuration."""
    earlier = Artefacts.load(checkpoint)
    for part, ours, theirs in (
        ("catalogue", artefacts.catalog.fingerprint, earlier.catalog.fingerprint),
        ("codebook", artefacts.codebook.fingerprint, earlier.codebook.fingerprint),
    ):
        if ours != theirs:
            raise InputError(f"resume: {checkpoint} was made with another {part} ({theirs}; this run's is {ours}).")
    before, now = (
        {**entry["config"], "stage": entry["stage"]} for entry in (earlier.history[-1], artefacts.history[-1])
    )
    # How a run is watched, and whether it resumes, changes nothing in what it computes.
    differing = [key for key in now if key not in ("resume", "tracking") and before.get(key) != now[key]]
    if differing:
        raise InputError(
            f"resume: {checkpoint} was made with another configuration: {', '.join(differing)} differ(s). Go on with "
            "the same one, or start afresh in another output."
        )


def _save(trainer: CodeTrainer, final: Path) -> None:
    """Write the final checkpoint whole or not at all. Every rank takes part; the first one writes."""

    def write(folder: Path) -> None:
        with without_bars():
            trainer.save_model(str(folder))
        assert list(folder.glob("model*.safetensors")), "the trainer wrote no model"
        # A pickle of Trainer's arguments, which nobody needs and nobody should have to trust.
        (folder / "training_args.bin").unlink()

    if distributed.is_main():
        publish(final, write)
    else:
        trainer.save_model(str(final))
    distributed.barrier()


def _stop(config: StageConfig, trainer: CodeTrainer, number: int) -> None:
    if distributed.is_main():
        err.print(
            f"Stopped by {signal.Signals(number).name} after step {trainer.state.global_step} of "
            f"{trainer.state.max_steps}. Everything is saved in {_checkpoint_folder(config)}. To go on, run the same "
            "command with resume=true (the quickstart goes on by itself).",
            markup=False,
        )
    sys.exit(128 + number)


def stage_main(
    name: str,
    kind: type[Config],
    make_records: MakeRecords[Config],
    description: str,
    argv: Sequence[str] | None = None,
) -> None:
    """Command line of a stage: ``--config FILE key=value ...``, under plain python and the deepspeed launcher alike."""
    parser = argparse.ArgumentParser(
        description=description, epilog=_keys(kind), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file; see configs/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override single keys, e.g. training.epochs=2"
    )
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # The deepspeed launcher passes it.
    arguments = parser.parse_intermixed_args(argv)
    try:
        result = run_stage(name, load_config(kind, arguments.config, arguments.overrides), make_records)
    except USER_ERRORS as error:
        if distributed.is_main():
            report_error(error)
        sys.exit(2)
    finally:
        distributed.close()
    if distributed.is_main():
        err.print(f"{name}: saved {result.checkpoint}", markup=False)


def _keys(kind: type[Section]) -> str:
    lines = ["keys:"]

    def describe(section: type[BaseModel], prefix: str) -> None:
        for field_name, field in section.model_fields.items():
            inner = section_of(field.annotation)
            if inner is not None:
                describe(inner, f"{prefix}{field_name}.")
                continue
            default = "required" if field.is_required() else f"default {field.default!r}"
            lines.append(f"  {prefix}{field_name}  ({default})  {field.description or ''}".rstrip())

    describe(kind, "")
    return "\n".join(lines)
