"""Marks of labelled queries: what two queries of different parts must not have in common. Knows queries and catalogues;
neither how parts are made nor how they are checked.

*By query*: a text that is nearly the same, or a gold set of two or more tools; *by tool*: a gold tool; *by group*: the
group of a gold tool, or, where queries name their domain themselves, the value of that key or a gold tool.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from toolgen.errors import InputError
from toolgen.queries import Query
from toolgen.tools import ToolCatalog

By = Literal["query", "tool", "group"]

NEAR = 0.7
"""Jaccard similarity of two texts' sets of words from which on they count as near duplicates. At 0.6, chains of ever
other words link hundreds of everyday queries that have nothing in common."""

LOWEST_NEAR = 0.5

# Scripts that put no blank between words: there, every character counts as a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class Mark(NamedTuple):
    """One thing that a query bears.

    Attributes:
        kind: ``"text"``, ``"gold set"``, ``"tool"``, ``"group"`` or the name of a key.
        value: A tool's id, a group, a set of ids, the value of the key; of a text the number of its set of words.
    """

    kind: str
    value: Hashable


@dataclass(frozen=True, slots=True)
class Marks:
    """What a query bears, and what else no query of another part may bear: texts that are nearly its own.

    Nearness is mutual: one of two queries has a mark of the other's in ``near`` just when that one has one of its.
    """

    own: tuple[Mark, ...]
    near: tuple[Mark, ...] = ()


class Likeness(NamedTuple):
    """Two distinct sets of words, by their numbers, that are nearly the same."""

    first: int
    second: int


@dataclass(frozen=True)
class Texts:
    """Texts by their sets of words.

    Attributes:
        numbers: Of each text, the number of its set of words; texts with equal sets share one.
        alike: Pairs of distinct sets that are near duplicates, each once.
    """

    numbers: tuple[int, ...]
    alike: tuple[Likeness, ...]


def marks_of(
    queries: Sequence[Query],
    by: By = "query",
    *,
    catalog: ToolCatalog | None = None,
    key: str | None = None,
    near: float = NEAR,
) -> list[Marks]:
    """The marks of each query, in their order.

    Args:
        queries: All that are compared.
        by: What must not be shared; see the module.
        catalog: Gives the tools' groups; needed by ``"group"`` without a key.
        key: Key of the queries' metadata that names their group, such as ``"category"``; only for ``"group"``.
        near: Threshold of near duplicates, ``LOWEST_NEAR`` to 1; used by ``"query"``.

    Raises:
        InputError: The threshold is out of range, groups are unknown, or a query lacks the key.
    """
    if key is not None and by != "group":
        raise InputError(f"A key ({key!r}) says what a query's group is; give it with --by group, not --by {by}.")
    if by == "tool":
        return [Marks(_tools(query)) for query in queries]
    if by == "query":
        return _text_marks(queries, near)
    if key is not None:
        return [Marks((Mark(key, _value(query, key)), *_tools(query))) for query in queries]
    if catalog is None or not any(tool.group for tool in catalog.values()):
        raise InputError(
            "Groups need the catalogue, and tools in it that have one ('group', 'tool_name' or 'category'). Give it "
            "with --tools, name a key of the queries' own with --key, or go by query or tool."
        )
    return [Marks(_groups(query, catalog)) for query in queries]


def word_set(text: str) -> frozenset[str]:
    """The words of a text; upper and lower case, and punctuation, make no difference. One without is a word itself."""
    return frozenset(_WORD.findall(text.casefold())) or frozenset([text.strip()])


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of two texts' sets of words."""
    one, other = word_set(first), word_set(second)
    return len(one & other) / len(one | other)


def near_duplicates(texts: Sequence[str], threshold: float = NEAR) -> Texts:
    """Find all pairs of texts whose sets of words have a Jaccard similarity of at least ``threshold``.

    Exact, by prefix filtering (Bayardo, Ma and Srikant, "Scaling up all pairs similarity search", WWW 2007): with words
    sorted by rarity, two similar sets share one among the first ``n - ceil(threshold * n) + 1`` of their ``n`` words.
    So only texts that share a rare word are compared, and of texts with the same words one. 25,000 short queries take
    seconds.

    Args:
        texts: See ``word_set`` for what counts as a word.
        threshold: ``LOWEST_NEAR`` to 1; below, so many words would count as rare that the search would take hours.

    Raises:
        InputError: ``threshold`` is out of range.
    """
    if not LOWEST_NEAR <= threshold <= 1:
        raise InputError(f"The threshold of near duplicates is {threshold:g}; give {LOWEST_NEAR} to 1, such as {NEAR}.")
    numbers: dict[frozenset[str], int] = {}
    of_text = tuple(numbers.setdefault(word_set(text), len(numbers)) for text in texts)
    return Texts(of_text, tuple(_alike(list(numbers), threshold)))


def _alike(sets: Sequence[frozenset[str]], threshold: float) -> Iterator[Likeness]:
    frequency = Counter(word for words in sets for word in words)
    bearers: dict[str, list[int]] = defaultdict(list)
    # From short to long, every set is compared with those of at most its own length.
    for number in sorted(range(len(sets)), key=lambda number: len(sets[number])):
        words = sets[number]
        # Rounding must lose no pair that is exactly as similar as the threshold.
        fewest = math.ceil(threshold * len(words) - 1e-9)
        rare = sorted(words, key=lambda word: (frequency[word], word))[: len(words) - fewest + 1]
        for other in dict.fromkeys(candidate for word in rare for candidate in bearers[word]):
            if len(sets[other]) < fewest:
                continue
            shared = len(words & sets[other])
            if shared >= threshold * (len(words) + len(sets[other]) - shared) - 1e-9:
                yield Likeness(other, number)
        for word in rare:
            bearers[word].append(number)


def _text_marks(queries: Sequence[Query], near: float) -> list[Marks]:
    texts = near_duplicates([query.text for query in queries], near)
    likes: dict[int, list[int]] = defaultdict(list)
    for first, second in texts.alike:
        likes[first].append(second)
        likes[second].append(first)
    return [
        Marks(
            (Mark("text", number), *([Mark("gold set", frozenset(query.tools))] if len(query.tools) > 1 else ())),
            tuple(Mark("text", other) for other in likes.get(number, ())),
        )
        for query, number in zip(queries, texts.numbers, strict=True)
    ]


def _tools(query: Query) -> tuple[Mark, ...]:
    return tuple(Mark("tool", tool) for tool in query.tools)


def _groups(query: Query, catalog: ToolCatalog) -> tuple[Mark, ...]:
    """Groups of the gold tools; a tool without one stands for itself."""
    groups = {tool: catalog[tool].group for tool in query.tools}
    return tuple(dict.fromkeys(Mark("group", group) if group else Mark("tool", tool) for tool, group in groups.items()))


def _value(query: Query, key: str) -> str | int | float:
    value = query.metadata.get(key)
    if not isinstance(value, str | int | float):
        known = ", ".join(sorted(query.metadata)) or "none"
        raise InputError(
            f"Query {query.id!r} has no text or number under the key {key!r} (its keys: {known}). Name a key that "
            "every query has, or leave the key out to go by the groups of the gold tools."
        )
    return value
