"""A tool and an ordered catalogue of tools. Knows files, but no models, codes or queries.

A catalogue is JSON lines, one tool a line::

    {"id": "s3.CreateBucket", "name": "CreateBucket", "description": "Creates a new bucket.",
     "parameters": {"type": "object", "properties": {...}}, "group": "s3", "source": "botocore", "metadata": {...}}

Only ``id`` and ``name`` are required. What a source lacks stays absent. Keys that are not fields of ``Tool`` are kept
under ``metadata``.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from statistics import mean, median
from typing import Any

from toolgen.errors import InputError
from toolgen.files import Line, fingerprint, read_jsonl, write_jsonl

_FIELDS = ("id", "name", "description", "parameters", "group", "source", "metadata")
_GROUP_ALIASES = ("tool_name", "category")
"""Keys that hold the group in ToolBench-like files, the most specific first."""

_GENERAL = "tool_description"
"""Key of what all operations of a tool have in common in such files. An operation's own description is often a few
words, so this follows it, as it does where ``toolgen import toolbench`` reads ToolBench itself."""

_ALREADY_SAID = 0.7
"""Share of its longer words that a description holds which already says it."""

_WORD = re.compile("(?:Um*)+(?=Um*l)|(?:Um*)?(?:lm*)+|(?:Um*)+|(?:dm*)+|o[om]*")
"""A word, in the kinds of its characters: upper case, lower case, digit, other letter, mark on one of these."""


def words(name: str) -> str:
    """Split an identifier into lower-case words: ``"ListObjectsV2"`` -> ``"list objects v 2"``.

    Letters without case stay together; everything that is neither letter nor digit separates.
    """
    name = unicodedata.normalize("NFC", name)
    kinds = "".join(map(_kind, name))
    return " ".join(name[word.start() : word.end()].lower() for word in _WORD.finditer(kinds))


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    if char.isupper():
        return "U"
    if char.islower():
        return "l"
    if char.isnumeric():
        return "d"
    if char.isalpha():
        return "o"
    return "m" if unicodedata.category(char).startswith("M") else " "


@dataclass(frozen=True, slots=True)
class Tool:
    """One callable operation.

    Attributes:
        id: Unique and stable within its catalogue.
        name: The name that a caller uses; need not be unique.
        description: What it does, as plain text; may be empty.
        parameters: JSON Schema of an object, or None when the source gives none.
        group: Service, server or category that the tool belongs to.
        source: Importer or origin, such as ``"botocore"``.
        metadata: Whatever else the source says; never needed by the library.
    """

    id: str
    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    group: str | None = None
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> str:
        """The text that stands for the tool in memorization and in every retriever: group and name in words, then
        the description. One definition, so that methods are compared on the same document."""
        title = self.title()
        return f"{title}. {self.description}".strip() if self.description else f"{title}."

    def title(self) -> str:
        """Group and name in words, with which ``document`` begins."""
        name = words(self.name) or self.name
        group = words(self.group) if self.group else ""
        return f"{group} {name}" if group and not name.startswith(group) else name

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict without the fields that are absent."""
        record = {name: getattr(self, name) for name in _FIELDS}
        absent = {"description": "", "metadata": {}}
        return {name: value for name, value in record.items() if value is not None and value != absent.get(name)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], where: str = "tool") -> "Tool":
        """Check and convert one record; ``where`` opens the error messages.

        Raises:
            InputError: ``id`` or ``name`` is missing or empty, or a field has the wrong type.
        """
        for key in ("id", "name"):
            if not isinstance(record.get(key), str) or not record[key].strip():
                raise InputError(
                    f"{where}: a tool needs a non-empty string '{key}', found {record.get(key)!r} "
                    f"(id {record.get('id')!r}). Add it to the record."
                )
        texts, objects = ("description", "group", "source"), ("parameters", "metadata")
        for key, kind in (*((key, str) for key in texts), *((key, Mapping) for key in objects)):
            if record.get(key) is not None and not isinstance(record[key], kind):
                wanted = "an object" if kind is Mapping else "a string"
                raise InputError(f"{where}: '{key}' of tool {record['id']!r} must be {wanted}, found {record[key]!r}.")
        aliases = (record[key] for key in _GROUP_ALIASES if record.get(key) and isinstance(record[key], str))
        group = record.get("group") or next(aliases, None)
        extra = {key: value for key, value in record.items() if key not in _FIELDS}
        return cls(
            id=record["id"],
            name=record["name"],
            description=_described(record),
            parameters=record.get("parameters"),
            group=group,
            source=record.get("source"),
            metadata={**(record.get("metadata") or {}), **extra},
        )


