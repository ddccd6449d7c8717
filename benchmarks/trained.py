"""A cell of a comparison, trained: its stages run one after another, what they reported, the retriever that comes out.
Knows stages and retrievers; measures nothing.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from toolgen.benchmarks.cell import CurvePoint
from toolgen.benchmarks.grid import Cell
from toolgen.benchmarks.unconstrained import UnconstrainedRetriever
from toolgen.codebook import CodebookStatistics
from toolgen.errors import InputError
from toolgen.files import fingerprint, read_json, write_json
from toolgen.generative import GenerativeRetriever
from toolgen.retriever import Retriever
from toolgen.stage import StageResult
from toolgen.stages import memorization, retrieval
from toolgen.stages.memorization import MemorizationConfig
from toolgen.stages.retrieval import RetrievalConfig
from toolgen.terminal import err

Stages = Sequence[MemorizationConfig | RetrievalConfig]


@dataclass(frozen=True)
class Trained:
    """A cell after its stages.

    Attributes:
        cell: Which one.
        codes: About its codebook.
        stages: What its stages were told.
        reports: What they reported, in the same order.
        checkpoint: Of the last one.
        base: What was reported of the encoder that they start from, where that was trained too.
    """

    cell: Cell
    codes: CodebookStatistics
    stages: Stages
    reports: tuple[Mapping[str, Any], ...]
    checkpoint: Path
    base: Mapping[str, Any] | None = None

    @property
    def minutes(self) -> float:
        """Of training, all stages and the base's own together."""
        return sum(report["seconds_training"] for report in self._all) / 60

    @property
    def steps(self) -> int:
        """Likewise."""
        return sum(report["steps"] for report in self._all)

    @property
    def code_versions(self) -> list[str]:
        """Of the code that trained it; stages of earlier versions do not say."""
        return sorted({version for report in self._all for version in report.get("code_versions", ())})

    @property
    def _all(self) -> tuple[Mapping[str, Any], ...]:
        return self.reports if self.base is None else (self.base, *self.reports)

    @property
    def validation(self) -> float:
        """NDCG@5 of the validation queries, by which cells are chosen."""
        return float(self.reports[-1]["validation"]["ndcg@5"])

    @property
    def settings(self) -> str:
        """Fingerprint of all that its training was told."""
        return fingerprint([_told(stage) for stage in self.stages])

    @cached_property
    def curves(self) -> tuple[CurvePoint, ...]:
        """Losses and validation figures along the way."""
        points = []
        for name, report in zip(map(_name, self.stages), self.reports, strict=True):
            for entry in report["log"]:
                loss, ndcg = entry.get("loss"), entry.get("eval_ndcg@5")
                if loss is not None or ndcg is not None:
                    points.append(CurvePoint(name, entry["step"], loss, ndcg))
        return tuple(points)

    def retriever(self) -> Retriever:
        """The model, ready to answer."""
        loaded = GenerativeRetriever.load(self.checkpoint)
        loaded.name = self.cell.method
        if self.cell.ablation == "no constraint":
            return UnconstrainedRetriever(loaded, name=self.cell.method)
        return loaded


def check_launch(launch: Sequence[str]) -> None:
    """
    Raises:
        InputError: There is no such program.
    """
    if launch and shutil.which(launch[0]) is None:
        raise InputError(
            f"launch begins with {launch[0]!r}, which cannot be started. Install it, give its path, or leave launch "
            "out."
        )


def train(cell: Cell, stages: Stages, codes: CodebookStatistics, launch: Sequence[str] = ()) -> Trained:
    """Run the stages of a cell that are not finished; an interrupted one goes on.

    Args:
        cell: Which one.
        stages: What its stages are told.
        codes: About its codebook.
        launch: What starts a stage's processes, as in ``CompareConfig``.

    Raises:
        InputError: A finished stage was told something else than now, or a launched one failed.
    """
    reports: list[Mapping[str, Any]] = []
    for stage in stages:
        report = _finished(stage)
        if report is None:
            err.print(f"{cell.method}, seed {cell.seed}: {_name(stage)}", style="bold", markup=False)
            report = _launched(stage, launch) if launch else _run(stage).report
        reports.append(report)
    return Trained(cell, codes, stages, tuple(reports), stages[-1].output / "final")


def _run(stage: MemorizationConfig | RetrievalConfig) -> StageResult:
    return retrieval.run(stage) if isinstance(stage, RetrievalConfig) else memorization.run(stage)


def _launched(stage: MemorizationConfig | RetrievalConfig, launch: Sequence[str]) -> Mapping[str, Any]:
    told = stage.output.with_suffix(".json")
    # Keys that nobody set stay out: a stage that starts from a checkpoint refuses what the checkpoint brings.
    write_json(told, stage.model_dump(mode="json", exclude_unset=True))
    module = f"toolgen.stages.{_name(stage)}"
    done = subprocess.run([*launch, "--module", module, "--config", str(told)], check=False)
    report = _finished(stage) if done.returncode == 0 else None
    if report is None:
        raise InputError(
            f"{' '.join(launch)} ended with exit code {done.returncode} and no finished stage in {stage.output}; what "
            "it said is above. The same comparison goes on from the last checkpoint."
        )
    return report


def _name(stage: MemorizationConfig | RetrievalConfig) -> str:
    return "retrieval" if isinstance(stage, RetrievalConfig) else "memorization"


def _finished(stage: MemorizationConfig | RetrievalConfig) -> Mapping[str, Any] | None:
    """The report of a finished stage, which it writes when all else is written."""
    path = stage.output / "report.json"
    if not path.is_file():
        return None
    report = read_json(path)
    if fingerprint(report["config"]) != fingerprint(_told(stage)):
        raise InputError(
            f"{stage.output} holds a stage that was told something else than now. Give the configuration that it was "
            "trained with, remove the folder, or give the comparison another name."
        )
    return report


def _told(stage: MemorizationConfig | RetrievalConfig) -> dict[str, Any]:
    return stage.model_dump(mode="json")
