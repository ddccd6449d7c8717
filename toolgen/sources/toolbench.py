"""ToolBench's APIs, as tool files and the records of queries describe them, as tools. Knows no queries and no folders.

A tool file ``toolenv/tools/<Category>/<tool>.json`` describes a tool with its APIs. What is called is an API, so each
becomes a ``Tool``, with the id ``tool&&api`` as in ToolGen. Its description is the API's own, which tells it from the
tool's other APIs, followed by the tool's: a tenth of the APIs have none of their own, and many say little alone. Code,
keys and sample responses are left behind; so is the default of a parameter that holds a credential.

Types become JSON Schema's; one that JSON Schema lacks (enum, select, a date, a file) stays as ``x-type``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.errors import InputError
from toolgen.sources.remarks import Remark, Remarks
from toolgen.tools import Tool, words

SOURCE = "toolbench"

NAMELESS_API = Remark("dropped", "APIs or parameters without a name")
CREDENTIAL = Remark("dropped", "defaults of parameters that hold credentials")

_JSON_TYPES: Mapping[str, str] = {
    **{name: name for name in ("string", "number", "integer", "boolean", "array", "object")},
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
}
_OBJECTS = frozenset(("json", "map"))
"""Types with a name of their own whose values are objects; those of all others are strings."""

_CREDENTIAL_NAME = re.compile(
    r"\b(api|app|access|secret|private|subscription|auth|user|client|service|license|read|write) ?key\b"
    r"|^key$|\bkey api\b|\bauth(orization|entication)?\b|\b(auth|api) ?token\b|\bbearer\b|\bcredentials?\b"
    r"|\bpassw|\bsecret\b|\bcookies?\b|\bsession( ?id)?\b|sessionid\b"
    r"|^(?!.*\b(page|next|continuation|cursor|previous)\b).*\btoken$"
)
_CREDENTIAL_VALUE = re.compile(
    r"\b((Basic|Bearer)\s+\S{8}|(sk|pk|rk)[-_]\S{12}|gh[pousr]_\S{20}|AKIA[0-9A-Z]{12}|eyJ\S{20})"
)


@dataclass(frozen=True, slots=True)
class Api:
    """What every file of ToolBench says of an API, whatever it calls the keys."""

    tool: str
    name: str
    category: str | None
    tool_description: str
    description: str
    method: str | None
    url: str | None
    required: list[Any] | None
    """None when the source lists no parameters, not even an empty list."""
    optional: list[Any] | None
    where: str
    """For error messages."""

    def to_tool(self, remarks: Remarks) -> Tool:
        """The tool under its plain id, without function name.

        Raises:
            InputError: A parameter is broken.
        """
        own, general = block(self.description), block(self.tool_description)
        extra = {"category": self.category, "tool_description": general, "method": self.method, "url": self.url}
        return Tool(
            id=f"{self.tool}&&{self.name}",
            name=self.name,
            description=joined(own, general),
            parameters=None if self.required is None and self.optional is None else self._schema(remarks),
            group=self.tool,
            source=SOURCE,
            metadata={key: value for key, value in extra.items() if value},
        )

    def _schema(self, remarks: Remarks) -> dict[str, Any]:
        properties: dict[str, dict[str, Any]] = {}
        required: list[str] = []
        for parameter in (*(self.required or ()), *(self.optional or ())):
            if not isinstance(parameter, dict):
                raise InputError(f"{self.where}: a parameter of {self.name!r} must be an object, found {parameter!r}.")
            name = parameter.get("name")
            if not isinstance(name, str) or not name.strip():
                remarks.add(NAMELESS_API, f"{self.where}: a parameter of {self.name!r}")
                continue
            schema = _parameter_schema(parameter, name, f"{self.tool}&&{self.name}", remarks)
            # A name that is given twice keeps what its first entry says, and what only the second one knows.
            properties[name] = schema | properties.get(name, {})
        for parameter in self.required or ():
            if parameter.get("name") in properties and parameter["name"] not in required:
                required.append(parameter["name"])
        schema = {"type": "object", "properties": properties}
        return schema | {"required": required} if required else schema


def apis_of_file(value: Any, path: Path, remarks: Remarks) -> Iterator[Api]:
    """The APIs of a tool file.

    Args:
        value: What the file holds.
        path: Of the file; its folder is the category.
        remarks: What is left out.

    Raises:
        InputError: The file is no tool file, or broken.
    """
    tool = (value.get("name") or value.get("tool_name")) if isinstance(value, dict) else None
    if not isinstance(tool, str) or not tool.strip() or not isinstance(value.get("api_list"), list):
        raise InputError(f"{path}: no tool file. A JSON object with 'tool_name', a string, and 'api_list' is wanted.")
    general = _text(value.get("tool_description"), "tool_description", str(path))
    for number, record in enumerate(value["api_list"], start=1):
        where = f"{path}, API {number}"
        if not isinstance(record, dict):
            raise InputError(f"{where}: an object is wanted, found {type(record).__name__}.")
        names = {"tool": tool, "name": record.get("name"), "category": path.parent.name}
        if api := _api(record, names, general, record.get("description"), where, remarks):
            yield api


def api_of_record(record: Any, where: str, remarks: Remarks) -> Api | None:
    """The API that a query's ``api_list`` or a retrieval corpus describes; None when it has no name.

    Raises:
        InputError: The record is broken.
    """
    if not isinstance(record, dict):
        raise InputError(f"{where}: the record of an API must be an object, found {type(record).__name__}.")
    names = {"tool": record.get("tool_name"), "name": record.get("api_name"), "category": record.get("category_name")}
    general = _text(record.get("tool_description"), "tool_description", where)
    return _api(record, names, general, record.get("api_description"), where, remarks)


def _api(
    record: Mapping[str, Any], names: Mapping[str, Any], general: str, own: Any, where: str, remarks: Remarks
) -> Api | None:
    tool, name, category = (_text(names[key], key, where) for key in ("tool", "name", "category"))
    if not tool.strip() or not name.strip():
        remarks.add(NAMELESS_API, where)
        return None
    lists = [record.get(f"{kind}_parameters") for kind in ("required", "optional")]
    for kind, value in zip(("required", "optional"), lists, strict=True):
        if value is not None and not isinstance(value, list):
            raise InputError(f"{where}: '{kind}_parameters' of {name!r} must be a list, found {value!r}.")
    return Api(
        tool=tool,
        name=name,
        category=category or None,
        tool_description=general,
        description=_text(own, "description", where),
        method=_text(record.get("method"), "method", where) or None,
        url=_address(_text(record.get("url"), "url", where)),
        required=lists[0],
        optional=lists[1],
        where=where,
    )


def block(text: str) -> str:
    """Text without empty lines and superfluous white space."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def joined(own: str, general: str) -> str:
    """An API's description and its tool's, each once."""
    return "\n".join(dict.fromkeys(part for part in (own, general) if part))


