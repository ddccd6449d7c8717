"""What a comparison leaves on disk, written and read. Knows the files and what must agree between them; trains nothing
and draws nothing.

    runs/compare/NAME/
        comparison.json                   what was compared on what
        queries.jsonl                     the test queries, without calls
        tools.jsonl.gz                    every tool, as far as reports need it
        results/<method>-seed<k>.json     a cell: one method with one seed; no seed where nothing is random
        leaderboard.json                  one row a cell, the best method first
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from toolgen.benchmarks.cell import SCORES, STRICT, TIE_AWARE, CellResult, Comparison, KnownTool, Results
from toolgen.errors import InputError
from toolgen.files import fingerprint, read_jsonl, replacing, slug, write_json, write_jsonl
from toolgen.metrics import Qrels, Run, evaluate, tie_aware_run
from toolgen.queries import Query, read_queries, write_queries
from toolgen.tools import ToolCatalog

COMPARISON, QUERIES, TOOLS = "comparison.json", "queries.jsonl", "tools.jsonl.gz"
CELLS, LEADERBOARD = "results", "leaderboard.json"

_LONGEST_VALUE = 60
"""Characters of a query's metadata that may name a kind of query; longer ones are texts and are left out."""


def write_comparison(
    folder: Path, comparison: Comparison, catalog: ToolCatalog, train: Iterable[Query], test: Sequence[Query]
) -> None:
    """Begin a comparison's folder, or go on with it.

    Raises:
        InputError: The folder holds a comparison on other data.
    """
    path = folder / COMPARISON
    if path.is_file() and (earlier := _read(Comparison, path)).fingerprint != comparison.fingerprint:
        raise InputError(
            f"{folder} holds the comparison {earlier.name!r} on other data: tools, queries, splits or depth differ. "
            "Give another folder, or the data that it was begun with."
        )
    write_queries(folder / QUERIES, (_plain(query) for query in test))
    write_jsonl(folder / TOOLS, (vars(tool) for tool in _known(catalog, train)))
    _write(path, comparison)


def cell_path(folder: Path, method: str, seed: int | None) -> Path:
    """Where a cell lies; it is there if and only if the cell is finished."""
    return folder / CELLS / (f"{slug(method)}.json" if seed is None else f"{slug(method)}-seed{seed}.json")


def write_cell(folder: Path, cell: CellResult) -> Path:
    """Write a finished cell; returns its file.

    Raises:
        InputError: A figure is not a finite number, or another method's cell has the same file name.
    """
    path = cell_path(folder, cell.method, cell.seed)
    if path.is_file() and (there := _read(CellResult, path).method) != cell.method:
        raise InputError(f"The methods {there!r} and {cell.method!r} both belong into {path}. Rename one of them.")
    _write(path, cell)
    return path


def read_cell(path: Path) -> CellResult:
    """Read one finished cell."""
    return _read(CellResult, path)


