"""What the agent's quickstart comes to and what it costs, as one record and as tables. Knows figures of evaluations and
clocks; no agents."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from toolgen.files import read_json, write_json

AGENT, HELD_OUT_SERVICES = "agent", "held-out services"
"""Names of the evaluations that are no controls."""

KINDS = {"one call": "one_call", "chained": "chained"}


def agent_figures(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of all evaluations: the agent's ``one_call`` and ``chained``, ``held_out_services`` where there are any,
    and ``controls``.

    Args:
        found: Content of an evaluation's figures.json by its name. A kind of which no task was drawn is left out.
    """
    lines = {name: _kinds(figures["kinds"]) for name, figures in found.items()}
    figures: dict[str, Any] = lines.pop(AGENT)
    if HELD_OUT_SERVICES in lines:
        figures["held_out_services"] = lines.pop(HELD_OUT_SERVICES)
    return {**figures, "controls": lines}


def _kinds(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: {"n": kinds[kind]["tasks"], **{name: value for name, value in kinds[kind].items() if name != "tasks"}}
        for kind, key in KINDS.items()
        if kind in kinds
    }


def success_table(figures: Mapping[str, Any]) -> Table:
    """Success of each line, how many tasks it had, and how many calls were of no tool, or had invalid arguments."""
    # Eighty columns are just enough.
    table = Table(
        title="Tasks done, percent with the 95% interval; calls of no tool, calls with invalid arguments",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0),
    )
    for heading in ("", *KINDS, "tasks", "hallucinated", "invalid"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, line in _lines(figures):
        kinds = [line.get(key) for key in KINDS.values()]
        counts = [sum(kind[count] for kind in kinds if kind) for count in ("n", "hallucinated", "invalid")]
        table.add_row(name, *(_success(kind) for kind in kinds), *(f"{count:,}" for count in counts))
    return table


def _lines(figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield AGENT, figures
    if "held_out_services" in figures:
        yield HELD_OUT_SERVICES, figures["held_out_services"]
    yield from figures["controls"].items()


def _success(kind: Mapping[str, Any] | None) -> str:
    if kind is None:
        return ""
    done, low, high = (100 * kind[key] for key in ("success", "low", "high"))
    return f"{done:.1f} ({low:.1f}-{high:.1f})"


def cost_table(figures: Mapping[str, Any]) -> Table:
    """Minutes of each step."""
    table = Table(title_justify="left")
    table.add_column("step")
    table.add_column("minutes", justify="right")
    for name, minutes in figures["minutes_by_step"].items():
        table.add_row(name, f"{minutes:.1f}")
    return table


class Costs:
    """What a run takes, over all the times that it was called.

    Attributes:
        seconds: Of each step, those that were interrupted included.
        peak_gb: The most memory of any one process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        noted: dict[str, Any] = read_json(path) if path.is_file() else {"seconds": {}, "peak_gb": 0.0}
        self.seconds: dict[str, float] = noted["seconds"]
        self.peak_gb: float = noted["peak_gb"]

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Inside, a step is done."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started
            most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            self.peak_gb = max(self.peak_gb, most * 1024 / 1e9)
            write_json(self._path, {"seconds": self.seconds, "peak_gb": self.peak_gb})

    def to_record(self) -> dict[str, Any]:
        """What ``figures.json`` has of it."""
        minutes = {step: seconds / 60 for step, seconds in self.seconds.items()}
        return {"minutes": sum(minutes.values()), "minutes_by_step": minutes, "peak_gb": self.peak_gb}
