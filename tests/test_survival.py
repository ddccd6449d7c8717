"""Killed runs resume exactly, and the comparison that says so would see it if they did not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_stage import stage_one

from toolgen.benchmarks.survival import PLAN, differences, survive
from toolgen.manifest import seal
from toolgen.stages import memorization
from toolgen.training import TrainingConfig


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, after three killed ones have resumed exactly."""
    folder = tmp_path_factory.mktemp("survival")
    kills = list(survive(folder, kills=3, seed=1, plan=PLAN.model_copy(update={"epochs": 8, "save_every": 1 / 6})))
    assert [kill.faults for kill in kills] == [()] * 3
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["base", "peace"]
    return folder / "peace"


def test_killed_runs_resume_exactly(peace: Path) -> None:
    assert json.loads((peace / "report.json").read_text())["steps"] == 24
    assert differences(peace, peace) == []


def _nudge(path: Path) -> None:
    tensors = load_file(path)
    name = min(tensors)
    tensors[name].view(-1)[7] += 1e-6
    save_file(tensors, path, metadata={"format": "pt"})


def _change_loss(run: Path) -> None:
    path = run / "checkpoints" / "checkpoint-24" / "trainer_state.json"
    state = json.loads(path.read_text())
    state["log_history"][1]["loss"] += 1e-6
    path.write_text(json.dumps(state))


def _change_mean(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps(report | {"train_loss": report["train_loss"] + 1e-6}))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a weight": (lambda run: _nudge(run / "final" / "model.safetensors"), "model.safetensors of final differs"),
    "the optimiser": (
        lambda run: _nudge(run / "checkpoints" / "checkpoint-20" / "optimizer" / "00001.safetensors"),
        "optimizer/00001.safetensors of checkpoint-20 differs",
    ),
    "a loss": (_change_loss, "the losses up to checkpoint-24 differ"),
    "the mean loss": (_change_mean, "train_loss of the report differs"),
    "a leftover": (lambda run: (run / "checkpoints" / "unfinished").mkdir(), "checkpoints/unfinished is left over"),
    "a hidden leftover": (lambda run: (run / ".final.old").mkdir(), ".final.old is left over"),
    "a loss of files": (lambda run: (run / "report.json").unlink(), "report.json is missing"),
}


def test_a_kill_while_the_report_is_written_leaves_nothing(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".report.json.k1ll3d").write_text("{")
    short = TrainingConfig(epochs=1, batch_size=10, precision="fp32")
    memorization.run(stage_one(files, tiny_base, run, training=short))
    assert {path.name for path in run.iterdir()} == {"final", "report.json"}


@pytest.mark.parametrize("change", CHANGES)
def test_every_difference_is_seen(peace: Path, tmp_path: Path, change: str) -> None:
    spoil, message = CHANGES[change]
    run = tmp_path / "run"
    shutil.copytree(peace, run)
    spoil(run)
    for folder in (run / "final", *(run / "checkpoints").glob("checkpoint-*")):
        seal(folder)
    assert differences(peace, run) == [message]
