"""The AWS importer: on a made-up service, where every answer is known, and on what botocore ships."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.handlers import VALID_BUCKET
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.sources.botocore import available_services, import_catalog, import_examples
from toolgen.sources.markup import plain_text, summary
from toolgen.tools import Tool, ToolCatalog

ANY_JSON = ["object", "array", "string", "number", "boolean", "null"]
SHAPES: dict[str, Any] = {
    "PutThingRequest": {
        "type": "structure",
        "required": ["Name"],
        "members": {
            "Name": {"shape": "Name", "documentation": "<p>The name. It must be new.</p>"},
            "Kind": {"shape": "Kind", "deprecated": True},
            "Body": {"shape": "Body"},
            "When": {"shape": "When"},
            "Ratio": {"shape": "Ratio"},
            "Tags": {"shape": "Tags"},
            "Labels": {"shape": "Labels"},
            "Tree": {"shape": "Tree"},
            "Choice": {"shape": "Choice"},
            "Free": {"shape": "Free"},
            "Packed": {"shape": "Plain", "jsonvalue": True},
            "Events": {"shape": "Events", "eventstream": True},
            "Odd": {"shape": "Odd"},
            "Flag": {"shape": "Flag"},
        },
    },
    "Name": {"type": "string", "min": 1, "max": 9, "pattern": "[a-z]+", "documentation": "<p>Overruled.</p>"},
    "Kind": {"type": "string", "enum": ["big", "small"], "documentation": "<p>Of the shape itself</p>"},
    "Body": {"type": "blob", "min": 1, "max": 9},
    "When": {"type": "timestamp"},
    "Ratio": {"type": "double", "min": 0, "max": 1},
    "Tags": {"type": "list", "member": {"shape": "Name"}, "min": 0, "max": 5},
    "Labels": {"type": "map", "key": {"shape": "Kind"}, "value": {"shape": "Count"}, "max": 3},
    "Count": {"type": "long", "min": 0},
    "Tree": {"type": "structure", "members": {"Leaf": {"shape": "Flag"}, "Boughs": {"shape": "Boughs"}}},
    "Boughs": {"type": "list", "member": {"shape": "Tree"}},
    "Choice": {"type": "structure", "union": True, "members": {"One": {"shape": "Flag"}, "Two": {"shape": "Plain"}}},
    "Free": {"type": "structure", "document": True, "members": {}},
    "Events": {"type": "structure", "eventstream": True, "members": {"Ping": {"shape": "Ping"}}},
    "Ping": {"type": "structure", "event": True, "members": {}},
    "Odd": {"type": "string", "pattern": "\\p{L}+"},
    "Flag": {"type": "boolean"},
    "Plain": {"type": "string"},
}
OPERATIONS: dict[str, Any] = {
    "PutThing": {
        "name": "PutThing",
        "input": {"shape": "PutThingRequest"},
        "documentation": "<p>Puts a <code>Thing</code>.</p><note><p>Slowly.</p></note>",
        "idempotent": True,
    },
    "OldThing": {
        "name": "OldThing",
        "deprecated": True,
        "deprecatedMessage": "Use <code>PutThing</code>.",
    },
}


def _example(example_id: str, title: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    example: dict[str, Any] = {"id": example_id, "title": title, "description": f" About  {example_id}. "}
    return example if arguments is None else example | {"input": arguments}


def _add_service(root: Path, service: str, version: str, operations: Any, examples: Any = None) -> None:
    folder = root / service / version
    folder.mkdir(parents=True)
    metadata = {"serviceFullName": f"The {service} Service", "apiVersion": version, "endpointPrefix": service}
    model = {"metadata": metadata, "operations": operations, "shapes": SHAPES}
    (folder / "service-2.json").write_text(json.dumps(model))
    if examples is not None:
        (folder / "examples-1.json").write_text(json.dumps({"version": "1.0", "examples": examples}))


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services in place of AWS's: acme, in two versions, and brim."""
    old_example = {"Ancient": [_example("old", "Of the old version")]}
    _add_service(tmp_path, "acme", "2001-01-01", {"Ancient": {"name": "Ancient"}}, old_example)
    examples = {
        "PutThing": [
            _example("put", "To put  a thing ", {"Name": "x"}),
            _example("put", "To put two things"),
            _example("void", "  "),
        ],
        "OldThing": [_example("old", "to PUT a thing."), _example("elsewhere", "Old?")],
        "Unmodelled": [_example("lost", "An operation that the model lacks")],
    }
    _add_service(tmp_path, "acme", "2020-02-02", OPERATIONS, examples)
    same_title = {"Fill": [_example("f", "To put a thing")]}
    _add_service(tmp_path, "brim", "2020-02-02", {"Fill": {"name": "Fill"}}, same_title)
    _add_service(tmp_path, "calm", "2020-02-02", {"Rest": {"name": "Rest"}})
    monkeypatch.setattr(Loader, "BUILTIN_DATA_PATH", str(tmp_path))


