"""The one trainer of the stages: transformers' Trainer, fed with codes. Knows examples and models; no stage.

The loss is taken on the code only. Prompts are padded on the left, so that the labelled positions of every row are the
last ones and the model computes logits for them alone (``logits_to_keep``).

Legend: ``B`` rows, ``T`` tokens, ``L`` labelled positions, ``V`` vocabulary.
"""

import math
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    SchedulerType,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from toolgen import distributed
from toolgen.checkpoint import Artefacts
from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.files import read_json

KEPT_CHECKPOINTS = 2
"""Intermediate checkpoints that a run keeps, the newest."""

IGNORED = -100
"""Label that carries no loss, as in transformers."""


class TrainingConfig(Section):
    """How a stage trains. Rates and schedule are those of transformers' ``TrainingArguments``."""

    epochs: float = Field(1.0, gt=0)
    min_steps: int = Field(0, ge=0, description="Repeat the data beyond epochs until this many steps; for few tools.")
    batch_size: int = Field(64, ge=1, description="Examples a process and step.")
    gradient_accumulation: int = Field(1, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    row_learning_rate: float | None = Field(None, gt=0, description="For embedding and head; None: learning_rate.")
    schedule: SchedulerType = SchedulerType.COSINE
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of all steps.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(64, ge=4, description="Tokens of prompt and code; longer texts lose their end.")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    deepspeed: Path | None = Field(None, description="DeepSpeed's JSON configuration.")
    eval_every: float = Field(
        0.25, gt=0, le=1, description="Share of all steps between two evaluations; 1: at the end only."
    )
    save_every: float | None = Field(None, gt=0, lt=1, description="Share of all steps; None: only when interrupted.")
    seed: int = 0


class CodeCollator:
    """Examples -> a batch with prompts padded on the left and labels aligned with the last ``L`` positions."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
        """
        Args:
            examples: ``prompt`` and ``code`` token ids.

        Returns:
            ``input_ids``, ``attention_mask``, ``position_ids`` ``[B, T]`` and ``labels`` ``[B, L]`` with the token that
            each of the last ``L`` positions should predict, ``IGNORED`` where there is none.
        """
        # The last token of a code is only predicted, never read: it stays out of the input.
        rows = [[*example["prompt"], *example["code"][:-1]] for example in examples]
        width = max(len(row) for row in rows)
        depth = max(len(example["code"]) for example in examples)
        input_ids_BT = torch.full((len(rows), width), self.pad_id)
        mask_BT = torch.zeros((len(rows), width), dtype=torch.long)
        labels_BL = torch.full((len(rows), depth), IGNORED)
        for place, (row, example) in enumerate(zip(rows, examples, strict=True)):
            input_ids_BT[place, width - len(row) :] = torch.tensor(row)
            mask_BT[place, width - len(row) :] = 1
            labels_BL[place, depth - len(example["code"]) :] = torch.tensor(example["code"])
        return {
            "input_ids": input_ids_BT,
            "attention_mask": mask_BT,
            "position_ids": (mask_BT.cumsum(-1) - 1).clamp_min(0),
            "labels": labels_BL,
            # Trainer counts loss tokens; under this name it takes the labels as they are instead of shifting them.
            "shift_labels": labels_BL,
        }


def code_loss(logits_BLV: Tensor, labels_BL: Tensor, count: Tensor | float | None = None) -> Tensor:
    """Cross-entropy in nats over the whole vocabulary, in fp32.

    Args:
        logits_BLV: Logits of the last ``L`` positions.
        labels_BL: Tokens to predict, ``IGNORED`` for none.
        count: Divisor; None: the number of labels in this batch.
    """
    total = F.cross_entropy(
        logits_BLV.flatten(0, 1).float(), labels_BL.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / ((labels_BL != IGNORED).sum() if count is None else count)


class EpochSampler(LengthGroupedSampler):
    """Groups rows of similar length, in an order that depends on seed and epoch alone, so that a resumed run sees the
    rows that the uninterrupted one would have seen."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        return iter(super().__iter__())


class CodeTrainer(Trainer):
    """Trainer whose loss is ``code_loss`` and whose evaluation also ranks the validation queries.

    Attributes:
        artefacts: Saved beside every checkpoint of the model, so that each one is complete.
        rank: Figures of the current model on the validation queries, such as ``{"ndcg@5": 0.8}``; None: loss only.
    """

    def __init__(
        self, *, artefacts: Artefacts, rank: Callable[[PreTrainedModel], Mapping[str, float]] | None, **arguments: Any
    ) -> None:
        super().__init__(processing_class=artefacts.tokenizer, **arguments)
        self.artefacts = artefacts
        self.rank = rank
        # The loss below is divided by the count that Trainer gives it, so it is already scaled for accumulation.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of one batch; see ``code_loss``."""
        inputs = dict(inputs)
        labels_BL = inputs.pop("labels")
        inputs.pop("shift_labels")
        outputs = model(**inputs, logits_to_keep=labels_BL.shape[1], use_cache=False)
        loss = code_loss(outputs.logits, labels_BL, num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The count is of all processes while gradients are averaged over them.
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = dataset["length"][:]
        return EpochSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps, lengths, self.args.data_seed or 0
        )

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Loss on the validation pairs, then ``rank`` on the validation queries."""
        output = super().evaluation_loop(dataloader, description, True, ignore_keys, metric_key_prefix)
        assert output.metrics is not None
        if self.rank is not None:
            model = self.accelerator.unwrap_model(self.model)
            was_training = model.training
            figures = self.rank(model.eval())
            model.train(was_training)
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in figures.items()})
        return output

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Write a checkpoint beside the others under another name, and rename it when it is whole."""
        assert self.args.output_dir is not None
        folder = Path(self.args.output_dir)
        unfinished = folder / "unfinished"
        if distributed.is_main():
            shutil.rmtree(unfinished, ignore_errors=True)
        distributed.barrier()
        self.args.output_dir = str(unfinished)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.output_dir = str(folder)
        distributed.barrier()
        if distributed.is_main():
            whole = folder / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(whole, ignore_errors=True)
            (unfinished / whole.name).rename(whole)
            unfinished.rmdir()
            for old in checkpoints(folder)[:-KEPT_CHECKPOINTS]:
                shutil.rmtree(old)
        distributed.barrier()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        super()._save(output_dir, state_dict)
        self.artefacts.save(output_dir)


def checkpoints(folder: Path) -> list[Path]:
    """Whole intermediate checkpoints in a folder, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


class InterruptCallback(TrainerCallback):
    """Turns Ctrl-C and SIGTERM into "save a checkpoint after this step, then stop", on all ranks together."""

    def __init__(self) -> None:
        self.received: int | None = None
        """Signal number, once one has arrived on any rank."""
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take over the two signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Agree with the other ranks, then ask Trainer to save and stop."""
        if distributed.any_rank(self.received is not None):
            self.received = self.received or signal.SIGTERM
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C wants out at once. A SIGTERM after a SIGINT does not: the deepspeed launcher sends it to every
        # rank when it is interrupted itself, and waits for them.
        if number == self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number


def training_arguments(
    config: TrainingConfig, output: Path, *, rows: int, evaluate: bool, report_to: list[str]
) -> TrainingArguments:
    """Translate our configuration into transformers' arguments, for a data set of ``rows`` rows."""
    if config.deepspeed is not None:
        _check_deepspeed(config.deepspeed)
    cuda = torch.cuda.is_available()
    steps = math.ceil(rows / (config.batch_size * config.gradient_accumulation * distributed.world_size()))
    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=max(config.epochs, math.ceil(config.min_steps / steps)),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
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
        report_to=report_to,
        log_level="warning",
    )


def _check_deepspeed(path: Path) -> None:
    zero = read_json(path).get("zero_optimization", {})
    if zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise InputError(
            f"training.deepspeed: {path} is ZeRO-3 without stage3_gather_16bit_weights_on_model_save, so the final "
            'checkpoint would hold shards instead of a model. Set it to true under "zero_optimization".'
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
