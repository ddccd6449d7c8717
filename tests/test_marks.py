"""Marks: near duplicates are what comparing all pairs finds; keys and groups are what the queries and tools say."""

import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.marks import LOWEST_NEAR, Mark, Texts, marks_of, near_duplicates, similarity
from toolgen.queries import Query
from toolgen.tools import Tool, ToolCatalog


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def pairs(texts: Texts) -> set[tuple[int, ...]]:
    """Places of texts that are near duplicates."""
    alike = {frozenset(pair) for pair in texts.alike}
    return {
        (first, second)
        for (first, one), (second, other) in combinations(enumerate(texts.numbers), 2)
        if one == other or frozenset((one, other)) in alike
    }


TEXTS = st.lists(
    st.lists(st.sampled_from("a b c d e f g h i j k l".split()), min_size=1, max_size=12).map(" ".join),
    min_size=1,
    max_size=40,
)


@given(texts=TEXTS, threshold=st.sampled_from([LOWEST_NEAR, 0.6, 2 / 3, 0.7, 0.75, 0.8, 1.0]))
@settings(max_examples=150)
def test_near_duplicates_are_what_comparing_all_pairs_finds(texts: list[str], threshold: float) -> None:
    sets = [words(text) for text in texts]
    found = near_duplicates(texts, threshold)
    assert pairs(found) == {
        (first, second)
        for first, second in combinations(range(len(texts)), 2)
        if len(sets[first] & sets[second]) / len(sets[first] | sets[second]) >= threshold
    }
    assert len(found.alike) == len({frozenset(pair) for pair in found.alike}), "each pair once"


def test_case_and_punctuation_make_no_difference_and_words_do() -> None:
    assert pairs(near_duplicates(["Delete ALL files!", "delete: all files", "delete no files"])) == {(0, 1)}
    assert pairs(near_duplicates(["!?", "!?", "..."])) == {(0, 1)}, "a text without a word is a word itself"
    assert similarity("Delete ALL files!", "delete no files") == 0.5


def test_scripts_without_blanks_are_compared_character_by_character() -> None:
    assert pairs(near_duplicates(["查询北京的天气预报", "查询北京天气预报", "删除所有文件"])) == {(0, 1)}


def test_ten_thousand_equal_texts_are_one() -> None:
    texts = near_duplicates(["the same words again"] * 10_000)
    assert set(texts.numbers) == {0} and texts.alike == ()


QUERIES = [
    Query("1", "copy a file", ("a", "b"), metadata={"domain": "disk"}),
    Query("2", "copy a file now", ("b",), metadata={"domain": "net"}),
]


def test_a_query_bears_its_text_its_gold_set_and_what_is_near_to_its_text() -> None:
    first, second = marks_of(QUERIES)
    assert first.own == (Mark("text", 0), Mark("gold set", frozenset("ab"))) and first.near == (Mark("text", 1),)
    assert second.own == (Mark("text", 1),) and second.near == (Mark("text", 0),)


def test_groups_are_those_of_the_gold_tools_or_what_a_key_says_beside_the_tools() -> None:
    catalog = ToolCatalog([Tool("a", "a", group="g"), Tool("b", "b")])
    grouped = marks_of(QUERIES, "group", catalog=catalog)
    assert [marks.own for marks in grouped] == [(Mark("group", "g"), Mark("tool", "b")), (Mark("tool", "b"),)]
    keyed = marks_of(QUERIES, "group", key="domain")
    assert keyed[0].own == (Mark("domain", "disk"), Mark("tool", "a"), Mark("tool", "b"))


@pytest.mark.parametrize(
    ("by", "options", "message"),
    [
        ("query", {"near": 0.3}, "threshold of near duplicates is 0.3; give 0.5 to 1"),
        ("group", {}, "Give it with --tools"),
        ("group", {"catalog": ToolCatalog([Tool("a", "a"), Tool("b", "b")])}, "tools in it that have one"),
        ("group", {"key": "topic"}, r"Query '1' has no text or number under the key 'topic' \(its keys: domain\)"),
        ("tool", {"key": "domain"}, "give it with --by group, not --by tool"),
    ],
)
def test_what_has_no_marks_is_refused(by, options, message) -> None:
    with pytest.raises(InputError, match=message):
        marks_of(QUERIES, by, **options)
