"""Ranking figures: qrels and runs in, values a query, means and intervals out. Knows no retriever, model or torch.

Qrels are ``{query id: {gold tool: relevance}}`` with relevance 1, runs ``{query id: {tool: score}}``. All gold tools of
a query count, whether retrieved or not, and all queries of the qrels count: one without an answer scores 0. The
standard measures are trec_eval's, computed by pytrec_eval.

Shape legend: N queries, S resamples of them.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolgen.errors import InputError, require
from toolgen.queries import Query
from toolgen.retriever import Hit

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]

_TREC_NAMES = {
    **{f"ndcg@{k}": f"ndcg_cut_{k}" for k in (1, 3, 5, 10)},
    **{f"recall@{k}": f"recall_{k}" for k in (5, 10)},
    "mrr": "recip_rank",
}
MEASURES = (*_TREC_NAMES, "all_gold@5", *(f"ndcg_toolgen_published@{k}" for k in (1, 3, 5)))
"""Every measure that ``evaluate`` returns.

``mrr`` looks for the first gold tool in the whole run, however deep it is. ``all_gold@5`` is 1 when every gold tool is
among the first five, so a query with more than five gold tools scores 0: five answers cannot hold them.
``ndcg_toolgen_published@k`` is described at ``ndcg_toolgen_published``.
"""

DEEPEST_CUT = 10
"""Answers a query that a run must hold, where there are as many tools, for every measure to mean what it says."""

PUBLISHED_DEPTH = 5
"""Answers that ToolGen's public evaluation takes of its own model: it decodes with 5 beams."""

_RESAMPLED_AT_ONCE = 1 << 22
"""Bounds the memory of a bootstrap (32 MB of indices); the result does not depend on it in distribution."""


@dataclass(frozen=True)
class Interval:
    """Two-sided percentile interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much better a first method is than a second one on the same queries."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Scores:
    """Figures of one run.

    Attributes:
        per_query: Measure -> query id -> value between 0 and 1, the queries in the order of the qrels.
        means: Measure -> mean over all queries.
    """

    per_query: Mapping[str, Mapping[str, float]]
    means: Mapping[str, float]

    def subset(self, query_ids: Collection[str]) -> "Scores":
        """The same figures over some of the queries.

        Raises:
            InputError: ``query_ids`` is empty or names a query that was not evaluated.
        """
        known = self.per_query[MEASURES[0]]
        unknown = [query_id for query_id in query_ids if query_id not in known]
        if unknown or not query_ids:
            wrong = f"names {unknown[0]!r}, which was not evaluated" if unknown else "is empty"
            raise InputError(f"The subset of queries {wrong}. Give ids of the {len(known):,} evaluated queries.")
        wanted = set(query_ids)
        return _scores(
            {
                measure: {query_id: value for query_id, value in values.items() if query_id in wanted}
                for measure, values in self.per_query.items()
            }
        )

    def interval(self, measure: str, *, resamples: int = 10_000, seed: int = 0) -> Interval:
        """95% bootstrap interval of the mean of a measure; see ``bootstrap_interval``."""
        return bootstrap_interval(list(self.per_query[measure].values()), resamples=resamples, seed=seed)


def qrels_of(queries: Iterable[Query]) -> dict[str, dict[str, int]]:
    """The qrels of labelled queries: every gold tool with relevance 1."""
    return {query.id: dict.fromkeys(query.tools, 1) for query in queries}


def run_from_hits(hits: Sequence[Hit]) -> dict[str, float]:
    """One query's part of a run, scored by rank: -1 for the first hit, -2 for the second.

    A retriever's own scores may be equal, or differ only beyond 32-bit floats; ranks keep the order it chose.
    """
    run = {hit.tool: -float(rank) for rank, hit in enumerate(hits, start=1)}
    assert len(run) == len(hits), "a tool is repeated among the hits of one query"
    return run


def evaluate(qrels: Qrels, run: Run) -> Scores:
    """Compute ``MEASURES`` for every query of the qrels.

    Tools are ranked by score, equal scores by descending tool id as trec_eval does it. A query that is absent from
    the run, or has no answer there, scores 0 and stays in the mean.

    Args:
        qrels: At least one query; each at least one gold tool.
        run: May leave queries out. The cut-offs of ``MEASURES`` assume that it holds at least ``DEEPEST_CUT`` answers
            a query, or all tools.

    Raises:
        InputError: The qrels are empty, a query lacks gold tools or has another relevance than 1, or the run names a
            query that the qrels lack or scores that are not numbers.

    Example:
        >>> scores = evaluate({"q": {"a": 1, "b": 1, "c": 1}}, {"q": {"a": 0.9, "z": 0.1}})
        >>> round(scores.means["ndcg@5"], 3), scores.means["ndcg_toolgen_published@5"]
        (0.469, 1.0)
    """
    _check(qrels, run)
    pytrec_eval = require("pytrec_eval", purpose="Evaluation", pip_name="pytrec-eval-terrier")
    rankings = {query_id: ranking(run.get(query_id, {})) for query_id in qrels}
    # Scores from ranks: trec_eval may hold scores as 32-bit floats and would then order near-equal ones by id.
    by_rank = {
        query_id: {tool: -float(rank) for rank, tool in enumerate(tools)} for query_id, tools in rankings.items()
    }
    evaluator = pytrec_eval.RelevanceEvaluator(
        {query_id: dict(gold) for query_id, gold in qrels.items()}, {"ndcg_cut.1,3,5,10", "recall.5,10", "recip_rank"}
    )
    trec = evaluator.evaluate(by_rank)
    per_query = {
        measure: {query_id: trec[query_id][name] for query_id in qrels} for measure, name in _TREC_NAMES.items()
    }
    per_query["all_gold@5"] = {
        query_id: float(set(qrels[query_id]) <= set(tools[:5])) for query_id, tools in rankings.items()
    }
    for k in (1, 3, 5):
        per_query[f"ndcg_toolgen_published@{k}"] = {
            query_id: ndcg_toolgen_published(qrels[query_id], tools, k) for query_id, tools in rankings.items()
        }
    return _scores(per_query)


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Tools by descending score, equal scores by descending id, as trec_eval orders them."""
    return sorted(scores, key=lambda tool: (scores[tool], tool), reverse=True)


