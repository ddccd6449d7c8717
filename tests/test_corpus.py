"""General text: what is read from where, that the parts share nothing, and that the same comes out every time."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen import corpus
from toolgen.corpus import SHORTEST, Corpus, docstrings, load_corpus
from toolgen.errors import InputError, MissingPackageError


def long_text(number: int) -> str:
    return f"Document {number} " + "says at length what it says, " * 8


TEXTS = [long_text(number) for number in range(200)]


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


def both(source: Path | str) -> tuple[Corpus, Corpus]:
    return load_corpus(str(source), "train"), load_corpus(str(source), "held-out")


def test_the_parts_hold_every_document_once(text_file: Path) -> None:
    train, held_out = both(text_file)
    assert sorted(train.documents + held_out.documents) == sorted(text.strip() for text in TEXTS)
    assert 1 <= len(held_out.documents) <= 20
    assert (train.name, held_out.name) == ("texts.jsonl/train", "texts.jsonl/held-out"), "no folder of this machine"


def test_order_and_duplicates_of_the_source_change_nothing(text_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.txt"
    again.write_text("\n \n".join(["Too short.", *reversed(TEXTS), *TEXTS]), encoding="utf-8")
    zipped = tmp_path / "again.txt.gz"
    zipped.write_bytes(gzip.compress(again.read_bytes()))
    for part, expected in zip(("train", "held-out"), both(text_file), strict=True):
        for path in (again, zipped):
            found = load_corpus(str(path), part)
            assert found.documents == expected.documents
            assert found.fingerprint == expected.fingerprint
    train, held_out = both(text_file)
    assert train.fingerprint != held_out.fingerprint


@given(st.sets(st.integers(0, 199), min_size=60))
def test_a_document_keeps_its_part_whatever_stands_beside_it(numbers: set[int]) -> None:
    all_texts, some_texts = (corpus._distinct(texts) for texts in (TEXTS, [TEXTS[number] for number in numbers]))
    held_out = {text for digest, text in all_texts.items() if corpus._held_out(digest)}
    assert {text for digest, text in some_texts.items() if corpus._held_out(digest)} == held_out & {
        *some_texts.values()
    }


def test_copies_of_what_is_trained_on_are_not_held_out(tmp_path: Path) -> None:
    shared = "This line stands in every one of the documents that there are."
    path = tmp_path / "copies.jsonl"

    def left(own: int, copied: int) -> int:
        """How many are held out of documents with so many lines of their own and so many of all."""
        texts = [
            "\n".join(
                [f"  Line {line} of {number} is in this document alone." for line in range(own)] + [shared] * copied
            )
            for number in range(300)
        ]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        train = load_corpus(str(path), "train")
        assert len(train.documents) > 270, "of these none is left out"
        try:
            return len(load_corpus(str(path), "held-out").documents)
        except InputError:
            return 0

    assert left(own=10, copied=1) > 5
    assert left(own=2, copied=4) == 0


def test_the_first_characters_are_those_of_the_whole(text_file: Path) -> None:
    whole = load_corpus(str(text_file), "train").documents
    size = len(whole[0]) + len(whole[1]) + 7
    some = load_corpus(str(text_file), "train", size).documents
    assert some == (*whole[:2], whole[2][:7])
    exact = load_corpus(str(text_file), "train", len(whole[0])).documents
    assert exact == whole[:1]


SOURCE = f'''
"""{"The module's own words. " * 20}"""

import nowhere_to_be_found

class Thing:
    """First line.

        {"Indented further. " * 20}
    """
    if nowhere_to_be_found.VERSION:
        def method(self):
            """{"What the method does. " * 20}"""
            def inner():
                """{"Nobody sees this one. " * 20}"""
    else:
        async def other(self):
            """{"What the other does. " * 20}"""

def short():
    """Too short."""

def half():
    """{"Holds no character. " * 20} \\ud800"""
'''


def test_docstrings_are_read_and_nothing_is_run() -> None:
    found = {text.split(".")[0]: text for text in docstrings(SOURCE.encode())}
    assert found.keys() == {"The module's own words", "First line", "What the method does", "What the other does"}
    assert found["First line"].splitlines()[2].startswith("Indented further."), "no more indented than its like"
    assert all(len(text) >= SHORTEST for text in found.values())


@pytest.mark.parametrize("source", [b"print 'Python 2'", b"\x00", b"# coding: nonsense\n", b"\xff"])
def test_files_that_cannot_be_parsed_have_no_docstrings(source: bytes) -> None:
    assert list(docstrings(source)) == []


@pytest.fixture
def one_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of 60 documents, the only one there is; returns the folder of what is kept."""
    package = tmp_path / "site" / "spoken"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('raise AssertionError("it was imported")\n')
    for number in range(60):
        (package / f"part_{number}.py").write_text(f'"""{long_text(number)}"""\n')
    (package / "tests" / "test_spoken.py").write_text(f'"""{long_text(99)}"""\n')
    information = tmp_path / "site" / "spoken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: spoken\nVersion: 1.0\n")
    (tmp_path / "stdlib").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(corpus, "PACKAGES", {"spoken": "spoken"})
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda _name: str(tmp_path / "stdlib"))
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpus"


