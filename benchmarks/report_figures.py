"""The pictures of a report, as plotly's figures: quality against tokens and time, and how training went. Knows figures
and where points lie; no page and no colours, which the page gives by theme.

Every trace carries ``meta``: the place of its method among the report's methods.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from toolgen.benchmarks.cell import CellResult, CurvePoint
from toolgen.benchmarks.report_data import Method, Report
from toolgen.terminal import visible

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = 8
"""Colours of the page. Marks and dashes change where they begin anew."""

_MARKS = {"generative": ("circle", "diamond", "triangle-up", "star"), "baseline": ("square", "x", "cross", "pentagon")}
SIGNS = {
    "circle": "●", "diamond": "◆", "triangle-up": "▲", "star": "★",
    "square": "■", "x": "✖", "cross": "✚", "pentagon": "⬟",
}  # fmt: skip
"""The marks as characters, for text."""
_DASHES = ("solid", "dot", "dash", "dashdot")

_LONGEST_NAME = 60
_MOST_POINTS = 200
"""Points of a curve; longer ones are thinned out evenly."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        title: Its heading.
        note: What has to be known to read it.
        figure: plotly's.
    """

    title: str
    note: str
    figure: "Figure"


def mark(method: Method, place: int) -> str:
    """The mark of a method: its form tells generative methods from baselines."""
    marks = _MARKS[method.first.family]
    return marks[place // COLOURS % len(marks)]


def pictures(report: Report) -> Iterator[Picture]:
    """All pictures that there is something to show in."""
    split = f"Split {report.results.comparison.test!r}; bars are 95% intervals."
    tokens = _scatter(report, "tokens_a_tool", "tokens a tool")
    if tokens is not None:
        line = " The line is the best baseline." if report.baseline is not None else ""
        if report.baseline is not None:
            tokens.add_hline(report.baseline.figures["ndcg@5"], line={"dash": "dot", "width": 1.5})
        yield Picture("NDCG@5 against tokens a tool", f"{split}{line}", tokens)
    latency = _scatter(report, "latency_p50_ms", "p50 of a query in ms, logarithmic")
    if latency is not None:
        latency.update_xaxes(type="log", **_ticks([trace.x[0] for trace in latency.data]))
        yield Picture("NDCG@5 against latency", f"{split} One query at a time.", latency)
    stages = dict.fromkeys(point.stage for method in report.methods for cell in method.cells for point in cell.curves)
    for stage in stages:
        for field, title in (("loss", "loss"), ("ndcg5", "NDCG@5 on validation queries")):
            curves = _curves(report, stage, field, title)
            if curves is not None:
                name = f"{title[0].upper()}{title[1:]} during {stage}"
                yield Picture(name, "One line a seed.", curves)


def _scatter(report: Report, field: str, label: str) -> "Figure | None":
    figure = _figure(label, "NDCG@5")
    for place, method in enumerate(report.methods):
        x, y = method.mean(field), method.figures["ndcg@5"]
        if x is None:
            continue
        low, high = method.interval.low, method.interval.high
        words = f"{x:,.3g} {label.split(',')[0]}<br>NDCG@5 {y:.3f}, 95% {low:.3f} to {high:.3f}"
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            marker={"symbol": mark(method, place), "size": 11},
            error_y={"array": [high - y], "arrayminus": [y - low], "thickness": 1.5},
            hovertext=[f"<b>{plain(method.name)}</b><br>{words}"],
            hoverinfo="text",
            meta=place,
        )
    return figure if figure.data else None


def _curves(report: Report, stage: str, field: str, label: str) -> "Figure | None":
    figure = _figure("step", label)
    for place, method in enumerate(report.methods):
        for cell in method.cells:
            points = _thinned([point for point in _of_stage(cell, stage) if getattr(point, field) is not None])
            if not points:
                continue
            seed = "" if cell.seed is None else f", seed {cell.seed}"
            values = [getattr(point, field) for point in points]
            figure.add_scatter(
                x=[point.step for point in points],
                y=[float(f"{value:.4g}") for value in values],
                mode="lines+markers" if len(points) < 20 else "lines",
                line={"width": 2, "dash": _DASHES[place // COLOURS % len(_DASHES)]},
                marker={"symbol": mark(method, place), "size": 6},
                hovertext=[
                    f"<b>{plain(method.name)}</b>{seed}<br>step {point.step:,}: {value:.3f}"
                    for point, value in zip(points, values, strict=True)
                ],
                hoverinfo="text",
                meta=place,
            )
    return figure if figure.data else None


def _of_stage(cell: CellResult, stage: str) -> list[CurvePoint]:
    return sorted((point for point in cell.curves if point.stage == stage), key=lambda point: point.step)


def _thinned(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    every = -(-len(points) // _MOST_POINTS)
    return [point for number, point in enumerate(reversed(points)) if number % every == 0][::-1] if points else []


def _ticks(values: Sequence[float]) -> dict[str, Any]:
    """Marks of a logarithmic axis: plotly's own leave most without a number, or write exponents."""
    digits = (1, 2, 5) if max(values) < 50 * min(values) else (1,)
    places = [digit * 10.0**power for power in range(-6, 9) for digit in digits]
    return {"tickvals": places, "ticktext": [f"{place:,.7g}" for place in places]}


def _figure(x: str, y: str) -> "Figure":
    from plotly.graph_objects import Figure

    axis: dict[str, Any] = {"fixedrange": True, "zeroline": False, "automargin": True}
    return Figure(
        layout={
            "template": None,
            "showlegend": False,
            "height": 340,
            "margin": {"l": 55, "r": 15, "t": 10, "b": 45},
            "dragmode": False,
            "hovermode": "closest",
            "xaxis": {"title": {"text": x}, **axis},
            "yaxis": {"title": {"text": y}, **axis},
        }
    )


def plain(text: str) -> str:
    """Strangers' text for plotly's labels, where it must not be markup, nor without end."""
    shown = visible(text)
    return escape(shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…", quote=False)
