"""Figures of a codebook: how long its codes are, how they branch, what the tools under one prefix have in common.
Knows codebooks and catalogues; no model, no torch, and not how any scheme makes codes.

Legend: ``N`` tools, in the order of their codes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from toolgen.codebook import Codebook, CodebookStatistics, TokenCodes
from toolgen.errors import InputError
from toolgen.indexing.code_tree import CodeTree
from toolgen.indexing.levels import LEVEL_HEADINGS, LevelFigures, measure_levels
from toolgen.terminal import visible
from toolgen.tools import Tool, ToolCatalog

END = "(end)"
"""Name of the end symbol in everything that is shown."""
_LISTED = 10
"""Longest shared prefixes to report."""
_LEVELS_SHOWN = 12
"""Levels that tables show; the JSON has all."""


@dataclass(frozen=True)
class Index:
    """What is looked at: a codebook, bound to a tokenizer, and its catalogue.

    Attributes:
        codebook: The codes.
        codes: The same as token ids.
        catalog: The tools, in the codebook's order.
        token_text: Readable text of a token id of the base vocabulary.
        group_by: Key of a tool's metadata that groups the tools; None: their ``group``.
    """

    codebook: Codebook
    codes: TokenCodes
    catalog: ToolCatalog
    token_text: Callable[[int], str]
    group_by: str | None = None

    @cached_property
    def tree(self) -> CodeTree:
        """The codes, sorted."""
        return CodeTree.of(self.codes.sequences)

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The tools in the order of the tree's rows."""
        ids = self.codes.tool_ids
        return tuple(self.catalog[ids[position]] for position in self.tree.order_N.tolist())

    @cached_property
    def groups(self) -> tuple[str | None, ...]:
        """Group of each of ``tools``; None where it has none."""
        return tuple(_group(tool, self.group_by) for tool in self.tools)

    @cached_property
    def _symbols(self) -> dict[int, str]:
        return {**{token: symbol for symbol, token in self.codes.new_ids.items()}, self.codes.end_id: END}

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as one reads them, blanks between; an end behind other tokens is left out."""
        shown = tokens[:-1] if len(tokens) > 1 and tokens[-1] == self.codes.end_id else tokens
        return " ".join(self._symbols.get(token) or self.token_text(token) for token in shown)


def _group(tool: Tool, key: str | None) -> str | None:
    value = tool.group if key is None else tool.metadata.get(key)
    return str(value) if value not in (None, "") else None


def tokens_in(count: int) -> str:
    """``"1 token"``, ``"2 tokens"``."""
    return f"{count} token{'s' * (count != 1)}"


@dataclass(frozen=True)
class SharedPrefix:
    """A prefix that several tools share.

    Attributes:
        length: Its tokens.
        text: The same, readable.
        tools: Ids of all its tools, in the order of their codes.
    """

    length: int
    text: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """All figures of an index.

    Attributes:
        scheme: Name of the indexing scheme.
        fingerprint: Of the codebook.
        statistics: What ``toolgen index`` prints; lengths without the end symbol.
        histogram: Tokens a tool -> tools.
        nodes: Prefixes of all lengths, complete codes included, the empty one not; an end symbol is no node.
        group_by: What groups the tools: ``"group"`` or the key of their metadata.
        groups: Group -> tools, the largest first.
        levels: One for each token of the longest code.
        longest_shared: The longest prefixes that tools share, no tool twice.
        disambiguated: Ids of the tools whose code got an extra last symbol.
        unused_symbols: New symbols that no code uses.
    """

    scheme: str
    fingerprint: str
    statistics: CodebookStatistics
    histogram: Mapping[int, int]
    nodes: int
    group_by: str
    groups: Mapping[str, int]
    levels: tuple[LevelFigures, ...]
    longest_shared: tuple[SharedPrefix, ...]
    disambiguated: tuple[str, ...]
    unused_symbols: int

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON objects and arrays."""
        return asdict(self)

    @property
    def shown_levels(self) -> tuple[LevelFigures, ...]:
        """The first levels, as many as tables have room for."""
        return self.levels[:_LEVELS_SHOWN]

    def headline(self) -> str:
        """What one should know first, in a sentence or two."""
        figures = self.statistics
        spread = f" ({figures.tokens_min} to {figures.tokens_max})" if figures.tokens_min < figures.tokens_max else ""
        text = (
            f"{figures.tools:,} tools, {figures.tokens_mean:.3g} token{'s' * (figures.tokens_max > 1)} a tool{spread}. "
        )
        if not self.levels[0].sharing:
            return text + "No two codes share a token: the first one decides."
        telling = [level for level in self.levels if level.purity is not None and 2 * level.sharing >= figures.tools]
        if not telling or len(self.groups) < 2:
            return text + f"The first token is one of {self.levels[0].symbols:,}."
        level = telling[-1]
        first = tokens_in(level.level) if level.level > 1 else "token"
        return text + (
            f"Among tools with the same first {first}, {level.purity:.0%} belong to the largest {self.group_by} there "
            f"({level.purity_by_chance:.0%} by chance)."
        )

    def summary(self) -> list[tuple[str, str]]:
        """Label and value of the figures that are single numbers."""
        figures = self.statistics
        lengths = f"{figures.tokens_min} to {figures.tokens_max}, mean {figures.tokens_mean:.2f}"
        if figures.tokens_min == figures.tokens_max:
            lengths = str(figures.tokens_max)
        return [
            ("tools", f"{figures.tools:,}"),
            ("tokens a tool", lengths),
            ("prefixes", f"{self.nodes:,}"),
            (f"groups, by {self.group_by}", f"{len(self.groups):,}"),
            (
                "new symbols",
                f"{figures.new_tokens:,}" + (f", {self.unused_symbols:,} unused" * bool(self.unused_symbols)),
            ),
            ("disambiguated tools", f"{figures.disambiguated:,}"),
        ]

    def table(self) -> Table:
        """Levels as rows, for a terminal of 80 columns."""
        left = len(self.levels) - len(self.shown_levels)
        table = Table(
            title=escape(visible(f"{self.scheme} codes")),
            title_justify="left",
            caption=f"{left} more levels in the JSON." if left else None,
            box=box.SIMPLE_HEAD,
            padding=0,
            show_edge=False,
        )
        for heading in LEVEL_HEADINGS:
            table.add_column(heading, justify="right", no_wrap=True)
        for level in self.shown_levels:
            table.add_row(*level.cells())
        return table


