"""What the speed benchmarks share: catalogues with codes, models of random weights, taking turns, and peak memory.

The vocabulary of the models is filled up to Llama-3's size, so that the head is as large as today's heads are. What a
search reads depends a little on what a model says: random weights say everything alike, which keeps all beams alive to
the end.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice
from random import Random
from statistics import median

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from toolgen.base import load_tokenizer
from toolgen.checkpoint import Artefacts
from toolgen.codebook import Codebook
from toolgen.embeddings import TextEmbedder
from toolgen.errors import InputError
from toolgen.indexing import build
from toolgen.synthesis import synthetic_queries
from toolgen.terminal import progress_bar
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

CONTEXT = 512
LONGEST_PROMPT = 32

Method = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        scheme: Indexing scheme; ``text`` where the time begins with the query's text.
        batch: Queries decoded together.
        beams: Beam width, or answers asked for.
        method: What was measured.
        ms_per_query: Median time.
        over_forwards: The same, over that of the forwards; None where there are none.
        agree: Share of queries answered as transformers does; None where it was not asked, and in bf16, where equal
            scores are the rule and their order is rounding.
        memory_mb: Peak memory of a call's tensors beyond what was held before; None where torch holds nothing.
    """

    scheme: str
    batch: int
    beams: int
    method: str
    ms_per_query: float
    over_forwards: float | None
    agree: float | None
    memory_mb: float | None


@dataclass(frozen=True)
class Coded:
    """A catalogue's codes under one scheme, as token ids of the embedded tokenizer, and their trie.

    Attributes:
        artefacts: What a checkpoint would hold beside the model.
        sequences: The codes.
        trie: Of the codes.
        build_seconds: What the trie took.
    """

    artefacts: Artefacts
    sequences: Sequence[tuple[int, ...]]
    trie: TokenTrie
    build_seconds: float

    @property
    def end_id(self) -> int:
        """Closes codes of several tokens."""
        return self.artefacts.codes.end_id


def check_schemes(names: Iterable[str], known: Collection[str]) -> None:
    """
    Raises:
        InputError: One is not known.
    """
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"Unknown indexing scheme {unknown[0]!r}. Choose from {', '.join(known)}.")


def coded(scheme: str, catalog: ToolCatalog, *, closed: bool = False) -> Coded:
    """Codes of a catalogue.

    Args:
        scheme: A key of ``toolgen.indexing.SCHEMES``.
        catalog: The tools.
        closed: Put the end symbol behind atomic codes as well.
    """
    tokenizer = load_tokenizer("embedded")
    end_id = end_token_id(tokenizer)
    with progress_bar("Embedding documents") as progress:
        book: Codebook = build(
            scheme,
            catalog,
            encode=lambda text: encode_text(tokenizer, text),
            end_id=end_id,
            disambiguate=True,
            embed=TextEmbedder(progress=progress),
        )
    codes = bind_standalone(book, tokenizer, end_id)
    sequences = [(*code, end_id) if closed else tuple(code) for code in codes.sequences]
    started = time.perf_counter()
    trie = TokenTrie.from_codes(sequences)
    seconds = time.perf_counter() - started
    return Coded(Artefacts(tokenizer, catalog, book, codes, "plain", "embedded"), sequences, trie, seconds)


def texts_of(catalog: ToolCatalog, count: int) -> list[str]:
    """Made-up queries for ``count`` tools of a catalogue, in random order; tools come again where there are fewer."""
    rng = Random(0)
    chosen = islice(cycle(rng.sample(list(catalog.values()), len(catalog))), count)
    return [synthetic_queries(tool, 1, rng)[0] for tool in chosen]


def random_model(trunk: str, codes: Coded, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """A Llama of random weights whose vocabulary holds the codes."""
    largest, new = codes.trie.largest_token + 1, len(codes.artefacts.codes.new_ids)
    # Rows that no code uses fill the vocabulary up: they stand for a larger tokenizer's words.
    return random_llama(TRUNKS[trunk], max(largest, WORDS + new)).to(device=device, dtype=dtype).eval()  # type: ignore[call-arg]


def random_llama(shape: Mapping[str, int], vocabulary: int) -> PreTrainedModel:
    """A Llama of random weights, its embedding its head; always the same."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        initializer_range=0.05,
        max_position_embeddings=CONTEXT,
        **shape,  # type: ignore[arg-type]
    )
    model: PreTrainedModel = LlamaForCausalLM(config)
    return model


def take_turns(methods: Mapping[str, Method], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each method over ``repeats`` turns; one turn before them does not count.

    The methods take turns, in another order each time, so that a busy machine slows them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(repeats + 1):
        # Nobody always comes behind the same one, whose traces it finds in caches and allocator.
        for name in Random(turn).sample(list(methods), len(methods)):
            started = time.perf_counter()
            methods[name]()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(taken) for name, taken in seconds.items()}


def peak_megabytes(method: Method, device: torch.device) -> float:
    """Tensor memory that a method needs beyond what was held before it, at its peak."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        method()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    # What the process holds would not tell: its allocator keeps what was freed.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        method()
    recorded = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in recorded if event.name() == "[memory]")
    return max(accumulate((change for _, change in changes), initial=0)) / 1e6
