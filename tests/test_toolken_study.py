"""The study of tool rows on a tiny base: cells, going on after an interruption, and the page with strangers' text."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from toolgen.base import load_base
from toolgen.benchmarks import toolken_study as study
from toolgen.benchmarks.funcqa import one_hop_texts
from toolgen.benchmarks.tiny import tiny_catalog
from toolgen.benchmarks.toolken_cells import (
    NEIGHBOUR,
    Cell,
    Method,
    Outcome,
    Place,
    Start,
    Starts,
    TextSet,
    drawn,
    restricted,
    run_cell,
)
from toolgen.benchmarks.toolken_findings import Finding, Results, difference, findings
from toolgen.benchmarks.toolken_page import answers, render
from toolgen.benchmarks.toolken_pictures import pictures
from toolgen.errors import InputError
from toolgen.files import write_jsonl
from toolgen.functions.hub import funcqa
from toolgen.toolken.measures import Figures

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"
TOOLS = 8
PARTS = ("train", "train", "validation", "train", "test", "train")
METHODS = (
    *(Method(Start(kind, scale)) for kind in ("random", "name") for scale in ("small", "word")),
    Method(Start("hidden", "small")),
    Method(Start("name", "small", "max")),
    Method(Start("random", "small"), study.PULLS[2]),
    *study.PUBLISHED.values(),
)
PLAN = study.Plan(
    methods=METHODS,
    few=("metatool", "gsm8k"),
    examples=(2, 4),
    full=("gsm8k",),
    tools=(3,),
    curve_examples=2,
    seeds=(0, 1),
    most_tools=TOOLS,
)
PART = replace(PLAN, few=("metatool",), examples=(2,), full=(), seeds=(0,))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries that name their tool, and sums that are called."""
    folder = tmp_path_factory.mktemp("data")
    catalog = tiny_catalog()
    (folder / "metatool").mkdir()
    catalog.to_jsonl(folder / "metatool" / "tools.jsonl.gz")
    asked = [
        {
            "id": f"{tool.id}-{number}",
            "query": f"{number} times {tool.description}",
            "tools": [tool.id],
            "split": PARTS[number % 6],
        }
        for tool in list(catalog.values())[:TOOLS]
        for number in range(12)
    ]
    write_jsonl(folder / "metatool" / "queries.jsonl.gz", asked)
    signs = {"+": "<add>", "-": "<subtract>", "*": "<multiply>", "/": "<divide>"}
    texts = []
    for number in range(60):
        sign = "+-*/"[number % 4]
        said = f"so {number} {sign} 3 is "
        calls = [{"start": len(said), "end": len(said) + 2, "tool": signs[sign]}]
        split = PARTS[number // 4 % 6]
        texts.append({"id": str(number), "text": f"{said}{10 + number} then", "calls": calls, "split": split})
    write_jsonl(folder / "toolken" / "gsm8k_train_4op.jsonl.gz", texts)
    return folder


@pytest.fixture(scope="module")
def sets(data: Path, tiny_base: Path) -> dict[str, TextSet]:
    return study.load_sets(PLAN, data, load_base(str(tiny_base)), str(tiny_base))


@pytest.fixture(scope="module")
def run(data: Path, tiny_base: Path) -> Callable[[Path, study.Plan], Results]:
    return lambda output, plan: study.run_study(plan, data, output, str(tiny_base), "the command")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def results(run: Callable[[Path, study.Plan], Results], folder: Path) -> Results:
    return run(folder, PLAN)


@pytest.fixture(scope="module")
def found(results: Results) -> list[Finding]:
    return findings(results)


# ---- cells


def test_fewer_examples_are_among_more(sets: dict[str, TextSet]) -> None:
    for texts in sets.values():
        few, more, everything = (drawn(texts, count, 3) for count in (2, 5, None))
        assert set(few) < set(more) <= set(everything) and everything == texts.prepared.train
        assert drawn(texts, 2, 3) == few != drawn(texts, 2, 4)
    states = sets["metatool"].prepared.states
    labels = [states.labels_n[states.places([number])].tolist() for number in drawn(sets["metatool"], 2, 0)]
    assert sorted(label for one in labels for label in one) == [
        states.first_id + tool for tool in range(TOOLS) for _ in range(2)
    ]


def test_fewer_tools_are_among_more_and_keep_their_texts(sets: dict[str, TextSet]) -> None:
    whole = sets["metatool"]
    five, three = restricted(whole, 5), restricted(whole, 3)
    assert set(three.chosen) < set(five.chosen) and restricted(whole, TOOLS) is whole
    assert len({whole.key, five.key, three.key}) == 3
    for part in ("train", "validation", "test"):
        kept = getattr(three.prepared, part)
        for number in getattr(whole.prepared, part):
            (label,) = whole.prepared.states.labels_n[whole.prepared.states.places([number])]
            tool = int(label) - whole.prepared.states.first_id
            assert (number in kept) == (tool in three.chosen)
            if number in kept:
                (own,) = three.prepared.states.labels_n[three.prepared.states.places([number])]
                assert three.chosen[int(own) - three.prepared.states.first_id] == tool


def test_a_cell_gives_the_same_figures_again(sets: dict[str, TextSet], tiny_base: Path) -> None:
    base = load_base(str(tiny_base))
    for name, tools in (("metatool", 3), ("gsm8k", 4)):
        texts = restricted(sets[name], tools)
        for method in (METHODS[0], METHODS[-1], NEIGHBOUR):
            cell = Cell(Place(name, tools, 2), method, 1e-2, 1)
            one, other = (run_cell(cell, texts, Starts(base)) for _ in range(2))
            assert replace(one, seconds=0) == replace(other, seconds=0)
            assert len(one.calls_T) == len(texts.prepared.test)
            assert sum(one.right_T) / sum(one.calls_T) == one.figures.tool_accuracy
            for measure in texts.measures:
                figure = getattr(one.figures, measure.replace(" ", "_").lower())
                assert one.values_T(measure).mean() == pytest.approx(figure)
        assert bool(one.triggers_T) == texts.words


def test_rows_of_some_tools_are_those_of_all(sets: dict[str, TextSet], tiny_base: Path) -> None:
    starts = Starts(load_base(str(tiny_base)))
    whole, three = sets["metatool"], restricted(sets["metatool"], 3)
    for start in (Start("name", "word"), Start("random", "small")):
        assert starts.rows(three, start, 1).equal(starts.rows(whole, start, 1)[list(three.chosen)])
    assert starts.rows(whole, Start("name", "small"), 0).norm(dim=1).allclose(starts.rows(whole, start, 0).norm(dim=1))
    assert not starts.rows(whole, start, 0).equal(starts.rows(whole, start, 1))


def outcome(right: list[int], calls: list[int], triggers: list[int] | None = None) -> Outcome:
    shares = dict.fromkeys(("precision", "recall", "f1", "exact_f1", "tool_accuracy"), 0.5)
    figures = Figures(**shares, calls=sum(calls), labels=sum(calls))
    hits = tuple(right) if triggers else ()
    return Outcome(figures, tuple(calls), tuple(right), tuple(triggers or ()), hits, 1.0, 10, 0.1, "0")


def test_questions_of_one_hop_are_texts_that_call_once(tmp_path: Path) -> None:
    record = {"question": "What is two cubed? ", "answer": 8.0, "func": "<power>(2, 3)=8"}
    write_jsonl(tmp_path / "asked.jsonl", [record])
    (text,) = one_hop_texts(tmp_path / "asked.jsonl", funcqa().catalog)
    assert text.text == "Q: What is two cubed?\nA: The answer is 8.0."
    (call,) = text.calls
    assert (call.tool, text.text[call.start : call.end]) == ("<power>", "8.0")
    write_jsonl(tmp_path / "asked.jsonl", [{"question": "Which pH?", "answer": 3, "func": "-<log>(0.001)=3"}])
    assert one_hop_texts(tmp_path / "asked.jsonl", funcqa().catalog)[0].calls[0].tool == "<log>"
    for broken in ({**record, "func": "<pow>(2, 3)"}, {**record, "answer": None}, {"func": record["func"]}):
        write_jsonl(tmp_path / "asked.jsonl", [broken])
        with pytest.raises(InputError, match=r"asked.jsonl.*1.*'func', one call of one of <"):
            one_hop_texts(tmp_path / "asked.jsonl", funcqa().catalog)


def test_values_of_texts_stand_for_quotients_of_sums() -> None:
    single = outcome([1, 0, 1, 1], [1, 1, 1, 1])
    assert single.values_T("tool accuracy").tolist() == [1, 0, 1, 1]
    draw = np.random.default_rng(0)
    calls = draw.integers(1, 6, 400)
    right, triggers = draw.binomial(calls, 0.6), calls + draw.integers(0, 3, 400)
    many = outcome(right.tolist(), calls.tolist(), triggers.tolist())
    assert many.values_T("exact F1").mean() == pytest.approx(2 * right.sum() / (triggers + calls).sum())
    # The spread of their mean is that of the quotient itself over resampled texts.
    again = draw.integers(0, 400, (2000, 400))
    quotients = 2 * right[again].sum(1) / (triggers + calls)[again].sum(1)
    assert many.values_T("exact F1")[again].mean(1).std() == pytest.approx(quotients.std(), rel=0.05)


def test_seeds_are_averaged_before_the_difference() -> None:
    first = [outcome([1, 1, 0, 1], [1] * 4), outcome([1, 0, 0, 1], [1] * 4)]
    second = [outcome([0, 0, 0, 1], [1] * 4)]
    assert difference(first, second, "tool accuracy").mean == pytest.approx((1 + 0.5) / 4)


# ---- the study


def test_every_method_is_tried_everywhere_at_the_better_rate(results: Results) -> None:
    everywhere = [(place, method) for place in results.few for method in (*METHODS, NEIGHBOUR)]
    assert all(len(results.outcomes[job]) == 2 for job in everywhere)
    assert [place.tools for place in results.curve] == [3, TOOLS]
    assert len(results.outcomes[results.full[0], NEIGHBOUR]) == 1
    assert set(results.rates) == {job for job in results.outcomes if job[1] != NEIGHBOUR}
    assert set(results.rates.values()) <= set(study.RATES)
    for method in METHODS:
        assert len({results.rates[place, method] for place in results.few if place.data == "metatool"}) == 1


def test_an_interrupted_study_goes_on(
    run: Callable[[Path, study.Plan], Results], results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Cell] = []

    def counted(cell: Cell, *rest: Any) -> Outcome:
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(cell)
        return run_cell(cell, *rest)

    monkeypatch.setattr(study, "run_cell", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, PART)
    cells = tmp_path / "cells.jsonl"
    assert cells.read_text().count("\n") == 9
    with cells.open("a") as file:
        file.write('{"key": "half a li')
    first, done[:] = list(done), []
    monkeypatch.setattr(study, "run_cell", lambda cell, *rest: done.append(cell) or run_cell(cell, *rest))
    again = run(tmp_path, PART)
    assert set(first).isdisjoint(done) and len(set(done)) == len(done)
    assert cells.read_text().count("\n") == len(first) + len(done) and '"half' not in cells.read_text()
    done.clear()
    assert run(tmp_path, PART).outcomes == again.outcomes and not done
    for job, (one, *_) in again.outcomes.items():
        assert replace(one, seconds=0) == replace(results.outcomes[job][0], seconds=0)


def test_the_planned_number_is_what_is_run(
    sets: dict[str, TextSet], results: Results, folder: Path, tiny_base: Path
) -> None:
    kept = study.Kept(folder / "cells.jsonl")
    planned = study.Study(PLAN, sets, load_base(str(tiny_base)), kept).planned
    assert planned == (folder / "cells.jsonl").read_text().count("\n")


# ---- the page


def test_answers_are_chosen_by_the_figures(results: Results, found: list[Finding]) -> None:
    told = answers(results, found)
    assert list(told)[1:4] == ["MetaTool, tool accuracy", "GSM8K, tool accuracy", "GSM8K, exact F1"]
    names = study.PUBLISHED["TokenLearning by names"]

    def judged(method: Method, one: Outcome) -> Outcome:
        right = one.calls_T if method == names else (0,) * len(one.calls_T)
        return replace(one, right_T=right, triggers_T=one.calls_T and right, hits_T=right)

    clear = {job: tuple(judged(job[1], one) for one in seeds) for job, seeds in results.outcomes.items()}
    sure = replace(results, outcomes=clear)
    short = answers(sure, findings(sure))["In short"]
    assert "is clearly better than random rows at both 2 and 4 examples a tool: MetaTool, tool accuracy" in short[0]
    assert "helps on MetaTool" in short[1] and "makes no difference" in short[2] and "helps on MetaTool" in short[3]
    for heading in ("MetaTool, tool accuracy", "All examples, tool accuracy"):
        assert "▲ +1.000 (+1.000 to +1.000)" in answers(sure, findings(sure))[heading][0]


def test_questions_differ_in_one_thing(found: list[Finding]) -> None:
    for one in found:
        ours, theirs = one.first.start, one.second.start
        if one.question == "direction":
            assert (
                ours and theirs and replace(ours, kind="random") == theirs != ours and one.first.pull == one.second.pull
            )
        elif one.question == "size":
            assert ours and theirs and replace(ours, scale="small") == theirs != ours
        elif one.question == "pull":
            assert ours == theirs and one.second.pull is None
    assert {one.question for one in found} == {"prior", "direction", "size", "pull", "pooling", "published"}


def test_the_page_holds_every_figure_and_asks_nothing_of_the_network(results: Results, found: list[Finding]) -> None:
    page = render(results, found)
    assert page == render(results, found)
    drawn_here = list(pictures(results, found))
    assert len(drawn_here) == 4 * 3 + 1
    assert [f'id="picture-{place}"' in page for place in range(14)] == [True] * 13 + [False]
    assert page.count("test split") >= len(drawn_here) and "the command" in page
    for place in (*results.few, *results.curve):
        for seeds in (results.outcomes[place, method] for method in study.PUBLISHED.values()):
            assert f"{np.mean([one.figures.tool_accuracy for one in seeds]):.3f}" in page
    figures = json.loads(re.findall('id="figures">([^<]*)<', page)[0])
    assert [one["data"] for one in figures] == [picture.figure["data"] for picture in drawn_here]
    own = re.sub('<script type="text/plain" id="library">[^<]*', "", page)
    assert "http:" not in own and "https:" not in own and not re.search('(src|srcset|action)="', own)
    levels = [int(level) for level in re.findall("<h([1-6])", page)]
    assert levels.count(1) == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    anchors = set(re.findall('href="#([^"]*)"', page))
    assert anchors <= set(re.findall('id="([^"]*)"', page))
    for table in re.findall("<table>.*?</table>", page, re.DOTALL):
        columns, (_, *rows) = table.count('<th scope="col">'), table.split("<tr>")[1:]
        assert rows and all(row.count('scope="row"') == 1 and row.count("<td>") == columns - 1 for row in rows)


def test_only_the_pages_own_scripts_may_run_and_strangers_text_is_text(results: Results, found: list[Finding]) -> None:
    sets = {name: replace(facts, title=HOSTILE) for name, facts in results.sets.items()}
    hostile = render(replace(results, sets=sets, origin={"command": HOSTILE}), found)
    plain = render(results, found)
    assert hostile.count("<script") == plain.count("<script") == 3 and "<img" not in hostile
    assert "&lt;img src=x onerror=alert(1)&gt;" in hostile and "\u202e" not in hostile
    policy = re.findall('Content-Security-Policy" content="([^"]*)"', hostile)[0]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split(";")[1]
    library = gzip.decompress(base64.b64decode(re.findall('id="library">([^<]*)<', plain)[0]))
    script = plain[plain.rindex("<script>") + len("<script>") : plain.rindex("</script>")].encode()
    for own in (library, script):
        assert base64.b64encode(hashlib.sha256(own).digest()).decode() in policy


def test_the_command_writes_the_page(
    data: Path, tiny_base: Path, results: Results, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "QUICK", PLAN)
    told = ["--data", str(data), "--out", str(folder), "--model", str(tiny_base), "--quick"]
    done = CliRunner().invoke(study.app, told, catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "In short" in done.output and "MetaTool, tool accuracy" in done.output
    assert (folder / "study.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
