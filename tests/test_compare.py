"""A comparison on the tiny model: every cell in one leaderboard, nothing done twice, faults told first."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_encoder import save_tiny_encoder
from typer.testing import CliRunner

from toolgen import cli
from toolgen.benchmarks import bi_encoder, dashboard
from toolgen.benchmarks import compare as comparing
from toolgen.benchmarks.compare import compare
from toolgen.benchmarks.grid import Cell, CompareConfig, GridConfig, Material, further_cells, grid_cells, stages_of
from toolgen.benchmarks.material import read_splits
from toolgen.benchmarks.recipe import Variant
from toolgen.benchmarks.results import read_results
from toolgen.checkpoint import Artefacts
from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.queries import Query, read_queries, write_queries
from toolgen.stages import memorization, retrieval
from toolgen.tools import ToolCatalog
from toolgen.tracking import Run, TrackingConfig
from toolgen.trainer import _Exactness

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def settings(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    training = {"batch_size": 8, "min_steps": 3, "epochs": 0.1, "precision": "fp32", "max_length": 64}
    quiet = {"training": training, "abilities": None}
    values: dict[str, Any] = {
        "name": "tiny",
        "output": folder / "out",
        "data": {
            "tools": folder / "tools.jsonl",
            "queries": folder / "queries.jsonl",
            "style": "tone",
            "split": {"by": "query", "shares": SHARES, "near": 1.0},
        },
        "recipe": {
            "model": str(model),
            "memorization": {**quiet, "prior": {"kind": "name"}},
            "retrieval": quiet,
            "bi_encoder": {"model": str(folder / "encoder"), "training": {"epochs": 2, "batch_size": 6}},
            "validated": 6,
            "dense_tokens": 8,
        },
        "grid": {
            "schemes": ["atomic", "numeric"],
            "ablations": ["no memorization", "no retrieval training", "no constraint"],
            "seeds": [3, 4],
        },
        "baselines": ["bm25", "bi-encoder", "bi-encoder hnsw"],
        "latency_queries": 2,
        "tracking": {"mode": "disabled"},
    }
    return {**values, **changes}


def config_of(folder: Path, model: Path, **changes: Any) -> CompareConfig:
    return CompareConfig.model_validate(settings(folder, model, **changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog, queries: list[Query]) -> Path:
    """Tools and queries, one a tool, each worded plainly or politely."""
    found = tmp_path_factory.mktemp("compare")
    catalog.to_jsonl(found / "tools.jsonl")
    toned = [
        replace(query, metadata={"tone": "polite" if place % 3 else "plain"}) for place, query in enumerate(queries)
    ]
    write_queries(found / "queries.jsonl", toned)
    save_tiny_encoder(found / "encoder")
    return found


@pytest.fixture(scope="module")
def rows(folder: Path, tiny_base: Path) -> list[dict[str, Any]]:
    """Leaderboard of a finished comparison, tracked offline."""
    return compare(config_of(folder, tiny_base, tracking={"mode": "offline"}))


def test_the_leaderboard_has_every_cell_and_every_baseline(rows: list[dict[str, Any]], folder: Path) -> None:
    methods = {(row["method"], row["seed"]) for row in rows}
    best = max(
        ("atomic", "numeric"),
        key=lambda name: read_json(folder / f"out/tiny/cells/{name}/seed-3/retrieval/report.json")["validation"][
            "ndcg@5"
        ],
    )
    ablations = {
        (f"{best}, {ablation}", 3) for ablation in ("no memorization", "no retrieval training", "no constraint")
    }
    encoders = {(name, seed) for name in ("bi-encoder", "bi-encoder hnsw") for seed in (3, 4)}
    assert methods == {("bm25", None), ("atomic", 3), ("numeric", 3), (best, 4), *ablations, *encoders}
    for row in rows:
        assert row["split"] == "test" and row["queries"] == 6 and row["latency_p50_ms"] > 0
        if not row["method"].endswith("no constraint"):
            assert row["hallucinated"] == 0
        assert (row["minutes"] is None) == (row["method"] == "bm25")
    assert json.loads((folder / "out/tiny/leaderboard.json").read_text(encoding="utf-8")) == rows


def test_results_hold_what_reports_need(rows: list[dict[str, Any]], folder: Path) -> None:
    results = read_results(folder / "out" / "tiny")
    assert len(results.cells) == len(results.comparison.planned) == len(rows)
    page = (folder / "out/tiny/report.html").read_text(encoding="utf-8")
    assert all(row["method"] in page for row in rows)
    assert {query.metadata["style"] for query in results.queries} <= {"plain", "polite"}
    trained = next(cell for cell in results.cells if cell.method == "atomic" and cell.seed == 3)
    assert {point.stage for point in trained.curves} == {"memorization", "retrieval"}
    assert any(point.loss is not None for point in trained.curves)
    assert any(point.ndcg5 is not None for point in trained.curves)
    assert all(len(answers) == 5 for answers in trained.answers.values())


def test_no_test_query_is_trained_on_and_all_cells_read_the_same(rows: list[dict[str, Any]], folder: Path) -> None:
    reports = [read_json(path) for path in (folder / "out/tiny/cells").rglob("retrieval/report.json")]
    assert len(reports) == 4 and {report["records"] for report in reports} == {18}
    assert {report["config"]["queries"]["split"] for report in reports} == {"train"}
    encoders = [read_json(path) for path in (folder / "out/tiny/cells/bi-encoder").rglob("report.json")]
    assert [report["records"] for report in encoders] == [18, 18], "exactly the same pairs"
    for report in (*reports, *encoders):
        assert report["config"]["validation"]["split"] == "validation"


def test_one_run_a_cell_is_tracked(rows: list[dict[str, Any]], folder: Path) -> None:
    runs = list((folder / "out/tiny/tracking").glob("*/wandb/offline-run-*/*.wandb"))
    assert len(runs) == len(rows) and all(path.stat().st_size for path in runs)


class Recorder(Run):
    """Remembers what a run of the tracker is told."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: list[Mapping[str, float]] = []
        self.final: Mapping[str, Any] = {}
        self.tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = {}

    def log(self, figures: Mapping[str, float]) -> None:
        self.curves.append(figures)

    def summary(self, figures: Mapping[str, Any]) -> None:
        self.final = figures

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.tables[name] = columns, rows


