"""What a report says, as figures: methods over their seeds, how far each is from the best baseline, and where. Knows
results and the bootstrap; no page, no picture.

Values of one query are averaged over a method's seeds first; the bootstrap then resamples queries. So an interval tells
what other queries could bring, and the spread beside it what other seeds could.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from toolgen.benchmarks.cell import TIE_AWARE, CellResult, Results
from toolgen.benchmarks.report_kinds import Kinds, kinds_of, most_frequent
from toolgen.benchmarks.results import cell_path
from toolgen.metrics import Difference, Interval, bootstrap_interval, paired_difference

FEWEST = 20
"""Queries from which on a difference is given: fewer say too little of what others would bring."""

INDISTINCT = "not distinguishable"

_MOST_PARTS = 25
"""Kinds of queries that are shown apart, the most frequent."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Method:
    """A method over its seeds.

    Attributes:
        name: As in its cells.
        cells: One a seed, in order of seeds.
        ndcg5: Query id -> NDCG@5, mean over seeds.
        figures: Measure -> mean over queries and seeds.
        interval: 95%, of NDCG@5.
        spread: Standard deviation of the seeds' NDCG@5; None where there is one seed or none.
        lead: By how much its NDCG@5 is above the best baseline's; None for that baseline and where there is none.
        lead_trained: The same of the best trained baseline.
        hallucinated: Share of all answers.
    """

    name: str
    cells: tuple[CellResult, ...]
    ndcg5: Mapping[str, float]
    figures: Mapping[str, float]
    interval: Interval
    spread: float | None
    lead: Difference | None
    lead_trained: Difference | None
    hallucinated: float

    @property
    def first(self) -> CellResult:
        """The cell of the lowest seed."""
        return self.cells[0]

    def mean(self, field: str) -> float | None:
        """Mean over seeds of a number that not every cell has, such as ``minutes``; None where no cell has it."""
        values = [value for cell in self.cells if (value := getattr(cell, field)) is not None]
        return fmean(values) if values else None


@dataclass(frozen=True)
class Part:
    """Some of the queries.

    Attributes:
        name: What they have in common.
        queries: Their number.
        ndcg5: Method -> mean NDCG@5 over them.
        lead: By how much the best generative method is above the best baseline; None where one of them is missing or
            there are fewer than ``FEWEST`` queries.
    """

    name: str
    queries: int
    ndcg5: Mapping[str, float]
    lead: Difference | None


@dataclass(frozen=True)
class Breakdown:
    """NDCG@5 by kind of query."""

    title: str
    note: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Report:
    """All figures of a report.

    Attributes:
        results: Where they come from.
        methods: The best first.
        generative: The best generative method from which nothing was left out; None where there is none.
        baseline: The best baseline; None where there is none.
        trained: The best baseline that was trained; None where there is none.
        breakdowns: In the order to show.
        unfinished: Planned cells that are not there.
    """

    results: Results
    methods: tuple[Method, ...]
    generative: Method | None
    baseline: Method | None
    trained: Method | None
    breakdowns: tuple[Breakdown, ...]
    unfinished: tuple[str, ...]

    def headline(self) -> str:
        """The outcome in a sentence or two."""
        best = self.generative or self.methods[0]
        own = (
            f"{best.name} reaches NDCG@5 {best.figures['ndcg@5']:.3f} "
            f"({best.interval.low:.3f} to {best.interval.high:.3f})"
        )
        if self.generative is None:
            return f"{own}. No generative method is finished from which nothing was left out."
        if self.baseline is None or best.lead is None:
            return f"{own}. No baseline is finished."
        word = verdict(best.lead) + (" from" if verdict(best.lead) == INDISTINCT else "")
        told = f"{own} and is {word} the best baseline, {_beside(self.baseline, best.lead)}."
        if self.trained is None or self.trained.name == self.baseline.name or best.lead_trained is None:
            return told
        return f"{told} The best trained baseline is {_beside(self.trained, best.lead_trained)}."


def _beside(baseline: Method, lead: Difference) -> str:
    interval = f"95% {signed(lead.interval.low)} to {signed(lead.interval.high)}"
    return f"{baseline.name} ({baseline.figures['ndcg@5']:.3f}): difference {signed(lead.mean)}, {interval}"


def verdict(lead: Difference) -> str:
    """``above`` or ``below`` where the interval is clear of zero, else ``INDISTINCT``."""
    if lead.interval.low > 0:
        return "above"
    return "below" if lead.interval.high < 0 else INDISTINCT


