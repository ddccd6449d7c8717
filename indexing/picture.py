"""The code tree as a picture: a box for each prefix, a column for each token, as high as its tools are many. Knows what
is worth a box and what it says; no HTML page, no model and no torch.

A picture of 47,000 tools that shows all shows nothing and opens in no browser. So boxes are opened by size, the largest
first, until a budget is spent; where more branches hang on one prefix than its share of the picture has room for,
single tools are gathered by group and the smaller branches become one box. Every tool is in exactly one innermost box.
"""

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np

from toolgen.indexing.code_tree import Branch
from toolgen.indexing.inspection import Index
from toolgen.terminal import visible

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BOXES = 6000
"""Enough to show every tool of a catalogue of 4,000; a browser draws them in a second or two."""

_FANS = (12, 250)
"""Branches of one prefix that are drawn apart: at least, and at most, where it holds all tools."""
_COLUMNS = 7
"""Levels of boxes seen at once; a click on a box shows what is further in."""
_HUES = (0.0, 0.08, 0.14, 0.3, 0.45, 0.53, 0.61, 0.72, 0.83, 0.92)
"""Places on the colour circle of the largest groups, which stand in the legend."""
_GOLDEN = 0.381966
"""Turn of the colour circle after which hues repeat latest."""
_MIXED = (0.87, 0.87, 0.87)
_THIN = 0.006
"""Share of all tools up to which a box has hardly a border: a white one would leave nothing of its colour."""
_VEIL = "rgba(255, 255, 255, 0.1)"
_LISTED = 3
"""Groups and tools that the text under the pointer names."""
_LONGEST_NAME = 60
_LONGEST_LINE = 100


class Kind(StrEnum):
    """What a box stands for."""

    PREFIX = "prefix"
    GROUP = "group"
    """Tools of one group that hang on one prefix, each by a token of its own."""
    REST = "rest"
    """The smaller branches of a prefix."""


@dataclass(frozen=True)
class Box:
    """One box of the picture.

    Attributes:
        label: What is written in it, in plotly's markup, strangers' text escaped.
        hover: What is shown under the pointer, likewise.
        parent: Number of the box that it hangs on; -1 for the outermost.
        tools: Tools in it.
        colour: ``#rrggbb``: that of its largest group, the greyer the smaller the group's share.
        kind: What it stands for.
    """

    label: str
    hover: str
    parent: int
    tools: int
    colour: str
    kind: Kind


@dataclass(frozen=True)
class _Plan:
    """What would hang on a box if it were opened: bundles of branches, a box each, and what is too small for one."""

    parent: int
    bundles: list[list[Branch]]
    rest: list[Branch]

    @property
    def cost(self) -> int:
        """Boxes to draw."""
        return len(self.bundles) + bool(self.rest)


