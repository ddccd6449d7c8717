"""Tools, queries and the files under them: round trips, every message a user can meet, fingerprints, words."""

import gzip
import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.files import fingerprint, read_json, read_jsonl, replacing, write_json, write_jsonl
from toolgen.queries import Call, Query, read_queries, write_queries
from toolgen.tools import Tool, ToolCatalog, words

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMED = TEXT.filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
TOOL = st.builds(
    Tool,
    id=NAMED,
    name=NAMED,
    description=TEXT,
    parameters=st.none() | OBJECT,
    group=st.none() | NAMED,
    source=st.none() | TEXT,
    metadata=OBJECT,
)
TOOLS = st.lists(TOOL, min_size=1, max_size=5, unique_by=lambda tool: tool.id)
QUERY = st.builds(
    Query,
    id=TEXT,
    text=NAMED,
    tools=st.lists(TEXT, min_size=1, max_size=3, unique=True).map(tuple),
    split=st.none() | TEXT,
    calls=st.lists(st.builds(Call, TEXT, OBJECT), max_size=2).map(tuple),
    metadata=OBJECT,
)
QUERIES = st.lists(QUERY, min_size=1, max_size=5, unique_by=lambda query: query.id)

GOOD = Tool("s3.CreateBucket", "CreateBucket", "Makes a bucket.", {"type": "object"}, "s3", "botocore", {"v": 1})


