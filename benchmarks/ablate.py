"""What each ingredient of the quickstart's recipe gives: the recipe once more for each ingredient left out or changed.

    python -m toolgen.benchmarks.ablate --run runs/quickstart --out runs/ablate

Needs a finished quickstart, whose catalogue, codebook and validation queries it uses; the test queries stay unread.
Finished variants are kept, so an interrupted run goes on where it stopped.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolgen.benchmarks.quickstart import Folder, memorization_config, quoted, retrieval_config
from toolgen.code_stage import rank_figures
from toolgen.errors import InputError
from toolgen.files import fingerprint, read_json, write_json
from toolgen.origin import start
from toolgen.queries import read_queries
from toolgen.stages import memorization, retrieval
from toolgen.terminal import err, out, run_app
from toolgen.tools import ToolCatalog

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Variant:
    """The recipe with something changed.

    Attributes:
        name: As the table shows it.
        memorization: ``key=value`` on top of configs/embedded/memorization.yaml; None leaves the stage out.
        retrieval: ``key=value`` on top of configs/embedded/retrieval.yaml; None leaves the stage out.
    """

    name: str
    memorization: tuple[str, ...] | None = ()
    retrieval: tuple[str, ...] | None = ()


VARIANTS = (
    Variant("rows as they start, no training", memorization=None, retrieval=None),
    Variant("retrieval training only", memorization=None),
    Variant("rows from word rows of the name", memorization=("prior.kind=name",)),
)


@app.command()
def ablate(
    run: Annotated[Path, typer.Option(help="Folder of a finished quickstart.")] = Path("runs/quickstart"),
    output: Annotated[Path, typer.Option("--out", help="Folder for the variants and ablation.json.")] = Path(
        "runs/ablate"
    ),
) -> None:
    """Train the quickstart's recipe with one ingredient changed at a time; print NDCG@5 on the validation queries."""
    folder = Folder(run)
    for path in (folder.tools, folder.codebook, folder.queries):
        if not path.is_file():
            raise InputError(f"{path}: no such file. Run `toolgen quickstart --out {run}` first.")
    stages = [read_json(run / stage / "report.json") for stage in ("memorization", "retrieval")]
    rows = [
        {"variant": "the recipe", **_measured(stages)},
        {"variant": "memorization only", **_measured(stages[:1])},
        *({"variant": variant.name, **_figures(variant, folder, output)} for variant in VARIANTS),
    ]
    write_json(output / "ablation.json", {"split": "validation", "seed": 0, "variants": rows})
    table = Table(title="validation queries, seed 0")
    for heading in ("variant", "NDCG@1", "NDCG@5", "Recall@5", "minutes of training"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for row in rows:
        figures = (f"{row[name]:.3f}" for name in ("ndcg@1", "ndcg@5", "recall@5"))
        table.add_row(row["variant"], *figures, f"{row['seconds'] / 60:.1f}")
    out.print(table)


def _figures(variant: Variant, source: Folder, output: Path) -> dict[str, Any]:
    """Figures of one variant, computed or read: they are filed under everything that they depend on."""
    target = output / fingerprint([_settings(variant, source), ToolCatalog.from_jsonl(source.tools).fingerprint])
    done = target.with_suffix(".json")
    if done.is_file():
        return read_json(done)
    err.print(variant.name, style="bold")
    reports = _train(variant, source, target)
    figures = _measured(reports or [{"validation": _untrained(source, target), "seconds_training": 0.0}])
    # Weights of a dozen variants are gigabytes; the figures are what this is for.
    shutil.rmtree(target, ignore_errors=True)
    write_json(done, figures)
    return figures


def _measured(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Validation figures of the last stage, and the seconds that all of them trained."""
    found = reports[-1]["validation"]
    return {
        **{name: found[name] for name in ("ndcg@1", "ndcg@5", "recall@5")},
        "seconds": sum(report["seconds_training"] for report in reports),
    }


def _settings(variant: Variant, source: Folder) -> list[Any]:
    nowhere = Path("output")
    first = memorization_config(source, nowhere, 0, variant.memorization or ())
    second = retrieval_config(source, nowhere, 0, "memorized", variant.retrieval or ())
    return [
        first.model_dump(mode="json"),
        second.model_dump(mode="json"),
        variant.memorization is not None,
        variant.retrieval is not None,
    ]


def _untrained(source: Folder, target: Path) -> Mapping[str, float]:
    model, artefacts = start(memorization_config(source, target, 0))
    queries = read_queries(source.queries, artefacts.catalog, "validation")
    return rank_figures(model.to("cpu"), artefacts, queries)  # type: ignore[arg-type]


def _train(variant: Variant, source: Folder, target: Path) -> list[Mapping[str, Any]]:
    """Reports of the stages that the variant has."""
    quiet = "tracking.mode=disabled"
    reports = []
    first = memorization_config(source, target / "memorization", 0, (quiet, *(variant.memorization or ())))
    model: Path | str = first.model
    # Without memorization the second stage starts where the first would have.
    from_base = quoted({"tools": source.tools, "codebook": source.codebook, "prior": first.prior.model_dump()})
    if variant.memorization is not None:
        result = memorization.run(first)
        reports.append(result.report)
        model, from_base = result.checkpoint, []
    if variant.retrieval is not None:
        config = retrieval_config(source, target / "retrieval", 0, model, (quiet, *from_base, *variant.retrieval))
        reports.append(retrieval.run(config).report)
    return reports


if __name__ == "__main__":
    run_app(app)
