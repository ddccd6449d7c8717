"""Figures of codes against values counted by hand, the picture's budget and bookkeeping, and a page that strangers'
text cannot break."""

import json
import math
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from toolgen.cli import app
from toolgen.codebook import Codebook
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.indexing.code_tree import Branch, CodeTree
from toolgen.indexing.inspection import END, Index, Inspection, inspect
from toolgen.indexing.page import render
from toolgen.indexing.picture import Kind, Picture
from toolgen.tools import Tool, ToolCatalog

END_ID = 0
SCRIPT = "<script>alert(1)</script>"
RUN = "\u202e\x1b[31m<b onclick=x>"


def index_of(
    codes: Sequence[str], groups: Sequence[str | None] | None = None, by: str | None = None, names: Sequence[str] = ()
) -> Index:
    """An index whose every letter is a new symbol, and so a token; tools are t0, t1 ... where no names are given."""
    names = names or [f"t{number}" for number in range(len(codes))]
    groups = groups or [None] * len(codes)
    catalog = ToolCatalog(
        Tool(name, name, group=group if by is None else None, metadata={by: group} if by and group else {})
        for name, group in zip(names, groups, strict=True)
    )
    letters = sorted({letter for code in codes for letter in code})
    book = Codebook("test", dict(zip(names, map(tuple, codes), strict=True)), tuple(letters), catalog.fingerprint)
    bound = book.bind(lambda text: [], {letter: 1 + number for number, letter in enumerate(letters)}, END_ID)
    return Index(book, bound, catalog, str, by)


@pytest.fixture(scope="module")
def four() -> Inspection:
    """Codes pq, pr, sq and sqt, each with its end; tools of groups G, G, H and G."""
    return inspect(index_of(["pq", "pr", "sq", "sqt"], ["G", "G", "H", "G"]))


def test_lengths_leave_the_end_out_and_prefixes_are_counted_once(four: Inspection) -> None:
    figures = four.statistics
    assert (figures.tokens_min, figures.tokens_mean, figures.tokens_max) == (2, 2.25, 3)
    assert four.histogram == {2: 3, 3: 1}
    assert four.nodes == len(["p", "s", "pq", "pr", "sq", "sqt"])
    assert four.groups == {"G": 3, "H": 1} and four.unused_symbols == 0


def test_levels_against_figures_counted_by_hand(four: Inspection) -> None:
    first, second, third = four.levels
    assert (first.prefixes, first.choices_mean, first.choices_max, first.symbols) == (2, 2, 2, 2)
    assert (first.entropy_bits, first.entropy_share, first.sharing) == (1, 1, 4)
    assert (second.prefixes, second.choices_mean, second.choices_max, second.symbols) == (3, 1.5, 2, 2)
    # q three times, r once
    assert second.entropy_bits == pytest.approx(-0.75 * math.log2(0.75) - 0.25 * math.log2(0.25))
    assert second.entropy_share == pytest.approx(second.entropy_bits) and second.sharing == 2
    # the end three times, t once; pq and pr can only end
    assert (third.tools, third.prefixes, third.symbols, third.choices_max) == (4, 4, 2, 2)
    assert third.choices_mean == pytest.approx(4 / 3) and third.sharing == 0


def test_purity_against_figures_counted_by_hand(four: Inspection) -> None:
    first, second, third = four.levels
    # p holds G G, s holds H G. One of two pairs always holds the only H: chance is the same.
    assert (first.purity, first.purity_by_chance) == (0.75, 0.75)
    # Of the prefixes of two tokens only sq is shared, by H and G; two tools out of G G G H are alike half of the time.
    assert second.purity == 0.5 and second.purity_by_chance == pytest.approx(0.75, abs=0.06)
    assert third.purity is None and third.purity_by_chance is None


def test_chance_is_the_mean_over_all_ways_to_deal_the_groups_out() -> None:
    groups = "GGGHHI"
    level = inspect(index_of(["aa", "ab", "ac", "ba", "bb", "cc"], list(groups))).levels[0]
    dealt = [
        (max(map(way[:3].count, groups)) + max(map(way[3:5].count, groups))) / 5 for way in permutations(groups, 6)
    ]
    assert level.purity_by_chance == pytest.approx(sum(dealt) / len(dealt), abs=0.04)
    assert level.purity == 1.0 and level.sharing == 5


