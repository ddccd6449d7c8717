"""Synthesised queries: extractive, reproducible, and independent of the rest of the catalogue."""

import random
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from toolgen.synthesis import (
    ARTICLES,
    JOINED,
    OPENINGS,
    SAME,
    Material,
    arguments,
    imperative,
    joined_queries,
    synthetic_queries,
    synthetic_records,
)
from toolgen.tools import Tool, ToolCatalog, words

GLUE = {word for opening in OPENINGS for word in opening.split()} | set(ARTICLES) | {"in", "for", "with", "by", "using"}
GLUE |= {"given", "and", "."}

tools = st.builds(
    Tool,
    id=st.text(min_size=1),
    name=st.text(min_size=1).filter(str.strip),
    description=st.text(max_size=200),
    group=st.none() | st.text(min_size=1, max_size=10),
)


@given(tools, st.integers(0, 20), st.integers())
def test_any_tool_gives_as_many_queries_as_asked_for(tool: Tool, count: int, seed: int) -> None:
    queries = synthetic_queries(tool, count, random.Random(seed))
    assert len(queries) == count
    assert all(query.strip() for query in queries)


def test_every_content_word_comes_from_the_document() -> None:
    tool = Tool(
        "s3.PutObject",
        "PutObject",
        "Adds an object to a bucket. You must have write permissions on a bucket to add an object to it.",
        {"type": "object", "properties": {"ACL": {}, "StorageClass": {}}},
        "s3",
    )
    own = set(words(tool.name).split()) | set(tool.description.lower().split()) | {"s", "3", "add", "acl"}
    own |= {"storage", "class"}
    said = {word for query in synthetic_queries(tool, 300, random.Random(0)) for word in query.lower().split()}
    verbs = {word for verb, *others in SAME if verb == "put" for other in others for word in other.split()}
    assert said <= own | GLUE | verbs | {"putobject"}
    assert {"put", "object", "storage", "permissions", "putobject", "store"} <= said, "a style is never drawn"


def test_short_queries_lose_no_word() -> None:
    for query in synthetic_queries(Tool("a", "AlphaBeta"), 200, random.Random(0)):
        assert {"alpha", "beta"} <= set(query.split()) or "AlphaBeta" in query


def test_records_are_seeded_and_do_not_depend_on_other_tools(catalog: ToolCatalog) -> None:
    records = synthetic_records(catalog, 4, seed=1)
    assert len(records) == 4 * len(catalog)
    assert records == synthetic_records(catalog, 4, seed=1)
    assert records != synthetic_records(catalog, 4, seed=2)
    alone = synthetic_records(ToolCatalog([catalog["users.ListUser"]]), 4, seed=1)
    assert alone == [record for record in records if record.answers == (("users.ListUser",),)]


def test_a_leading_verb_becomes_imperative() -> None:
    assert imperative(("Creates", "a", "bucket"), "create") == ["create", "a", "bucket"]
    assert imperative(("Modifies", "it"), "put") == ["modify", "it"]
    assert imperative(("Describes", "it"), "list") == ["describe", "it"]
    assert imperative(("Attaches", "it"), "attach") == ["attach", "it"]
    assert imperative(("This", "is", "it"), "get") == ["This", "is", "it"]
    assert imperative(("Access", "it"), "get") == ["Access", "it"]


def test_joined_queries_hold_every_tool_as_often_as_asked_and_say_what_each_wants(catalog: ToolCatalog) -> None:
    joined = joined_queries(catalog, 3, seed=1)
    assert joined == joined_queries(catalog, 3, seed=1) != joined_queries(catalog, 3, seed=2)
    assert Counter(tool for query in joined for tool in query.tools) == dict.fromkeys(catalog, 3)
    assert len({query.id for query in joined}) == len(joined)
    assert {len(query.tools) for query in joined} <= set(JOINED)
    for query in joined:
        assert query.text.count(". ") >= len(query.tools) - 1


def test_arguments_take_their_values_from_the_schemas() -> None:
    schema = {
        "unitSystem": {"type": "string", "enum": ["metric", "imperial"]},
        "city": {"type": "string", "description": "Where (e.g., Paris, New York)."},
        "days": {"type": "integer"},
        "hourly": {"type": "boolean"},
        "note": {"type": "string"},
        "odd": True,
    }
    tool = Tool("w", "forecast", parameters={"type": "object", "properties": schema})
    rng = random.Random(0)
    said = [" ".join(arguments(Material(tool), rng)) for _ in range(300)]
    together = " and ".join(said)
    for name, value in (
        ("unit system", "(metric|imperial)"),
        ("city", "(Paris|New York)"),
        ("days", r"\d+(\.\d)?"),
        ("hourly", "(true|false)"),
        ("note", r"\S+"),
        ("odd", r"\S+"),
    ):
        given = re.findall(rf"(?:^| ){name} (?:is |of )?(.*?)(?= and |$)", together)
        assert given and all(re.fullmatch(value, one) for one in given), name
    assert all(1 <= text.count(" and ") + 1 <= 3 for text in said)
    assert arguments(Material(Tool("n", "nothing")), rng) == []
