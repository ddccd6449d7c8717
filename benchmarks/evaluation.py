"""The evaluation: any retrievers, the same queries, catalogue and depth; one table and one JSON. Knows no models and
no particular retriever.

Quality is measured in batches. Latency is measured apart, one query at a time, the methods taking turns query by query
in the same run, so that whatever else the machine does falls on all of them.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from toolgen.errors import InputError
from toolgen.metrics import DEEPEST_CUT, Interval, Qrels, Scores, evaluate, qrels_of, run_from_hits
from toolgen.queries import Query
from toolgen.retriever import Hit, Retriever
from toolgen.tools import ToolCatalog

REPORTED = (
    *("ndcg@1", "ndcg@3", "ndcg@5", "ndcg@10", "recall@5", "recall@10", "mrr", "all_gold@5"),
    "ndcg_toolgen_published@5",
)
"""The measures of the JSON. The table leaves out the last, which is no standard one."""

_HEADINGS = "NDCG\n@1, @3, @5, 95%, @10, Rec.\n@5, Rec.\n@10, MRR, all\n@5, p50\nms, p95\nms".split(", ")
_RESERVED = ("queries", "tools", "depth", "split", "subsets")
_T = TypeVar("_T")
_BATCH = 64
_WARM_UP = 3
"""Untimed queries a method before the timed ones: caches, lazy compilation, thread pools are not what is measured."""


@dataclass(frozen=True)
class Latency:
    """Wall-clock milliseconds of ``search`` with one query, over the sampled queries."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class MethodFigures:
    """What one method reached on one set of queries.

    Attributes:
        scores: Every measure, query by query and in the mean.
        ndcg5: 95% bootstrap interval of the mean NDCG@5.
        hallucinated: Answers that are not in the catalogue or repeat an earlier answer to the same query.
        latency: None for a subset, because it is measured over all queries, and where no query was to be timed.
    """

    scores: Scores
    ndcg5: Interval
    hallucinated: int
    latency: Latency | None

    def to_json(self) -> dict[str, float | int]:
        """One flat object: the measures in ``REPORTED``, the interval, hallucinated answers and the latency."""
        record: dict[str, float | int] = {measure: self.scores.means[measure] for measure in REPORTED}
        record |= {"ndcg@5_low": self.ndcg5.low, "ndcg@5_high": self.ndcg5.high, "hallucinated": self.hallucinated}
        if self.latency:
            record |= {"latency_p50_ms": self.latency.p50_ms, "latency_p95_ms": self.latency.p95_ms}
        return record


@dataclass(frozen=True)
class Subset:
    """Figures over some of the queries."""

    queries: int
    methods: Mapping[str, MethodFigures]