def inspect(index: Index) -> Inspection:
    """Measure an index.

    Raises:
        InputError: No tool has the metadata that was to group them.
    """
    book, tree = index.codebook, index.tree
    groups = Counter(group for group in index.groups if group is not None)
    if index.group_by is not None and not groups:
        known = sorted({key for tool in index.tools for key in tool.metadata})
        raise InputError(
            f"No tool has the metadata {index.group_by!r} to be grouped by. Keys here: {', '.join(known) or 'none'}."
        )
    figures = book.statistics(index.codes)
    lengths_N = tree.lengths_N - (tree.codes_ND == index.codes.end_id).any(axis=1)
    used = {symbol for code in book.codes.values() for symbol in code}
    return Inspection(
        scheme=book.scheme,
        fingerprint=book.fingerprint,
        statistics=figures,
        histogram=dict(sorted(Counter(lengths_N.tolist()).items())),
        nodes=int((lengths_N - tree.shared_N).sum()),
        group_by=index.group_by or "group",
        groups=dict(groups.most_common()),
        levels=measure_levels(tree, index.groups, figures.tokens_max),
        longest_shared=tuple(
            SharedPrefix(
                length=branch.depth,
                text=index.text(tree.tokens(branch)),
                tools=tuple(tool.id for tool in index.tools[branch.start : branch.stop]),
            )
            for branch in tree.longest_shared(_LISTED)
        ),
        disambiguated=book.disambiguated,
        unused_symbols=len(set(book.new_symbols) - used),
    )
