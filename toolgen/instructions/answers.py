"""What a model's answer is worth: queries and the tools that they want, after every check. Knows samples; no model."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from toolgen.instructions.samples import Sample
from toolgen.instructions.wording import operation_key
from toolgen.terminal import visible

LONGEST_QUERY = 2000
"""Characters of a query that is still one."""

_KEY = re.compile(r"\bop_\d+\b")


class Pair(NamedTuple):
    """A query and the tools that it wants."""

    text: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What an answer holds.

    Attributes:
        pairs: What can be used.
        faults: What cannot: reason -> how often.
    """

    pairs: tuple[Pair, ...]
    faults: Mapping[str, int]


def read_answer(text: str, sample: Sample) -> Reading:
    """Take the pairs out of an answer.

    A pair is dropped when it is not of the form asked for, when it names an operation outside the sample (as in
    ToolBench's recipe) or none, when its text speaks of the keys, and when it repeats another.

    Args:
        text: What the model said; JSON may stand between other words.
        sample: What was asked for.
    """
    entries = _entries(text)
    if entries is None:
        return Reading((), {"answer that is not JSON of the form asked for": 1})
    keys = {operation_key(place): tool.id for place, tool in enumerate(sample.tools)}
    pairs: dict[str, Pair] = {}
    faults: Counter[str] = Counter()
    for entry in entries:
        request, wanted = (entry.get("request"), entry.get("operations")) if isinstance(entry, dict) else (None, None)
        line = " ".join(visible(request).split()) if isinstance(request, str) else ""
        if not line or len(line) > LONGEST_QUERY or not isinstance(wanted, list) or not _is_text(line):
            faults["query not of the form asked for"] += 1
        elif not wanted or not all(isinstance(key, str) and key in keys for key in wanted):
            faults["query that names no operation, or one outside the sample"] += 1
        elif _KEY.search(line):
            faults["query that speaks of keys"] += 1
        elif line in pairs:
            faults["query that repeats another"] += 1
        else:
            pairs[line] = Pair(line, tuple(dict.fromkeys(keys[key] for key in wanted)))
    return Reading(tuple(pairs.values()), faults)


def _entries(text: str) -> list[Any] | None:
    """The list in the first JSON object of the form asked for."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("requests"), list):
            return list(value["requests"])
        start = text.find("{", start + 1)
    return None


def _is_text(line: str) -> bool:
    """Whether a file can hold it: JSON can escape half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in line)