@dataclass(frozen=True)
class Evaluation:
    """Figures of all methods.

    Attributes:
        methods: Name -> figures, in the order given.
        subsets: Name of a subset -> figures over its queries.
        queries: Number of queries.
        tools: Number of tools that every method searched.
        depth: Answers that every method was asked for.
        split: Names of the splits that the queries belong to; empty when they name none.
    """

    methods: Mapping[str, MethodFigures]
    subsets: Mapping[str, Subset]
    queries: int
    tools: int
    depth: int
    split: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Method -> figures, beside ``queries``, ``tools``, ``depth``, ``split`` and ``subsets``."""
        subsets = {
            name: {"queries": subset.queries, **{method: of.to_json() for method, of in subset.methods.items()}}
            for name, subset in self.subsets.items()
        }
        return {
            **{name: figures.to_json() for name, figures in self.methods.items()},
            "queries": self.queries,
            "tools": self.tools,
            "depth": self.depth,
            "split": list(self.split),
            "subsets": subsets,
        }

    def table(self) -> Table:
        """Methods as rows, measures as columns, a section for each subset. Fits 80 columns with short names."""
        split = escape(f", split {', '.join(self.split)}") if self.split else ""
        counts = ", ".join(f"{escape(name)} {figures.hallucinated}" for name, figures in self.methods.items())
        table = Table(
            title=f"{self.queries:,} queries, {self.tools:,} tools, depth {self.depth}{split}",
            caption=f"95% bootstrap interval of NDCG@5. Tools that do not exist or repeat: {counts}.",
            box=box.SIMPLE_HEAD,
            padding=0,
            show_edge=False,
        )
        table.add_column("method", max_width=17)
        for heading in _HEADINGS:
            table.add_column(heading, justify="right", no_wrap=True)
        for name, figures in self.methods.items():
            table.add_row(escape(name), *_cells(figures))
        for subset_name, subset in self.subsets.items():
            table.add_section()
            table.add_row(f"{escape(subset_name)} ({subset.queries:,})", style="italic")
            for name, figures in subset.methods.items():
                table.add_row(escape(name), *_cells(figures))
        return table


def evaluate_retrievers(
    retrievers: Sequence[Retriever],
    queries: Sequence[Query],
    catalog: ToolCatalog,
    *,
    depth: int = DEEPEST_CUT,
    latency_queries: int = 100,
    subsets: Mapping[str, Collection[str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure retrievers alike: the full catalogue, the same queries, the same depth.

    Args:
        retrievers: Their names label the figures.
        queries: Labelled with tools of ``catalog``.
        catalog: The one that every retriever was built for.
        depth: Answers to ask for; all tools where the catalogue has fewer.
        latency_queries: Queries to time, spread evenly over ``queries``; 0 times none.
        subsets: Name -> ids of the queries whose figures are wanted apart; an empty one is left out.
        progress: Called with the number of answered queries and the number to answer, over all retrievers.

    Raises:
        InputError: There is no retriever or query, names or query ids repeat, a gold tool is not in the catalogue,
            ``depth`` is below ``DEEPEST_CUT`` where there are more tools, or a subset names an unknown query.
    """
    _check(retrievers, queries, catalog, depth)
    depth = min(depth, len(catalog))
    timed = spread(queries, latency_queries)
    advance = _advance(progress, len(retrievers) * (len(queries) + len(timed)))
    qrels = qrels_of(queries)
    methods: dict[str, MethodFigures] = {}
    bad: dict[str, Mapping[str, int]] = {}
    latencies = _latencies(retrievers, timed, depth, advance)
    for retriever in retrievers:
        answered = _answered(retriever, queries, catalog, depth, advance)
        bad[retriever.name] = answered.hallucinated
        methods[retriever.name] = _figures(
            evaluate(qrels, answered.run), answered.hallucinated, latencies.get(retriever.name)
        )
    return Evaluation(
        methods=methods,
        subsets={
            name: Subset(
                len(set(ids)),
                {
                    method: _figures(figures.scores.subset(ids), {query_id: bad[method][query_id] for query_id in ids})
                    for method, figures in methods.items()
                },
            )
            for name, ids in (subsets or {}).items()
            if ids
        },
        queries=len(queries),
        tools=len(catalog),
        depth=depth,
        split=tuple(sorted({query.split for query in queries if query.split})),
    )


def _check(retrievers: Sequence[Retriever], queries: Sequence[Query], catalog: ToolCatalog, depth: int) -> None:
    names = [retriever.name for retriever in retrievers]
    if not names or len(set(names)) != len(names) or set(names) & set(_RESERVED):
        raise InputError(
            f"The retrievers are named {names}. Give at least one; names must differ from each other and from "
            f"{', '.join(_RESERVED)}, which are keys of the JSON beside them."
        )
    if depth < min(DEEPEST_CUT, len(catalog)):
        raise InputError(
            f"The depth is {depth}, but figures such as recall@{DEEPEST_CUT} need {DEEPEST_CUT} answers a query. "
            f"Give a depth of {DEEPEST_CUT} or more."
        )
    ids = Counter(query.id for query in queries)
    if twice := [query_id for query_id, count in ids.items() if count > 1]:
        raise InputError(f"The query id {twice[0]!r} is used {ids[twice[0]]} times. Ids must be unique; rename one.")
    for query in queries:
        if unknown := [tool for tool in query.tools if tool not in catalog]:
            raise InputError(
                f"Query {query.id!r} names the unknown tool {unknown[0]!r}. Evaluate with the catalogue that the "
                "queries were written for, or mend the id."
            )


@dataclass(frozen=True)
class Answered:
    """What one method answered.

    Attributes:
        hits: Query id -> its answers, best first; one that repeats an earlier one is renamed.
        hallucinated: Query id -> how many of them are no tool of the catalogue or repeat one.
    """

    hits: Mapping[str, Sequence[Hit]]
    hallucinated: Mapping[str, int]

    @property
    def run(self) -> dict[str, dict[str, float]]:
        """For ``toolgen.metrics.evaluate``."""
        return {query_id: run_from_hits(hits) for query_id, hits in self.hits.items()}


