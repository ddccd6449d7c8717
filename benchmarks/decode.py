"""Decoding, measured: our decoder, what any exact decoder must pay, transformers, and retrievers, in one run.

    toolgen bench decode --tools tools.jsonl.gz --batch 1,16,64 --beams 5,50

The language model has random weights, and its vocabulary is filled up to Llama-3's size, so that the head is as large
as today's heads are. What a search reads depends a little on what a model says: random weights say everything alike,
which keeps all beams alive to the end. All methods of a cell take turns, so that a busy machine slows them alike;
figures are medians. ``forwards`` is what our search reads, read again without searching: the layers, and for codes of
several tokens under ``vocab`` the product with the whole head; for codes of one token the layers alone.

Legend: ``B`` queries, ``K`` beams, ``T`` prompt tokens.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice, product
from random import Random
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich import box
from rich.table import Table
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

import toolgen.beam
from toolgen.base import load_tokenizer
from toolgen.beam import BeamResult, Normalize, beam_search, positions, rank_atomic
from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.benchmarks.peers import DictTrie, Generate, agreement
from toolgen.codebook import TokenCodes
from toolgen.embeddings import TextEmbedder, load_encoder
from toolgen.errors import InputError, require
from toolgen.head import Head
from toolgen.indexing import SCHEMES, build
from toolgen.prompts import PromptRenderer
from toolgen.synthesis import synthetic_queries
from toolgen.terminal import err, out, progress_bar
from toolgen.tokenizer import bind_standalone, encode_text, end_token_id
from toolgen.tools import ToolCatalog
from toolgen.trie import TokenTrie

TRUNKS: Mapping[str, Mapping[str, int]] = {
    "22m": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1024},
    "300m": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 2816},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "intermediate_size": 8192},
}
"""Shapes: MiniLM's, one between, and Llama-3.2-1B's."""

WORDS = 128_256
"""Rows of the vocabulary before any tool: Llama-3's."""

LONGEST_PROMPT = 32
K = 10
"""Answers asked of retrievers and of atomic codes."""

Method = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One figure. ``over_forwards`` and ``agree`` are None where there is nothing to compare with."""

    scheme: str
    batch: int
    beams: int
    method: str
    ms_per_query: float
    over_forwards: float | None
    agree: float | None


@dataclass(frozen=True)
class World:
    """What all cells share."""

    catalog: ToolCatalog
    texts: Sequence[str]
    prompts: Sequence[list[int]]
    codes: Mapping[str, TokenCodes]
    tries: Mapping[str, TokenTrie]
    build_seconds: Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        schemes: Indexing schemes.
        batches: Queries decoded together.
        beams: Beam widths, at least 2.
        peer: Whether transformers takes its turns.
        retrievers: Whether FAISS and BM25 over the same tools are measured as well.
        trunk: Shape of the model's layers.
        dtype: Of the weights.
        device: Of the model.
        repeats: Turns that count; one more goes before them.
    """

    schemes: Sequence[str] = tuple(SCHEMES)
    batches: Sequence[int] = (1, 16, 64)
    beams: Sequence[int] = (5, 50)
    peer: bool = True
    retrievers: bool = True
    trunk: str = "22m"
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    repeats: int = 5


def compare(catalog: ToolCatalog, settings: Settings) -> list[Row]:
    """Measure all cells and print them.

    Raises:
        InputError: An unknown scheme, or a beam that is wider than the catalogue.
    """
    if unknown := [name for name in settings.schemes if name not in SCHEMES]:
        raise InputError(f"Unknown indexing scheme {unknown[0]!r}. Choose from {', '.join(SCHEMES)}.")
    if max(settings.beams) > len(catalog):
        raise InputError(
            f"--beams {max(settings.beams)} is wider than the catalogue, which has {len(catalog):,} tools. Give fewer."
        )
    world = _world(catalog, settings.schemes, max(settings.batches))
    model = _model(world, settings.trunk, settings.dtype).to(settings.device)  # type: ignore[arg-type]
    rows = []
    with progress_bar("Measuring") as progress:
        cells = list(product(settings.schemes, settings.batches, settings.beams))
        for done, (name, size, width) in enumerate(cells):
            rows += measure_cell(world, model, name, size, width, settings.peer, settings.repeats)
            progress(done + 1, len(cells))
    if settings.retrievers:
        rows += measure_retrievers(world, settings.batches, settings.repeats, model.device)
    shape = f"{settings.trunk} trunk, {len(catalog):,} tools, {model.config.vocab_size:,} rows, {settings.dtype}"
    out.print(_table(rows, f"Milliseconds a query; {shape}, {settings.device}"))
    for name, trie in world.tries.items():
        out.print(f"{name}: trie {trie.nbytes / 1e6:.2f} MB, built in {world.build_seconds[name] * 1e3:.0f} ms")
    return rows


