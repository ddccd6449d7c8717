"""``toolgen queries``: what is written, what is printed, what is refused."""

from collections import Counter
from pathlib import Path

import pytest
from test_cli import refused, run

from toolgen.queries import read_queries
from toolgen.tools import ToolCatalog


@pytest.fixture
def tools(tmp_path: Path, catalog: ToolCatalog) -> Path:
    path = tmp_path / "tools.jsonl"
    catalog.to_jsonl(path)
    return path


def test_synthesised_queries_are_a_file_that_can_be_read_and_trained_on(
    tools: Path, tmp_path: Path, catalog: ToolCatalog
) -> None:
    first, second = tmp_path / "1.jsonl.gz", tmp_path / "2.jsonl.gz"
    asked = ("queries", "synthesize", "--tools", tools, "--per-tool", 3, "--joined-per-tool", 1, "--seed", 5)
    printed = run(*asked, "--joined-within", "group=1,catalogue=2", "--out", first)
    run(*asked, "--joined-within", "group=1,catalogue=2", "--out", second)
    made = read_queries(first, catalog)
    assert made == read_queries(second, catalog)
    assert "vague" in printed and "joined catalogue" in printed and f"{len(made)}" in printed
    alone = Counter(tool for query in made if query.metadata["style"] != "joined" for tool in query.tools)
    within = Counter(
        (q.metadata.get("within"), tool) for q in made if q.metadata["style"] == "joined" for tool in q.tools
    )
    assert alone == dict.fromkeys(catalog, 3)
    assert within == {(scope, tool): n for scope, n in ((None, 1), ("group", 1), ("catalogue", 2)) for tool in catalog}


def test_the_styles_are_chosen(tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.jsonl"
    run("queries", "synthesize", "--tools", tools, "--styles", "short=1,long=1", "--out", out)
    assert {query.metadata["style"] for query in read_queries(out)} == {"short", "long"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--per-tool", 0), "nothing to make"),
        (("--styles", "fancy"), "short=1"),
        (("--joined-within", "tool=1"), "group=1"),
        (("--joined-within", "category=1", "--tools", "none.jsonl"), "none.jsonl"),
    ],
)
def test_bad_wishes_are_refused(tools: Path, tmp_path: Path, arguments: tuple[object, ...], part: str) -> None:
    message = refused("queries", "synthesize", "--tools", tools, "--out", tmp_path / "q.jsonl", *arguments)
    assert part in message and not (tmp_path / "q.jsonl").exists()
