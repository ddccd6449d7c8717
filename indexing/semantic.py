"""Semantic codes: ToolBench's standardised function name in ordinary word pieces. Knows names and their token ids.

The name is ``api_for_tool`` (arXiv 2410.03439, appendix D, and ToolBench, arXiv 2307.16789), where the api is the
tool's name and the tool is its group. Names are cut and standardised, and a tokenizer may fold case or not know a
character, so distinct tools can end up with the same tokens: of ToolGen's 46,984 tools 252 do.

Split, the name is ``tool/api`` in two symbols. The tools of a group then share the beginning of their codes and not the
end: decoding settles first which group, then which of its few tools, and beams are not spent on the same api of many
groups. It is shorter too, and as each part is cut by itself, fewer codes fall together (of 47,073 tools 108, not 286).
"""

import re
from collections import Counter
from collections.abc import Mapping

from toolgen.codebook import Codebook, Encode
from toolgen.errors import InputError
from toolgen.indexing.options import settle
from toolgen.indexing.symbols import numbered
from toolgen.tools import Tool, ToolCatalog

LONGEST = 64
"""Characters of a function name, or of each part of a split one; ToolBench keeps the last ones."""

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


def split_name(tool: Tool) -> tuple[str, ...]:
    """Group and name, each standardised: ``("weather/", "forecast")``. A part of which nothing is left is left out, so
    the result may be empty. No standardised name holds the slash that closes the group."""
    group = standardize(tool.group or "")[-LONGEST:]
    name = standardize(tool.name)[-LONGEST:]
    return tuple(part for part in (f"{group}/" if group else "", name) if part)


def build(
    catalog: ToolCatalog, *, encode: Encode, disambiguate: bool, base: Codebook | None, split: bool | None = None
) -> Codebook:
    """The function name of each tool; see ``toolgen.indexing.build`` for the other arguments.

    With ``disambiguate`` the second tool of some token ids gets the new last symbol ``<<#2>>``, the third ``<<#3>>``,
    and so on; all names share these few symbols.

    Args:
        split: Two text symbols a tool, group then name, where a tool has a group. Off unless told.

    Raises:
        CollisionError: Two tools have one function name and ``disambiguate`` is off.
        InputError: Standardisation leaves nothing of a tool's name, and of its group; or the base was built otherwise.
    """
    split = settle("split", split, base, False)
    codes = dict(base.codes) if base else {}
    symbols = dict.fromkeys(base.new_symbols if base else ())
    disambiguated = list(base.disambiguated if base else ())
    added = {tool.id: tool for tool in catalog.values() if tool.id not in codes}
    names = {tool_id: split_name(tool) if split else (function_name(tool),) for tool_id, tool in added.items()}
    _check_names(names, catalog)

    def ids(code: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(token_id for text in code if text not in symbols for token_id in encode(text))

    bearers = Counter(map(ids, codes.values()))
    for tool_id, name in names.items():
        bearers[ids(name)] += 1
        codes[tool_id] = name
        if disambiguate and (number := bearers[ids(name)]) > 1:
            symbols[numbered(number)] = None
            codes[tool_id] = (*name, numbered(number))
            disambiguated.append(tool_id)
    return Codebook(
        scheme="semantic",
        codes={tool_id: codes[tool_id] for tool_id in catalog},
        new_symbols=tuple(symbols),
        catalog_fingerprint=catalog.fingerprint,
        options={"split": split},
        disambiguated=tuple(disambiguated),
    )


def _check_names(names: Mapping[str, tuple[str, ...]], catalog: ToolCatalog) -> None:
    if nameless := [tool_id for tool_id, name in names.items() if not any(name)]:
        named = ", ".join(f"{tool_id!r} (name {catalog[tool_id].name!r})" for tool_id in nameless[:5])
        more = f" and {len(nameless) - 5:,} more" if len(nameless) > 5 else ""
        raise InputError(
            f"Standardisation leaves nothing of the name of {len(nameless):,} tool(s): {named}{more}. A semantic code "
            "needs an ASCII letter, a digit or a CJK ideograph in the name, or a group; or use --scheme atomic."
        )
