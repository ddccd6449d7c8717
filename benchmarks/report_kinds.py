"""Kinds of queries that a report tells apart: by training queries of the gold tools, by their number, by length, by
what a source says of its queries, by category. Knows queries and tools; no scores.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolgen.benchmarks.cell import KnownTool, Results
from toolgen.queries import Query

NONE = "(none)"

_LENGTHS = (8, 16, 32)
"""Words that end the ranges of lengths; longer ones are the last range."""
_MOST_VALUES = 12
"""Values of a key of the metadata up to which it names kinds of queries rather than single ones."""


@dataclass(frozen=True)
class Kinds:
    """One way to tell queries apart.

    Attributes:
        title: What they differ in.
        note: What has to be known to read it.
        labels: Query id -> its kinds; most have one.
        order: All kinds in the order to show; None: the most frequent first.
    """

    title: str
    note: str
    labels: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...] | None


def kinds_of(results: Results) -> Iterator[Kinds]:
    """All ways to tell the queries apart that lead to two kinds or more; training queries always."""
    queries, tools = results.queries, results.tools
    yield _by_training(queries, tools, results.comparison.train)
    ways = [_by_number(queries), _by_length(queries), _by_twins(queries, tools), *_by_metadata(queries)]
    for kinds in (*ways, _by_group(queries, tools)):
        if len({label for labels in kinds.labels.values() for label in labels}) > 1:
            yield kinds


def _by_training(queries: Sequence[Query], tools: Mapping[str, KnownTool], train: str) -> Kinds:
    every, some, no = "all gold tools had one", "some gold tools had one", "no gold tool had one"

    def label(query: Query) -> str:
        trained = sum(tools[tool].training_queries > 0 for tool in query.tools)
        return every if trained == len(query.tools) else some if trained else no

    return Kinds(
        "Training queries of the gold tools",
        f"Whether a gold tool was one of a labelled query of the split {train!r}. Tools without any are known from "
        "their documents alone, and from queries that were made of these.",
        {query.id: (label(query),) for query in queries},
        (every, some, no),
    )


def _by_number(queries: Sequence[Query]) -> Kinds:
    names = {1: "one gold tool", 2: "two gold tools", 3: "three gold tools"}
    more = "four or more gold tools"
    labels = {query.id: (names.get(len(query.tools), more),) for query in queries}
    return Kinds("Number of gold tools", "", labels, (*names.values(), more))


def _by_length(queries: Sequence[Query]) -> Kinds:
    first, second, third = _LENGTHS
    names = f"up to {first}", f"{first + 1} to {second}", f"{second + 1} to {third}", f"more than {third}"

    def label(query: Query) -> str:
        return names[sum(len(query.text.split()) > length for length in _LENGTHS)]

    return Kinds("Words of the query", "", {query.id: (label(query),) for query in queries}, names)


def _by_twins(queries: Sequence[Query], tools: Mapping[str, KnownTool]) -> Kinds:
    twin, single = "a gold tool's document is another tool's too", "all documents of gold tools are theirs alone"

    def label(query: Query) -> str:
        return twin if any(tools[tool].twins for tool in query.tools) else single

    return Kinds(
        "Equal documents",
        "Where two tools have the same document, nothing tells which of them is meant; the tie-aware figure counts "
        "them as one.",
        {query.id: (label(query),) for query in queries},
        (single, twin),
    )


def _by_metadata(queries: Sequence[Query]) -> Iterator[Kinds]:
    for key in sorted({key for query in queries for key in query.metadata}):
        labels = {query.id: (_value(query.metadata.get(key)),) for query in queries}
        if len(set(labels.values())) <= _MOST_VALUES:
            yield Kinds(f"The queries' {key}", "As the source of the queries names it.", labels, None)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) and value.strip() else NONE


def _by_group(queries: Sequence[Query], tools: Mapping[str, KnownTool]) -> Kinds:
    field = "category" if any(tool.category for tool in tools.values()) else "group"

    def labels(query: Query) -> tuple[str, ...]:
        return tuple(dict.fromkeys(getattr(tools[tool], field) or NONE for tool in query.tools))

    note = f"A query counts in every {field} that a gold tool of it belongs to."
    return Kinds(f"{field.capitalize()} of the gold tools", note, {query.id: labels(query) for query in queries}, None)


def most_frequent(kinds: Kinds) -> list[str]:
    """Its kinds that occur, in the order to show."""
    counts = Counter(label for labels in kinds.labels.values() for label in labels)
    if kinds.order is not None:
        return [label for label in kinds.order if label in counts]
    return sorted(counts, key=lambda label: (-counts[label], label))