# The made-up service


@pytest.mark.usefixtures("made_up")
def test_an_operation_becomes_a_tool_of_the_latest_version() -> None:
    catalog = import_catalog(["acme"])
    assert catalog.ids == ("acme.PutThing", "acme.OldThing")
    put, old = catalog.values()
    assert (put.name, put.group, put.source) == ("PutThing", "acme", "botocore")
    assert put.description == "Puts a Thing.\nSlowly."
    version = {"service_full_name": "The acme Service", "api_version": "2020-02-02"}
    assert put.metadata == {**version, "idempotent": True}
    assert old.metadata == {**version, "deprecated": True, "deprecated_message": "Use PutThing."}
    assert old.description == ""
    assert old.parameters == {"type": "object", "properties": {}}


@pytest.mark.usefixtures("made_up")
def test_the_input_becomes_json_schema() -> None:
    schema = import_catalog(["acme"])["acme.PutThing"].parameters
    assert schema is not None
    assert schema["type"] == "object"
    assert schema["required"] == ["Name"]
    bounded = {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "[a-z]+"}
    flag = {"type": "boolean"}
    exactly_one = {"minProperties": 1, "maxProperties": 1}
    assert schema["properties"] == {
        "Name": {**bounded, "description": "The name."},
        "Kind": {
            "type": "string",
            "enum": ["big", "small"],
            "description": "Of the shape itself",
            "deprecated": True,
        },
        "Body": {"type": "string", "contentEncoding": "base64"},
        "When": {"type": "string", "format": "date-time"},
        "Ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "Tags": {"type": "array", "minItems": 0, "maxItems": 5, "items": {**bounded, "description": "Overruled."}},
        "Labels": {
            "type": "object",
            "propertyNames": {"enum": ["big", "small"]},
            "additionalProperties": {"type": "integer", "minimum": 0},
            "maxProperties": 3,
        },
        "Tree": {
            "type": "object",
            "properties": {
                "Leaf": flag,
                "Boughs": {"type": "array", "items": {"type": "object", "x-recursive": "Tree"}},
            },
        },
        "Choice": {"type": "object", "properties": {"One": flag, "Two": {"type": "string"}}, **exactly_one},
        "Free": {"type": ANY_JSON},
        "Packed": {"type": ANY_JSON},
        "Events": {
            "type": "array",
            "x-eventstream": True,
            "items": {
                "type": "object",
                "properties": {"Ping": {"type": "object", "properties": {}}},
                **exactly_one,
            },
        },
        "Odd": {"type": "string", "x-pattern": "\\p{L}+"},
        "Flag": flag,
    }


@pytest.mark.usefixtures("made_up")
def test_depth_and_text_are_cut_where_told() -> None:
    schema = import_catalog(["acme"], max_depth=0, max_parameter_text=15)["acme.PutThing"].parameters
    assert schema is not None
    assert schema["properties"]["Tree"] == {"type": "object", "x-cut": "Tree"}
    assert schema["properties"]["Kind"]["description"] == "Of the shape…"
    deeper = import_catalog(["acme"], max_depth=1)["acme.PutThing"].parameters
    assert deeper is not None
    assert deeper["properties"]["Events"]["items"]["properties"]["Ping"] == {"type": "object", "x-cut": "Ping"}
    assert "x-cut" not in json.dumps(deeper["properties"]["Tree"])


