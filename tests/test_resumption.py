"""Interrupted runs: what is saved, who may go on from it, and that going on ends where the whole run does."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from tiny_stage import stage_one
from transformers import AutoModelForCausalLM, TrainerCallback

from toolgen import trainer
from toolgen.codebook import Codebook
from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.manifest import verify
from toolgen.plans import TrainPlan
from toolgen.resumption import WORK, StateWriter, Work, checkpoints
from toolgen.stage import StageConfig, StageResult
from toolgen.stages import memorization
from toolgen.tools import ToolCatalog
from toolgen.training import TrainingConfig

EARLIER = {"seconds": 1000.0, "code_versions": ["0.0.9+earlier"]}
"""What a checkpoint of other code says of the work before it."""

PLAN = TrainingConfig(epochs=4, batch_size=10, precision="fp32")
SAVING = PLAN.model_copy(update={"save_every": 0.25})


class _Interrupt(TrainerCallback):
    """Sends this process signals in the middle of training."""

    def __init__(self, *signals: int) -> None:
        self.signals = signals

    def on_step_begin(self, args: object, state: object, control: object, **_: object) -> None:
        if state.global_step == 4:  # type: ignore[attr-defined]
            for number in self.signals:
                os.kill(os.getpid(), number)


def interrupted(
    monkeypatch: pytest.MonkeyPatch,
    config: StageConfig,
    *signals: int,
    run: Callable[[Any], StageResult] = memorization.run,
) -> object:
    """Run a stage that gets signals during its fifth step; returns its exit code."""
    original = trainer.CodeTrainer.__init__

    def with_interruption(self: trainer.CodeTrainer, **arguments: object) -> None:
        original(self, **arguments)  # type: ignore[arg-type]
        self.add_callback(_Interrupt(*signals))

    with monkeypatch.context() as patched:
        patched.setattr(trainer.CodeTrainer, "__init__", with_interruption)
        with pytest.raises(SystemExit) as stopped:
            run(config)
    return stopped.value.code


def losses(run: StageResult) -> list[dict[str, float]]:
    """The log of the last whole checkpoint of a finished run, times aside."""
    last = checkpoints(run.checkpoint.parent / "checkpoints")[-1]
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [{key: entry[key] for key in ("step", "loss", "grad_norm", "learning_rate", "epoch")} for entry in history]


def assert_equal_weights(one: Path, other: Path) -> None:
    """Bit by bit."""
    states = [AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def logged(run: StageResult) -> list[dict[str, float]]:
    """What a finished run logged of its loss."""
    last = checkpoints(run.checkpoint.parent / "checkpoints")[-1]
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [{key: value for key, value in entry.items() if "loss" in key} for entry in history]


@pytest.fixture(scope="module")
def dropped(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with dropout, so that a run depends on random numbers."""
    folder = tmp_path_factory.mktemp("dropped") / "base"
    shutil.copytree(tiny_base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.3}))
    return folder


# The deepspeed launcher follows a Ctrl-C with a SIGTERM to every rank.
@pytest.mark.parametrize(
    ("train", "signals"),
    [
        ("full", (signal.SIGTERM,)),
        ("full", (signal.SIGINT, signal.SIGTERM)),
        ("rows", (signal.SIGTERM,)),
        ("rows+lora", (signal.SIGTERM,)),
    ],
)
def test_a_signal_saves_and_resume_ends_where_the_whole_run_does(
    files: dict[str, Path],
    dropped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train: str,
    signals: tuple[int, ...],
) -> None:
    training = PLAN.model_copy(update={"plan": TrainPlan(train=train)})
    whole = memorization.run(stage_one(files, dropped, tmp_path / "whole", training=training))
    cut = stage_one(files, dropped, tmp_path / "cut", training=training)
    monkeypatch.setattr(Work, "save", lambda _, folder: write_json(folder / WORK, EARLIER))
    assert interrupted(monkeypatch, cut, *signals) == 128 + signals[0]
    saved = tmp_path / "cut" / "checkpoints"
    assert [path.name for path in saved.iterdir()] == ["checkpoint-5"]
    verify(saved / "checkpoint-5", digests=True)
    resumed = memorization.run(cut.model_copy(update={"resume": True}))
    assert (resumed.report["resumed_at_step"], resumed.report["steps"]) == (5, 12)
    assert resumed.report["train_loss"] == whole.report["train_loss"]
    assert "0.0.9+earlier" in resumed.report["code_versions"] and len(whole.report["code_versions"]) == 1
    assert 0 < whole.report["seconds_training"] < 1000 < resumed.report["seconds_training"] < 2000
    assert_equal_weights(whole.checkpoint, resumed.checkpoint)
    assert not saved.exists(), "a finished run needs no checkpoint of its interruption"


def test_a_run_that_fails_gives_the_signals_back(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        assert signal.getsignal(signal.SIGTERM) not in before, "the run should have taken them over"
        raise RuntimeError("broken")

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(trainer.CodeTrainer, "compute_loss", fail)
    with pytest.raises(RuntimeError, match="broken"):
        memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=PLAN))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_losses_of_a_resumed_run_are_those_of_the_whole_one(
    files: dict[str, Path], dropped: Path, tmp_path: Path
) -> None:
    whole = memorization.run(stage_one(files, dropped, tmp_path / "whole", training=SAVING))
    again = tmp_path / "again" / "checkpoints"
    again.mkdir(parents=True)
    first, _ = checkpoints(tmp_path / "whole" / "checkpoints")
    shutil.copytree(first, again / first.name)
    resumed = memorization.run(stage_one(files, dropped, tmp_path / "again", training=SAVING, resume=True))
    assert resumed.report["resumed_at_step"] == 9
    assert losses(resumed) == losses(whole)
    assert_equal_weights(whole.checkpoint, resumed.checkpoint)


