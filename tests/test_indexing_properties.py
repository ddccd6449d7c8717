"""What every indexing scheme owes to any catalogue: codes that are distinct, prefix-free, reproducible and lasting, or
a refusal that says why."""

from random import Random
from typing import Any

import pytest
from hashed_embeddings import hashed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_indexing import END, encode, prefix_free, token_codes

from toolgen.codebook import Codebook, CollisionError
from toolgen.errors import InputError
from toolgen.indexing import SCHEMES, build
from toolgen.indexing.semantic import function_name, split_name
from toolgen.tools import Tool, ToolCatalog

DIGITS = st.sampled_from(["text", "new"])
OPTIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "atomic": {},
    "numeric": {"digits": DIGITS, "width": st.just(5)},
    "hierarchical": {"digits": DIGITS, "branching": st.integers(2, 10), "balanced": st.booleans()},
    "semantic": {"split": st.booleans()},
    "residual": {"levels": st.integers(2, 4), "size": st.sampled_from([1, 2, 8, 256]), "spread": st.booleans()},
}
TEXTS = st.text(min_size=1, max_size=12).filter(str.strip) | st.sampled_from(
    [
        "a",
        "A",
        "a#2",
        "b&&c",
        "id",
        "7",
        "_",
        "😀",
        "天气",
        "x" * 70,
        "<<h1:0>>",
        "<<#2>>",
        "a/b",
        "a b",
        "a_b",
        "[UNK]",
    ]
)


def options_of(scheme: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the scheme's options, or none of them."""
    return st.fixed_dictionaries({}, optional=OPTIONS[scheme])


@st.composite
def catalogs(draw: st.DrawFn, least: int = 1, most: int = 60) -> ToolCatalog:
    """Tools whose names, groups and descriptions come from small pools: many are equal, or have equal documents."""
    names = draw(st.lists(TEXTS, min_size=1, max_size=8))
    groups = draw(st.lists(st.none() | st.just("") | TEXTS, min_size=1, max_size=4))
    descriptions = draw(st.lists(st.just("") | st.text(max_size=20), min_size=1, max_size=6))
    if draw(st.booleans()):
        # Enough different documents for clusters of all sizes.
        descriptions += [f"number {number}" for number in range(most)]
    size = draw(st.integers(least, min(most, least + 11)) | st.integers(least, most))
    # Drawing each tool from hypothesis would make thousands of choices.
    random = Random(draw(st.integers(0, 2**32)))
    return ToolCatalog(
        Tool(
            f"t{number}",
            random.choice(names),
            description=random.choice(descriptions),
            group=random.choice(groups),
        )
        for number in range(size)
    )


def make(scheme: str, catalog: ToolCatalog, **options: Any) -> Codebook:
    return build(scheme, catalog, encode=encode, end_id=END, embed=hashed, **options)


def check(book: Codebook, catalog: ToolCatalog) -> None:
    assert list(book.codes) == list(catalog)
    assert prefix_free(token_codes(book))
    used = {symbol for code in book.codes.values() for symbol in code}
    assert used.issuperset(book.new_symbols), "a row without a tool"


def nameless(tool: Tool, options: dict[str, Any]) -> bool:
    """Whether the semantic scheme has to refuse the tool."""
    return not (split_name(tool) if options.get("split") else function_name(tool))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(max_examples=60)
def test_codes_are_sound_and_reproducible_or_the_refusal_names_tools(scheme: str, data: st.DataObject) -> None:
    catalog, options = data.draw(catalogs()), data.draw(options_of(scheme))
    try:
        book = make(scheme, catalog, **options)
    except InputError as error:
        assert any(repr(tool_id) in str(error) for tool_id in catalog), error
        assert isinstance(error, CollisionError) or (
            scheme == "semantic" and any(nameless(tool, options) for tool in catalog.values())
        )
        assert scheme not in ("numeric", "hierarchical")
        return
    check(book, catalog)
    assert book.disambiguated == ()
    assert make(scheme, catalog, **options).fingerprint == book.fingerprint
    assert make(scheme, catalog, disambiguate=True, **options).codes == book.codes


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(max_examples=60)
def test_disambiguation_refuses_only_tools_without_a_name(scheme: str, data: st.DataObject) -> None:
    catalog, options = data.draw(catalogs()), data.draw(options_of(scheme))
    try:
        book = make(scheme, catalog, disambiguate=True, **options)
    except InputError as error:
        assert not isinstance(error, CollisionError)
        assert scheme == "semantic" and any(nameless(tool, options) for tool in catalog.values())
        return
    check(book, catalog)
    assert make(scheme, catalog, disambiguate=True, **options).fingerprint == book.fingerprint


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(max_examples=5)
def test_catalogues_of_two_thousand_tools_get_codes(scheme: str, data: st.DataObject) -> None:
    catalog, options = data.draw(catalogs(least=1000, most=2000)), data.draw(options_of(scheme))
    named = ToolCatalog([Tool("named", "named"), *(tool for tool in catalog.values() if not nameless(tool, options))])
    check(make(scheme, named, disambiguate=True, **options), named)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(max_examples=60)
def test_extending_changes_no_code(scheme: str, data: st.DataObject) -> None:
    options = data.draw(options_of(scheme))
    tools = [tool for tool in data.draw(catalogs()).values() if not nameless(tool, options)] or [Tool("t", "named")]
    first = data.draw(st.integers(1, len(tools)))
    second = data.draw(st.integers(first, len(tools)))
    options |= {"width": 5} if scheme == "numeric" else {}
    book = make(scheme, ToolCatalog(tools[:first]), disambiguate=True, **options)
    for size in (second, len(tools)):
        grown = ToolCatalog(data.draw(st.permutations(tools[:size])))
        base, book = book, make(scheme, grown, disambiguate=True, base=book)
        check(book, grown)
        assert {tool_id: book.codes[tool_id] for tool_id in base.codes} == dict(base.codes)
        assert book.new_symbols[: len(base.new_symbols)] == base.new_symbols
        assert set(base.disambiguated) <= set(book.disambiguated)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(max_examples=20)
def test_a_changed_document_changes_no_code(scheme: str, data: st.DataObject) -> None:
    catalog = ToolCatalog(Tool(tool.id, f"named {tool.name}") for tool in data.draw(catalogs(least=2)).values())
    base = make(scheme, catalog, disambiguate=True)
    texts = [data.draw(TEXTS) for _ in range(2)]
    changed = ToolCatalog(
        Tool(tool.id, text, description=text)
        for tool, text in zip(catalog.values(), texts * len(catalog), strict=False)
    )
    assert make(scheme, changed, disambiguate=True, base=base).codes == base.codes