def _text(value: Any, key: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: '{key}' must be a string, found {value!r}.")
    return value


def _address(url: str) -> str | None:
    # User names and the values of queries are where keys stand; a query's names are parameters anyway.
    return re.sub(r"^(\w+://)[^/@]*@", r"\1", url.partition("?")[0]) or None


def _parameter_schema(parameter: Mapping[str, Any], name: str, tool: str, remarks: Remarks) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    given = parameter.get("type")
    kind = given.strip().lower() if isinstance(given, str) else ""
    if kind in _JSON_TYPES:
        schema["type"] = _JSON_TYPES[kind]
    elif kind:
        schema |= {"type": "object" if kind in _OBJECTS else "string", "x-type": kind}
    if isinstance(description := parameter.get("description"), str) and (text := block(description)):
        schema["description"] = text
    for key in ("options", "enum"):
        if isinstance(values := parameter.get(key), list) and values:
            schema["enum"] = values
    default = parameter.get("default")
    if default is not None and default != "":
        if kind == "credentials" or _holds_credential(name, default):
            remarks.add(CREDENTIAL, f"{name} of {tool}")
        else:
            schema["default"] = default
    return schema


def _holds_credential(name: str, default: Any) -> bool:
    named = _CREDENTIAL_NAME.search(words(name)) is not None
    return named or (isinstance(default, str) and _CREDENTIAL_VALUE.search(default) is not None)
