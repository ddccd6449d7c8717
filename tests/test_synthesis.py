"""Synthesised queries: extractive, reproducible, and independent of the rest of the catalogue."""

import random
import re
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.files import fingerprint
from toolgen.synthesis import (
    PLAIN,
    VARIED,
    catalog_queries,
    joined_queries,
    style_weights,
    synthetic_queries,
    synthetic_records,
)
from toolgen.synthesis.clauses import FUNCTION_WORDS, imperative
from toolgen.synthesis.everyday import (
    ADDED,
    ASKED_ACTIONS,
    ASKED_THINGS,
    CLOSINGS,
    CONTEXTS,
    EVERYDAY,
    ORDERS,
    VAGUE_ACTIONS,
    VAGUE_THINGS,
)
from toolgen.synthesis.joined import JOINED
from toolgen.synthesis.material import PHRASES, Material, arguments, told_arguments
from toolgen.synthesis.plain import ARTICLES, OPENINGS, SAME
from toolgen.synthesis.styles import STYLES, make_queries
from toolgen.tools import Tool, ToolCatalog, words

GLUE = {word for opening in OPENINGS for word in opening.split()} | set(ARTICLES) | {"in", "for", "with", "by", "using"}
GLUE |= {"given", "and", "."}

sentences = st.lists(
    st.sampled_from(
        """This API endpoint allows you users to is a the of with returns Returns get Deletes list Acme acme bucket, the
        forecast. for used Provides 京都 x (optional) <b> https://a.b given please In you and.""".split()
    ),
    max_size=20,
).map(" ".join)
tools = st.builds(
    Tool,
    id=st.text(min_size=1),
    name=st.text(min_size=1).filter(str.strip) | st.sampled_from(("Acme", "getForecast", "list/the-acme")),
    description=st.text(max_size=200) | sentences,
    parameters=st.none()
    | st.dictionaries(st.sampled_from(("type", "properties")), st.none() | st.dictionaries(st.text(), st.text())),
    group=st.none() | st.text(min_size=1, max_size=10) | st.just("Acme"),
    metadata=st.dictionaries(st.sampled_from(("category", "tool_description")), st.none() | sentences),
)

SERVICE = Tool(
    "Acme Weather&&forecast",
    "forecast",
    "This endpoint allows users to retrieve the hourly Acme forecast for a given city. Use it to plan your trips.",
    {"type": "object", "properties": {"city": {"default": "Pune"}, "api_key": {"default": "s3cr3t"}}},
    "Acme Weather",
    metadata={"category": "Weather_Maps"},
)


@example(Tool("0", "\x1b\n"), 2, 0, VARIED)
@given(tools, st.integers(0, 20), st.integers(), st.sampled_from((PLAIN, VARIED)))
def test_any_tool_gives_as_many_queries_as_asked_for(
    tool: Tool, count: int, seed: int, styles: dict[str, float]
) -> None:
    queries = make_queries(tool, count, random.Random(seed), styles)
    assert len(queries) == count
    assert all(query.text.strip() and "\n" not in query.text.strip() for query in queries)


def test_the_plain_queries_are_those_of_the_published_tables(catalog: ToolCatalog) -> None:
    records = [[record.text, record.answers] for record in synthetic_records(catalog, 6, 3)]
    joined = [[query.text, query.tools] for query in joined_queries(catalog, 2, 3)]
    assert (fingerprint(records), fingerprint(joined)) == ("d69701253e0742d9", "33d50d40f424f69c")


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


def said(style: str, tool: Tool = SERVICE, count: int = 200) -> list[str]:
    """Queries of one style."""
    return [query.text for query in make_queries(tool, count, random.Random(0), {style: 1})]


def test_every_style_says_only_what_the_document_says() -> None:
    frames = [*OPENINGS, *ARTICLES, *PHRASES, *VAGUE_ACTIONS, *VAGUE_THINGS, *ASKED_ACTIONS, *ASKED_THINGS, *ORDERS]
    frames += [*CONTEXTS, *CLOSINGS, *ADDED, *(other for same in (*SAME, *EVERYDAY) for other in same)]
    document = f"{words(SERVICE.document())} weather maps api key city pune my"
    own = {word for text in (document, *frames) for word in re.findall("[a-z]+", text.lower())} | FUNCTION_WORDS
    for style in STYLES.keys() - {"misspelt", "parametrised"}:
        texts = said(style)
        found = {word for text in texts for word in re.findall("[a-z]+", text.lower())}
        assert found <= own | {"weather", "s"}, (style, found - own)
        assert len(set(texts)) > 2, style