def test_a_finished_run_resumes_to_its_end_at_once(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    config = stage_one(files, tiny_base, tmp_path, training=SAVING)
    first = memorization.run(config)
    before = (first.checkpoint / "model.safetensors").read_bytes()
    again = memorization.run(config.model_copy(update={"resume": True}))
    assert (again.report["resumed_at_step"], again.report["steps"]) == (12, 12)
    assert (again.checkpoint / "model.safetensors").read_bytes() == before


def test_without_a_checkpoint_a_resumed_run_starts_afresh(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    unfinished = tmp_path / "run" / "checkpoints" / "unfinished"
    unfinished.mkdir(parents=True)
    run = memorization.run(stage_one(files, tiny_base, tmp_path / "run", training=PLAN, resume=True))
    assert run.report["resumed_at_step"] is None and run.report["steps"] == 12


def test_a_damaged_checkpoint_is_passed_over(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = stage_one(files, tiny_base, tmp_path, training=SAVING)
    whole = (memorization.run(config).checkpoint / "model.safetensors").read_bytes()
    older, newest = checkpoints(tmp_path / "checkpoints")
    weights = newest / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    resumed = memorization.run(config.model_copy(update={"resume": True}))
    assert resumed.report["resumed_at_step"] == 9
    assert "checkpoint-12 is passed over" in " ".join(capsys.readouterr().err.split())
    assert (resumed.checkpoint / "model.safetensors").read_bytes() == whole
    for checkpoint in checkpoints(tmp_path / "checkpoints"):
        (checkpoint / "manifest.json").unlink()
    with pytest.raises(InputError, match="no checkpoint .* is as it was written"):
        memorization.run(config.model_copy(update={"resume": True}))


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), SafetensorError("os error 28")])
def test_a_full_disk_leaves_the_earlier_checkpoint_and_the_run_goes_on(
    files: dict[str, Path],
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
) -> None:
    attempts = []
    flush = StateWriter.flush

    def full_at_the_second(self: StateWriter) -> None:
        attempts.append(self)
        if len(attempts) == 2:
            raise failure
        flush(self)

    monkeypatch.setattr(StateWriter, "flush", full_at_the_second)
    run = memorization.run(stage_one(files, tiny_base, tmp_path, training=SAVING))
    assert run.report["steps"] == 12 and len(attempts) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "checkpoint of step 6 could not be written" in said and "checkpoint-3 in" in said
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["checkpoint-9", "checkpoint-12"]
    assert not (tmp_path / "checkpoints" / "unfinished").exists()


def test_checkpoints_of_another_run_are_never_taken(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: ToolCatalog
) -> None:
    config = stage_one(files, tiny_base, tmp_path / "run", training=PLAN)
    interrupted(monkeypatch, config, signal.SIGTERM)
    with pytest.raises(InputError, match="checkpoint-5.*resume=true"):
        memorization.run(config)
    slower = config.model_copy(update={"resume": True, "training": PLAN.model_copy(update={"learning_rate": 1e-5})})
    with pytest.raises(InputError, match="another configuration: training.learning_rate"):
        memorization.run(slower)
    backwards = ToolCatalog(list(catalog.values())[::-1])
    backwards.to_jsonl(files["tools"])
    codes = json.loads(files["codebook"].read_text())
    book = Codebook(
        "atomic", {tool: tuple(code) for tool, code in codes["codes"][::-1]}, tuple(codes["new_symbols"]),
        backwards.fingerprint,
    )  # fmt: skip
    book.save(files["codebook"])
    with pytest.raises(InputError, match="another catalogue"):
        memorization.run(config.model_copy(update={"resume": True}))


def test_how_a_run_is_watched_and_divided_may_change(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stage_one(files, tiny_base, tmp_path, training=PLAN)
    interrupted(monkeypatch, config, signal.SIGTERM)
    whole = memorization.run(stage_one(files, tiny_base, tmp_path / "whole", training=PLAN))
    changed = PLAN.model_copy(update={"micro_batch_size": 2, "save_every": 0.5, "eval_every": 1})
    resumed = memorization.run(config.model_copy(update={"resume": True, "training": changed}))
    assert resumed.report["train_loss"] == pytest.approx(whole.report["train_loss"], rel=1e-4)


def test_the_log_tells_answers_from_replayed_text(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = {"text": str(text_file), "share": 0.3, "length": 16, "weight": 5.0}
    alone = logged(memorization.run(stage_one(files, tiny_base, tmp_path / "alone", training=SAVING)))
    whole = memorization.run(stage_one(files, tiny_base, tmp_path / "whole", training=SAVING, replay=replay))
    first, later = logged(whole)
    assert set(first) == {"loss", "loss_answers", "loss_text"} and set(alone[0]) == {"loss"}
    assert first["loss_answers"] == pytest.approx(alone[0]["loss"], rel=1e-5)
    for entry in (first, later):
        assert entry["loss"] == pytest.approx(entry["loss_answers"] + entry["loss_text"])
        assert 0 < entry["loss_answers"] < entry["loss_text"]
    cut = stage_one(files, tiny_base, tmp_path / "cut", training=SAVING, replay=replay)
    interrupted(monkeypatch, cut, signal.SIGTERM)
    resumed = memorization.run(cut.model_copy(update={"resume": True}))
    assert logged(resumed) == [first, later], "steps before and after the interruption are averaged"
