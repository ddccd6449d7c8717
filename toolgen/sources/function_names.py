"""Function names as ToolBench shows tools to a model: at most 64 characters, and back to exactly one tool. Knows tools,
but no files.

ToolBench's own rule (``exposed_name``) cuts long names and gives some tools the name of another. Here a name
that is taken gets a number at its end, so that every name leads back to one tool.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from toolgen.tools import Tool

LONGEST = 64
"""Characters of a function name at most, the limit of OpenAI's interface."""

RESERVED = frozenset(("from", "class", "return", "false", "true", "id", "and"))
"""Names of APIs that ToolBench puts ``is_`` before."""

# ToolBench's character class repeats its caret, and so keeps carets.
_OTHER = re.compile(r"[^\u4e00-\u9fa5a-zA-Z0-9_^]+")
_RUN = re.compile("__+")


def standardize(name: str) -> str:
    """A name as ToolBench writes it: letters, digits and Chinese characters in lower case, ``_`` for everything else,
    not at the ends and never twice; ``get_`` before a leading digit. May be empty."""
    plain = _RUN.sub("_", _OTHER.sub("_", name)).lower().strip("_")
    return f"get_{plain}" if plain[:1].isdigit() else plain


def exposed_name(tool: Tool) -> str:
    """The name that ToolBench exposes: ``api_for_tool``, standardised and cut to its last 64 characters.

    Not unique. A tool without group is exposed by its name alone.

    Example:
        >>> exposed_name(Tool("1", "ID", group="Web Search"))
        'is_id_for_web_search'
    """
    name = standardize(tool.name)
    if name in RESERVED:
        name = f"is_{name}"
    if tool.group is not None:
        name = f"{name}_for_{standardize(tool.group)}"
    return name[-LONGEST:] or "tool"


def function_names(tools: Mapping[str, Tool]) -> dict[str, str]:
    """A function name for each tool: its exposed name, with ``_2``, ``_3`` ... at its end where that is taken.

    Args:
        tools: A catalogue; tools that are added at its end change no earlier name.

    Returns:
        Tool id -> name; no two are equal, none is longer than 64 characters.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    uses: Counter[str] = Counter()
    for tool in tools.values():
        name = plain = exposed_name(tool)
        while name in taken:
            uses[plain] += 1
            suffix = f"_{uses[plain] + 1}"
            name = plain[-(LONGEST - len(suffix)) :] + suffix
        taken.add(name)
        names[tool.id] = name
    return names


class ExposedNames:
    """Looks up which tools ToolBench exposed by a name."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._ids: dict[str, list[str]] = defaultdict(list)
        for tool in tools.values():
            self._ids[exposed_name(tool)].append(tool.id)

    def ids(self, name: str, among: Collection[str] | None = None) -> list[str]:
        """Ids of all tools with exactly this exposed name, of those in ``among`` where it is given."""
        return [tool for tool in self._ids.get(name, ()) if among is None or tool in among]