def answer(
    retriever: Retriever,
    queries: Sequence[Query],
    catalog: ToolCatalog,
    depth: int,
    progress: Callable[[int, int], None] | None = None,
) -> Answered:
    """Ask one method all queries, in batches; the arguments are those of ``evaluate_retrievers``."""
    _check([retriever], queries, catalog, depth)
    return _answered(retriever, queries, catalog, min(depth, len(catalog)), _advance(progress, len(queries)))


def figures_of(qrels: Qrels, answered: Answered) -> dict[str, float]:
    """The measures in ``REPORTED``, and the interval of NDCG@5."""
    scores = evaluate(qrels, answered.run)
    interval = scores.interval("ndcg@5")
    measured = {measure: scores.means[measure] for measure in REPORTED}
    return {**measured, "ndcg@5_low": interval.low, "ndcg@5_high": interval.high}


def latencies_of(
    retrievers: Sequence[Retriever],
    queries: Sequence[Query],
    depth: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Latency]:
    """Time the methods, one query at a time in turns; all of ``queries`` are timed."""
    return _latencies(retrievers, queries, depth, _advance(progress, len(retrievers) * len(queries)))


def _answered(
    retriever: Retriever, queries: Sequence[Query], catalog: ToolCatalog, depth: int, advance: Callable[[int], None]
) -> Answered:
    kept, bad = {}, {}
    for start in range(0, len(queries), _BATCH):
        batch = queries[start : start + _BATCH]
        answers = retriever.search([query.text for query in batch], depth)
        for query, hits in zip(batch, answers, strict=True):
            assert len(hits) <= depth, f"{retriever.name} gave {len(hits)} answers, {depth} were asked for"
            distinct = _without_repeats(hits)
            kept[query.id] = distinct
            bad[query.id] = sum(hit.tool not in catalog for hit in distinct)
        advance(len(batch))
    return Answered(kept, bad)


def _without_repeats(hits: Sequence[Hit]) -> list[Hit]:
    """Rename repeated answers: they keep their rank, so that a repeat costs as much as any other wrong answer."""
    seen: set[str] = set()
    distinct = []
    for rank, hit in enumerate(hits, start=1):
        repeated = hit.tool in seen
        seen.add(hit.tool)
        distinct.append(Hit(f"{hit.tool} (repeated at rank {rank})", hit.score) if repeated else hit)
    return distinct


def _latencies(
    retrievers: Sequence[Retriever], timed: Sequence[Query], depth: int, advance: Callable[[int], None]
) -> dict[str, Latency]:
    if not timed:
        return {}
    for retriever in retrievers:
        for query in timed[:_WARM_UP]:
            retriever.search([query.text], depth)
    milliseconds: dict[str, list[float]] = {retriever.name: [] for retriever in retrievers}
    for turn, query in enumerate(timed):
        # The first one changes with every query: none always follows the same other one, with its caches.
        first = turn % len(retrievers)
        for retriever in (*retrievers[first:], *retrievers[:first]):
            start = time.perf_counter()
            retriever.search([query.text], depth)
            milliseconds[retriever.name].append(1000 * (time.perf_counter() - start))
        advance(len(retrievers))
    return {name: Latency(*(float(q) for q in np.percentile(taken, [50, 95]))) for name, taken in milliseconds.items()}


def _figures(scores: Scores, bad: Mapping[str, int], latency: Latency | None = None) -> MethodFigures:
    return MethodFigures(scores, scores.interval("ndcg@5"), sum(bad.values()), latency)


def spread(queries: Sequence[_T], count: int) -> list[_T]:
    """So many of the queries, or of anything else, at most, evenly from first to last."""
    return [queries[position] for position in np.linspace(0, len(queries) - 1, min(count, len(queries))).astype(int)]


def _advance(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return advance


def _cells(figures: MethodFigures) -> list[str]:
    def fraction(measure: str) -> str:
        return _short(figures.scores.means[measure])

    return [
        *(fraction(measure) for measure in ("ndcg@1", "ndcg@3", "ndcg@5")),
        f"{_short(figures.ndcg5.low)}-{_short(figures.ndcg5.high)}",
        *(fraction(measure) for measure in ("ndcg@10", "recall@5", "recall@10", "mrr", "all_gold@5")),
        *(_three_digits(ms) for ms in ((figures.latency.p50_ms, figures.latency.p95_ms) if figures.latency else ())),
    ]


def _short(value: float) -> str:
    """Three digits without the leading zero, so that the table fits a terminal: ``.812``, ``1.00``."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text[:4]


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}"
