"""The check of splits: what it counts is what comparing all pairs finds, what ``split_queries`` deals out passes, and
a contaminated split is refused with its evidence."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, run
from test_splits import GROUPED, SHARES, labelled, numbered, shared

from toolgen.errors import InputError
from toolgen.leaks import SHOWN, ContaminatedSplitsError, check_splits, require_clean_splits
from toolgen.marks import By
from toolgen.queries import Query, write_queries
from toolgen.splits import split_queries

PARTS = {"train": ("train",), "validation": ("validation",), "test": ("test",)}


@pytest.mark.parametrize("by", ["query", "tool", "group"])
@given(queries=labelled(), keyed=st.booleans())
@settings(max_examples=60)
def test_what_is_dealt_out_passes_the_check_of_the_same_kind(by: By, queries: list[Query], keyed: bool) -> None:
    options = {"catalog": GROUPED, "key": "domain" if keyed and by == "group" else None}
    queries = [replace(query, metadata={"domain": len(query.text) % 4}) for query in queries]
    try:
        dealt = split_queries(queries, SHARES, by, **options)
    except InputError as error:
        assert "too few" in str(error)
        return
    report = require_clean_splits(dealt.queries, by, **PARTS, **options)
    assert report.parts == {part.name: part.queries for part in dealt.parts}


@pytest.mark.parametrize("by", ["query", "tool", "group"])
@given(queries=labelled(), data=st.data())
@settings(max_examples=100)
def test_the_check_counts_what_comparing_all_pairs_finds(by: By, queries: list[Query], data: st.DataObject) -> None:
    names = ["train", "validation", "test", "hard", "unused"]
    drawn = data.draw(st.lists(st.sampled_from(names), min_size=len(queries), max_size=len(queries)))
    parted = [replace(query, split=split) for query, split in zip(queries, drawn, strict=True)]
    parted += [Query(name, f"{name} alone", (f"t{place}",), name) for place, name in enumerate(names)]
    roles = {**PARTS, "test": ("test", "hard")}
    report = check_splits(parted, by, catalog=GROUPED, **roles)
    assert [(crossing.earlier, crossing.later) for crossing in report.crossings] == [
        *(("train", "validation"), ("train", "test"), ("train", "hard")),
        *(("validation", "test"), ("validation", "hard")),
    ]
    for crossing in report.crossings:
        pairs = [
            (earlier.id, later.id)
            for later in parted
            for earlier in parted
            if (earlier.split, later.split) == (crossing.earlier, crossing.later) and shared(earlier, later, by)
        ]
        assert crossing.pairs == len(pairs) and crossing.queries == len({later for _, later in pairs})
        assert {(leak.earlier.id, leak.later.id) for leak in crossing.leaks} <= set(pairs)
        assert len(crossing.leaks) == min(SHOWN, crossing.queries)
    assert report.clean == (not any(crossing.pairs for crossing in report.crossings))


LEAKY = [
    Query("a", "book a table for two", ("eat",), "train"),
    Query("b", "rent a car", ("car", "map"), "train"),
    Query("c", "Rent a car!", ("map", "car"), "test"),
    Query("d", "where is the station", ("map", "car"), "test"),
    Query("e", "what is the weather", ("sky",), "test"),
]


def test_the_evidence_names_both_queries_and_all_that_they_share() -> None:
    report = check_splits(LEAKY)
    (crossing,) = report.crossings
    assert (crossing.pairs, crossing.queries) == (2, 2)
    assert [(leak.earlier.id, leak.later.id, leak.shared) for leak in crossing.leaks] == [
        ("b", "c", ("text (1.00 of their words)", "gold set (car, map)")),
        ("b", "d", ("gold set (car, map)",)),
    ]
    sentence = report.sentence()
    assert "2 of 3 queries of 'test' share with 'train' what they must not by query: 2 pair(s)" in sentence
    assert "train 'b': 'rent a car'" in sentence and "test 'c': 'Rent a car!'" in sentence
    with pytest.raises(ContaminatedSplitsError) as caught:
        require_clean_splits(LEAKY)
    assert caught.value.report == report and str(caught.value) == sentence


def test_near_and_one_gold_tool_alone() -> None:
    texts = ["find the nearest open pharmacy today", "find the nearest open pharmacy tonight"]
    queries = [Query(part, text, ("t",), part) for part, text in zip(("train", "test"), texts, strict=True)]
    (leak,) = check_splits(queries).crossings[0].leaks
    assert leak.shared == ("text (0.71 of their words)",)
    assert check_splits(queries, near=0.8).clean, "one gold tool in common is no leak by query"
    assert not check_splits(queries, "tool").clean


def test_two_test_parts_may_share_what_they_like() -> None:
    queries = [
        Query("a", "book a table", ("eat",), "train"),
        Query("b", "rent a car", ("car",), "easy"),
        Query("c", "rent a car", ("car",), "hard"),
    ]
    assert check_splits(queries, test=("easy", "hard")).clean
    assert not check_splits(queries, validation=("easy",), test=("hard",)).clean


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": ("tset",)}, r"No query has the split 'tset'. Splits here: train \(2\), test \(3\)"),
        ({"test": ("train",)}, "'train' is named twice"),
        ({"test": ()}, "nothing to compare"),
        ({"by": "group"}, "--tools"),
    ],
)
def test_what_cannot_be_checked_is_refused(options, message) -> None:
    with pytest.raises(InputError, match=message):
        check_splits(LEAKY, **options)


def test_the_command_passes_what_the_other_one_dealt_out(tmp_path: Path) -> None:
    source, split = tmp_path / "queries.jsonl", tmp_path / "split.jsonl"
    queries = [replace(query, metadata={"domain": f"d{place % 5}"}) for place, query in enumerate(numbered(60))]
    write_queries(source, [replace(query, tools=(f"t{place % 5}",)) for place, query in enumerate(queries)])
    shares = "train=0.6,validation=0.2,test=0.2"
    for arguments in ((), ("--by", "tool"), ("--by", "group", "--key", "domain")):
        run("split", "--queries", source, "--shares", shares, "--out", split, *arguments)
        assert "validation" in run("check-splits", "--queries", split, *arguments)
    assert json.loads(run("check-splits", "--queries", split, "--by", "tool", "--json"))["clean"] is True


def test_parts_may_lie_in_several_files(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_queries(train, LEAKY[:2])
    write_queries(test, LEAKY[4:])
    assert "test" in run("check-splits", "--queries", train, "--queries", test)
    assert "no split to report on beside train" in refused("check-splits", "--queries", train)
    assert "has the split 'x'" in refused("check-splits", "--queries", train, "--queries", test, "--train", "x")


def test_a_contaminated_split_ends_with_code_2_and_its_evidence(tmp_path: Path) -> None:
    path = tmp_path / "leaky.jsonl"
    strange = [replace(query, text=query.text + " \x1b[31m") for query in LEAKY]
    write_queries(path, strange)
    command = [sys.executable, "-m", "toolgen", "check-splits", "--queries", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "contaminated" in done.stderr and "'b'" in done.stderr and "'c'" in done.stderr
    assert "\x1b[31m" not in done.stderr + done.stdout
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 2 and (found["clean"], found["pairs"]) == (False, 2)
    assert found["crossings"][0]["leaks"][0]["later"] == {"id": "c", "query": strange[2].text, "tools": ["map", "car"]}
