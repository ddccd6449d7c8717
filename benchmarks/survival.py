"""A stage killed at random moments, and whether what resumes it ends exactly where an uninterrupted run does.

    python -m toolgen.benchmarks.survival --kills 20

Trains a tiny random model with many checkpoints, once in peace. Then, for every kill, a new run is ended by SIGKILL,
which no process can catch, half of the times while a checkpoint is being written, and resumed until it is done. Weights
and optimiser must agree in every bit, logged losses in every digit, and no file may be left over.
"""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers.trainer import TRAINER_STATE_NAME

from toolgen.base import load_tokenizer
from toolgen.benchmarks.tiny import save_tiny_base, tiny_catalog
from toolgen.checkpoint import CARD
from toolgen.files import read_json
from toolgen.indexing import build
from toolgen.manifest import MANIFEST, verify
from toolgen.resumption import WORK, checkpoints, step_of
from toolgen.stages import memorization
from toolgen.terminal import err, out, run_app
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tracking import TrackingConfig
from toolgen.trainer import UNFINISHED
from toolgen.training import TrainingConfig

app = typer.Typer(add_completion=False)

PLAN = TrainingConfig(
    epochs=20,
    batch_size=10,
    micro_batch_size=5,
    learning_rate=3e-3,
    precision="fp32",
    save_every=1 / 15,
)
"""Sixty steps with dropout, a checkpoint after every fourth."""

_SAVES = 16
"""Checkpoints that a run writes: fifteen intermediate ones and the final one."""

_SECONDS_A_SAVE = 0.1
"""A kill that is aimed at a save comes within this time of its beginning; one that comes too late is tried again."""

_CLOCKS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")


@dataclass(frozen=True)
class Kill:
    """One killed run and what became of it.

    Attributes:
        seconds: When it was killed, from the start of its process.
        step: Of its newest whole checkpoint at that moment; 0: it had none.
        saving: What was being written; None: nothing was.
        faults: How the resumed run differs from the uninterrupted one; empty: in nothing.
    """

    seconds: float
    step: int
    saving: str | None
    faults: tuple[str, ...] = ()


def survive(folder: Path, kills: int, seed: int, plan: TrainingConfig = PLAN) -> Iterator[Kill]:
    """Kill and resume runs.

    Args:
        folder: Empty; keeps the uninterrupted run, and those that did not resume exactly.
        kills: How many.
        seed: Of the moments. When a process gets there is the machine's affair, so no two calls kill alike.
        plan: How the runs train.

    Raises:
        RuntimeError: The uninterrupted run fails, or one that resumes another.
    """
    draw = random.Random(seed)
    base = folder / "base"
    _prepare(base)
    peace = folder / "peace"
    _finish(base, peace, plan)
    duration = read_json(peace / "report.json")["seconds"]
    for number in range(1, kills + 1):
        run = folder / f"kill-{number}"
        at_save = draw.random() < 0.5
        kill = None
        while kill is None or (at_save and kill.saving is None):
            shutil.rmtree(run, ignore_errors=True)
            kill = _kill(base, run, plan, _aim_at_save(run, draw) if at_save else _aim(draw.uniform(0, duration)))
        _finish(base, run, plan)
        faults = differences(peace, run)
        if not faults:
            shutil.rmtree(run)
        yield replace(kill, faults=tuple(faults))


def differences(peace: Path, run: Path) -> list[str]:
    """How a finished run differs from the uninterrupted one: files, weights, optimiser, logged losses; in sentences."""
    files, expected = ({path.relative_to(each).as_posix() for path in each.rglob("*")} for each in (run, peace))
    faults = [f"{name} is left over" for name in sorted(files - expected)]
    faults += [f"{name} is missing" for name in sorted(expected - files)]
    if faults:
        return faults
    for folder in (run / "final", *checkpoints(run / "checkpoints")):
        verify(folder, digests=True)
        # What differs in any case: the run's configuration, with its folder, and times of the clock.
        found, wanted = (read_json(each / folder.relative_to(run) / MANIFEST)["files"] for each in (run, peace))
        assert any(name.endswith(".safetensors") for name in wanted)
        same = [name for name in wanted if name not in (CARD, TRAINER_STATE_NAME, WORK)]
        faults += [f"{name} of {folder.name} differs" for name in same if found[name] != wanted[name]]
        state = folder / TRAINER_STATE_NAME
        if state.exists() and _log(state) != _log(peace / state.relative_to(run)):
            faults.append(f"the losses up to {folder.name} differ")
    reports = [read_json(each / "report.json") for each in (run, peace)]
    faults += [f"{key} of the report differs" for key in ("steps", "train_loss") if reports[0][key] != reports[1][key]]
    return faults