def test_tools_without_a_group_are_left_out_of_purity() -> None:
    assert inspect(index_of(["aa", "ab", "ac"], ["G", "G", None])).levels[0].purity == 1
    alone = inspect(index_of(["aa", "ab"], ["G", None])).levels[0]
    assert alone.sharing == 2 and alone.purity is None
    bare = inspect(index_of(["aa", "ab"]))
    assert bare.levels[0].purity is None and bare.groups == {} and "chance" not in bare.headline()


def test_metadata_can_group_the_tools() -> None:
    by_kind = inspect(index_of(["aa", "ab", "ba"], ["G", "G", "H"], by="kind"))
    assert by_kind.groups == {"G": 2, "H": 1} and by_kind.levels[0].purity == 1 and by_kind.group_by == "kind"
    index = index_of(["aa", "ab"], ["G", "H"], by="kind")
    with pytest.raises(InputError, match="'sort'.*kind"):
        inspect(Index(index.codebook, index.codes, index.catalog, str, "sort"))


def test_the_longest_shared_prefixes_name_no_tool_twice(four: Inspection) -> None:
    assert [(shared.length, shared.text, shared.tools) for shared in four.longest_shared] == [
        (2, "s q", ("t2", "t3")),
        (1, "p", ("t0", "t1")),
    ]


def test_unused_and_disambiguating_symbols_are_counted() -> None:
    catalog = ToolCatalog([Tool("a", "a"), Tool("b", "b")])
    book = Codebook("test", {"a": ("x",), "b": ("x2",)}, ("x", "x2", "y"), catalog.fingerprint, {}, ("b",))
    found = inspect(Index(book, book.bind(lambda text: [], {"x": 1, "x2": 2, "y": 3}, END_ID), catalog, str))
    assert found.unused_symbols == 1 and found.disambiguated == ("b",)
    assert ("new symbols", "3, 1 unused") in found.summary() and not found.longest_shared


def test_one_tool_is_an_index_too() -> None:
    index = index_of(["a"], ["G"])
    assert inspect(index).levels[0].entropy_bits == 0 and inspect(index).levels[0].entropy_share is None
    assert [box.tools for box in Picture(index).boxes] == [1, 1]


def prefix_free(words: set[str]) -> list[str]:
    return sorted({f"{word}." for word in words})


words = st.sets(st.text("abc", max_size=5), min_size=1, max_size=40).map(prefix_free)


@given(words)
@settings(max_examples=80)
def test_the_tree_is_what_comparing_prefixes_gives(codes: list[str]) -> None:
    tree = CodeTree.of([tuple(map(ord, code)) for code in codes])
    ordered = [codes[position] for position in tree.order_N.tolist()]
    for depth in range(tree.codes_ND.shape[1] + 1):
        numbers = tree.prefixes(depth)
        for row, left in enumerate(ordered):
            for other, right in enumerate(ordered):
                alike = left[:depth] == right[:depth] and (len(left) >= depth or left == right)
                assert (numbers[row] == numbers[other]) == alike

    def check(branch: Branch, prefix: str) -> None:
        children = tree.children(branch)
        assert sum(child.size for child in children) == (branch.size if children else 0)
        for child in children:
            texts = ordered[child.start : child.stop]
            own = "".join(map(chr, tree.tokens(child)))
            assert own and all(text.startswith(prefix + own) for text in texts)
            assert len(texts) > 1 or texts == [prefix + own]
            # All that they share is the branch's, so the next token always branches.
            assert len(texts) == 1 or len({text[child.depth] for text in texts}) > 1
            check(child, prefix + own)

    check(tree.root, "")
    shared = tree.longest_shared(100)
    assert len({row for branch in shared for row in range(branch.start, branch.stop)}) == sum(b.size for b in shared)
    lengths = [branch.depth for branch in shared]
    assert lengths == sorted(lengths, reverse=True)


@given(words, st.integers(2, 30), st.none() | st.integers(1, 4))
@settings(max_examples=80)
def test_every_tool_is_in_one_innermost_box_whatever_the_budget(codes: list[str], budget: int, depth: int) -> None:
    index = index_of(codes, [code[0] if code[0] != "." else None for code in codes])
    picture = Picture(index, budget, depth)
    assert len(picture.boxes) <= budget
    inside = [0] * len(picture.boxes)
    for number, box in enumerate(picture.boxes):
        assert box.parent < number
        if box.parent >= 0:
            inside[box.parent] += box.tools
    assert all(held in (0, box.tools) for held, box in zip(inside, picture.boxes, strict=True))
    assert picture.boxes[0].tools == len(codes)


