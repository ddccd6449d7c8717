"""A comparison's folder made by hand: tools, queries, and answers of a chosen quality. Trains and searches nothing."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from toolgen.benchmarks.cell import Answer, CellResult, Comparison, CurvePoint
from toolgen.benchmarks.results import kept_scores, write_cell, write_comparison
from toolgen.metrics import evaluate, qrels_of
from toolgen.queries import Query
from toolgen.tools import Tool, ToolCatalog

SCRIPT = "</script><script>alert('x')</script>"
IMAGE = '<img src=x onerror="alert(1)">'
TURNED = "price \u202egnp.exe\u202c list"
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 12
HEBREW = "מצא לי את מזג האוויר"
HOSTILE = (SCRIPT, IMAGE, TURNED, LONG, HEBREW, "{{label}} %{x} ${y} $title &amp;lt; \u2028 \\u003c")

GROUPS = ("Weather", "Mail", "Maps", "Travel")


def catalog_of(count: int = 24, hostile: bool = False) -> ToolCatalog:
    """Tools of four groups; the last two have one document. Hostile ones have names and groups that are no names."""
    tools = []
    for number in range(count):
        name = HOSTILE[number] if hostile and number < len(HOSTILE) else f"tool {number}"
        group = HOSTILE[number % 5] if hostile and number % 2 else GROUPS[number % 4]
        tools.append(Tool(f"t{number}{name if hostile else ''}", name, f"Does the thing {number}.", group=group))
    twin = tools[-2]
    tools[-1] = Tool(tools[-1].id, twin.name, twin.description, group=twin.group)
    return ToolCatalog(tools)


def queries_of(catalog: ToolCatalog, count: int = 40, hostile: bool = False) -> list[Query]:
    """Test queries of one to three gold tools, in two styles."""
    random = Random(1)
    queries = []
    for number in range(count):
        text = HOSTILE[number] if hostile and number < len(HOSTILE) else f"please do the thing {number}"
        gold = random.sample(catalog.ids, 1 + number % 3)
        style = HOSTILE[0] if hostile and number % 2 else ("vague", "imperative")[number % 2]
        queries.append(Query(f"q{number}", text, tuple(gold), "test", metadata={"style": style, "ambiguous": False}))
    return queries


def comparison_of(catalog: ToolCatalog, queries: Sequence[Query], planned: Sequence[str] = ()) -> Comparison:
    return Comparison(
        name="quick",
        catalog=catalog.fingerprint,
        splits="0123456789abcdef",
        split_kind="query",
        train="train",
        validation="validation",
        test="test",
        tools=len(catalog),
        train_queries=12,
        validation_queries=3,
        test_queries=len(queries),
        depth=10,
        planned=tuple(planned),
        configuration={"base": "embedded", "epochs": 2},
        code_version="0.1.0+abc",
        libraries={"torch": "2.13.0"},
    )


def cell_of(
    comparison: Comparison, catalog: ToolCatalog, queries: Sequence[Query], method: str, seed: int | None, right: float
) -> CellResult:
    """A cell whose method finds each gold tool with the probability ``right``. Baselines: bm25, dense, bi-encoder."""
    random = Random(f"{method} {seed}")
    runs: dict[str, dict[str, float]] = {}
    for query in queries:
        found = [tool for tool in query.tools if random.random() < right]
        others = random.sample([tool for tool in catalog.ids if tool not in query.tools], 10 - len(found))
        ranked = found + others if random.random() < right else [others[0], *found, *others[1:]]
        runs[query.id] = {tool: -0.5 * rank - random.random() / 3 for rank, tool in enumerate(ranked)}
    qrels = qrels_of(queries)
    figures = evaluate(qrels, runs)
    baseline = method.startswith(("bm25", "dense", "bi-encoder"))
    return CellResult(
        comparison=comparison.fingerprint,
        method=method,
        family="baseline" if baseline else "generative",
        scheme=None if baseline else method.split(",")[0],
        prior=None if baseline else "document",
        plan=None if baseline else "full",
        ablation=method.partition(", ")[2] or None,
        seed=seed,
        tokens_a_tool=None if baseline else float(len(method)) / 4,
        minutes=None if seed is None else 3.5,
        latency_p50_ms=0.5 + len(method),
        latency_p95_ms=1.5 + len(method),
        hallucinated=0 if right > 0.5 else 7,
        figures=dict(figures.means),
        scores=kept_scores(qrels, runs, {tool.id: tool.document() for tool in catalog.values()}),
        answers={
            query_id: tuple(Answer(tool, score) for tool, score in list(run.items())[:5])
            for query_id, run in runs.items()
        },
        curves=()
        if baseline
        else tuple(
            CurvePoint(stage, step, loss=4 / step, ndcg5=right * step / 300 if step % 100 == 0 else None)
            for stage in ("memorization", "retrieval")
            for step in range(50, 301, 50)
        ),
        manifest={"configuration": "aa"},
    )


METHODS = {
    "atomic": 0.9,
    "residual": 0.8,
    "atomic, no memorization": 0.4,
    "bm25": 0.45,
    "dense": 0.6,
    "bi-encoder": 0.75,
}
"""Method -> how often it finds a gold tool."""


def write_folder(folder: Path, *, hostile: bool = False, queries: int = 40, seeds: int = 2) -> Path:
    """A folder with finished cells of ``METHODS``; hostile: with a method, tools and queries named to do harm."""
    catalog = catalog_of(hostile=hostile)
    asked = queries_of(catalog, queries, hostile)
    comparison = comparison_of(catalog, asked)
    write_comparison(folder, comparison, catalog, asked[:12], asked)
    for method, right in {**METHODS, **({f"numeric {SCRIPT}{IMAGE}": 0.2} if hostile else {})}.items():
        for seed in [None] if method in ("bm25", "dense") else range(seeds):
            write_cell(folder, cell_of(comparison, catalog, asked, method, seed, right))
    return folder
