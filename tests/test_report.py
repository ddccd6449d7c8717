"""The report of hand-made comparisons: its figures, its page, strangers' text in it, and the page in a real browser."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made_comparison import (
    HEBREW,
    IMAGE,
    LONG,
    METHODS,
    SCRIPT,
    catalog_of,
    cell_of,
    comparison_of,
    queries_of,
    write_folder,
)
from typer.testing import CliRunner

from toolgen.benchmarks.cell import Answer, Results
from toolgen.benchmarks.report import write_report
from toolgen.benchmarks.report_answers import answers
from toolgen.benchmarks.report_data import INDISTINCT, Report, make_report, signed, verdict
from toolgen.benchmarks.report_figures import COLOURS, pictures
from toolgen.benchmarks.report_page import render
from toolgen.benchmarks.results import cell_path, read_results, write_cell, write_comparison
from toolgen.cli import app
from toolgen.errors import InputError
from toolgen.metrics import Difference, Interval, paired_difference

CSS = Path(__file__).resolve().parent.parent / "benchmarks" / "report.css"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_folder(tmp_path_factory.mktemp("plain"), queries=90))


@pytest.fixture(scope="module")
def report(results: Results) -> Report:
    return make_report(results)


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("hostile"), hostile=True)


@pytest.fixture(scope="module")
def hostile(hostile_folder: Path) -> str:
    write_report(hostile_folder, hostile_folder / "report.html")
    return (hostile_folder / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Elements, attributes and text of a page; text of scripts and styles apart, by id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._script = dict(attrs).get("id") or tag if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._script = None


# ---- figures


def test_methods_are_ranked_by_ndcg_and_measured_against_the_best_baseline(report: Report, results: Results) -> None:
    assert [method.name for method in report.methods] == sorted(METHODS, key=METHODS.__getitem__, reverse=True)
    assert report.generative and report.baseline
    assert (report.generative.name, report.baseline.name) == ("atomic", "bi-encoder")
    assert report.baseline.lead is None and report.generative.lead is not None
    assert verdict(report.generative.lead) == "above"
    for method in report.methods:
        assert method.interval.low < method.figures["ndcg@5"] < method.interval.high
        # An interval of one method hardly leaves its mean's neighbourhood.
        assert method.interval.high - method.interval.low < 0.3


def test_the_best_trained_baseline_stands_beside_a_better_untrained_one(report: Report, results: Results) -> None:
    assert report.trained is report.baseline and "trained baseline" not in report.headline()
    assert "best trained baseline" not in render(report, 0)
    catalog = catalog_of()
    strong = cell_of(results.comparison, catalog, queries_of(catalog, 90), "dense by parts", None, 0.85)
    both = make_report(replace(results, cells=(*results.cells, strong)))
    assert both.baseline and both.trained and both.generative
    assert (both.baseline.name, both.trained.name) == ("dense by parts", "bi-encoder")
    assert both.trained.lead_trained is None and both.baseline.lead_trained is not None
    assert report.generative and both.generative.lead_trained == report.generative.lead
    assert f"The best trained baseline is bi-encoder ({both.trained.figures['ndcg@5']:.3f})" in both.headline()
    assert "difference to the best trained baseline" in render(both, 0)


def test_values_are_averaged_over_seeds_before_the_bootstrap(report: Report, results: Results) -> None:
    ours, theirs = (
        {
            query.id: sum(cell.scores["ndcg@5"][query.id] for cell in results.cells if cell.method == name) / 2
            for query in results.queries
        }
        for name in ("atomic", "bi-encoder")
    )
    assert report.generative and report.generative.lead == paired_difference(ours, theirs)
    seeds = [cell.figures["ndcg@5"] for cell in results.cells if cell.method == "atomic"]
    assert report.generative.figures["ndcg@5"] == pytest.approx(sum(seeds) / 2)
    assert report.generative.spread == pytest.approx(abs(seeds[0] - seeds[1]) / 2**0.5)
    assert next(method for method in report.methods if method.name == "bm25").spread is None


def test_words_follow_the_interval() -> None:
    def word(low: float, high: float) -> str:
        return verdict(Difference(0.0, Interval(low, high)))

    assert (word(0.01, 0.2), word(-0.2, -0.01)) == ("above", "below")
    assert word(-0.01, 0.2) == word(0.0, 0.2) == word(-0.2, 0.0) == INDISTINCT
    assert (signed(0.0411), signed(-0.0029), signed(-0.0001)) == ("+0.041", "-0.003", "+0.000")


def test_what_lacks_something_is_not_the_best_generative_method(results: Results) -> None:
    cells = [cell for cell in results.cells if cell.method in ("atomic, no memorization", "dense")]
    partial = make_report(replace(results, cells=tuple(cells)))
    assert partial.generative is None and partial.baseline and partial.baseline.name == "dense"
    assert "No generative method" in partial.headline()
    alone = make_report(replace(results, cells=tuple(cell for cell in results.cells if cell.method == "atomic")))
    assert alone.baseline is None and "No baseline" in alone.headline()
    assert all(part.lead is None for breakdown in alone.breakdowns for part in breakdown.parts)


def test_breakdowns_divide_the_queries(report: Report, results: Results) -> None:
    by_title = {breakdown.title: breakdown for breakdown in report.breakdowns}
    assert list(by_title) == [
        "Training queries of the gold tools",
        "Number of gold tools",
        "Equal documents",
        "The queries' style",
        "Group of the gold tools",
    ]
    number = by_title["Number of gold tools"]
    assert [(part.name, part.queries) for part in number.parts] == [
        ("one gold tool", 30),
        ("two gold tools", 30),
        ("three gold tools", 30),
    ]
    for title in list(by_title)[:4]:
        parts = by_title[title].parts
        assert sum(part.queries for part in parts) == 90
        mean = sum(part.queries * part.ndcg5["atomic"] for part in parts) / 90
        assert report.generative and mean == pytest.approx(report.generative.figures["ndcg@5"])
        assert all((part.lead is None) == (part.queries < 20) for part in parts)
    training = {part.name.split()[0]: part.queries for part in by_title["Training queries of the gold tools"].parts}
    trained = {tool for query in results.queries[:12] for tool in query.tools}
    assert training["all"] == sum(trained.issuperset(query.tools) for query in results.queries)
    assert training["no"] == sum(trained.isdisjoint(query.tools) for query in results.queries)


def test_rare_kinds_are_gathered(results: Results) -> None:
    tools = {tool.id: replace(tool, category=f"kind {place}") for place, tool in enumerate(results.tools.values())}
    many = {f"extra {place}": replace(next(iter(tools.values())), category=f"more {place}") for place in range(40)}
    queries = tuple(
        replace(query, tools=(*query.tools, f"extra {place % 40}")) for place, query in enumerate(results.queries)
    )
    wide = make_report(replace(results, tools={**tools, **many}, queries=queries))
    parts = wide.breakdowns[-1].parts
    assert wide.breakdowns[-1].title == "Category of the gold tools"
    assert len(parts) == 25 and parts[-1].name == "40 others" and "kind" in parts[0].name


def test_pictures_show_every_method_that_has_the_number(report: Report) -> None:
    shown = {picture.title: picture.figure for picture in pictures(report)}
    assert list(shown) == [
        "NDCG@5 against tokens a tool",
        "NDCG@5 against latency",
        "Loss during memorization",
        "NDCG@5 on validation queries during memorization",
        "Loss during retrieval",
        "NDCG@5 on validation queries during retrieval",
    ]
    places = [trace.meta for trace in shown["NDCG@5 against tokens a tool"].data]
    assert [report.methods[place].first.family for place in places] == ["generative"] * 3
    latency = shown["NDCG@5 against latency"]
    assert latency.layout.xaxis.type == "log" and len(latency.data) == len(report.methods)
    point = latency.data[0]
    assert point.y[0] + point.error_y.array[0] == pytest.approx(report.methods[0].interval.high)
    losses = shown["Loss during retrieval"].data
    assert len(losses) == 6 and list(losses[0].x) == [50, 100, 150, 200, 250, 300]


def test_long_curves_are_thinned_and_keep_their_end(results: Results) -> None:
    cell = next(cell for cell in results.cells if cell.curves)
    points = tuple(replace(cell.curves[0], step=step, loss=1 / step) for step in range(1, 1002))
    drawn = pictures(make_report(replace(results, cells=(replace(cell, curves=points),))))
    steps = next(picture for picture in drawn if picture.title.startswith("Loss")).figure.data[0].x
    assert 100 < len(steps) <= 200 and steps[-1] == 1001


def test_the_browser_gets_queries_answers_and_what_tools_are(report: Report, results: Results) -> None:
    data = answers(report, 1000)
    assert [name for name, _, _ in data["methods"]] == [method.name for method in report.methods]
    assert (data["generative"], data["baseline"], data["of"]) == (0, 2, 90)
    text, gold, own, *_ = data["queries"][7]
    query, cell = results.queries[7], report.methods[0].first
    assert text == query.text and [data["tools"][place][0] for place in gold] == list(query.tools)
    assert own[0] == pytest.approx(cell.scores["ndcg@5"][query.id], abs=1e-3)
    answered = [Answer(data["tools"][place][0], score) for place, score in zip(own[1::2], own[2::2], strict=True)]
    assert [answer.tool for answer in answered] == [answer.tool for answer in cell.answers[query.id]]
    twins = [tool for tool in data["tools"] if tool[4] >= 0]
    assert len(twins) == 2 and twins[0][4] == twins[1][4]
    assert len(answers(report, 10)["queries"]) == 10 and answers(report, 10)["of"] == 90


def test_an_answer_that_is_no_tool_is_told_as_it_is(results: Results) -> None:
    cell = results.cells[0]
    wrong = {query: (Answer("<<no&&tool>>", -1.0),) for query in cell.answers}
    data = answers(make_report(replace(results, cells=(replace(cell, answers=wrong),))), 5)
    assert ["<<no&&tool>>"] in data["tools"]


# ---- the page


def test_the_page_is_the_same_every_time_and_asks_nothing_of_the_network(report: Report, results: Results) -> None:
    page = render(report, 50)
    assert page == render(make_report(results), 50)
    outline = Outline(page)
    assert [value for name, value in outline.attributes if name in ("src", "srcset", "action")] == []
    links = {value for name, value in outline.attributes if name == "href"}
    assert "data:," in links and all(link == "data:," or link.startswith("#") for link in links if link)
    ids = {value for name, value in outline.attributes if name == "id"}
    assert {f"#{place}" for place in ids} >= links - {"data:,"}
    without = re.sub('<script type="text/plain" id="library">[^<]*', "", page)
    assert "http:" not in without and "https:" not in without
    assert len(without) < 400_000


def test_only_the_reports_own_scripts_may_run(report: Report) -> None:
    outline = Outline(render(report, 5))
    policy = next(value for name, value in outline.attributes if value and value.startswith("default-src"))
    assert "default-src 'none'" in policy and "script-src 'unsafe" not in policy
    library = gzip.decompress(base64.b64decode(outline.scripts["library"]))
    for script in (outline.scripts["script"].encode(), library):
        assert base64.b64encode(hashlib.sha256(script).digest()).decode() in policy


def test_every_table_names_its_split_and_its_rows_and_columns(report: Report) -> None:
    page = render(report, 5)
    tables = re.findall("<table>.*?</table>", page, re.DOTALL)
    assert len(tables) == 4 + len(report.breakdowns)
    for table in tables:
        caption = Outline(re.findall("<caption>.*?</caption>", table)[0]).text
        assert re.search("Split '(test|validation)', by query, ", caption)
        columns, (_, *rows) = table.count('<th scope="col">'), table.split("<tr>")[1:]
        assert all(row.count('<th scope="row">') == 1 and row.count("<td>") == columns - 1 for row in rows)
    assert page.count('<div class="scroll" tabindex="0" role="region" aria-label=') == len(tables)
    levels = [int(level) for level in re.findall("<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_the_leaderboard_reads_without_scripts(report: Report) -> None:
    text = Outline(re.findall('<section aria-labelledby="leaderboard">.*?</section>', render(report, 5), re.DOTALL)[0])
    for method in report.methods:
        assert method.name in text.text and f"{method.figures['ndcg@5']:.3f}" in text.text
    assert "▲ above" in text.text and "best baseline" in text.text and "▼ below" in text.text


def test_cells_that_other_code_made_are_named(results: Results) -> None:
    assert "code of" not in render(make_report(results), 0)
    own = results.comparison.code_version
    by_other = replace(results.cells[0], manifest={"trained_by": [own, "0.0.9+old"], "code_version": own})
    by_same = replace(results.cells[1], manifest={"trained_by": [own], "code_version": own})
    page = render(make_report(replace(results, cells=(by_other, by_same, *results.cells[2:]))), 0)
    assert f"<dt>code of {by_other.method}, seed 0</dt><dd>0.0.9+old</dd>" in page and page.count("code of ") == 1


def test_unfinished_cells_are_named(results: Results) -> None:
    planned = replace(results.comparison, planned=("atomic-seed0", "residual-seed1", "semantic-seed0"))
    report = make_report(replace(results, comparison=planned))
    assert report.unfinished == ("semantic-seed0",)
    assert "1 of 3 cells are not finished: semantic-seed0." in render(report, 5)


def test_strangers_text_is_text_on_the_page(hostile: str, report: Report) -> None:
    outline, plain = Outline(hostile), Outline(render(report, 5))
    assert outline.tags.count("script") == plain.tags.count("script") == 4
    assert "img" not in outline.tags and not [name for name, _ in outline.attributes if name.startswith("on")]
    assert f"numeric {SCRIPT}{IMAGE}" in outline.text
    assert all("<" not in outline.scripts[place] for place in ("figures", "data"))
    assert "\u202e" not in hostile and "\u2028" not in hostile and "\\u202e" not in hostile
    said = json.loads(outline.scripts["data"])
    assert [query[0] for query in said["queries"][:2]] == [SCRIPT, IMAGE]
    assert {SCRIPT, IMAGE, "price gnp.exe list", LONG, HEBREW} <= {tool[1] for tool in said["tools"]}
    figure = json.loads(outline.scripts["figures"])[0]
    hover = [text for trace in figure["data"] for text in trace["hovertext"]]
    assert not any("<script" in text or "<img" in text for text in hover)


SIGHT = {
    "all cones": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""What is seen of linear red, green and blue: Machado, Oliveira and Fernandes 2009, severity 1."""
