"""Parts of labelled queries for training, validation and test that share nothing which would make the test easy. Knows
queries and catalogues; no models.

What must not be shared (``toolgen.marks``) links queries. Queries that are linked, directly or through others, form a
cluster, and a cluster goes into one part as a whole. The result depends on the queries alone, not on their order or the
machine.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from toolgen.errors import InputError
from toolgen.marks import NEAR, By, marks_of
from toolgen.queries import Query
from toolgen.tools import ToolCatalog


class Link(NamedTuple):
    """Two queries, by their places, that must stay together."""

    first: int
    second: int


@dataclass(frozen=True)
class Part:
    """What one part got.

    Attributes:
        name: Such as ``"train"``.
        share: The share of queries that was asked for.
        queries: Their number.
        clusters: Their number.
        tools: Distinct gold tools.
        untrained: Gold tools that the first part has no query for.
    """

    name: str
    share: float
    queries: int
    clusters: int
    tools: int
    untrained: int


@dataclass(frozen=True)
class Split:
    """Queries with their parts, and what was done.

    Attributes:
        queries: In the order given, each with its part as ``split``.
        parts: In the order of the shares.
        clusters: Sizes of the clusters in queries, largest first.
        kept: Queries that kept the split they had.
        near_kept: Queries that were dealt out although their cluster holds a kept one.
    """

    queries: tuple[Query, ...]
    parts: tuple[Part, ...]
    clusters: tuple[int, ...]
    kept: int
    near_kept: int


def split_queries(
    queries: Iterable[Query],
    shares: Mapping[str, float],
    by: By = "query",
    *,
    catalog: ToolCatalog | None = None,
    key: str | None = None,
    near: float = NEAR,
    only: str | None = None,
) -> Split:
    """Deal queries out to parts, cluster by cluster.

    Large clusters first, each to the part that lacks the greatest share of what it should get: so every part gets
    clusters of all sizes, and none stays empty where there are as many clusters as parts.

    Args:
        queries: Labelled queries with distinct ids.
        shares: Name of each part -> its share of the queries; the first part is the one to train on.
        by: What must not be shared; see ``toolgen.marks``.
        catalog: Gives the tools' groups; needed by ``"group"`` without a key.
        key: Key of the queries' metadata that names their group; only for ``"group"``.
        near: Threshold of near duplicates, ``LOWEST_NEAR`` to 1; used by ``"query"``.
        only: Deal out the queries of this split; all others keep theirs.

    Raises:
        InputError: Shares, threshold or ``only`` are unusable, groups are unknown, or there are fewer clusters than
            parts.
    """
    queries = tuple(queries)
    dealt = {place for place, query in enumerate(queries) if only is None or query.split == only}
    _check(queries, dealt, shares, only)
    marks = marks_of(queries, by, catalog=catalog, key=key, near=near)
    # Bearers of a mark that is near to a query's are linked to that query, and so to each other.
    clusters = _clusters(len(queries), _sharing((*mark.own, *mark.near) for mark in marks))
    free = [part for cluster in clusters if (part := [place for place in cluster if place in dealt])]
    if len(free) < len(shares):
        raise InputError(
            f"The {len(dealt):,} queries hang together in {len(free)} cluster(s) when they are split by {by}, too few "
            f"for {len(shares)} parts ({', '.join(shares)}). Split by something else (query, tool, group), or into "
            "fewer parts."
        )
    chosen = _deal(queries, free, shares)
    parted = tuple(
        replace(query, split=chosen[place]) if place in chosen else query for place, query in enumerate(queries)
    )
    near_kept = sum(sum(place in dealt for place in cluster) for cluster in clusters if not dealt.issuperset(cluster))
    return Split(
        queries=parted,
        parts=_parts(parted, free, shares),
        clusters=tuple(sorted(map(len, free), reverse=True)),
        kept=len(queries) - len(dealt),
        near_kept=near_kept,
    )


def parse_shares(text: str) -> dict[str, float]:
    """Read ``"train=0.8,validation=0.1,test=0.1"``.

    Raises:
        InputError: A share is no number above 0, a name repeats, or they do not add up to 1.
    """
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, equals, number = (part.strip() for part in item.partition("="))
        try:
            share = float(number)
        except ValueError as error:
            raise _unusable(item.strip()) from error
        if name in shares:
            raise _unusable(item.strip())
        shares[name] = share
    _check_shares(shares)
    return shares


def _check_shares(shares: Mapping[str, float]) -> None:
    for name, share in shares.items():
        if not name or not 0 < share <= 1:
            raise _unusable(f"{name}={share:g}")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        told = ",".join(f"{name}={share:g}" for name, share in shares.items())
        raise InputError(f"The shares {told} add up to {sum(shares.values()):g}; they must add up to 1.")


def _unusable(share: str) -> InputError:
    return InputError(
        f"Share {share!r} is unusable. Give a name and a number above 0 for every part, each name once, such as "
        "train=0.8,validation=0.1,test=0.1."
    )


def _check(queries: Sequence[Query], dealt: set[int], shares: Mapping[str, float], only: str | None) -> None:
    _check_shares(shares)
    splits = Counter(query.split or "(none)" for query in queries)
    if not dealt:
        named = ", ".join(f"{name} ({count:,})" for name, count in splits.items()) or "none"
        raise InputError(f"No query to split{f' has the split {only!r}' if only else ''}. Splits here: {named}.")
    kept = {query.split for place, query in enumerate(queries) if place not in dealt}
    if taken := [name for name in shares if name in kept]:
        raise InputError(
            f"The part {taken[0]!r} is also the split of queries that are kept. Give the new parts other names."
        )


def _sharing(keys: Iterable[Iterable[Hashable]]) -> Iterator[Link]:
    """Link every place to the first one that has a key of its."""
    first: dict[Hashable, int] = {}
    for place, own in enumerate(keys):
        for key in own:
            if first.setdefault(key, place) != place:
                yield Link(first[key], place)


def _clusters(count: int, links: Iterable[Link]) -> list[list[int]]:
    """Places that are linked, directly or through others."""
    leaders = list(range(count))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = place = leaders[leaders[place]]
        return place

    for link in links:
        first, second = sorted((leader(link.first), leader(link.second)))
        leaders[second] = first
    members: dict[int, list[int]] = defaultdict(list)
    for place in range(count):
        members[leader(place)].append(place)
    return list(members.values())


def _deal(queries: Sequence[Query], clusters: list[list[int]], shares: Mapping[str, float]) -> dict[int, str]:
    """Place -> part."""
    total = sum(map(len, clusters))
    got = dict.fromkeys(shares, 0)
    chosen: dict[int, str] = {}
    keys = {cluster[0]: min(_position(queries[place].id) for place in cluster) for cluster in clusters}
    for cluster in sorted(clusters, key=lambda cluster: (-len(cluster), keys[cluster[0]])):
        part = max(shares, key=lambda name: (1 - got[name] / (shares[name] * total), shares[name]))
        got[part] += len(cluster)
        chosen |= dict.fromkeys(cluster, part)
    return chosen


def _parts(queries: Sequence[Query], clusters: list[list[int]], shares: Mapping[str, float]) -> tuple[Part, ...]:
    counts = Counter(query.split for query in queries)
    clustered = Counter(queries[cluster[0]].split for cluster in clusters)
    tools = {name: {tool for query in queries if query.split == name for tool in query.tools} for name in shares}
    trained = tools[next(iter(shares))]
    return tuple(
        Part(name, share, counts[name], clustered[name], len(tools[name]), len(tools[name] - trained))
        for name, share in shares.items()
    )


def split_by_tools(queries: Iterable[Query], shares: Mapping[str, float]) -> list[Query]:
    """Split queries so that no tool is gold in two parts, and the parts stay as they are when queries come or go.

    Queries that share a tool, directly or through others, go together. The part depends on the tools' ids alone, so
    shares are met only where the clusters are many and small.

    Args:
        queries: Any; a split that they have is replaced.
        shares: Name of each part -> its share of tools; the shares add up to 1.

    Returns:
        The queries in the same order, each with its split.
    """
    assert abs(sum(shares.values()) - 1) < 1e-9, f"shares {shares} do not add up to 1"
    queries = list(queries)
    parts: dict[int, str] = {}
    for cluster in _clusters(len(queries), _sharing(query.tools for query in queries)):
        first = min(tool for place in cluster for tool in queries[place].tools)
        parts |= dict.fromkeys(cluster, _part(first, shares))
    return [replace(query, split=parts[place]) for place, query in enumerate(queries)]


def _part(key: str, shares: Mapping[str, float]) -> str:
    bound = 0.0
    for name, share in shares.items():
        bound += share
        if _position(key) < bound:
            return name
    return list(shares)[-1]


def _position(key: str) -> float:
    """A number from 0 to 1 that is as good as random, and the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64
