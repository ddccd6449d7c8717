"""Any data by path: tools without queries are trained, and real catalogues of every shape go through all commands."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from test_cli import run

from toolgen.checkpoint import Artefacts
from toolgen.config import parse_config
from toolgen.errors import InputError
from toolgen.files import read_json, read_jsonl
from toolgen.queries import Query, write_queries
from toolgen.records import MultiGold, Record
from toolgen.stages import memorization, retrieval
from toolgen.tools import ToolCatalog

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def few(tmp_path: Path, catalog: ToolCatalog) -> Path:
    """Three queries about three of the thirty tools, one of them about two."""
    path = tmp_path / "few.jsonl"
    first, second, third = catalog.ids[:3]
    write_queries(path, [Query("1", "one", (first,)), Query("2", "two", (first, second)), Query("3", "last", (third,))])
    return path


def configured(untrained: Path, few: Path, **keys: object) -> retrieval.RetrievalConfig:
    return retrieval.RetrievalConfig.model_validate(
        {"model": str(untrained), "output": few.parent / "run", "queries": {"path": few}, **keys}
    )


def named(records: Sequence[Record]) -> list[str]:
    """The tools of all answers."""
    return [tool for record in records for answer in record.answers for tool in answer]


def test_memorization_trains_every_tool_of_the_catalogue_once(untrained: Path, tmp_path: Path) -> None:
    artefacts = Artefacts.load(untrained)
    config = memorization.MemorizationConfig(model=str(untrained), output=tmp_path)
    found = [record.answers for record in memorization.records(artefacts, config)]
    assert found == [((tool,),) for tool in artefacts.catalog]


@pytest.mark.parametrize(
    "keys",
    [
        {"synthetic_per_tool": 2},
        {"joined_per_tool": 2},
        {"synthetic_per_tool": 2, "styles": "varied"},
        {"joined_within": {"group": 1, "catalogue": 1}, "styles": {"vague": 1}},
    ],
)
def test_queries_made_from_documents_cover_the_tools_that_nobody_asked_for(
    untrained: Path, few: Path, keys: dict[str, object]
) -> None:
    artefacts = Artefacts.load(untrained)
    labelled = retrieval.records(artefacts, configured(untrained, few))
    assert set(named(labelled)) == set(artefacts.catalog.ids[:3])
    both = retrieval.records(artefacts, configured(untrained, few, **keys))
    assert both[: len(labelled)] == labelled
    made = Counter(named(both[len(labelled) :]))
    assert made == dict.fromkeys(artefacts.catalog, 2)


def test_queries_that_were_made_are_trained_on_and_count_as_nobodys(untrained: Path, few: Path, tmp_path: Path) -> None:
    artefacts = Artefacts.load(untrained)
    labelled = retrieval.records(artefacts, configured(untrained, few))
    other = artefacts.catalog.ids[-1]
    write_queries(tmp_path / "made.jsonl", [Query("m", "something that a model wrote", (other,))])
    config = configured(untrained, few, made=[str(tmp_path / "made.jsonl")], spare_unlabelled=True)
    both = retrieval.records(artefacts, config)
    assert both[: len(labelled)] == labelled
    assert [(record.text, record.answers) for record in both[len(labelled) :]] == [
        ("something that a model wrote", ((other,),))
    ]
    token = {tool: code[0] for tool, code in zip(artefacts.codes.tool_ids, artefacts.codes.sequences, strict=True)}
    spared = retrieval.rivals(artefacts, config)
    assert spared is not None
    (logits_V,) = spared.logits(
        torch.zeros(1, max(token.values()) + 1), torch.tensor([token[artefacts.catalog.ids[0]]])
    )
    assert logits_V[token[other]] == -torch.inf and logits_V[token[artefacts.catalog.ids[1]]] == 0


def test_the_styles_of_made_queries_are_chosen(untrained: Path, few: Path) -> None:
    artefacts = Artefacts.load(untrained)
    plain, same, varied = (
        retrieval.records(artefacts, configured(untrained, few, synthetic_per_tool=2, **keys))
        for keys in ({}, {"styles": "plain"}, {"styles": "varied"})
    )
    assert plain == same != varied
    with pytest.raises(InputError, match="styles.*no style 'fancy'"):
        parse_config(retrieval.RetrievalConfig, {"output": "x", "styles": {"fancy": 1}}, "a test")


@pytest.mark.parametrize(("multi_gold", "answers"), [("rows", [1, 1, 2]), ("sequence", [1, 1, 1])])
def test_a_query_of_two_tools_has_two_answers_or_one_sequence(
    untrained: Path, few: Path, multi_gold: str, answers: list[int]
) -> None:
    artefacts = Artefacts.load(untrained)
    records = retrieval.records(artefacts, configured(untrained, few, multi_gold=multi_gold))
    assert sorted(len(record.answers) for record in records) == answers


@pytest.mark.parametrize("multi_gold", get_args(MultiGold))
def test_a_stage_trains_on_either(untrained: Path, few: Path, multi_gold: str) -> None:
    plan = {"epochs": 4, "batch_size": 2, "precision": "fp32", "max_length": 40}
    quiet = {"tracking": {"mode": "disabled"}, "training": plan}
    report = retrieval.run(configured(untrained, few, multi_gold=multi_gold, joined_per_tool=1, **quiet)).report
    assert report["train_loss"] < 10 and report["config"]["multi_gold"] == multi_gold


def a_few_lines(source: Path, target: Path, split: str, count: int) -> Path:
    """Records as they stand in ``source``, every key included, with a split."""
    records = [line.record for line in read_jsonl(source)]
    with gzip.open(target, "wt", encoding="utf-8") as out:
        for record in records[:: len(records) // count][:count]:
            out.write(json.dumps({**record, "split": split}) + "\n")
    return target


def roomy(tiny_base: Path, folder: Path) -> Path:
    """The tiny base with room for the longest of strangers' queries."""
    shutil.copytree(tiny_base, folder)
    config = read_json(folder / "config.json") | {"max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def stage(name: str, config: str, *keys: str) -> None:
    command = [sys.executable, f"stages/{name}.py", "--config", config, "tracking.mode=disabled", *keys]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("scheme", ["atomic", pytest.param("semantic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["metatool", "sealtools", "tldr", "traject"])
def test_a_real_catalogue_goes_through_by_changing_paths_only(
    tmp_path: Path, tiny_base: Path, name: str, scheme: str
) -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    tools, source = shared / name / "tools.jsonl.gz", shared / name / "queries.jsonl.gz"
    if not tools.is_file():
        pytest.skip(f"The data set {name} is absent; set TOOLGEN_SHARED_DATA to the folder that holds {name}/.")
    queries = a_few_lines(source, tmp_path / "queries.jsonl.gz", "some", 4)
    base, book, out = str(roomy(tiny_base, tmp_path / "base")), tmp_path / "codebook.json", tmp_path / "figures.json"
    run("index", "--scheme", scheme, "--tools", tools, "--model", base, "--disambiguate", "--out", book)
    short = ["training.epochs=0.001", "training.min_steps=1", "training.batch_size=8", "training.max_length=256"]
    first = [f"model={base}", f"tools={tools}", f"codebook={book}", f"output={tmp_path / 'first'}", *short]
    stage("memorization", "configs/embedded/memorization.yaml", "prior.kind=name", *first)
    second = [f"model={tmp_path / 'first' / 'final'}", f"output={tmp_path / 'second'}", "synthetic_per_tool=0", *short]
    second += [f"queries.path={queries}", "queries.split=some", f"validation.queries={queries}"]
    stage("retrieval", "configs/embedded/retrieval.yaml", *second)
    report = read_json(tmp_path / "second" / "report.json")
    assert (report["tools"], report["steps"]) == (len(ToolCatalog.from_jsonl(tools)), 1)
    run("eval", "--checkpoint", tmp_path / "second" / "final", "--queries", queries, "--split", "some", "--out", out)
    figures = read_json(out)
    assert figures["queries"] == 4 and figures["generative"]["hallucinated"] == 0
