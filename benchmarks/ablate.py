"""What each ingredient of the quickstart's recipe gives: the recipe once more for each ingredient left out or changed.

    python -m toolgen.benchmarks.ablate --run runs/quickstart --out runs/ablate

Needs a finished quickstart, whose catalogue, codebook and validation queries it uses; the test queries stay unread.
Finished variants are kept, so an interrupted run goes on where it stopped.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolgen.benchmarks.quickstart import Folder, memorization_config, retrieval_config
from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.queries import read_queries
from toolgen.stage import rank_figures, start
from toolgen.stages import memorization, retrieval
from toolgen.terminal import err, out, run_app

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
    Variant("the recipe"),
    Variant("rows as they start, no training", memorization=None, retrieval=None),
    Variant("memorization only", retrieval=None),
    Variant("retrieval training only", memorization=None),
    Variant("rows from word rows of the name", memorization=("prior.kind=name",)),
    Variant("rows from word rows of the document", memorization=("prior.kind=description",)),
    Variant("rows at random", memorization=("prior.kind=random",)),
    Variant(
        "rows at the trunk's learning rate", ("training.row_learning_rate=null",), ("training.row_learning_rate=null",)
    ),
    Variant("half the trunk's learning rate", ("training.learning_rate=2.5e-4",), ("training.learning_rate=2.5e-4",)),
    Variant("half the queries a tool", retrieval=("synthetic_per_tool=6",)),
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
    rows = [
        {"variant": variant.name, **_figures(variant, folder, output / str(n))} for n, variant in enumerate(VARIANTS)
    ]
    write_json(output / "ablation.json", {"split": "validation", "seed": 0, "variants": rows})
    table = Table(title="validation queries, seed 0")
    for heading in ("variant", "NDCG@1", "NDCG@5", "Recall@5", "minutes of training"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for row in rows:
        figures = (f"{row[name]:.3f}" for name in ("ndcg@1", "ndcg@5", "recall@5"))
        table.add_row(row["variant"], *figures, f"{row['seconds'] / 60:.1f}")
    out.print(table)


def _figures(variant: Variant, source: Folder, target: Path) -> dict[str, Any]:
    done = target / "figures.json"
    if done.is_file():
        return read_json(done)
    err.print(variant.name, style="bold")
    reports = _train(variant, source, target)
    if reports:
        found = reports[-1]["validation"]
    else:
        model, artefacts = start(memorization_config(source, target, 0))
        found = rank_figures(model, artefacts, read_queries(source.queries, artefacts.catalog, "validation"))
    figures = {name: found[name] for name in ("ndcg@1", "ndcg@5", "recall@5")}
    figures["seconds"] = sum(report["seconds_training"] for report in reports)
    # Weights of a dozen variants are gigabytes; the figures are what this is for.
    shutil.rmtree(target, ignore_errors=True)
    write_json(done, figures)
    return figures


def _train(variant: Variant, source: Folder, target: Path) -> list[Mapping[str, Any]]:
    """Reports of the stages that the variant has."""
    quiet = "tracking.mode=disabled"
    reports = []
    first = memorization_config(source, target / "memorization", 0, (quiet, *(variant.memorization or ())))
    model: Path | str = first.model
    from_base: tuple[str, ...] = (f"tools={first.tools}", f"codebook={first.codebook}", "prior.max_tokens=64")
    if variant.memorization is not None:
        result = memorization.run(first)
        reports.append(result.report)
        model, from_base = result.checkpoint, ()
    if variant.retrieval is not None:
        config = retrieval_config(source, target / "retrieval", 0, model, (quiet, *from_base, *variant.retrieval))
        reports.append(retrieval.run(config).report)
    return reports


if __name__ == "__main__":
    run_app(app)
