"""Cells of the study of tool rows: one training, or the nearest neighbour, measured on the test texts. Knows states and
rows; no files, no comparisons, and not which cells are wanted.

Legend: ``T`` test texts, ``n`` labels of all texts, ``S`` rows, ``D`` width.
"""

import hashlib
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from toolgen.base import Base
from toolgen.files import fingerprint
from toolgen.priors import Prior
from toolgen.regularizer import RegularizerConfig
from toolgen.toolken.fitting import FitConfig, fit_rows
from toolgen.toolken.measures import Decisions, Figures, best_bias, decide, decide_by_neighbour, figures
from toolgen.toolken.states import TextStates
from toolgen.toolken.toolkens import start_rows
from toolgen.toolken.training import PreparedTexts
from toolgen.tools import ToolCatalog
from toolgen.version import code_version

EPOCHS = 10
"""As published."""

_FORMAT = 1
"""Raise it when the same cell gives other figures."""
_ORDER = 0
"""Seed of the order in which tools are taken where a cell has fewer than all."""

Direction = Literal["random", "name", "hidden", "description"]
Scale = Literal["small", "word", "linear"]
Measure = Literal["tool accuracy", "exact F1"]


@dataclass(frozen=True)
class Start:
    """Where rows start: ``Prior``'s kind, scale and pooling."""

    kind: Direction
    scale: Scale
    pooling: Literal["mean", "max"] = "mean"

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.kind}{' by maximum' if self.pooling == 'max' else ''}, {self.scale}"


@dataclass(frozen=True)
class Method:
    """How tools are chosen.

    Attributes:
        start: Where rows start; None: no rows, but the nearest neighbour.
        pull: Towards the start; None: none.
    """

    start: Start | None
    pull: RegularizerConfig | None = None

    @property
    def name(self) -> str:
        """In words."""
        if self.start is None:
            return "nearest neighbour"
        pull = f", pull {self.pull.weight:g} {self.pull.distance}" if self.pull is not None else ""
        return f"{self.start.name}{pull}"


NEIGHBOUR = Method(None)


@dataclass(frozen=True)
class Place:
    """What a method is tried on.

    Attributes:
        data: Name of the texts.
        tools: How many; the fewer are among the more.
        examples: Training texts a tool, at least, where there are as many; None: all texts.
    """

    data: str
    tools: int
    examples: int | None


@dataclass(frozen=True)
class Cell:
    """One training, or one search for neighbours, where ``rate`` says nothing and is None.

    Attributes:
        place: On what.
        method: How.
        rate: Of learning.
        seed: Of the texts that are drawn, their order, and random rows.
    """

    place: Place
    method: Method
    rate: float | None
    seed: int

    def record(self) -> dict[str, Any]:
        """JSON-serialisable."""
        pull = self.method.pull.model_dump() if self.method.pull is not None else None
        start = asdict(self.method.start) if self.method.start is not None else None
        return {**asdict(self.place), "start": start, "pull": pull, "rate": self.rate, "seed": self.seed}


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        figures: On the test texts.
        calls_T: Calls of each test text.
        right_T: Those at which the best row is the right one.
        triggers_T: Places of each test text where a tool is called under the bias; empty where words are no labels.
        hits_T: Those where the text calls this very tool.
        validation: Mean loss of a validation label; None without rows.
        kept: Epochs after which rows were kept.
        seconds: Of all.
        code: Version of the code.
    """

    figures: Figures
    calls_T: tuple[int, ...]
    right_T: tuple[int, ...]
    triggers_T: tuple[int, ...]
    hits_T: tuple[int, ...]
    validation: float | None
    kept: int
    seconds: float
    code: str

    def values_T(self, measure: Measure) -> NDArray[np.float64]:
        """One value a text, whose mean is the measure, and whose mean over resampled texts is what it would be there.

        Both measures are quotients of sums over texts; this is their expansion to the first order. Where every text
        has one call, the tool accuracy's are 0 and 1.
        """
        if measure == "tool accuracy":
            above_T, below_T = np.array(self.right_T, float), np.array(self.calls_T, float)
        else:
            above_T, below_T = 2.0 * np.array(self.hits_T), np.add(self.triggers_T, self.calls_T, dtype=float)
        ratio = above_T.sum() / below_T.sum()
        return ratio + (above_T - ratio * below_T) / below_T.mean()


@dataclass(frozen=True)
class TextSet:
    """Texts to try methods on.

    Attributes:
        name: Of the data.
        catalog: All tools.
        prepared: The texts; their labels number the chosen tools.
        words: Whether words are labels too.
        batch: Texts a step of training.
        chosen: Numbers of the tools in the catalogue, one a row.
    """

    name: str
    catalog: ToolCatalog
    prepared: PreparedTexts
    words: bool
    batch: int
    chosen: tuple[int, ...]

    @cached_property
    def key(self) -> str:
        """Of all that figures hang on beside the cell."""
        states = self.prepared.states
        # The sums tell models and texts apart, and are small beside the states.
        told = [hashlib.sha256(column.tobytes()).hexdigest() for column in (states.sums_n, states.labels_n)]
        parts = [self.prepared.train, self.prepared.validation, self.prepared.test]
        return fingerprint(
            [_FORMAT, EPOCHS, self.batch, told, self.catalog.fingerprint, self.chosen, self.words, parts]
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Where words are no labels, it is known that a tool is called."""
        return ("tool accuracy", "exact F1") if self.words else ("tool accuracy",)


