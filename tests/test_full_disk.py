"""A training run on a full disk: its checkpoints stay, the user is told, and it goes on when there is room again."""

from pathlib import Path
from typing import Any

import pytest
from tiny_stage import stage_one

from toolgen import trainer
from toolgen.checkpoint import write_model
from toolgen.errors import DiskFullError
from toolgen.manifest import verify
from toolgen.stages import memorization
from toolgen.training import TrainingConfig

PLAN = TrainingConfig(epochs=4, batch_size=10, precision="fp32", save_every=0.25)


def test_a_training_run_keeps_its_checkpoints_and_goes_on_when_there_is_room_again(
    files: dict[str, Path],
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = memorization.run(stage_one(files, tiny_base, tmp_path / "whole", training=PLAN))
    config = stage_one(files, tiny_base, tmp_path / "run", training=PLAN)
    calls: list[Path] = []

    def fill_up(folder: Path, *rest: Any) -> None:
        write_model(folder, *rest)
        calls.append(folder)
        if len(calls) > 1:
            # As tokenizers word it, in an exception that has no class of its own.
            raise Exception("No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "write_model", fill_up)
        with pytest.raises(DiskFullError, match=r"run/final could not be saved: the disk.*MB are free\. Make room"):
            memorization.run(config)
    said = " ".join(capsys.readouterr().err.split())
    for step in (6, 9, 12):
        assert f"The checkpoint of step {step} could not be written (No space left" in said
    assert "checkpoint-3 in" in said and "is whole and stays" in said
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["checkpoint-3"]
    verify(tmp_path / "run" / "checkpoints" / "checkpoint-3", digests=True)
    resumed = memorization.run(config.model_copy(update={"resume": True}))
    assert resumed.report["resumed_at_step"] == 3
    weights = [(run.checkpoint / "model.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]
