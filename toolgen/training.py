"""How the stages train: configuration, batches, loss, optimiser groups. Knows examples and models; no trainer.

The loss is taken on the answers only. Prompts are padded on the left, so that the positions that predict something are
among the last of every row (``logits_to_keep``); of these the states are selected before they meet the vocabulary.

Legend: ``B`` rows, ``T`` tokens, ``L`` labels of the row that has most, ``n`` labels in all, ``V`` vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, TrainingArguments

from toolgen.attention import PADDING, PROMPT, explicit_mask, segments_seen
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.files import read_json
from toolgen.head import Head
from toolgen.order import Division

IGNORED = -100
"""Label that carries no loss, as in transformers."""


class TrainingConfig(Section):
    """How a stage trains. Rates and schedule are those of transformers' ``TrainingArguments``."""

    epochs: float = Field(1.0, gt=0)
    min_steps: int = Field(0, ge=0, description="Repeat the data beyond epochs until this many steps; for few tools.")
    batch_size: int = Field(64, ge=1, description="Examples a step, over all processes.")
    micro_batch_size: int | None = Field(
        None, ge=1, description="Most examples that a process takes at once; None: its whole part of the batch."
    )
    learning_rate: float = Field(3e-4, gt=0)
    row_learning_rate: float | None = Field(None, gt=0, description="For embedding and head; None: learning_rate.")
    schedule: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = "cosine"
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of all steps.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(64, ge=4, description="Tokens of prompt and longest answer; longer texts lose their end.")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    deepspeed: Path | None = Field(None, description="DeepSpeed's JSON configuration.")
    eval_every: float = Field(
        0.25, gt=0, le=1, description="Share of all steps between two evaluations; 1: at the end only."
    )
    save_every: float | None = Field(None, gt=0, lt=1, description="Share of all steps; None: only when interrupted.")
    seed: int = 0


class CodeCollator:
    """Examples -> a batch of rows, padded on the left. A row is a prompt and, behind it, its answers side by side: each
    continues the prompt and sees nothing of the others, so that the prompt is computed once (``toolgen.attention``).
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """
        Args:
            examples: ``prompt``, token ids, and ``answers``, token ids of each.

        Returns:
            ``input_ids``, ``position_ids`` and ``segments`` ``[B, T]``; ``labels`` ``[B, L]``, the tokens to predict,
            ``IGNORED`` where there is none, and ``sources`` ``[B, L]``, the token that predicts each, counted from the
            end of the row: 1 is the last.
        """
        # The last token of an answer is only predicted, never read: it stays out of the input.
        widths = [
            len(example["prompt"]) + sum(len(answer) - 1 for answer in example["answers"]) for example in examples
        ]
        width = max(widths)
        depth = max(sum(map(len, example["answers"])) for example in examples)
        input_ids_BT = torch.full((len(examples), width), self.pad_id)
        position_ids_BT = torch.zeros((len(examples), width), dtype=torch.long)
        segments_BT = torch.full((len(examples), width), PADDING)
        labels_BL = torch.full((len(examples), depth), IGNORED)
        sources_BL = torch.ones((len(examples), depth), dtype=torch.long)
        for row, (example, own) in enumerate(zip(examples, widths, strict=True)):
            prompt, answers = example["prompt"], example["answers"]
            ids, places, segments = list(prompt), list(range(len(prompt))), [PROMPT] * len(prompt)
            labels, sources = [], []
            for number, answer in enumerate(answers, start=1):
                labels += answer
                sources += [own - len(prompt) + 1, *(own - len(ids) - place for place in range(len(answer) - 1))]
                ids += answer[:-1]
                places += range(len(prompt), len(prompt) + len(answer) - 1)
                segments += [number] * (len(answer) - 1)
            input_ids_BT[row, width - own :] = torch.tensor(ids)
            position_ids_BT[row, width - own :] = torch.tensor(places)
            segments_BT[row, width - own :] = torch.tensor(segments)
            labels_BL[row, : len(labels)] = torch.tensor(labels)
            sources_BL[row, : len(labels)] = torch.tensor(sources)
        return {
            "input_ids": input_ids_BT,
            "position_ids": position_ids_BT,
            "segments": segments_BT,
            "labels": labels_BL,
            "sources": sources_BL,
            # Trainer counts loss tokens; under this name it takes the labels as they are instead of shifting them.
            "shift_labels": labels_BL,
        }


def answer_logits(model: torch.nn.Module, plain: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits ``[n, V]`` of the n tokens to predict, row by row; no others are computed.

    Args:
        model: Is called; may be wrapped, by DeepSpeed for instance.
        plain: The model of transformers in it.
        batch: From ``CodeCollator``.
    """
    segments_BT = batch["segments"]
    if int(segments_BT.max()) > 1:
        mask = explicit_mask(plain, segments_seen(segments_BT))
    else:
        mask = (segments_BT != PADDING).long()
    kept = int(batch["sources"].max())
    rows_n, labels_n = (batch["labels"] != IGNORED).nonzero(as_tuple=True)
    return Head(plain).logits_at(
        model,
        rows_n,
        kept - batch["sources"][rows_n, labels_n],
        input_ids=batch["input_ids"],
        attention_mask=mask,
        position_ids=batch["position_ids"],
        logits_to_keep=kept,
        use_cache=False,
    )


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
    config: TrainingConfig, division: Division, output: Path, *, evaluate: bool
) -> TrainingArguments:
    """Translate our configuration into transformers' arguments.

    ``max_steps`` must be set when the data are known; see ``total_steps``.
    """
    if config.deepspeed is not None:
        _check_deepspeed(config.deepspeed)
    cuda = torch.cuda.is_available()
    return TrainingArguments(
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
    row_modules = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = {id(parameter) for module in row_modules for parameter in module.parameters()}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in rows, parameter.ndim > 1), []).append(parameter)
    row_rate = config.row_learning_rate or config.learning_rate
    return [
        {
            "params": parameters,
            "lr": row_rate if is_row else config.learning_rate,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (is_row, decays), parameters in groups.items()
    ]


def uses_bf16(precision: str) -> bool:
    """Whether to compute in bf16: as told, or when the hardware multiplies bf16 matrices natively."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool({"amx_bf16", "avx512_bf16"} & {name for name, has in torch.cpu.get_capabilities().items() if has})
