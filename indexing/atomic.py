"""Atomic codes: one new token a tool. Knows surfaces, no token ids.

The surface is ToolGen's (arXiv 2410.03439, section 3.2): ``<<group&&name>>``, or ``<<name>>`` for a tool without a
group, such as ``<<Finish>>``.
"""

from toolgen.codebook import Codebook, Encode
from toolgen.tools import Tool, ToolCatalog


def surface(tool: Tool, number: int = 1) -> str:
    """The tool's symbol; from the second on, ``number`` tells tools of one name apart: ``<<group&&name#2>>``."""
    name = f"{tool.group}&&{tool.name}" if tool.group else tool.name
    return f"<<{name}#{number}>>" if number > 1 else f"<<{name}>>"


def build(catalog: ToolCatalog, *, encode: Encode, disambiguate: bool, base: Codebook | None) -> Codebook:
    """One new symbol a tool; see ``toolgen.indexing.build`` for the arguments (``encode`` has no say here).

    Raises:
        CollisionError: Two tools have one surface and ``disambiguate`` is off.
    """
    codes = dict(base.codes) if base else {}
    symbols = dict.fromkeys(base.new_symbols if base else ())
    disambiguated = list(base.disambiguated if base else ())
    added = [tool for tool in catalog.values() if tool.id not in codes]
    # A numbered surface must not take the name that a tool further down has by right.
    own = {surface(tool) for tool in added}
    numbers: dict[str, int] = {}
    for tool in added:
        symbol = wanted = surface(tool)
        if wanted in symbols and disambiguate:
            number = numbers.get(wanted, 1) + 1
            while (symbol := surface(tool, number)) in symbols or symbol in own:
                number += 1
            numbers[wanted] = number
            disambiguated.append(tool.id)
        symbols[symbol] = None
        codes[tool.id] = (symbol,)
    return Codebook(
        scheme="atomic",
        codes={tool_id: codes[tool_id] for tool_id in catalog},
        new_symbols=tuple(symbols),
        catalog_fingerprint=catalog.fingerprint,
        disambiguated=tuple(disambiguated),
    )
