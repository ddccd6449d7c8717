"""Queries for several tools of one group or category: who is joined, and what stays when the catalogue grows."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.synthesis import VARIED, Scope, joined_within, parse_scopes
from toolgen.synthesis.joined import MOST_WITHIN
from toolgen.tools import Tool, ToolCatalog


def shop(number: int, **keys: str) -> Tool:
    category = {"category": f"Trade_{number % 2}"} if number % 7 else {}
    description = f"Retrieve the price of item {number} in a shop."
    return Tool(f"t{number}", f"price{number}", description, group=f"shop {number % 5}", metadata={**category, **keys})


SHOPS = ToolCatalog(
    [*(shop(number) for number in range(150)), Tool("lone", "lone", group="lone"), Tool("bare", "bare")]
)


@pytest.mark.parametrize(
    ("scope", "common"),
    [
        ("group", lambda tool: tool.group),
        ("category", lambda tool: tool.metadata.get("category") or tool.group),
        ("catalogue", lambda tool: "all"),
    ],
)
def test_the_tools_of_a_query_have_the_scope_in_common_and_every_tool_with_company_is_in_as_many(scope, common) -> None:
    queries = joined_within(SHOPS, 3, 1, scope, VARIED)
    assert all(len({common(SHOPS[tool]) for tool in query.tools}) == 1 for query in queries)
    assert all(2 <= len(query.tools) <= MOST_WITHIN + 1 for query in queries)
    assert len({len(query.tools) for query in queries}) > 2
    found = Counter(tool for query in queries for tool in query.tools)
    alone = set() if scope == "catalogue" else {"lone", "bare"}
    assert found == dict.fromkeys(set(SHOPS) - alone, 3)
    assert len({query.id for query in queries}) == len(queries)
    assert {(query.metadata["style"], query.metadata["within"]) for query in queries} == {("joined", scope)}
    assert queries == joined_within(SHOPS, 3, 1, scope, VARIED) != joined_within(SHOPS, 3, 2, scope, VARIED)


def test_a_query_says_what_it_wants_of_each_tool() -> None:
    for query in joined_within(SHOPS, 1, 0, "category", {"verbatim": 1}):
        assert all(SHOPS[tool].name in query.text for tool in query.tools)
    texts = [query.text for query in joined_within(SHOPS, 2, 0, "group", {"question": 1})]
    assert any(re.search(r"; and .*\.$", text) for text in texts) and any(text.endswith("?") for text in texts)
    assert any("shop 1" in text for text in texts), "no context names what they have in common"


def test_long_queries_are_not_joined() -> None:
    queries = joined_within(SHOPS, 1, 0, "category", {"verbatim": 1, "long": 9})
    assert all(SHOPS[tool].name in query.text for query in queries for tool in query.tools)
    with pytest.raises(InputError, match="long"):
        joined_within(SHOPS, 1, 0, "category", {"long": 1})


@given(st.integers(200, 10_000))
def test_a_new_tool_changes_its_neighbours_only(number: int) -> None:
    scopes: tuple[Scope, ...] = ("group", "category", "catalogue")
    grown = ToolCatalog([*SHOPS.values(), shop(number)])
    for scope in scopes:
        before = {(query.text, query.tools) for query in joined_within(SHOPS, 1, 0, scope, VARIED)}
        after = {(query.text, query.tools) for query in joined_within(grown, 1, 0, scope, VARIED)}
        # Companies close by chance before old and new ones end alike again: 1 or 2 change as a rule, 9 in 3 of 1,000.
        assert len(before - after) < len(before) / 3, "more than the companies that it falls between"


def test_no_company_is_an_error_that_names_the_cure() -> None:
    bare = ToolCatalog([Tool("a", "a"), Tool("b", "b")])
    for scope in ("group", "category"):
        with pytest.raises(InputError, match=f"in one {scope}.*give the tools a {scope}"):
            joined_within(bare, 1, 0, scope)
        assert joined_within(bare, 0, 0, scope) == []
    assert [set(query.tools) for query in joined_within(bare, 1, 0, "catalogue")] == [{"a", "b"}]


def test_scopes_are_read() -> None:
    assert parse_scopes("group=1, category=2") == {"group": 1, "category": 2}
    assert parse_scopes("") == {}


@pytest.mark.parametrize("text", ["tool=1", "group", "group=-1", "group=x", "group=²"])
def test_other_scopes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="group=1,category=2"):
        parse_scopes(text)
