"""The tables of a report's page as HTML: each with a caption that names its split, row and column headers, and a box of
its own to scroll in. Knows figures and HTML; no script, no picture.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from toolgen.benchmarks.cell import TIE_AWARE, CellResult, Comparison, Results
from toolgen.benchmarks.report_data import INDISTINCT, Breakdown, Method, Report, signed, verdict
from toolgen.benchmarks.report_figures import COLOURS, SIGNS, mark
from toolgen.metrics import Difference
from toolgen.page import safe

_SPLITS = {
    "query": "Split by query: it shares no text, nearly equal text or gold set of two or more tools with training",
    "tool": "Split by tool: it shares no gold tool with training",
    "domain": "Split by domain: it shares no domain of gold tools with training",
}
_WORDS = {"above": "▲ above", "below": "▼ below", INDISTINCT: f"≈ {INDISTINCT}"}
_PUBLISHED = "ndcg_toolgen_published@5"


def sign(method: Method, place: int) -> str:
    """The mark that a method has in the pictures."""
    return f'<span class="sign c{place % COLOURS}" aria-hidden="true">{SIGNS[mark(method, place)]}</span> '


def data(comparison: Comparison) -> str:
    """What was compared on what, in a sentence."""
    return (
        f"All figures are of the split {safe(repr(comparison.test))}, {_count(comparison.test_queries, 'query')}, over "
        f"all {_count(comparison.tools, 'tool')}. {_SPLITS[comparison.split_kind]}, which is "
        f"{safe(repr(comparison.train))} ({_count(comparison.train_queries, 'query')}). Choices were made on "
        f"{safe(repr(comparison.validation))} ({comparison.validation_queries:,})."
    )


def unfinished(report: Report) -> str:
    """Which planned cells are missing; nothing where all are there."""
    if not report.unfinished:
        return ""
    planned = len(report.results.comparison.planned)
    names = ", ".join(map(safe, report.unfinished))
    return f'<p class="warning">{len(report.unfinished)} of {planned} cells are not finished: {names}.</p>'


def leaderboard(report: Report) -> str:
    """Methods by NDCG@5, each beside the best baseline and, where that was not trained, beside the best that was."""
    compared = ["difference to the best baseline, 95%", "verdict"]
    trained = report.trained is not None and report.trained is not report.baseline
    if trained:
        compared += ["difference to the best trained baseline, 95%", "verdict on that"]
    rows = []
    for place, method in enumerate(report.methods):
        figures = method.figures
        leads = [*_lead(method.lead, "best baseline" if method is report.baseline else "")]
        if trained:
            leads += _lead(method.lead_trained, "best trained baseline" if method is report.trained else "")
        rows.append(
            (
                _named(method, place),
                f"<b>{figures['ndcg@5']:.3f}</b>",
                f"{method.interval.low:.3f} to {method.interval.high:.3f}",
                _seeds(method),
                *leads,
                f"{figures['ndcg@1']:.3f}",
                f"{figures['recall@5']:.3f}",
                f"{method.hallucinated:.1%}",
            )
        )
    headings = "method", "NDCG@5", "95%", "seeds", *compared, "NDCG@1", "Recall@5", "hallucinated"
    return _table("Methods by NDCG@5", report, headings, rows)


def ties(report: Report) -> str:
    """Strict figures beside the tie-aware and the published one."""
    rows = []
    for place, method in enumerate(report.methods):
        strict, tied = method.figures["ndcg@5"], method.figures[TIE_AWARE]
        published = method.figures.get(_PUBLISHED)
        cells = f"{strict:.3f}", f"{tied:.3f}", signed(tied - strict), "" if published is None else f"{published:.3f}"
        rows.append((_named(method, place), *cells))
    headings = "method", "NDCG@5, strict", "NDCG@5, tie-aware", "gain", "published variant, not standard"
    return _table("NDCG@5 with and without ties", report, headings, rows)


def twins(report: Report) -> str:
    """How many tools share their document, in a sentence."""
    tools = report.results.tools
    shared = sum(tool.twins is not None for tool in tools.values())
    hit = sum(any(tools[gold].twins for gold in query.tools) for query in report.results.queries)
    return f"Here {shared:,} of {len(tools):,} tools share a document; {_count(hit, 'query')} of the split ask for one."


def cost(report: Report) -> str:
    """What each method is and what it takes."""
    rows = []
    for place, method in enumerate(report.methods):
        cell = method.first
        told = (safe(value or "") for value in (cell.scheme, cell.prior, cell.plan, cell.ablation))
        numbers = (
            _number(method.mean(field), digits)
            for field, digits in (("tokens_a_tool", 2), ("minutes", 1), ("latency_p50_ms", 1), ("latency_p95_ms", 1))
        )
        rows.append((_named(method, place), *(f"<bdi>{text}</bdi>" for text in told), *numbers))
    headings = "method", "scheme", "prior", "trains", "left out", "tokens a tool", "minutes", "p50 ms", "p95 ms"
    return _table("What methods are and take", report, headings, rows)


def curves(report: Report) -> str:
    """Where training ended; nothing where no cell has a curve."""
    rows = []
    for place, method in enumerate(report.methods):
        for cell in method.cells:
            for stage in dict.fromkeys(point.stage for point in cell.curves):
                losses, validated = _series(cell, stage, "loss"), _series(cell, stage, "ndcg5")
                steps = max(point.step for point in cell.curves if point.stage == stage)
                rows.append(
                    (
                        _named(method, place),
                        "" if cell.seed is None else str(cell.seed),
                        safe(stage),
                        f"{steps:,}",
                        *(_number(value, 3) for value in (losses[0], losses[-1], validated[-1], _best(validated))),
                    )
                )
    if not rows:
        return ""
    headings = "method", "seed", "stage", "steps", "first loss", "last loss", "last NDCG@5", "best NDCG@5"
    table = _table(
        "Training; NDCG@5 of validation queries", report, headings, rows, report.results.comparison.validation
    )
    return f"<details><summary>Training as a table</summary>{table}</details>"


def breakdown(found: Breakdown, report: Report) -> str:
    """NDCG@5 of all methods by kind of query."""
    rows = []
    for part in found.parts:
        best = max(part.ndcg5.values())
        values = (part.ndcg5[method.name] for method in report.methods)
        shown = (f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}" for value in values)
        rows.append((f"<bdi>{safe(part.name)}</bdi>", f"{part.queries:,}", *_lead(part.lead, ""), *shown))
    names = [_named(method, place) for place, method in enumerate(report.methods)]
    headings = "kind", "queries", "best generative to best baseline, 95%", "verdict"
    note = f'<p class="note">{safe(found.note)}</p>' if found.note else ""
    table = _table(f"{found.title}: NDCG@5", report, headings, rows, raw_headings=names)
    return f"<h3><bdi>{safe(found.title)}</bdi></h3>{note}{table}"


def origin(results: Results) -> str:
    """Fingerprints, versions and what the comparison was told; cells that other code trained or measured, by name."""
    comparison = results.comparison
    facts = {
        "code": comparison.code_version,
        **{f"code of {name}": ", ".join(versions) for name, versions in _other_code(results)},
        "catalogue": comparison.catalog,
        "queries and splits": comparison.splits,
        **comparison.libraries,
    }
    listed = "".join(f"<dt>{safe(key)}</dt><dd>{safe(value)}</dd>" for key, value in facts.items())
    told = json.dumps(comparison.configuration, ensure_ascii=False, indent=2)
    return (
        f"<dl>{listed}</dl><details><summary>What the comparison was told</summary>"
        f'<pre tabindex="0">{safe(told)}</pre></details>'
    )


def _other_code(results: Results) -> Iterator[tuple[str, list[str]]]:
    for cell in results.cells:
        manifest = cell.manifest or {}
        told = {*manifest.get("trained_by", ()), manifest.get("code_version")} - {results.comparison.code_version, None}
        if told:
            name = cell.method if cell.seed is None else f"{cell.method}, seed {cell.seed}"
            yield name, sorted(told)


def _table(
    caption: str,
    report: Report,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    split: str | None = None,
    raw_headings: Sequence[str] = (),
) -> str:
    """A table. Cells and ``raw_headings``, which follow the headings, are HTML; everything else is text."""
    comparison = report.results.comparison
    number = comparison.test_queries if split is None else comparison.validation_queries
    title = safe(
        f"{caption}. Split {(split or comparison.test)!r}, by {comparison.split_kind}, {_count(number, 'query')}, "
        f"{_count(comparison.tools, 'tool')}"
    )
    head = "".join(f'<th scope="col">{heading}</th>' for heading in (*map(safe, headings), *raw_headings))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    # What scrolls must take the focus, or the keyboard cannot scroll it.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>'
        f"<caption><span>{title}</span></caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _named(method: Method, place: int) -> str:
    return f"{sign(method, place)}<bdi>{safe(method.name)}</bdi>"


def _lead(lead: Difference | None, otherwise: str) -> tuple[str, str]:
    if lead is None:
        return "", otherwise
    word = verdict(lead)
    interval = f"{signed(lead.mean)} ({signed(lead.interval.low)} to {signed(lead.interval.high)})"
    return interval, f'<span class="{word.split()[0]}">{_WORDS[word]}</span>'


def _seeds(method: Method) -> str:
    if method.spread is not None:
        return f"{len(method.cells)}, ±{method.spread:.3f}"
    return "1" if method.first.seed is not None else "not random"


def _series(cell: CellResult, stage: str, field: str) -> list[float | None]:
    """Values of a curve in order of steps; one None where there are none."""
    points = sorted((point for point in cell.curves if point.stage == stage), key=lambda point: point.step)
    return [value for point in points if (value := getattr(point, field)) is not None] or [None]


def _best(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _count(number: int, what: str) -> str:
    plural = {"query": "queries"}.get(what, f"{what}s")
    return f"{number:,} {what if number == 1 else plural}"
