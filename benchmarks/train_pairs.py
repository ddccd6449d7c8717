"""Three ingredients of training, each beside what it replaces: packed rows, labelled positions, cached states.

Each pair computes the same, and that is checked: the same loss, or the same rows at the end. Knows texts and the
library's losses; ``train_lines`` has the lines of whole steps.

Legend: ``T`` positions, ``n`` of them labelled, ``D`` width, ``V`` vocabulary.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from toolgen.benchmarks import speed
from toolgen.benchmarks.speed import peak_megabytes, random_llama, take_turns
from toolgen.benchmarks.train_parts import OUTPUT_ROWS, Row, Settings, Trained, labelled_loss, material
from toolgen.cached import cache_states, cached_loss, collate_states
from toolgen.head import Head
from toolgen.order import SampleStream
from toolgen.tools import ToolCatalog
from toolgen.training import IGNORED, CodeCollator

PACKED_BATCH = 32

POSITIONS, LABELLED, WIDTH = 2048, 64, 2048
"""Of the loss step."""


def packing(catalog: ToolCatalog, length: int, settings: Settings) -> list[Row]:
    """Packed against padded batches in random order: forward and backward of the labelled positions' loss.

    Args:
        catalog: Its documents are the text.
        length: Most tokens of an example.
        settings: A row is packed up to ``row_tokens``, or the length where that is more.
    """
    texts = material(catalog, length, settings.steps * PACKED_BATCH)
    model = random_llama(speed.TRUNKS[settings.trunk], speed.WORDS + texts.tools)
    model = model.to(device=settings.device)  # type: ignore[call-arg]
    batches = texts.shuffled(PACKED_BATCH)
    losses: dict[str, float] = {}

    def run(name: str, collator: CodeCollator) -> None:
        total = 0.0
        for places in batches:
            batch = {key: value.to(settings.device) for key, value in texts.batch(collator, places).items()}
            with torch.autocast(settings.device.type, dtype=torch.bfloat16, enabled=settings.bf16):
                loss = labelled_loss(model, batch)
            loss.backward()
            model.zero_grad(set_to_none=True)
            total += loss.item()
        losses[name] = total

    rooms = {"padded": None, "packed": max(length, settings.row_tokens)}
    methods = {name: partial(run, name, CodeCollator(texts.end_id, room)) for name, room in rooms.items()}
    seconds = take_turns(methods, settings.repeats, settings.device)
    _check_same(losses, settings.bf16)
    part = f"packing, cut at {length}"
    return [
        Row(part, name, taken, texts.tokens / taken, len(texts.examples) / taken, factor=seconds["padded"] / taken)
        for name, taken in seconds.items()
    ]


def loss_step(tools: int, settings: Settings) -> list[Row]:
    """The head and its loss, forward and backward: logits of all positions against those of the labelled ones."""
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 1}
    model = random_llama(shape, speed.WORDS + tools).to(device=settings.device)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(0)
    states_1TD = torch.randn(1, POSITIONS, WIDTH, generator=generator).to(settings.device).requires_grad_()
    at_n = torch.randperm(POSITIONS, generator=generator)[:LABELLED].sort().values.to(settings.device)
    labels_n = torch.randint(speed.WORDS + tools, (LABELLED,), generator=generator).to(settings.device)
    inputs: dict[str, Any] = {"inputs_embeds": states_1TD, "use_cache": False}

    def everywhere() -> Tensor:
        labels_T = torch.full((POSITIONS,), IGNORED, device=settings.device).index_copy(0, at_n, labels_n)
        logits_TV = model(**inputs).logits[0]
        return F.cross_entropy(logits_TV.float(), labels_T, ignore_index=IGNORED)

    def labelled() -> Tensor:
        logits_nV = Head(model).logits_at(model, torch.zeros_like(at_n), at_n, **inputs)
        return F.cross_entropy(logits_nV.float(), labels_n)

    losses: dict[str, float] = {}

    def run(name: str, loss: Callable[[], Tensor]) -> None:
        with torch.autocast(settings.device.type, dtype=torch.bfloat16, enabled=settings.bf16):
            found = loss()
        found.backward()
        model.zero_grad(set_to_none=True)
        states_1TD.grad = None
        losses[name] = found.item()

    methods = {"all logits": partial(run, "all logits", everywhere), "labelled": partial(run, "labelled", labelled)}
    seconds = take_turns(methods, settings.repeats, settings.device)
    _check_same(losses, settings.bf16)
    part = f"loss, {LABELLED} of {POSITIONS}"
    memory = {name: peak_megabytes(method, settings.device) for name, method in methods.items()}
    return [
        Row(part, name, taken, POSITIONS / taken, memory_mb=memory[name], factor=seconds["all logits"] / taken)
        for name, taken in seconds.items()
    ]


def caching(catalog: ToolCatalog, epochs: int, settings: Settings) -> tuple[list[Row], float]:
    """Output rows trained in fp32 through the whole model and on cached states, epoch by epoch in turns.

    Both take the same batches in the same order, sorted and packed; the layers are in evaluation mode.

    Returns:
        The rows, and how much two numbers of the final tool rows differ at most.
    """
    texts = material(catalog, settings.max_length)
    stream = SampleStream(texts.lengths, 0)
    collator = CodeCollator(texts.end_id, settings.row_tokens)
    base = random_llama(speed.TRUNKS[settings.trunk], speed.WORDS + texts.tools)
    whole, cached = (Trained(model, OUTPUT_ROWS, settings.device) for model in (copy.deepcopy(base), base))
    for each in (whole, cached):
        each.model.eval()
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        states = cache_states(cached.model, texts.examples, texts.end_id, Path(folder) / "states", batch=settings.batch)
        once = time.perf_counter() - started

        def through(places: Sequence[int]) -> None:
            whole.step(partial(labelled_loss, whole.model), texts.batch(collator, places), False)

        def on_states(places: Sequence[int]) -> None:
            batch = collate_states([states[place] for place in places])
            cached.step(lambda batch: cached_loss(cached.model, batch).whole, batch, False)

        taken: dict[str, list[float]] = {"through the model": [], "on cached states": []}
        for epoch in range(epochs):
            order = stream.epoch(epoch).tolist()
            ways = list(zip(taken, (through, on_states), strict=True))
            for name, step in ways[:: 1 if epoch % 2 else -1]:
                started = time.perf_counter()
                for start in range(0, len(order), settings.batch):
                    step(order[start : start + settings.batch])
                if settings.device.type == "cuda":
                    torch.cuda.synchronize(settings.device)
                taken[name].append(time.perf_counter() - started)
    through_seconds, states_seconds = (median(seconds) * epochs for seconds in taken.values())
    part = f"output rows, {texts.tools:,} tools, {epochs} epochs"

    def row(name: str, seconds: float, passes: int) -> Row:
        rates = texts.tokens * passes / seconds, len(texts.examples) * passes / seconds
        return Row(part, name, seconds, *rates, factor=through_seconds / seconds)

    rows_SD, cached_SD = (each.model.get_output_embeddings().rows.detach() for each in (whole, cached))
    return [
        row("through the model", through_seconds, epochs),
        row("the one pass", once, 1),
        row("on cached states", states_seconds, epochs),
        row("pass and states", once + states_seconds, epochs),
    ], float((rows_SD - cached_SD).abs().max())


def _check_same(losses: Mapping[str, float], bf16: bool) -> None:
    one, other = losses.values()
    assert abs(one - other) <= (1e-2 if bf16 else 1e-4) * abs(one), f"different losses: {losses}"
