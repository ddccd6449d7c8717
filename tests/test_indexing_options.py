"""Options that schemes have beside the published way: digits with rows of their own, names split at the group."""

from typing import Any

import pytest
from test_indexing import END, UNKNOWN, encode, prefix_free, token_codes

from toolgen.codebook import Codebook, CollisionError
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.indexing.semantic import split_name
from toolgen.tools import Tool, ToolCatalog


def catalog_of(*pairs: tuple[str | None, str]) -> ToolCatalog:
    return ToolCatalog(Tool(f"t{number}", name, group=group) for number, (group, name) in enumerate(pairs))


def make(scheme: str, catalog: ToolCatalog, **options: Any) -> Codebook:
    book = build(scheme, catalog, encode=encode, end_id=END, **options)
    assert prefix_free(token_codes(book))
    return book


def test_numeric_digits_of_their_own_have_a_symbol_a_place() -> None:
    catalog = catalog_of(*[(None, "name")] * 12)
    book = make("numeric", catalog, digits="new")
    assert book.codes["t0"] == ("<<n1:0>>", "<<n2:0>>") and book.codes["t11"] == ("<<n1:1>>", "<<n2:1>>")
    assert len(book.new_symbols) == 2 + 10 and book.options == {"width": 2, "digits": "new", "disambiguate": False}
    grown = make("numeric", catalog_of(*[(None, "name")] * 21), base=book)
    assert grown.codes["t20"] == ("<<n1:2>>", "<<n2:0>>")
    assert grown.new_symbols == (*book.new_symbols, "<<n1:2>>")
    assert make("numeric", catalog_of((None, "a")), digits="new").codes == {"t0": ("<<n1:0>>",)}


def test_digits_of_their_own_need_none_from_the_tokenizer() -> None:
    catalog = catalog_of((None, "a"), (None, "b"))
    with pytest.raises(InputError, match="--digits new"):
        build("numeric", catalog, encode=lambda text: [UNKNOWN], end_id=END)
    book = build("numeric", catalog, encode=lambda text: [UNKNOWN], end_id=END, digits="new")
    with pytest.raises(InputError, match="was built with digits new, but digits text was asked for"):
        make("numeric", catalog, base=book, digits="text")


def test_a_codebook_from_before_there_were_kinds_of_digits_has_text() -> None:
    old = Codebook("numeric", {"t0": ("0",)}, (), "", {"width": 1})
    assert make("numeric", catalog_of((None, "a"), (None, "b")), base=old).codes["t1"] == ("1",)


@pytest.mark.parametrize(
    ("group", "name", "parts"),
    [
        ("Open Weather", "Current: Now", ("open_weather/", "current_now")),
        (None, "Finish", ("finish",)),
        ("", "Finish", ("finish",)),
        ("😀", "Finish", ("finish",)),
        ("Weather", "😀", ("weather/",)),
        ("天气", "7 days", ("天气/", "get_7_days")),
        (None, "😀", ()),
        ("g" * 70, "a" * 30 + "b" * 64, ("g" * 64 + "/", "b" * 64)),
    ],
)
def test_split_names_are_group_and_name(group: str | None, name: str, parts: tuple[str, ...]) -> None:
    assert split_name(Tool("t", name, group=group)) == parts


def test_tools_of_a_group_share_the_beginning_of_split_codes() -> None:
    catalog = catalog_of(("Maps", "search"), ("Music", "search"), ("Music", "play"), (None, "search"))
    book = make("semantic", catalog, split=True)
    assert list(book.codes.values()) == [("maps/", "search"), ("music/", "search"), ("music/", "play"), ("search",)]
    assert book.options["split"] is True


def test_split_names_are_told_apart_by_their_tokens_end_to_end() -> None:
    """The fake tokenizer knows no slash: both parts' tokens, one after the other, are what must differ."""
    catalog = catalog_of(("a", "天"), ("a天", ""), ("b", "x"), ("B", "X"))
    with pytest.raises(CollisionError, match="'t2' = 't3'"):
        make("semantic", catalog, split=True)
    book = make("semantic", catalog, split=True, disambiguate=True)
    assert book.codes["t3"] == ("b/", "x", "<<#2>>") and book.new_symbols == ("<<#2>>",)
    grown = make("semantic", catalog_of(("a", "天"), ("a天", ""), ("b", "x"), ("B", "X"), ("b", "x")), base=book,
                 disambiguate=True)  # fmt: skip
    assert grown.codes["t4"] == ("b/", "x", "<<#3>>")


def test_split_names_of_which_nothing_is_left_are_refused() -> None:
    with pytest.raises(InputError, match=r"1 tool\(s\): 't1' \(name '😀'\).*--scheme atomic"):
        make("semantic", catalog_of(("g", "😀"), (None, "😀")), split=True)
    with pytest.raises(InputError, match="was built with split False, but split True was asked for"):
        make("semantic", catalog_of((None, "a")), base=make("semantic", catalog_of((None, "a"))), split=True)
