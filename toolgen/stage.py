"""What the stages share: where a run starts, how it is fitted, tracked, interrupted and saved. The stages themselves
differ in their records only. Knows the library; no particular stage.

A run's folder holds ``final/`` (the checkpoint), ``checkpoints/`` (intermediate ones, for resuming), ``best/`` while it
trains and the best is kept, ``report.json`` and the tracker's files.
"""

import argparse
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from pydantic import Field
from transformers import PreTrainedModel, TrainingArguments, set_seed
from transformers.trainer_utils import TrainOutput

from toolgen import distributed
from toolgen.abilities import Perplexity, perplexity
from toolgen.base import context_length, has_language
from toolgen.checkpoint import Artefacts, publish
from toolgen.config import Section, describe_keys, load_config
from toolgen.corpus import Corpus, load_corpus
from toolgen.errors import InputError, OutOfMemoryError
from toolgen.files import clear_unfinished, write_json
from toolgen.order import Division
from toolgen.origin import OriginConfig, resumable, resume, start
from toolgen.plans import check_plan, prepare
from toolgen.resumption import checkpoints, step_of
from toolgen.terminal import USER_ERRORS, err, progress_bar, report_error
from toolgen.tracking import TrackingConfig, tracked
from toolgen.trainer import InterruptCallback, StageTrainer
from toolgen.training import (
    TrainingConfig,
    is_out_of_memory,
    memory_advice,
    parameter_groups,
    total_steps,
    training_arguments,
)
from toolgen.version import code_version

BEST = "best"
"""Folder of the model that ranked best so far, where that one is kept."""

PERPLEXITY = "perplexity"
"""Key of a report, and of a run's entry in the history."""

WORTH_A_WORD = 1.1
"""Perplexity before a stage, as a multiple of the base's, above which the user is told how to start lower."""


class AbilitiesConfig(Section):
    """How much language the model knows before and after, as perplexity of held-out text."""

    text: str = Field("packages", description="packages, a file, or hub:...; see toolgen/corpus.py. Its held-out part.")
    most_tokens: int = Field(20_000, ge=1, description="Tokens that are predicted.")
    length: int = Field(256, ge=2, description="Tokens of a window; the model's context if that is shorter.")


class StageConfig(OriginConfig):
    """What every stage is told."""

    output: Path = Field(description="The run's folder.")
    abilities: AbilitiesConfig | None = Field(
        AbilitiesConfig(), description="Perplexity before and after; null: not measured."
    )
    training: TrainingConfig = TrainingConfig()
    tracking: TrackingConfig = TrackingConfig()
    resume: bool = Field(
        False, description="Go on from the last checkpoint in the run's folder; start afresh when there is none."
    )


Config = TypeVar("Config", bound=StageConfig)


@dataclass(frozen=True)
class Setting(Generic[Config]):
    """What a stage's trainer is made for.

    Attributes:
        config: What the stage is told.
        arguments: Of the trainer, its number of steps included.
        division: How a step's examples are divided.
        model: Prepared for the plan; its weights may be partitioned.
        artefacts: What is saved beside it.
        resumed: Checkpoint that training goes on from; None: from the start.
    """

    config: Config
    arguments: TrainingArguments
    division: Division
    model: PreTrainedModel
    artefacts: Artefacts
    resumed: Path | None

    @property
    def states(self) -> Path:
        """Folder for states that only this run needs."""
        return self.config.output / "states"

    @property
    def optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        """The optimiser's class, and what it is called with."""
        training = self.config.training
        groups = parameter_groups(self.model, training)
        return torch.optim.AdamW, {"params": groups, "lr": training.learning_rate, "fused": True}


class StageData(Protocol[Config]):
    """What one stage trains on."""

    @property
    def size(self) -> int:
        """Training examples."""
        ...

    def trainer(self, setting: Setting[Config]) -> StageTrainer:
        """Make the trainer."""
        ...


MakeData = Callable[[PreTrainedModel, Artefacts, Config], StageData[Config]]
"""Reads and checks a stage's data; the model is there to check them, and is not prepared for any plan yet."""


