"""Indexing schemes side by side: the same tools, queries and recipe through index, memorization, retrieval training and
evaluation, beside BM25 and dense retrieval. Knows every room.

    python -m toolgen.benchmarks.schemes --tools T --queries Q --train-split train --validation-split validation \\
        --test-split test --out DIR

Finished stages are kept and interrupted ones go on, so the same command ends what an earlier one began.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from toolgen.benchmarks.baselines import BASELINES, make_baseline
from toolgen.benchmarks.evaluation import Evaluation, evaluate_retrievers
from toolgen.benchmarks.recipe import Data, Recipe, Stages, Variant, index_variant, load_recipe
from toolgen.codebook import Codebook, CodebookStatistics
from toolgen.errors import InputError
from toolgen.files import fingerprint, read_json, replacing, write_json
from toolgen.generative import GenerativeRetriever
from toolgen.indexing import SCHEMES
from toolgen.metrics import paired_difference
from toolgen.queries import Query, read_queries
from toolgen.stage import StageConfig, StageResult
from toolgen.stages import memorization, retrieval
from toolgen.terminal import err, out, progress_bar, run_app
from toolgen.tools import ToolCatalog

app = typer.Typer(add_completion=False)

HEADINGS = ("method", "NDCG@5", "95%", "NDCG@1", "tokens a tool", "p50 ms", "hallucinated", "minutes")


@dataclass(frozen=True)
class Trained:
    """A scheme after both stages."""

    variant: Variant
    checkpoint: Path
    codes: CodebookStatistics
    minutes: float
    steps: int
    validation: Mapping[str, float]


@app.command()
def schemes(
    tools: Annotated[Path, typer.Option(help="Catalogue: .jsonl or .jsonl.gz.")],
    queries: Annotated[Path, typer.Option(help="Labelled queries with splits; see `toolgen split`.")],
    output: Annotated[Path, typer.Option("--out", help="Folder for the runs, schemes.json and schemes.md.")],
    train_split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    validation_split: Annotated[str, typer.Option(help="Split to look at during training.")] = "validation",
    test_split: Annotated[str, typer.Option(help="Split of the table.")] = "test",
    names: Annotated[
        str, typer.Option("--schemes", help="Separated by commas, options after a colon: atomic,numeric:digits=new.")
    ] = ",".join(SCHEMES),
    config: Annotated[Path | None, typer.Option(help="Recipe [configs/datasets/labelled.yaml].")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="e.g. retrieval.training.epochs=1")
    ] = None,
) -> None:
    """Train every scheme by one recipe on the same pairs; print and write one table of the test split."""
    data = Data(tools, queries, train_split, validation_split, test_split)
    variants = [Variant.parse(name) for name in names.split(",") if name.strip()]
    if not variants or len({variant.folder for variant in variants}) < len(variants):
        raise InputError(f"--schemes is {names!r}. Name at least one scheme, each once: {', '.join(SCHEMES)}.")
    compare(data, variants, load_recipe(config, overrides or ()), output)


def compare(data: Data, variants: Sequence[Variant], recipe: Recipe, output: Path) -> dict[str, Any]:
    """Train what is not trained yet, measure all in one run, print the table and write it as JSON and markdown.

    Returns:
        The content of ``schemes.json``.

    Raises:
        InputError: Something is unusable, or the folder holds runs on other data or by another recipe.
    """
    catalog = ToolCatalog.from_jsonl(data.tools)
    parts = {split: read_queries(data.queries, catalog, split) for split in (data.train, data.validation, data.test)}
    if len(parts) < 3:
        raise InputError(f"The three splits must differ, found {data.train}, {data.validation}, {data.test}.")
    _check_folder(output, data, recipe, catalog, parts)
    trained = [_train(variant, data, recipe, catalog, output) for variant in variants]
    evaluation = _evaluate(trained, data, parts, catalog, recipe)
    figures = {
        "data": {**{key: str(value) for key, value in vars(data).items()}, "tools_in_all": len(catalog)},
        "recipe": recipe.model_dump(mode="json"),
        "schemes": {run.variant.name: _described(run, evaluation) for run in trained},
        "evaluation": evaluation.to_json(),
    }
    rows = _rows(trained, evaluation)
    write_json(output / "schemes.json", figures)
    with replacing(output / "schemes.md") as temporary:
        temporary.write_text(_markdown(rows), encoding="utf-8")
    title = f"{evaluation.queries:,} queries of {data.test}, {len(catalog):,} tools"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in HEADINGS:
        left = heading == "method"
        table.add_column(heading.replace(" ", "\n", 1), justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)
    err.print(f"table and figures in {output}", markup=False)
    return figures


def _check_folder(
    output: Path, data: Data, recipe: Recipe, catalog: ToolCatalog, parts: Mapping[str, Sequence[Query]]
) -> None:
    """Runs in one folder share data and recipe, or their figures could not stand in one table."""
    # By use and not by name: the test split of today must not be what was trained on.
    uses = {"train": data.train, "validation": data.validation, "test": data.test}
    asked = {
        "recipe": recipe.model_dump(mode="json"),
        "tools": catalog.fingerprint,
        "queries": {use: fingerprint([query.to_record() for query in parts[split]]) for use, split in uses.items()},
    }
    path = output / "settings.json"
    if not path.is_file():
        write_json(path, asked)
    elif differing := [key for key, value in read_json(path).items() if value != asked[key]]:
        raise InputError(
            f"{output} holds runs with other settings ({', '.join(differing)} differ). Give the same ones again, or "
            "another --out."
        )


def _train(variant: Variant, data: Data, recipe: Recipe, catalog: ToolCatalog, output: Path) -> Trained:
    folder = output / variant.folder
    stages = Stages.of(recipe, data, folder)
    err.print(f"{variant.name}: index", style="bold", markup=False)
    with progress_bar("Embedding documents") as progress:
        indexed = index_variant(variant, catalog, recipe.model, progress)
    _keep(indexed.book, folder / "codebook.json")
    first, second = stages.memorization, stages.retrieval
    memorized = _finished(first) or _announced(variant, "memorization", lambda: memorization.run(first))
    final = _finished(second) or _announced(variant, "retrieval", lambda: retrieval.run(second))
    reports = (memorized.report, final.report)
    return Trained(
        variant=variant,
        checkpoint=final.checkpoint,
        codes=indexed.statistics,
        minutes=sum(report["seconds_training"] for report in reports) / 60,
        steps=sum(report["steps"] for report in reports),
        validation=final.report["validation"],
    )


def _keep(book: Codebook, path: Path) -> None:
    """Save a codebook, or make sure that the one of an earlier run is the same: models there were trained with it."""
    if path.is_file() and (earlier := Codebook.load(path)).fingerprint != book.fingerprint:
        raise InputError(
            f"{path} holds other codes ({earlier.fingerprint}) than are built now ({book.fingerprint}): this version "
            "or machine makes them otherwise. Remove the folder, or give another --out."
        )
    book.save(path)


def _finished(config: StageConfig) -> StageResult | None:
    # A stage writes its report when all else is written.
    report = config.output / "report.json"
    return StageResult(config.output / "final", read_json(report)) if report.is_file() else None


def _announced(variant: Variant, stage: str, run: Callable[[], StageResult]) -> StageResult:
    err.print(f"{variant.name}: {stage}", style="bold", markup=False)
    return run()


def _evaluate(
    trained: Sequence[Trained], data: Data, parts: Mapping[str, Sequence[Query]], catalog: ToolCatalog, recipe: Recipe
) -> Evaluation:
    with err.status("Embedding documents for the dense baseline"):
        methods = [make_baseline(name, catalog, dense_tokens=recipe.dense_tokens) for name in BASELINES]
    for run in trained:
        retriever = GenerativeRetriever.load(run.checkpoint)
        retriever.name = run.variant.name
        methods.append(retriever)
    test = parts[data.test]
    seen = {tool for query in parts[data.train] for tool in query.tools}
    subsets = {
        "one gold tool": {query.id for query in test if len(query.tools) == 1},
        "several gold tools": {query.id for query in test if len(query.tools) > 1},
        "no gold tool with a training query": {query.id for query in test if seen.isdisjoint(query.tools)},
    }
    with progress_bar("Evaluating") as progress:
        return evaluate_retrievers(methods, test, catalog, subsets=subsets, progress=progress)


def _described(run: Trained, evaluation: Evaluation) -> dict[str, Any]:
    """What the table leaves out of a scheme, and by how much its NDCG@5 is above each baseline's: paired bootstrap."""
    own = evaluation.methods[run.variant.name].scores.per_query["ndcg@5"]
    above = {}
    for baseline in BASELINES:
        found = paired_difference(own, evaluation.methods[baseline].scores.per_query["ndcg@5"])
        above[baseline] = {"mean": found.mean, "low": found.interval.low, "high": found.interval.high}
    return {
        "codes": vars(run.codes),
        "training_minutes": run.minutes,
        "steps": run.steps,
        "validation": dict(run.validation),
        "ndcg@5_above": above,
    }


def _rows(trained: Sequence[Trained], evaluation: Evaluation) -> list[tuple[str, ...]]:
    runs = {run.variant.name: run for run in trained}
    rows: list[tuple[str, ...]] = []
    for name, figures in evaluation.methods.items():
        assert figures.latency is not None
        measured = figures.to_json()
        run = runs.get(name)
        rows.append(
            (
                name,
                f"{measured['ndcg@5']:.3f}",
                f"{figures.ndcg5.low:.3f}-{figures.ndcg5.high:.3f}",
                f"{measured['ndcg@1']:.3f}",
                f"{run.codes.tokens_mean:.1f}" if run else "",
                f"{figures.latency.p50_ms:.1f}",
                f"{figures.hallucinated}",
                f"{run.minutes:.1f}" if run else "",
            )
        )
    return rows


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    run_app(app)
