"""How a bi-encoder is trained: sentence-transformers' trainer in an order of our own, looks at the encoder between
steps, and checkpoints that are whole. Knows neither the configuration of a run nor the command line.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from toolgen.base import without_bars
from toolgen.checkpoint import publish
from toolgen.code_stage import VALIDATION_FIGURES
from toolgen.manifest import seal, sync_folder
from toolgen.order import StepBatches
from toolgen.resumption import Work, checkpoint_name, checkpoints

CHOICE = "ndcg@5"
"""The figure that decides which look's encoder is kept."""


class PairTrainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer, in an order of the data that depends on the seed alone, so that a run that goes
    on at any step takes what it would have taken. Its ``output_dir`` is a folder for unfinished checkpoints; they are
    moved beside it when they are whole.

    Attributes:
        batches: Rows of every step.
        work: What went into the run; who goes on from a checkpoint restores it.
    """

    def __init__(self, *, batches: StepBatches, rows: int, **arguments: Any) -> None:
        """
        Args:
            batches: Rows of every step.
            rows: Number of examples.
            arguments: For sentence-transformers' trainer.
        """
        super().__init__(train_dataset=Dataset.from_dict({"example": range(rows)}), **arguments)
        self.batches = batches
        self.work = Work()

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No card: it would quote training texts, and ask the hub about the base model."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One pass over the whole run."""
        dataset: Any = self.train_dataset
        return DataLoader(
            dataset,
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    @property
    def looks(self) -> list[dict[str, float]]:
        """Figures of every look so far, with epoch and step."""
        found = [entry for entry in self.state.log_history if f"eval_{CHOICE}" in entry]
        names = {"epoch": "epoch", "step": "step", **{name: f"eval_{name}" for name in VALIDATION_FIGURES}}
        return [{name: entry[logged] for name, logged in names.items()} for entry in found]

    @property
    def best_look(self) -> dict[str, float] | None:
        """The first of those with the highest ``CHOICE``; None before any look."""
        return max(self.looks, key=lambda look: look[CHOICE], default=None)

    def write_encoder(self, folder: Path) -> None:
        """Fill a folder with the encoder's files, as ``load_encoder`` reads them."""
        with without_bars():
            self.model.save_pretrained(str(folder), create_model_card=False)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.write_encoder(Path(output_dir or str(self.args.output_dir)))

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        unfinished = Path(str(self.args.output_dir))
        shutil.rmtree(unfinished, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        name = checkpoint_name(self.state.global_step)
        self.work.save(unfinished / name)
        seal(unfinished / name)
        whole = unfinished.with_name(name)
        shutil.rmtree(whole, ignore_errors=True)
        (unfinished / name).rename(whole)
        sync_folder(whole.parent)
        for old in checkpoints(whole.parent)[:-1]:
            shutil.rmtree(old)


class Steps(TrainerCallback):
    """Makes every step a function of seed and step, looks at the encoder between them, and keeps the best."""

    def __init__(
        self,
        trainer: PairTrainer,
        rows: int,
        between: int,
        look: Callable[[], Mapping[str, float]] | None,
        best: Path,
    ) -> None:
        self._trainer = trainer
        self._rows = rows
        self._between = between
        self._look = look
        self._best = best

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """An epoch that is no better than no training is not chosen."""
        self._trainer.work.start()
        if state.global_step == 0:
            state.epoch = 0.0
            self._judge()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Dropout is the only randomness within a step."""
        torch.manual_seed((args.seed << 40) + state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count epochs by examples; Trainer counts passes over the data loader, and there is only one."""
        state.epoch = state.global_step * args.per_device_train_batch_size / self._rows
        if state.global_step % self._between == 0 or state.global_step == state.max_steps:
            self._judge()

    def _judge(self) -> None:
        if self._look is None:
            return
        earlier = self._trainer.best_look
        figures = self._look()
        self._trainer.log({f"eval_{name}": value for name, value in figures.items()})
        if earlier is None or figures[CHOICE] > earlier[CHOICE]:
            publish(self._best, self._trainer.write_encoder)
