"""Requests that want several tools, joined out of queries for one tool each. Knows catalogues and the styles.

Which tools are wanted together: any (``joined_queries``), or those of one group, as in ToolBench's I1, of one category,
as in I2, or of the whole catalogue (``joined_within``). ToolBench's I3 draws from collections, which its files do not
name; the whole catalogue stands in for them.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from toolgen.errors import InputError
from toolgen.queries import Query
from toolgen.synthesis.everyday import in_context
from toolgen.synthesis.material import Material, arguments, category_of, told_arguments
from toolgen.synthesis.styles import PLAIN, Weights, make_queries
from toolgen.tools import Tool, ToolCatalog

JOINTS = ("", "", "", "also", "then", "next", "after that", "and", "in addition", "finally", "additionally")
"""What may stand between two requests of one query, after a full stop."""

JOINED = (1, 2, 3, 4)
"""How many tools a joined query may want."""

ARGUED = 0.6
"""Share of the requests in joined queries that have arguments, where the tool has parameters."""

MOST_WITHIN = 4
"""Tools of a query of ``joined_within`` at most; one more where otherwise a tool would be left alone."""

ENDING = 0.5
"""Chance that a query of two tools or more takes no further one."""

LISTED = 0.35
"""Share of the queries of ``joined_within`` that are a list and not sentences."""

IN_CONTEXT = 0.5
"""Share of them that begin with why one asks."""

LISTS = ("I need the following:", "Here is what I'm after:", "Please help me with this:", "On my list:", "To do:", "")

Scope = Literal["group", "category", "catalogue"]

_GROUPING: Mapping[Scope, Callable[[Tool], str]] = {
    "group": lambda tool: tool.group or "",
    "category": category_of,
    "catalogue": lambda tool: "all",
}
_WITH_VALUES = ("question", "imperative", "long", "misspelt")
"""Styles that give arguments themselves, or should not."""


def joined_queries(catalog: ToolCatalog, per_tool: int, seed: int) -> list[Query]:
    """Make long queries in the plain styles that want several tools, which have nothing else in common; every tool is
    in ``per_tool``. All change when the catalogue grows."""
    queries: list[Query] = []
    for turn in range(per_tool):
        rng = random.Random(f"{seed}:{turn}")
        tools = rng.sample(list(catalog.values()), len(catalog))
        while tools:
            count = rng.choice(JOINED)
            wanted, tools = tools[:count], tools[count:]
            first, *others = (_argued(tool, rng) for tool in wanted)
            text = ". ".join([first, *(f"{rng.choice(JOINTS)} {query}".strip() for query in others)])
            ids = tuple(tool.id for tool in wanted)
            queries.append(Query(f"joined-{turn}-{len(queries)}", text, ids, metadata={"style": "joined"}))
    return queries


def _argued(tool: Tool, rng: random.Random) -> str:
    query = make_queries(tool, 1, rng)[0].text
    return " ".join([query, *arguments(Material(tool), rng)]) if rng.random() < ARGUED else query


def joined_within(catalog: ToolCatalog, per_tool: int, seed: int, scope: Scope, styles: Weights = PLAIN) -> list[Query]:
    """Make long queries that want two to five tools of one group, of one category or of the whole catalogue.

    Every tool that has company takes part in ``per_tool``. What a tool's request says depends on the seed and on the
    tool alone; a tool that is added changes the company of those it falls between and of few others.

    Args:
        catalog: The tools.
        per_tool: How many queries each takes part in.
        seed: Of all that is drawn.
        scope: What the tools of a query have in common. Tools without a group and without a category have none.
        styles: Of the requests; ``long`` is for whole queries and left out.

    Raises:
        InputError: No two tools have this in common.
    """
    tools_of: dict[str, list[Tool]] = defaultdict(list)
    for tool in catalog.values():
        if common := _GROUPING[scope](tool):
            tools_of[common].append(tool)
    companies = {common: tools for common, tools in tools_of.items() if len(tools) > 1}
    if per_tool and not companies:
        raise InputError(
            f"No two tools of this catalogue are in one {scope}, so no query can want several of one. Leave joined "
            f"queries within the {scope} out, or give the tools "
            f"{'a group' if scope == 'group' else 'a category in their metadata'}."
        )
    weights = {name: weight for name, weight in styles.items() if name != "long"}
    if not any(weights.values()):
        raise InputError("Joined queries leave the style long out. Give another style a weight above 0.")
    queries = []
    for turn in range(per_tool):
        for common, tools in companies.items():
            for wanted in _companies(tools, f"{seed}:{scope}:{turn}"):
                rngs = [random.Random(f"{seed}:{scope}:{turn}:{tool.id}") for tool in wanted]
                requests = [_request(tool, rng, weights) for tool, rng in zip(wanted, rngs, strict=True)]
                topic = common.replace("_", " ") if scope == "group" else ""
                text = _together(requests, in_context(Material(wanted[0]), rngs[0], topic), rngs[0])
                metadata = {"style": "joined", "within": scope}
                ids = tuple(tool.id for tool in wanted)
                queries.append(Query(f"{scope}-{turn}-{wanted[0].id}", text, ids, metadata=metadata))
    return queries


def parse_scopes(text: str) -> dict[Scope, int]:
    """Read ``"group=1,category=2"``.

    Raises:
        InputError: There is no such scope, or a number is not whole or negative.
    """
    scopes: dict[Scope, int] = {}
    for item in filter(str.strip, text.split(",")):
        name, _, number = (part.strip() for part in item.partition("="))
        scope = next((scope for scope in _GROUPING if scope == name), None)
        if scope is None or not (number.isascii() and number.isdigit()):
            raise InputError(
                f"{item.strip()!r} does not say within what to join queries. Give {', '.join(_GROUPING)} and how many "
                "queries each tool takes part in, such as group=1,category=2."
            )
        scopes[scope] = int(number)
    return scopes


def _companies(tools: Sequence[Tool], seed: str) -> Iterator[list[Tool]]:
    """Divide two tools or more into companies that hang on few of them: each tool has a place in a line and a mind of
    its own to close the company that it joins."""
    draws = {tool.id: random.Random(f"{seed}:{tool.id}:company") for tool in tools}
    line = sorted(tools, key=lambda tool: draws[tool.id].random())
    company: list[Tool] = []
    for left, tool in zip(range(len(line) - 1, -1, -1), line, strict=True):
        company.append(tool)
        closes = draws[tool.id].random() < ENDING or len(company) >= MOST_WITHIN
        if len(company) > 1 and closes and left != 1 or not left:
            yield company
            company = []


def _request(tool: Tool, rng: random.Random, styles: Weights) -> str:
    made = make_queries(tool, 1, rng, styles)[0]
    if made.style in _WITH_VALUES or rng.random() >= ARGUED:
        return made.text
    return " ".join([made.text.rstrip(" .?!"), *told_arguments(Material(tool), rng)])


def _together(requests: Sequence[str], context: str, rng: random.Random) -> str:
    parts = [context] if rng.random() < IN_CONTEXT else []
    if rng.random() < LISTED:
        *others, last = (request.rstrip(" .?!") for request in requests)
        parts.append(f"{rng.choice(LISTS)} {'; '.join(others)}; and {last}.".strip())
        return " ".join(parts)
    for place, request in enumerate(requests):
        said = f"{rng.choice(JOINTS)} {request}".strip() if place else request
        parts.append(said if said.endswith(("?", ".", "!")) else f"{said}.")
    return " ".join(parts)
