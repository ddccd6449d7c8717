"""What the measurements of training are made of: texts, a model under a plan, losses, and the hardware's peak.

Knows texts, models and optimisers; not what is compared with what.

Legend: ``B`` rows, ``T`` tokens, ``V`` vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.base import load_tokenizer
from toolgen.benchmarks import speed
from toolgen.benchmarks.speed import take_turns
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

_PEAK_SIZE = 2048

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


def _cut(places: Sequence[int], size: int) -> list[list[int]]:
    return [list(places[start : start + size]) for start in range(0, len(places), size)]
