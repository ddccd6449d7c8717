"""The codebook: what it refuses, what ``bind`` proves on token ids, and that its file is whole or refused."""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.codebook import Codebook, CollisionError, prove_prefix_free
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

END = 0
UNKNOWN = 1


def encode(text: str) -> list[int]:
    """An uncased tokenizer of single characters that knows ASCII letters, digits and ``_``."""
    known = "abcdefghijklmnopqrstuvwxyz0123456789_"
    return [ord(letter) if letter in known else UNKNOWN for letter in text.lower()]


def codebook(codes: dict[str, tuple[str, ...]], new: Sequence[str] = (), **fields: Any) -> Codebook:
    return Codebook("test", codes, tuple(new), fields.pop("catalog_fingerprint", "0" * 16), **fields)


def refusal(error: type[InputError], call: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), max_size=12))
@settings(deadline=None)
def test_prefixes_are_found_exactly_where_comparing_all_pairs_finds_them(sequences: list[tuple[int, ...]]) -> None:
    names = [f"tool{number}" for number in range(len(sequences))]
    pairs = [
        (left, right)
        for left in range(len(sequences))
        for right in range(len(sequences))
        if left != right and sequences[right][: len(sequences[left])] == sequences[left]
    ]
    if not pairs:
        prove_prefix_free(names, sequences)
        return
    with pytest.raises(CollisionError) as caught:
        prove_prefix_free(names, sequences)
    groups = caught.value.groups
    named = [name for group in groups for name in group]
    assert sorted(named) == sorted({names[number] for pair in pairs for number in pair})
    together = {name: number for number, group in enumerate(groups) for name in group}
    assert all(together[names[left]] == together[names[right]] for left, right in pairs)
    assert all(repr(group[0]) in str(caught.value) for group in groups[:5])


def test_single_new_symbols_need_no_end_and_all_else_does() -> None:
    codes = {"a": ("<<A>>",), "b": ("bb",), "c": ("bb", "<<#2>>"), "d": ("<<#2>>", "<<A>>")}
    book = codebook(codes, ["<<A>>", "<<#2>>"])
    bound = book.bind(encode, {"<<A>>": 1000, "<<#2>>": 1001, "<<other>>": 1002}, END)
    b = ord("b")
    assert bound.tool_ids == ("a", "b", "c", "d")
    assert bound.sequences == ((1000,), (b, b, END), (b, b, 1001, END), (1001, 1000, END))
    assert bound.new_ids == {"<<A>>": 1000, "<<#2>>": 1001}
    assert (bound.longest, bound.is_atomic) == (4, False)
    figures = book.statistics(bound)
    assert (figures.tools, figures.tokens_min, figures.tokens_mean, figures.tokens_max) == (4, 1, 2.0, 3)
    assert figures.new_tokens == 2
    assert codebook({"a": ("<<A>>",)}, ["<<A>>"]).bind(encode, {"<<A>>": 7}, END).is_atomic


def test_tools_are_told_apart_by_token_ids_not_by_text() -> None:
    folded = codebook({"first": ("Name",), "second": ("name",), "third": ("nam",)})
    message = refusal(CollisionError, lambda: folded.bind(encode, {}, END))
    assert "'first' = 'second'" in message and "'third'" not in message and "--disambiguate" in message
    unknown = codebook({"first": ("天",), "second": ("地",)})
    assert "'first' = 'second'" in refusal(CollisionError, lambda: unknown.bind(encode, {}, END))
    begins = codebook({"long": ("<<A>>", "x"), "short": ("<<A>>",)}, ["<<A>>"])
    assert "'short' = 'long'" in refusal(CollisionError, lambda: begins.bind(encode, {"<<A>>": 9}, END))


def test_equal_codes_are_refused_before_any_tokenizer_is_seen() -> None:
    message = refusal(CollisionError, lambda: codebook({"a": ("x",), "b": ("y",), "c": ("x",)}))
    assert "'a' = 'c'" in message and "'b'" not in message


def test_a_message_about_many_tools_stays_short() -> None:
    message = refusal(CollisionError, lambda: codebook({f"t{number}": (f"{number % 9}",) for number in range(900)}))
    assert message.startswith("9 code(s)") and "and 4 more" in message and len(message) < 600


def test_collision_errors_survive_a_process_boundary() -> None:
    error = CollisionError.of([("a", "b")])
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.groups) == (str(error), (("a", "b"),))


@pytest.mark.parametrize(
    ("codes", "new", "message"),
    [
        ({}, (), "holds no code"),
        ({"a": ()}, (), "'a' is empty"),
        ({"a": ("x", "")}, (), "'a' is empty or holds an empty symbol"),
        ({"a": ("x",)}, ("x", "y", "x"), "'x' is listed twice"),
    ],
)
def test_broken_codebooks_are_refused(codes: dict[str, tuple[str, ...]], new: tuple[str, ...], message: str) -> None:
    assert message in refusal(InputError, lambda: codebook(codes, new))


@pytest.mark.parametrize(
    ("new_ids", "message"),
    [
        ({"<<A>>": 5}, "1 new symbol(s) have no token id: '<<B>>'"),
        ({"<<A>>": 5, "<<B>>": 5}, "'<<B>>' and new symbol '<<A>>' share the token id 5"),
        ({"<<A>>": END, "<<B>>": 5}, "'<<A>>' and the end symbol share the token id 0"),
    ],
)
def test_new_symbols_need_token_ids_of_their_own(new_ids: dict[str, int], message: str) -> None:
    book = codebook({"a": ("<<A>>",), "b": ("<<B>>",)}, ["<<A>>", "<<B>>"])
    found = refusal(InputError, lambda: book.bind(encode, new_ids, END))
    assert message in found and "belong together" in found


