"""ToolBench's tool files as tools; function names; what a folder holds; the command line; the real samples."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import refused, run
from toolbench_files import api, asked, listed, parameter, tool, toolbench, write

from toolgen.agent.trajectory import read_trajectories
from toolgen.errors import InputError
from toolgen.queries import read_queries
from toolgen.sources.function_names import LONGEST, ExposedNames, exposed_name, function_names, standardize
from toolgen.sources.remarks import Remarks
from toolgen.sources.toolbench_folder import Imported, import_toolbench
from toolgen.tools import Tool, ToolCatalog

ROOT = Path(__file__).resolve().parent.parent


def imported(folder: Path, *apis: dict[str, Any], **more: Any) -> Imported:
    """Tool files of a category and a tool called T, or as ``more`` gives them."""
    return import_toolbench(toolbench(folder, {"toolenv/tools/Weather/t.json": tool("T", *apis)} | more))


def count(done: Imported, kind: str, text: str) -> int:
    return sum(number for remark, number in done.remarks.counts.items() if remark.kind == kind and text in remark.text)


def schema(folder: Path, *required: dict[str, Any], optional: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    done = imported(folder, api("A", required_parameters=list(required), optional_parameters=list(optional)))
    return dict(done.catalog["T&&A"].parameters or {})


def test_an_api_becomes_a_tool(tmp_path: Path) -> None:
    done = import_toolbench(toolbench(tmp_path))
    assert done.catalog.ids == ("Goals&&Live", "Sky&&Forecast", "Sky&&ID", "Sky!&&ID")
    assert done.catalog["Sky&&Forecast"] == Tool(
        id="Sky&&Forecast",
        name="Forecast",
        description="Tells the weather of tomorrow.\nWeather for everyone.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        group="Sky",
        source="toolbench",
        metadata={
            "category": "Weather",
            "tool_description": "Weather for everyone.",
            "method": "GET",
            "url": "https://host/path",
            "function": "forecast_for_sky",
        },
    )


@pytest.mark.parametrize(
    ("own", "general", "expected"),
    [
        ("Own.", "General.", "Own.\nGeneral."),
        (None, "General.", "General."),
        ("  \n ", "General.", "General."),
        ("Same  text. ", "Same text.", "Same text."),
        ("A line.\r\n\n  Another.", "", "A line.\nAnother."),
        (None, "", ""),
    ],
)
def test_the_document_has_the_apis_text_and_then_the_tools(
    tmp_path: Path, own: str | None, general: str, expected: str
) -> None:
    done = imported(tmp_path, **{"toolenv/tools/Weather/t.json": tool("T", api("A", own), description=general)})
    assert done.catalog["T&&A"].description == expected
    assert done.catalog["T&&A"].document() == (f"t a. {expected}" if expected else "t a.")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("STRING", {"type": "string"}),
        ("number", {"type": "number"}),
        ("BOOLEAN", {"type": "boolean"}),
        ("ARRAY", {"type": "array"}),
        ("LIST", {"type": "array"}),
        ("OBJECT", {"type": "object"}),
        ("MAP", {"type": "object", "x-type": "map"}),
        ("ENUM", {"type": "string", "x-type": "enum"}),
        ("SELECT", {"type": "string", "x-type": "select"}),
        ("DATE (YYYY-MM-DD)", {"type": "string", "x-type": "date (yyyy-mm-dd)"}),
        ("BINARY", {"type": "string", "x-type": "binary"}),
        ("CREDENTIALS", {"type": "string", "x-type": "credentials"}),
        ("", {}),
        (None, {}),
    ],
)
def test_types_become_json_schemas(tmp_path: Path, kind: str | None, expected: dict[str, str]) -> None:
    assert schema(tmp_path, parameter("p", kind))["properties"]["p"] == expected


def test_optional_parameters_are_kept_where_none_is_required(tmp_path: Path) -> None:
    found = schema(tmp_path, optional=(parameter("a", "NUMBER", "5", "How  many."), parameter("b", default=False)))
    assert found == {
        "type": "object",
        "properties": {
            "a": {"type": "number", "default": "5", "description": "How many."},
            "b": {"type": "string", "default": False},
        },
    }


def test_a_parameter_given_twice_is_one_and_required_if_one_is(tmp_path: Path) -> None:
    again = parameter("p", "NUMBER", "7", "Text.")
    found = schema(tmp_path, parameter("p"), parameter("p"), optional=(again,))
    assert found["required"] == ["p"]
    assert found["properties"] == {"p": {"type": "string", "default": "7", "description": "Text."}}


def test_options_of_a_select_are_its_values(tmp_path: Path) -> None:
    found = schema(tmp_path, {**parameter("p", "SELECT"), "options": ["a", "b"]})
    assert found["properties"]["p"] == {"type": "string", "x-type": "select", "enum": ["a", "b"]}


def test_a_source_without_lists_of_parameters_says_nothing_of_them(tmp_path: Path) -> None:
    bare = {"category_name": "X", "tool_name": "Bare", "api_name": "A"}
    folder = toolbench(tmp_path, {"instruction/Q.json": [asked(1, "q", [bare], [("Bare", "A")])]})
    assert import_toolbench(folder).catalog["Bare&&A"].parameters is None


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("anything", "CREDENTIALS", "s3cret"),
        ("apiKey", "STRING", "s3cret"),
        ("X-RapidAPI-Key", "STRING", "s3cret"),
        ("Authorization", "STRING", "s3cret"),
        ("access_token", "STRING", "s3cret"),
        ("password", "STRING", "s3cret"),
        ("header", "STRING", "Basic czNjcmV0czNjcmV0"),
        ("header", "STRING", "sk_live_s3crets3cret"),
    ],
)
def test_defaults_that_are_credentials_are_left_out(tmp_path: Path, name: str, kind: str, default: str) -> None:
    done = imported(tmp_path, api("A", required_parameters=[parameter(name, kind, default, "Text.")]))
    found = (done.catalog["T&&A"].parameters or {})["properties"][name]
    assert "default" not in found and found["description"] == "Text."
    assert count(done, "dropped", "credentials") == 1
    assert default not in str(done.remarks.examples)


@pytest.mark.parametrize("name", ["keyword", "locationKey", "page_token", "author", "tokens"])
def test_other_defaults_stay(tmp_path: Path, name: str) -> None:
    assert schema(tmp_path, parameter(name, default="x"))["properties"][name]["default"] == "x"


def test_no_code_and_no_key_in_addresses(tmp_path: Path) -> None:
    done = imported(tmp_path, api("A", url="https://me:pass@host/{id}?key=abc"))
    assert done.catalog["T&&A"].metadata["url"] == "https://host/{id}"
    assert "SECRET-CODE" not in json.dumps([one.to_record() for one in done.catalog.values()])


def test_an_api_given_again_is_one_tool_and_a_differing_one_gets_a_number(tmp_path: Path) -> None:
    more = api("A", "Own.", optional_parameters=[parameter("p")])
    done = imported(tmp_path, api("A", "Own."), api("A", "Own.", url="https://host/other"), more, more)
    assert [one for one in done.catalog if one.startswith("T&&")] == ["T&&A", "T&&A#2"]
    assert (done.catalog["T&&A"].parameters, done.catalog["T&&A"].metadata["url"]) == (
        {"type": "object", "properties": {}},
        "https://host/path",
    )
    assert done.catalog["T&&A#2"].name == "A" and done.catalog["T&&A#2"].metadata["function"] == "a_for_t_2"
    assert (count(done, "merged", "APIs given again"), count(done, "renamed", "in their ids")) == (2, 1)
    # Sky's and Sky!'s ID share a function name too.
    assert count(done, "renamed", "function names") == 2


def test_a_tool_name_in_two_categories(tmp_path: Path) -> None:
    other = tool("Goals", api("Live", None), api("Other"), description="Football.")
    done = imported(tmp_path, **{"toolenv/tools/Weather/goals.json": other})
    assert done.catalog["Goals&&Live"].metadata["category"] == "Sports"
    assert done.catalog["Goals&&Live"].metadata["also_in"] == ["Weather"]
    assert done.catalog["Goals&&Other"].metadata["category"] == "Weather"


def test_an_id_that_looks_numbered_stays_free_for_nobody_else(tmp_path: Path) -> None:
    done = imported(tmp_path, api("A#2"), api("A"), api("A", "Other."))
    assert [one for one in done.catalog if one.startswith("T&&")] == ["T&&A#2", "T&&A", "T&&A#3"]


def test_apis_without_a_name_are_left_out_and_counted(tmp_path: Path) -> None:
    done = imported(tmp_path, api(" "), api("A", required_parameters=[{"type": "STRING"}]))
    assert count(done, "dropped", "without a name") == 2
    assert done.catalog["T&&A"].parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no tool file"),
        ({"tool_name": "T"}, "no tool file"),
        ({"tool_name": "T", "api_list": ["A"]}, "API 1: an object is wanted, found str"),
        (tool("T", api("A", required_parameters={"p": 1})), "'required_parameters' of 'A' must be a list"),
        (tool("T", api("A", required_parameters=["p"])), "a parameter of 'A' must be an object"),
        (tool("T", api("A", 5)), "'description' must be a string"),  # type: ignore[arg-type]
    ],
)
def test_broken_tool_files_are_named(tmp_path: Path, broken: Any, message: str) -> None:
    folder = toolbench(tmp_path, {"toolenv/tools/Weather/t.json": broken})
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_toolbench(folder)
    assert "t.json" in str(caught.value)


def test_tools_that_are_known_keep_place_and_content(tmp_path: Path) -> None:
    known = ToolCatalog([Tool("mine", "Other"), Tool("Sky&&ID", "ID", "Known.", group="Sky")])
    done = import_toolbench(toolbench(tmp_path), known)
    assert done.catalog.ids[:2] == known.ids and done.catalog["Sky&&ID"] == known["Sky&&ID"]
    assert done.new_tools == 3 and count(done, "merged", "given catalogue") == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("List of Cocktails", "list_of_cocktails"),
        ("/v4/sports/{sport}/odds", "v4_sports_sport_odds"),
        ("100% Success", "get_100_success"),
        ("__a--b__", "a_b"),
        ("中文 API", "中文_api"),
        ("Ümlaut", "mlaut"),
        ("👋", ""),
    ],
)
def test_names_are_standardised_as_toolbench_does(name: str, expected: str) -> None:
    assert standardize(name) == expected


def test_long_names_keep_their_last_characters() -> None:
    long = Tool("1", "IEX Regulation SHO Threshold Securities List", group="Investors Exchange (IEX) Trading")
    assert exposed_name(long) == "sho_threshold_securities_list_for_investors_exchange_iex_trading"
    assert exposed_name(Tool("2", "from", group="T")) == "is_from_for_t"
    assert exposed_name(Tool("3", "a")) == "a"


NAMES = st.text("ab_ 1-é中^", max_size=4) | st.text(max_size=80)
NAMED = st.lists(st.tuples(NAMES, st.none() | NAMES), max_size=12)


@given(NAMED, NAMED)
def test_function_names_are_distinct_short_and_stable(first: list[Any], second: list[Any]) -> None:
    def tools(pairs: list[Any]) -> dict[str, Tool]:
        return {str(place): Tool(str(place), name, group=group) for place, (name, group) in enumerate(pairs)}

    names = function_names(tools(first + second))
    assert len(set(names.values())) == len(names) == len(first) + len(second)
    assert all(0 < len(name) <= LONGEST for name in names.values())
    assert all(re.fullmatch("[a-z0-9_^\u4e00-\u9fa5]+", name) for name in names.values())
    fewer = function_names(tools(first))
    assert fewer == {tool_id: names[tool_id] for tool_id in fewer}


def test_a_number_at_the_end_of_a_long_name_keeps_it_short() -> None:
    long = {str(number): Tool(str(number), f"{number} {'x' * 100}") for number in range(12)}
    names = list(function_names(long).values())
    assert names[0] == "x" * 64 and names[1] == "x" * 62 + "_2" and names[11] == "x" * 61 + "_12"


def test_a_name_is_looked_up_whole_and_among_the_given_tools() -> None:
    tools = {one.id: one for one in (Tool("1", "A", group="T"), Tool("2", "a", group="t"), Tool("3", "BA", group="T"))}
    names = ExposedNames(tools)
    assert names.ids("a_for_t") == ["1", "2"] and names.ids("a_for_t", {"2", "3"}) == ["2"]
    assert names.ids("for_t") == names.ids("a_for_t_2") == []


def test_only_the_first_examples_of_a_remark_are_kept() -> None:
    from rich.console import Console

    from toolgen.sources.remarks import Remark

    remarks = Remarks()
    for number in range(5):
        remarks.add(Remark("dropped", "things"), f"[red]thing\x1b[0m {number}")
    console = Console(width=80)
    with console.capture() as capture:
        console.print(remarks.table())
    printed = capture.get()
    assert "[red]thing[0m 2" in printed and "thing[0m 3" not in printed and "and 2 more" in printed


def test_what_lies_elsewhere_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "other.json", {"a": 1})
    for path in (tmp_path, tmp_path / "other.json"):
        message = refused("import", "toolbench", path, "--out", tmp_path / "out.jsonl")
        assert "toolenv/tools" in message and "corpus.tsv" in message and "other.json" in message
    (tmp_path / "empty").mkdir()
    assert "looked for" in refused("import", "toolbench", tmp_path / "empty", "--out", tmp_path / "out.jsonl")
    assert "no such file" in refused("import", "toolbench", tmp_path / "absent", "--out", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_from_the_command_line(tmp_path: Path) -> None:
    records = [asked(1, "Weather tomorrow?", [listed("Sky", "Forecast")], [("Sky", "Forecast")])]
    folder = toolbench(tmp_path / "data", {"instruction/G1_query.json": records})
    tools, queries = tmp_path / "tools.jsonl.gz", tmp_path / "queries.jsonl"
    printed = run("import", "toolbench", folder, "--out", tools, "--queries", queries)
    assert "3 tool files, 1 record files" in printed and "function names that are taken" in printed
    catalog = ToolCatalog.from_jsonl(tools)
    assert [query.tools for query in read_queries(queries, catalog)] == [("Sky&&Forecast",)]
    wanted = tmp_path / "trajectories.jsonl"
    assert "--trajectories" in refused("import", "toolbench", folder, "--out", tools, "--trajectories", wanted)
    # The files that were written may lie beside those that were read.
    again = run("import", "toolbench", folder, "--tools", tools, "--out", folder / "again.jsonl")
    assert "given catalogue" in again
    assert ToolCatalog.from_jsonl(folder / "again.jsonl").fingerprint == catalog.fingerprint
    assert "passed over" in run("import", "toolbench", folder, "--out", tools)


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    import_toolbench(toolbench(tmp_path, {"x.json": '{"a": "' + "x" * 5000 + '"}'}), progress=lambda *t: told.append(t))
    assert told and told[-1][0] == told[-1][1] >= 5


def test_the_real_samples(tmp_path: Path) -> None:
    data = Path(os.environ.get("TOOLGEN_SHARED_DATA", ROOT.parent / "shared" / "data")) / "toolbench"
    if not (data / "original").is_dir():
        pytest.skip("ToolBench's samples are absent; set TOOLGEN_SHARED_DATA to the folder that holds toolbench/.")
    tools, queries, steps = (tmp_path / f"{name}.jsonl" for name in ("tools", "queries", "trajectories"))
    printed = run(
        "import", "toolbench", data / "original", "--out", tools, "--queries", queries, "--trajectories", steps
    )
    assert "313 tool files, 5 record files, 15 answer files" in printed
    catalog = ToolCatalog.from_jsonl(tools)
    # 1,182 APIs, 93 of them again; 11 more from what queries list.
    assert len(catalog) == 1182 - 93 + 11 and len({one.metadata["function"] for one in catalog.values()}) == 1100
    assert sum("#" in one.id and one.id.rpartition("#")[2].isdigit() for one in catalog.values()) == 25
    assert len(read_queries(queries, catalog)) == 10
    # Nine trees were won; four of their paths call tools that these samples lack or that were never named.
    found = read_trajectories(steps, catalog)
    assert [len(one.steps) for one in found] == [2, 3, 3, 2, 3] and all(one.won and one.answer for one in found)
    text = tools.read_text(encoding="utf-8")
    assert "sk_live" not in text and "Basic aGF" not in text and "import requests" not in text
    everything = data / "tools.jsonl.gz"
    run("import", "toolbench", data / "original", "--tools", everything, "--out", tools, "--trajectories", steps)
    whole = ToolCatalog.from_jsonl(tools)
    assert whole.ids == ToolCatalog.from_jsonl(everything).ids
    # The ninth calls "dota_2_steam_web", the end of a name.
    assert len(read_trajectories(steps, whole)) == 8
