"""How well recorded calls are met: shares of calls with intervals, and the most that they can be. Knows calls and what
was made of them; neither models nor choosers.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import sub
from typing import Any, Literal

import llguidance
from rich import box
from rich.table import Table

from toolgen.agent.arguments import bounded
from toolgen.agent.environment import Arguments
from toolgen.agent.trajectory import Step
from toolgen.agent.turns import ordered
from toolgen.metrics import Interval, bootstrap_share
from toolgen.tools import ToolCatalog

GENERATIVE = "generative"
"""The way that the others are compared with."""

Missed = Literal["unknown tool", "context", "unfinished"]
"""Why a call has no arguments to compare: it, or one before it, calls a tool that the catalogue lacks; the context is
full; what was written came to no end."""


@dataclass(frozen=True, slots=True)
class Action:
    """A recorded call, and what was made of it.

    Attributes:
        call: The recorded one.
        ahead: Tools of this call and of those that follow it.
        chosen: Way -> the tool that was taken; empty where the history could not be read so far.
        arguments: What was written for the recorded tool; None: nothing that could be read.
        missed: Why there are no arguments.
    """

    call: Step
    ahead: frozenset[str]
    chosen: Mapping[str, str] = field(default_factory=dict)
    arguments: Arguments | None = None
    missed: Missed | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95% interval; where it is one of a difference, a difference of shares."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.interval.low:.3f} to {self.interval.high:.3f})"

    def to_json(self) -> dict[str, float]:
        """One flat object."""
        return {"share": self.value, "low": self.interval.low, "high": self.interval.high}


@dataclass(frozen=True)
class Figures:
    """What was reached. All shares are over all calls, missed ones included; trajectories are resampled whole.

    Attributes:
        trajectories: Those with calls.
        calls: In all of them.
        missed: Why calls have no arguments -> how many.
        ways: Way -> ``tool``, calls whose tool was taken; ``ahead``, of this call or a later one; ``joint``, tool and
            arguments.
        differences: Way -> how much more of the same the generative way reached.
        arguments: Given the recorded tool: ``exact``, calls whose arguments were written; ``pairs``, keys with their
            values that were written; ``writable``, calls whose recorded arguments meet the tool's schema, which is the
            most that ``exact`` can be.
    """

    trajectories: int
    calls: int
    missed: Mapping[str, int]
    ways: Mapping[str, Mapping[str, Share]]
    differences: Mapping[str, Mapping[str, Share]]
    arguments: Mapping[str, Share]

    def to_json(self) -> dict[str, Any]:
        """Nested objects of numbers."""

        def told(shares: Mapping[str, Share]) -> dict[str, dict[str, float]]:
            return {name: share.to_json() for name, share in shares.items()}

        return {
            "trajectories": self.trajectories,
            "calls": self.calls,
            "missed": dict(self.missed),
            "ways": {way: told(shares) for way, shares in self.ways.items()},
            f"{GENERATIVE} minus": {way: told(shares) for way, shares in self.differences.items()},
            "arguments": told(self.arguments),
        }

    def table(self) -> Table:
        """Ways as rows, then differences, then what is written for the recorded tool."""
        missed = ", ".join(f"{reason} {count:,}" for reason, count in self.missed.items()) or "none"
        table = Table(
            title=f"{self.calls:,} calls of {self.trajectories:,} trajectories",
            caption=f"95% intervals, trajectories resampled. Calls that count as missed: {missed}.",
            box=box.SIMPLE_HEAD,
            padding=0,
            show_edge=False,
        )
        for heading in ("", "tool", "tool, or a later one", "tool and arguments"):
            table.add_column(heading, justify="right" if heading else "left")
        for way, shares in self.ways.items():
            table.add_row(way, *map(str, shares.values()))
        table.add_section()
        for way, shares in self.differences.items():
            table.add_row(f"{GENERATIVE} minus {way}", *map(str, shares.values()))
        table.add_section()
        for name, share in self.arguments.items():
            table.add_row(f"arguments, {name}", str(share))
        return table


def figures(actions: Sequence[Sequence[Action]], ways: Sequence[str], catalog: ToolCatalog) -> Figures:
    """Figures of what was made of calls.

    Args:
        actions: Of each trajectory, one at least; of each of its calls, likewise.
        ways: What takes the tools, ``GENERATIVE`` among them.
        catalog: The tools, with their schemas.
    """
    grammars = _Grammars(catalog)

    def sums(value: Callable[[Action], float]) -> list[float]:
        return [sum(map(value, one)) for one in actions]

    def hits(way: str) -> dict[str, list[float]]:
        return {
            "tool": sums(lambda action: action.chosen.get(way) == action.call.tool),
            "ahead": sums(lambda action: action.chosen.get(way) in action.ahead),
            "joint": sums(lambda action: action.chosen.get(way) == action.call.tool and _exact(action)),
        }

    def shares(parts: Mapping[str, list[float]]) -> dict[str, Share]:
        return {name: _share(part, calls) for name, part in parts.items()}

    calls = sums(lambda _: 1)
    reached = {way: hits(way) for way in ways}
    pairs = sums(lambda action: len(action.call.arguments))
    ours = reached[GENERATIVE]
    differences = {
        way: {name: list(map(sub, ours[name], part)) for name, part in parts.items()}
        for way, parts in reached.items()
        if way != GENERATIVE
    }
    return Figures(
        trajectories=len(actions),
        calls=int(sum(calls)),
        missed=Counter(action.missed for one in actions for action in one if action.missed is not None),
        ways={way: shares(parts) for way, parts in reached.items()},
        differences={way: shares(parts) for way, parts in differences.items()},
        arguments={
            **shares({"exact": sums(_exact)}),
            **({"pairs": _share(sums(_pairs), pairs)} if any(pairs) else {}),
            **shares({"writable": sums(lambda action: grammars.allow(action.call))}),
        },
    )


def _share(parts: Sequence[float], wholes: Sequence[float]) -> Share:
    return Share(sum(parts) / sum(wholes), bootstrap_share(parts, wholes))


def _exact(action: Action) -> bool:
    return action.arguments is not None and canonical(action.arguments) == canonical(action.call.arguments)


def _pairs(action: Action) -> int:
    """Of the recorded keys, how many were written with their values."""
    written = action.arguments or {}
    assert isinstance(written, Mapping), "arguments under a schema have names"
    return sum(
        key in written and canonical(written[key]) == canonical(value) for key, value in action.call.arguments.items()
    )


def canonical(value: Any) -> str:
    """A JSON value as text that is equal for equal values alone: keys in order, 1.0 as 1, a truth value no number."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Grammars:
    """Which arguments a writer can come to, whatever its model and tokenizer."""

    def __init__(self, catalog: ToolCatalog) -> None:
        self._catalog = catalog
        self._bytes = llguidance.LLTokenizer("byte")
        self._grammars: dict[str, str] = {}

    def allow(self, call: Step) -> bool:
        if call.tool not in self._catalog:
            return False
        schema = self._catalog[call.tool].parameters or {"type": "object", "properties": {}}
        if call.tool not in self._grammars:
            self._grammars[call.tool] = llguidance.LLMatcher.grammar_from_json_schema(bounded(schema))
        matcher = llguidance.LLMatcher(self._bytes, self._grammars[call.tool])
        text = json.dumps(ordered(call.arguments, schema), ensure_ascii=False)
        return bool(matcher.consume_tokens(self._bytes.tokenize_str(text)) and matcher.is_accepting())
