"""What the parts of a data set share although they must not: the check of splits that are given. Knows queries and
catalogues; no models.

What is trained on must share no mark (``toolgen.marks``) with what is chosen or reported on, and what is chosen on none
with what is reported on. Parts with one role, such as two test sets, may share what they like.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from toolgen.errors import InputError
from toolgen.marks import NEAR, By, Mark, Marks, marks_of, similarity
from toolgen.queries import Query
from toolgen.tools import ToolCatalog

SHOWN = 5
"""Leaks between two parts that a report holds as evidence; all are counted."""


_LONGEST = 200
"""Characters of a text in a sentence; the JSON holds all of them."""


class ContaminatedSplitsError(InputError):
    """Parts share what they must not.

    Attributes:
        report: What was found.
    """

    def __init__(self, report: "SplitReport") -> None:
        super().__init__(report.sentence())
        self.report = report


@dataclass(frozen=True)
class Leak:
    """Two queries of different parts that share something.

    Attributes:
        earlier: Of the part that is used first, such as the one to train on.
        later: Of the other.
        shared: What they share, in words, at least one thing.
    """

    earlier: Query
    later: Query
    shared: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Ids, texts, gold tools, and what is shared."""
        both = {"earlier": self.earlier, "later": self.later}
        sides = {
            side: {"id": query.id, "query": query.text, "tools": list(query.tools)} for side, query in both.items()
        }
        return {**sides, "shared": list(self.shared)}


@dataclass(frozen=True)
class Crossing:
    """Two parts, compared.

    Attributes:
        earlier: Name of the part that is used first.
        later: Name of the other.
        pairs: Pairs of queries, one of each part, that share something.
        queries: Queries of the later part that share something with one of the earlier.
        leaks: The first ``SHOWN`` of these queries, each with one that it shares most with.
    """

    earlier: str
    later: str
    pairs: int
    queries: int
    leaks: tuple[Leak, ...]


@dataclass(frozen=True)
class SplitReport:
    """What a check found.

    Attributes:
        by: What must not be shared.
        key: Key of the queries' metadata that names their group, if one was given.
        parts: Name of each part -> its queries, those to train on first.
        crossings: Every two parts of different roles.
    """

    by: By
    key: str | None
    parts: Mapping[str, int]
    crossings: tuple[Crossing, ...]

    @property
    def pairs(self) -> int:
        """Pairs of queries that share something, over all crossings."""
        return sum(crossing.pairs for crossing in self.crossings)

    @property
    def clean(self) -> bool:
        """Whether no part shares anything that it must not."""
        return not self.pairs

    def sentence(self) -> str:
        """The whole finding in words, with its evidence and the cure."""
        name = f"{self.by} ({self.key})" if self.key else self.by
        if self.clean:
            return f"The parts {', '.join(self.parts)} are clean by {name}."
        lines = []
        for crossing in self.crossings:
            if crossing.pairs:
                lines.append(
                    f"{crossing.queries:,} of {self.parts[crossing.later]:,} queries of {crossing.later!r} share with "
                    f"{crossing.earlier!r} what they must not by {name}: {crossing.pairs:,} pair(s), such as"
                )
                lines += [_line(leak) for leak in crossing.leaks]
        cure = f"`toolgen split --by {self.by}{f' --key {self.key}' if self.key else ''}` deals out clean parts."
        return "\n".join([f"The splits are contaminated: figures on them would flatter. {cure}", *lines])

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        crossings = [
            {
                "earlier": crossing.earlier,
                "later": crossing.later,
                "pairs": crossing.pairs,
                "queries": crossing.queries,
                "leaks": [leak.to_json() for leak in crossing.leaks],
            }
            for crossing in self.crossings
        ]
        return {
            "clean": self.clean,
            "by": self.by,
            "key": self.key,
            "parts": dict(self.parts),
            "pairs": self.pairs,
            "crossings": crossings,
        }


def check_splits(
    queries: Iterable[Query],
    by: By = "query",
    *,
    train: Sequence[str] = ("train",),
    validation: Sequence[str] = (),
    test: Sequence[str] = ("test",),
    catalog: ToolCatalog | None = None,
    key: str | None = None,
    near: float = NEAR,
) -> SplitReport:
    """Look for what parts share although they must not.

    Args:
        queries: Labelled queries with splits; those of splits that are not named are left out.
        by: What must not be shared; see ``toolgen.marks``.
        train: Splits that are trained on.
        validation: Splits that something is chosen on.
        test: Splits that are reported on.
        catalog: Gives the tools' groups; needed by ``"group"`` without a key.
        key: Key of the queries' metadata that names their group; only for ``"group"``.
        near: Threshold of near duplicates, ``LOWEST_NEAR`` to 1; used by ``"query"``.

    Raises:
        InputError: A split has no query or two roles, nothing is left to compare, or see ``marks_of``.

    Example:
        >>> queries = [Query("a", "copy a file", ("cp",), "train"), Query("b", "Copy a file!", ("cp",), "test")]
        >>> check_splits(queries).pairs
        1
    """
    queries = list(queries)
    _check_names(queries, train, validation, test)
    named = [query for query in queries if query.split in {*train, *validation, *test}]
    table = _Table(named, marks_of(named, by, catalog=catalog, key=key, near=near))
    roles = [role for role in (train, validation, test) if role]
    crossings = tuple(
        table.cross(earlier, later) for first, second in combinations(roles, 2) for earlier in first for later in second
    )
    return SplitReport(by, key, {name: len(table.places[name]) for role in roles for name in role}, crossings)


