"""Experiment tracking by wandb: one run a stage, offline where there is no key. Knows no training."""

import netrc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from toolgen import distributed
from toolgen.config import Section
from toolgen.errors import require


class TrackingConfig(Section):
    """Where figures go besides the terminal."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: online when a key is configured, otherwise offline (`wandb sync` later)."
    )
    project: str = "toolgen"
    group: str | None = None
    name: str | None = None


class Run:
    """A tracked run. Without tracking, on ranks other than the first too, every method does nothing."""

    def __init__(self, wandb_run: Any = None) -> None:
        self._run = wandb_run

    @property
    def report_to(self) -> list[str]:
        """For transformers' ``TrainingArguments``: its wandb callback logs into the run that is open."""
        return ["wandb"] if self._run is not None else []

    def log(self, figures: Mapping[str, float]) -> None:
        """Log figures that belong together. One named ``STAGE/step`` is the axis of the others under ``STAGE/``."""
        if self._run is not None:
            for name in figures:
                stage, _, last = name.rpartition("/")
                if last == "step":
                    self._run.define_metric(name, hidden=True)
                    self._run.define_metric(f"{stage}/*", step_metric=name)
            self._run.log(dict(figures))

    def summary(self, figures: Mapping[str, Any]) -> None:
        """Set final figures of the run."""
        if self._run is not None:
            self._run.summary.update(dict(figures))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table."""
        if self._run is not None:
            import wandb

            self._run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])})


@contextmanager
def tracked(config: TrackingConfig, settings: Mapping[str, Any], folder: Path, stage: str) -> Iterator[Run]:
    """Open a run for the time of a ``with`` block.

    Args:
        config: Mode, project, group and name.
        settings: The configuration to show with the run; must hold no secret.
        folder: Where the run's files go.
        stage: Kind of job, shown as wandb's job type.

    Raises:
        MissingPackageError: wandb is wanted but not installed.
    """
    if config.mode == "disabled" or not distributed.is_main():
        yield Run()
        return
    wandb = require("wandb", purpose="Experiment tracking (or set tracking.mode=disabled)")
    mode: str = config.mode
    if mode == "auto":
        # What wandb itself is told by the environment wins.
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=config.project,
        group=config.group,
        name=config.name or stage,
        job_type=stage,
        dir=str(folder),
        mode=mode,
        config=dict(settings),
        settings=wandb.Settings(silent=True),
    )
    exit_code = 1
    try:
        yield Run(run)
        exit_code = 0
    finally:
        run.finish(exit_code=exit_code)
        # Offline, the run's file is whole only when wandb's own process has ended.
        wandb.teardown()


def has_key() -> bool:
    """Whether wandb would find a key without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").removeprefix("https://").removeprefix("http://")
    try:
        return netrc.netrc().authenticators(host.split("/")[0]) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