def _written(folder: Path, *lines: str, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# Round trips


@settings(deadline=None, max_examples=50)
@given(tools=TOOLS, suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_a_catalog_comes_back_from_its_file_as_it_was(
    tools: list[Tool], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    catalog = ToolCatalog(tools)
    path = tmp_path_factory.mktemp("catalog") / f"tools{suffix}"
    catalog.to_jsonl(path)
    back = ToolCatalog.from_jsonl(path)
    assert list(back.values()) == list(catalog.values())
    assert back.ids == catalog.ids
    assert back.fingerprint == catalog.fingerprint


@settings(deadline=None, max_examples=50)
@given(queries=QUERIES, suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_queries_come_back_from_their_file_as_they_were(
    queries: list[Query], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("queries") / f"queries{suffix}"
    write_queries(path, queries)
    assert read_queries(path) == queries


def test_a_gz_file_is_compressed_and_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    packed = tmp_path / "tools.jsonl.gz"
    ToolCatalog([GOOD]).to_jsonl(packed)
    assert json.loads(gzip.decompress(packed.read_bytes())) == GOOD.to_record()
    plain = _written(tmp_path, "\ufeff" + json.dumps(GOOD.to_record()), "", "  ", '{"id": "b", "name": "b"}')
    assert ToolCatalog.from_jsonl(plain).ids == (GOOD.id, "b")
    assert [line.where for line in read_jsonl(plain)] == [f"{plain}:1", f"{plain}:4"]


def test_what_is_absent_is_not_written() -> None:
    assert Tool("a", "b").to_record() == {"id": "a", "name": "b"}
    assert Tool("a", "b", parameters={}).to_record()["parameters"] == {}
    assert Query("q", "text", ("a",)).to_record() == {"id": "q", "query": "text", "tools": ["a"]}


def test_unknown_keys_are_kept_as_metadata_and_aliases_name_the_group() -> None:
    record = {"id": "a", "name": "b", "metadata": {"x": 1}, "tool_name": "weather", "category": "Data", "url": "u"}
    tool = Tool.from_record(record)
    assert tool.group == "weather"
    assert tool.metadata == {"x": 1, "tool_name": "weather", "category": "Data", "url": "u"}
    assert Tool.from_record({"id": "a", "name": "b", "category": ["x"]}).group is None
    assert Tool.from_record({**record, "group": "own"}).group == "own"


def test_a_repeated_gold_tool_counts_once(tmp_path: Path) -> None:
    path = _written(tmp_path, '{"id": "q", "query": "x", "tools": ["b", "a", "b"], "level": 3}')
    (query,) = read_queries(path)
    assert query.tools == ("b", "a")
    assert query.metadata == {"level": 3}


# Errors


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("{broken", ["not valid JSON", "column 2", "mend or remove"]),
        ("[" * 100_000, ["not valid JSON", "recursion"]),
        ('{"id": ' + "1" * 5000 + "}", ["not valid JSON", "4300 digits"]),
        ("[1]", ["a JSON object is wanted, found list"]),
        ('{"id": "a", "name": "\\ud83d cut"}', ["half of a surrogate pair", "'\\ud83d'", "Remove it"]),
        ('{"name": "b"}', ["non-empty string 'id', found None", "Add it"]),
        ('{"id": " ", "name": "b"}', ["non-empty string 'id', found ' '"]),
        ('{"id": "a"}', ["non-empty string 'name', found None", "(id 'a')"]),
        ('{"id": "a", "name": 3}', ["non-empty string 'name', found 3"]),
        ('{"id": "a", "name": "b", "description": 1}', ["'description' of tool 'a' must be a string, found 1"]),
        ('{"id": "a", "name": "b", "group": ["x"]}', ["'group' of tool 'a' must be a string, found ['x']"]),
        ('{"id": "a", "name": "b", "source": 7}', ["'source' of tool 'a' must be a string, found 7"]),
        ('{"id": "a", "name": "b", "parameters": []}', ["'parameters' of tool 'a' must be an object, found []"]),
        ('{"id": "a", "name": "b", "metadata": "m"}', ["'metadata' of tool 'a' must be an object, found 'm'"]),
        ('{"id": "one", "name": "b"}', ["duplicate tool id 'one', first given at", ":1. ", "rename or remove"]),
    ],
)
def test_a_broken_tool_is_named_with_file_and_line(line: str, parts: list[str], tmp_path: Path) -> None:
    path = _written(tmp_path, '{"id": "one", "name": "good"}', "", line)
    with pytest.raises(InputError) as caught:
        ToolCatalog.from_jsonl(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("{}", ["needs the strings 'id' and 'query'"]),
        ('{"id": 1, "query": "x", "tools": ["a"]}', ["strings 'id' and 'query', found keys id, query, tools"]),
        ('{"id": "q", "query": "  ", "tools": ["a"]}', ["needs the strings 'id' and 'query'"]),
        ('{"id": "q", "query": "x"}', ["'q' needs 'tools'", "found None"]),
        ('{"id": "q", "query": "x", "tools": []}', ["a non-empty list of tool ids; found []"]),
        ('{"id": "q", "query": "x", "tools": "a"}', ["a non-empty list of tool ids; found 'a'"]),
        ('{"id": "q", "query": "x", "tools": [1]}', ["found [1]"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "split": ["t"]}', ["'split'", "a string, found ['t']"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "metadata": 5}', ["'metadata'", "an object, found 5"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "calls": 5}', ["'calls' of query 'q' must be a list"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "calls": {"tool": "a"}}', ["must be a list"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "calls": [{"arguments": {}}]}', ["objects with 'tool'"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "calls": [{"tool": "a", "arguments": [1]}]}', ["an object"]),
        ('{"id": "q", "query": "x", "tools": ["a", "zz"]}', ["query 'q'", "unknown tool 'zz'", "(1 tools", "'a'"]),
        ('{"id": "q", "query": "x", "tools": ["a"], "calls": [{"tool": "zz"}]}', ["names the unknown tool 'zz'"]),
        ('{"id": "one", "query": "x", "tools": ["a"]}', ["duplicate query id 'one', first given at", ":1."]),
    ],
)
def test_a_broken_query_is_named_with_file_and_line(line: str, parts: list[str], tmp_path: Path) -> None:
    path = _written(tmp_path, '{"id": "one", "query": "x", "tools": ["a"]}', line)
    with pytest.raises(InputError) as caught:
        read_queries(path, ToolCatalog([Tool("a", "a")]))
    assert str(caught.value).startswith(f"{path}:2: ")
    for part in parts:
        assert part in str(caught.value)


def test_only_the_wanted_split_is_returned_and_an_empty_one_lists_the_others(tmp_path: Path) -> None:
    rows = [{"id": split, "query": "x", "tools": ["a"], "split": split} for split in ("test", "dev")]
    path = _written(tmp_path, *map(json.dumps, rows))
    assert [query.id for query in read_queries(path, split="dev")] == ["dev"]
    with pytest.raises(InputError, match=r"no query of split 'train' \(splits here: dev, test\)"):
        read_queries(path, split="train")
    with pytest.raises(InputError, match=r"no query\. At least one"):
        read_queries(_written(tmp_path, ""))
    with pytest.raises(InputError, match=r"splits here: none"):
        read_queries(_written(tmp_path, '{"id": "q", "query": "x", "tools": ["a"]}'), split="dev")


@pytest.mark.parametrize("read", [ToolCatalog.from_jsonl, read_queries, read_json])
def test_an_absent_file_is_named(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.jsonl: no such file"):
        read(tmp_path / "nowhere.jsonl")


def _invalid_block(packed: bytes) -> bytes:
    # The first byte after the header opens a block; kind 3 does not exist.
    return packed[:10] + b"\xff" + packed[11:]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("cut.jsonl.gz", lambda packed: packed[:-9]),
        ("checksum.jsonl.gz", lambda packed: packed[:-8] + bytes(8)),
        ("block.jsonl.gz", _invalid_block),
        ("plain.jsonl.gz", lambda packed: gzip.decompress(packed)),
        ("packed.jsonl", lambda packed: packed),
        ("latin.jsonl", lambda packed: '{"id": "é"}'.encode("latin-1")),
    ],
)
def test_an_unreadable_file_is_refused(name: str, spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(spoil(gzip.compress(b'{"id": "a", "name": "b"}\n', mtime=0)))
    with pytest.raises(InputError, match=r"unreadable after line \d+ .* UTF-8"):
        ToolCatalog.from_jsonl(path)


def test_json_objects_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]}
    for text, message in (("{", "not valid JSON"), ("[]", "a JSON object is wanted, found list")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_json(path)


def test_a_catalog_refuses_emptiness_duplicates_and_unknown_groups(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="catalogue is empty"):
        ToolCatalog([])
    with pytest.raises(InputError, match=r"in\.jsonl: the catalogue is empty"):
        ToolCatalog.from_jsonl(_written(tmp_path, ""))
    with pytest.raises(InputError, match="Duplicate tool id 'a'"):
        ToolCatalog([Tool("a", "x"), Tool("a", "y")])
    grouped = (("a", "g"), ("b", None), ("c", "h"), ("d", "g"))
    catalog = ToolCatalog(Tool(tool_id, "name", group=group) for tool_id, group in grouped)
    assert catalog.ids_of_groups(["g"]) == ("a", "d")
    with pytest.raises(InputError, match=r"group\(s\) nope\. Groups here: g, h"):
        catalog.ids_of_groups(["g", "nope"])
    with pytest.raises(KeyError):
        catalog.position("e")
    assert [catalog.position(tool_id) for tool_id in catalog] == [0, 1, 2, 3]


# Writing


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "tools.jsonl"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_jsonl(path, [{"good": 1}, {"bad": object()}])
    with pytest.raises(KeyboardInterrupt), replacing(path):
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["tools.jsonl"]


def test_a_written_file_has_the_usual_permissions_and_its_folder_is_made(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_json(tmp_path / "new" / "folder" / "value.json", {})
    finally:
        os.umask(mask)
    assert (tmp_path / "new" / "folder" / "value.json").stat().st_mode & 0o777 == 0o640


# Fingerprints and figures


def test_the_fingerprint_changes_with_any_field_and_with_the_order() -> None:
    other = Tool("other", "other")
    changed = [
        replace(GOOD, id="x"),
        replace(GOOD, name="x"),
        replace(GOOD, description="x"),
        replace(GOOD, parameters=None),
        replace(GOOD, parameters={}),
        replace(GOOD, group="x"),
        replace(GOOD, source="x"),
        replace(GOOD, metadata={"v": 2}),
    ]
    catalogs = [ToolCatalog([tool, other]) for tool in (GOOD, *changed)]
    catalogs += [ToolCatalog([other, GOOD]), ToolCatalog([GOOD])]
    assert len({catalog.fingerprint for catalog in catalogs}) == len(catalogs)
    assert ToolCatalog([GOOD, other]).fingerprint == catalogs[0].fingerprint


@given(OBJECT)
def test_the_fingerprint_of_a_value_does_not_know_the_order_of_keys(value: dict[str, Any]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))
    assert fingerprint(value) != fingerprint([value])


def test_statistics_count() -> None:
    tools = [
        Tool("a", "one", "abcd", {"properties": {"x": {}, "y": {}}}, "g", "s"),
        Tool("b", "one", "abcd", {"properties": None}, "g", "s"),
        Tool("c", "two"),
    ]
    figures = ToolCatalog(tools).statistics()
    assert (figures.tools, figures.without_description, figures.identical_documents) == (3, 1, 1)
    assert figures.groups == {"g": 2, "(none)": 1}
    assert figures.sources == {"s": 2, "(unknown)": 1}
    assert figures.description_mean == pytest.approx(8 / 3)
    assert figures.description_median == 4
    assert figures.parameters_mean == pytest.approx(2 / 3)


def test_the_document_is_group_name_and_description_and_repeats_no_group() -> None:
    assert GOOD.document() == "s 3 create bucket. Makes a bucket."
    assert Tool("a", "TranslateText", group="translate").document() == "translate text."
    assert Tool("a", "---").document() == "---."


# Words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ListObjectsV2", "list objects v 2"),
        ("createDBInstance", "create db instance"),
        ("get_weather-by.city", "get weather by city"),
        ("HTTPServer", "http server"),
        ("  ", ""),
        ("getMünze", "get münze"),
        ("Zu\u0308rich", "zürich"),
        ("ÜberHTTPÄrger", "über http ärger"),
        ("Weather查询2", "weather 查询 2"),
        ("हिन्दी", "हिन्दी"),
        ("İM\u0303apM\u0303X", "i\u0307 m\u0303ap m\u0303x"),
    ],
)
def test_words(name: str, expected: str) -> None:
    assert words(name) == expected


