"""The evaluation on retrievers whose answers are known: figures, intervals, subsets, latency's protocol, rendering."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from toolgen.benchmarks import evaluation
from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.benchmarks.evaluation import REPORTED, Evaluation, evaluate_retrievers
from toolgen.errors import InputError
from toolgen.metrics import MEASURES, evaluate, qrels_of, run_from_hits
from toolgen.queries import Query
from toolgen.retriever import Hit
from toolgen.tools import Tool, ToolCatalog

CATALOG = ToolCatalog(Tool(f"t{number}", f"name {number}") for number in range(30))
QUERIES = [Query(f"q{number}", f"{number}", (f"t{number % 30}",), split="test") for number in range(150)]


class Fixed:
    """Answers a query whose text is n with the tools that ``answer(n)`` names, and remembers how it was asked."""

    def __init__(self, name, answer):
        self.name = name
        self.answer = answer
        self.asked = []

    def search(self, queries, k, *, groups=None):
        self.asked.append((tuple(queries), k))
        return [[Hit(tool, 0.5) for tool in self.answer(int(query))[:k]] for query in queries]


def right(number):
    return [f"t{(number + offset) % 30}" for offset in range(12)]


def second(number):
    return [f"t{(number + offset) % 30}" for offset in (1, 0, 2, 3, 4, 5, 6, 7, 8, 9)]


def half(number):
    return right(number) if number % 2 else right(number + 1)


def figures(*answers, **options) -> Evaluation:
    retrievers = [Fixed(f"method-{position}", answer) for position, answer in enumerate(answers)]
    return evaluate_retrievers(retrievers, QUERIES, CATALOG, **{"latency_queries": 2, **options})


def test_known_answers_give_known_figures():
    result = figures(right, second, half)
    best, next_best, mixed = (result.methods[f"method-{position}"] for position in range(3))
    assert all(best.scores.means[measure] == 1 for measure in MEASURES)
    assert next_best.scores.means["mrr"] == 0.5 and next_best.scores.means["ndcg@1"] == 0
    assert next_best.scores.means["ndcg@5"] == pytest.approx(1 / np.log2(3))
    assert mixed.scores.means["recall@10"] == 0.5
    assert best.ndcg5.low == best.ndcg5.high == 1
    assert mixed.ndcg5.low < 0.5 < mixed.ndcg5.high
    assert (result.queries, result.tools, result.depth, result.split) == (150, 30, 10, ("test",))
    assert best.hallucinated == next_best.hallucinated == mixed.hallucinated == 0


def test_every_method_is_asked_alike():
    retrievers = [Fixed("a", right), Fixed("b", half)]
    evaluate_retrievers(retrievers, QUERIES, CATALOG, depth=12, latency_queries=7)
    assert retrievers[0].asked == retrievers[1].asked
    assert {k for _, k in retrievers[0].asked} == {12}
    batched = [text for texts, _ in retrievers[0].asked if len(texts) > 1 for text in texts]
    assert batched == [query.text for query in QUERIES]


def test_equals_metrics_on_a_real_retriever():
    retriever = BM25Retriever(CATALOG)
    queries = [Query(f"q{number}", f"the name {number}", (f"t{number}", "t3")) for number in range(10, 30)]
    result = evaluate_retrievers([retriever], queries, CATALOG, latency_queries=0)
    hits = retriever.search([query.text for query in queries], 10)
    expected = evaluate(qrels_of(queries), {q.id: run_from_hits(h) for q, h in zip(queries, hits, strict=True)})
    assert result.methods["bm25"].scores == expected
    assert result.methods["bm25"].latency is None
    assert result.split == ()


def test_hallucinated_answers_are_counted_and_gain_nothing():
    def invents(number):
        return ["nothing", *right(number)]

    def repeats(number):
        return [f"t{(number + 1) % 30}", f"t{(number + 1) % 30}", *right(number)[:1]]

    result = figures(right, invents, repeats)
    assert [of.hallucinated for of in result.methods.values()] == [0, len(QUERIES), len(QUERIES)]
    assert result.methods["method-1"].scores.means["mrr"] == 0.5
    assert result.methods["method-2"].scores.means["mrr"] == pytest.approx(1 / 3)


def test_fewer_answers_than_asked_are_allowed_and_more_are_a_bug():
    result = figures(lambda number: right(number)[:1], lambda number: [])
    assert result.methods["method-0"].scores.means["ndcg@10"] == 1
    assert result.methods["method-1"].scores.means["ndcg@10"] == 0

    class Excessive(Fixed):
        def search(self, queries, k, *, groups=None):
            return super().search(queries, k + 1)

    with pytest.raises(AssertionError, match="11 answers"):
        evaluate_retrievers([Excessive("many", right)], QUERIES, CATALOG)


def test_small_catalogue_is_searched_whole():
    catalog = ToolCatalog(list(CATALOG.values())[:4])
    retriever = Fixed("all", lambda number: ["t1", "t0", "t2", "t3"])
    result = evaluate_retrievers([retriever], QUERIES[:4], catalog, depth=4)
    assert result.depth == 4 and result.methods["all"].scores.means["recall@10"] == 1
    assert evaluate_retrievers([retriever], QUERIES[:4], catalog).depth == 4


def test_subsets_are_reported_apart():
    odd = {query.id for query in QUERIES if int(query.text) % 2}
    result = figures(half, subsets={"odd": odd, "one": ["q0"], "nobody": []})
    assert result.subsets["odd"].queries == 75 and result.subsets["one"].queries == 1
    assert result.subsets["odd"].methods["method-0"].scores.means["ndcg@5"] == 1
    assert result.subsets["one"].methods["method-0"].scores.means["ndcg@5"] == 0
    assert "nobody" not in result.subsets
    assert result.subsets["odd"].methods["method-0"].latency is None
    with pytest.raises(InputError, match="'q999'"):
        figures(half, subsets={"wrong": ["q999"]})


def test_subset_counts_its_own_hallucinations():
    result = figures(lambda n: ["nothing"] if n < 10 else right(n), subsets={"early": ["q1", "q2", "q2", "q40"]})
    assert result.methods["method-0"].hallucinated == 10
    assert result.subsets["early"].queries == 3
    assert result.subsets["early"].methods["method-0"].hallucinated == 2


def test_latency_takes_turns_after_a_warm_up(monkeypatch):
    order = []

    class Noted(Fixed):
        def search(self, queries, k, *, groups=None):
            order.append((self.name, len(queries)))
            return super().search(queries, k)

    clock = iter(np.cumsum([0.0, 0.010, 0.0, 0.030] * 5))
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: float(next(clock)))
    retrievers = [Noted("a", right), Noted("b", right)]
    result = evaluate_retrievers(retrievers, QUERIES, CATALOG, latency_queries=5)
    alone = [name for name, count in order if count == 1]
    assert alone == ["a"] * 3 + ["b"] * 3 + ["a", "b", "b", "a", "a", "b", "b", "a", "a", "b"]
    # The clock gives 10 ms to whoever goes first and 30 ms to the other.
    assert result.methods["a"].latency.p50_ms == pytest.approx(10)
    assert result.methods["b"].latency.p50_ms == pytest.approx(30)
    assert result.methods["a"].latency.p95_ms == pytest.approx(30)
    timed = {texts for texts, _ in retrievers[0].asked if len(texts) == 1}
    assert timed == {("0",), ("37",), ("74",), ("111",), ("149",)}  # spread over all queries


def test_json_holds_what_it_promises():
    record = figures(right, half, subsets={"two": ["q1", "q2"]}).to_json()
    assert json.loads(json.dumps(record)) == record
    assert list(record) == ["method-0", "method-1", "queries", "tools", "depth", "split", "subsets"]
    keys = {*REPORTED, "ndcg@5_low", "ndcg@5_high", "hallucinated"}
    assert set(record["method-1"]) == keys | {"latency_p50_ms", "latency_p95_ms"}
    assert set(record["subsets"]["two"]) == {"queries", "method-0", "method-1"}
    assert set(record["subsets"]["two"]["method-1"]) == keys
    assert record["method-1"]["ndcg@5"] == 0.5 and record["split"] == ["test"]
    assert all(type(value) in (int, float) for value in record["method-0"].values())


@pytest.mark.parametrize("width", [80, 120])
def test_table_is_whole_at_80_columns(width):
    odd = {query.id for query in QUERIES if int(query.text) % 2}
    retrievers = [Fixed("generative", right), Fixed("bm25", half), Fixed("dense", second)]
    result = evaluate_retrievers(
        retrievers, QUERIES, CATALOG, subsets={"paraphrased": odd, "titles without the words": odd}
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(result.table())
    shown = console.file.getvalue()
    assert "…" not in shown
    rows = [line.split() for line in shown.splitlines()]
    bm25, odd_bm25, _ = (row for row in rows if row[:1] == ["bm25"])
    low, high = (f"{value:.3f}"[1:] for value in (result.methods["bm25"].ndcg5.low, result.methods["bm25"].ndcg5.high))
    assert bm25[1:5] == [".500", ".500", ".500", f"{low}-{high}"]
    assert odd_bm25[1:5] == ["1.00", "1.00", "1.00", "1.00-1.00"] and len(bm25) == len(odd_bm25) + 2 == 12
    assert ["paraphrased", "(75)"] in rows and ["titles", "without"] in rows
    assert "150 queries, 30 tools, depth 10, split test" in shown
    assert "generative 0, bm25 0, dense 0" in " ".join(shown.split())


def test_names_are_never_read_as_markup():
    queries = [Query("q", "1", ("t1",), split="[red]x[/oops]")]
    retriever = Fixed("[b]a", right)
    result = evaluate_retrievers([retriever], queries, CATALOG, subsets={"[/i]": ["q"]}, latency_queries=0)
    console = Console(file=io.StringIO(), width=80)
    console.print(result.table())
    assert all(text in console.file.getvalue() for text in ("[red]x[/oops]", "[b]a", "[/i] (1)"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123, "0.12"), (9.5, "9.50"), (28.73, "28.7"), (99.96, "100.0"), (123.4, "123"), (5123, "5123")],
)
def test_milliseconds_are_short(value, shown):
    assert evaluation._three_digits(value) == shown


def test_progress_rises_to_its_total():
    seen = []
    figures(right, half, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen)) and {total for _, total in seen} == {2 * (150 + 2)}
    assert seen[-1] == (304, 304)


@pytest.mark.parametrize(
    ("retrievers", "queries", "options", "said"),
    [
        ([], QUERIES, {}, "at least one"),
        ([Fixed("a", right), Fixed("a", half)], QUERIES, {}, "differ"),
        ([Fixed("tools", right)], QUERIES, {}, "keys of the JSON"),
        ([Fixed("a", right)], [], {}, "no query"),
        ([Fixed("a", right)], [QUERIES[0], QUERIES[0]], {}, "'q0' is used 2 times"),
        ([Fixed("a", right)], [Query("q", "1", ("t99",))], {}, "unknown tool 't99'"),
        ([Fixed("a", right)], QUERIES, {"depth": 5}, "depth is 5"),
        ([Fixed("a", right)], QUERIES, {"depth": 0}, "depth is 0"),
    ],
)
def test_bad_input_is_a_sentence(retrievers, queries, options, said):
    with pytest.raises(InputError, match=said):
        evaluate_retrievers(retrievers, queries, CATALOG, **options)
