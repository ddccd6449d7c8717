"""Whole steps of training, line by line: the published way, ours ingredient by ingredient, and cheaper plans.

Every line makes one pass over the same examples, from the collator to the optimiser's step. ``published`` is the recipe
of ToolGen (arXiv 2410.03439): random order, padded to the longest, logits at every position, AdamW over all weights.
The lines with a plus add to the one above them; the plans that follow keep what was added, but for checkpointing.

MFU is ``(t P n + w D V m + r D S m) / seconds / peak``: ``n`` real tokens and ``m`` labels, ``P`` weights of the
layers, width ``D``, ``V`` rows of words and ``S`` of tools. A weight costs 2 FLOPs a token forward, 2 more for its
input's gradient and 2 for its own, so full training has ``t = w = r = 6``; ``_Costs`` has the others. Attention,
padding, recomputation and logits that no label asks for are no useful work and count nothing.

Knows texts, models and optimisers; nothing of tables.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.base import load_tokenizer
from toolgen.benchmarks import speed
from toolgen.benchmarks.speed import Method, peak_megabytes, random_llama, take_turns
from toolgen.cached import StateDataset, cache_states, cached_loss, collate_states
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.order import SampleStream
from toolgen.plans import TrainPlan, prepare
from toolgen.prompts import PromptRenderer
from toolgen.records import linearize, memorization_records
from toolgen.tokenizer import encode_text, end_token_id
from toolgen.tools import ToolCatalog
from toolgen.training import IGNORED, CodeCollator, TrainingConfig, answer_logits, code_loss, parameter_groups

PEAK_TFLOPS: Mapping[str, float] = {"H200": 989, "H100": 989, "A100": 312}
"""Dense bf16 products, from the vendor's data sheets (SXM)."""

Batch = Mapping[str, Tensor]
Loss = Callable[[Batch], Tensor]

OUTPUT_ROWS = TrainPlan(train="rows", input_rows=False)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        part: Comparison that it belongs to.
        line: What was measured.
        seconds: Median time of a pass over the part's examples.
        tokens_per_second: Real ones, padding not counted.
        samples_per_second: Examples.
        memory_mb: Weights, optimiser's state, and a step's tensors at their peak; of a loss alone: its tensors.
        mfu: Useful FLOPs, as a share of the hardware's.
        factor: How many times as fast as the part's first line.
    """

    part: str
    line: str
    seconds: float
    tokens_per_second: float
    samples_per_second: float | None = None
    memory_mb: float | None = None
    mfu: float | None = None
    factor: float = 1


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        trunk: Shape of the model's layers.
        batch: Examples a step.
        steps: Of a turn.
        max_length: Tokens of prompt and answer; longer documents lose their end.
        row_tokens: Of a packed row.
        bf16: Whether all lines compute in bf16, the published way included.
        adds_bf16: Whether a line adds it to the others.
        compiled: Whether a line compiles the layers.
        device: Of the model.
        peak_tflops: Of the hardware, in the precision that is used; None: by its name, or measured.
        repeats: Turns that count; one more goes before them.
    """

    trunk: str = "22m"
    batch: int = 32
    steps: int = 8
    max_length: int = 256
    row_tokens: int = 512
    bf16: bool = False
    adds_bf16: bool = False
    compiled: bool = False
    device: torch.device = torch.device("cpu")
    peak_tflops: float | None = None
    repeats: int = 3


@dataclass(frozen=True)
class Material:
    """Memorization examples of a catalogue, each document before its tool's token, which follows the words'.

    Attributes:
        examples: From ``linearize``.
        tools: New rows.
        end_id: Closes codes; fills rows up.
    """

    examples: Any
    tools: int
    end_id: int

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each example."""
        return list(self.examples["length"])

    @property
    def tokens(self) -> int:
        """That are read: the end of a code is only predicted."""
        return sum(self.lengths) - len(self.examples)

    @property
    def labels(self) -> int:
        """Tokens to predict."""
        return sum(len(answer) for answers in self.examples["answers"] for answer in answers)

    def shuffled(self, batch: int) -> list[list[int]]:
        """Batches of places in random order."""
        return _cut(Random(0).sample(range(len(self.examples)), len(self.examples)), batch)

    def by_length(self, batch: int) -> list[list[int]]:
        """Batches of places as the trainer takes them."""
        return _cut(SampleStream(self.lengths, 0).rows(0, len(self.examples)), batch)

    def batch(self, collator: CodeCollator, places: Sequence[int]) -> Batch:
        """One batch of tensors."""
        return collator([self.examples[place] for place in places])

    def batches(self, collator: CodeCollator, parts: Sequence[Sequence[int]]) -> list[Callable[[], Batch]]:
        """What makes the batch of each part, whenever it is asked."""
        return [partial(self.batch, collator, places) for places in parts]


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


class Trained:
    """A model under a plan, with its optimiser."""

    def __init__(self, model: PreTrainedModel, plan: TrainPlan, device: torch.device) -> None:
        """
        Args:
            model: Is changed; its tools' rows follow those of the words.
            plan: What trains.
            device: Where it goes.
        """
        prepare(model, plan, speed.WORDS)
        training = TrainingConfig(plan=plan)
        self.model: PreTrainedModel = model.to(device=device).train()  # type: ignore[call-arg]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, training), lr=training.learning_rate, fused=True
        )
        self._most = training.max_grad_norm

    def step(self, loss: Loss, batch: Batch, bf16: bool) -> None:
        """One step, as the trainer makes it."""
        device = self.model.device
        moved = {name: value.to(device) for name, value in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            found = loss(moved)
        found.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._most)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def nbytes(self) -> int:
        """Of weights and the optimiser's state."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        return sum(value.nbytes for value in (*self.model.parameters(), *states) if isinstance(value, Tensor))