@pytest.mark.parametrize("ids", [[], [5, END]])
def test_text_must_give_tokens_and_no_end(ids: list[int]) -> None:
    message = refusal(InputError, lambda: codebook({"a": ("name",)}).bind(lambda text: ids, {}, END))
    assert "'name'" in message and "'a'" in message and "atomic" in message


def test_each_text_is_encoded_once() -> None:
    seen: list[str] = []

    def counting(text: str) -> list[int]:
        seen.append(text)
        return encode(text)

    codebook({f"t{number}": tuple(f"{number:03d}") for number in range(200)}).bind(counting, {}, END)
    assert sorted(seen) == list("0123456789")


symbols = st.text(max_size=6, min_size=1)
books = st.builds(
    codebook,
    st.dictionaries(st.text(), st.lists(symbols, min_size=1, max_size=3).map(tuple), min_size=1).filter(
        lambda codes: len(set(codes.values())) == len(codes)
    ),
    st.lists(symbols, unique=True),
    options=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()),
    disambiguated=st.lists(st.text()).map(tuple),
    catalog_fingerprint=st.text(),
)


@given(book=books)
@settings(max_examples=15, deadline=None)
def test_saving_and_loading_changes_nothing(book: Codebook, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("codebook") / "codebook.json"
    book.save(path)
    loaded = Codebook.load(path)
    assert loaded == book
    assert list(loaded.codes) == list(book.codes)
    assert loaded.fingerprint == book.fingerprint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    codes = {"a": ("x", "<<N>>"), "b": ("y",), "c": ("z",)}
    codebook(codes, ["<<N>>", "<<M>>"], options={"width": 3}, disambiguated=("a",)).save(tmp_path / "codebook.json")
    return tmp_path / "codebook.json"


@pytest.mark.parametrize("key", ["scheme", "codes", "new_symbols", "catalog_fingerprint", "options", "disambiguated"])
@pytest.mark.parametrize("value", [None, 7, "other", ["other"], [["a", ["x"]]], {"other": 1}, "absent"])
def test_a_file_changed_in_any_part_is_refused(saved: Path, key: str, value: Any) -> None:
    record = json.loads(saved.read_text(encoding="utf-8"))
    record[key] = value
    if value == "absent":
        del record[key]
    saved.write_text(json.dumps(record), encoding="utf-8")
    assert str(saved) in refusal(InputError, lambda: Codebook.load(saved))


@pytest.mark.parametrize(
    "change",
    [
        lambda codes: codes.reverse(),
        lambda codes: codes.pop(),
        lambda codes: codes.append(codes[0]),
        lambda codes: codes[0].__setitem__(0, "d"),
        lambda codes: codes[0][1].reverse(),
        lambda codes: codes[1].__setitem__(1, []),
        lambda codes: codes[1].__setitem__(1, [["y"]]),
        lambda codes: codes[1].__setitem__(1, [1]),
        lambda codes: codes[1].__setitem__(1, ["z"]),
    ],
)
def test_a_file_with_one_code_changed_is_refused(saved: Path, change: Callable[[list[Any]], None]) -> None:
    record = json.loads(saved.read_text(encoding="utf-8"))
    change(record["codes"])
    saved.write_text(json.dumps(record), encoding="utf-8")
    assert str(saved) in refusal(InputError, lambda: Codebook.load(saved))


def test_files_that_are_no_codebook_are_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_text(encoding="utf-8")
    for text in (whole[: len(whole) // 2], "", "[]", "{}", whole.replace('"format": 1', '"format": 2')):
        saved.write_text(text, encoding="utf-8")
        assert str(saved) in refusal(InputError, lambda: Codebook.load(saved))
    assert "no such file" in refusal(InputError, lambda: Codebook.load(tmp_path / "absent.json"))


def test_the_fingerprint_follows_codes_order_rows_and_catalogue() -> None:
    codes = {"a": ("x",), "b": ("y",)}
    variants = [
        codebook(codes, ["n", "m"]),
        codebook(codes, ["m", "n"]),
        codebook({"b": ("y",), "a": ("x",)}, ["n", "m"]),
        codebook({"a": ("x",), "b": ("w",)}, ["n", "m"]),
        codebook(codes, ["n", "m"], catalog_fingerprint="1" * 16),
        codebook(codes, ["n", "m"], options={"width": 4}),
    ]
    assert len({book.fingerprint for book in variants}) == len(variants)
    assert codebook(dict(codes), ["n", "m"]).fingerprint == variants[0].fingerprint


def test_a_codebook_knows_its_catalogue() -> None:
    catalog = ToolCatalog([Tool("a", "alpha"), Tool("b", "beta")])
    book = codebook({"a": ("x",), "b": ("y",)}, catalog_fingerprint=catalog.fingerprint)
    book.check_catalog(catalog)
    grown = ToolCatalog([*catalog.values(), Tool("c", "gamma")])
    message = refusal(InputError, lambda: book.check_catalog(grown))
    assert "1 tool(s) have no code ('c') and 0 code(s) have no tool (none)" in message and "toolgen index" in message
    swapped = ToolCatalog(reversed(list(catalog.values())))
    assert "order has changed" in refusal(InputError, lambda: book.check_catalog(swapped))
