"""Strangers' files piece by piece: JSON lists and lines, rows between tabs, and everything that can be broken."""

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.sources import reading
from toolgen.sources.reading import read_records, read_rows, read_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["]", "[", "},{", '"', "\u2028"])
RECORD = st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT, max_size=2), max_size=3)


def silent(count: int) -> None:
    """Nobody wants to know."""


def records(path: Path) -> list[dict[str, Any]]:
    return [line.record for line in read_records(path, silent)]


@given(st.lists(RECORD, max_size=6), st.integers(1, 9), st.sampled_from([None, 2]), st.booleans(), st.booleans())
def test_lists_and_lines_are_read_alike_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    given_records: list[dict[str, Any]],
    chunk: int,
    indent: int | None,
    ascii_only: bool,
    zipped: bool,
) -> None:
    folder = tmp_path_factory.mktemp("read")
    listed = json.dumps(given_records, indent=indent, ensure_ascii=ascii_only)
    lines = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in given_records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        for name, text in (("list", listed), ("lines", lines)):
            path = folder / (f"{name}.json.gz" if zipped else f"{name}.json")
            path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
            read: list[int] = []
            assert [line.record for line in read_records(path, read.append)] == given_records
            assert sum(read) == path.stat().st_size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}', "the list ends after record 1 without a ']'"),
        ('[{"a": 1},', "the list ends after record 1 without a ']'"),
        ('[{"a": 1}, {"b": ', "record 2: not valid JSON"),
        ('{"a": 1}\n{b}', "record 2: not valid JSON"),
        ('["a"]', "record 1: a JSON object is wanted, found str"),
        ("12", "record 1: a JSON object is wanted, found int"),
        ("[" * 5000 + '{"a":' + "[" * 200000, "record 1: not valid JSON"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        records(path)
    assert "x.json" in str(caught.value)


def test_what_no_text_can_hold_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        r'{"half": "a\ud83d b", "whole": "\ud83d\ude00", "number": NaN, "text": "\\ud83d"}', encoding="utf-8"
    )
    expected = {"half": "a\ufffd b", "whole": "😀", "number": "NaN", "text": "\\ud83d"}
    assert records(path) == [expected] and read_value(path, silent) == expected
    json.dumps(expected, allow_nan=False, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("name", ["x.json", "x.json.gz", "x.tsv"])
def test_files_that_are_no_text_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff\xfe\x00")
    for read in (lambda: records(path), lambda: read_value(path, silent), lambda: list(read_rows(path, 2, silent))):
        with pytest.raises(InputError, match=f"{re.escape(name)}: unreadable"):
            read()


def test_a_deep_value_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" * 200000, encoding="utf-8")
    with pytest.raises(InputError, match="not valid JSON"):
        read_value(path, silent)


@given(st.lists(st.tuples(TEXT, TEXT).filter(any), max_size=5))
def test_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.tsv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, delimiter="\t").writerows(rows)
    assert [row.cells for row in read_rows(path, 2, silent)] == rows


def test_a_long_cell_is_read_and_the_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "x.tsv"
    path.write_text("1\t" + "x" * (before + 1) + "\n\n2\ty\n", encoding="utf-8")
    assert [row.cells[0] for row in read_rows(path, 2, silent)] == ["1", "2"]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\tx\n2\n", "x.tsv:2: 2 cells between tabs are wanted, found 1"), ('1\t"x"y\n', "x.tsv:1: no row of tab-sep")],
)
def test_broken_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        list(read_rows(path, 2, silent))
