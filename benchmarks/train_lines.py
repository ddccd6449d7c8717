"""Whole steps of training, line by line: the published way, ours ingredient by ingredient, and cheaper plans.

Every line makes one pass over the same examples, from the collator to the optimiser's step. ``published`` is the recipe
of ToolGen (arXiv 2410.03439): random order, padded to the longest, logits at every position, AdamW over all weights.
The lines with a plus add to the one above them; the plans that follow keep what was added, but for checkpointing.

MFU is ``(t P n + w D V m + r D S m) / seconds / peak``: ``n`` real tokens and ``m`` labels, ``P`` weights of the
layers, width ``D``, ``V`` rows of words and ``S`` of tools. A weight costs 2 FLOPs a token forward, 2 more for its
input's gradient and 2 for its own, so full training has ``t = w = r = 6``; ``_Costs`` has the others. Attention,
padding, recomputation and logits that no label asks for are no useful work and count nothing.

Knows the parts; nothing of tables.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.benchmarks import speed
from toolgen.benchmarks.speed import Method, peak_megabytes, random_llama, take_turns
from toolgen.benchmarks.train_parts import (
    OUTPUT_ROWS,
    Batch,
    Loss,
    Material,
    Row,
    Settings,
    Trained,
    labelled_loss,
    published_loss,
)
from toolgen.cached import StateDataset, cache_states, cached_loss, collate_states
from toolgen.plans import TrainPlan
from toolgen.training import CodeCollator


class _Costs(NamedTuple):
    """FLOPs a weight and token, or label, of the layers, the words' rows and the tools'."""

    layers: int
    words: int
    tools: int


_FULL = _Costs(6, 6, 6)
_THROUGH = _Costs(4, 4, 6)  # The layers stand still and pass gradients on; adapters' own work is left out.
_OUTPUT = _Costs(2, 2, 4)
_PASS = _Costs(2, 2, 0)
_CACHED = _Costs(0, 0, 4)


@dataclass(frozen=True)
class Line:
    """A way to train.

    Attributes:
        name: In the table.
        turn: All its steps.
        probe: What needs most memory.
        held: Bytes that it holds besides: weights and the optimiser's state.
        costs: Its useful work.
        bf16: How it computes.
    """

    name: str
    turn: Method
    probe: Method
    held: Callable[[], int]
    costs: _Costs
    bf16: bool


def measure_lines(texts: Material, settings: Settings, peaks: Mapping[bool, float]) -> list[Row]:
    """All lines on the same examples, taking turns.

    Args:
        texts: The examples.
        settings: How they are trained on.
        peaks: From ``peak_flops``, without bf16 and with it.
    """
    with TemporaryDirectory() as folder:
        base = random_llama(speed.TRUNKS[settings.trunk], speed.WORDS + texts.tools)
        lines = [*_full_lines(base, texts, settings), *_plan_lines(base, texts, settings, Path(folder))]
        seconds = take_turns({line.name: line.turn for line in lines}, settings.repeats, settings.device)
        memory = {line.name: line.held() / 1e6 + peak_megabytes(line.probe, settings.device) for line in lines}
    layers, states = layer_weights(base), texts.labels * base.config.hidden_size
    rows = []
    for line in lines:
        taken, costs = seconds[line.name], line.costs
        useful = costs.layers * layers * texts.tokens
        useful += states * (costs.words * speed.WORDS + costs.tools * texts.tools)
        rows.append(
            Row(
                part=f"steps, {settings.trunk}",
                line=line.name,
                seconds=taken,
                tokens_per_second=texts.tokens / taken,
                samples_per_second=len(texts.examples) / taken,
                memory_mb=memory[line.name],
                mfu=useful / taken / peaks[line.bf16],
                factor=seconds[lines[0].name] / taken,
            )
        )
    return rows


def _full_lines(base: PreTrainedModel, texts: Material, settings: Settings) -> Iterator[Line]:
    full = Trained(copy.deepcopy(base), TrainPlan(), settings.device)
    labelled, bf16 = partial(labelled_loss, full.model), settings.bf16
    padded, packed = CodeCollator(texts.end_id), CodeCollator(texts.end_id, settings.row_tokens)
    shuffled, by_length = texts.shuffled(settings.batch), texts.by_length(settings.batch)
    yield _line("published", full, partial(published_loss, full.model), _FULL, bf16, texts.batches(padded, shuffled))
    yield _line("+labelled", full, labelled, _FULL, bf16, texts.batches(padded, shuffled))
    yield _line("+sorted", full, labelled, _FULL, bf16, texts.batches(padded, by_length))
    yield _line("+packed", full, labelled, _FULL, bf16, texts.batches(packed, by_length))
    if settings.adds_bf16:
        bf16 = True
        yield _line("+bf16", full, labelled, _FULL, bf16, texts.batches(packed, by_length))
    if settings.compiled:
        swift = Trained(copy.deepcopy(base), TrainPlan(), settings.device)
        swift.model.base_model.compile(dynamic=True)
        loss = partial(labelled_loss, swift.model)
        yield _line("+compile", swift, loss, _FULL, bf16, texts.batches(packed, by_length))
    loss = partial(_recomputing_loss, full.model)
    yield _line("+checkpointing", full, loss, _FULL, bf16, texts.batches(packed, by_length))


def _plan_lines(base: PreTrainedModel, texts: Material, settings: Settings, folder: Path) -> Iterator[Line]:
    bf16 = settings.bf16 or settings.adds_bf16
    packed, by_length = CodeCollator(texts.end_id, settings.row_tokens), texts.by_length(settings.batch)
    for name, plan, costs in (
        ("rows+lora", TrainPlan(train="rows+lora"), _THROUGH),
        ("rows", TrainPlan(train="rows"), _THROUGH),
        ("output rows", OUTPUT_ROWS, _OUTPUT),
    ):
        trained = Trained(copy.deepcopy(base), plan, settings.device)
        batches = texts.batches(packed, by_length)
        yield _line(name, trained, partial(labelled_loss, trained.model), costs, bf16, batches)

    # What is cached are the states of the last plan's model.
    def cached(name: str, places: Sequence[int]) -> StateDataset:
        examples = texts.examples.select(places)
        return cache_states(trained.model, examples, texts.end_id, folder / name, batch=settings.batch, bf16=bf16)

    everywhere = range(len(texts.examples))
    # Batches of the pass are of like lengths.
    longest = np.argsort(texts.lengths)[-settings.batch :].tolist()
    turn, probe = partial(cached, "turn", everywhere), partial(cached, "probe", longest)
    yield Line("the one pass", turn, probe, trained.nbytes, _PASS, bf16)
    states = cached("states", everywhere)

    def batch(places: Sequence[int]) -> Batch:
        return collate_states([states[place] for place in places])

    batches = [partial(batch, places) for places in by_length]

    def loss(batch: Batch) -> Tensor:
        return cached_loss(trained.model, batch).whole

    yield _line("cached states", trained, loss, _CACHED, bf16, batches)


def _line(
    name: str, trained: Trained, loss: Loss, costs: _Costs, bf16: bool, batches: Sequence[Callable[[], Batch]]
) -> Line:
    def steps(chosen: Sequence[Callable[[], Batch]]) -> None:
        for batch in chosen:
            trained.step(loss, batch(), bf16)

    # Activations and logits grow with a batch's tensors.
    widest = max(batches, key=lambda batch: sum(tensor.numel() for tensor in batch().values()))
    return Line(name, partial(steps, batches), partial(steps, [widest]), trained.nbytes, costs, bf16)


def _recomputing_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    with _checkpointing(model):
        return labelled_loss(model, batch)


@contextmanager
def _checkpointing(model: PreTrainedModel) -> Iterator[None]:
    # Only the forward asks; the model is that of other lines too.
    model.activation_checkpointing_enable()
    try:
        yield
    finally:
        model.activation_checkpointing_disable()


def layer_weights(model: PreTrainedModel) -> int:
    """Weights of all but embedding and head."""
    rows = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in rows)