def signed(value: float) -> str:
    """Three digits behind the point and always a sign: ``+0.041``, ``-0.003``, ``+0.000``."""
    return f"{round(value, 3) + 0.0:+.3f}"


def make_report(results: Results, progress: Progress | None = None) -> Report:
    """Compute all figures of a report; the same results give the same figures.

    Args:
        results: A comparison's finished cells.
        progress: Called with the number of done and of all bootstraps' steps.
    """
    ways = list(kinds_of(results))
    names = list(dict.fromkeys(cell.method for cell in results.cells))
    total = len(names) + len(ways)
    methods: list[Method] = []
    for name in names:
        methods.append(_method([cell for cell in results.cells if cell.method == name], results))
        if progress is not None:
            progress(len(methods), total)
    methods.sort(key=lambda method: (-method.figures["ndcg@5"], method.name))
    baseline, trained = _best_baseline(methods), _best_baseline(methods, trained=True)
    methods = [replace(method, lead=_lead(method, baseline), lead_trained=_lead(method, trained)) for method in methods]
    baseline, trained = _best_baseline(methods), _best_baseline(methods, trained=True)
    whole = (method for method in methods if method.first.family == "generative" and method.first.ablation is None)
    generative = next(whole, None)
    breakdowns: list[Breakdown] = []
    for kinds in ways:
        breakdowns.append(Breakdown(kinds.title, kinds.note, tuple(_parts(kinds, methods, generative, baseline))))
        if progress is not None:
            progress(len(names) + len(breakdowns), total)
    return Report(results, tuple(methods), generative, baseline, trained, tuple(breakdowns), _unfinished(results))


def _method(cells: Sequence[CellResult], results: Results) -> Method:
    ordered = tuple(sorted(cells, key=lambda cell: -1 if cell.seed is None else cell.seed))
    ndcg5 = {query.id: fmean(cell.scores["ndcg@5"][query.id] for cell in ordered) for query in results.queries}
    seeds = [cell.figures["ndcg@5"] for cell in ordered]
    common = [measure for measure in ordered[0].figures if all(measure in cell.figures for cell in ordered)]
    figures = {measure: fmean(cell.figures[measure] for cell in ordered) for measure in common}
    figures[TIE_AWARE] = fmean(fmean(cell.scores[TIE_AWARE].values()) for cell in ordered)
    answers = results.comparison.test_queries * results.comparison.depth
    return Method(
        name=ordered[0].method,
        cells=ordered,
        ndcg5=ndcg5,
        figures=figures,
        interval=bootstrap_interval(list(ndcg5.values())),
        spread=stdev(seeds) if len(seeds) > 1 else None,
        lead=None,
        lead_trained=None,
        hallucinated=fmean(cell.hallucinated for cell in ordered) / answers,
    )


def _best_baseline(methods: Sequence[Method], trained: bool = False) -> Method | None:
    """Of ranked methods; of those that were trained, which have a seed, where that is asked for."""
    found = (method for method in methods if method.first.family == "baseline")
    return next((method for method in found if not trained or method.first.seed is not None), None)


def _lead(method: Method, other: Method | None) -> Difference | None:
    if other is None or method.name == other.name:
        return None
    return paired_difference(method.ndcg5, other.ndcg5)


def _parts(
    kinds: Kinds, methods: Sequence[Method], generative: Method | None, baseline: Method | None
) -> Iterable[Part]:
    names = most_frequent(kinds)
    bundles = [[name] for name in names[:_MOST_PARTS]]
    if len(names) > _MOST_PARTS:
        bundles = [*bundles[:-1], names[_MOST_PARTS - 1 :]]
    for bundle in bundles:
        ids = [query_id for query_id, labels in kinds.labels.items() if not set(bundle).isdisjoint(labels)]
        lead = None
        if generative is not None and baseline is not None and len(ids) >= FEWEST:
            own, theirs = ({query_id: method.ndcg5[query_id] for query_id in ids} for method in (generative, baseline))
            lead = paired_difference(own, theirs)
        yield Part(
            name=bundle[0] if len(bundle) == 1 else f"{len(bundle):,} others",
            queries=len(ids),
            ndcg5={method.name: fmean(method.ndcg5[query_id] for query_id in ids) for method in methods},
            lead=lead,
        )


def _unfinished(results: Results) -> tuple[str, ...]:
    here = {cell_path(Path(), cell.method, cell.seed).stem for cell in results.cells}
    return tuple(name for name in results.comparison.planned if name not in here)
