"""Hierarchical codes: a tree of clusters that always ends, means something, and grows without changing."""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
from hashed_embeddings import TOPICS, catalog_of, hashed, related, topics
from test_indexing import END, encode, prefix_free, token_codes

from toolgen.codebook import Codebook
from toolgen.embeddings import Embed
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.indexing.clustering import split
from toolgen.indexing.hierarchical import _Node
from toolgen.tools import Tool, ToolCatalog


def make(catalog: ToolCatalog, embed: Embed = related, **options: Any) -> Codebook:
    book = build("hierarchical", catalog, encode=encode, end_id=END, embed=embed, **options)
    assert prefix_free(token_codes(book))
    return book


def depths(book: Codebook) -> set[int]:
    return {len(code) for code in book.codes.values()}


def test_few_tools_get_one_digit_each() -> None:
    book = make(catalog_of(*map(str, range(10))))
    assert list(book.codes.values()) == [(str(digit),) for digit in range(10)]
    assert make(catalog_of("alone")).codes == {"t0": ("0",)}
    assert book.new_symbols == () and book.disambiguated == ()
    expected = {"branching": 10, "balanced": False, "digits": "text", "seed": 0, "disambiguate": False}
    assert book.options == expected


def test_tools_of_one_topic_share_a_prefix() -> None:
    catalog = topics(8)
    book = make(catalog, branching=4)
    prefixes = {topic: {code[0] for id, code in book.codes.items() if topic in catalog[id].name} for topic in TOPICS}
    assert all(len(first) == 1 for first in prefixes.values())
    assert len(set.union(*prefixes.values())) == 4
    assert [book.codes[f"t{number}"][0] for number in range(4)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("branching", [2, 3, 10])
@pytest.mark.parametrize("tools", [11, 12, 100, 101, 300])
def test_identical_documents_are_shared_out_evenly(tools: int, branching: int, balanced: bool) -> None:
    book = make(catalog_of(*["same"] * tools), branching=branching, balanced=balanced)
    longest = int(np.ceil(np.log(tools) / np.log(branching) - 1e-9))
    assert max(depths(book)) == longest
    assert min(depths(book)) >= longest - 1


def test_half_the_documents_identical_and_outliers_end() -> None:
    documents = ["same"] * 150 + [f"other {number}" for number in range(150)]
    assert len(make(catalog_of(*documents), hashed).codes) == 300

    def spiral(texts: Any) -> np.ndarray:
        """Each point is half as far from the end as the one before: clusters of one beside one of the rest."""
        angles_N = 0.5 ** np.minimum(np.arange(len(texts)), 20)
        return np.stack([np.cos(angles_N), np.sin(angles_N)], axis=1)

    assert len(make(topics(20), spiral, branching=2).codes) == 80


@pytest.mark.parametrize("tools", [11, 99, 100, 256, 1000])
def test_balanced_clusters_are_equally_large(tools: int) -> None:
    book = make(catalog_of(*map(str, range(tools))), hashed, balanced=True)
    for depth in range(1, max(depths(book))):
        children: dict[tuple[str, ...], list[int]] = {}
        prefixes = [code[:depth] for code in book.codes.values() if len(code) >= depth]
        for prefix in set(prefixes):
            children.setdefault(prefix[:-1], []).append(prefixes.count(prefix))
        assert all(max(sizes) - min(sizes) <= 1 for sizes in children.values())
    assert max(depths(book)) - min(depths(book)) <= 1


def test_balanced_clusters_stay_near_together() -> None:
    vectors_ND = related([tool.document() for tool in topics(25).values()])

    def spread(labels_N: np.ndarray) -> float:
        return sum(float(vectors_ND[labels_N == label].var(0).sum()) for label in set(labels_N.tolist()))

    labels_N = split(vectors_ND, 4, seed=0, balanced=True)
    assert np.bincount(labels_N).tolist() == [25] * 4
    assert spread(labels_N) == pytest.approx(spread(np.arange(100) % 4)), "topics are in turn, so this is the optimum"
    assert spread(labels_N) < 0.7 * spread(np.arange(100) // 25)


@pytest.mark.parametrize("balanced", [False, True])
def test_seeds_matter_and_threads_do_not(balanced: bool, threads: Callable[[int], None]) -> None:
    catalog = catalog_of(*(f"{number % 7} {number % 31} {number}" for number in range(1500)))
    books = []
    for count in (1, 2, 4):
        threads(count)
        books.append(make(catalog, balanced=balanced))
        assert faiss.omp_get_max_threads() == count, "the setting was not restored"
    assert len({book.fingerprint for book in books}) == 1
    assert make(catalog, balanced=balanced, seed=1).codes != books[0].codes


@pytest.fixture
def threads() -> Any:
    """Sets faiss' threads, as a program around us might; puts them back."""
    before = faiss.omp_get_max_threads()
    yield faiss.omp_set_num_threads
    faiss.omp_set_num_threads(before)


def test_new_digits_have_a_symbol_a_level() -> None:
    book = make(topics(30), digits="new")
    text = make(topics(30))
    assert [[symbol.rpartition(":")[2][:-2] for symbol in code] for code in book.codes.values()] == [
        list(code) for code in text.codes.values()
    ]
    assert all(
        symbol.startswith(f"<<h{level}:") for code in book.codes.values() for level, symbol in enumerate(code, start=1)
    )
    assert set(book.new_symbols) == {symbol for code in book.codes.values() for symbol in code}


def test_new_digits_are_never_alone_so_that_every_code_has_an_end() -> None:
    book = make(catalog_of("alone"), digits="new")
    assert book.codes == {"t0": ("<<h1:0>>", "<<h2:0>>")}
    assert min(depths(make(catalog_of(*"abcdef"), digits="new"))) == 2


def test_more_branches_than_digits_need_new_ones() -> None:
    with pytest.raises(InputError, match="branching is 11, but digits of text are ten.*--digits new"):
        make(topics(4), branching=11)
    assert make(topics(4), branching=16, digits="new").codes["t15"] == ("<<h1:15>>", "<<h2:0>>")
    with pytest.raises(InputError, match="branching is 1. A tree needs two branches. Give 2 or more"):
        make(topics(4), branching=1)
    with pytest.raises(InputError, match="digits is 'roman'. Choose one of text, new"):
        make(topics(4), digits="roman")
    with pytest.raises(InputError, match=r"digits 0 and 1 into the same tokens \[1\].*--digits new"):
        build("hierarchical", topics(4), encode=lambda text: [1], end_id=END, embed=related)


def test_bad_options_are_refused_before_documents_are_read() -> None:
    def never(texts: Any) -> np.ndarray:
        raise AssertionError("documents were read")

    for options in ({"branching": 1}, {"branching": 11}, {"digits": "roman"}):
        with pytest.raises(InputError):
            make(topics(4), never, **options)


@pytest.mark.parametrize("gives", [np.zeros(3), np.zeros((2, 4)), np.full((3, 4), np.nan), np.full((3, 4), 2e19)])
def test_what_is_no_vector_a_document_is_refused(gives: np.ndarray) -> None:
    with pytest.raises(InputError, match="for 3 documents.*a vector of length 1 for each text"):
        make(catalog_of("a", "b", "c"), lambda texts: gives)


def test_embeddings_are_asked_for() -> None:
    with pytest.raises(InputError, match="'hierarchical'.*needs their embeddings. Give `embed`"):
        build("hierarchical", topics(1), encode=encode, end_id=END)


@pytest.mark.parametrize("digits", ["text", "new"])
def test_a_new_tool_joins_its_like(digits: str) -> None:
    catalog = topics(8)
    base = make(catalog, branching=4, digits=digits)
    grown = ToolCatalog([*catalog.values(), *(Tool(topic, f"{topic} news") for topic in TOPICS)])
    book = make(grown, base=base)
    for number, topic in enumerate(TOPICS):
        assert book.codes[topic][0] == base.codes[f"t{number}"][0]
    crowd = [Tool(f"crowd {number}", f"{TOPICS[number % 2]} {number}") for number in range(80)]
    crowded = make(ToolCatalog([*catalog.values(), *crowd]), base=base)
    for number, tool in enumerate(crowd):
        assert crowded.codes[tool.id][0] == base.codes[f"t{number % 2}"][0]
    assert book.options["branching"] == 4 and book.options["digits"] == digits


def test_a_new_tool_takes_a_free_child_or_goes_below_a_leaf() -> None:
    base = make(catalog_of("a", "b"), branching=3)
    book = make(catalog_of("a", "b", "a"), branching=3, base=base)
    assert book.codes["t2"] == ("2",)
    full = make(catalog_of("a", "b", "c"), branching=3)
    book = make(catalog_of("a", "b", "c", "b", "b", "b"), base=full)
    assert [book.codes[f"t{number}"] for number in (3, 4, 5)] == [("1", "0"), ("1", "1"), ("1", "2")]
    assert make(catalog_of("a", "b", "c", "b", "b", "b", "b"), base=book).codes["t6"] == ("1", "0", "0")


def test_centroids_move_with_the_tools_that_join() -> None:
    vectors_ND = hashed(["a", "b", "c"])
    tree = _Node((), vectors_ND)
    tree.add((0,), 0)
    assert tree.free_path(vectors_ND[1], branching=1) == (0, 0)
    tree.add((0, 0), 1)
    tree.add((0, 1), 2)
    assert tree.children[0]._distance(vectors_ND.mean(0)) == pytest.approx(0, abs=1e-12)


def test_many_identical_documents_join_without_a_chain() -> None:
    base = make(catalog_of("same"), branching=3)
    book = make(catalog_of(*["same"] * 400), base=base)
    assert max(depths(book)) <= 12


def test_a_base_of_one_tool_grows_with_new_digits() -> None:
    base = make(catalog_of("a"), digits="new")
    book = make(catalog_of("a", "b", "c"), base=base)
    assert book.codes["t0"] == base.codes["t0"] and book.codes["t1"] == ("<<h1:0>>", "<<h2:1>>")
    assert book.new_symbols == ("<<h1:0>>", "<<h2:0>>", "<<h2:1>>", "<<h2:2>>")


def test_a_base_is_extended_as_it_was_built() -> None:
    base = make(topics(4), branching=4, balanced=True, seed=3)
    for option, value, has in (("branching", 5, "4"), ("balanced", False, "True"), ("digits", "new", "text")):
        with pytest.raises(InputError, match=f"was built with {option} {has}, but {option} {value} was asked for"):
            make(topics(5), base=base, **{option: value})
    book = make(topics(5), base=base, branching=4, balanced=True)
    assert {**book.options, "extends": None} == {**base.options, "extends": None}
