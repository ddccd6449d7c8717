"""The quickstart on three small services: the real job, from the import to the figures."""

import json
from functools import partial
from pathlib import Path

import pytest

from toolgen.benchmarks import quickstart
from toolgen.benchmarks.quickstart import QuickstartConfig, run_quickstart, says_its_words
from toolgen.files import read_json
from toolgen.queries import Query, read_queries
from toolgen.records import memorization_records
from toolgen.synthesis import synthetic_records
from toolgen.tools import Tool, ToolCatalog

SERVICES = ("ecr", "secretsmanager", "sqs")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    with pytest.MonkeyPatch.context() as patched:
        # The steps that few tools get beyond an epoch take minutes and are not what is tested.
        for name in ("memorization_config", "retrieval_config"):
            short = partial(getattr(quickstart, name), overrides=("training.min_steps=0",))
            patched.setattr(quickstart, name, short)
        run_quickstart(folder, seeds=2, config=QuickstartConfig(services=SERVICES, dense_tokens=32))
    return folder


def test_the_figures_have_the_promised_shape(run: Path) -> None:
    figures = read_json(run / "figures.json")
    for method in ("generative", "bm25", "dense"):
        assert 0 <= figures[method]["ndcg@5_low"] <= figures[method]["ndcg@5"] <= figures[method]["ndcg@5_high"] <= 1
        assert figures[method]["hallucinated"] == 0
        assert 0 < figures[method]["latency_p50_ms"] <= figures[method]["latency_p95_ms"]
    for baseline in ("bm25", "dense"):
        above = figures["above"][baseline]
        assert above["low"] <= above["mean"] <= above["high"]
        assert above["mean"] == pytest.approx(figures["generative"]["ndcg@5"] - figures[baseline]["ndcg@5"])
    catalog = ToolCatalog.from_jsonl(run / "tools.jsonl")
    test = read_queries(run / "queries.jsonl", catalog, "test")
    assert (figures["tools"], figures["queries"], figures["split"]) == (len(catalog), len(test), ["test"])
    assert figures["minutes"] > 0 and figures["peak_gb"] > 0
    ndcg = figures["seeds"]["ndcg@5"]
    assert figures["seeds"]["n"] == 2
    assert ndcg["values"][0] == figures["generative"]["ndcg@5"]
    assert ndcg["mean"] == pytest.approx(sum(ndcg["values"]) / 2)


def test_training_beats_chance_by_far(run: Path) -> None:
    assert read_json(run / "figures.json")["generative"]["ndcg@5"] > 0.5


def test_no_example_text_is_trained_on_and_no_tool_is_in_both_splits(run: Path) -> None:
    queries = read_queries(run / "queries.jsonl")
    validation, test = (
        {tool for query in queries if query.split == split for tool in query.tools} for split in ("validation", "test")
    )
    assert validation and test and not validation & test
    for stage in ("memorization", "retrieval"):
        config = json.loads((run / stage / "report.json").read_text())["config"]
        assert config["validation"]["split"] == "validation"
        assert config.get("queries") is None
    catalog = ToolCatalog.from_jsonl(run / "tools.jsonl")
    trained = memorization_records(catalog) + synthetic_records(catalog, 8, seed=0)
    texts = {record.text.casefold() for record in trained}
    assert not [query.text for query in queries if query.text.casefold() in texts and len(query.text.split()) > 6]


def test_a_title_says_the_operations_words() -> None:
    catalog = ToolCatalog([Tool("i", "DescribeInstances"), Tool("b", "CreateBucket")])
    assert says_its_words(Query("1", "To describe an instance", ("i",)), catalog)
    assert says_its_words(Query("1", "To create or describe buckets", ("i", "b")), catalog)
    assert not says_its_words(Query("1", "To make a bucket", ("b",)), catalog)
