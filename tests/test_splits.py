"""Splits: parts share nothing that they must not, whatever the queries; shares are met; bad input is a sentence."""

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, run

from toolgen.agent.environment import Status
from toolgen.agent.trajectory import Message, Step, Trajectory, read_trajectories, write_trajectories
from toolgen.errors import InputError
from toolgen.marks import By
from toolgen.queries import Query, read_queries, write_queries
from toolgen.splits import parse_shares, split_by_tools, split_queries
from toolgen.tools import Tool, ToolCatalog

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
GROUPED = ToolCatalog(Tool(f"t{number}", f"t{number}", group=f"g{number // 3}") for number in range(12))


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def similarity(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second)


def texts(most: int) -> st.SearchStrategy[list[str]]:
    """Texts of few different words, so that many are alike."""
    words = st.lists(st.sampled_from("a b c d e f g h i j k l".split()), min_size=1, max_size=12)
    return st.lists(words.map(" ".join), min_size=1, max_size=most)


@st.composite
def labelled(draw: st.DrawFn) -> list[Query]:
    tools = st.lists(st.sampled_from(GROUPED.ids), min_size=1, max_size=3, unique=True)
    return [
        Query(f"q{number}", f"{text} w{number % 7}", tuple(draw(tools))) for number, text in enumerate(draw(texts(25)))
    ]


def shared(first: Query, second: Query, by: By) -> bool:
    """What two queries of different parts must not have in common, said anew."""
    if by == "tool":
        return not set(first.tools).isdisjoint(second.tools)
    if by == "group":
        return not {GROUPED[tool].group for tool in first.tools}.isdisjoint(
            GROUPED[tool].group for tool in second.tools
        )
    alike = similarity(words(first.text), words(second.text)) >= 0.7
    return alike or (len(first.tools) > 1 and set(first.tools) == set(second.tools))


@pytest.mark.parametrize("by", ["query", "tool", "group"])
@given(queries=labelled())
@settings(max_examples=60)
def test_parts_share_nothing_and_none_is_empty_or_it_is_refused(by: By, queries: list[Query]) -> None:
    try:
        done = split_queries(queries, SHARES, by, catalog=GROUPED)
    except InputError as error:
        assert "too few" in str(error)
        return
    assert [(query.id, query.text, query.tools) for query in done.queries] == [
        (query.id, query.text, query.tools) for query in queries
    ]
    assert {query.split for query in done.queries} == set(SHARES)
    for first, second in combinations(done.queries, 2):
        assert first.split == second.split or not shared(first, second, by)
    assert sum(part.queries for part in done.parts) == sum(done.clusters) == len(queries)
    assert sum(part.clusters for part in done.parts) == len(done.clusters)
    backwards = split_queries(queries[::-1], SHARES, by, catalog=GROUPED)
    assert [query.split for query in backwards.queries][::-1] == [query.split for query in done.queries]


def numbered(count: int) -> list[Query]:
    return [Query(f"q{number}", f"text{number}", (f"t{number % 12}",)) for number in range(count)]


def test_shares_are_met_and_clusters_of_every_size_are_everywhere() -> None:
    pairs = [
        Query(f"p{number}{half}", f"pair{number} of", (f"t{number % 12}",)) for number in range(100) for half in "ab"
    ]
    done = split_queries([*numbered(800), *pairs], SHARES)
    assert [part.queries for part in done.parts] == [600, 200, 200]
    paired = Counter(query.split for query in done.queries if query.id.startswith("p"))
    assert paired == {"train": 120, "validation": 40, "test": 40}
    assert done.clusters[:101] == (2,) * 100 + (1,)


def test_what_is_gold_elsewhere_only_is_counted() -> None:
    done = split_queries(numbered(12), {"train": 0.5, "test": 0.5}, "tool")
    assert [(part.tools, part.untrained) for part in done.parts] == [(6, 0), (6, 6)]


def test_a_tool_without_a_group_is_one_of_its_own() -> None:
    catalog = ToolCatalog([Tool("a", "a", group="g"), Tool("b", "b", group="g"), Tool("c", "c"), Tool("d", "d")])
    queries = [Query(tool, tool, (tool,)) for tool in "abcd"]
    assert split_queries(queries, {"train": 0.5, "test": 0.5}, "group", catalog=catalog).clusters == (2, 1, 1)


def test_only_one_split_is_split_and_its_ties_to_the_others_are_counted() -> None:
    kept = [Query("k", "text3 again", ("t0",), split="test")]
    queries = [Query(query.id, f"{query.text} again", query.tools, split="dev") for query in numbered(20)]
    done = split_queries([*queries, *kept], {"train": 0.8, "validation": 0.2}, only="dev")
    assert Counter(query.split for query in done.queries) == {"train": 16, "validation": 4, "test": 1}
    assert (done.kept, done.near_kept) == (1, 1)


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        (numbered(3), {"near": 0.3}, "threshold of near duplicates is 0.3; give 0.5 to 1"),
        (numbered(3), {"only": "dev"}, r"has the split 'dev'. Splits here: \(none\) \(3\)"),
        (numbered(2), {}, "hang together in 2 cluster.*too few for 3 parts"),
        (numbered(30), {"by": "group"}, "Give it with --tools"),
        ([Query("a", "x", ("t0",), split="test"), *numbered(9)], {"only": "test"}, "hang together in 1 cluster"),
        (
            [Query("a", "x", ("t0",), split="dev"), Query("b", "y", ("t0",), split="test")],
            {"only": "dev"},
            "other name",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(queries: Sequence[Query], options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_queries(queries, SHARES, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "train", "train=", "=1", "train=x", "train=nan", "train=-1,test=2", "a=0.5,a=0.5", "a=0.5,b=0.6", "a=1,"],
)
def test_shares_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="train=0.8,validation=0.1,test=0.1|add up to") as refused:
        parse_shares(text)
    assert any(item in str(refused.value) for item in text.split(","))


