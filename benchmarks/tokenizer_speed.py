"""Loading and encoding speed of a tokenizer with tens of thousands of tool tokens, beside its base. Knows no model.

    python -m toolgen.benchmarks.tokenizer_speed
    python -m toolgen.benchmarks.tokenizer_speed --tools tools.jsonl.gz --tokenizer large

Runs are interleaved, so that a busy machine slows both alike; figures are medians.
"""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.table import Table
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from toolgen.base import load_tokenizer
from toolgen.indexing import build
from toolgen.sources.botocore import import_catalog
from toolgen.symbols import extend_tokenizer, save_tokenizer
from toolgen.terminal import out, run_app
from toolgen.tokenizer import encode_text, encode_texts, end_token_id
from toolgen.tools import ToolCatalog

TOOLBENCH_TOOLS = 47_073
LARGE_VOCABULARY = 128_000
"""Entries of Llama-3's vocabulary; its special tokens come on top."""
LARGE_SPECIALS = 256
_TEXTS = 2000
_SINGLE = 300
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    tools: Annotated[Path | None, typer.Option(help="Catalogue whose tools become tokens; default: AWS's S3.")] = None,
    tokenizer: Annotated[
        str, typer.Option(help="'embedded', 'large' (synthetic, as many entries as Llama-3), a folder or a hub name.")
    ] = "embedded",
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each measurement.")] = 9,
) -> None:
    """Print load and encoding times of a tokenizer before and after it takes a catalogue's tools as tokens."""
    base = large_tokenizer() if tokenizer == "large" else load_tokenizer(tokenizer)
    catalog = ToolCatalog.from_jsonl(tools) if tools is not None else import_catalog(["s3"])
    symbols = _symbols(base, catalog, None if tools is not None else TOOLBENCH_TOOLS)
    extended = extend_tokenizer(base, symbols, len(base))
    texts = list(islice(cycle(tool.document() for tool in catalog.values()), _TEXTS))
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in ("base", "extended")]
        for each, place in zip((base, extended), folders, strict=True):
            save_tokenizer(each, place)
        loaded = [AutoTokenizer.from_pretrained(place) for place in folders]
        rows = {
            "load": _measure(AutoTokenizer.from_pretrained, folders, repeats),
            f"encode {_TEXTS:,} documents at once": _measure(_encode_all(texts), loaded, repeats),
            f"encode {_SINGLE:,} documents one by one": _measure(_encode_each(texts[:_SINGLE]), loaded, repeats),
        }
    table = Table(title=f"{tokenizer}: {len(base):,} tokens and {len(symbols):,} tool tokens", title_justify="left")
    for heading in (f"median of {repeats}", "base", "extended", "ratio"):
        table.add_column(heading, justify="left" if heading.startswith("median") else "right")
    for label, (before, after) in rows.items():
        table.add_row(label, f"{before * 1e3:,.1f} ms", f"{after * 1e3:,.1f} ms", f"{after / before:.2f}")
    out.print(table)


def large_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level BPE of Llama-3's size and form: random words, each made by one merge; 256 special tokens."""
    choice = random.Random(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: number for number, letter in enumerate(alphabet)}
    pool = [letter for letter in alphabet if letter.isascii() and letter.isalpha()]
    merges = []
    while len(vocab) < LARGE_VOCABULARY:
        pair = (choice.choice(pool), choice.choice(pool))
        word = "".join(pair)
        if len(word) <= 14 and word not in vocab:
            vocab[word] = len(vocab)
            merges.append(pair)
            pool.append(word)
    backend = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    specials = [f"<|special_{number}|>" for number in range(LARGE_SPECIALS)]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    tokenizer: PreTrainedTokenizerBase = TokenizersBackend(tokenizer_object=backend, eos_token=specials[0])
    return tokenizer


def _symbols(base: PreTrainedTokenizerBase, catalog: ToolCatalog, count: int | None) -> Sequence[str]:
    """The catalogue's atomic symbols; with ``count``, numbered copies of them until there are so many."""
    book = build(
        "atomic",
        catalog,
        encode=lambda text: encode_text(base, text),
        end_id=end_token_id(base),
        disambiguate=True,
    )
    if count is None:
        return book.new_symbols
    names = [symbol.strip("<>") for symbol in book.new_symbols]
    return [f"<<{name} {number}>>" for number, name in enumerate(islice(cycle(names), count))]


def _encode_all(texts: Sequence[str]) -> Callable[[PreTrainedTokenizerBase], Any]:
    return lambda tokenizer: encode_texts(tokenizer, texts)


def _encode_each(texts: Sequence[str]) -> Callable[[PreTrainedTokenizerBase], Any]:
    return lambda tokenizer: [encode_text(tokenizer, text) for text in texts]


def _measure(work: Callable[[Any], Any], subjects: Sequence[Any], repeats: int) -> tuple[float, float]:
    """Median seconds of ``work`` on each of two subjects, in turns, after one run of each that does not count."""
    seconds: list[list[float]] = [[], []]
    for turn in range(repeats + 1):
        for taken, subject in zip(seconds, subjects, strict=True):
            start = time.perf_counter()
            work(subject)
            if turn:
                taken.append(time.perf_counter() - start)
    return median(seconds[0]), median(seconds[1])


if __name__ == "__main__":
    run_app(app)