def _log(state: Path) -> list[dict[str, Any]]:
    """Logged losses, gradient norms and rates by step, without the times of the clock."""
    history = read_json(state)["log_history"]
    assert history
    return [{key: value for key, value in entry.items() if key not in _CLOCKS} for entry in history]


Aim = Callable[[Callable[[], bool]], None]
"""Waits for the moment to kill, or until the function that it is given says that the run has ended."""


def _aim(seconds: float) -> Aim:
    def wait(ended: Callable[[], bool]) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and not ended():
            time.sleep(0.001)

    return wait


def _aim_at_save(run: Path, draw: random.Random) -> Aim:
    """The beginning of a save drawn by lot, and a moment within it."""
    number, delay = draw.randint(1, _SAVES), draw.uniform(0, _SECONDS_A_SAVE)

    def wait(ended: Callable[[], bool]) -> None:
        for _ in range(number):
            while _saving(run) is not None and not ended():
                time.sleep(0.0005)
            while _saving(run) is None and not ended():
                time.sleep(0.0005)
        time.sleep(delay)

    return wait


def _saving(run: Path) -> str | None:
    """What is being written in a run's folder: everything has another name until it is whole."""
    if (run / "checkpoints" / UNFINISHED).exists():
        return "a checkpoint"
    return "the final checkpoint" if (run / ".final.new").exists() else None


def _prepare(base: Path) -> None:
    """Base model, catalogue and codebook that all runs start from."""
    catalog = tiny_catalog()
    save_tiny_base(base / "model", [tool.document() for tool in catalog.values()], dropout=0.1)
    tokenizer = load_tokenizer(str(base / "model"))
    catalog.to_jsonl(base / "tools.jsonl")
    book = build("atomic", catalog, encode=lambda text: encode_text(tokenizer, text), end_id=end_token_id(tokenizer))
    book.save(base / "codebook.json")


def _start(base: Path, run: Path, plan: TrainingConfig) -> Any:
    """Start a run in a process of its own, forked from a server that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toolgen.stages.memorization", "deepspeed"])
    process = context.Process(target=_train, args=(base, run, plan))
    process.start()
    return process


def _train(base: Path, run: Path, plan: TrainingConfig) -> None:
    with _log_of(run).open("a") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    # Under "forkserver" the lock of tqdm would be a named semaphore, which a killed process leaves in the system.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    config = memorization.MemorizationConfig(
        model=str(base / "model"),
        tools=base / "tools.jsonl",
        codebook=base / "codebook.json",
        output=run,
        tracking=TrackingConfig(mode="disabled"),
        training=plan,
        abilities=None,
        resume=True,
    )
    memorization.run(config)


def _finish(base: Path, run: Path, plan: TrainingConfig) -> None:
    process = _start(base, run, plan)
    process.join()
    _check_ended(run, process.exitcode, 0)


def _kill(base: Path, run: Path, plan: TrainingConfig, aim: Aim) -> Kill | None:
    """Start a run and kill it; None: it was done before."""
    started = time.perf_counter()
    process = _start(base, run, plan)
    aim(lambda: process.exitcode is not None)
    process.kill()
    seconds = time.perf_counter() - started
    process.join()
    if process.exitcode == 0:
        return None
    _check_ended(run, process.exitcode, -signal.SIGKILL)
    whole = checkpoints(run / "checkpoints")
    return Kill(seconds, step_of(whole[-1]) if whole else 0, _saving(run))


def _check_ended(run: Path, exit_code: int, wanted: int) -> None:
    if exit_code != wanted:
        raise RuntimeError(f"{run.name} ended with exit code {exit_code}:\n{_log_of(run).read_text()[-3000:]}")


def _log_of(run: Path) -> Path:
    return run.with_suffix(".log")


@app.command()
def main(
    kills: Annotated[int, typer.Option(min=1, help="Runs to kill.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Kill a small training run at random moments, resume it, and compare it with an uninterrupted one."""
    folder = Path(tempfile.mkdtemp(prefix="toolgen-survival-"))
    exact = 0
    for number, kill in enumerate(survive(folder, kills, seed), start=1):
        exact += not kill.faults
        during = f"while {kill.saving} was being written" if kill.saving else "between two saves"
        done = "; ".join(kill.faults[:5]) or "resumed exactly"
        err.print(
            f"kill {number} of {kills}: {kill.seconds:.2f} s after the start, newest checkpoint that of step "
            f"{kill.step}, {during}: {done}",
            markup=False,
            soft_wrap=True,
        )
    out.print(f"{exact} of {kills} resumed exactly")
    if exact < kills:
        err.print(f"The runs that did not are kept in {folder}.", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    run_app(app)