def measure_cell(
    world: World, model: PreTrainedModel, scheme: str, batch: int, beams: int, peer: bool, repeats: int
) -> list[Row]:
    """All methods on one batch of prompts, taking turns."""
    codes, trie = world.codes[scheme], world.tries[scheme].to(model.device)
    input_ids_BT, mask_BT = _batch(world.prompts[:batch], codes.end_id, model.device)
    methods: dict[str, Method] = {}
    results: dict[str, BeamResult] = {}
    for normalize, suffix in _NORMALIZERS:
        if codes.is_atomic:
            tokens_N = torch.tensor([sequence[0] for sequence in codes.sequences])
            ours = partial(rank_atomic, model, input_ids_BT, mask_BT, tokens_N, beams, normalize=normalize)
            methods["forwards" + suffix] = _forward(model, input_ids_BT, mask_BT)
        else:
            ours = partial(beam_search, model, trie, input_ids_BT, mask_BT, beams, normalize=normalize)
            methods["forwards" + suffix] = _replay(model, input_ids_BT, mask_BT, ours)
        methods["toolgen" + suffix] = ours
        if normalize == "vocab":
            results["toolgen"] = ours()
    if peer:
        for name, constraint in (("toolgen-processor", trie), ("transformers-trie", DictTrie(codes.sequences))):
            generate = Generate(model, codes.sequences, codes.end_id, constraint)
            methods[name] = partial(generate, input_ids_BT, mask_BT, beams)
            results[name] = generate.result(input_ids_BT, mask_BT, beams)
    theirs = results.pop("transformers-trie", None)
    agreed = {name: agreement(result, theirs) for name, result in results.items()} if theirs is not None else {}
    seconds = take_turns(methods, repeats, model.device)
    rows = []
    for name, taken in seconds.items():
        forwards = seconds["forwards-allowed" if name.endswith("-allowed") else "forwards"]
        rows.append(Row(scheme, batch, beams, name, taken * 1e3 / batch, taken / forwards, agreed.get(name)))
    return rows


