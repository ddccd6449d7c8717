"""Labelled queries: what people ask and which tools answer. Knows catalogues, but no models.

Queries are JSON lines::

    {"id": "q1", "query": "make a new bucket", "tools": ["s3.CreateBucket"], "split": "test",
     "calls": [{"tool": "s3.CreateBucket", "arguments": {"Bucket": "b"}}]}

``split`` and ``calls`` may be absent. ``tools`` holds every gold tool; the order carries no meaning.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from toolgen.errors import InputError
from toolgen.files import read_jsonl, write_jsonl
from toolgen.tools import ToolCatalog

_FIELDS = ("id", "query", "tools", "split", "calls", "metadata")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool with its arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A question and its gold tools.

    Attributes:
        id: Unique within its file.
        text: What the user says.
        tools: Ids of all gold tools, at least one, each once.
        split: Name of the part it belongs to, such as ``"test"``.
        calls: Gold calls, when the source has them.
        metadata: Whatever else the source says.
    """

    id: str
    text: str
    tools: tuple[str, ...]
    split: str | None = None
    calls: tuple[Call, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict without the fields that are absent."""
        record: dict[str, Any] = {"id": self.id, "query": self.text, "tools": list(self.tools)}
        if self.split is not None:
            record["split"] = self.split
        if self.calls:
            record["calls"] = [{"tool": call.tool, "arguments": dict(call.arguments)} for call in self.calls]
        if self.metadata:
            record["metadata"] = dict(self.metadata)
        return record


def read_queries(
    path: str | os.PathLike[str], catalog: ToolCatalog | None = None, split: str | None = None
) -> list[Query]:
    """Read queries and check them against a catalogue.

    Args:
        path: JSON lines, gzip by suffix.
        catalog: When given, every gold tool must be in it.
        split: When given, only the queries of this split are returned.

    Raises:
        InputError: A record is broken, an id is used twice, a tool is unknown, or nothing is left.
    """
    queries: list[Query] = []
    seen: dict[str, str] = {}
    splits: set[str] = set()
    for record, where in read_jsonl(path):
        query = _query(record, where)
        if query.id in seen:
            raise InputError(f"{where}: duplicate query id {query.id!r}, first given at {seen[query.id]}.")
        seen[query.id] = where
        if query.split:
            splits.add(query.split)
        if split is not None and query.split != split:
            continue
        named = (*query.tools, *(call.tool for call in query.calls))
        if catalog is not None and (unknown := [tool for tool in named if tool not in catalog]):
            raise InputError(
                f"{where}: query {query.id!r} names the unknown tool {unknown[0]!r}. Every tool of a query must be in "
                f"the catalogue ({len(catalog):,} tools, the first is {catalog.ids[0]!r}); add the tool or mend the id."
            )
        queries.append(query)
    if not queries:
        hint = f" of split {split!r} (splits here: {', '.join(sorted(splits)) or 'none'})" if split else ""
        raise InputError(f"{path}: no query{hint}. At least one is needed.")
    return queries


def write_queries(path: str | os.PathLike[str], queries: Iterable[Query]) -> None:
    """Write queries one a line; gzip by suffix."""
    write_jsonl(path, (query.to_record() for query in queries))


def _query(record: Mapping[str, Any], where: str) -> Query:
    text, tools = record.get("query"), record.get("tools")
    if not isinstance(record.get("id"), str) or not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: a query needs the strings 'id' and 'query', found keys {', '.join(record)}.")
    if not isinstance(tools, list) or not tools or not all(isinstance(tool, str) for tool in tools):
        raise InputError(
            f"{where}: query {record['id']!r} needs 'tools', a non-empty list of tool ids; found {tools!r}."
        )
    for key, kind, wanted in (("split", str, "a string"), ("metadata", dict, "an object")):
        if record.get(key) is not None and not isinstance(record[key], kind):
            raise InputError(f"{where}: '{key}' of query {record['id']!r} must be {wanted}, found {record[key]!r}.")
    calls = record.get("calls") or []
    if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        raise InputError(
            f"{where}: 'calls' of query {record['id']!r} must be a list of objects with 'tool', a string, "
            "and 'arguments', an object."
        )
    extra = {key: value for key, value in record.items() if key not in _FIELDS}
    return Query(
        id=record["id"],
        text=text,
        tools=tuple(dict.fromkeys(tools)),
        split=record.get("split"),
        calls=tuple(Call(call["tool"], call.get("arguments") or {}) for call in calls),
        metadata={**(record.get("metadata") or {}), **extra},
    )


def _is_call(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("tool"), str)
        and isinstance(value.get("arguments") or {}, dict)
    )
