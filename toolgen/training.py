"""How the stages train: configuration, batches, loss, optimiser groups. Knows examples and models; no trainer.

The loss is taken on the answers only. Prompts are padded on the left, so that the positions that predict something are
among the last of every row (``logits_to_keep``); of these the states are selected before they meet the vocabulary.

Legend: ``B`` rows, ``T`` tokens, ``L`` labels of the row that has most, ``n`` labels in all, ``V`` vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments

from toolgen.attention import PADDING, PROMPT, explicit_mask, reads_both_ways, segments_seen
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.files import read_json
from toolgen.head import Head
from toolgen.order import Division
from toolgen.plans import TrainPlan
from toolgen.regularizer import RegularizerConfig

IGNORED = -100
"""Label that carries no loss, as in transformers."""


class TrainingConfig(Section):
    """How a stage trains. Rates and schedule are those of transformers' ``TrainingArguments``."""

    later = ("regularizer",)

    plan: TrainPlan = TrainPlan()
    epochs: float = Field(1.0, gt=0)
    min_steps: int = Field(0, ge=0, description="Repeat the data beyond epochs until this many steps; for few tools.")
    batch_size: int = Field(64, ge=1, description="Examples a step, over all processes.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Examples that a process takes at once; None: its whole part of the batch. Of long ones it takes "
        "fewer, of short ones more: batches are divided by tokens.",
    )
    learning_rate: float = Field(3e-4, gt=0, description="Of all weights but rows; of adapters.")
    row_learning_rate: float | None = Field(None, gt=0, description="For embedding and head; None: learning_rate.")
    input_row_learning_rate: float | None = Field(
        None, gt=0, description="For an embedding that is not the head's matrix; None: as the head."
    )
    schedule: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = "cosine"
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of all steps.")
    weight_decay: float = Field(0.0, ge=0)
    regularizer: RegularizerConfig | None = Field(
        None, description="Pull of new output rows towards where they start, under train=rows or rows+lora; null: none."
    )
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(64, ge=4, description="Tokens of prompt and longest answer; longer texts lose their end.")
    row_tokens: int | None = Field(
        None, ge=1, description="Pack examples into rows of so many tokens; None: each is padded to the longest."
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = Field(False, description="Compile the layers (torch.compile): pays in runs of many steps.")
    deepspeed: Path | None = Field(None, description="DeepSpeed's JSON configuration.")
    eval_every: float = Field(
        0.25, gt=0, le=1, description="Share of all steps between two evaluations; 1: at the end only."
    )
    save_every: float | None = Field(None, gt=0, lt=1, description="Share of all steps; None: only when interrupted.")
    seed: int = 0


class CodeCollator:
    """Examples -> a batch of rows, padded on the left. An example is a prompt and, behind it, its answers side by side:
    each continues the prompt and sees nothing of the others, so that the prompt is computed once
    (``toolgen.attention``). A row is one example, or as many as it has room for.
    """

    def __init__(self, pad_id: int, row_tokens: int | None = None) -> None:
        """
        Args:
            pad_id: Fills rows up.
            row_tokens: Most tokens of a row of several examples, none of which sees another; None: a row is one.
        """
        self.pad_id = pad_id
        self.row_tokens = row_tokens

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """
        Args:
            examples: ``prompt``, token ids, and ``answers``, token ids of each; ``text``, as in ``toolgen.replay``, or
                nothing where there is no such text.

        Returns:
            ``input_ids``, ``position_ids``, ``segments`` and ``samples`` ``[B, T]``; ``labels`` ``[B, L]``, the tokens
            to predict, ``IGNORED`` where there is none; ``sources`` ``[B, L]``, the token that predicts each, counted
            from the end of the row: 1 is the last; ``text`` ``[B, L]``, above 0 where a label is of general text.
        """
        laid = [_lay(example["prompt"], example["answers"]) for example in examples]
        rows = pack([len(each.ids) for each in laid], self.row_tokens or 0)
        widths = [sum(len(laid[place].ids) for place in row) for row in rows]
        shape = len(rows), max(widths)
        depth = max(sum(len(laid[place].labels) for place in row) for row in rows)
        input_ids_BT = torch.full(shape, self.pad_id)
        position_ids_BT = torch.zeros(shape, dtype=torch.long)
        segments_BT, samples_BT = torch.full((2, *shape), PADDING)
        labels_BL = torch.full((len(rows), depth), IGNORED)
        sources_BL = torch.ones((len(rows), depth), dtype=torch.long)
        text_BL = torch.zeros((len(rows), depth))
        for row, (places, width) in enumerate(zip(rows, widths, strict=True)):
            start, first = shape[1] - width, 0
            for number, place in enumerate(places):
                each = laid[place]
                stop, last = start + len(each.ids), first + len(each.labels)
                input_ids_BT[row, start:stop] = torch.tensor(each.ids)
                position_ids_BT[row, start:stop] = torch.tensor(each.positions)
                segments_BT[row, start:stop] = torch.tensor(each.segments)
                samples_BT[row, start:stop] = number
                labels_BL[row, first:last] = torch.tensor(each.labels)
                sources_BL[row, first:last] = shape[1] - start - torch.tensor(each.sources)
                text_BL[row, first:last] = examples[place].get("text", 0.0)
                start, first = stop, last
        return {
            "input_ids": input_ids_BT,
            "position_ids": position_ids_BT,
            "segments": segments_BT,
            "samples": samples_BT,
            "labels": labels_BL,
            "sources": sources_BL,
            "text": text_BL,
            # Trainer counts loss tokens; under this name it takes the labels as they are instead of shifting them.
            "shift_labels": labels_BL.masked_fill(text_BL > 0, IGNORED),
        }


class _Laid(NamedTuple):
    """An example as tokens of a row; the last token of an answer is only predicted, never read, and stays out."""

    ids: list[int]
    positions: list[int]
    segments: list[int]
    labels: list[int]
    sources: list[int]
    """The place that predicts each label."""


def _lay(prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> _Laid:
    laid = _Laid(list(prompt), list(range(len(prompt))), [PROMPT] * len(prompt), [], [])
    for number, answer in enumerate(answers, start=1):
        laid.labels.extend(answer)
        laid.sources.extend([len(prompt) - 1, *range(len(laid.ids), len(laid.ids) + len(answer) - 1)])
        laid.ids.extend(answer[:-1])
        laid.positions.extend(range(len(prompt), len(prompt) + len(answer) - 1))
        laid.segments.extend([number] * (len(answer) - 1))
    return laid


def pack(widths: Sequence[int], room: int) -> list[list[int]]:
    """Places of the examples that share a row: the longest first, each into the first row that has room for it.

    An example that is longer than ``room`` has a row of its own.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(widths)), key=lambda place: -widths[place]) if room else range(len(widths)):
        row = next((row for row, free in enumerate(left) if free >= widths[place]), None)
        if row is None:
            rows.append([place])
            left.append(room - widths[place])
        else:
            rows[row].append(place)
            left[row] -= widths[place]
    return rows


def answer_logits(model: torch.nn.Module, plain: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits ``[n, V]`` of the n tokens to predict, row by row; no others are computed.

    Args:
        model: Is called; may be wrapped, by DeepSpeed for instance.
        plain: The model of transformers in it.
        batch: From ``CodeCollator``.
    """
    inputs, rows_n, places_n = _inputs(plain, batch)
    return Head(plain).logits_at(model, rows_n, places_n, **inputs)


def answer_states(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The states ``[n, D]`` that these logits are made of."""
    inputs, rows_n, places_n = _inputs(model, batch)
    return Head(model).states(**inputs)[rows_n, places_n]


def _inputs(plain: PreTrainedModel, batch: Mapping[str, Tensor]) -> tuple[dict[str, Any], Tensor, Tensor]:
    """What the model is called with; rows, and places among the last states, of what predicts the labels."""
    segments_BT, samples_BT = batch["segments"], batch["samples"]
    both_ways = reads_both_ways(plain)
    if both_ways or int(segments_BT.max()) > 1 or int(samples_BT.max()) > 0:
        mask = explicit_mask(plain, segments_seen(segments_BT, samples_BT, both_ways=both_ways))
    else:
        mask = (segments_BT != PADDING).long()
    kept = int(batch["sources"].max())
    rows_n, labels_n = (batch["labels"] != IGNORED).nonzero(as_tuple=True)
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": mask,
        "position_ids": batch["position_ids"],
        "logits_to_keep": kept,
        "use_cache": False,
    }
    return inputs, rows_n, kept - batch["sources"][rows_n, labels_n]


def code_loss(logits_nV: Tensor, labels_BL: Tensor, count: Tensor | float | None = None) -> Tensor:
    """Cross-entropy in nats over the whole vocabulary, in fp32.

    Args:
        logits_nV: From ``answer_logits``.
        labels_BL: Tokens to predict, ``IGNORED`` for none.
        count: Divisor; None: the number of labels in this batch.
    """
    labels_n = labels_BL[labels_BL != IGNORED]
    return F.cross_entropy(logits_nV.float(), labels_n, reduction="sum") / (len(labels_n) if count is None else count)


def training_arguments(
    config: TrainingConfig,
    division: Division,
    output: Path,
    *,
    evaluate: bool,
    kind: Callable[..., TrainingArguments] = TrainingArguments,
) -> TrainingArguments:
    """Translate our configuration into transformers' arguments, or those of a trainer on top of it (``kind``).

    ``max_steps`` must be set when the data are known; see ``total_steps``.
    """
    if config.deepspeed is not None:
        _check_deepspeed(config.deepspeed)
    cuda = torch.cuda.is_available()
    return kind(
        output_dir=str(output),
        per_device_train_batch_size=division.micro,
        per_device_eval_batch_size=division.micro,
        gradient_accumulation_steps=division.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=uses_bf16(config.precision),
        use_cpu=not cuda,
        activation_checkpointing=config.gradient_checkpointing,
        deepspeed=str(config.deepspeed) if config.deepspeed is not None else None,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        logging_steps=10,
        logging_first_step=True,
        # Trainer reads 1.0 as "every step"; the stage evaluates at the end in any case.
        eval_strategy="steps" if evaluate and config.eval_every < 1 else "no",
        eval_steps=config.eval_every,
        save_strategy="steps" if config.save_every is not None else "no",
        save_steps=config.save_every or 500,
        seed=config.seed,
        data_seed=config.seed,
        report_to=[],
        log_level="warning",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no room."""
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def memory_advice(config: TrainingConfig, division: Division) -> str:
    """What to change so that a run takes less memory: first what changes no result."""
    advice = []
    if division.micro > 1:
        advice.append(
            f"training.micro_batch_size={division.micro // 2} (it was {division.micro}; the result is the same)"
        )
    if not config.gradient_checkpointing:
        advice.append("training.gradient_checkpointing=true (the same result, a third slower)")
    if config.deepspeed is None:
        advice.append("several GPUs under DeepSpeed: training.deepspeed=configs/deepspeed/zero2.json, or zero3")
    elif "offload" not in config.deepspeed.name:
        advice.append("ZeRO-3 with offloading: training.deepspeed=configs/deepspeed/zero3_offload.json")
    advice.append("a shorter training.max_length")
    if config.plan.train == "full":
        advice.append("training.plan.train=rows+lora or rows, whose optimiser holds a small part")
    return "; ".join(advice) + ". `toolgen plan` foresees what fits."


def total_steps(config: TrainingConfig, rows: int) -> int:
    """Steps of a run over ``rows`` training rows."""
    return max(math.ceil(config.epochs * rows / config.batch_size), config.min_steps)


def _check_deepspeed(path: Path) -> None:
    zero = read_json(path).get("zero_optimization", {})
    if zero.get("stage") not in (1, 2, 3):
        raise InputError(
            f'training.deepspeed: {path} names the ZeRO stage {zero.get("stage")!r}. Set "stage" under '
            '"zero_optimization" to 1, 2 or 3, or leave training.deepspeed out.'
        )
    if zero["stage"] == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise InputError(
            f"training.deepspeed: {path} is ZeRO-3 without stage3_gather_16bit_weights_on_model_save, so the final "
            'checkpoint would hold shards instead of a model. Set it to true under "zero_optimization".'
        )
    for part in ("offload_optimizer", "offload_param"):
        if zero.get(part, {}).get("device") == "nvme":
            raise InputError(
                f"training.deepspeed: {path} offloads to NVMe ({part}), from where checkpoints cannot be gathered. "
                'Set its device to "cpu".'
            )


def parameter_groups(model: PreTrainedModel, config: TrainingConfig) -> list[dict[str, Any]]:
    """Optimiser groups: the rows (embedding and head) with their own rate, everything else with the stage's.

    Biases and normalisation weights, all one-dimensional, carry no weight decay.
    """
    row_rate = config.row_learning_rate or config.learning_rate
    # The head comes last: a matrix that both share has its rate.
    rates = {
        id(parameter): rate
        for module, rate in (
            (model.get_input_embeddings(), config.input_row_learning_rate or row_rate),
            (model.get_output_embeddings(), row_rate),
        )
        for parameter in module.parameters()
    }
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = rates.get(id(parameter), config.learning_rate)
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": config.weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]


def uses_bf16(precision: str) -> bool:
    """Whether to compute in bf16: as told, or when the hardware multiplies bf16 matrices faster than fp32 ones.

    Among CPUs those with AMX do, and AMD's with AVX-512. Intel's AVX-512 multiplies as many of the one as of the other
    in a cycle, and what is converted comes on top: 72 GFLOP/s against 125 on a core of a Xeon.
    """
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and "amd" in str(cpu.get("cpu_name")).lower()))
