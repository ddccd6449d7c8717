"""Three ingredients of training, each beside what it replaces: packed rows, labelled positions, cached states.

Each pair computes the same, and that is checked: the same loss, or the same rows at the end. Knows texts and the
library's losses; ``train`` has the lines of whole steps.

Legend: ``T`` positions, ``n`` of them labelled, ``D`` width, ``V`` vocabulary.
"""

import copy
import time
from collections.abc import Callable, Sequence
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
from toolgen.benchmarks.train import OUTPUT_ROWS, Material, Row, Settings, Trained, labelled_loss, material
from toolgen.cached import cache_states, cached_loss, collate_states
from toolgen.head import Head
from toolgen.order import SampleStream
from toolgen.tools import ToolCatalog
from toolgen.training import IGNORED, CodeCollator

PACKED_BATCH = 32

POSITIONS, LABELLED, WIDTH = 2048, 64, 2048
"""Of the loss step."""


def packing(catalog: ToolCatalog, settings: Settings, lengths: Sequence[int]) -> list[Row]:
    """Packed against padded batches in random order: forward and backward of the labelled positions' loss.

    Args:
        catalog: Its documents are the text.
        settings: A row is packed up to ``row_tokens``, or the length where that is more.
        lengths: Most tokens of an example; a part each.
    """
    rows = []
    for length in lengths:
        texts = material(catalog, length, settings.steps * PACKED_BATCH)
        model = random_llama(speed.TRUNKS[settings.trunk], speed.WORDS + texts.tools).to(device=settings.device)
        batches = texts.shuffled(PACKED_BATCH)
        losses: dict[str, float] = {}

        def run(name: str, collator: CodeCollator, texts: Material = texts, model: Any = model) -> None:
            total = 0.0
            for places in batches:  # noqa: B023
                batch = {key: value.to(settings.device) for key, value in texts.batch(collator, places).items()}
                with torch.autocast(settings.device.type, dtype=torch.bfloat16, enabled=settings.bf16):
                    loss = labelled_loss(model, batch)
                loss.backward()
                model.zero_grad(set_to_none=True)
                total += loss.item()
            losses[name] = total  # noqa: B023

        ways = {"padded": None, "packed": max(length, settings.row_tokens)}
        methods = {name: partial(run, name, CodeCollator(texts.end_id, room)) for name, room in ways.items()}
        seconds = take_turns(methods, settings.repeats, settings.device)
        _same(losses["padded"], losses["packed"], 1e-2 if settings.bf16 else 1e-4)
        for name, taken in seconds.items():
            rates = texts.tokens / taken, len(texts.examples) / taken
            rows.append(Row(f"packing, {length}", name, taken, *rates, None, None, seconds["padded"] / taken))
    return rows


def loss_step(settings: Settings, tools: int) -> list[Row]:
    """The head and its loss, forward and backward: logits of all positions against those of the labelled ones."""
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 1}
    model = random_llama(shape, speed.WORDS + tools).to(device=settings.device)
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
    _same(losses["all logits"], losses["labelled"], 1e-2 if settings.bf16 else 1e-4)
    part = f"loss, {LABELLED} of {POSITIONS}"
    memory = {name: peak_megabytes(method, settings.device) for name, method in methods.items()}
    return [
        Row(part, name, taken, POSITIONS / taken, None, memory[name], None, seconds["all logits"] / taken)
        for name, taken in seconds.items()
    ]


def caching(catalog: ToolCatalog, settings: Settings, epochs: int) -> tuple[list[Row], float]:
    """Output rows trained in fp32 through the whole model and on cached states, epoch by epoch in turns.

    Both take the same batches in the same order, sorted and packed; the layers are in evaluation mode.

    Returns:
        The rows, and how much two numbers of the final tool rows differ at most.
    """
    texts = material(catalog, settings.max_length)
    stream = SampleStream(texts.lengths, 0)
    collator = CodeCollator(texts.end_id, settings.row_tokens)
    base = random_llama(speed.TRUNKS[settings.trunk], speed.WORDS + texts.tools)
    whole, cached = (
        Trained(model, OUTPUT_ROWS, speed.WORDS, settings.device) for model in (copy.deepcopy(base), base)
    )
    for each in (whole, cached):
        each.model.eval()
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        states = cache_states(
            cached.model, texts.examples, collator, Path(folder) / "states", batch=settings.batch
        )
        once = time.perf_counter() - started

        def through(places: Sequence[int]) -> None:
            whole.step(partial(labelled_loss, whole.model), texts.batch(collator, places), False)

        def on_states(places: Sequence[int]) -> None:
            batch = collate_states([states[place] for place in places])
            cached.step(partial(cached_loss, cached.model), batch, False)

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
    autograd, steps = (median(seconds) * epochs for seconds in taken.values())
    rows_SD, cached_SD = (each.model.get_output_embeddings().rows for each in (whole, cached))
    part = f"output rows, {texts.tools:,} tools, {epochs} epochs"
    ways_seconds = {"through the model": autograd, "the one pass": once, "on cached states": steps}
    ways_seconds["pass and states"] = once + steps
    return [
        Row(
            part,
            name,
            seconds,
            texts.tokens * passes / seconds,
            len(texts.examples) * passes / seconds,
            None,
            None,
            autograd / seconds,
        )
        for name, seconds in ways_seconds.items()
        for passes in [1 if name == "the one pass" else epochs]
    ], float((rows_SD - cached_SD).detach().abs().max())


def _same(one: float, other: float, tolerance: float) -> None:
    assert abs(one - other) <= tolerance * abs(one), f"two ways to one loss gave {one} and {other}"
