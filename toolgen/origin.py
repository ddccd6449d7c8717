"""Where a run begins: an interrupted run's checkpoint, a finished stage's, or a base model to extend. Knows models and
checkpoints; no training.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from transformers import PreTrainedModel, TrainingArguments

from toolgen import distributed
from toolgen.attention import PromptAttention, set_prompt_attention
from toolgen.base import is_encoder, load_base
from toolgen.checkpoint import Artefacts, is_checkpoint, load_model, publish, write_model
from toolgen.codebook import Codebook
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.manifest import verify
from toolgen.parts import Reading
from toolgen.plans import restore_base
from toolgen.priors import Prior, initialise_rows
from toolgen.prompts import PromptStyle
from toolgen.resumption import checkpoints, step_of
from toolgen.terminal import err, progress_bar
from toolgen.tools import ToolCatalog
from toolgen.vocabulary import extend, silence_words


class OriginConfig(Section):
    """What a run starts from."""

    model: str = Field(
        "embedded", description="'embedded', a Hugging Face causal LM, encoder:NAME, or a stage's checkpoint."
    )
    tools: Path | None = Field(None, description="Catalogue; needed unless model is a checkpoint.")
    codebook: Path | None = Field(None, description="From `toolgen index`; needed unless model is a checkpoint.")
    prompt: PromptStyle = "plain"
    prompt_attention: PromptAttention | None = Field(
        None,
        description="What a prompt's tokens see: causal, those before; full, each other, as in an encoder. null: what "
        "the base's configuration says, else causal.",
    )
    reading: Reading = Field(
        "whole",
        description="How queries are read: whole, or by parts, their sentences and clauses, of which each may want "
        "other tools. For catalogues whose queries are long and want several tools.",
    )
    prior: Prior = Prior()
    input_prior: Prior | None = Field(None, description="For input rows of untied models; None: as prior.")


def start(
    config: OriginConfig, arguments: TrainingArguments | None = None, scratch: Path | None = None
) -> tuple[PreTrainedModel, Artefacts]:
    """Load a finished stage's checkpoint, or extend a base model by a codebook. A collective.

    Where several processes train, or DeepSpeed partitions the weights, the first process alone extends the model,
    whole, and all load what it wrote. So rows are the same everywhere, and only one process holds a whole model.

    Args:
        config: What to start from.
        arguments: Of the trainer; None: for a single process without DeepSpeed.
        scratch: Folder for the extended model on its way to the other processes; wanted with ``arguments``.

    Raises:
        InputError: Catalogue or codebook are missing, surplus or do not belong together.
    """
    if is_checkpoint(config.model):
        if given := [key for key in OriginConfig.model_fields if key != "model" and key in config.model_fields_set]:
            raise InputError(
                f"model: {config.model} is a checkpoint and brings its own tools, codebook, prompt, attention and "
                f"rows; leave {', '.join(given)} out, or start from a base model."
            )
        artefacts = Artefacts.load(config.model)
        return load_model(config.model, dtype=torch.float32), artefacts
    return _made_once(lambda: _extend(config), arguments, scratch)


def _made_once(
    make: Callable[[], tuple[PreTrainedModel, Artefacts]], arguments: TrainingArguments | None, scratch: Path | None
) -> tuple[PreTrainedModel, Artefacts]:
    """What ``make`` makes, whole, on the first process, in all of them, each with its own partition. A collective."""
    if arguments is None or (distributed.world_size() == 1 and not arguments.deepspeed):
        return make()
    assert scratch is not None
    folder = scratch

    def alone() -> None:
        with distributed.whole_weights(arguments):
            model, artefacts = make()
        publish(folder, lambda target: write_model(target, model, artefacts))

    distributed.on_main(alone)
    artefacts, model = Artefacts.load(folder), load_model(folder, dtype=torch.float32)
    distributed.barrier()
    distributed.on_main(lambda: shutil.rmtree(folder))
    return model, artefacts


def _extend(config: OriginConfig) -> tuple[PreTrainedModel, Artefacts]:
    catalog, codebook = _tools(config)
    base = load_base(config.model)
    if config.prompt_attention is not None:
        # Before the rows, which may be states of documents.
        set_prompt_attention(base.model, config.prompt_attention)
    extended = extend(base.model, base.tokenizer, codebook)
    if is_encoder(config.model):
        silence_words(extended.model, extended.codes)
    # Hidden states of thousands of documents are a matter of seconds or of days, depending on the device.
    extended.model.to(distributed.device())  # type: ignore[arg-type]
    with progress_bar("Starting the tools' rows") as progress:
        initialise_rows(extended, catalog, codebook, config.prior, input_prior=config.input_prior, progress=progress)
    artefacts = Artefacts(
        extended.tokenizer, catalog, codebook, extended.codes, config.prompt, config.model, config.reading
    )
    return extended.model, artefacts


def _tools(config: OriginConfig) -> tuple[ToolCatalog, Codebook]:
    if config.tools is None or config.codebook is None:
        raise InputError(
            f"model: {config.model} is no checkpoint of this library, so 'tools' (a catalogue) and 'codebook' "
            "(from `toolgen index`) are needed."
        )
    catalog = ToolCatalog.from_jsonl(config.tools)
    codebook = Codebook.load(config.codebook)
    codebook.check_catalog(catalog)
    return catalog, codebook


def resumable(folder: Path, resume: bool) -> Path | None:
    """The checkpoint to go on from: the newest one that is as it was written. A collective.

    Args:
        folder: The run's intermediate checkpoints.
        resume: Whether going on is wanted.

    Returns:
        None for a run that starts afresh.

    Raises:
        InputError: There are checkpoints and going on is not wanted, or none of them is as it was written.
    """
    found = checkpoints(folder)
    if not resume:
        if found:
            raise InputError(
                f"{folder} holds checkpoints of an earlier run (the last is {found[-1].name}). Add resume=true to go "
                "on from it, give another output, or remove the folder."
            )
        return None
    chosen: list[Path] = []

    def choose() -> None:
        for checkpoint in reversed(found):
            try:
                verify(checkpoint, digests=True)
            except InputError as error:
                err.print(f"{checkpoint.name} is passed over: {error}", markup=False)
            else:
                chosen.append(checkpoint)
                return
        if found:
            raise InputError(
                f"resume: no checkpoint in {folder} is as it was written. Remove the folder to start afresh."
            )
        err.print(f"No checkpoint in {folder} to go on from: starting afresh.", markup=False)

    distributed.on_main(choose)
    step = max(distributed.all_ranks(float(step_of(chosen[0])) if chosen else -1.0))
    return next((checkpoint for checkpoint in found if step_of(checkpoint) == step), None)


FREE_KEYS = frozenset(
    ("output", "resume", "tracking", "validation", "abilities")
    + ("training.deepspeed", "training.micro_batch_size", "training.row_tokens", "training.gradient_checkpointing")
    + ("training.compile", "training.eval_every", "training.save_every")
)
"""What may differ when a run goes on: where it lies, how it is watched, how it is spread over devices."""


def resume(
    checkpoint: Path,
    config: OriginConfig,
    entry: Mapping[str, Any],
    arguments: TrainingArguments | None = None,
    scratch: Path | None = None,
) -> tuple[PreTrainedModel, Artefacts]:
    """Load an interrupted run's checkpoint, after checking that the run is the same. A collective.

    Where adapters train, the checkpoint's weights hold them merged; those of the layers come from where the run began.

    Args:
        checkpoint: From ``resumable``.
        config: What the run started from.
        entry: The run's entry in the history: ``stage`` and ``config``.
        arguments: As for ``start``.
        scratch: As for ``start``.

    Raises:
        InputError: The checkpoint was written by another stage, on another catalogue or codebook, or with another
            configuration.
    """
    earlier = Artefacts.load(checkpoint)
    if is_checkpoint(config.model):
        origin = Artefacts.load(config.model)
        catalog, codebook = origin.catalog, origin.codebook
    else:
        catalog, codebook = _tools(config)
    for part, ours, theirs in (
        ("catalogue", catalog.fingerprint, earlier.catalog.fingerprint),
        ("codebook", codebook.fingerprint, earlier.codebook.fingerprint),
    ):
        if ours != theirs:
            raise InputError(f"resume: {checkpoint} was made with another {part} ({theirs}; this run's is {ours}).")
    before, now = ({"stage": each["stage"], **_flat(each["config"])} for each in (earlier.history[-1], entry))
    # Runs of earlier versions do not say.
    before.setdefault("reading", "whole")
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        raise InputError(
            f"resume: {checkpoint} was made with another configuration: {', '.join(differing)} differ(s). Go on with "
            "the same one, or start afresh in another output."
        )
    if entry["config"]["training"]["plan"]["train"] != "rows+lora":
        return load_model(checkpoint, dtype=torch.float32), earlier

    def before_adapters() -> tuple[PreTrainedModel, Artefacts]:
        model = load_model(checkpoint, dtype=torch.float32)
        began = (
            load_model(config.model, torch.float32) if is_checkpoint(config.model) else load_base(config.model).model
        )
        restore_base(model, began)
        return model, earlier

    return _made_once(before_adapters, arguments, scratch)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of a configuration that decide what a run computes."""
    training = {f"training.{key}": value for key, value in config["training"].items()}
    flat = {key: value for key, value in config.items() if key != "training"} | training
    return {key: value for key, value in flat.items() if key not in FREE_KEYS}
