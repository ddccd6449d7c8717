"""Training, measured: what each ingredient of ours is worth beside the published way, in one run.

    toolgen bench train --tools tools.jsonl.gz --batch 16 --max-length 128

Knows what is measured and how it is shown; ``train_lines`` measures whole steps, ``train_pairs`` single ingredients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import numpy as np
from rich import box
from rich.table import Table

from toolgen.benchmarks.speed import CONTEXT, TRUNKS
from toolgen.benchmarks.train_lines import measure_lines
from toolgen.benchmarks.train_pairs import caching, loss_step, packing
from toolgen.benchmarks.train_parts import Row, Settings, material, peak_flops
from toolgen.errors import InputError
from toolgen.terminal import out, progress_bar
from toolgen.tools import ToolCatalog

QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)

UNCUT = 1 << 20
"""Longer than any document."""


@dataclass(frozen=True)
class Pairs:
    """The direct comparisons.

    Attributes:
        lengths: ``max_length`` of each comparison of packed with padded batches.
        tools: Of the catalogue that output rows are trained for, with cached states and without.
        epochs: Of the same.
    """

    lengths: Sequence[int] = (128, 256, 512)
    tools: int = 2000
    epochs: int = 8


@dataclass(frozen=True)
class Report:
    """All figures of a run.

    Attributes:
        rows: Line by line.
        lengths: Quantiles of the documents' tokens, whole: of 10%, 50%, 90%, 99% and the longest.
        peak_tflops: What MFU is a share of, by precision.
        apart: How much two numbers differ at most, of rows trained on cached states and without; None: no pairs.
    """

    rows: Sequence[Row]
    lengths: Sequence[int]
    peak_tflops: Mapping[str, float]
    apart: float | None


def compare(catalog: ToolCatalog, trunks: Sequence[str], settings: Settings, pairs: Pairs | None) -> Report:
    """Measure all and print it.

    Args:
        catalog: Its documents are the text, its tools the rows.
        trunks: Shapes of the layers; the pairs have the first.
        settings: But for the trunk.
        pairs: None: whole steps only.

    Raises:
        InputError: An unknown trunk, a length beyond the models' context, or a GPU of unknown peak.
    """
    if unknown := [trunk for trunk in trunks if trunk not in TRUNKS]:
        raise InputError(f"Unknown trunk {unknown[0]!r}. Choose from {', '.join(TRUNKS)}.")
    longest = max([settings.max_length, *(pairs.lengths if pairs is not None else ())])
    if longest > CONTEXT:
        raise InputError(f"A length of {longest} is beyond the models' context of {CONTEXT} tokens. Give less.")
    peaks = {bf16: peak_flops(settings, bf16) for bf16 in {settings.bf16, settings.bf16 or settings.adds_bf16}}
    whole = np.quantile(material(catalog, UNCUT).lengths, QUANTILES, method="lower").tolist()
    first = replace(settings, trunk=trunks[0])
    texts = material(catalog, settings.max_length, settings.steps * settings.batch)
    parts = [partial(measure_lines, texts, replace(settings, trunk=trunk), peaks) for trunk in trunks]
    rows: list[Row] = []
    apart = None
    with progress_bar("Measuring") as progress:
        if pairs is not None:
            parts += [partial(packing, catalog, length, first) for length in pairs.lengths]
            parts += [partial(loss_step, len(catalog), first)]
        count = len(parts) + (pairs is not None)
        for done, measure in enumerate(parts, start=1):
            rows += measure()
            progress(done, count)
        if pairs is not None:
            some = Random(0).sample(list(catalog.values()), min(pairs.tools, len(catalog)))
            found, apart = caching(ToolCatalog(some), pairs.epochs, first)
            rows += found
            progress(count, count)
    out.print(_table(rows, f"{len(catalog):,} tools, batch {settings.batch}, {settings.device}"))
    at = ", ".join(f"{share:.0%} {length:,}" for share, length in zip(QUANTILES, whole, strict=True))
    out.print(f"Tokens of a document, whole, up to the quantile: {at}; steps cut at {settings.max_length}")
    tflops = {"bf16" if bf16 else "fp32": peak / 1e12 for bf16, peak in peaks.items()}
    out.print(f"MFU is of {', '.join(f'{peak:.2f} TFLOPs a second in {name}' for name, peak in tflops.items())}")
    if apart is not None:
        out.print(f"Rows trained on cached states and without differ by {apart:.1e} at most")
    return Report(rows, whole, tflops, apart)


def _table(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("part", "line", "seconds", "tokens/s", "samples/s", "peak MB", "MFU", "times as fast"):
        table.add_column(heading, justify="left" if heading in ("part", "line") else "right")
    for row in rows:
        figures = (
            (row.tokens_per_second, ",.0f"),
            (row.samples_per_second, ",.1f"),
            (row.memory_mb, ",.0f"),
            (row.mfu, ".1%"),
            (row.factor, ".2f"),
        )
        cells = ["" if value is None else f"{value:{form}}" for value, form in figures]
        table.add_row(row.part, row.line, f"{row.seconds:,.3f}", *cells)
    return table
