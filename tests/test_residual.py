"""Residual codes: coarse to fine, evenly used, told apart, and kept when tools join."""

import math
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hashed_embeddings import TOPICS, catalog_of, hashed, related, topics
from test_indexing import END, encode, prefix_free, token_codes

from toolgen.codebook import Codebook, CollisionError
from toolgen.embeddings import Embed, TextEmbedder
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.indexing.clustering import Neighbours, fill
from toolgen.indexing.residual import level_usage
from toolgen.tools import ToolCatalog


def make(catalog: ToolCatalog, embed: Embed = related, **options: Any) -> Codebook:
    book = build("residual", catalog, encode=encode, end_id=END, embed=embed, **options)
    assert prefix_free(token_codes(book))
    return book


def test_a_code_has_a_symbol_of_each_level() -> None:
    book = make(topics(50), levels=4, size=8)
    for code in book.codes.values():
        assert [symbol.partition(":")[0] for symbol in code] == ["<<r1", "<<r2", "<<r3", "<<r4"]
        assert all(0 <= int(symbol.partition(":")[2][:-2]) < 8 for symbol in code)
    levels = [symbol.partition(":")[0] for symbol in book.new_symbols]
    assert levels == sorted(levels) and set(book.new_symbols) == {s for code in book.codes.values() for s in code}


def test_a_first_symbol_belongs_to_one_topic() -> None:
    catalog = topics(20)
    book = make(catalog, size=16)
    topics_of: dict[str, set[str]] = defaultdict(set)
    for tool_id, code in book.codes.items():
        topics_of[code[0]].add(catalog[tool_id].name.split()[0])
    assert len(topics_of) == 16 and all(len(found) == 1 for found in topics_of.values())


def test_later_symbols_refine_earlier_ones() -> None:
    """What is left of documents after each symbol, as mean squared length, shrinks."""
    catalog = topics(100)
    vectors_ND = related([tool.document() for tool in catalog.values()])
    book = make(catalog, levels=3, size=16, spread=False, disambiguate=True)
    left = [float((vectors_ND**2).sum(1).mean())]
    rest_ND = vectors_ND
    for level in range(3):
        labels = np.array([int(code[level].partition(":")[2][:-2]) for code in book.codes.values()])
        for label in set(labels.tolist()):
            rest_ND[labels == label] -= rest_ND[labels == label].mean(0)
        left.append(float((rest_ND**2).sum(1).mean()))
    assert left[0] > 2 * left[1] and left[1] > left[2] > left[3]


@pytest.mark.parametrize(
    ("tools", "size"), [(1, 1), (2, 2), (4, 2), (5, 4), (16, 4), (17, 8), (64, 8), (65, 16), (1025, 64)]
)
def test_two_symbols_have_room_for_every_tool_unless_told_otherwise(tools: int, size: int) -> None:
    assert make(catalog_of(*map(str, range(tools))), hashed, disambiguate=True).options["size"] == size


def test_no_more_symbols_than_distinct_documents() -> None:
    documents = ["one", "two", "three"] * 10
    book = make(catalog_of(*documents), size=256, spread=False, disambiguate=True)
    assert book.options["size"] == 2 and all(usage.symbols <= 2 for usage in level_usage(book))
    assert make(catalog_of("same", "same"), spread=False, disambiguate=True).codes == {
        "t0": ("<<r1:0>>", "<<r2:0>>", "<<r3:0>>"),
        "t1": ("<<r1:0>>", "<<r2:0>>", "<<r3:0>>", "<<#2>>"),
    }


def test_documents_that_fall_together_are_refused_by_name_or_numbered() -> None:
    catalog = catalog_of("a", "b", "a", "c", "d", "a", "c")
    with pytest.raises(CollisionError, match="'t0' = 't2' = 't5'.*--disambiguate"):
        make(catalog, hashed, size=4, spread=False)
    book = make(catalog, hashed, size=4, spread=False, disambiguate=True)
    assert book.codes["t2"] == (*book.codes["t0"], "<<#2>>") and book.codes["t5"] == (*book.codes["t0"], "<<#3>>")
    assert {"t2", "t5", "t6"} <= set(book.disambiguated)
    assert book.new_symbols[-2:] == ("<<#2>>", "<<#3>>")


