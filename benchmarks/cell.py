"""What a comparison is made of: what was compared, cells with their scores and answers, what is known of tools. Knows
no files; ``results`` reads and writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from toolgen.files import fingerprint
from toolgen.queries import Query

STRICT = ("ndcg@1", "ndcg@5", "recall@5")
TIE_AWARE = "ndcg@5_tie_aware"
SCORES = (*STRICT, TIE_AWARE)
"""Measures that a cell holds query by query."""

KEPT_ANSWERS = 5
"""Answers to a query that a cell holds."""

# Written as they are, what is no number is found when the written is checked; else it would become null.
_STRICT_TYPES = ConfigDict(extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


@dataclass(frozen=True)
class Comparison:
    """What was compared on what.

    Attributes:
        name: Such as ``"quick"``.
        catalog: Fingerprint of the catalogue.
        splits: Fingerprint of the labelled queries with their splits.
        split_kind: What training and test do not share: near-duplicate queries, gold tools, or domains.
        train: Split that was trained on.
        validation: Split that training looked at.
        test: Split of all figures.
        tools: Tools that every method searched.
        train_queries: Queries of ``train``.
        validation_queries: Queries of ``validation`` that were looked at.
        test_queries: Queries of ``test``.
        depth: Answers that every method was asked for.
        planned: Cells that the whole comparison has, as names of their files without ``.json``.
        configuration: What the comparison was told; must hold no secret.
        code_version: Of this library.
        libraries: Package -> version.
    """

    __pydantic_config__ = _STRICT_TYPES

    name: str
    catalog: str
    splits: str
    split_kind: Literal["query", "tool", "domain"]
    train: str
    validation: str
    test: str
    tools: int
    train_queries: int
    validation_queries: int
    test_queries: int
    depth: int
    planned: tuple[str, ...]
    configuration: Mapping[str, Any]
    code_version: str
    libraries: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Changes with what figures depend on whatever the method: data and depth. Every cell carries it."""
        return fingerprint(
            [self.catalog, self.splits, self.split_kind, self.train, self.validation, self.test, self.depth]
        )


@dataclass(frozen=True)
class Answer:
    """A tool that a method answered, or what it answered instead of one, and the method's own score."""

    __pydantic_config__ = _STRICT_TYPES

    tool: str
    score: float


@dataclass(frozen=True)
class CurvePoint:
    """What was seen at a step of a stage of training. ``ndcg5``, on disk ``ndcg@5``, is that of validation queries."""

    __pydantic_config__ = _STRICT_TYPES

    stage: str
    step: int
    loss: float | None = None
    ndcg5: Annotated[float | None, Field(alias="ndcg@5")] = None


@dataclass(frozen=True)
class CellResult:
    """What one method with one seed reached.

    Attributes:
        comparison: ``Comparison.fingerprint``.
        method: Name that tells it from every other method, such as ``"atomic, no memorization"``.
        family: ``generative`` or ``baseline``.
        scheme: Indexing scheme; None for baselines, as are the next three.
        prior: What new rows started from.
        plan: Which parameters trained.
        ablation: What was left out; None where nothing was.
        seed: None where nothing is random.
        tokens_a_tool: Mean over the catalogue; None for baselines.
        minutes: Of training; None where nothing was trained.
        latency_p50_ms: Of one query at a time; None where it was not measured.
        latency_p95_ms: Likewise.
        hallucinated: Answers, of ``depth`` a query, that are no tool of the catalogue or repeat an earlier one.
        figures: Measure -> mean over all queries, as ``MethodFigures.to_json`` gives them.
        scores: Each of ``SCORES`` -> query id -> value; see ``kept_scores``.
        answers: Query id -> the first ``KEPT_ANSWERS``, best first.
        curves: In order of training.
        manifest: Hashes of configuration and artefacts, versions, whatever tells where the cell came from.
    """

    __pydantic_config__ = _STRICT_TYPES

    comparison: str
    method: str
    family: Literal["generative", "baseline"]
    scheme: str | None
    prior: str | None
    plan: str | None
    ablation: str | None
    seed: int | None
    tokens_a_tool: float | None
    minutes: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    hallucinated: int
    figures: Mapping[str, float]
    scores: Mapping[str, Mapping[str, float]]
    answers: Mapping[str, tuple[Answer, ...]]
    curves: tuple[CurvePoint, ...] = ()
    manifest: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class KnownTool:
    """What reports say of a tool.

    Attributes:
        id: As in the catalogue.
        name: Likewise.
        group: Likewise.
        category: What its metadata call so.
        training_queries: Labelled queries of the training split whose gold tool it is.
        twins: Fingerprint of its document where another tool has the same document, else None.
    """

    __pydantic_config__ = _STRICT_TYPES

    id: str
    name: str
    group: str | None
    category: str | None
    training_queries: int
    twins: str | None


@dataclass(frozen=True)
class Results:
    """A comparison with the cells that are finished; everything in it agrees.

    Attributes:
        comparison: What was compared on what.
        queries: The test queries.
        tools: Tool id -> what reports say of it, for the whole catalogue.
        cells: In order of their files' names; at least one.
    """

    comparison: Comparison
    queries: tuple[Query, ...]
    tools: Mapping[str, KnownTool]
    cells: tuple[CellResult, ...]