@dataclass(frozen=True)
class StageResult:
    """What a finished stage leaves behind.

    Attributes:
        checkpoint: Folder of the final checkpoint.
        report: The content of ``report.json``.
    """

    checkpoint: Path
    report: Mapping[str, Any]


def run_stage(
    name: str,
    config: Config,
    make_data: MakeData[Config],
    *,
    validates: bool,
    kind: Callable[..., TrainingArguments] = TrainingArguments,
) -> StageResult:
    """Run a stage: load or extend the model, make its data, train, evaluate, save.

    Args:
        name: The stage, for reports and trackers.
        config: Its configuration.
        make_data: What this stage trains on.
        validates: Whether it looks at something during training.
        kind: Class of the trainer's arguments.

    Raises:
        InputError: Something in the configuration or in the data is unusable.
        SystemExit: A signal stopped the training; a checkpoint to resume from was saved.
    """
    started = time.perf_counter()
    # Now, while the sources are those that were loaded.
    code_version()
    _check_combination(config)
    division = Division.of(config.training.batch_size, config.training.micro_batch_size, distributed.world_size())
    arguments = training_arguments(config.training, division, _checkpoint_folder(config), evaluate=validates, kind=kind)
    distributed.join(arguments)
    settings = config.model_dump(mode="json")
    entry: dict[str, Any] = {"stage": name, "config": settings}
    resumed = resumable(_checkpoint_folder(config), config.resume)
    set_seed(config.training.seed)
    if resumed is None:
        model, origin = start(config, arguments, config.output / "start")
        artefacts = replace(origin, history=(*origin.history, entry))
    else:
        model, origin = resume(resumed, config, entry, arguments, config.output / "start")
        entry |= {key: value for key, value in origin.history[-1].items() if key == PERPLEXITY}
        artefacts = replace(origin, history=(*origin.history[:-1], entry))
    # A checkpoint holds merged weights. Rows and adapters of a run that goes on are restored with the optimiser.
    plan = config.training.plan
    check_plan(plan, len(artefacts.codes.new_ids))
    check_context(model, config.training.max_length)
    data = make_data(model, artefacts, config)
    prepare(model, plan, artefacts.codes.first_new_id)
    arguments.max_steps = total_steps(config.training, data.size)
    with tracked(config.tracking, settings, config.output, name) as run:
        arguments.report_to = run.report_to
        abilities = _Abilities(config, artefacts, entry)
        setting = Setting(config, arguments, division, model, artefacts, resumed)
        if config.training.compile:
            # In place: names and classes stay as they are for whoever saves or divides the model.
            model.base_model.compile(dynamic=True)
        trainer = data.trainer(setting)
        trainer.look = abilities.before
        interrupt = InterruptCallback()
        trainer.add_callback(interrupt)
        try:
            outcome = _fit(trainer, config, division)
            seconds_training = trainer.work.seconds
        finally:
            # A comparison may go on with other runs.
            interrupt.release()
        shutil.rmtree(setting.states, ignore_errors=True)
        if interrupt.received is not None:
            _stop(config, trainer, interrupt.received)
        # The model first: an interruption while it is evaluated must not lose it.
        final = config.output / "final"
        _save(trainer, final)
        figures: Mapping[str, Any] = trainer.evaluate() if validates else {}
        last = trainer.state.global_step
        best = trainer.best.found() if trainer.best is not None else None
        kept_step = last if best is None else best.step
        if best is not None and kept_step != last:
            figures, earlier = best.figures, best.folder
            distributed.on_main(lambda: publish(final, lambda to: _copy(earlier, to)))
        report: dict[str, Any] = {
            "stage": name,
            "tools": len(artefacts.catalog),
            "records": data.size,
            "steps": last,
            "kept_step": kept_step,
            "train_loss": outcome.training_loss,
            "validation": {
                key.removeprefix("eval_"): value for key, value in figures.items() if key.startswith("eval_")
            },
            # Losses, rates and evaluations along the way, each with its step.
            "log": trainer.state.log_history,
            # What is in memory is the last step's model.
            PERPLEXITY: _perplexity_after(abilities, trainer) if kept_step == last else None,
            "seconds": time.perf_counter() - started,
            "seconds_training": seconds_training,
            # Of this process, since it began.
            "peak_host_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "peak_gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None,
            "resumed_at_step": step_of(resumed) if resumed is not None else None,
            "code_versions": trainer.work.code_versions,
            "catalog_fingerprint": artefacts.catalog.fingerprint,
            "codebook_fingerprint": artefacts.codebook.fingerprint,
            "config": settings,
        }
        run.summary({key: value for key, value in report.items() if key not in ("config", "validation", "log")})
        rows = [[key, value] for key, value in sorted(report["validation"].items())]
        run.table(f"{name}/final", ("figure", "value"), rows)
        if distributed.is_main():
            clear_unfinished(config.output / "report.json")
            write_json(config.output / "report.json", report)
            if config.training.save_every is None:
                # What an interruption saved has served its purpose.
                _discard(_checkpoint_folder(config))
                _discard(config.output / BEST)
    return StageResult(final, report)


