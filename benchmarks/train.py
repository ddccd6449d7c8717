"""Training, measured: what each ingredient of ours is worth beside the published way, in one run.

    toolgen bench train --tools tools.jsonl.gz --batch 16 --max-length 128

Knows what is measured and how it is shown; ``train_lines`` measures whole steps, ``train_pairs`` single ingredients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from rich import box
from rich.table import Table

from toolgen.benchmarks.speed import TRUNKS, random_llama
from toolgen.benchmarks.train_lines import Row, Settings, layer_weights, material, measure_lines, peak_flops
from toolgen.benchmarks.train_pairs import caching, loss_step, packing
from toolgen.errors import InputError
from toolgen.terminal import out
from toolgen.tools import ToolCatalog

QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)


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
        peak_tflops: That MFU is a share of, in the precision of the first line.
        apart: How much two numbers differ at most, of rows trained on cached states and without; None: no pairs.
    """

    rows: Sequence[Row]
    lengths: Sequence[int]
    peak_tflops: float
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
    longest = max(settings.max_length, *(pairs.lengths if pairs is not None else ()))
