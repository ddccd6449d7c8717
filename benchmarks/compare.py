"""A comparison: a grid of generative retrievers and all baselines on one catalogue and one set of splits, trained,
measured, tracked and reported. Knows every room.

Everything is kept under ``runs/compare/NAME``: cells that are trained, results that are measured. So an interrupted
comparison goes on where it stopped. The validation split chooses; the test split is read when nothing is left to
choose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from toolgen.benchmarks.baselines import check_baselines
from toolgen.benchmarks.cell import KEPT_ANSWERS, Answer, CellResult, Comparison
from toolgen.benchmarks.evaluation import answer, figures_of, latencies_of, spread
from toolgen.benchmarks.grid import TRAINED, Cell, CompareConfig, Material, further_cells, grid_cells, stages_of
from toolgen.benchmarks.material import Splits, codebooks, read_made, read_splits, write_material
from toolgen.benchmarks.methods import ENCODERS, Method, baselines, encoder_config, generative, trained_encoder
from toolgen.benchmarks.recipe import Variant
from toolgen.benchmarks.report import write_report
from toolgen.benchmarks.results import (
    cell_path,
    kept_scores,
    read_cell,
    write_cell,
    write_comparison,
    write_leaderboard,
)
from toolgen.benchmarks.trained import Trained, check_launch, train
from toolgen.code_stage import thinned
from toolgen.errors import InputError
from toolgen.metrics import qrels_of
from toolgen.terminal import err, out, progress_bar
from toolgen.tracking import tracked
from toolgen.version import code_version

LIBRARIES = ("torch", "transformers", "sentence-transformers", "bm25s", "faiss-cpu")
"""Packages whose versions figures may depend on."""

HEADINGS = ("method", "seed", "NDCG@1", "NDCG@5", "tie-aware", "Recall@5", "p50 ms", "hallucinated", "minutes")


def compare(config: CompareConfig) -> list[dict[str, Any]]:
    """Train what is not trained yet, measure what is not measured, and write results, leaderboard and tracked runs.

    Returns:
        The content of ``leaderboard.json``.

    Raises:
        InputError: Something is unusable, splits share what they must not, or the folder holds something else.
    """
    # Now, while the sources are those that were loaded.
    code_version()
    check_baselines(config.baselines, others=tuple(ENCODERS))
    check_launch(config.launch)
    cells = grid_cells(config.grid)
    splits = read_splits(config.data)
    material = write_material(config, splits, read_made(config, splits))
    for cell in (*cells, *further_cells(config.grid, cells[0])):
        stages_of(cell, config, material)
    encoder_config(config.grid.seeds[0], config, material)
    trained = _train_all(config, splits, material, cells)
    comparison = _comparison(config, splits)
    methods = [*baselines(config, splits, material, comparison), *(generative(each, comparison) for each in trained)]
    planned = tuple(cell_path(config.folder, each.blank.method, each.blank.seed).stem for each in methods)
    write_comparison(config.folder, replace(comparison, planned=planned), splits.catalog, splits.train, splits.test)
    _measure_all(config, splits, methods)
    rows = write_leaderboard(config.folder)
    out.print(_table(rows, config, splits))
    page = config.folder / "report.html"
    with progress_bar("Comparing methods") as progress:
        write_report(config.folder, page, progress=progress)
    err.print(f"results in {config.folder}, a page of them in {page}", markup=False)
    return rows


def _train_all(config: CompareConfig, splits: Splits, material: Material, cells: Sequence[Cell]) -> list[Trained]:
    variants: list[Variant] = list({cell.variant.name: cell.variant for cell in cells}.values())
    codes = codebooks(config, splits.catalog, material, variants)

    @cache
    def base(seed: int) -> Mapping[str, Any] | None:
        return trained_encoder(seed, config, material).report if config.recipe.model == TRAINED else None

    def trained(cell: Cell) -> Trained:
        started_from = base(cell.seed)
        done = train(cell, stages_of(cell, config, material), codes[cell.variant.name], config.launch)
        return replace(done, base=started_from)

    done = [trained(cell) for cell in cells]
    best = max(done, key=lambda each: each.validation)
    err.print(f"best on {config.data.validation}: {best.cell.method} ({best.validation:.3f})", markup=False)
    for cell in further_cells(config.grid, best.cell):
        # The same model, decoded otherwise.
        done.append(replace(best, cell=cell) if cell.ablation == "no constraint" else trained(cell))
    return done


def _comparison(config: CompareConfig, splits: Splits) -> Comparison:
    data = config.data
    return Comparison(
        name=config.name,
        catalog=splits.catalog.fingerprint,
        splits=splits.fingerprint,
        split_kind="domain" if data.split.by == "group" else data.split.by,
        train=data.train,
        validation=data.validation,
        test=data.test,
        tools=len(splits.catalog),
        train_queries=len(splits.train),
        validation_queries=len(thinned(splits.validation, config.recipe.validated)),
        test_queries=len(splits.test),
        depth=min(config.depth, len(splits.catalog)),
        planned=(),
        configuration=config.model_dump(mode="json"),
        code_version=code_version(),
        libraries={name: version(name) for name in LIBRARIES},
    )


def _measure_all(config: CompareConfig, splits: Splits, methods: Sequence[Method]) -> None:
    """Quality method by method, each kept at once; then the latency of all in turns, which tells them apart only when
    it is measured together."""
    results = [_measured(config, splits, method) for method in methods]
    if config.latency_queries and any(result.latency_p50_ms is None for result in results):
        retrievers = [method.load() for method in methods]
        for retriever, result in zip(retrievers, results, strict=True):
            # Seeds share a name.
            retriever.name = cell_path(config.folder, result.method, result.seed).stem
        depth = min(config.depth, len(splits.catalog))
        with progress_bar("Timing") as progress:
            found = latencies_of(retrievers, spread(splits.test, config.latency_queries), depth, progress)
        for retriever, result in zip(retrievers, results, strict=True):
            latency = found[retriever.name]
            timed = replace(result, latency_p50_ms=latency.p50_ms, latency_p95_ms=latency.p95_ms)
            write_cell(config.folder, timed)
            _track(config, splits, timed)


def _measured(config: CompareConfig, splits: Splits, method: Method) -> CellResult:
    blank = method.blank
    path = cell_path(config.folder, blank.method, blank.seed)
    if path.is_file():
        found = read_cell(path)
        told = [(each.manifest or {}).get("settings") for each in (found, blank)]
        if found.comparison != blank.comparison or told[0] != told[1]:
            raise InputError(
                f"{path} was measured on other data or with other settings. Move it away to measure again, or give "
                "the comparison another name."
            )
        return found
    with progress_bar(f"Measuring {blank.method}") as progress:
        answered = answer(method.load(), splits.test, splits.catalog, config.depth, progress)
    documents = {tool.id: tool.document() for tool in splits.catalog.values()}
    qrels = qrels_of(splits.test)
    result = replace(
        blank,
        hallucinated=sum(answered.hallucinated.values()),
        figures=figures_of(qrels, answered),
        scores=kept_scores(qrels, answered.run, documents),
        answers={
            query_id: tuple(Answer(hit.tool, hit.score) for hit in hits[:KEPT_ANSWERS])
            for query_id, hits in answered.hits.items()
        },
    )
    write_cell(config.folder, result)
    if not config.latency_queries:
        # Nothing is left to be measured.
        _track(config, splits, result)
    return result


def _track(config: CompareConfig, splits: Splits, result: CellResult) -> None:
    """One run a cell, all of a comparison in one group: curves by step, figures as its summary."""
    name = result.method if result.seed is None else f"{result.method}, seed {result.seed}"
    told = config.tracking.model_copy(update={"group": config.name, "name": name})
    keys = ("method", "family", "scheme", "prior", "plan", "ablation", "seed")
    settings = {**{key: getattr(result, key) for key in keys}, "comparison": config.model_dump(mode="json")}
    stem = cell_path(config.folder, result.method, result.seed).stem
    with tracked(told, settings, config.folder / "tracking" / stem, "compare") as run:
        for point in result.curves:
            values = {"loss": point.loss, "ndcg@5": point.ndcg5}
            known = {f"{point.stage}/{key}": value for key, value in values.items() if value is not None}
            run.log({**known, f"{point.stage}/step": point.step})
        kept = ("hallucinated", "latency_p50_ms", "latency_p95_ms", "tokens_a_tool", "minutes")
        run.summary({**result.figures, **{key: getattr(result, key) for key in kept}})
        ndcg5 = result.scores["ndcg@5"]
        first = {query_id: hits[0].tool if hits else "" for query_id, hits in result.answers.items()}
        rows = [
            [query.id, query.text, ", ".join(query.tools), first[query.id], ndcg5[query.id]] for query in splits.test
        ]
        run.table("answers", ("query", "text", "gold tools", "first answer", "ndcg@5"), rows)


def _table(rows: Sequence[dict[str, Any]], config: CompareConfig, splits: Splits) -> Table:
    title = f"{len(splits.test):,} queries of {config.data.test}, split by {config.data.split.by}, "
    table = Table(
        title=escape(title + f"{len(splits.catalog):,} tools"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    for heading in HEADINGS:
        left = heading == "method"
        table.add_column(heading.replace(" ", "\n", 1), justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        quality = (f"{row[key]:.3f}" for key in ("ndcg@1", "ndcg@5", "ndcg@5_tie_aware", "recall@5"))
        rest = (_number(row["latency_p50_ms"]), str(row["hallucinated"]), _number(row["minutes"]))
        table.add_row(escape(row["method"]), "" if row["seed"] is None else str(row["seed"]), *quality, *rest)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
