"""Figures against pytrec_eval itself, against values computed by hand, and against the bootstrap's known behaviour."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.metrics import (
    MEASURES,
    Difference,
    Interval,
    bootstrap_interval,
    bootstrap_share,
    evaluate,
    ndcg_toolgen_published,
    paired_difference,
    qrels_of,
    ranking,
    run_from_hits,
    tie_aware_run,
)
from toolgen.queries import Query
from toolgen.retriever import Hit

TOOLS = [f"tool-{number}" for number in range(14)] + ["Größe/∞", "a b"]


@st.composite
def qrels_and_runs(draw: st.DrawFn) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    ids = draw(st.lists(st.sampled_from(["q1", "q2", "frage ü", "q 4"]), min_size=1, unique=True))
    qrels = {
        query_id: dict.fromkeys(draw(st.lists(st.sampled_from(TOOLS), min_size=1, max_size=8, unique=True)), 1)
        for query_id in ids
    }
    # Scores that single precision tells apart, and some that are equal: trec_eval then orders by id.
    scores = st.integers(min_value=-6, max_value=6).map(float)
    run = {
        query_id: draw(st.dictionaries(st.sampled_from(TOOLS), scores, max_size=len(TOOLS)))
        for query_id in draw(st.lists(st.sampled_from(ids), unique=True))
    }
    return qrels, run


def ideal(count: int) -> float:
    return sum(1 / math.log2(rank + 1) for rank in range(1, count + 1))


@settings(max_examples=200, deadline=None)
@given(qrels_and_runs())
def test_equals_trec_eval_on_the_original_scores(case):
    qrels, run = case
    scores = evaluate(qrels, run)
    trec = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.1,3,5,10", "recall.5,10", "recip_rank"}).evaluate(
        {query_id: answers for query_id, answers in run.items() if answers}
    )
    names = {"mrr": "recip_rank"}
    names |= {f"ndcg@{k}": f"ndcg_cut_{k}" for k in (1, 3, 5, 10)} | {f"recall@{k}": f"recall_{k}" for k in (5, 10)}
    for measure, name in names.items():
        for query_id in qrels:
            expected = trec[query_id][name] if run.get(query_id) else 0.0
            assert scores.per_query[measure][query_id] == pytest.approx(expected, abs=1e-9)
        assert scores.means[measure] == pytest.approx(np.mean([*scores.per_query[measure].values()]), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(qrels_and_runs())
def test_relations_between_measures(case):
    qrels, run = case
    scores = evaluate(qrels, run)
    assert set(scores.per_query) == set(scores.means) == set(MEASURES)
    for measure, values in scores.per_query.items():
        assert list(values) == list(qrels), measure
        assert all(0 <= value <= 1 for value in values.values()), measure
    for query_id, gold in qrels.items():
        of = {measure: values[query_id] for measure, values in scores.per_query.items()}
        assert of["all_gold@5"] == float(of["recall@5"] == 1)
        assert of["ndcg_toolgen_published@1"] == pytest.approx(of["ndcg@1"])
        for k in (3, 5):
            assert of[f"ndcg_toolgen_published@{k}"] >= of[f"ndcg@{k}"] - 1e-12
        if len(gold) == 1 and of["recall@5"] == 1:
            assert of["ndcg_toolgen_published@5"] == pytest.approx(of["ndcg@5"])


def test_one_hit_of_three_gold_tools():
    scores = evaluate({"q": {"a": 1, "b": 1, "c": 1}}, {"q": {"a": 3.0, "x": 2.0, "y": 1.0}})
    assert scores.means["ndcg@1"] == 1
    assert scores.means["ndcg@5"] == pytest.approx(1 / ideal(3), abs=1e-9)
    assert round(scores.means["ndcg@5"], 3) == 0.469
    assert scores.means["ndcg_toolgen_published@5"] == scores.means["ndcg_toolgen_published@3"] == 1
    assert scores.means["recall@5"] == pytest.approx(1 / 3)
    assert scores.means["all_gold@5"] == 0


def test_published_variant_takes_five_answers_and_ideal_of_what_they_hold():
    tools = ["x", "a", "y", "z", "b", "c"]
    # Five answers hold a and b; c at rank 6 is beyond ToolGen's beams.
    assert ndcg_toolgen_published({"a", "b", "c"}, tools, 5) == pytest.approx(
        (1 / math.log2(3) + 1 / math.log2(6)) / ideal(2)
    )
    assert ndcg_toolgen_published({"a", "b", "c"}, tools, 3) == pytest.approx(1 / math.log2(3) / ideal(2))
    assert ndcg_toolgen_published({"a", "b", "c"}, tools, 1) == 0
    assert ndcg_toolgen_published({"c"}, tools, 5) == 0


def test_mrr_looks_as_deep_as_the_run():
    run = {f"t{rank:02}": -float(rank) for rank in range(1, 21)}
    assert evaluate({"q": {"t17": 1}}, {"q": run}).means["mrr"] == pytest.approx(1 / 17)


def test_all_gold_needs_every_tool_in_the_first_five():
    gold = {tool: 1 for tool in "abcdef"}
    run = {tool: -float(rank) for rank, tool in enumerate("abcdef")}
    assert evaluate({"q": gold}, {"q": run}).means["all_gold@5"] == 0  # six do not fit among five
    del gold["f"]
    assert evaluate({"q": gold}, {"q": run}).means["all_gold@5"] == 1
    del gold["a"]
    gold["f"] = 1
    assert evaluate({"q": gold}, {"q": run}).means["all_gold@5"] == 0


def test_unanswered_queries_stay_in_the_denominator():
    qrels = {"answered": {"a": 1}, "empty": {"a": 1}, "absent": {"a": 1}}
    scores = evaluate(qrels, {"answered": {"a": 1.0}, "empty": {}})
    assert scores.means["ndcg@5"] == pytest.approx(1 / 3)
    assert scores.per_query["recall@5"] == {"answered": 1.0, "empty": 0.0, "absent": 0.0}
    assert evaluate(qrels, {}).means["mrr"] == 0


def test_order_survives_scores_that_single_precision_cannot_tell_apart():
    close = {"a": 1.0 + 1e-12, "z": 1.0}
    assert evaluate({"q": {"a": 1}}, {"q": close}).means["ndcg@1"] == 1
    hits = [Hit("a", 0.5), Hit("z", 0.5)]
    assert evaluate({"q": {"a": 1}}, {"q": run_from_hits(hits)}).means["ndcg@1"] == 1


def test_run_from_hits_keeps_the_order_of_the_hits():
    hits = [Hit("b", 0.1), Hit("a", 7.0), Hit("c", 0.1)]
    assert ranking(run_from_hits(hits)) == ["b", "a", "c"]
    assert run_from_hits([]) == {}
    with pytest.raises(AssertionError):
        run_from_hits([Hit("a", 1.0), Hit("a", 0.5)])


@settings(max_examples=50, deadline=None)
@given(qrels_and_runs())
def test_inputs_are_not_changed(case):
    before = copy.deepcopy(case)
    evaluate(*case)
    assert case == before


def test_qrels_of_queries():
    assert qrels_of([Query("q1", "text", ("b", "a")), Query("q2", "text", ("a",))]) == {
        "q1": {"b": 1, "a": 1},
        "q2": {"a": 1},
    }


@pytest.mark.parametrize(
    ("qrels", "run", "said"),
    [
        ({}, {}, "no query"),
        ({"q": {}}, {}, "'q'"),
        ({"q": {"a": 0}}, {}, "relevance 1"),
        ({"q": {"a": 2}}, {}, "relevance 1"),
        ({"q": {"a": 1}}, {"other": {"a": 1.0}}, "'other'"),
        ({"q": {"a": 1}}, {"q": {"a": math.nan}}, "finite"),
        ({"q": {"a": 1}}, {"q": {"a": math.inf}}, "finite"),
    ],
)
def test_bad_input_is_named(qrels, run, said):
    with pytest.raises(InputError, match=said):
        evaluate(qrels, run)


def test_subset():
    scores = evaluate({"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}, {"q1": {"a": 1.0}, "q2": {"b": 1.0}})
    assert scores.subset(["q1"]).means["ndcg@5"] == 1
    assert scores.subset({"q1", "q2"}).means["ndcg@5"] == 0.5
    assert scores.subset(["q2", "q2", "q1"]).per_query["mrr"] == {"q1": 1.0, "q2": 0.0}
    for wrong in (["q1", "q9"], []):
        with pytest.raises(InputError):
            scores.subset(wrong)


def test_interval_of_coin_tosses_is_near_the_normal_one():
    values = [1.0] * 60 + [0.0] * 40
    interval = bootstrap_interval(values)
    margin = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert interval.low == pytest.approx(0.6 - margin, abs=0.015)
    assert interval.high == pytest.approx(0.6 + margin, abs=0.015)
    narrow = bootstrap_interval(values, level=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high
    assert bootstrap_interval([0.25] * 7) == Interval(0.25, 0.25)
    assert bootstrap_interval([1.0]) == Interval(1.0, 1.0)


def test_interval_is_seeded():
    values = np.linspace(0, 1, 50).tolist()
    state = np.random.get_state()[1].copy()
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert (np.random.get_state()[1] == state).all()


def test_resampling_in_parts_covers_all_resamples(monkeypatch):
    monkeypatch.setattr("toolgen.metrics._RESAMPLED_AT_ONCE", 70)
    interval = bootstrap_interval([1.0] * 60 + [0.0] * 40, resamples=4_001)
    assert 0.45 < interval.low < 0.55 < 0.65 < interval.high < 0.75


def test_pairing_makes_a_steady_small_gain_certain():
    generator = np.random.default_rng(0)
    base = {f"q{number}": float(value) for number, value in enumerate(generator.random(300))}
    better = {query_id: value + 0.01 for query_id, value in reversed(base.items())}
    difference = paired_difference(better, base)
    assert difference.mean == pytest.approx(0.01)
    assert difference.interval.low == pytest.approx(0.01) and difference.interval.high == pytest.approx(0.01)
    assert paired_difference(base, base) == Difference(0.0, Interval(0.0, 0.0))


def test_pairing_needs_the_same_queries():
    with pytest.raises(InputError, match="'q2'"):
        paired_difference({"q1": 1.0}, {"q1": 1.0, "q2": 0.0})


def tie_aware(gold: str, answers: str, *same: str) -> dict[str, float]:
    """Figures of one query, tools being letters; each of ``same`` lists tools of one document."""
    documents = {letter: group[0] for group in same for letter in group}
    run = {"q": {tool: -float(rank) for rank, tool in enumerate(answers)}}
    qrels = {"q": dict.fromkeys(gold, 1)}
    return dict(evaluate(qrels, tie_aware_run(qrels, run, {letter: letter for letter in "abcdxyz"} | documents)).means)


def test_a_tool_with_the_gold_tools_document_is_the_gold_tool():
    assert tie_aware("a", "xb", "ax")["ndcg@1"] == 1
    assert tie_aware("a", "xb", "ay")["ndcg@1"] == 0
    assert tie_aware("a", "x", "ax") == tie_aware("a", "a", "ax")


def test_each_gold_tool_is_found_once_and_its_doubles_cost_nothing():
    # x stands for a, a and y leave, b is second: as good as it gets.
    assert tie_aware("ab", "xayb", "axy")["ndcg@5"] == 1
    assert tie_aware("ab", "xay", "axy")["recall@5"] == 0.5
    # Two gold tools of one document need two answers with it.
    assert tie_aware("ab", "xyz", "abxy")["ndcg@5"] == 1
    assert tie_aware("ab", "xz", "abx")["recall@5"] == 0.5
    # The ideal still holds every gold tool.
    assert tie_aware("abc", "x", "ax")["ndcg@5"] == pytest.approx(evaluate(*one("abc", "a")).means["ndcg@5"])


def test_only_doubles_of_gold_tools_leave_the_ranking():
    assert tie_aware("a", "xya", "xy")["ndcg@5"] == pytest.approx(0.5)
    # What is no tool has no document, and stays wrong.
    assert tie_aware("a", ["a (repeated at rank 2)", "x"], "ax")["ndcg@5"] == pytest.approx(1 / math.log2(3))


def one(gold: str, answers: str) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    return {"q": dict.fromkeys(gold, 1)}, {"q": {tool: -float(rank) for rank, tool in enumerate(answers)}}


STANDARD = [measure for measure in MEASURES if "published" not in measure]


@given(qrels_and_runs(), st.lists(st.integers(0, 5), min_size=len(TOOLS), max_size=len(TOOLS)))
def test_tie_aware_figures_are_never_below_strict_ones_and_equal_where_documents_differ(data, kinds):
    qrels, run = data
    strict = evaluate(qrels, run)
    for documents in (
        {tool: str(kind) for tool, kind in zip(TOOLS, kinds, strict=True)},
        {tool: tool for tool in TOOLS},
    ):
        tied = evaluate(qrels, tie_aware_run(qrels, run, documents))
        for measure in STANDARD:
            for query_id, value in strict.per_query[measure].items():
                assert tied.per_query[measure][query_id] >= value - 1e-12
    assert tied == strict


@given(qrels_and_runs(), st.lists(st.integers(0, 3), min_size=len(TOOLS), max_size=len(TOOLS)), st.randoms())
def test_it_does_not_matter_which_of_equal_tools_were_answered(data, kinds, random):
    qrels, run = data
    documents = {tool: str(kind) for tool, kind in zip(TOOLS, kinds, strict=True)}
    ranked = {query_id: ranking(scores) for query_id, scores in run.items()}
    same = {tool: [other for other in TOOLS if documents[other] == documents[tool]] for tool in TOOLS}
    other = dict(zip(TOOLS, TOOLS, strict=True))
    for tools in {tuple(tools) for tools in same.values()}:
        other |= dict(zip(tools, random.sample(tools, len(tools)), strict=True))
    first, second = (
        tie_aware_run(
            qrels,
            {
                query_id: {name[tool]: -float(rank) for rank, tool in enumerate(tools)}
                for query_id, tools in ranked.items()
            },
            documents,
        )
        for name in (dict(zip(TOOLS, TOOLS, strict=True)), other)
    )
    assert evaluate(qrels, first).per_query["ndcg@5"] == evaluate(qrels, second).per_query["ndcg@5"]


def test_imports_no_torch():
    code = "import sys, toolgen.metrics; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_share_is_resampled_by_its_units() -> None:
    values = [0.2, 0.9, 0.4, 0.4, 0.0, 1.0, 0.7]
    assert bootstrap_share(values, [1] * 7) == bootstrap_interval(values)
    # Units of three: a share over what they hold, not a mean of their shares.
    assert bootstrap_share([3, 0], [3, 1]) == Interval(0.0, 1.0)
    assert bootstrap_share([2, 4, 6], [4, 8, 12]) == Interval(0.5, 0.5)
    # Those that hang together say less than as many that do not.
    together, apart = ([10.0, 0.0] * 10, [10] * 20), ([1.0, 0.0] * 100, [1] * 200)
    wide, narrow = bootstrap_share(*together), bootstrap_share(*apart)
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)
    # A unit that holds nothing changes nothing; drawn alone it has no share.
    assert bootstrap_share([1, 0], [2, 0]) == Interval(0.5, 0.5)