def test_spread_gives_those_that_are_alike_last_symbols_of_their_own() -> None:
    documents = ["same"] * 8 + [f"other {number}" for number in range(100)]
    book = make(catalog_of(*documents), hashed, size=16)
    same = [book.codes[f"t{number}"] for number in range(8)]
    assert book.disambiguated == () and len({code[:2] for code in same}) == 1 and len(set(same)) == 8
    together = make(catalog_of(*documents), hashed, size=16, spread=False, disambiguate=True)
    alone = [tool_id for tool_id, code in together.codes.items() if len(same_prefix(together, code)) == 1]
    assert len(alone) > 10 and all(book.codes[tool_id] == together.codes[tool_id] for tool_id in alone)
    assert level_usage(book)[:2] == level_usage(together)[:2]
    assert level_usage(book)[2].bits > level_usage(together)[2].bits


def same_prefix(book: Codebook, code: tuple[str, ...]) -> list[str]:
    return [tool_id for tool_id, other in book.codes.items() if other[:2] == code[:2]]


def test_fill_lets_those_choose_first_that_lose_most() -> None:
    near = Neighbours(
        np.array([[0, 1, 2], [0, 2, 1], [0, 1, 2]]), np.array([[1, 2, 3], [1, 9, 9], [1, 3, 4]], np.float32)
    )
    assert fill(near, [1, 1, 1]).tolist() == [2, 0, 1]
    assert fill(near, [0, 2, 0]).tolist() == [0, 1, 1], "the last one finds no room and stays at its nearest"
    assert fill(near, [3, 0, 0]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_symbols_are_used_evenly_in_many_dimensions(seed: int) -> None:
    """Few points, many dimensions that say little: plain residual k-means piles them up (0.6 of the bits or less)."""
    vectors_ND = np.random.default_rng(seed).standard_normal((200, 384)) * np.arange(1, 385) ** -0.7
    vectors_ND /= np.sqrt((vectors_ND**2).sum(1, keepdims=True))
    book = make(catalog_of(*map(str, range(200))), lambda texts: vectors_ND, spread=False, disambiguate=True)
    assert min(usage.share for usage in level_usage(book)) > 0.8


def test_symbols_are_used_evenly_on_real_tools() -> None:
    """MetaTool's 199 plugins, read by the embedded encoder."""
    repository = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("TOOLGEN_SHARED_DATA", repository.parent / "shared" / "data"))
    if not (path := data / "metatool" / "tools.jsonl.gz").is_file():
        pytest.skip("The MetaTool catalogue is absent; set TOOLGEN_SHARED_DATA to the folder that holds metatool/.")
    catalog = ToolCatalog.from_jsonl(path)
    book = make(catalog, TextEmbedder())
    assert book.disambiguated == () and len(book.new_symbols) == 3 * 16
    assert min(usage.share for usage in level_usage(book)) > 0.8
    tree = build("hierarchical", catalog, encode=encode, end_id=END, embed=TextEmbedder())
    assert max(map(len, tree.codes.values())) <= 4


def test_usage_is_the_entropy_of_symbols() -> None:
    codes = {f"t{number}": (f"<<r1:{first}>>", f"<<r2:{number}>>") for number, first in enumerate((0, 0, 0, 1))}
    symbols = tuple(dict.fromkeys(symbol for code in codes.values() for symbol in code))
    first, second = level_usage(Codebook("residual", codes, symbols, "", {"levels": 2, "size": 4}))
    assert (first.symbols, second.symbols) == (2, 4)
    assert first.bits == pytest.approx(-0.75 * math.log2(0.75) - 0.25 * math.log2(0.25))
    assert first.share == pytest.approx(first.bits / 2)
    assert (second.bits, second.share) == (2.0, 1.0)
    assert level_usage(make(catalog_of("alone")))[0].share == 1.0


@pytest.mark.parametrize("spread", [False, True])
def test_seeds_matter_and_threads_do_not(spread: bool) -> None:
    catalog = catalog_of(*(f"{number % 7} {number % 31} {number}" for number in range(1500)))
    before = faiss.omp_get_max_threads()
    books = []
    try:
        for count in (1, 2, 4):
            faiss.omp_set_num_threads(count)
            books.append(make(catalog, spread=spread, disambiguate=True))
            assert faiss.omp_get_max_threads() == count, "the setting was not restored"
    finally:
        faiss.omp_set_num_threads(before)
    assert len({book.fingerprint for book in books}) == 1
    assert make(catalog, spread=spread, disambiguate=True, seed=1).codes != books[0].codes