@pytest.mark.usefixtures("made_up")
def test_services_keep_their_order_come_once_and_report_progress() -> None:
    seen: list[tuple[int, int]] = []
    catalog = import_catalog(["brim", "acme", "brim"], lambda done, total: seen.append((done, total)))
    assert catalog.ids == ("brim.Fill", "acme.PutThing", "acme.OldThing")
    assert seen == [(1, 2), (2, 2)]
    assert import_catalog().ids == ("acme.PutThing", "acme.OldThing", "brim.Fill", "calm.Rest")
    assert available_services() == ("acme", "brim", "calm")


@pytest.mark.usefixtures("made_up")
def test_examples_with_one_title_are_one_query_with_all_their_operations() -> None:
    merged, again, elsewhere = import_examples(import_catalog())
    assert (merged.id, merged.text) == ("acme.put", "To put a thing")
    assert merged.tools == ("acme.PutThing", "acme.OldThing", "brim.Fill")
    assert [call.tool for call in merged.calls] == list(merged.tools)
    assert [call.arguments for call in merged.calls] == [{"Name": "x"}, {}, {}]
    assert merged.metadata == {
        "examples": ["acme.put", "acme.old", "brim.f"],
        "services": ["acme", "brim"],
        "descriptions": ["About put.", "About old.", "About f."],
    }
    assert (again.id, again.text, again.tools) == ("acme.put#2", "To put two things", ("acme.PutThing",))
    assert (elsewhere.id, elsewhere.text, elsewhere.split) == ("acme.elsewhere", "Old?", None)


@pytest.mark.usefixtures("made_up")
def test_only_operations_of_the_catalog_and_of_the_named_services_are_exemplified() -> None:
    catalog = import_catalog()
    assert [query.tools for query in import_examples(catalog, ["brim"])] == [("brim.Fill",)]
    assert import_examples(catalog, ["calm"]) == []
    only_old = ToolCatalog([catalog["acme.OldThing"]])
    assert [query.id for query in import_examples(only_old)] == ["acme.old", "acme.elsewhere"]
    assert import_examples(ToolCatalog([Tool("own", "own", group="acme")])) == []


def test_models_in_the_home_folder_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _add_service(tmp_path, "acme", "2020-02-02", OPERATIONS)
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path))
    assert "acme" not in available_services()


def test_an_unknown_service_is_refused_with_those_like_it() -> None:
    with pytest.raises(InputError, match=r"Unknown AWS service 'dynamo'\. Did you mean .*\bdynamodb\b.*lists all \d+"):
        import_catalog(["s3", "dynamo"])
    with pytest.raises(InputError, match=r"Unknown AWS service 'qqqqqqqq'\. No name is close to it"):
        import_examples(ToolCatalog([Tool("a", "a")]), ["qqqqqqqq"])
    with pytest.raises(InputError, match="No AWS service is named"):
        import_catalog([])
    with pytest.raises(InputError, match="max_depth is -1 and max_parameter_text 200; give at least 0 and 1"):
        import_catalog(["s3"], max_depth=-1)


# What botocore ships


@pytest.fixture(scope="module")
def catalog() -> ToolCatalog:
    return import_catalog(["sts", "sqs", "kms", "dynamodb"])


def test_real_operations_have_documents_and_parameters(catalog: ToolCatalog) -> None:
    scan = catalog["dynamodb.Scan"].parameters
    assert scan is not None
    assert scan["required"] == ["TableName"]
    value = scan["properties"]["ExclusiveStartKey"]["additionalProperties"]["properties"]
    assert value["B"]["contentEncoding"] == "base64"
    assert value["M"]["additionalProperties"]["x-recursive"] == "AttributeValue"
    assert "Amazon Web Services" in catalog["sts.AssumeRole"].description
    for tool in catalog.values():
        assert tool.id == f"{tool.group}.{tool.name}"
        assert tool.parameters is not None and tool.parameters["type"] == "object"
        assert tool.description and "<p>" not in tool.description and "&lt;" not in tool.description
        assert not any(line != " ".join(line.split()) or not line for line in tool.description.split("\n"))


