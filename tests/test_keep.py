"""Which model a run keeps: the last one, or the one that ranked the validation queries best."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_resumption import assert_equal_weights, interrupted
from tiny_stage import stage_one

from toolgen import code_stage, trainer
from toolgen.errors import DiskFullError, InputError
from toolgen.stages import memorization
from toolgen.training import TrainingConfig

TRAINING = TrainingConfig(epochs=4, batch_size=10, precision="fp32", eval_every=0.25)
"""Twelve steps, evaluated after each third."""


@pytest.fixture
def config(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> memorization.MemorizationConfig:
    watched = {"queries": files["queries"], "most": 4}
    return stage_one(files, tiny_base, tmp_path / "kept", training=TRAINING, validation=watched, keep="best")


def ranked(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Have evaluations find these figures, one after another; the last one again at the end of the run."""
    given = iter((*values, values[-1]))
    monkeypatch.setattr(
        code_stage, "rank_figures", lambda *_: dict.fromkeys(code_stage.VALIDATION_FIGURES, next(given))
    )


def assert_kept(report: Mapping[str, Any], step: int, ndcg: float) -> None:
    assert (report["kept_step"], report["validation"]["ndcg@5"]) == (step, ndcg)


def stopped_after(config: memorization.MemorizationConfig, steps: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model of some step of the same run, which keeps all its checkpoints."""
    monkeypatch.setattr(trainer, "KEPT_CHECKPOINTS", 99)
    training = TRAINING.model_copy(update={"save_every": 1})
    other = config.model_copy(update={"output": config.output.with_name("other"), "keep": "last", "training": training})
    done = memorization.run(other)
    assert done.report["kept_step"] == 12
    return done.checkpoint.with_name("checkpoints") / f"checkpoint-{steps}"


def test_the_best_model_becomes_final(config: memorization.MemorizationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked(monkeypatch, 0.1, 0.2, 0.7, 0.7, 0.4)
    done = memorization.run(config)
    assert_kept(done.report, 6, 0.7)
    assert done.report["steps"] == 12
    assert done.report["perplexity"] is None
    assert not (config.output / "best").exists()
    ranked(monkeypatch, 0.1, 0.1, 0.1, 0.1)
    assert_equal_weights(done.checkpoint, stopped_after(config, 6, monkeypatch))


def test_the_last_model_stays_where_it_is_the_best(
    config: memorization.MemorizationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked(monkeypatch, 0.1, 0.2, 0.1, 0.3, 0.4)
    assert_kept(memorization.run(config).report, 12, 0.4)


def test_training_that_makes_it_no_better_is_not_kept(
    config: memorization.MemorizationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked(monkeypatch, 0.7, 0.2, 0.7, 0.3, 0.4)
    done = memorization.run(config)
    assert_kept(done.report, 0, 0.7)
    ranked(monkeypatch, 0.1, 0.1, 0.1, 0.1)
    untouched = config.training.model_copy(update={"learning_rate": 1e-30})
    still = memorization.run(
        config.model_copy(update={"output": config.output.with_name("still"), "keep": "last", "training": untouched})
    )
    assert_equal_weights(done.checkpoint, still.checkpoint)


@pytest.mark.parametrize(("values", "kept"), [((0.7, 0.2, 0.3, 0.4), 3), ((0.2, 0.3, 0.7, 0.4), 9)])
def test_a_run_that_goes_on_keeps_what_the_whole_run_keeps(
    config: memorization.MemorizationConfig, monkeypatch: pytest.MonkeyPatch, values: tuple[float, ...], kept: int
) -> None:
    ranked(monkeypatch, 0.1, *values)
    assert interrupted(monkeypatch, config, signal.SIGTERM) == 128 + signal.SIGTERM
    ranked(monkeypatch, *values[1:])
    done = memorization.run(config.model_copy(update={"resume": True}))
    assert (done.report["resumed_at_step"], done.report["kept_step"]) == (5, kept)
    ranked(monkeypatch, 0.1, 0.1, 0.1, 0.1)
    assert_equal_weights(done.checkpoint, stopped_after(config, kept, monkeypatch))


def test_a_finished_run_that_goes_on_keeps_its_choice(
    config: memorization.MemorizationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = config.model_copy(update={"training": TRAINING.model_copy(update={"save_every": 1}), "resume": True})
    ranked(monkeypatch, 0.1, 0.2, 0.7, 0.3, 0.4)
    first = memorization.run(saving)
    weights = (first.checkpoint / "model.safetensors").read_bytes()
    ranked(monkeypatch, 0.4)
    again = memorization.run(saving)
    assert first.report["kept_step"] == again.report["kept_step"] == 6
    assert (again.checkpoint / "model.safetensors").read_bytes() == weights


def test_a_full_disk_costs_the_best_model_and_not_the_run(
    config: memorization.MemorizationConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = trainer.publish

    def full(folder: Path, write: object) -> None:
        if folder.name == "checkpoint-6":
            raise DiskFullError("no room")
        publish(folder, write)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "publish", full)
    ranked(monkeypatch, 0.1, 0.2, 0.7, 0.3, 0.1)
    done = memorization.run(config)
    assert done.report["kept_step"] == 9
    assert "model of step 6 is the best so far and could not be kept: no room" in " ".join(
        capsys.readouterr().err.split()
    )


def test_without_queries_nothing_can_be_chosen(config: memorization.MemorizationConfig) -> None:
    with pytest.raises(InputError, match=r"keep: best needs queries.*validation\.queries"):
        memorization.run(config.model_copy(update={"validation": None}))


def test_real_figures_choose(config: memorization.MemorizationConfig) -> None:
    done = memorization.run(config)
    found: list[Mapping[str, float]] = [entry for entry in done.report["log"] if trainer.CHOOSES in entry]
    assert {entry["step"] for entry in found} == {0, 3, 6, 9, 12}
    best = max(entry[trainer.CHOOSES] for entry in found)
    assert done.report["validation"]["ndcg@5"] == best
    assert done.report["kept_step"] == min(entry["step"] for entry in found if entry[trainer.CHOOSES] == best)