def tie_aware_run(qrels: Qrels, run: Run, documents: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The run as it is for someone who reads documents and cannot tell tools with equal documents apart.

    An answer whose document equals a gold tool's stands for the first gold tool with this document that no earlier
    answer stands for. Where none is left it leaves the ranking, and later answers move up: a second tool with the same
    text costs nothing and gains nothing. Every other answer stays, one that is no tool at all among them.

    ``evaluate`` of the result with the same qrels gives the tie-aware figures. No standard one is below the strict
    figure, all are equal to it where no document of a gold tool occurs twice, and it does not matter which of several
    equal tools were answered.

    Args:
        qrels: As for ``evaluate``.
        run: As for ``evaluate``; its queries must be in the qrels.
        documents: Tool id -> ``Tool.document()``, for every gold tool at least.

    Example:
        >>> same = {"gold": "Sends mail.", "twin": "Sends mail.", "other": "Reads mail."}
        >>> tie_aware_run({"q": {"gold": 1}}, {"q": {"twin": 3.0, "gold": 2.0, "other": 1.0}}, same)
        {'q': {'gold': -1.0, 'other': -2.0}}
    """
    return {query_id: _tie_aware(qrels[query_id], ranking(scores), documents) for query_id, scores in run.items()}


def _tie_aware(gold: Iterable[str], tools: Sequence[str], documents: Mapping[str, str]) -> dict[str, float]:
    wanted: dict[str, list[str]] = {}
    for tool in gold:
        wanted.setdefault(documents[tool], []).append(tool)
    left = {document: iter(same) for document, same in wanted.items()}
    # An answer that is no tool has no document.
    read = ((tool, documents.get(tool)) for tool in tools)
    seen = [next(left[document], None) if document in left else tool for tool, document in read]
    return {tool: -float(rank) for rank, tool in enumerate((tool for tool in seen if tool is not None), start=1)}


def ndcg_toolgen_published(gold: Collection[str], tools: Sequence[str], k: int) -> float:
    """NDCG@k as in ToolGen's public evaluation (arXiv 2410.03439, ``compute_ndcg`` of its code): NOT the standard one.

    Only gold tools among the first ``PUBLISHED_DEPTH`` answers count in the ideal ranking, so what is missed costs
    nothing: one hit at rank 1 of three gold tools gives 1.0 at any k, where the standard NDCG@5 is 0.469.

    Args:
        gold: Ids of the gold tools.
        tools: Ids of the answers, best first.
        k: Cut-off, at most ``PUBLISHED_DEPTH``.
    """
    relevant = [tool in gold for tool in tools[:PUBLISHED_DEPTH]]
    found = sum(relevant)
    if not found:
        return 0.0
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(relevant[:k], start=1) if hit)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, found) + 1))


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of a mean, resampling queries with replacement.

    Args:
        values: One a query, at least one, [N].
        resamples: Number of resampled means.
        level: Share of the resampled means inside the interval.
        seed: Of numpy's generator; the same seed and values give the same interval.
    """
    means_S = _resampled_means(np.asarray(values, dtype=np.float64), resamples, seed)
    low, high = np.quantile(means_S, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_share(
    parts: Sequence[float], wholes: Sequence[float], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of ``sum(parts) / sum(wholes)`` where what is counted hangs together in units, such
    as the calls of a trajectory: units are resampled with replacement, each as a whole.

    Args:
        parts: What is counted, one number a unit, [N]; may be negative, as a difference is.
        wholes: Of how many, likewise, [N]; not all are 0.
        resamples: Number of resampled shares; those in which all wholes are 0 are left out.
        level: Share of the resampled shares inside the interval.
        seed: As for ``bootstrap_interval``.
    """
    assert len(parts) == len(wholes) and any(wholes), "a share is of something"
    # The same seed draws the same units for both.
    parts_S, wholes_S = (
        _resampled_means(np.asarray(values, dtype=np.float64), resamples, seed) for values in (parts, wholes)
    )
    shares = parts_S[wholes_S > 0] / wholes_S[wholes_S > 0]
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_difference(
    first: Mapping[str, float], second: Mapping[str, float], *, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Mean of ``first - second`` with its 95% interval by paired bootstrap: both are resampled on the same queries.

    Args:
        first: Query id -> value of one measure, such as ``scores.per_query["ndcg@5"]``.
        second: The same queries, in any order, by another method.

    Raises:
        InputError: The two are not about the same queries.
    """
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise InputError(
            f"A paired comparison needs both methods on the same queries; {len(odd)} are in one only, such as "
            f"{odd[0]!r}. Evaluate both on the same file."
        )
    differences = [value - second[query_id] for query_id, value in first.items()]
    interval = bootstrap_interval(differences, resamples=resamples, seed=seed)
    return Difference(float(np.mean(differences)), interval)


def _resampled_means(values_N: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    assert values_N.ndim == 1 and values_N.size, "a mean needs at least one value"
    generator = np.random.default_rng(seed)
    count = values_N.size
    means_S = np.empty(resamples)
    step = max(1, _RESAMPLED_AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn_SN = generator.integers(0, count, size=(min(step, resamples - start), count))
        means_S[start : start + step] = values_N[drawn_SN].mean(axis=1)
    return means_S


def _scores(per_query: Mapping[str, Mapping[str, float]]) -> Scores:
    return Scores(per_query, {measure: float(np.mean([*values.values()])) for measure, values in per_query.items()})


def _check(qrels: Qrels, run: Run) -> None:
    if not qrels:
        raise InputError("There is no query to evaluate. Give at least one query with its gold tools.")
    for query_id, gold in qrels.items():
        if not gold or any(relevance != 1 for relevance in gold.values()):
            raise InputError(
                f"Query {query_id!r} has the gold tools {dict(gold)}; at least one is needed, each with relevance 1. "
                "Leave out tools that are not gold."
            )
    if unknown := [query_id for query_id in run if query_id not in qrels]:
        raise InputError(
            f"The run answers query {unknown[0]!r}, which the qrels lack ({len(unknown)} such queries; the qrels hold "
            f"{len(qrels):,}). Evaluate the run with the queries that it was made for."
        )
    for query_id, scores in run.items():
        if broken := [tool for tool, score in scores.items() if not math.isfinite(score)]:
            raise InputError(
                f"The run scores tool {broken[0]!r} for query {query_id!r} with {scores[broken[0]]}. Scores must be "
                "finite numbers; derive them from ranks with `run_from_hits`."
            )