@pytest.mark.parametrize("shares", [{"train": 0.5, "test": 0.4}, {"train": 1.0, "test": 0.0}, {"train": math.nan}])
def test_shares_that_no_command_read_are_checked_too(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="train=0.8,validation=0.1,test=0.1|add up to 0.9"):
        split_queries(numbered(30), shares)


def test_the_command_writes_parts_and_says_what_it_did(tmp_path: Path) -> None:
    source, target, tools = tmp_path / "q.jsonl.gz", tmp_path / "split.jsonl.gz", tmp_path / "tools.jsonl"
    write_queries(source, numbered(100))
    GROUPED.to_jsonl(tools)
    shares = "train=0.8,validation=0.1,test=0.1"
    shown = run("split", "--queries", source, "--tools", tools, "--shares", shares, "--out", target)
    assert Counter(query.split for query in read_queries(target)) == {"train": 80, "validation": 10, "test": 10}
    assert "100 queries in 100 clusters" in shown and "0 of 12 tools have no query in train" in shown
    grouped = run("split", "--queries", source, "--tools", tools, "--by", "group", "--shares", shares, "--out", target)
    assert "4 clusters" in grouped
    message = refused("split", "--queries", source, "--shares", "train=0.8", "--out", target)
    assert "add up to 0.8" in message


def test_queries_that_share_a_tool_stay_together_wherever_the_others_are() -> None:
    queries = [
        Query("1", "x", ("a", "b")),
        Query("2", "y", ("b", "c")),
        Query("3", "z", ("c",)),
        Query("4", "w", ("d",)),
    ]
    shares = {"validation": 0.5, "test": 0.5}
    split = split_by_tools(queries, shares)
    assert len({query.split for query in split[:3]}) == 1
    assert [query.split for query in split_by_tools(queries[::-1], shares)][::-1] == [query.split for query in split]
    assert split_by_tools(queries[3:], shares) == split[3:]
    many = split_by_tools([Query(str(n), "x", (f"tool{n}",)) for n in range(1000)], shares)
    assert 400 < sum(query.split == "test" for query in many) < 600


@pytest.mark.parametrize(("name", "largest"), [("metatool", 16), ("sealtools", 2), ("tldr", 25), ("traject", 391)])
def test_real_queries_fall_into_small_clusters(name: str, largest: int) -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (path := shared / name / "queries.jsonl.gz").is_file():
        pytest.skip(f"The queries of {name} are absent; set TOOLGEN_SHARED_DATA to the folder that holds {name}/.")
    done = split_queries(read_queries(path), {"train": 0.8, "validation": 0.1, "test": 0.1})
    assert done.clusters[0] == largest
    for part in done.parts:
        assert abs(part.queries / len(done.queries) - part.share) < 0.001


def test_trajectories_come_into_the_parts_of_their_queries(tmp_path: Path) -> None:
    tools = [GROUPED.ids[number % 12] for number in range(40)]
    queries = [Query(f"q{number}", f"text {number}", (tool,)) for number, tool in enumerate(tools)]
    recorded = [
        Trajectory(
            query.id,
            query.text,
            (
                Step("no such tool", {}, status=Status.UNKNOWN_TOOL),
                Message("user", "On."),
                *[Step(query.tools[0], {})] * 2,
            ),
            "unfinished",
        )
        for query in queries
    ]
    assert [one.as_query() for one in recorded] == queries
    files = {name: tmp_path / f"{name}.jsonl" for name in ("queries", "recorded", "split", "tools")}
    write_queries(files["queries"], queries)
    write_trajectories(files["recorded"], recorded)
    GROUPED.to_jsonl(files["tools"])
    how = ("--by", "tool", "--shares", "train=0.5,Held out=0.5", "--tools", files["tools"])
    run("split", "--queries", files["queries"], "--out", files["split"], *how)
    printed = run("split-trajectories", "--trajectories", files["recorded"], "--out", tmp_path / "parts", *how)
    assert "Held out" in printed and "trajectories" in printed
    for part, file in (("train", "train.jsonl"), ("Held out", "held-out.jsonl")):
        wanted = [query.id for query in read_queries(files["split"], split=part)]
        assert [one.id for one in read_trajectories(tmp_path / "parts" / file)] == wanted
    twice = ("--shares", "a=0.5,A=0.5", "--trajectories", files["recorded"], "--out", tmp_path)
    assert "would share a file" in refused("split-trajectories", *twice)
