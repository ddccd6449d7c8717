"""Texts with calls in them: which part of a text is the result of which call. Knows no tokenizer and no model.

Annotated texts are JSON lines::

    {"id": "t1", "text": "3 boxes of 12 pens are 36 pens.", "split": "train",
     "calls": [{"start": 23, "end": 25, "tool": "multiply", "arguments": ["3", "12"], "result": "36"}]}

``start`` and ``end`` count characters (code points); ``text[start:end]`` is what the call's result stands as. ``id``,
``split`` and a call's ``arguments`` and ``result`` may be absent; a text without an id is called by its line.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeGuard

from toolgen.errors import InputError
from toolgen.files import read_jsonl, write_jsonl
from toolgen.tools import ToolCatalog

_FIELDS = ("id", "text", "calls", "split", "metadata")


@dataclass(frozen=True, slots=True)
class Span:
    """A call, and where its result stands.

    Attributes:
        start: First character of the result.
        end: The character behind it.
        tool: Id of the tool.
        arguments: By place as they are written, or by name; None where the source does not say.
        result: What the tool returns; None where the source does not say.
    """

    start: int
    end: int
    tool: str
    arguments: tuple[str, ...] | Mapping[str, Any] | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedText:
    """A text and its calls.

    Attributes:
        id: Unique within its file.
        text: The whole text, results included.
        calls: In the order of the text; they do not overlap. May be empty.
        split: Name of the part it belongs to.
        metadata: Whatever else the source says.
    """

    id: str
    text: str
    calls: tuple[Span, ...]
    split: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable dict without what is absent."""
        record: dict[str, Any] = {
            "id": self.id,
            "text": self.text,
            "calls": [_span_record(span) for span in self.calls],
        }
        if self.split is not None:
            record["split"] = self.split
        if self.metadata:
            record["metadata"] = dict(self.metadata)
        return record


def read_texts(
    path: str | os.PathLike[str], catalog: ToolCatalog | None = None, split: str | None = None
) -> list[AnnotatedText]:
    """Read annotated texts and check them.

    Args:
        path: JSON lines, gzip by suffix.
        catalog: When given, every call's tool must be in it.
        split: When given, only the texts of this split are returned.

    Raises:
        InputError: A record is broken, a span lies outside its text, before its predecessor's end or elsewhere than the
            source says, an id is used twice, a tool is unknown, or nothing is left.
    """
    texts: list[AnnotatedText] = []
    seen: dict[str, str] = {}
    for number, (record, where) in enumerate(read_jsonl(path), start=1):
        text = _text(record, where, number)
        if text.id in seen:
            raise InputError(f"{where}: duplicate text id {text.id!r}, first given at {seen[text.id]}.")
        seen[text.id] = where
        if catalog is not None and (unknown := [span.tool for span in text.calls if span.tool not in catalog]):
            raise InputError(
                f"{where}: text {text.id!r} calls the unknown tool {unknown[0]!r}. Every tool that is called must "
                f"be in the catalogue ({len(catalog):,} tools, the first is {catalog.ids[0]!r})."
            )
        if split is None or text.split == split:
            texts.append(text)
    if not texts:
        raise InputError(f"{path}: no text{f' of split {split!r}' if split else ''}. At least one is needed.")
    return texts


def write_texts(path: str | os.PathLike[str], texts: Iterable[AnnotatedText]) -> None:
    """Write annotated texts one a line; gzip by suffix."""
    write_jsonl(path, (text.to_record() for text in texts))


def tools_called(texts: Sequence[AnnotatedText]) -> list[str]:
    """Ids of the tools that the texts call, each once, in the order of their first call."""
    return list(dict.fromkeys(span.tool for text in texts for span in text.calls))


def _text(record: Mapping[str, Any], where: str, number: int) -> AnnotatedText:
    text, calls = record.get("text"), record.get("calls")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: a text with calls needs 'text', a string that says something; found {text!r}.")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise InputError(f"{where}: 'calls' must be a list of objects, found {calls!r}. It may be empty.")
    for key, kind, wanted in (("id", str, "a string"), ("split", str, "a string"), ("metadata", dict, "an object")):
        if record.get(key) is not None and not isinstance(record[key], kind):
            raise InputError(f"{where}: '{key}' of a text must be {wanted}, found {record[key]!r}.")
    spans = tuple(_span(call, text, where) for call in calls)
    for before, behind in pairwise(spans):
        if behind.start < before.end:
            raise InputError(
                f"{where}: the call of {behind.tool!r} at {behind.start} begins before that of {before.tool!r} ends, "
                f"at {before.end}. Calls stand in the order of the text and do not overlap."
            )
    extra = {key: value for key, value in record.items() if key not in _FIELDS}
    metadata = {**(record.get("metadata") or {}), **extra}
    return AnnotatedText(record.get("id") or str(number), text, spans, record.get("split"), metadata)


def _span(call: Mapping[str, Any], text: str, where: str) -> Span:
    start, end, tool = call.get("start"), call.get("end"), call.get("tool")
    if not isinstance(tool, str) or not tool:
        raise InputError(f"{where}: a call needs 'tool', the id of a tool; found {tool!r}.")
    if not _is_place(start) or not _is_place(end) or not 0 <= start < end <= len(text):
        raise InputError(
            f"{where}: the call of {tool!r} stands from {start!r} to {end!r}; places are characters from 0 to "
            f"{len(text)}, and the end lies behind the start."
        )
    if "span" in call and call["span"] != text[start:end]:
        raise InputError(
            f"{where}: the call of {tool!r} from {start} to {end} holds {text[start:end]!r}, and 'span' says "
            f"{call['span']!r}. Places count characters, not bytes: mend the places."
        )
    arguments, result = call.get("arguments"), call.get("result")
    if isinstance(arguments, list) and all(isinstance(argument, str) for argument in arguments):
        arguments = tuple(arguments)
    elif arguments is not None and not isinstance(arguments, dict):
        raise InputError(
            f"{where}: 'arguments' of the call of {tool!r} must be a list of strings or an object, found {arguments!r}."
        )
    if result is not None and not isinstance(result, str):
        raise InputError(f"{where}: 'result' of the call of {tool!r} must be a string, found {result!r}.")
    return Span(start, end, tool, arguments, result)


def _is_place(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _span_record(span: Span) -> dict[str, Any]:
    record: dict[str, Any] = {"start": span.start, "end": span.end, "tool": span.tool}
    if span.arguments is not None:
        record["arguments"] = list(span.arguments) if isinstance(span.arguments, tuple) else dict(span.arguments)
    if span.result is not None:
        record["result"] = span.result
    return record