@pytest.mark.parametrize("spread", [False, True])
def test_a_new_tool_gets_the_code_that_it_would_have_had(spread: bool) -> None:
    catalog = catalog_of(*(f"{TOPICS[number % 4]} {number % 20} {number}" for number in range(400)))
    tools = list(catalog.values())
    whole = make(catalog, spread=spread, disambiguate=True)
    partial = Codebook(
        **{**vars_of(whole), "codes": {tool.id: whole.codes[tool.id] for tool in tools[:360]}},
    )
    book = make(catalog, base=partial, disambiguate=True)
    same = [sum(book.codes[t.id][level] == whole.codes[t.id][level] for t in tools[360:]) for level in range(2)]
    assert same[0] >= 34 and same[1] >= 26, same
    assert set(book.new_symbols) - set(whole.new_symbols) <= {"<<#2>>", "<<#3>>"}
    assert book.options["size"] == whole.options["size"]


def vars_of(book: Codebook) -> dict[str, Any]:
    return {name: getattr(book, name) for name in ("scheme", "new_symbols", "catalog_fingerprint", "options")}


def test_tools_that_join_where_no_symbol_is_free_are_refused_or_numbered() -> None:
    base = make(catalog_of("a", "b", "c", "d"), hashed, size=2)
    crowd = catalog_of("a", "b", "c", "d", *["a"] * 6)
    with pytest.raises(CollisionError, match="--disambiguate"):
        make(crowd, hashed, base=base)
    book = make(crowd, hashed, base=base, disambiguate=True)
    numbers = Counter(code[3] for code in book.codes.values() if len(code) == 4)
    assert book.codes["t9"][-1] == max(numbers) and set(numbers) == set(book.new_symbols) - set(base.new_symbols)
    once_more = make(catalog_of("a", "b", "c", "d", *["a"] * 7), hashed, base=book, disambiguate=True)
    assert once_more.codes["t10"] not in book.codes.values()


def test_tools_that_join_get_last_symbols_that_are_free() -> None:
    others = [f"other {number}" for number in range(100)]
    base = make(catalog_of(*others, *["same"] * 4), hashed, size=16)
    book = make(catalog_of(*others, *["same"] * 12), hashed, base=base)
    same = [book.codes[f"t{number}"] for number in range(100, 112)]
    assert len({code[:2] for code in same}) == 1 and len(set(same)) == 12
    assert book.disambiguated == () and book.new_symbols == base.new_symbols


def test_a_base_is_extended_as_it_was_built() -> None:
    base = make(topics(20), levels=4, size=8, spread=False, seed=2, disambiguate=True)
    for option, value, has in (("levels", 3, 4), ("size", 16, 8), ("spread", True, False), ("seed", 0, 2)):
        with pytest.raises(InputError, match=f"built with {option} {has}, but {option} {value} was asked for"):
            make(topics(21), base=base, **{option: value})
    grown = make(topics(21), base=base, disambiguate=True)
    assert {**grown.options, "extends": None} == {**base.options, "extends": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 100}, "size is 100, but a level has a power of two of symbols"),
        ({"size": 0}, "size is 0, but"),
        ({"size": -4}, "size is -4, but"),
        ({"levels": 1}, "levels is 1. One symbol a tool is what --scheme atomic gives. Give 2 or more"),
    ],
)
def test_bad_options_are_refused_before_documents_are_read(options: dict[str, Any], message: str) -> None:
    def never(texts: Any) -> np.ndarray:
        raise AssertionError("documents were read")

    with pytest.raises(InputError, match=message):
        make(topics(4), never, **options)


def test_new_symbols_go_into_a_model_and_start_from_their_tools() -> None:
    """Through the vocabulary and its priors on the embedded base: symbols of near tools start near one another."""
    from toolgen.base import load_base
    from toolgen.priors import Prior, initialise_rows
    from toolgen.vocabulary import extend, output_weight

    catalog = topics(8)
    book = make(catalog, size=4, disambiguate=True)
    base = load_base("embedded")
    extended = extend(base.model, base.tokenizer, book)
    initialise_rows(extended, catalog, book, Prior(kind="name"))
    rows_SD = output_weight(extended.model).detach()[extended.first_id :].numpy()
    assert rows_SD.shape == (len(book.new_symbols), 384) and np.isfinite(rows_SD).all()
    first = [row for row, symbol in zip(rows_SD, book.new_symbols, strict=True) if symbol.startswith("<<r1")]
    assert len(np.unique(np.round(first, 4), axis=0)) == 4
    assert extended.codes.longest == 4