def require_clean_splits(queries: Iterable[Query], by: By = "query", **options: Any) -> SplitReport:
    """Check splits and refuse contaminated ones.

    Args:
        queries: As for ``check_splits``.
        by: As for ``check_splits``.
        options: As for ``check_splits``.

    Raises:
        ContaminatedSplitsError: Parts share what they must not; the message holds the evidence.
        InputError: As for ``check_splits``.
    """
    report = check_splits(queries, by, **options)
    if not report.clean:
        raise ContaminatedSplitsError(report)
    return report


class _Table:
    """Who bears what, part by part."""

    def __init__(self, queries: Sequence[Query], marks: Sequence[Marks]) -> None:
        self._queries = queries
        self._marks = marks
        self.places: dict[str, list[int]] = defaultdict(list)
        for place, query in enumerate(queries):
            assert query.split is not None
            self.places[query.split].append(place)

    @cached_property
    def _bearers(self) -> Mapping[str, Mapping[Mark, Sequence[int]]]:
        """Part -> mark -> places of the queries that bear it."""
        bearers: dict[str, dict[Mark, list[int]]] = {part: defaultdict(list) for part in self.places}
        for part, places in self.places.items():
            for place in places:
                for mark in self._marks[place].own:
                    bearers[part][mark].append(place)
        return bearers

    def cross(self, earlier: str, later: str) -> Crossing:
        """Compare two parts."""
        pairs = queries = 0
        leaks: list[Leak] = []
        counted: dict[frozenset[Mark], int] = {}
        for place in self.places[later]:
            marks = frozenset((*self._marks[place].own, *self._marks[place].near))
            # By tool and by group many queries ask for the same few sets of marks, each with thousands of bearers.
            if marks not in counted:
                counted[marks] = len(self._partners(earlier, marks))
            if counted[marks]:
                pairs += counted[marks]
                queries += 1
                if len(leaks) < SHOWN:
                    leaks.append(self._leak(earlier, place, marks))
        return Crossing(earlier, later, pairs, queries, tuple(leaks))

    def _partners(self, part: str, marks: Iterable[Mark]) -> set[int]:
        bearers = self._bearers[part]
        return set().union(*(bearers[mark] for mark in marks if mark in bearers))

    def _leak(self, part: str, place: int, marks: frozenset[Mark]) -> Leak:
        """The worst of a query's leaks: most things shared, then the likest text, then the first."""
        later, text = self._queries[place], self._queries[place].text

        def worst(partner: int) -> tuple[int, float, int]:
            return (
                -sum(mark in marks for mark in self._marks[partner].own),
                -similarity(self._queries[partner].text, text),
                partner,
            )

        partner = min(self._partners(part, marks), key=worst)
        earlier = self._queries[partner]
        shared = (_words(mark, earlier, later) for mark in self._marks[partner].own if mark in marks)
        return Leak(earlier, later, tuple(shared))


def _words(mark: Mark, earlier: Query, later: Query) -> str:
    if mark.kind == "text":
        return f"text ({similarity(earlier.text, later.text):.2f} of their words)"
    if mark.kind == "gold set":
        return f"gold set ({', '.join(sorted(later.tools))})"
    return f"{mark.kind} {mark.value!r}"


def _line(leak: Leak) -> str:
    sides = (f"  {query.split} {query.id!r}: {_cut(query.text)!r}" for query in (leak.earlier, leak.later))
    return "\n".join([f"- shared: {', '.join(leak.shared)}", *sides])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _check_names(
    queries: Sequence[Query], train: Sequence[str], validation: Sequence[str], test: Sequence[str]
) -> None:
    names = [*train, *validation, *test]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"The split {twice[0]!r} is named twice. A split is trained on, chosen on or reported on: one of the three."
        )
    if sum(map(bool, (train, validation, test))) < 2:
        raise InputError(
            f"Only the splits {', '.join(names) or '(none)'} are named, which leaves nothing to compare. Name what is "
            "trained on (train) and what is reported on (test)."
        )
    found = Counter(query.split or "(none)" for query in queries)
    if absent := [name for name in names if name not in found]:
        listed = ", ".join(f"{name} ({count:,})" for name, count in found.items()) or "none"
        raise InputError(f"No query has the split {absent[0]!r}. Splits here: {listed}.")