@given(st.text())
def test_words_keep_every_letter_and_are_parted_by_one_space(name: str) -> None:
    found = words(name)
    assert found == " ".join(found.split())
    assert sum(map(str.isalpha, found)) == sum(map(str.isalpha, unicodedata.normalize("NFC", name)))


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8), min_size=1, max_size=5))
def test_camel_case_and_snake_case_read_alike(parts: list[str]) -> None:
    assert words("".join(map(str.title, parts))) == words("_".join(parts)) == " ".join(parts)


@pytest.mark.parametrize(
    ("own", "general", "expected"),
    [
        ("Names by season", "Get a beautiful Chinese name", "Names by season\nGet a beautiful Chinese name"),
        ("", "Get a beautiful Chinese name", "Get a beautiful Chinese name"),
        ("Get a beautiful Chinese name.", "Get a beautiful Chinese name", "Get a beautiful Chinese name."),
        (
            "A name that is Chinese and beautiful",
            "Get a beautiful Chinese name",
            "A name that is Chinese and beautiful",
        ),
        ("Names by season", " ", "Names by season"),
        ("Names by season", ["no text"], "Names by season"),
    ],
)
def test_what_all_operations_of_a_tool_share_follows_unless_it_is_said(
    own: str, general: object, expected: str
) -> None:
    record = {"id": "a&&b", "name": "b", "tool_name": "a", "description": own, "tool_description": general}
    tool = Tool.from_record(record)
    assert tool.description == expected
    assert Tool.from_record(tool.to_record()) == tool, "once is enough"