@pytest.fixture(scope="module")
def many() -> Index:
    """20,000 tools in 40 groups of 500: one token of each group's first, then three digits."""
    codes = [f"{chr(0x4E00 + group)}{number:03d}" for group in range(40) for number in range(500)]
    return index_of(codes, [f"group {ord(code[0]) - 0x4E00}" for code in codes])


def test_a_large_tree_keeps_to_its_budget_and_the_page_stays_small(many: Index) -> None:
    picture = Picture(many, boxes=1000)
    # 1 + 40 + 40 * 5 prefixes are drawn; those of 100 tools would need 2,000 boxes and stay closed, all of them.
    assert [box.kind for box in picture.boxes] == [Kind.PREFIX] * 241 and picture.closed == 100
    page = render(many, inspect(many))
    assert len(page) < 5_000_000 and "Boxes of 10 tools or fewer stay closed" in page
    shallow = Picture(many, depth=1)
    assert len(shallow.boxes) == 41 and shallow.closed == 0


def test_a_wide_node_gathers_tools_by_group_and_the_rest() -> None:
    codes = [chr(0x4E00 + number) for number in range(1000)]
    picture = Picture(index_of(codes, [f"group {number // 2 if number >= 500 else 0}" for number in range(1000)]))
    below = [box for box in picture.boxes if box.parent == 0]
    assert below[0].kind is Kind.GROUP and below[0].tools == 500 and "group 0" in below[0].label
    assert below[-1].kind is Kind.REST and below[-1].tools == 1000 - 500 - 2 * (len(below) - 2)
    assert sum(box.tools for box in below) == 1000
    tools = [box for box in picture.boxes if box.parent == picture.boxes.index(below[0])]
    assert sum(box.tools for box in tools) == 500


def test_a_small_prefix_shows_a_dozen_branches_and_the_rest() -> None:
    codes = [chr(0x4E00 + first) + chr(0x4E00 + second) for first in range(200) for second in range(20)]
    picture = Picture(index_of(codes), boxes=4000)
    below = [box for box in picture.boxes if box.parent == 1]
    assert [box.tools for box in below] == [1] * 11 + [9] and below[-1].kind is Kind.REST
    assert len(picture.boxes) == 1 + 200 + 200 * 12


def test_colour_tells_the_largest_group_and_how_mixed_a_box_is() -> None:
    picture = Picture(index_of(["aa", "ab", "ba", "bb"], ["G", "G", "H", "G"]))
    by_label = {box.label: box.colour for box in picture.boxes}
    pure, mixed = by_label["<b>a</b> 2"], by_label["<b>b</b> 2"]
    assert pure == picture.legend["G"] == by_label["<b>b</b> t3"] and by_label["<b>a</b> t2"] == picture.legend["H"]
    assert mixed not in picture.legend.values()


class Outline(HTMLParser):
    """Elements, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def hostile() -> Index:
    names = [SCRIPT, f"{SCRIPT}2", RUN, "</script>", "%{label}", '"&amp;\\u003c'] + [f"tool{n}" for n in range(300)]
    codes = ["aa", "ab", "ba", "bb", "bc", "bd"] + [f"c{chr(0x4E00 + number)}" for number in range(300)]
    groups = [SCRIPT, SCRIPT, RUN, "</style>", "</title>", "'"] + ["<i>"] * 300
    return index_of(codes, groups, names=names)


def test_strangers_text_is_text_on_the_page(hostile: Index) -> None:
    outline = Outline(render(hostile, inspect(hostile)))
    plain = Outline(render(many_like := index_of(["aa", "ab"], ["G", "H"]), inspect(many_like)))
    assert outline.tags.count("script") == plain.tags.count("script") == 3
    assert {"b", "i"} & set(outline.tags) <= {"b"}
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert f"{SCRIPT} 2" in outline.texts, "the legend shows the group's name as it is"
    labels = [box.label for box in Picture(hostile).boxes]
    assert f"<b>a</b> {SCRIPT}" not in labels and "<b>a</b> &lt;script&gt;alert(1)&lt;/script&gt;" in labels
    assert all("\x1b" not in label and "\u202e" not in label for label in labels)


def test_the_page_asks_nothing_of_the_network(hostile: Index) -> None:
    page = render(hostile, inspect(hostile))
    outline = Outline(page)
    assert not [name for name, _ in outline.attributes if name in ("src", "href", "srcset")]
    assert not {"link", "img", "iframe", "base"} & set(outline.tags)
    library = page.index('id="library"')
    assert "http:" not in page[:library] and "https:" not in page[:library] and "@import" not in page
    figure = next(text for text in outline.texts if text.startswith('{"data"'))
    assert "<" not in figure
    assert json.loads(figure)["data"][0]["type"] == "icicle"
    assert page == render(hostile, inspect(hostile)), "the same input gives the same page"


def test_ends_and_texts_are_readable() -> None:
    index = index_of(["ab", "abc"])
    assert [box.label for box in Picture(index).boxes][1:] == ["<b>a b</b> 2", f"<b>{END}</b> t0", "<b>c</b> t1"]
    assert index.text([7, END_ID]) == "7" and index.text([END_ID]) == END


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(part) for part in arguments], env={"COLUMNS": "80"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, [str(part) for part in arguments], catch_exceptions=False)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, catalog: ToolCatalog, tiny_base: Path) -> Path:
    """A folder with a catalogue and the semantic codes of the tiny base's tokenizer."""
    run("index", "--scheme", "semantic", "--tools", save(catalog, tmp_path / "tools.jsonl"), "--model", tiny_base,
        "--out", tmp_path / "codebook.json")  # fmt: skip
    return tmp_path