def measure_retrievers(world: World, batches: Sequence[int], repeats: int, device: torch.device) -> list[Row]:
    """FAISS, flat and HNSW, and BM25 over the tools' documents; the time includes encoding the query."""
    faiss = require("faiss", purpose="The benchmark", pip_name="faiss-cpu")
    with progress_bar("Embedding documents") as progress:
        vectors_ND = TextEmbedder(progress=progress)([tool.document() for tool in world.catalog.values()])
    flat = faiss.IndexFlatIP(vectors_ND.shape[1])
    hnsw = faiss.IndexHNSWFlat(vectors_ND.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    for index in (flat, hnsw):
        index.add(vectors_ND)
    encoder = load_encoder("embedded", purpose="The benchmark", device=str(device))
    lexical = BM25Retriever(world.catalog)
    count = min(K, len(world.catalog))

    def encoded(texts: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = encoder.encode_query(
            list(texts), batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    rows = []
    for batch in batches:
        texts = world.texts[:batch]
        seconds = take_turns(
            {
                "faiss-flat": lambda texts=texts: flat.search(encoded(texts), count),  # type: ignore[misc]
                "faiss-hnsw": lambda texts=texts: hnsw.search(encoded(texts), count),  # type: ignore[misc]
                "bm25": lambda texts=texts: lexical.search(texts, count),  # type: ignore[misc]
            },
            repeats,
            device,
        )
        rows += [Row("", batch, count, name, taken * 1e3 / batch, None, None) for name, taken in seconds.items()]
    vectors_BD = encoded(world.texts)
    exact, near = flat.search(vectors_BD, count)[1], hnsw.search(vectors_BD, count)[1]
    recall = float(np.mean([len(set(own) & set(other)) / count for own, other in zip(exact, near, strict=True)]))
    err.print(f"faiss-hnsw finds {recall:.3f} of the {count} tools that faiss-flat finds")
    return rows


def take_turns(methods: Mapping[str, Method], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each method over ``repeats`` turns; one turn before them does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(repeats + 1):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(taken) for name, taken in seconds.items()}


_NORMALIZERS: tuple[tuple[Normalize, str], ...] = (("vocab", ""), ("allowed", "-allowed"))


def _forward(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor) -> Method:
    """The prompts through the model's layers, and nothing else."""

    @torch.no_grad()
    def run() -> None:
        Head(model).states(
            input_ids=input_ids_BT,
            attention_mask=mask_BT,
            position_ids=positions(mask_BT),
            use_cache=False,
            logits_to_keep=1,
        )

    return run


def _replay(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor, search: Method) -> Method:
    """What a search reads and normalises, again, without searching."""
    steps: list[tuple[tuple[Tensor, ...] | None, int]] = []

    class Rows(toolgen.beam._Rows):
        def read(self, *read: Tensor) -> Tensor:
            steps.append((read, 0))
            return super().read(*read)

    class RecordingHead(Head):
        def normalizers(self, states_nD: Tensor) -> Tensor:
            steps.append((None, len(states_nD)))
            return super().normalizers(states_nD)

    with patch.multiple(toolgen.beam, _Rows=Rows, Head=RecordingHead):
        search()

    @torch.no_grad()
    def run() -> None:
        head = Head(model)
        rows = toolgen.beam._Rows(model, head, input_ids_BT, mask_BT.bool())
        states = rows.prefill()
        for read, count in steps:
            if read is not None:
                states = rows.read(*read)
            else:
                head.normalizers(states.flatten(0, 1)[:count])

    return run


def _world(catalog: ToolCatalog, schemes: Sequence[str], queries: int) -> World:
    tokenizer = load_tokenizer("embedded")
    end_id = end_token_id(tokenizer)
    rng = Random(0)
    chosen = islice(cycle(rng.sample(list(catalog.values()), len(catalog))), queries)
    texts = [synthetic_queries(tool, 1, rng)[0] for tool in chosen]
    codes, tries, seconds = {}, {}, {}
    with progress_bar("Embedding documents") as progress:
        for name in schemes:
            book = build(
                name,
                catalog,
                encode=lambda text: encode_text(tokenizer, text),
                end_id=end_id,
                disambiguate=True,
                embed=TextEmbedder(progress=progress),
            )
            codes[name] = bind_standalone(book, tokenizer, end_id)
            started = time.perf_counter()
            tries[name] = TokenTrie.from_codes(codes[name].sequences)
            seconds[name] = time.perf_counter() - started
    prompts = PromptRenderer(tokenizer).render(texts, LONGEST_PROMPT)
    return World(catalog, texts, prompts, codes, tries, seconds)


def _model(world: World, trunk: str, dtype: torch.dtype) -> PreTrainedModel:
    words = max(trie.largest_token + 1 for trie in world.tries.values())
    new = max(len(codes.new_ids) for codes in world.codes.values())
    torch.manual_seed(0)
    # Rows that no code uses fill the vocabulary up: they stand for a larger tokenizer's words.
    config = LlamaConfig(
        vocab_size=max(words, WORDS + new),
        tie_word_embeddings=True,
        initializer_range=0.05,
        max_position_embeddings=512,
        **TRUNKS[trunk],  # type: ignore[arg-type]
    )
    return LlamaForCausalLM(config).to(dtype).eval()  # type: ignore[arg-type]


def _batch(prompts: Sequence[list[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    input_ids_BT = torch.tensor([[pad_id] * (width - len(prompt)) + prompt for prompt in prompts])
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return input_ids_BT.to(device), mask_BT.to(device)


def _table(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("scheme", "batch", "beams", "method", "ms a query", "over forwards", "agree"):
        table.add_column(heading, justify="left" if heading in ("scheme", "method") else "right")
    for row in rows:
        cells: list[Any] = [row.scheme, row.batch, row.beams, row.method, f"{row.ms_per_query:,.2f}"]
        cells += [f"{value:.2f}" if value is not None else "" for value in (row.over_forwards, row.agree)]
        table.add_row(*map(str, cells))
    return table