def test_real_examples_call_with_arguments_that_the_schema_knows(catalog: ToolCatalog) -> None:
    queries = import_examples(catalog)
    assert len(queries) > 50
    assert len({query.id for query in queries}) == len(queries)
    assert len({query.text.casefold().rstrip(". ") for query in queries}) == len(queries)
    for query in queries:
        assert {call.tool for call in query.calls} == set(query.tools)
        for call in query.calls:
            parameters = catalog[call.tool].parameters
            assert parameters is not None
            assert set(call.arguments) <= set(parameters["properties"])


def test_a_real_catalog_comes_back_from_its_file(catalog: ToolCatalog, tmp_path: Path) -> None:
    catalog.to_jsonl(tmp_path / "aws.jsonl.gz")
    assert ToolCatalog.from_jsonl(tmp_path / "aws.jsonl.gz").fingerprint == catalog.fingerprint


@pytest.mark.slow
def test_every_service_can_be_imported() -> None:
    everything = import_catalog()
    assert len(everything) > 19_000
    assert len(import_examples(everything)) > 1_200


# Markup


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("No markup &amp; no tags", "No markup & no tags"),
        ("<p>One.</p><p>Two.</p>", "One.\nTwo."),
        ("<ul> <li> <p>a</p> </li><li>b</li></ul>c", "a\nb\nc"),
        ("<dl><dt>Term</dt><dd>Meaning</dd></dl>", "Term\nMeaning"),
        ("<p>spread\n   over&nbsp;lines</p>", "spread over lines"),
        ("<note><p>Mind <b>this</b></p></note>That", "Mind this\nThat"),
        ("one<br/>two<para/>three", "one\ntwo\nthree"),
        ("the<code>Api</code>operation", "the Api operation"),
        ("See <a href='u'> <code>Scan</code> </a>. Next", "See Scan. Next"),
        ("two <code>Bucket</code>s and AWS::<code>X</code>::Y", "two Buckets and AWS::X::Y"),
        ("files like <code>.git</code> and <code>.</code>", "files like .git and ."),
        ("<p>arn:aws:events:<region>::<name>.</p>", "arn:aws:events:<region>::<name>."),
        ("<p>a < b and c &lt; d</p>", "a < b and c < d"),
        ("<p>unclosed <code>tag", "unclosed tag"),
        ("<zonbook></zonbook><xhtml></xhtml>", ""),
        ("<!-- not said --><p>said</p>", "said"),
    ],
)
def test_plain_text(html: str, text: str) -> None:
    assert plain_text(html) == text


@given(st.lists(st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=6), st.data())
def test_words_of_neighbouring_blocks_never_run_together(words: list[str], data: st.DataObject) -> None:
    blocks = [data.draw(st.sampled_from(["p", "li", "dd", "note", "important", "h2"])) for _ in words]
    html = "".join(f"<{block}>{word}</{block}>" for word, block in zip(words, blocks, strict=True))
    assert plain_text(html).split() == words


@given(st.text())
def test_any_text_is_survived(html: str) -> None:
    text = plain_text(html)
    assert all(line == " ".join(line.split()) != "" for line in text.split("\n")) or text == ""
    assert len(summary(html, 40)) <= 40


@pytest.mark.parametrize(
    ("html", "most", "text"),
    [
        ("<p>First one. Second one.</p>", 99, "First one."),
        ("<p>First block</p><p>Second.</p>", 99, "First block"),
        ("A size, e.g. Large or i.e. Small. Then", 99, "A size, e.g. Large or i.e. Small."),
        ("Version 1.2 of it", 99, "Version 1.2 of it"),
        ("A sentence much too long", 16, "A sentence much…"),
        ("A sentence much too long", 15, "A sentence…"),
        ("A sentence much too long", 24, "A sentence much too long"),
        ("Unbroken", 4, "Unb…"),
    ],
)
def test_summary(html: str, most: int, text: str) -> None:
    assert summary(html, most) == text


def test_a_bucket_is_named_as_botocore_sends_names() -> None:
    catalog = import_catalog(["s3"])
    pattern = catalog["s3.DeleteObject"].parameters["properties"]["Bucket"]["pattern"]
    for name in ("amber-river", "a.b_c", "arn:aws:s3:us-east-1:123456789012:accesspoint/mine"):
        assert re.search(pattern, name)
    for name in ("two words", "", "/slash", "é", "x" * 256):
        assert not re.search(pattern, name) and not VALID_BUCKET.search(name)
