"""Training queries made from tools' own documents, for catalogues without labelled queries. Extractive: every content
word comes from the tool's name, group, category, parameters or description (of ToolBench's tools without one, from
their service's). Knows no models and no tokenizer.

Styles, drawn for each query with weights (``styles``). Close to the document (``plain``):

- ``named``: the name in words, often with an article, sometimes with the group ("create a bucket in s3");
- ``verbatim``: the identifier as it is written ("CreateBucket"), sometimes with the group;
- ``parametrised``: the same with one or two parameter names ("create bucket with acl and object ownership");
- ``summarised``: the description's first sentence, or sometimes a later one, its leading verb made imperative;
- ``fragment``: a window of 4 to 12 words of some sentence;
- ``combined``: summary and name together.

As people put them who do not know the tool (``everyday``):

- ``short``: two or three telling words ("bucket ownership");
- ``vague``: some words of what it does without the tool's name ("i'd like to store an object somehow");
- ``question``, ``imperative``: whole sentences, some with arguments;
- ``long``: why one asks, the request, arguments, sometimes a further wish;
- ``misspelt``: one of the others with slips of the keyboard.

A tool's queries depend on the seed and on the tool alone, so they stay the same when the catalogue grows. Requests that
want several tools are in ``joined``: in what people write, the words that name the tool are few among those that say
what to call it with.
"""

import random

from toolgen.queries import Query
from toolgen.records import Record
from toolgen.synthesis.joined import Scope, joined_queries, joined_within, parse_scopes
from toolgen.synthesis.styles import PLAIN, VARIED, Weights, make_queries, style_weights
from toolgen.tools import Tool, ToolCatalog

__all__ = [
    "PLAIN",
    "VARIED",
    "Scope",
    "catalog_queries",
    "joined_queries",
    "joined_within",
    "parse_scopes",
    "style_weights",
    "synthetic_queries",
    "synthetic_records",
]


def synthetic_records(catalog: ToolCatalog, per_tool: int, seed: int, styles: Weights = PLAIN) -> list[Record]:
    """Make ``per_tool`` queries for every tool, each a training pair."""
    return [Record(query.text, (query.tools,)) for query in catalog_queries(catalog, per_tool, seed, styles)]


def catalog_queries(catalog: ToolCatalog, per_tool: int, seed: int, styles: Weights = PLAIN) -> list[Query]:
    """Make ``per_tool`` queries for every tool, each with its style as metadata.

    Args:
        catalog: The tools.
        per_tool: How many of each.
        seed: Of all that is drawn.
        styles: How often each style is drawn.
    """
    return [
        Query(f"made-{number}-{tool.id}", made.text, (tool.id,), metadata={"style": made.style})
        for tool in catalog.values()
        for number, made in enumerate(make_queries(tool, per_tool, random.Random(f"{seed}:{tool.id}"), styles))
    ]


def synthetic_queries(tool: Tool, count: int, rng: random.Random) -> list[str]:
    """Make ``count`` queries in the plain styles for one tool."""
    return [made.text for made in make_queries(tool, count, rng)]
