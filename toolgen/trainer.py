"""The trainers of the stages: what makes transformers' Trainer exact, and the one that is fed with codes. Knows
checkpoints and signals; no stage.

What is computed depends on the configuration alone: the order of the data and all randomness are functions of seed and
step, so a run may be stopped at any step and goes on exactly, and under another number of processes it goes on with the
same examples.
"""

import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import EvalLoopOutput

from toolgen import distributed
from toolgen.cached import StateDataset, cached_loss, collate_states
from toolgen.checkpoint import Artefacts, publish, write_model
from toolgen.document_rows import DocumentRows
from toolgen.errors import DiskFullError
from toolgen.files import is_disk_full
from toolgen.manifest import seal, sync_folder
from toolgen.order import Division, SampleStream, StepBatches
from toolgen.plans import plain_weights
from toolgen.regularizer import Regularizer
from toolgen.replay import ReplayConfig, mixed_loss, windows_a_step, without_adapters
from toolgen.resumption import (
    Position,
    StateReader,
    StateWriter,
    Work,
    checkpoint_name,
    checkpoints,
    own_part,
    step_of,
)
from toolgen.rivals import Rivals
from toolgen.terminal import err
from toolgen.training import IGNORED, answer_logits, answer_states, code_loss
from toolgen.vocabulary import output_weight

KEPT_CHECKPOINTS = 2
"""Intermediate checkpoints that a run keeps, the newest."""

CHOOSES = "eval_ndcg@5"
"""The figure by which the best model is chosen."""

UNFINISHED = "unfinished"
"""Name of an intermediate checkpoint while it is written."""


class KeepsState(Protocol):
    """Something with a state of its own, which checkpoints hold beside the optimiser's."""

    def save(self, checkpoint: Path) -> None:
        """Write the state into a checkpoint."""
        ...

    def restore(self, checkpoint: Path) -> None:
        """Take the state up from a checkpoint."""
        ...


