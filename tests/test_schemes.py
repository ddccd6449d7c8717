"""The comparison of schemes on a tiny model: one table of all, nothing trained twice, faults before any training."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolgen.benchmarks import schemes
from toolgen.benchmarks.recipe import Data, Recipe, Stages, Variant, load_recipe
from toolgen.benchmarks.schemes import HEADINGS, app, compare
from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.queries import Query, write_queries
from toolgen.stages import memorization, retrieval
from toolgen.tools import ToolCatalog

SPLITS = ("train", "train", "train", "validation", "test")


def short(model: Path | str) -> Recipe:
    training = {"batch_size": 8, "min_steps": 2, "epochs": 0.1, "precision": "fp32", "max_length": 64}
    quiet = {"tracking": {"mode": "disabled"}, "training": training}
    return Recipe(
        model=str(model),
        memorization={**quiet, "prior": {"kind": "name"}},
        retrieval=quiet,
        validated=3,
        dense_tokens=8,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, catalog: ToolCatalog, queries: list[Query]) -> Data:
    folder = tmp_path_factory.mktemp("data")
    found = Data(folder / "tools.jsonl.gz", folder / "queries.jsonl.gz", "train", "validation", "test")
    catalog.to_jsonl(found.tools)
    parted = [replace(query, split=SPLITS[place % len(SPLITS)]) for place, query in enumerate(queries)]
    write_queries(found.queries, parted)
    return found


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, data: Data, tiny_base: Path) -> Path:
    """Folder of a comparison of two schemes."""
    output = tmp_path_factory.mktemp("schemes")
    compare(data, [Variant.parse("atomic"), Variant.parse("numeric:digits=new")], short(tiny_base), output)
    return output


def test_one_table_has_the_baselines_and_every_scheme(compared: Path, catalog: ToolCatalog) -> None:
    figures = read_json(compared / "schemes.json")
    evaluation = figures["evaluation"]
    assert (evaluation["queries"], evaluation["tools"], evaluation["split"]) == (6, len(catalog), ["test"])
    for method in ("bm25", "dense", "atomic", "numeric:digits=new"):
        assert evaluation[method]["hallucinated"] == 0 and evaluation[method]["latency_p50_ms"] > 0
        assert evaluation[method]["ndcg@5_low"] <= evaluation[method]["ndcg@5"] <= evaluation[method]["ndcg@5_high"]
    assert figures["schemes"].keys() == {"atomic", "numeric:digits=new"}
    assert figures["schemes"]["atomic"]["codes"]["tokens_mean"] == 1
    assert figures["schemes"]["numeric:digits=new"]["codes"]["tokens_mean"] == 2
    for scheme in figures["schemes"].values():
        assert scheme["steps"] == 4 and scheme["training_minutes"] > 0
        assert scheme["ndcg@5_above"].keys() == {"bm25", "dense"}
    assert evaluation["subsets"]["no gold tool with a training query"]["queries"] == 6


def test_the_markdown_says_what_the_json_says(compared: Path) -> None:
    head, rule, *rows = (compared / "schemes.md").read_text(encoding="utf-8").splitlines()
    evaluation = read_json(compared / "schemes.json")["evaluation"]
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(HEADINGS)
    assert rule.count("---") == len(HEADINGS) and len(rows) == 4
    for row in rows:
        name, ndcg, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        assert ndcg == f"{evaluation[name]['ndcg@5']:.3f}"


def test_all_schemes_get_the_same_pairs_and_no_test_query(compared: Path) -> None:
    reports = [
        read_json(compared / folder / "retrieval" / "report.json") for folder in ("atomic", "numeric-digits-new")
    ]
    assert [report["records"] for report in reports] == [18, 18]
    for report in reports:
        assert report["config"]["queries"]["split"] == "train"
        assert report["config"]["validation"]["split"] == "validation"


def test_a_finished_scheme_is_not_trained_again_and_a_new_one_joins(
    compared: Path, data: Data, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    for stage in (memorization, retrieval):
        original = stage.run
        monkeypatch.setattr(
            stage, "run", lambda config, run=original: trained.append(str(config.output)) or run(config)
        )
    before = (compared / "atomic" / "retrieval" / "report.json").read_bytes()
    compare(data, [Variant.parse("atomic"), Variant.parse("numeric")], short(tiny_base), compared)
    assert trained == [str(compared / "numeric" / stage) for stage in ("memorization", "retrieval")]
    assert (compared / "atomic" / "retrieval" / "report.json").read_bytes() == before


def test_other_data_or_another_recipe_cannot_share_a_folder(compared: Path, data: Data, tiny_base: Path) -> None:
    other = short(tiny_base).model_copy(update={"validated": 2})
    with pytest.raises(InputError, match="recipe differ"):
        compare(data, [Variant.parse("atomic")], other, compared)
    swapped = replace(data, train="test", test="train")
    with pytest.raises(InputError, match="queries differ"):
        compare(swapped, [Variant.parse("atomic")], short(tiny_base), compared)


def test_codes_that_are_built_otherwise_are_refused(
    compared: Path, data: Data, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "numeric-width=4".replace("=", "-")
    folder.mkdir()
    (folder / "codebook.json").write_bytes((compared / "atomic" / "codebook.json").read_bytes())
    with pytest.raises(InputError, match="holds other codes"):
        compare(data, [Variant.parse("numeric:width=4")], short(tiny_base), tmp_path)


def test_options_follow_a_colon() -> None:
    variant = Variant.parse(" hierarchical:digits=new:branching=16 ")
    assert (variant.scheme, variant.options) == ("hierarchical", {"digits": "new", "branching": 16})
    assert variant.folder == "hierarchical-digits-new-branching-16"


@pytest.mark.parametrize(
    ("text", "message"),
    [("atomics", "Unknown indexing scheme"), ("numeric:new", "not of the form key=value"), ("numeric:=3", "key=value")],
)
def test_a_variant_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Variant.parse(text)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(memorization={"tools": "mine"}), "sets memorization.tools, which the comparison gives"),
        (Recipe(retrieval={"validation": {}}), "sets retrieval.validation"),
        (Recipe(retrieval={"trainings": {}}), "unknown key 'trainings'"),
        (Recipe(memorization={"training": {"epoch": 1}}), "unknown key 'training.epoch'"),
    ],
)
def test_a_fault_of_the_recipe_shows_before_anything_is_built(data: Data, recipe: Recipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stages.of(recipe, data, Path("run"))


def test_the_recipe_of_the_repository_binds_and_takes_overrides() -> None:
    assert load_recipe().model == "embedded"
    assert load_recipe(overrides=["retrieval.training.epochs=9"]).retrieval["training"]["epochs"] == 9


def test_the_command_hands_everything_over(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base: Path
) -> None:
    given: list[object] = []
    monkeypatch.setattr(schemes, "compare", lambda *arguments: given.extend(arguments))
    config = tmp_path / "recipe.json"
    write_json(config, short(tiny_base).model_dump(mode="json"))
    arguments = ["--tools", data.tools, "--queries", data.queries, "--out", tmp_path, "--config", config]
    arguments += ["--schemes", "atomic,numeric:digits=new", "validated=7"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found, variants, recipe, output = given
    assert found == data and output == tmp_path
    assert [variant.name for variant in variants] == ["atomic", "numeric:digits=new"]  # type: ignore[attr-defined]
    assert recipe == short(tiny_base).model_copy(update={"validated": 7})
    for names in ("", "atomic,atomic"):
        with pytest.raises(InputError, match="each once"):
            CliRunner().invoke(app, [*map(str, arguments[:6]), "--schemes", names], catch_exceptions=False)