def test_packages_are_read_once_and_kept(one_package: Path) -> None:
    seen: list[tuple[int, int]] = []
    train = load_corpus("packages", "train", progress=lambda *state: seen.append(state))
    assert seen[-1] == (61, 61), "tests are left out"
    assert "spoken" not in sys.modules
    held_out = load_corpus("packages", "held-out", progress=lambda *_: pytest.fail("it was read again"))
    assert (train.name, held_out.name) == ("packages/train", "packages/held-out")
    assert sorted(train.documents + held_out.documents) == sorted(long_text(number).strip() for number in range(60))
    [kept] = one_package.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:50])
    assert load_corpus("packages", "train").fingerprint == train.fingerprint, "what is damaged is made again"
    assert kept.stat().st_size >= len(whole) - 10


def test_a_cache_that_cannot_be_written_is_told_and_done_without(one_package: Path) -> None:
    one_package.parent.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not be kept.*Set TOOLGEN_CACHE"):
        assert load_corpus("packages", "train").documents


def test_a_package_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "PACKAGES", {"nowhere_to_be_found": "nowhere"})
    with pytest.raises(MissingPackageError, match="nowhere_to_be_found.*pip install nowhere"):
        load_corpus("packages", "train")


def test_every_named_package_is_installed() -> None:
    for name, on_index in corpus.PACKAGES.items():
        assert corpus._package_folder(name, on_index).is_dir()
        assert corpus.metadata.version(on_index)


def test_a_data_set_is_read(
    text_file: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # datasets takes the word "test" in a path, such as this test's own, for the name of a split.
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.jsonl").write_bytes(text_file.read_bytes())
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("hub"))
    expected = load_corpus(str(text_file), "train")
    found = load_corpus(f"hub:{folder}:train:text", "train")
    assert found.documents == expected.documents
    some = load_corpus(f"hub:{folder}:default:train[:100]:text", "train")
    assert some.documents == tuple(text for text in expected.documents if int(text.split()[1]) < 100)
    with pytest.raises(InputError, match="no column 'body'.*There are: text"):
        load_corpus(f"hub:{folder}:train:body", "train")
    for absent in (f"hub:{folder}:nosuchsplit:text", f"hub:{folder / 'absent'}:train:text"):
        with pytest.raises(InputError, match="could not be loaded"):
            load_corpus(absent, "train")


@pytest.mark.parametrize("source", ["hub:", "hub:name", "hub:name:split", "hub:a:b:c:d:e", "hub:name:train[:column"])
def test_names_of_data_sets_that_are_not_whole_are_refused(source: str) -> None:
    with pytest.raises(InputError, match="names no data set"):
        load_corpus(source, "train")


@pytest.mark.parametrize("source", ["", "package", "texts.csv", "texts.gz", "texts.csv.gz"])
def test_unknown_sources_are_refused(source: str) -> None:
    with pytest.raises(InputError, match="Unknown source of text"):
        load_corpus(source, "train")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for name in ("absent.txt", "absent.jsonl", "absent.txt.gz"):
        with pytest.raises(InputError, match="no such file"):
            load_corpus(str(tmp_path / name), "train")
    latin, cut, wrong = tmp_path / "latin.txt", tmp_path / "cut.txt.gz", tmp_path / "wrong.jsonl"
    latin.write_bytes("café".encode("latin-1") * 100)
    cut.write_bytes(gzip.compress(b"text " * 1000)[:-9])
    wrong.write_text('{"text": "fine"}\n{"text": 5}\n')
    for path in (latin, cut):
        with pytest.raises(InputError, match=r"unreadable .*UTF-8 text, and whole\?"):
            load_corpus(str(path), "train")
    with pytest.raises(InputError, match=r"wrong\.jsonl:2: a string 'text' is wanted, found int"):
        load_corpus(str(wrong), "train")


def test_sources_without_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Short.\n\nShort too.")
    with pytest.raises(InputError, match="no document of 200 characters"):
        load_corpus(str(path), "train")
    path.write_text(TEXTS[0])
    assert load_corpus(str(path), "train").documents == (TEXTS[0].strip(),)
    with pytest.raises(InputError, match="none of its 1 documents is left for the part 'held-out'"):
        load_corpus(str(path), "held-out")
    with pytest.raises(InputError, match="most_characters is 0"):
        load_corpus(str(path), "train", 0)
