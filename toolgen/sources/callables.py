"""A Python function as a tool: its signature and docstring become the catalogue's entry, JSON its arguments. Knows
signatures and Google's style of docstrings, but not where functions come from or run.

Types are those that pydantic knows. They are strict: a whole number is no text, and a text no number.
"""

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from toolgen.errors import InputError
from toolgen.tools import Tool

SOURCE = "python"

_SECTION = re.compile(r"^(\w[\w ]*):[ \t]*$", re.MULTILINE)
_ARGUMENTS = ("Args", "Arguments", "Parameters")
_ENTRY = re.compile(r"^(\w+)(?:[ \t]*\([^)\n]*\))?:[ \t]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE)


class BadArgumentsError(ValueError):
    """Arguments that a function does not take."""


class _Untitled(GenerateJsonSchema):
    """Without the names of the arguments in other words."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class ToolFunction:
    """A function that JSON can call.

    Attributes:
        tool: What the catalogue says about it.
        function: Itself.
        reader: Takes arguments as JSON and gives them back by place and by name.
    """

    tool: Tool
    function: Callable[..., Any]
    reader: TypeAdapter[Any]

    def read(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, by place and by name.

        Args:
            text: A JSON object.

        Raises:
            BadArgumentsError: The function does not take them.
        """
        try:
            return self.reader.validate_json(text, strict=True)
        except ValidationError as error:
            found = (f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in error.errors(include_url=False))
            raise BadArgumentsError("; ".join(found)) from error


def tool_function(function: Callable[..., Any], tool_id: str) -> ToolFunction:
    """Read a function's signature and docstring.

    Args:
        function: Every argument of it can be given by name.
        tool_id: Id of the tool.

    Raises:
        InputError: The function is none that JSON could call.
    """
    if not inspect.isfunction(function):
        raise InputError(f"{tool_id} is no Python function but {type(function).__name__}. Name a function.")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InputError(f"{tool_id} is no plain function but asynchronous or a generator. Wrap it in a plain one.")
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    if kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}:
        raise InputError(f"{tool_id} has arguments without names. JSON gives arguments by name; name them all.")

    # It has the function's signature, and calls nothing: what the function itself raises is no fault of its arguments.
    @functools.wraps(function)
    def caught(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    try:
        signature: Any = caught
        reader: TypeAdapter[Any] = TypeAdapter(signature)
        schema = reader.json_schema(schema_generator=_Untitled)
    except (PydanticUserError, PydanticInvalidForJsonSchema, NameError) as error:
        brief = str(error).splitlines()[0]
        raise InputError(f"{tool_id}: an argument's type cannot be told in JSON ({brief}). Annotate it.") from error
    description, told = read_docstring(inspect.getdoc(function) or "")
    for name, text in told.items():
        if name in schema.get("properties", {}):
            schema["properties"][name]["description"] = text
    tool = Tool(tool_id, function.__name__, description, schema, group=function.__module__, source=SOURCE)
    return ToolFunction(tool, function, reader)


def read_docstring(text: str) -> tuple[str, Mapping[str, str]]:
    """What a docstring says of its function, and of each argument by name.

    Args:
        text: Without its indentation, as ``inspect.getdoc`` gives it.

    Example:
        >>> read_docstring("Adds.\\n\\nArgs:\\n    one: The first\\n        number.\\n\\nReturns:\\n    The sum.")
        ('Adds.', {'one': 'The first number.'})
    """
    sections = list(_SECTION.finditer(text))
    said: dict[str, str] = {}
    for section, after in zip_longest(sections, sections[1:]):
        if section.group(1) in _ARGUMENTS:
            body = inspect.cleandoc(text[section.end() : after.start() if after else None])
            said |= {name: " ".join(words.split()) for name, words in _ENTRY.findall(body)}
    return text[: sections[0].start() if sections else None].strip(), said


def result_text(result: Any) -> str:
    """A result as an observation shows it: text as it is, anything else as compact JSON.

    Raises:
        TypeError: It is neither text nor JSON.
        ValueError: It is a number that JSON has not, has no end, or is no Unicode.
        RecursionError: It is nested too deeply.
    """
    text = (
        result
        if isinstance(result, str)
        else json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    )
    # A lone half of a surrogate pair stands in a str and in no file.
    text.encode()
    return str(text)