def test_a_run_holds_what_the_dashboard_shows_and_every_answer(
    rows: list[dict[str, Any]], folder: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[str | None, Mapping[str, Any], Recorder]] = []

    @contextmanager
    def recorded(told: TrackingConfig, told_settings: Mapping[str, Any], *_: Any) -> Iterator[Recorder]:
        runs.append((told.group, told_settings, Recorder()))
        yield runs[-1][2]

    monkeypatch.setattr(comparing, "tracked", recorded)
    config = config_of(folder, tiny_base)
    splits = read_splits(config.data)
    for cell in read_results(folder / "out/tiny").cells:
        comparing._track(config, splits, cell)
    assert len(runs) == len(rows) and {group for group, _, _ in runs} == {"tiny"}
    shown = {f"{stage}/{figure}" for stage, figures in dashboard.CURVES.items() for figure in figures}
    steps = {f"{stage}/step" for stage in dashboard.CURVES}
    assert {name for _, _, run in runs for figures in run.curves for name in figures} == shown | steps
    for _, told, run in runs:
        assert {*dashboard.QUALITY, *dashboard.COST} <= run.final.keys() and told["method"]
        columns, answers = run.tables["answers"]
        assert columns == ("query", "text", "gold tools", "first answer", "ndcg@5")
        assert [(row[1], row[2]) for row in answers] == [(query.text, ", ".join(query.tools)) for query in splits.test]