def save(catalog: ToolCatalog, path: Path) -> Path:
    catalog.to_jsonl(path)
    return path


def test_inspect_an_index_folder(folder: Path, tiny_base: Path) -> None:
    page, figures = folder / "codes.html", folder / "figures.json"
    printed = run("index", "inspect", folder, "--model", tiny_base, "--out", page, "--json", figures)
    record = json.loads(figures.read_text())
    assert record["scheme"] == "semantic" and record["statistics"]["tools"] == 30
    assert len(record["levels"]) == record["statistics"]["tokens_max"]
    assert "30 tools" in printed and "longest shared prefix" in printed and "…" not in printed
    assert "buckets.CreateBucket" in page.read_text()
    moved = (folder / "codebook.json").rename(folder / "other.json")
    run("index", "inspect", moved, "--tools", folder / "tools.jsonl", "--model", tiny_base, "--out", page)


def test_inspect_a_checkpoint_folder(untrained: Path, tmp_path: Path) -> None:
    page = tmp_path / "codes.html"
    printed = run("index", "inspect", untrained, "--out", page)
    assert "atomic" in printed and "No two codes share a token" in printed
    figure = next(text for text in Outline(page.read_text()).texts if text.startswith('{"data"'))
    named = "<b>&lt;&lt;buckets&amp;&amp;CreateBucket&gt;&gt;</b> buckets.CreateBucket"
    assert named in json.loads(figure)["data"][0]["labels"]
    assert "--model" in refused("index", "inspect", untrained, "--model", "embedded", "--out", page)


def test_inspect_refuses_what_it_cannot_read(
    folder: Path, tmp_path: Path, catalog: ToolCatalog, tiny_base: Path
) -> None:
    page = tmp_path / "never.html"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "codebook.json" in refused("index", "inspect", empty, "--out", page)
    assert "neither a checkpoint" in refused("index", "inspect", tmp_path / "nowhere", "--out", page)
    assert "--tools" in refused("index", "inspect", folder, "--tools", tmp_path / "none.jsonl", "--out", page)
    other = save(ToolCatalog(list(catalog.values())[:29]), tmp_path / "other.jsonl")
    assert "another catalogue" in refused("index", "inspect", folder, "--tools", other, "--out", page)
    assert "'colour'" in refused("index", "inspect", folder, "--model", tiny_base, "--by", "colour", "--out", page)
    (folder / "codebook.json").write_bytes(b"\xff\xfe{")
    assert "not valid JSON" in refused("index", "inspect", folder, "--out", page)
    assert not page.exists()


def test_index_alone_still_builds_and_both_helps_teach(tmp_path: Path) -> None:
    group, single = run("index", "--help"), run("index", "build", "--help")
    assert "inspect" in group and all("--scheme" in shown and "Example" in shown for shown in (group, single))
    typo = CliRunner().invoke(app, ["index", "inspet", str(tmp_path)])
    assert typo.exit_code == 2 and "inspect" in typo.output


def test_build_still_works_when_named(catalog: ToolCatalog, tmp_path: Path) -> None:
    tools = save(catalog, tmp_path / "tools.jsonl")
    for number, words in enumerate([("index",), ("index", "build")]):
        run(*words, "--scheme", "atomic", "--tools", tools, "--out", tmp_path / f"{number}.json")
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    assert len(build("atomic", catalog, encode=lambda text: [1], end_id=0).codes) == 30
