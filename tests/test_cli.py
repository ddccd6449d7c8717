"""The command line: what it prints, what it writes, and every bad input as a sentence with exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolgen.cli import app
from toolgen.errors import InputError, MissingPackageError, require
from toolgen.terminal import visible
from toolgen.tools import ToolCatalog

runner = CliRunner()


def run(*arguments: object) -> str:
    """Standard output of a command that must succeed."""
    done = runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: object) -> str:
    """Message of a command that must refuse its input. ``run_app`` turns it into exit code 2."""
    with pytest.raises(InputError) as caught:
        runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return str(caught.value)


@pytest.fixture
def tools(tmp_path: Path, catalog: ToolCatalog) -> Path:
    path = tmp_path / "tools.jsonl"
    catalog.to_jsonl(path)
    return path


def test_import_then_show_then_index(tmp_path: Path) -> None:
    tools, examples, book = tmp_path / "tools.jsonl.gz", tmp_path / "examples.jsonl", tmp_path / "codebook.json"
    run("import", "botocore", "--services", "sqs,sts", "--out", tools, "--examples", examples)
    catalog = ToolCatalog.from_jsonl(tools)
    assert {tool.group for tool in catalog.values()} == {"sqs", "sts"}
    assert all(set(json.loads(line)["tools"]) <= set(catalog) for line in examples.read_text().splitlines())
    shown = run("catalog", "show", tools)
    assert f"{len(catalog):,}" in shown and catalog.fingerprint in shown and "sqs" in shown
    printed = run("index", "--scheme", "atomic", "--tools", tools, "--out", book)
    assert "new tokens" in printed and str(len(catalog)) in printed
    assert len(json.loads(book.read_text())["codes"]) == len(catalog)


def test_the_tool_that_ends_episodes_is_added_once(tools: Path, tmp_path: Path, catalog: ToolCatalog) -> None:
    run("catalog", "add-finish", tools, "--out", tmp_path / "more.jsonl")
    more = ToolCatalog.from_jsonl(tmp_path / "more.jsonl")
    assert more.ids == (*catalog.ids, "Finish") and more["Finish"].parameters
    assert "already" in refused("catalog", "add-finish", tmp_path / "more.jsonl", "--out", tmp_path / "most.jsonl")


@pytest.mark.parametrize("scheme", ["atomic", "numeric", "hierarchical", "semantic", "residual"])
def test_extending_keeps_the_codes(tools: Path, tmp_path: Path, catalog: ToolCatalog, scheme: str) -> None:
    fewer = tmp_path / "fewer.jsonl"
    ToolCatalog(list(catalog.values())[:20]).to_jsonl(fewer)
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    run("index", "--scheme", scheme, "--tools", fewer, "--out", first)
    run("index", "--scheme", scheme, "--tools", tools, "--out", second, "--extend", first)
    old, new = (dict(json.loads(path.read_text())["codes"]) for path in (first, second))
    assert {tool: new[tool] for tool in old} == old and len(new) == 30


def test_index_refuses_a_collision_and_offers_the_cure(tmp_path: Path) -> None:
    tools = tmp_path / "tools.jsonl"
    tools.write_text('{"id": "a", "name": "Get It"}\n{"id": "b", "name": "get it"}\n')
    arguments = ("index", "--scheme", "semantic", "--tools", tools, "--out", tmp_path / "book.json")
    message = refused(*arguments)
    assert "'a'" in message and "'b'" in message and "--disambiguate" in message
    assert "1" in run(*arguments, "--disambiguate")


def test_index_takes_the_options_of_each_scheme(tools: Path, tmp_path: Path) -> None:
    book = tmp_path / "book.json"
    for scheme, arguments, options in (
        ("numeric", ("--digits", "new", "--width", 4), {"digits": "new", "width": 4}),
        ("semantic", ("--split",), {"split": True}),
        ("hierarchical", ("--branching", 3, "--balanced", "--seed", 2), {"branching": 3, "balanced": True, "seed": 2}),
        ("residual", ("--levels", 2, "--size", 8, "--nearest", "--disambiguate"), {"levels": 2, "spread": False}),
        ("residual", ("--document-tokens", 16), {"document_tokens": 16, "encoder": "embedded", "size": 8}),
    ):
        printed = run("index", "--scheme", scheme, "--tools", tools, "--out", book, *arguments)
        assert json.loads(book.read_text())["options"].items() >= options.items()
        assert ("entropy" in printed) == (scheme == "residual")


def test_a_base_is_extended_with_the_encoder_that_read_it(tools: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    run("index", "--scheme", "hierarchical", "--tools", tools, "--out", first, "--document-tokens", 16)
    extending = ("index", "--scheme", "hierarchical", "--tools", tools, "--out", second, "--extend", first)
    run(*extending)
    assert json.loads(second.read_text())["options"]["document_tokens"] == 16
    assert "was built with document_tokens 16" in refused(*extending, "--document-tokens", 32)
    assert "was built with encoder embedded" in refused(*extending, "--encoder", "another")


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ("", ["tools.jsonl", "empty"]),
        ('{"id": "a", "name": "x"}\n{"id": "a", "name": "y"}\n', ["tools.jsonl:2", "duplicate", "'a'"]),
        ('{"id": "a"}\n', ["tools.jsonl:1", "'name'"]),
        ('{"id": "a", "name": "x"}\n{"id": \n', ["tools.jsonl:2", "not valid JSON"]),
    ],
)
def test_a_bad_catalogue_is_refused(tmp_path: Path, lines: str, parts: list[str]) -> None:
    path = tmp_path / "tools.jsonl"
    path.write_text(lines)
    message = refused("catalog", "show", path)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("import", "botocore", "--out", "x.jsonl"), "--services"),
        (("import", "botocore", "--services", "s33", "--out", "x.jsonl"), "s33"),
        (("index", "--scheme", "magic", "--tools", "{tools}", "--out", "x"), "magic"),
        (("index", "--scheme", "atomic", "--tools", "none.jsonl", "--out", "x"), "none.jsonl"),
        (("index", "--scheme", "atomic", "--tools", "{tools}", "--out", "x", "--model", "nowhere/nothing"), "nowhere"),
        (("index", "--scheme", "atomic", "--width", 3, "--tools", "{tools}", "--out", "x"), "width"),
        (("index", "--scheme", "atomic", "--encoder", "x", "--tools", "{tools}", "--out", "x"), "--encoder"),
        (("index", "--scheme", "semantic", "--seed", 1, "--tools", "{tools}", "--out", "x"), "seed"),
        (("index", "--scheme", "residual", "--size", 100, "--tools", "{tools}", "--out", "x"), "power of two"),
        (("index", "--scheme", "residual", "--encoder", "nowhere/x", "--tools", "{tools}", "--out", "x"), "nowhere/x"),
        (("eval", "--checkpoint", "nowhere", "--queries", "x.jsonl"), "not a toolgen checkpoint"),
        (("quickstart", "--seeds", 0), "at least 1"),
    ],
)
def test_bad_arguments_are_refused(tools: Path, arguments: tuple[object, ...], part: str) -> None:
    assert part in refused(*(str(argument).format(tools=tools) for argument in arguments))


def test_a_missing_package_names_the_cure() -> None:
    with pytest.raises(MissingPackageError, match="pip install some-thing"):
        require("no_such_package_here", purpose="This test", pip_name="some-thing")


def test_the_program_ends_with_code_2_and_one_sentence(tmp_path: Path) -> None:
    for arguments in (
        ("catalog", "show", "none.jsonl"),
        ("import", "botocore", "--services", "sts", "--out", "/proc/x"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "toolgen", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.count("Error:") == 1 and "Traceback" not in done.stderr


def test_a_strangers_text_cannot_steer_the_terminal() -> None:
    assert visible("a\x1b[31mb\u202ec\n\td") == "a[31mbc\n\td"


def test_help_teaches() -> None:
    shown = run("--help")
    assert all(command in shown for command in ("import", "catalog", "index", "eval", "retrieve", "quickstart"))
