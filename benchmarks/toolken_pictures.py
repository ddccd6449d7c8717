"""The pictures of the study of tool rows, as plotly's figures without colours. Knows comparisons of cells; no HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from toolgen.benchmarks.toolken_cells import NEIGHBOUR, Method
from toolgen.benchmarks.toolken_findings import Finding, Results, shown, tested_on

_COLOURS = {"random": 5, "name": 0, "hidden": 2, "description": 3, None: 4}
"""Of directions, among those of ``report.css``; None: the nearest neighbour."""


@dataclass(frozen=True)
class Picture:
    """A picture: its heading, what has to be known to read it, and plotly's figure without colours."""

    title: str
    note: str
    figure: dict[str, Any]


def pictures(results: Results, found: Sequence[Finding]) -> Iterator[Picture]:
    """All pictures; every trace carries ``meta``, the number of its colour."""
    for data, measure in results.subjects:
        places = [place for place in results.few if place.data == data]
        x = [str(place.examples) for place in places]
        title, tested = f"{results.sets[data].title}: {measure}", tested_on(results, places[0])
        starts = [method for method in results.methods if method.pull is None]
        lines = [
            _line(method.name, method, x, [fmean(results.values(place, method, measure)) for place in places])
            for method in (*starts, NEIGHBOUR)
        ]
        yield Picture(f"{title} by start", f"{tested}. No pull.", _figure(lines, "examples a tool", measure))
        for question, what in (
            ("direction", "a prior less random, of equal norm"),
            ("size", "word rows' norm less small"),
        ):
            wanted = (question, data, measure, None)
            own = [one for one in found if (one.question, one.place.data, one.measure, one.first.pull) == wanted]
            bars = [
                _bars(method, [one for one in own if one.first == method])
                for method in dict.fromkeys(one.first for one in own)
            ]
            note = f"{tested}. Bars are 95% intervals."
            yield Picture(f"{title}, {what}", note, _figure(bars, "examples a tool", "difference"))
        pulled = [method for method in starts if any(one.pull and one.start == method.start for one in results.methods)]
        held = [[one for one in results.methods if one.start == method.start] for method in pulled]
        x = ["none", *(f"{one.pull.weight:g} {one.pull.distance}" for one in held[0] if one.pull is not None)]
        lines = [
            _line(own[0].name, own[0], x, [fmean(results.values(places[0], one, measure)) for one in own])
            for own in held
        ]
        note = f"{tested}. {places[0].examples} examples a tool."
        yield Picture(f"{title} by pull", note, _figure(lines, "pull to the start", measure))
    x = [str(place.tools) for place in results.curve]
    lines = []
    for method in (*results.published.values(), NEIGHBOUR):
        values = [results.values(place, method, "tool accuracy") for place in results.curve]
        line = _line(results.name(method), method, x, [fmean(own) for own in values])
        spread = [stdev(own) if len(own) > 1 else 0.0 for own in values]
        lines.append({**line, "error_y": {"type": "data", "array": spread}})
    last = results.curve[-1]
    title = f"{results.sets[last.data].title}: tool accuracy with fewer tools"
    note = f"{tested_on(results, last)}; {last.examples} examples a tool. Fewer tools, fewer texts. Bars: ± over seeds."
    yield Picture(title, note, _figure(lines, "tools", "tool accuracy"))


def _line(name: str, method: Method, x: Sequence[str], y: Sequence[float]) -> dict[str, Any]:
    dash = {"circle": "solid", "square": "dash"}.get(_symbol(method), "dot")
    hover = [f"<b>{name}</b><br>{at}: {value:.3f}" for at, value in zip(x, y, strict=True)]
    return {**_trace(name, method, x, y, hover), "mode": "lines+markers", "line": {"dash": dash}}


def _bars(method: Method, own: Sequence[Finding]) -> dict[str, Any]:
    x = [str(one.place.examples) for one in own]
    hover = [f"<b>{method.name}</b><br>{shown(one.difference)}" for one in own]
    high = [one.difference.interval.high - one.difference.mean for one in own]
    low = [one.difference.mean - one.difference.interval.low for one in own]
    error = {"type": "data", "symmetric": False, "array": high, "arrayminus": low}
    return {
        **_trace(method.name, method, x, [one.difference.mean for one in own], hover),
        "mode": "markers",
        "error_y": error,
    }


def _trace(name: str, method: Method, x: Sequence[str], y: Sequence[float], hover: Sequence[str]) -> dict[str, Any]:
    kind = method.start.kind if method.start is not None else None
    return {
        "type": "scatter",
        "name": name,
        "x": list(x),
        "y": [float(f"{value:.5g}") for value in y],
        "hovertext": list(hover),
        "meta": _COLOURS[kind],
        "marker": {"symbol": _symbol(method)},
    }


def _symbol(method: Method) -> str:
    if method.start is None:
        return "x"
    if method.start.pooling == "max":
        return "triangle-up"
    return {"small": "circle", "word": "square", "linear": "diamond"}[method.start.scale]


def _figure(data: Sequence[dict[str, Any]], x: str, y: str) -> dict[str, Any]:
    # Numbers of examples or tools stand at equal distances: each is about twice its neighbour.
    layout = {"xaxis": {"title": {"text": x}, "type": "category"}, "yaxis": {"title": {"text": y}}}
    return {"data": list(data), "layout": layout}
