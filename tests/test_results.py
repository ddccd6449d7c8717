"""The files of a comparison: what is written is read again, what does not belong together is refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hand_made_comparison import METHODS, catalog_of, cell_of, comparison_of, queries_of, write_folder

from toolgen.benchmarks.cell import CellResult, CurvePoint
from toolgen.benchmarks.results import (
    cell_path,
    leaderboard,
    read_results,
    write_cell,
    write_comparison,
    write_leaderboard,
)
from toolgen.errors import InputError
from toolgen.files import read_jsonl
from toolgen.queries import Call, Query, read_queries
from toolgen.tools import Tool, ToolCatalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "quick")


def cell(folder: Path) -> CellResult:
    return next(cell for cell in read_results(folder).cells if cell.method == "atomic")


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    edit(record)
    path.write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize("hostile", [False, True])
def test_what_is_written_is_read_again(tmp_path: Path, hostile: bool) -> None:
    results = read_results(write_folder(tmp_path, hostile=hostile))
    catalog = catalog_of(hostile=hostile)
    queries = queries_of(catalog, hostile=hostile)
    assert results.comparison == comparison_of(catalog, queries)
    assert results.queries == tuple(queries)
    assert {tool.id: (tool.name, tool.group) for tool in results.tools.values()} == {
        tool.id: (tool.name, tool.group) for tool in catalog.values()
    }
    made = cell_of(results.comparison, catalog, queries, "atomic", 1, METHODS["atomic"])
    assert made in results.cells and len(results.cells) == 10 + 2 * hostile
    assert not list(tmp_path.rglob(".*"))


def test_a_point_of_a_curve_is_written_with_the_measures_own_name(folder: Path) -> None:
    curves = json.loads(cell_path(folder, "atomic", 0).read_text())["curves"]
    assert curves[1] == {"stage": "memorization", "step": 100, "loss": 0.04, "ndcg@5": 0.3}
    assert cell(folder).curves[1] == CurvePoint("memorization", 100, 0.04, 0.3)


def test_tools_know_their_training_queries_their_category_and_who_has_their_document(tmp_path: Path) -> None:
    catalog = ToolCatalog(
        [
            Tool("a", "mail", "Sends mail.", group="g", metadata={"category": "Office"}),
            Tool("b", "mail", "Sends mail.", group="g", metadata={"category": 3}),
            Tool("c", "read"),
        ]
    )
    train = [Query("1", "x", ("a", "c")), Query("2", "y", ("c",))]
    test = [Query("3", "z", ("a",), calls=(Call("a", {}),), metadata={"style": "vague", "n": 1, "long": "x" * 100})]
    write_comparison(tmp_path, comparison_of(catalog, test), catalog, train, test)
    a, b, c = (line.record for line in read_jsonl(tmp_path / "tools.jsonl.gz"))
    assert [tool["training_queries"] for tool in (a, b, c)] == [1, 0, 2]
    assert [tool["category"] for tool in (a, b, c)] == ["Office", None, None]
    assert a["twins"] == b["twins"] != c["twins"] is None
    (kept,) = read_queries(tmp_path / "queries.jsonl")
    assert kept == replace(test[0], calls=(), metadata={"style": "vague"})


def test_the_leaderboard_has_a_row_a_cell_the_best_method_first(folder: Path) -> None:
    rows = write_leaderboard(folder)
    assert rows == json.loads((folder / "leaderboard.json").read_text()) == leaderboard(read_results(folder))
    order = [(row["method"], row["seed"]) for row in rows]
    assert order[:2] == [("atomic", 0), ("atomic", 1)] and order[-1] == ("atomic, no memorization", 1)
    first, bm25 = rows[0], next(row for row in rows if row["method"] == "bm25")
    promised = "method scheme seed split ndcg@1 ndcg@5 recall@5 ndcg@5_tie_aware ndcg_toolgen_published@5"
    assert {*promised.split(), "hallucinated", "latency_p50_ms", "tokens_a_tool", "minutes"} <= set(first)
    assert (first["scheme"], first["split"], first["tokens_a_tool"]) == ("atomic", "test", 1.5)
    assert (bm25["scheme"], bm25["seed"], bm25["minutes"]) == (None, None, None)
    assert bm25["hallucination_rate"] == 7 / 400
    assert all(row["ndcg@5_tie_aware"] >= row["ndcg@5"] - 1e-12 for row in rows)


def test_a_comparison_goes_on_in_its_folder_but_not_with_other_data(folder: Path) -> None:
    catalog = catalog_of()
    queries = queries_of(catalog)
    again = replace(comparison_of(catalog, queries, ["new"]), configuration={"base": "other"})
    write_comparison(folder, again, catalog, queries[:12], queries)
    assert read_results(folder).comparison.planned == ("new",)
    with pytest.raises(InputError, match="other data"):
        write_comparison(folder, replace(again, splits="f" * 16), catalog, queries[:12], queries)


def test_two_methods_never_share_a_file(folder: Path) -> None:
    with pytest.raises(InputError, match="Rename one"):
        write_cell(folder, replace(cell(folder), method="Atomic!"))
    assert cell_path(folder, "工具", 1) != cell_path(folder, "模型", 1)
    assert cell_path(folder, "a" * 400, 1).name == "a" * 100 + "-seed1.json"
    assert cell_path(folder, "bm25", None).name == "bm25.json"


def test_what_is_no_number_is_refused_before_it_is_written(folder: Path) -> None:
    path = cell_path(folder, "atomic", 7)
    for broken in ({"minutes": float("nan")}, {"figures": {"ndcg@5": float("inf")}}):
        with pytest.raises(InputError, match="minutes|figures"):
            write_cell(folder, replace(cell(folder), seed=7, **broken))  # type: ignore[arg-type]
    assert not path.exists()


def test_folders_that_are_no_comparison_are_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="not the folder of a comparison"):
            read_results(wrong)
    catalog = catalog_of()
    queries = queries_of(catalog)
    write_comparison(tmp_path, comparison_of(catalog, queries), catalog, [], queries)
    with pytest.raises(InputError, match="no cell .* is finished"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda record: record.update(comparison="f" * 16), "another comparison"),
        (lambda record: record["scores"]["recall@5"].pop("q3"), "recall@5 is not about the 40 queries"),
        (lambda record: record["scores"].pop("ndcg@5_tie_aware"), "ndcg@5_tie_aware is not about"),
        (lambda record: record["answers"].pop("q3"), "answers is not about"),
        (lambda record: record["figures"].update({"ndcg@5": 0.99}), "the mean over its queries is"),
        (lambda record: record.update(method="residual", scheme="residual"), "is there already with its seed, like"),
        (lambda record: record.update(plan="rows"), "with another scheme, prior, plan or ablation"),
        (lambda record: record.pop("family"), "'family': Field required"),
        (lambda record: record.update(extra=1), "'extra'"),
        (lambda record: record.update(seed="0"), "'seed'"),
        (lambda record: record["answers"]["q1"][0].update(score=None), "'answers.q1.0.score'"),
    ],
)
def test_cells_that_do_not_belong_are_refused_by_name(
    folder: Path, edit: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = cell_path(folder, "atomic", 1)
    change(path, edit)
    with pytest.raises(InputError, match=said) as caught:
        read_results(folder)
    assert "seed1.json" in str(caught.value)


def test_broken_files_are_refused_by_name(folder: Path) -> None:
    change(folder / "comparison.json", lambda record: record.update(test_queries=39))
    with pytest.raises(InputError, match="40 queries"):
        read_results(folder)
    (folder / "comparison.json").write_bytes(b"{\xff")
    with pytest.raises(InputError, match="comparison.json"):
        read_results(folder)
