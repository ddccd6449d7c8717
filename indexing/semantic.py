"""Semantic codes: ToolBench's standardised function name in ordinary word pieces. Knows names and their token ids.

The name is ``api_for_tool`` (arXiv 2410.03439, appendix D, and ToolBench, arXiv 2307.16789), where the api is the
tool's name and the tool is its group. Names are cut and standardised, and a tokenizer may fold case or not know a
character, so distinct tools can end up with the same tokens: of ToolGen's 46,984 tools 252 do.
"""

import re
from collections import Counter

from toolgen.codebook import Codebook, Encode
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

LONGEST = 64
"""Characters of a function name; ToolBench keeps the last ones."""

_RESERVED = frozenset(("from", "class", "return", "false", "true", "id", "and"))
# ToolBench's own range of CJK ideographs; later blocks, kana and hangul are foreign to it.
_FOREIGN = re.compile("[^a-zA-Z0-9_\u4e00-\u9fa5]")


def standardize(name: str) -> str:
    """ToolBench's name standardisation: ``"500px: Get  Photos!"`` -> ``"get_500px_get_photos"``.

    What is neither an ASCII letter, a digit nor a CJK ideograph becomes ``_``; may leave nothing.
    """
    clean = re.sub("_+", "_", _FOREIGN.sub("_", name)).lower().strip("_")
    return f"get_{clean}" if clean[:1].isdigit() else clean


def change_name(name: str) -> str:
    """Put ``is_`` before words that a programming language reserves."""
    return f"is_{name}" if name in _RESERVED else name


def function_name(tool: Tool) -> str:
    """ToolBench's function name, at most 64 characters; without a group the name alone, which may be empty."""
    name = change_name(standardize(tool.name))
    if tool.group:
        name += f"_for_{standardize(tool.group)}"
    return name[-LONGEST:]


def build(catalog: ToolCatalog, *, encode: Encode, disambiguate: bool, base: Codebook | None) -> Codebook:
    """One text symbol a tool; see ``toolgen.indexing.build`` for the arguments.

    With ``disambiguate`` the second tool of some token ids gets the new last symbol ``<<#2>>``, the third ``<<#3>>``,
    and so on; all names share these few symbols.

    Raises:
        CollisionError: Two tools have one function name and ``disambiguate`` is off.
        InputError: A tool without a group has a name of which standardisation leaves nothing.
    """
    codes = dict(base.codes) if base else {}
    symbols = list(base.new_symbols if base else ())
    disambiguated = list(base.disambiguated if base else ())
    names = {tool.id: function_name(tool) for tool in catalog.values() if tool.id not in codes}
    _check_names(names, catalog)
    bearers = Counter(tuple(encode(code[0])) for code in codes.values())
    for tool_id, name in names.items():
        ids = tuple(encode(name))
        bearers[ids] += 1
        codes[tool_id] = (name,)
        if disambiguate and bearers[ids] > 1:
            if bearers[ids] > len(symbols) + 1:
                symbols.append(f"<<#{bearers[ids]}>>")
            codes[tool_id] = (name, symbols[bearers[ids] - 2])
            disambiguated.append(tool_id)
    return Codebook(
        scheme="semantic",
        codes={tool_id: codes[tool_id] for tool_id in catalog},
        new_symbols=tuple(symbols),
        catalog_fingerprint=catalog.fingerprint,
        disambiguated=tuple(disambiguated),
    )


def _check_names(names: dict[str, str], catalog: ToolCatalog) -> None:
    if nameless := [tool_id for tool_id, name in names.items() if not name]:
        named = ", ".join(f"{tool_id!r} (name {catalog[tool_id].name!r})" for tool_id in nameless[:5])
        more = f" and {len(nameless) - 5:,} more" if len(nameless) > 5 else ""
        raise InputError(
            f"Standardisation leaves nothing of the name of {len(nameless):,} tool(s): {named}{more}. A semantic code "
            "needs an ASCII letter, a digit or a CJK ideograph in the name, or a group; or use --scheme atomic."
        )