class StageTrainer(Trainer):
    """Trainer whose every step is a function of seed, step and rank, and whose checkpoints are complete.

    Another trainer on top of transformers' may stand between the two: what is exact here is exact there.

    Attributes:
        artefacts: Saved beside every checkpoint of the model, so that each one is complete.
        look: Looks at the model before the first step of a run that starts afresh.
        division: How a step's examples are divided among processes and micro-batches.
        lengths: Tokens of each training example.
        resumed: Checkpoint that training goes on from; None: from the start.
        best: Keeps the model that ranks best; None: only the last one counts.
        work: What went into the run.
        save_failure: Why the last attempt to save a checkpoint failed; None: it did not.
    """

    def __init__(
        self,
        *,
        artefacts: Artefacts,
        division: Division,
        lengths: Sequence[int],
        resumed: Path | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(processing_class=artefacts.tokenizer, **arguments)
        self.artefacts = artefacts
        self.look: Callable[[PreTrainedModel], None] | None = None
        self.division = division
        self.lengths = lengths
        self.resumed = resumed
        self.best: BestModel | None = None
        self.work = Work()
        self.save_failure: str | None = None
        self._answer_loss: Tensor | float = 0.0
        # Losses are divided by the count that Trainer gives them, so they are already scaled for accumulation.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True
        self.add_callback(_Exactness(self))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One pass over the whole run: this process's micro-batches of every step that is still to be made."""
        dataset: Any = self.train_dataset
        seed = self.args.data_seed or 0
        stream = SampleStream(self.lengths, seed)
        batches = StepBatches(stream, self.division, distributed.rank(), self.args.max_steps, self._beside(seed))
        if self.resumed is not None:
            batches.first_step = step_of(self.resumed)
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self._collator(),
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _beside(self, seed: int) -> tuple[SampleStream, int] | None:
        """Further rows of the data set, and how many a step; None: there are none."""
        return None

    def _collator(self) -> Any:
        """What makes a batch of examples."""
        return self.data_collator

    def rows_up_to_date(self) -> AbstractContextManager[None]:
        """Inside, the model is as it would be if training ended here: whoever searches or publishes it wants that."""
        return nullcontext()

    def model_writer(self) -> Callable[[Path], None]:
        """Gather the model's weights, and return what writes them with all artefacts into a folder.

        A collective; the writer is for the first process only.
        """
        model: PreTrainedModel = self.accelerator.unwrap_model(self.model)
        weights = self.accelerator.get_state_dict(self.model_wrapped) if self.is_deepspeed_enabled else None
        weights = model.state_dict() if weights is None else weights

        return lambda folder: write_model(folder, model, self.artefacts, plain_weights(model, weights))

    @property
    def _parts(self) -> list[KeepsState]:
        """What keeps a state of its own in checkpoints."""
        return [self.work]

    def restore(self, checkpoint: Path) -> None:
        """Take up the optimiser, the schedule and the log where a checkpoint left them. A collective.

        The model's weights must have been loaded from the same checkpoint already.
        """
        earlier = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        step = self.state.global_step = earlier.global_step
        self.state.log_history = earlier.log_history
        with StateReader(checkpoint) as states:
            distributed.scatter_states(self.model_wrapped, self.optimizer, states.read, step)
        for part in self._parts:
            part.restore(checkpoint)
        schedule: Any = self.lr_scheduler
        schedule.last_epoch, schedule._step_count = step, step + 1
        for group, base, factor in zip(
            schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(step)
        schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]
        position = Position.load(checkpoint)
        where = distributed.rank(), distributed.world_size()
        self._tr_loss += own_part(position.losses, *where)
        self._answer_loss = own_part(position.answer_losses, *where)
        self._total_loss_scalar = position.total_loss
        self._globalstep_last_logged = position.logged_step
        # The mean loss is that of the whole run.
        self._initial_global_step = 0

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Write an intermediate checkpoint under a name that nothing reads, and rename it when it is whole.

        When it cannot be written, on a full disk for instance, the earlier ones stay and training goes on.
        """
        folder = Path(str(self.args.output_dir))
        unfinished = folder / UNFINISHED
        failures: list[str] = []

        def attempt(write: Callable[[], None]) -> None:
            # After a failure the first process still takes part in what is gathered: the others wait for it there.
            if distributed.is_main() and not failures:
                try:
                    write()
                except Exception as error:
                    # On a full disk tokenizers raise a plain Exception.
                    if not isinstance(error, OSError | SafetensorError) and not is_disk_full(error):
                        raise
                    failures.append(str(error))

        attempt(lambda: _empty(unfinished))
        write = self.model_writer()
        attempt(lambda: write(unfinished))
        states: list[StateWriter] = []
        attempt(lambda: states.append(StateWriter(unfinished)))
        for state in distributed.gather_states(self.model_wrapped, self.optimizer):
            attempt(lambda state=state: states[0].add(state))  # type: ignore[misc]
        attempt(lambda: states[0].flush())
        losses, answers = (tuple(distributed.all_ranks(float(loss))) for loss in (self._tr_loss, self._answer_loss))
        position = Position(losses, answers, self._total_loss_scalar, self._globalstep_last_logged)
        attempt(lambda: position.save(unfinished))
        for part in self._parts:
            attempt(lambda part=part: part.save(unfinished))  # type: ignore[misc]
        attempt(lambda: self.state.save_to_json(str(unfinished / TRAINER_STATE_NAME)))
        attempt(lambda: seal(unfinished))
        attempt(lambda: self._take_in(unfinished))
        self.save_failure = failures[0] if failures else None
        if failures:
            shutil.rmtree(unfinished, ignore_errors=True)
            kept = checkpoints(folder)
            err.print(
                f"The checkpoint of step {self.state.global_step} could not be written ({failures[0]}). "
                f"{f'{kept[-1].name} in {folder} is whole and stays' if kept else 'There is no earlier one'}; training "
                "goes on, and the next one is tried in its turn. Free some space if the disk is full.",
                markup=False,
            )
        distributed.barrier()

    def _take_in(self, unfinished: Path) -> None:
        whole = unfinished.with_name(checkpoint_name(self.state.global_step))
        shutil.rmtree(whole, ignore_errors=True)
        unfinished.rename(whole)
        sync_folder(whole.parent)
        for old in checkpoints(whole.parent)[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)


class CodeTrainer(StageTrainer):
    """Trainer whose loss is ``code_loss`` and whose evaluation also ranks the validation queries.

    Attributes:
        rank: Figures of the current model on the validation queries, such as ``{"ndcg@5": 0.8}``; None: loss only.
        replay: How general text counts; None: there is none.
        text_lengths: Tokens of each window of text; they follow the examples in the data set.
        rivals: Which tokens an answer competes with; None: all.
        document_rows: Makes rows follow their documents; None: they are free.
        regularizer: Pulls rows towards where they started; None: nothing does.
    """

    def __init__(
        self,
        *,
        rank: Callable[[PreTrainedModel], Mapping[str, float]] | None,
        replay: ReplayConfig | None = None,
        text_lengths: Sequence[int] = (),
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.rank = rank
        self.replay = replay
        self.text_lengths = text_lengths
        self.rivals: Rivals | None = None
        self.document_rows: DocumentRows | None = None
        self.regularizer: Regularizer | None = None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of one batch; see ``code_loss`` and ``mixed_loss``."""
        plain, replay = self.accelerator.unwrap_model(self.model), self.replay
        pull: Tensor | float = 0.0
        if self.regularizer is not None and model.training:
            # Once a step, whose batches' losses add up.
            pull = self.regularizer.loss() / self.division.accumulation
        if "states_nD" in inputs:
            weight = replay.weight if replay is not None else 0.0
            mixed = cached_loss(plain, inputs, num_items_in_batch, weight, self.rivals)
            self._answer_loss += mixed.answers.detach()
            return mixed.whole + pull
        logits_nV = self._logits(model, plain, inputs)
        # The count is of all processes while gradients are averaged over them.
        summed = num_items_in_batch is not None and self.args.average_tokens_across_devices
        factor = self.accelerator.num_processes if summed else 1
        if replay is None:
            loss = factor * code_loss(logits_nV, inputs["labels"], num_items_in_batch)
        else:
            base_nV = self._base_logits(model, plain, inputs) if replay.kl else None
            mixed = mixed_loss(replay, logits_nV, base_nV, inputs, num_items_in_batch)
            loss = factor * mixed.whole
            if model.training:
                self._answer_loss += factor * mixed.answers.detach()
        return (loss + pull, {"logits": logits_nV}) if return_outputs else loss + pull

    def _logits(self, model: torch.nn.Module, plain: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
        """Of all labels; in training by the rows that follow documents, and without whom the answers are spared."""
        rivals, rows = (self.rivals, self.document_rows) if model.training else (None, None)
        if rivals is None and rows is None:
            return answer_logits(model, plain, inputs)
        labels_n = inputs["labels"][inputs["labels"] != IGNORED]
        if rows is not None:
            return rows.logits(answer_states(plain, inputs), labels_n, rivals)
        logits_nV = answer_logits(model, plain, inputs)
        return logits_nV if rivals is None else rivals.logits(logits_nV, labels_n)

    @torch.no_grad()
    def _base_logits(self, model: torch.nn.Module, plain: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
        """Of all labels, since under ZeRO-3 every process must ask, with text or without; for the base's vocabulary."""
        with without_adapters(plain):
            return answer_logits(model, plain, inputs)[:, : len(output_weight(plain))]

    def _beside(self, seed: int) -> tuple[SampleStream, int] | None:
        if self.replay is None:
            return None
        return SampleStream(self.text_lengths, seed), windows_a_step(self.replay, self.division.batch)

    def _collator(self) -> Any:
        return collate_states if isinstance(self.train_dataset, StateDataset) else super()._collator()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Under replay, tell apart what answers and text have in the loss: the two add up to it. A collective."""
        if self.replay is not None and "loss" in logs:
            earlier = next((entry["step"] for entry in reversed(self.state.log_history) if "loss" in entry), 0)
            sums = distributed.all_ranks(float(self._answer_loss))
            answers = sum(sums) / len(sums) / (self.state.global_step - earlier)
            logs |= {"loss_answers": answers, "loss_text": logs["loss"] - answers}
            self._answer_loss = 0.0
        super().log(logs, start_time)

    # What is compiled for training would be compiled anew for all that a search reads.
    @torch.compiler.set_stance("force_eager")
    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Loss on the validation pairs, then ``rank`` on the validation queries."""
        with self.rows_up_to_date():
            output = super().evaluation_loop(dataloader, description, True, ignore_keys, metric_key_prefix)
            assert output.metrics is not None
            if self.rank is not None:
                model = self.accelerator.unwrap_model(self.model)
                was_training = model.training
                figures = self.rank(model.eval())
                model.train(was_training)
                output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in figures.items()})
        return output

    def rows_up_to_date(self) -> AbstractContextManager[None]:
        return nullcontext() if self.document_rows is None else self.document_rows.up_to_date(self.state.global_step)

    @property
    def _parts(self) -> list[KeepsState]:
        return [*super()._parts, *(part for part in (self.document_rows, self.regularizer) if part is not None)]


class _Exactness(TrainerCallback):
    """Makes every step a function of seed, step and rank, wherever the run began."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Everything is prepared and no step is made: the place to restore, or to look at the model as it starts."""
        self.trainer.work.start()
        if self.trainer.resumed is not None:
            self.trainer.restore(self.trainer.resumed)
        elif self.trainer.look is not None:
            self.trainer.look(self.trainer.accelerator.unwrap_model(self.trainer.model))

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Dropout is the only randomness within a step."""
        torch.manual_seed((args.seed << 40) + (state.global_step << 12) + distributed.rank())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count epochs by examples; Trainer counts them by passes over the data loader, and there is only one."""
        state.epoch = state.global_step * self.trainer.division.batch / len(self.trainer.lengths)


@dataclass(frozen=True)
class Evaluated:
    """A model that was kept.

    Attributes:
        step: Steps it was trained for.
        figures: What its evaluation found, under the trainer's names.
        folder: Its checkpoint.
    """

    step: int
    figures: Mapping[str, Any]
    folder: Path


class BestModel(TrainerCallback):
    """Keeps the model of the evaluation with the best NDCG@5 so far, the earlier one of equals. The first evaluation is
    that of the model as training begins: training that makes it no better is not chosen.

    Which one that is follows from the log, so that a run that goes on chooses as one that was never interrupted.
    """

    def __init__(self, trainer: StageTrainer, folder: Path) -> None:
        """
        Args:
            trainer: Writes the models.
            folder: Holds the kept one, under its step.
        """
        self._trainer = trainer
        self._folder = folder

    def found(self) -> Evaluated | None:
        """The best of the models that are on the disk."""
        log = self._trainer.state.log_history
        evaluated = [
            Evaluated(int(entry["step"]), entry, self._folder / checkpoint_name(int(entry["step"])))
            for entry in log
            if CHOOSES in entry
        ]
        kept = [each for each in evaluated if each.folder.is_dir()]
        return max(kept, key=lambda each: each.figures[CHOOSES], default=None)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Evaluate before the first step."""
        if state.global_step == 0:
            self._trainer.evaluate()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keep the model that was just evaluated if none is better. A collective; the first process decides."""
        best, newest = self.found(), state.log_history[-1]
        better = best is None or newest[CHOOSES] > best.figures[CHOOSES]
        if distributed.any_rank(better and distributed.is_main()):
            with self._trainer.rows_up_to_date():
                write = self._trainer.model_writer()
                distributed.on_main(lambda: self._keep(state.global_step, write))

    def _keep(self, step: int, write: Callable[[Path], None]) -> None:
        folder = self._folder / checkpoint_name(step)
        try:
            publish(folder, write)
        except DiskFullError as error:
            err.print(f"The model of step {step} is the best so far and could not be kept: {error}", markup=False)
            return
        for other in checkpoints(self._folder):
            if other != folder:
                shutil.rmtree(other)


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
        """Give the signals back; Trainer calls this only where training comes to its end."""
        self.release()

    def release(self) -> None:
        """Give the signals back."""
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C wants out at once. A SIGTERM after a SIGINT does not: the deepspeed launcher sends it to every
        # rank when it is interrupted itself, and waits for them.
        if number == self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