def kept_scores(qrels: Qrels, run: Run, documents: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """``CellResult.scores`` of a run; the arguments are those of ``toolgen.metrics.tie_aware_run``."""
    strict, tied = evaluate(qrels, run).per_query, evaluate(qrels, tie_aware_run(qrels, run, documents)).per_query
    return {**{measure: dict(strict[measure]) for measure in STRICT}, TIE_AWARE: dict(tied["ndcg@5"])}


def read_results(folder: Path) -> Results:
    """Read a comparison and its finished cells.

    Raises:
        InputError: The folder holds no comparison or no finished cell, a file is broken, or a cell does not belong to
            the comparison.
    """
    path = folder / COMPARISON
    if not path.is_file():
        raise InputError(
            f"{folder}: not the folder of a comparison, because it has no {COMPARISON}. Give a folder that "
            "`toolgen compare` wrote, such as runs/compare/NAME."
        )
    comparison = _read(Comparison, path)
    adapter = TypeAdapter(KnownTool)
    with _named(str(folder / TOOLS)):
        found = [adapter.validate_python(record) for record, _ in read_jsonl(folder / TOOLS)]
    tools = {tool.id: tool for tool in found}
    queries = tuple(read_queries(folder / QUERIES))
    unknown = [tool for query in queries for tool in query.tools if tool not in tools]
    if unknown or (len(queries), len(tools)) != (comparison.test_queries, comparison.tools):
        raise InputError(
            f"{folder}: {QUERIES} ({len(queries):,} queries) and {TOOLS} ({len(tools):,} tools) are not those that "
            f"{COMPARISON} tells of. Run `toolgen compare` with the same configuration, which writes them again."
        )
    paths = sorted((folder / CELLS).glob("*.json"))
    if not paths:
        raise InputError(
            f"{folder}: no cell of the comparison {comparison.name!r} is finished; {folder / CELLS} holds none. "
            "Run `toolgen compare` with the same configuration, which goes on where it stopped."
        )
    cells = {file: _read(CellResult, file) for file in paths}
    for file, cell in cells.items():
        _check(cell, file, comparison, queries)
    _check_methods(cells)
    return Results(comparison, queries, tools, tuple(cells.values()))


def leaderboard(results: Results) -> list[dict[str, Any]]:
    """One flat row a cell, JSON-serialisable; methods by their NDCG@5 over all seeds, then by seed."""
    of_method: dict[str, list[float]] = {}
    for cell in results.cells:
        of_method.setdefault(cell.method, []).append(cell.figures["ndcg@5"])

    def place(cell: CellResult) -> tuple[float, str, int]:
        return -fmean(of_method[cell.method]), cell.method, -1 if cell.seed is None else cell.seed

    return [_row(cell, results.comparison) for cell in sorted(results.cells, key=place)]


def write_leaderboard(folder: Path) -> list[dict[str, Any]]:
    """Write ``leaderboard.json`` from the finished cells; returns its content."""
    rows = leaderboard(read_results(folder))
    write_json(folder / LEADERBOARD, rows)
    return rows


def _row(cell: CellResult, comparison: Comparison) -> dict[str, Any]:
    named = ("method", "family", "scheme", "prior", "plan", "ablation", "seed")
    measured = ("hallucinated", "latency_p50_ms", "latency_p95_ms", "tokens_a_tool", "minutes")
    return {
        **{key: getattr(cell, key) for key in named},
        "split": comparison.test,
        "split_kind": comparison.split_kind,
        "queries": comparison.test_queries,
        "tools": comparison.tools,
        **cell.figures,
        TIE_AWARE: fmean(cell.scores[TIE_AWARE].values()),
        **{key: getattr(cell, key) for key in measured},
        "hallucination_rate": cell.hallucinated / (comparison.test_queries * comparison.depth),
    }


def _known(catalog: ToolCatalog, train: Iterable[Query]) -> Iterator[KnownTool]:
    documents: dict[str, int] = {}
    for tool in catalog.values():
        documents[tool.document()] = documents.get(tool.document(), 0) + 1
    trained: dict[str, int] = {}
    for query in train:
        for tool_id in query.tools:
            trained[tool_id] = trained.get(tool_id, 0) + 1
    for tool in catalog.values():
        category = tool.metadata.get("category")
        yield KnownTool(
            id=tool.id,
            name=tool.name,
            group=tool.group,
            category=category if isinstance(category, str) else None,
            training_queries=trained.get(tool.id, 0),
            twins=fingerprint(tool.document()) if documents[tool.document()] > 1 else None,
        )


def _plain(query: Query) -> Query:
    """A query without its calls, and of its metadata what may name a kind of query."""
    kinds = {key: value for key, value in query.metadata.items() if isinstance(value, str | bool)}
    short = {key: value for key, value in kinds.items() if isinstance(value, bool) or len(value) <= _LONGEST_VALUE}
    return replace(query, calls=(), metadata=short)


def _check(cell: CellResult, file: Path, comparison: Comparison, queries: Sequence[Query]) -> None:
    if cell.comparison != comparison.fingerprint:
        raise InputError(
            f"{file} belongs to another comparison ({cell.comparison}) than {comparison.name!r} "
            f"({comparison.fingerprint}): it was measured on other tools, queries or splits. Move it away."
        )
    ids = {query.id for query in queries}
    incomplete = [measure for measure in SCORES if cell.scores.get(measure, {}).keys() != ids]
    if incomplete or cell.answers.keys() != ids:
        raise InputError(
            f"{file}: {incomplete[0] if incomplete else 'answers'} is not about the {len(ids):,} queries of {QUERIES}. "
            "Remove the file and run the comparison again."
        )
    for measure in STRICT:
        mean = fmean(cell.scores[measure].values())
        if measure not in cell.figures or abs(cell.figures[measure] - mean) > 1e-6:
            raise InputError(
                f"{file}: the figure of {measure} is {cell.figures.get(measure)}, but the mean over its queries is "
                f"{mean:.6f}. Remove the file and run the comparison again."
            )


def _check_methods(cells: Mapping[Path, CellResult]) -> None:
    kinds: dict[str, tuple[object, ...]] = {}
    seen: dict[tuple[str, int | None], Path] = {}
    for file, cell in cells.items():
        kind = cell.family, cell.scheme, cell.prior, cell.plan, cell.ablation
        other = seen.setdefault((cell.method, cell.seed), file)
        if other != file or kinds.setdefault(cell.method, kind) != kind:
            what = f"its seed, like {other.name}" if other != file else "another scheme, prior, plan or ablation"
            raise InputError(f"{file}: the method {cell.method!r} is there already with {what}. Move one file away.")


Kind = TypeVar("Kind", Comparison, CellResult, KnownTool)


def _write(path: Path, value: Comparison | CellResult) -> None:
    kind: type[Any] = type(value)
    text = TypeAdapter(kind).dump_json(value, by_alias=True, indent=1)
    _parse(kind, text, str(path))
    with replacing(path) as temporary:
        temporary.write_bytes(text + b"\n")


def _read(kind: type[Kind], path: Path) -> Kind:
    return _parse(kind, path.read_bytes(), str(path))


def _parse(kind: type[Kind], text: bytes, where: str) -> Kind:
    with _named(where):
        return TypeAdapter(kind).validate_json(text, strict=True)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn faults of a record into a sentence about ``where`` it stands."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{where}: {f'{key!r}: ' if key else ''}{first['msg']}. Is the file of this version and whole? Run the "
            "comparison again."
        ) from error