def test_cells_are_tracked_where_nothing_is_timed(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    least = {"grid": {"schemes": ["atomic"]}, "baselines": ["bm25"], "latency_queries": 0, "output": tmp_path}
    rows = compare(config_of(folder, tiny_base, tracking={"mode": "offline"}, **least))
    assert [row["latency_p50_ms"] for row in rows] == [None, None]
    assert len(list((tmp_path / "tiny/tracking").glob("*/wandb/offline-run-*/*.wandb"))) == 2


def test_cells_may_start_from_the_encoder_that_is_the_baseline(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    recipe = {**settings(folder, tiny_base)["recipe"], "model": "encoder:trained"}
    grid = {"schemes": ["atomic"], "seeds": [3, 4]}
    few = {"grid": grid, "baselines": ["bi-encoder"], "latency_queries": 0, "output": tmp_path}
    rows = compare(config_of(folder, tiny_base, recipe=recipe, **few))
    minutes = {(row["method"], row["seed"]): row["minutes"] for row in rows}
    for seed in (3, 4):
        report = read_json(tmp_path / f"tiny/cells/atomic/seed-{seed}/memorization/report.json")
        assert report["config"]["model"] == f"encoder:{tmp_path}/tiny/cells/bi-encoder/seed-{seed}/final"
        assert minutes["atomic", seed] > minutes["bi-encoder", seed], "the encoder's training counts"


def test_what_is_finished_is_neither_trained_nor_measured_again(
    rows: list[dict[str, Any]], folder: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was finished")

    finished = ((memorization, "run"), (retrieval, "run"), (comparing, "answer"), (comparing, "latencies_of"))
    for module, name in (*finished, (bi_encoder, "_trainer")):
        monkeypatch.setattr(module, name, never)
    assert compare(config_of(folder, tiny_base)) == rows


def test_an_interrupted_comparison_ends_where_a_whole_one_does(
    rows: list[dict[str, Any]], folder: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, baselines = {"schemes": ["atomic"], "seeds": [3]}, ["bm25", "bi-encoder"]
    config = config_of(folder, tiny_base, grid=grid, baselines=baselines, latency_queries=0, output=tmp_path)
    begin = _Exactness.on_step_begin

    def stop(self: _Exactness, args: Any, state: Any, control: Any, **rest: Any) -> None:
        begin(self, args, state, control, **rest)
        if "retrieval" in str(args.output_dir) and state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(_Exactness, "on_step_begin", stop)
        with pytest.raises(SystemExit):
            compare(config)
    assert (tmp_path / "tiny/cells/atomic/seed-3/memorization/report.json").is_file()
    assert not (tmp_path / "tiny/leaderboard.json").exists()
    clocks = ("minutes", "latency_p50_ms", "latency_p95_ms")
    whole, again = (
        {row["method"]: {key: value for key, value in row.items() if key not in clocks} for row in found}
        for found in ([row for row in rows if row["seed"] in (3, None)], compare(config))
    )
    assert again == {method: whole[method] for method in ("atomic", "bm25", "bi-encoder")}


def test_another_recipe_or_other_data_cannot_share_a_folder(
    rows: list[dict[str, Any]], folder: Path, tiny_base: Path
) -> None:
    values = settings(folder, tiny_base)
    values["recipe"]["retrieval"]["training"]["min_steps"] = 4
    with pytest.raises(InputError, match="told something else"):
        compare(CompareConfig.model_validate(values))
    values = settings(folder, tiny_base)
    values["data"]["most_train"] = 5
    with pytest.raises(InputError, match="other tools or queries"):
        compare(CompareConfig.model_validate(values))


def test_contaminated_splits_stop_with_the_evidence(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    queries = read_queries(folder / "queries.jsonl")
    parted = [replace(query, split=("train", "validation", "test")[place % 3]) for place, query in enumerate(queries)]
    leaked = replace(parted[0], id="leaked", split="test")
    write_queries(tmp_path / "queries.jsonl", [*parted, leaked])
    data = {"tools": folder / "tools.jsonl", "queries": tmp_path / "queries.jsonl"}
    with pytest.raises(InputError, match="leaked"):
        compare(config_of(folder, tiny_base, data={**data, "split": {"near": 1.0}}, output=tmp_path))
    assert not (tmp_path / "tiny").exists()


def test_queries_that_were_made_are_trained_on_by_all_and_never_tested_on(
    folder: Path, tiny_base: Path, tmp_path: Path
) -> None:
    given = settings(folder, tiny_base)["recipe"]
    recipe = {**given, "retrieval": {**given["retrieval"], "made": [tmp_path / "made.jsonl"]}}
    least = {"grid": {"schemes": ["atomic"]}, "baselines": ["bi-encoder"], "latency_queries": 0, "output": tmp_path}
    config = config_of(folder, tiny_base, recipe=recipe, **least)
    splits = read_splits(config.data)
    tested = splits.test[0]
    write_queries(tmp_path / "made.jsonl", [replace(tested, id="copy", split=None, text=tested.text.upper())])
    with pytest.raises(InputError, match="made holds 1 near copies .*'1:copy'"):
        compare(config)
    assert not list(tmp_path.rglob("report.json"))
    write_queries(tmp_path / "made.jsonl", [replace(tested, id="new", split=None, text="zebra quilt umbrella")])
    compare(config)
    reports = [read_json(path) for path in (tmp_path / "tiny").rglob("report.json")]
    asked = {report["records"] for report in reports if report["stage"] != "memorization"}
    assert asked == {1 + sum(len(query.tools) for query in splits.train)}
    write_queries(tmp_path / "made.jsonl", [replace(tested, id="new", split=None, text="zebra quilt harbour")])
    with pytest.raises(InputError, match="holds a comparison on other tools or queries"):
        compare(config)


def test_runs_from_before_a_key_was_known_go_on(folder: Path, tiny_base: Path) -> None:
    material = Material(folder / "tools.jsonl", folder / "queries.jsonl", folder / "codebooks")
    cell, config = Cell(Variant.parse("atomic"), 0), config_of(folder, tiny_base)
    _, second = stages_of(cell, config, material)
    assert "made" not in second.model_dump() and second.made == []
    _, fed = stages_of(cell, config, replace(material, made=folder / "made.jsonl"))
    assert fed.model_dump(mode="json")["made"] == [str(folder / "made.jsonl")]


def test_a_split_to_deal_out_needs_shares(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    data = {"tools": folder / "tools.jsonl", "queries": folder / "queries.jsonl", "split": {"only": "train"}}
    with pytest.raises(InputError, match="data.split.only is 'train', and no shares"):
        compare(config_of(folder, tiny_base, data=data, output=tmp_path))


def test_gold_tools_may_stand_under_another_key(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    queries = read_queries(folder / "queries.jsonl")
    ids = [query.tools[0] for query in queries]
    other = [
        replace(query, tools=("elsewhere",), metadata={"ours": [ids[place]] if place else []})
        for place, query in enumerate(queries)
    ]
    write_queries(tmp_path / "queries.jsonl", other)
    data = {**settings(folder, tiny_base)["data"], "queries": tmp_path / "queries.jsonl", "gold": "ours"}
    found = read_splits(config_of(folder, tiny_base, data=data).data)
    kept = [*found.train, *found.validation, *found.test]
    assert len(kept) == len(ids) - 1 and {query.tools[0] for query in kept} == set(ids[1:])
    for key, message in (("tone", "no query"), ("id", "no query")):
        with pytest.raises(InputError, match=message):
            read_splits(config_of(folder, tiny_base, data={**data, "gold": key}).data)


def test_the_grid_crosses_schemes_priors_and_plans() -> None:
    grid = GridConfig.model_validate(
        {
            "schemes": ["atomic", "numeric:digits=new"],
            "priors": {"name": {"kind": "name"}, "random": {"kind": "random"}},
            "plans": {"full": {}, "rows": {"train": "rows"}},
            "seeds": [7, 8, 9],
            "ablations": ["no constraint"],
        }
    )
    cells = grid_cells(grid)
    assert len(cells) == 8 and len({cell.method for cell in cells}) == 8 and {cell.seed for cell in cells} == {7}
    assert cells[1].method == "atomic, prior name, rows"
    further = further_cells(grid, cells[5])
    assert [(cell.seed, cell.ablation) for cell in further] == [(7, "no constraint"), (8, None), (9, None)]
    assert len({cell.folder for cell in (*cells, *further)}) == 11


def test_a_cell_tells_its_stages_what_it_is(folder: Path, tiny_base: Path) -> None:
    grid = {"priors": {"noise": {"kind": "random"}}, "plans": {"rows": {"train": "rows"}}}
    config = config_of(folder, tiny_base, grid=grid)
    material = Material(folder / "tools.jsonl", folder / "queries.jsonl", folder / "codebooks")
    cell = Cell(Variant.parse("atomic"), 5, "noise", "rows")
    first, second = stages_of(cell, config, material)
    assert (first.prior.kind, first.training.plan.train, first.training.seed) == ("random", "rows", 5)
    assert second.model == str(first.output / "final") and second.training.plan.train == "rows"
    (alone,) = stages_of(replace(cell, prior=None, ablation="no memorization"), config, material)
    assert alone.model == str(tiny_base) and alone.prior.kind == "name", "rows start as the recipe's first stage says"
    (only,) = stages_of(replace(cell, ablation="no retrieval training"), config, material)
    assert only == first, "trained once"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"schemes": ["atomics"]}}, "Unknown indexing scheme"),
        ({"grid": {"schemes": ["atomic", "atomic"]}}, "each scheme once"),
        ({"grid": {"seeds": [1, 1]}}, "each seed once"),
        ({"launch": ["no-such-launcher"]}, "'no-such-launcher', which cannot be started"),
        ({"recipe": {"memorization": {"training": {"seed": 3}}}}, "sets memorization.training.seed"),
        ({"recipe": {"retrieval": {"epoch": 3}}}, "unknown key 'epoch'"),
        ({"recipe": {"retrieval": {"made": "one.jsonl"}}}, "'made'.*list"),
        (
            {
                "recipe": {"retrieval": {"document_rows": {}, "training": {"weight_decay": 0.1}}},
                "grid": {"schemes": ["atomic"]},
            },
            "weight_decay=0.1",
        ),
        ({"recipe": {"retrieval": {"document_rows": {}}}}, "the grid holds 'numeric'"),
        (
            {"recipe": {"retrieval": {"document_rows": {}}}, "grid": {"schemes": ["atomic"]}, "launch": ["env"]},
            "processes of its own",
        ),
        ({"recipe": {"reading": "parts", "retrieval": {"multi_gold": "sequence"}}}, "multi_gold is sequence"),
        ({"baselines": ["bm52"]}, "Unknown baseline"),
    ],
)
def test_faults_show_before_anything_is_trained(
    changes: Mapping[str, Any], message: str, folder: Path, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        compare(config_of(folder, tiny_base, output=tmp_path, **changes))
    assert not list(tmp_path.rglob("report.json"))


def test_cells_and_encoders_may_read_by_parts(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    recipe = {**settings(folder, tiny_base)["recipe"], "reading": "parts", "validated": 4}
    few = {"grid": {"schemes": ["atomic"]}, "baselines": ["dense by parts", "bi-encoder by parts"]}
    rows = compare(config_of(folder, tiny_base, output=tmp_path, recipe=recipe, latency_queries=0, **few))
    assert {row["method"] for row in rows} == {"atomic", "dense by parts", "bi-encoder by parts"}
    cells = tmp_path / "tiny" / "cells"
    assert Artefacts.load(cells / "atomic/seed-0/retrieval/final").reading == "parts"
    assert read_json(cells / "bi-encoder-by-parts/seed-0/report.json")["config"]["reading"] == "parts"
    assert read_json(tmp_path / "tiny/comparison.json")["validation_queries"] == 3, "those that were looked at"


def test_a_name_is_no_path(folder: Path, tiny_base: Path) -> None:
    for name in ("../up", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="name"):
            config_of(folder, tiny_base, name=name)


def test_the_command_hands_the_configuration_over(
    folder: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[CompareConfig] = []
    monkeypatch.setattr(comparing, "compare", given.append)
    path = tmp_path / "config.json"
    write_json(path, config_of(folder, tiny_base).model_dump(mode="json"))
    done = CliRunner().invoke(cli.app, ["compare", "--config", str(path), "grid.seeds=[5]"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert given[0].grid.seeds == [5] and given[0].name == "tiny"


def test_stages_may_run_in_processes_of_their_own(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    launcher = tmp_path / "launcher"
    # As the deepspeed launcher: options, then --module NAME and what the module is told.
    launcher.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} -m "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    grid = {"schemes": ["atomic"]}
    launch = [str(launcher), "--num_gpus", "2"]
    (row, *_) = compare(config_of(folder, tiny_base, output=tmp_path, grid=grid, baselines=[], launch=launch))
    assert row["method"] == "atomic" and row["minutes"] > 0
    values = settings(folder, tiny_base, output=tmp_path, name="broken", grid=grid, launch=["false"])
    with pytest.raises(InputError, match="exit code 1"):
        compare(CompareConfig.model_validate(values))


def test_options_of_a_scheme_follow_a_colon() -> None:
    variant = Variant.parse(" hierarchical:digits=new:branching=16 ")
    assert (variant.scheme, variant.options) == ("hierarchical", {"digits": "new", "branching": 16})


@pytest.mark.parametrize(
    ("text", "message"),
    [("atomics", "Unknown indexing scheme"), ("numeric:new", "not of the form key=value"), ("numeric:=3", "key=value")],
)
def test_a_variant_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Variant.parse(text)