class Starts:
    """Rows where they start, each computed once, for all tools of a catalogue."""

    def __init__(self, base: Base) -> None:
        """
        Args:
            base: Its word rows and states make the rows.
        """
        self._base = base
        self._found: dict[tuple[str, Start, int], Tensor] = {}

    def rows(self, texts: TextSet, start: Start, seed: int) -> Tensor:
        """The rows of the chosen tools, ``[S, D]``; the seed is that of random ones."""
        key = (texts.catalog.fingerprint, start, seed if start.kind == "random" else 0)
        if key not in self._found:
            prior = Prior(kind=start.kind, scale=start.scale, pooling=start.pooling, seed=key[2])
            self._found[key] = start_rows(prior, self._base, texts.catalog)
        return self._found[key][list(texts.chosen)]


def restricted(texts: TextSet, count: int) -> TextSet:
    """Some of the tools, and the texts that call no others.

    Which tools is the same for every seed and method, and fewer are among more.
    """
    if count == len(texts.chosen):
        return texts
    chosen = np.sort(np.random.default_rng(_ORDER).permutation(len(texts.catalog))[:count])
    row_S = np.full(len(texts.catalog), -1)
    row_S[chosen] = np.arange(count)
    states, prepared = texts.prepared.states, texts.prepared
    labels_n = np.asarray(states.labels_n)
    tools_n = labels_n - states.first_id
    fewer = copy(states)
    fewer.labels_n = np.where(tools_n < 0, labels_n, states.first_id + row_S[np.maximum(tools_n, 0)])
    parts = {
        name: tuple(number for number in getattr(prepared, name) if (row_S[_called(states, number)] >= 0).all())
        for name in ("train", "validation", "test")
    }
    return replace(texts, prepared=replace(prepared, states=fewer, **parts), chosen=tuple(chosen.tolist()))


def drawn(texts: TextSet, examples: int | None, seed: int) -> tuple[int, ...]:
    """Numbers of training texts, in an order of the seed, each taken while a tool that it calls has too few.

    Of the same seed, those for few examples are among those for more.
    """
    if examples is None:
        return texts.prepared.train
    taken_S = np.zeros(len(texts.chosen), int)
    found = []
    for number in np.random.default_rng(seed).permutation(texts.prepared.train).tolist():
        tools = np.unique(_called(texts.prepared.states, number))
        if (taken_S[tools] < examples).any():
            taken_S[tools] += 1
            found.append(number)
    return tuple(found)


def run_cell(cell: Cell, texts: TextSet, starts: Starts) -> Outcome:
    """Train and measure; the same cell gives the same figures.

    Args:
        cell: What to do.
        texts: Of its place.
        starts: Where rows start.
    """
    started = time.perf_counter()
    prepared, method = texts.prepared, cell.method
    known = drawn(texts, cell.place.examples, cell.seed)
    fit = None
    if method.start is not None:
        assert cell.rate is not None, "rows are trained at some rate"
        config = FitConfig(
            epochs=EPOCHS, batch_size=texts.batch, learning_rate=cell.rate, regularizer=method.pull, seed=cell.seed
        )
        start_SD = starts.rows(texts, method.start, cell.seed)
        fit = fit_rows(prepared.states, known, start_SD, config, validation=prepared.validation)

    def decided(numbers: Sequence[int]) -> Decisions:
        if fit is None:
            return decide_by_neighbour(prepared.states, known, numbers)
        return decide(prepared.states, numbers, fit.rows_SD)

    bias = best_bias(decided(prepared.validation)) if texts.words else 0.0
    test = decided(prepared.test)
    calls_n = test.gold_n >= 0
    right_n = calls_n & (test.tool_n == test.gold_n)
    triggers_n = test.margin_n + bias > 0
    return Outcome(
        figures(test, bias),
        _by_text(test, calls_n),
        _by_text(test, right_n),
        _by_text(test, triggers_n) if texts.words else (),
        _by_text(test, triggers_n & right_n) if texts.words else (),
        min(fit.validation) if fit is not None else None,
        fit.kept if fit is not None else 0,
        time.perf_counter() - started,
        code_version(),
    )


def _by_text(decisions: Decisions, which_n: NDArray[np.bool_]) -> tuple[int, ...]:
    _, text_n = np.unique(decisions.text_n, return_inverse=True)
    return tuple(np.bincount(text_n, which_n).astype(int).tolist())


def _called(states: TextStates, number: int) -> NDArray[np.int64]:
    """Numbers of the rows that a text calls."""
    labels_n = np.asarray(states.labels_n[states.offsets[number] : states.offsets[number + 1]])
    return labels_n[labels_n >= states.first_id] - states.first_id
