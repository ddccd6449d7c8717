"""What the error browser of a report shows: queries, gold tools, and what each method answered. Knows results; no page.

Of a method with several seeds the answers are those of the lowest seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolgen.benchmarks.cell import KEPT_ANSWERS, CellResult, KnownTool
from toolgen.benchmarks.report_data import Report
from toolgen.queries import Query
from toolgen.terminal import visible


class _Numbered:
    """Tools that occur, each once, and what is said of each."""

    def __init__(self, tools: dict[str, KnownTool]) -> None:
        self._known = tools
        self._places: dict[str, int] = {}
        self._twins: dict[str, int] = {}
        self.said: list[list[Any]] = []

    def place(self, tool_id: str) -> int:
        if tool_id not in self._places:
            self._places[tool_id] = len(self.said)
            self.said.append(self._say(tool_id))
        return self._places[tool_id]

    def _say(self, tool_id: str) -> list[Any]:
        tool = self._known.get(tool_id)
        if tool is None:
            return [visible(tool_id)]
        twins = -1 if tool.twins is None else self._twins.setdefault(tool.twins, len(self._twins))
        group = tool.category or tool.group or ""
        return [visible(tool.id), visible(tool.name), visible(group), tool.training_queries, twins]


def answers(report: Report, most: int) -> dict[str, Any]:
    """The browser's data, JSON-serialisable and small.

    Args:
        report: Its methods and results.
        most: Queries to take; more are thinned out evenly.

    Returns:
        ``methods``: name, seed or None, family; in the order of the report. ``baseline`` and ``generative``: places
        of the best ones among them, or None. ``tools``: id, name, group, training queries, number of the document
        that it shares with another tool or -1; the id alone where an answer is no tool. ``queries``: text, places of
        gold tools, and for each method NDCG@5 followed by answers, the place of a tool and its score in turn.
        ``of``: number of all queries.
    """
    results = report.results
    places = np.linspace(0, len(results.queries) - 1, min(most, len(results.queries))).astype(int)
    taken = [results.queries[place] for place in places]
    cells = [method.first for method in report.methods]
    tools = _Numbered(dict(results.tools))
    return {
        "methods": [[visible(cell.method), cell.seed, cell.family] for cell in cells],
        "baseline": None if report.baseline is None else report.methods.index(report.baseline),
        "generative": None if report.generative is None else report.methods.index(report.generative),
        "queries": [_query(query, cells, tools) for query in taken],
        "tools": tools.said,
        "of": len(results.queries),
    }


def _query(query: Query, cells: Sequence[CellResult], tools: _Numbered) -> list[Any]:
    said: list[Any] = [visible(query.text), [tools.place(tool) for tool in query.tools]]
    for cell in cells:
        answered: list[float] = [_short(cell.scores["ndcg@5"][query.id])]
        for answer in cell.answers[query.id][:KEPT_ANSWERS]:
            answered += tools.place(answer.tool), _short(answer.score)
        said.append(answered)
    return said


def _short(value: float) -> float:
    return float(f"{value:.4g}")