def _check_combination(config: StageConfig) -> None:
    """Keys that do not go together, before anything is loaded."""
    training = config.training
    if training.plan.cached_states and (distributed.world_size() > 1 or training.deepspeed):
        raise InputError(
            "training.plan.cached_states is for one process without DeepSpeed: nothing but rows is left to divide. "
            "Run it with plain python, or leave cached_states out."
        )
    if training.compile and training.deepspeed:
        raise InputError(
            "training.compile is for runs without DeepSpeed, whose hooks are not compiled. Leave one of the two out."
        )
    if training.compile and training.plan.cached_states:
        raise InputError(
            "training.compile has nothing to compile where training.plan.cached_states runs the layers only once. "
            "Leave one of the two out."
        )
    if training.regularizer is not None and (training.plan.train == "full" or not training.plan.output_rows):
        raise InputError(
            "training.regularizer pulls new output rows that train beside a base that stands still. Set "
            "training.plan.train=rows (or rows+lora) with output_rows, or leave regularizer out."
        )
    if training.regularizer is not None and training.deepspeed:
        raise InputError("training.regularizer is for runs without DeepSpeed. Leave one of the two out.")


def check_context(model: PreTrainedModel, longest: int) -> None:
    """
    Raises:
        InputError: An example may be longer than the model's context.
    """
    context = context_length(model.config)
    if context is not None and longest > context:
        raise InputError(f"training.max_length is {longest}, but the model's context holds {context} tokens.")


class _Abilities:
    """Perplexity of held-out text, of the base and before and after the stage; nothing where it is not asked for.

    What was found before is kept in the run's entry of the history, so that a run that goes on and the stages that
    follow know it.
    """

    def __init__(self, config: StageConfig, artefacts: Artefacts, entry: dict[str, Any]) -> None:
        # The embedded base is an encoder read as a decoder: it has no language to lose.
        self._config = config.abilities if has_language(artefacts.base) else None
        self._artefacts = artefacts
        self._entry = entry
        self._corpus: Corpus | None = None

    def before(self, model: PreTrainedModel) -> None:
        """Measure the model that the stage starts with."""
        if self._config is not None:
            found, first_id = self._measure(model), self._artefacts.codes.first_new_id
            earlier = self._artefacts.history[:-1]
            base: float | None = None
            if not earlier:
                # The layers are still the base's, and so are the rows below the first new one.
                base = (alone := self._measure(model, first_id)).value
                _advise(found, alone)
            else:
                known = earlier[-1].get(PERPLEXITY, {})
                if all(known.get(key) == value for key, value in _conditions(found).items()):
                    base = known.get("base")
            self._entry[PERPLEXITY] = {**_conditions(found), "base": base, "before": found.value}

    def after(self, model: PreTrainedModel) -> dict[str, Any] | None:
        """Measure the model that the stage leaves; all figures together."""
        if self._config is None:
            return None
        found = self._measure(model)
        return {**_conditions(found), **self._entry.get(PERPLEXITY, {}), "after": found.value}

    @torch.compiler.set_stance("force_eager")
    def _measure(self, model: PreTrainedModel, vocabulary: int | None = None) -> Perplexity:
        assert self._config is not None
        with progress_bar("Reading held-out text") as progress:
            self._corpus = self._corpus or load_corpus(self._config.text, "held-out", progress=progress)
        with progress_bar("Measuring perplexity") as progress:
            return perplexity(
                model,
                self._artefacts.tokenizer,
                self._corpus,
                most_tokens=self._config.most_tokens,
                length=self._config.length,
                vocabulary=vocabulary,
                progress=progress,
            )