XYZ = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """As WCAG defines it."""
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(seen: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(XYZ @ seen.clip(0.001, 1) / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.fixture(scope="module", params=[0, 1], ids=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", CSS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[request.param]))


def test_text_and_marks_stand_out(theme: dict[str, str]) -> None:
    for ink in ("ink", "soft", "link", "good", "bad"):
        assert contrast(theme[ink], theme["paper"]) >= 4.5, ink
    for ink, paper in (("ink", "panel"), ("soft", "panel"), ("ink", "warn")):
        assert contrast(theme[ink], theme[paper]) >= 4.5, paper
    for number in range(COLOURS):
        assert contrast(theme[f"c{number}"], theme["paper"]) >= 3, number


@pytest.mark.parametrize("sight", SIGHT)
def test_methods_colours_keep_apart_for_everyone(theme: dict[str, str], sight: str) -> None:
    seen = [lab(np.array(SIGHT[sight]) @ linear(theme[f"c{number}"])) for number in range(COLOURS)]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 15


# ---- in a browser


@pytest.fixture(scope="module")
def dom(hostile: str, hostile_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hostile page after its scripts ran in Chromium; fails where one wrote to the console."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium to look at the page with")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--dump-dom"),
            (hostile_folder / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"Chromium does not start here: exit code {done.returncode}")
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def test_a_browser_draws_the_pictures_and_shows_answers_as_text(dom: str) -> None:
    body = re.sub("(?s)<(script|style).*?</\\1>", "", dom)
    outline = Outline(body)
    assert body.count('class="main-svg"') >= 6 and 'id="undrawn" hidden' in body
    assert {"script", "img"}.isdisjoint(outline.tags)
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    shown = Outline(body[body.index('id="answers"') : body.index('class="turn"')])
    assert shown.tags.count("article") == 4 and IMAGE in shown.text
    assert "4 of 40 queries: 1 to 4" in outline.text and "Page 1 of 1" in outline.text


# ---- the command


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False, env={"COLUMNS": "200"})


def test_the_command_writes_the_page_and_says_the_outcome(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "quick")
    done = command(folder)
    assert done.exit_code == 0 and "atomic reaches NDCG@5" in done.output and "above the best baseline" in done.output
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert command(folder, "--out", tmp_path / "new" / "page.html").exit_code == 0
    assert (tmp_path / "new" / "page.html").read_bytes() == (folder / "report.html").read_bytes()
    assert "Example" in command("--help").output


def test_the_command_refuses_what_is_no_comparison(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "quick")
    for wrong, said in ((tmp_path, "toolgen compare"), (tmp_path / "none", "not the folder of a comparison")):
        with pytest.raises(InputError, match=said):
            command(wrong)
    with pytest.raises(InputError, match="is a folder"):
        command(folder, "--out", tmp_path)
    path = cell_path(folder, "atomic", 1)
    path.write_text(path.read_text().replace(read_results(folder).comparison.fingerprint, "f" * 16))
    with pytest.raises(InputError, match="another comparison"):
        command(folder)
    assert not (folder / "report.html").exists()
    catalog = catalog_of()
    queries = queries_of(catalog)
    write_comparison(tmp_path / "begun", comparison_of(catalog, queries), catalog, [], queries)
    with pytest.raises(InputError, match="no cell"):
        command(tmp_path / "begun")


def test_one_query_one_method_and_no_latency_are_enough(tmp_path: Path) -> None:
    catalog = catalog_of()
    queries = queries_of(catalog, 1)
    comparison = comparison_of(catalog, queries)
    write_comparison(tmp_path, comparison, catalog, [], queries)
    cell = cell_of(comparison, catalog, queries, "bm25", None, 1)
    write_cell(tmp_path, replace(cell, latency_p50_ms=None, latency_p95_ms=None, answers={"q0": ()}))
    page = render(write_report(tmp_path, tmp_path / "report.html"), 5)
    assert "bm25 reaches NDCG@5 1.000" in page and "<figure>" not in page