def _described(record: Mapping[str, Any]) -> str:
    own, general = record.get("description") or "", record.get(_GENERAL)
    if not isinstance(general, str) or not general.strip() or general.strip() in own:
        return own
    telling = {word for word in words(general).split() if len(word) > 3}
    said = telling & set(words(own).split())
    if telling and len(said) >= _ALREADY_SAID * len(telling):
        return own
    return f"{own}\n{general.strip()}" if own.strip() else general.strip()


@dataclass(frozen=True)
class CatalogStatistics:
    """Figures that ``toolgen catalog show`` prints. Lengths are in characters."""

    tools: int
    groups: Mapping[str, int]
    without_description: int
    identical_documents: int
    """Tools whose document equals that of an earlier tool."""
    description_mean: float
    description_median: float
    parameters_mean: float
    sources: Mapping[str, int]


class ToolCatalog(Mapping[str, Tool]):
    """An ordered mapping from tool id to ``Tool``. Immutable; its order is the tools' numbering.

    Example:
        >>> catalog = ToolCatalog([Tool("a", "alpha"), Tool("b", "beta")])
        >>> catalog.position("b"), catalog.ids
        (1, ('a', 'b'))
    """

    def __init__(self, tools: Iterable[Tool]) -> None:
        """
        Raises:
            InputError: There is no tool, or two tools share an id.
        """
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.id in self._tools:
                raise InputError(f"Duplicate tool id {tool.id!r}. Ids must be unique; rename or remove one of the two.")
            self._tools[tool.id] = tool
        if not self._tools:
            raise InputError("The catalogue is empty. It needs at least one tool.")
        self._positions = {tool_id: position for position, tool_id in enumerate(self._tools)}

    def __getitem__(self, tool_id: str) -> Tool:
        return self._tools[tool_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    @property
    def ids(self) -> tuple[str, ...]:
        """Tool ids in catalogue order."""
        return tuple(self._tools)

    def position(self, tool_id: str) -> int:
        """Number of a tool in catalogue order, from 0.

        Raises:
            KeyError: No such tool.
        """
        return self._positions[tool_id]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any tool's content and with the order of tools."""
        return fingerprint([tool.to_record() for tool in self.values()])

    def ids_of_groups(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Ids of all tools whose group is one of ``groups``, in catalogue order.

        Raises:
            InputError: A group has no tool.
        """
        wanted = set(groups)
        known = {tool.group for tool in self.values() if tool.group}
        if unknown := sorted(wanted - known):
            sample = ", ".join(sorted(known)[:20]) or "none"
            raise InputError(f"No tool belongs to the group(s) {', '.join(unknown)}. Groups here: {sample}.")
        return tuple(tool.id for tool in self.values() if tool.group in wanted)

    def statistics(self) -> CatalogStatistics:
        """Count groups, sources, lengths and identical documents."""
        lengths = [len(tool.description) for tool in self.values()]
        documents = {tool.document() for tool in self.values()}
        properties = [len((tool.parameters or {}).get("properties") or {}) for tool in self.values()]
        return CatalogStatistics(
            tools=len(self),
            groups=dict(Counter(tool.group or "(none)" for tool in self.values()).most_common()),
            without_description=sum(not length for length in lengths),
            identical_documents=len(self) - len(documents),
            description_mean=mean(lengths),
            description_median=median(lengths),
            parameters_mean=mean(properties),
            sources=dict(Counter(tool.source or "(unknown)" for tool in self.values()).most_common()),
        )

    @classmethod
    def from_jsonl(cls, path: str | os.PathLike[str]) -> "ToolCatalog":
        """Read a catalogue; gzip by suffix.

        Raises:
            InputError: The file is absent or empty, a line is broken, a tool lacks its id or name, or two share an id.
        """
        seen: dict[str, str] = {}

        def tools(lines: Iterable[Line]) -> Iterator[Tool]:
            for record, where in lines:
                tool = Tool.from_record(record, where)
                if tool.id in seen:
                    raise InputError(
                        f"{where}: duplicate tool id {tool.id!r}, first given at {seen[tool.id]}. "
                        "Ids must be unique; rename or remove one of the two."
                    )
                seen[tool.id] = where
                yield tool

        collected = list(tools(read_jsonl(path)))
        if not collected:
            raise InputError(f"{path}: the catalogue is empty. It needs at least one tool, one JSON object a line.")
        return cls(collected)

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write the catalogue; gzip by suffix. Reading it back gives an equal catalogue."""
        write_jsonl(path, (tool.to_record() for tool in self.values()))
