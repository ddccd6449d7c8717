"""Comparisons of the cells of the study of tool rows. Knows outcomes and intervals; no states, no files, no page."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolgen.benchmarks.report_data import INDISTINCT, signed, verdict
from toolgen.benchmarks.toolken_cells import NEIGHBOUR, Measure, Method, Outcome, Place
from toolgen.embeddings import Progress
from toolgen.metrics import Difference, Interval, bootstrap_interval, paired_difference

ARROWS = {"above": "▲", "below": "▼", INDISTINCT: "≈"}
"""By the verdict on a difference."""

Outcomes = Mapping[tuple[Place, Method], tuple[Outcome, ...]]
Rates = Mapping[tuple[Place, Method], float]


@dataclass(frozen=True)
class SetFacts:
    """What the page says of a data set.

    Attributes:
        title: Its name.
        tools: All of them.
        train: Training texts.
        validation: Validation texts.
        measures: What is measured.
    """

    title: str
    tools: int
    train: int
    validation: int
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Results:
    """All outcomes of a study.

    Attributes:
        few: Places with few examples, where all methods were tried.
        curve: Places with fewer tools, fewest first.
        full: Places with all examples.
        methods: Trainings; the nearest neighbour comes on top.
        published: Names of those that were published; the first is what the others are compared with.
        outcomes: One a seed.
        rates: Of learning.
        sets: By name of the data.
        seeds: Of every training.
        origin: How it was made.
    """

    few: tuple[Place, ...]
    curve: tuple[Place, ...]
    full: tuple[Place, ...]
    methods: tuple[Method, ...]
    published: Mapping[str, Method]
    outcomes: Outcomes
    rates: Rates
    sets: Mapping[str, SetFacts]
    seeds: tuple[int, ...]
    origin: Mapping[str, str]

    @property
    def baseline(self) -> Method:
        """What the other published ones are compared with."""
        return next(iter(self.published.values()))

    @property
    def subjects(self) -> list[tuple[str, Measure]]:
        """Data with few examples, and what is measured there."""
        names = dict.fromkeys(place.data for place in self.few)
        return [(name, measure) for name in names for measure in self.sets[name].measures]

    def name(self, method: Method) -> str:
        """As published, or in words."""
        return next((name for name, one in self.published.items() if one == method), method.name)

    def values(self, place: Place, method: Method, figure: str) -> list[float]:
        """A figure by its name, blanks for its underscores; one a seed."""
        field = figure.replace(" ", "_").lower()
        return [getattr(one.figures, field) for one in self.outcomes[place, method]]


@dataclass(frozen=True)
class Finding:
    """A comparison of two methods at one place.

    Attributes:
        question: ``prior``, ``direction``, ``size``, ``pull`` or ``pooling`` with few examples; ``published`` of the
            published methods elsewhere.
        first: What may be better.
        second: Than this.
        place: Where.
        measure: In what.
        difference: By how much.
    """

    question: str
    first: Method
    second: Method
    place: Place
    measure: Measure
    difference: Difference


def difference(first: Iterable[Outcome], second: Iterable[Outcome], measure: Measure) -> Difference:
    """How much better a first method is on the same test texts, by paired bootstrap over texts.

    A text's value is its mean over all outcomes of a method, which are those of its seeds.
    """
    one, other = (_mean_by_text(outcomes, measure) for outcomes in (first, second))
    return paired_difference(one, other)


def findings(results: Results, progress: Progress | None = None) -> list[Finding]:
    """Every comparison that the study asks for, in the order of its questions.

    Args:
        results: Of the study.
        progress: Told comparisons done and all.
    """
    others = [method for method in results.published.values() if method != results.baseline]
    asked = [(few, *pair) for few in results.few for pair in _questions(results)]
    asked += [
        (place, "published", other, results.baseline)
        for place in dict.fromkeys((*results.curve, *results.full))
        for other in (*others, NEIGHBOUR)
    ]
    todo = [(*one, measure) for one in asked for measure in results.sets[one[0].data].measures]
    found = []
    for number, (place, question, first, second, measure) in enumerate(todo, start=1):
        lead = difference(results.outcomes[place, first], results.outcomes[place, second], measure)
        found.append(Finding(question, first, second, place, measure, lead))
        if progress is not None:
            progress(number, len(todo))
    return found


def interval(outcomes: Iterable[Outcome], measure: Measure) -> Interval:
    """Where the mean of a method over its seeds lies on other texts of the kind: a bootstrap over texts."""
    return bootstrap_interval(list(_mean_by_text(outcomes, measure).values()))


def shown(one: Difference) -> str:
    """A difference with its interval."""
    return f"{ARROWS[verdict(one)]} {signed(one.mean)} ({signed(one.interval.low)} to {signed(one.interval.high)})"


def tested_on(results: Results, place: Place) -> str:
    """On what figures were taken."""
    facts, seen = results.sets[place.data], results.outcomes[place, NEIGHBOUR][0].calls_T
    seeds = f"{'seeds' if len(results.seeds) > 1 else 'seed'} {', '.join(map(str, results.seeds))}"
    return (
        f"{facts.title}, test split, {len(seen):,} texts with {sum(seen):,} calls of {place.tools} tools; "
        f"mean over {seeds}"
    )


def _questions(results: Results) -> Iterator[tuple[str, Method, Method]]:
    """What to compare with what: both differ in one thing."""
    for method in results.published.values():
        if method != results.baseline:
            yield "prior", method, results.baseline
    for method in results.methods:
        if method.start is not None and method.start.kind != "random":
            chance = replace(method, start=replace(method.start, kind="random"))
            if chance in results.methods:
                yield "direction", method, chance
    starts = [method.start for method in results.methods if method.start is not None and method.pull is None]
    for start in starts:
        if start.scale == "word":
            yield "size", Method(start), Method(replace(start, scale="small"))
    for method in results.methods:
        if method.pull is not None:
            yield "pull", method, Method(method.start)
    for start in starts:
        if start.pooling != "mean":
            yield "pooling", Method(start), Method(replace(start, pooling="mean"))


def _mean_by_text(outcomes: Iterable[Outcome], measure: Measure) -> Mapping[str, float]:
    mean_T = np.mean([outcome.values_T(measure) for outcome in outcomes], axis=0)
    return {str(number): float(value) for number, value in enumerate(mean_T)}