def test_short_queries_have_two_or_three_telling_words() -> None:
    assert {len(query.split()) for query in said("short")} == {2, 3}
    assert {"hourly acme forecast", "acme weather forecast"} <= set(said("short"))


def test_vague_queries_leave_the_names_out() -> None:
    tool = Tool("a", "getTides", "Get the tides of an Acme harbour and the tides calendar of Acme.", group="Acme")
    texts = said("vague", tool)
    assert not [text for text in texts if "acme" in text or "tides calendar" in text]
    assert any("the tides of an harbour and the calendar" in text for text in texts)
    assert all(text == text.lower() for text in texts)
    named = Tool("c", "find", "Find the best times on Acme for a cruise.", group="Acme")
    assert any("best times for a cruise" in text for text in said("vague", named))
    alone = Tool("b", "removeBackground", "Remove the Background.", group="Background")
    assert all("background" in text for text in said("vague", alone)), "nothing else would be left"


def test_questions_and_imperatives_are_sentences_and_give_values_but_no_credentials() -> None:
    assert any(re.fullmatch(r"Can you .*\?", text) for text in said("question"))
    assert any(text[0].isupper() and text.endswith(".") for text in said("imperative"))
    for style in ("question", "imperative", "long"):
        texts = said(style)
        assert any("Pune" in text for text in texts) and any("Pune" not in text for text in texts)
        assert not any("s3cr3t" in text or "api key" in text for text in texts)


def test_long_queries_say_why() -> None:
    texts = said("long")
    assert min(len(text.split()) for text in texts) > 10
    assert any("about weather maps" in text for text in texts) and any("my trips" in text for text in texts)


def test_tools_without_a_description_speak_through_their_service_or_their_name() -> None:
    service = Tool("a", "v1", " ", group="Q", metadata={"tool_description": "Check the quality of any barcode"})
    assert any("quality of any barcode" in text for text in said("vague", service))
    assert any("crop the image" in text.lower() for text in said("question", Tool("b", "crop_the_image")))


def test_varied_queries_do_not_depend_on_other_tools_and_name_their_style(catalog: ToolCatalog) -> None:
    queries = catalog_queries(catalog, 4, 1, VARIED)
    assert len({query.id for query in queries}) == len(queries) == 4 * len(catalog)
    alone = catalog_queries(ToolCatalog([catalog["users.ListUser"]]), 4, 1, VARIED)
    assert alone == [query for query in queries if query.tools == ("users.ListUser",)]
    assert {query.metadata["style"] for query in catalog_queries(catalog, 20, 1, VARIED)} == set(VARIED)


def test_styles_are_a_set_or_weights() -> None:
    assert style_weights("varied") == VARIED and set(VARIED) == set(STYLES)
    assert (
        style_weights("short=1, vague=0.5") == {"short": 1, "vague": 0.5} == style_weights({"short": 1, "vague": 0.5})
    )


@pytest.mark.parametrize("styles", ["fancy", "", "short", "short=x", "fancy=1", "short=-1", "short=0", "short=nan"])
def test_unknown_styles_are_refused(styles: str) -> None:
    with pytest.raises(InputError, match="short"):
        style_weights(styles)


def test_told_arguments_take_defaults_and_leave_credentials_out() -> None:
    rng = random.Random(0)
    assert {" ".join(told_arguments(Material(SERVICE), rng)) for _ in range(50)} <= {
        f"{phrase} Pune"
        for phrase in ("with a city of", "with the city of", "for city", "where the city is", "using city")
    }


def test_defaults_that_may_be_somebodys_own_are_not_told() -> None:
    defaults = {"mobile": "7676000111", "user_mail": "a@b.example", "id": "2w9zwq3AktTeYYMuhMj", "text": "long " * 9}
    schema = {name: {"default": default} for name, default in defaults.items()}
    material = Material(Tool("t", "call", parameters={"type": "object", "properties": schema}))
    rng = random.Random(0)
    told = " ".join(" ".join(told_arguments(material, rng)) for _ in range(100))
    assert "mobile" in told and "user mail" in told
    assert not [default for default in defaults.values() if default in told]