def material(catalog: ToolCatalog, max_length: int, count: int | None = None) -> Material:
    """Memorization examples.

    Args:
        catalog: Each of its tools has a row.
        max_length: Of an example.
        count: Examples, drawn at random; None: all.
    """
    tokenizer = load_tokenizer("embedded")
    end_id = end_token_id(tokenizer)
    encode = partial(encode_text, tokenizer)
    book = build("atomic", catalog, encode=encode, end_id=end_id)
    # The tools' rows follow those of a large vocabulary, most of whose words this tokenizer does not have.
    codes = book.bind(encode, {symbol: place for place, symbol in enumerate(book.new_symbols, speed.WORDS)}, end_id)
    records = memorization_records(catalog)
    if count is not None and count < len(records):
        records = Random(0).sample(records, count)
    examples = linearize(records, PromptRenderer(tokenizer), codes, max_length)
    return Material(examples, len(book.new_symbols), end_id)


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
        return cache_states(trained.model, examples, packed, folder / name, batch=settings.batch, bf16=bf16)

    everywhere = range(len(texts.examples))
    # Batches of the pass are of like lengths.
    longest = np.argsort(texts.lengths)[-settings.batch :].tolist()
    turn, probe = partial(cached, "turn", everywhere), partial(cached, "probe", longest)
    yield Line("the one pass", turn, probe, trained.nbytes, _PASS, bf16)
    states = cached("states", everywhere)

    def batch(places: Sequence[int]) -> Batch:
        return collate_states([states[place] for place in places])

    batches = [partial(batch, places) for places in by_length]
    yield _line("cached states", trained, partial(cached_loss, trained.model), _CACHED, bf16, batches)


def _line(
    name: str, trained: Trained, loss: Loss, costs: _Costs, bf16: bool, batches: Sequence[Callable[[], Batch]]
) -> Line:
    def steps(chosen: Sequence[Callable[[], Batch]]) -> None:
        for batch in chosen:
            trained.step(loss, batch(), bf16)

    # Activations and logits grow with a batch's tensors.
    widest = max(batches, key=lambda batch: sum(tensor.numel() for tensor in batch().values()))
    return Line(name, partial(steps, batches), partial(steps, [widest]), trained.nbytes, costs, bf16)


def published_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Cross-entropy over the logits of every position, those without a label masked; rows of one answer each."""
    rows_n, labels_n = (batch["labels"] != IGNORED).nonzero(as_tuple=True)
    labels_BT = torch.full_like(batch["input_ids"], IGNORED)
    labels_BT[rows_n, -batch["sources"][rows_n, labels_n]] = batch["labels"][rows_n, labels_n]
    mask_BT = (batch["segments"] >= 0).long()
    logits_BTV = model(
        input_ids=batch["input_ids"], attention_mask=mask_BT, position_ids=batch["position_ids"], use_cache=False
    ).logits
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=IGNORED)


def labelled_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The library's own."""
    return code_loss(answer_logits(model, model, batch), batch["labels"])


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


def peak_flops(settings: Settings, bf16: bool) -> float:
    """FLOPs a second of the hardware: as told, by the device's name, or of a large product.

    Raises:
        InputError: A GPU whose data sheet is not known here.
    """
    if settings.peak_tflops is not None:
        return settings.peak_tflops * 1e12
    if settings.device.type == "cuda":
        name = torch.cuda.get_device_name(settings.device)
        for known, tflops in PEAK_TFLOPS.items():
            if known in name:
                return tflops * 1e12
        raise InputError(f"--peak-tflops is not given and {name!r} is not known. Give its dense bf16 TFLOPs a second.")
    matrix = torch.randn(_PEAK_SIZE, _PEAK_SIZE, dtype=torch.bfloat16 if bf16 else torch.float32)
    seconds = take_turns({"product": lambda: matrix @ matrix}, 5, settings.device)["product"]
    return 2 * _PEAK_SIZE**3 / seconds


_PEAK_SIZE = 2048


def _cut(places: Sequence[int], size: int) -> list[list[int]]:
    return [list(places[start : start + size]) for start in range(0, len(places), size)]