def _conditions(found: Perplexity) -> dict[str, Any]:
    """What two figures must share to be compared."""
    return {"text": found.corpus, "fingerprint": found.fingerprint, "tokens": found.tokens, "length": found.length}


def _perplexity_after(abilities: _Abilities, trainer: StageTrainer) -> dict[str, Any] | None:
    with trainer.rows_up_to_date():
        return abilities.after(trainer.accelerator.unwrap_model(trainer.model))


def _advise(before: Perplexity, base: Perplexity) -> None:
    if before.value > WORTH_A_WORD * base.value and distributed.is_main():
        err.print(
            f"The new rows take the words' probability: perplexity of {before.corpus} is {before.value:,.1f} before "
            f"the first step, and the base's {base.value:,.1f}. Start them with prior.center=true prior.scale=small.",
            markup=False,
        )


def _fit(trainer: StageTrainer, config: StageConfig, division: Division) -> TrainOutput:
    try:
        return trainer.train()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        saved = checkpoints(_checkpoint_folder(config))
        raise OutOfMemoryError(
            f"Out of memory in step {trainer.state.global_step + 1} ({str(error).splitlines()[0][:200]}). "
            + (f"{saved[-1].name} is whole: go on from it with resume=true. " if saved else "")
            + f"Try, in this order: {memory_advice(config.training, division)}"
        ) from error


def _copy(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, dirs_exist_ok=True)


def _discard(folder: Path) -> None:
    # Under its own name a folder that is half removed would look like damaged checkpoints to whoever resumes.
    discarded = folder.with_name(".discarded")
    shutil.rmtree(discarded, ignore_errors=True)
    if folder.exists():
        folder.rename(discarded)
        shutil.rmtree(discarded)


def _checkpoint_folder(config: StageConfig) -> Path:
    return config.output / "checkpoints"


def _save(trainer: StageTrainer, final: Path) -> None:
    """Write the final checkpoint whole or not at all. Every rank takes part; the first one writes."""
    with trainer.rows_up_to_date():
        write = trainer.model_writer()
        distributed.on_main(lambda: publish(final, write))


def _stop(config: StageConfig, trainer: StageTrainer, number: int) -> None:
    if distributed.is_main():
        done = f"Stopped by {signal.Signals(number).name} after step {trainer.state.global_step} of "
        done += f"{trainer.state.max_steps}. "
        if trainer.save_failure is None:
            done += f"Everything is saved in {_checkpoint_folder(config)}. "
        done += "To go on, run the same command with resume=true (the quickstart goes on by itself)."
        err.print(done, markup=False)
    sys.exit(128 + number)


def stage_main(
    name: str,
    kind: type[Config],
    run: Callable[[Config], StageResult],
    description: str,
    argv: Sequence[str] | None = None,
) -> None:
    """Command line of a stage: ``--config FILE key=value ...``, under plain python and the deepspeed launcher alike."""
    parser = argparse.ArgumentParser(
        description=description, epilog=describe_keys(kind), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file; see configs/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override single keys, e.g. training.epochs=2"
    )
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # The deepspeed launcher passes it.
    arguments = parser.parse_intermixed_args(argv)
    try:
        result = run(load_config(kind, arguments.config, arguments.overrides))
    except USER_ERRORS as error:
        if distributed.is_main():
            report_error(error)
        sys.exit(2)
    finally:
        distributed.close()
    if distributed.is_main():
        err.print(f"{name}: saved {result.checkpoint}", markup=False)
    distributed.finish()
