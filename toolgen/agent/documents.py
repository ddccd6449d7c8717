"""What a model is shown of a tool when it is asked for its arguments: name, description and parameters, each bounded.
Knows tools and JSON Schema; no tokens.
"""

import json
from collections.abc import Mapping
from typing import Any

from toolgen.tools import Tool

LONGEST_DOCUMENT = 1024
"""Characters of a description that are shown."""
LONGEST_PARAMETERS = 2048
"""Characters of parameters that are shown."""

_LONGEST_MEANING = 100
_MOST_VALUES = 16


def document_shown(tool: Tool) -> str:
    """A tool's document as ``Tool.document`` begins it, then its parameters."""
    description = f" {cut(tool.description, LONGEST_DOCUMENT)}" if tool.description else ""
    return f"{tool.title()}.{description}\nParameters: {parameters_shown(tool.parameters)}"


def cut(text: str, most: int) -> str:
    """A text as it is shown: a longer one says how much is missing."""
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}... ({more:,} more characters)"


def parameters_shown(schema: Mapping[str, Any] | None) -> str:
    """Parameters as a JSON object in the schema's order: type or enum, whether it is required, the beginning of its
    description, and the same of what an object, or an array of objects, holds.

    Where not everything fits into ``LONGEST_PARAMETERS``, required ones come first and what parameters hold comes last;
    parameters that are left out are counted behind the object.

    Example:
        >>> parameters_shown({"properties": {"a": {"type": "string"}}, "required": ["a"]})
        '{"a": {"type": "string", "required": true}}'
    """
    properties, required = _members(schema)
    first = sorted(properties, key=lambda name: name not in required)
    texts: dict[str, str] = {}
    room = LONGEST_PARAMETERS - len("{}")
    for levels in (0, 1):
        for name in first:
            one = _parameter(properties[name], name in required, levels)
            text = f"{_json(name)}: {_json(one)}"
            grown = len(text) - len(texts[name]) if name in texts else len(text) + len(", ")
            if grown <= room and (levels == 0 or name in texts):
                texts[name] = text
                room -= grown
    more = len(properties) - len(texts)
    shown = ", ".join(texts[name] for name in properties if name in texts)
    return f"{{{shown}}}" + (f" ({more:,} more parameters)" if more else "")


def _members(schema: Any) -> tuple[Mapping[str, Any], list[Any]]:
    """Properties of an object, or of the objects of an array, and the names of those that are required."""
    if isinstance(schema, Mapping) and isinstance(schema.get("items"), Mapping):
        schema = schema["items"]
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties"), Mapping):
        return {}, []
    required = schema.get("required")
    return schema["properties"], required if isinstance(required, list) else []


def _parameter(schema: Any, required: bool, levels: int) -> dict[str, Any]:
    """A parameter, with what it holds down to some levels."""
    schema = schema if isinstance(schema, Mapping) else {}
    found: dict[str, Any] = {}
    if (kind := _kind(schema)) is not None:
        found["type"] = kind
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        more = len(values) - _MOST_VALUES
        found["enum"] = [_short(value) for value in values[:_MOST_VALUES]]
        found["enum"] += [f"... ({more:,} more values)"] if more > 0 else []
    if required:
        found["required"] = True
    if isinstance(schema.get("description"), str) and schema["description"]:
        found["description"] = _short(schema["description"])
    properties, needed = _members(schema)
    if properties and levels:
        found["properties"] = {name: _parameter(one, name in needed, levels - 1) for name, one in properties.items()}
    return found


def _kind(schema: Mapping[str, Any]) -> Any:
    """A type, types, or those of the alternatives; of an array its items', too. None where nothing is said."""
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            kinds = [one.get("type") for one in schema[key] if isinstance(one, Mapping)]
            return list(dict.fromkeys(kind for kind in kinds if isinstance(kind, str))) or None
    kind, items = schema.get("type"), schema.get("items")
    if kind == "array" and isinstance(items, Mapping) and isinstance(items.get("type"), str):
        return f"array of {items['type']}"
    return kind


def _short(value: Any) -> Any:
    """A value; of one that takes many characters the first ones, as text."""
    text = value if isinstance(value, str) else _json(value)
    return value if len(text) <= _LONGEST_MEANING else text[: _LONGEST_MEANING - 3] + "..."


def _json(value: Any) -> str:
    # As arguments are written.
    return json.dumps(value, ensure_ascii=False)