class Picture:
    """Boxes of an index.

    Attributes:
        boxes: Parents before their children; the first holds all tools.
        legend: Colour of each of the largest groups.
        closed: Prefixes of so many tools or fewer were not opened for want of boxes; 0 where all were.
    """

    def __init__(self, index: Index, boxes: int = BOXES, depth: int | None = None) -> None:
        """
        Args:
            index: What is to be shown.
            boxes: The most boxes to make, two or more.
            depth: Tokens of a code after which no box is opened; None: all.
        """
        self._index = index
        self._tree = index.tree
        self._budget = boxes
        self._depth = depth
        counts = Counter(group for group in index.groups if group is not None)
        self._colours = {group: _hue(rank) for rank, (group, _) in enumerate(counts.most_common())}
        self.legend: Mapping[str, str] = {
            group: _hexadecimal(self._colours[group]) for group, _ in counts.most_common(len(_HUES))
        }
        self.boxes: list[Box] = []
        self.closed = 0
        self._plans: dict[int, list[_Plan]] = {}
        root = self._tree.root
        self._add(f"<b>{root.size:,} tools</b>", np.arange(root.size), -1, Kind.PREFIX)
        self._plan(0, self._tree.children(root))
        self._open()

    def _open(self) -> None:
        """Open boxes, the largest first, those of one size all or none, until the budget is spent."""
        while self._plans:
            size = max(self._plans)
            plans = self._plans.pop(size)
            if len(self.boxes) + sum(plan.cost for plan in plans) > self._budget:
                self.closed = size
                return
            for plan in plans:
                for bundle in plan.bundles:
                    self._draw(bundle, plan.parent)
                if plan.rest:
                    rows = _rows(plan.rest)
                    what = "tools" if len(plan.rest) == len(rows) else f"prefixes, {len(rows):,} tools"
                    self._add(f"<i>{len(plan.rest):,} more {what}</i>", rows, plan.parent, Kind.REST)

    def _plan(self, parent: int, branches: list[Branch], *, grouped: bool = False) -> None:
        """Note what hangs on a box; ``grouped``: the box is one group's already."""
        if not branches or (self._depth is not None and branches[0].above >= self._depth):
            return
        size = self.boxes[parent].tools
        # Half of the boxes for the branches of one column: a prefix gets as many of these as it has of the tools.
        fan = min(max(self._budget * size // (2 * self.boxes[0].tools), _FANS[0]), _FANS[1], self._budget - 1)
        bundles = [[branch] for branch in branches]
        if len(branches) > fan and not grouped:
            bundles = self._gathered(branches)
        bundles.sort(key=self._order)
        rest: list[Branch] = []
        if len(bundles) > fan:
            rest = [branch for bundle in bundles[fan - 1 :] for branch in bundle]
            bundles = bundles[: fan - 1]
        self._plans.setdefault(size, []).append(_Plan(parent, bundles, rest))

    def _gathered(self, branches: Sequence[Branch]) -> list[list[Branch]]:
        """Branches of one tool gathered by group; the others, and tools without a group, alone."""
        bundles: dict[str | int, list[Branch]] = {}
        for branch in branches:
            group = self._index.groups[branch.start] if branch.size == 1 else None
            bundles.setdefault(branch.start if group is None else group, []).append(branch)
        return list(bundles.values())

    def _order(self, bundle: Sequence[Branch]) -> tuple[int, str, int]:
        """Larger ones first, single tools group by group, then by code."""
        size = sum(branch.size for branch in bundle)
        return -size, (self._index.groups[bundle[0].start] or "") if size == 1 else "", bundle[0].start

    def _draw(self, bundle: Sequence[Branch], parent: int) -> None:
        number, branch = len(self.boxes), bundle[0]
        if len(bundle) > 1:
            group = _text(self._index.groups[branch.start] or "")
            self._add(f"<i>{group}: {len(bundle):,} tools</i>", _rows(bundle), parent, Kind.GROUP)
            self._plan(number, list(bundle), grouped=True)
            return
        own = _text(self._index.text(self._tree.tokens(branch)))
        name = _text(self._index.tools[branch.start].id) if branch.size == 1 else f"{branch.size:,}"
        rows = np.arange(branch.start, branch.stop)
        self._add(f"<b>{own}</b> {name}", rows, parent, Kind.PREFIX, branch.depth)
        self._plan(number, self._tree.children(branch))

    def _add(self, label: str, rows: np.ndarray, parent: int, kind: Kind, depth: int = 0) -> None:
        groups = Counter(group for row in rows.tolist() if (group := self._index.groups[row]) is not None)
        colour = _MIXED
        if groups:
            largest, count = groups.most_common(1)[0]
            colour = _blend(self._colours[largest], count / len(rows))
        hover = self._hover(rows, depth, groups)
        self.boxes.append(Box(label, hover, parent, len(rows), _hexadecimal(colour), kind))

    def _hover(self, rows: np.ndarray, depth: int, groups: Counter[str]) -> str:
        """Prefix, number and share of the tools, the largest groups, some of the tools."""
        lines = []
        if depth:
            prefix = _text(self._index.text(self._tree.codes_ND[rows[0], :depth].tolist()), _LONGEST_LINE)
            lines.append(f"<b>{prefix}</b>")
        if len(rows) > 1:
            lines.append(f"{len(rows):,} tools, {len(rows) / len(self._index.tools):.1%} of all")
        by = escape(self._index.group_by or "group")
        lines += [f"{by} {_text(group)}: {count:,}" for group, count in groups.most_common(_LISTED)]
        lines += [f"{len(groups) - _LISTED:,} more"] if len(groups) > _LISTED else []
        lines += ["", *(_text(self._index.tools[row].id, _LONGEST_LINE) for row in rows[:_LISTED].tolist())]
        lines += [f"and {len(rows) - _LISTED:,} more tools"] if len(rows) > _LISTED else []
        return "<br>".join(lines)

    def figure(self) -> "Figure":
        """The boxes as a plotly icicle, from left to right."""
        from plotly.graph_objects import Figure, Icicle

        thin = _THIN * self.boxes[0].tools
        return Figure(
            Icicle(
                ids=[str(number) for number in range(len(self.boxes))],
                labels=[box.label for box in self.boxes],
                parents=["" if box.parent < 0 else str(box.parent) for box in self.boxes],
                values=[box.tools for box in self.boxes],
                hovertext=[box.hover for box in self.boxes],
                hoverinfo="text",
                textinfo="label",
                branchvalues="total",
                sort=False,
                maxdepth=_COLUMNS,
                marker={
                    "colors": [box.colour for box in self.boxes],
                    # The path bar has no height where widths are a list.
                    "line": {"width": 0.5, "color": ["white" if box.tools > thin else _VEIL for box in self.boxes]},
                    "pattern": {
                        "shape": ["/" if box.kind is Kind.REST else "" for box in self.boxes],
                        "fgcolor": "white",
                        "fgopacity": 0.5,
                        "size": 7,
                        "solidity": 0.25,
                        "fillmode": "overlay",
                    },
                },
                tiling={"orientation": "h", "pad": 0},
                pathbar={"side": "top"},
                leaf={"opacity": 1},
            ),
            layout={
                "margin": {"l": 4, "r": 4, "t": 26, "b": 4},
                "font": {"family": "system-ui, sans-serif", "size": 13},
                "uniformtext": {"minsize": 8, "mode": "hide"},
                "hoverlabel": {"align": "left", "bgcolor": "white"},
                "template": None,
            },
        )


def _rows(branches: Sequence[Branch]) -> np.ndarray:
    return np.concatenate([np.arange(branch.start, branch.stop) for branch in branches])


def _text(text: str, most: int = _LONGEST_NAME) -> str:
    """Strangers' text for plotly, whose markup is a part of HTML's."""
    return escape(shorten(visible(text), most, placeholder="…") if len(text) > most else visible(text), quote=False)


def _hue(rank: int) -> tuple[float, float, float]:
    """Colour of the group of this rank: strong for the largest groups, pale for all others."""
    if rank < len(_HUES):
        return colorsys.hls_to_rgb(_HUES[rank], 0.5, 0.7)
    return colorsys.hls_to_rgb(rank * _GOLDEN % 1, 0.72, 0.5)


def _blend(colour: tuple[float, float, float], share: float) -> tuple[float, float, float]:
    red, green, blue = (share * part + (1 - share) * grey for part, grey in zip(colour, _MIXED, strict=True))
    return red, green, blue


def _hexadecimal(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
