"""Decoding, measured: our decoder, the forwards that it makes, transformers, and retrievers, in one run.

    toolgen bench decode --tools tools.jsonl.gz --batch 1,16,64 --beams 5,50

``forwards`` is what our search reads, read again without searching: the layers, and for codes of several tokens under
``vocab`` the product with the whole head; for codes of one token the layers alone. ``constraint`` is our search with
all answers of the model at hand: which tokens may follow, the selection, the state of the beams, the masks. The
products with single rows of the head are in neither.

Legend: ``B`` queries, ``K`` beams, ``T`` prompt tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from rich import box
from rich.table import Table
from torch import Tensor
from transformers import PreTrainedModel

import toolgen.beam
from toolgen.beam import BeamResult, Normalize, beam_search, last_states, left_padded, rank_atomic
from toolgen.benchmarks.peers import DictTrie, Generate, agreement
from toolgen.benchmarks.pipelines import measure_pipelines
from toolgen.benchmarks.speed import (
    LONGEST_PROMPT,
    Coded,
    Method,
    Row,
    check_schemes,
    coded,
    peak_megabytes,
    random_model,
    take_turns,
    texts_of,
)
from toolgen.errors import InputError, require
from toolgen.generative import usable_device
from toolgen.head import Head
from toolgen.indexing import SCHEMES
from toolgen.terminal import out, progress_bar
from toolgen.tools import ToolCatalog
from toolgen.trie import Array

ATOMIC_CLOSED = "atomic-closed"
"""Codes of one token with the end symbol behind: the search adds log p(end) in a second step."""

MEASURED = (*SCHEMES, ATOMIC_CLOSED)

_NORMALIZERS: tuple[Normalize, ...] = ("vocab", "allowed")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        schemes: Of ``MEASURED``.
        batches: Queries decoded together.
        beams: Beam widths, at least 2.
        peer: Whether transformers takes its turns.
        checked: Queries of each cell whose answers are compared with transformers'; at least those of the batch.
        retrievers: Whether FAISS and BM25 over the same tools are measured as well.
        trunk: Shape of the model's layers.
        dtype: Of the weights.
        device: Of the model.
        repeats: Turns that count; one more goes before them.
    """

    schemes: Sequence[str] = MEASURED
    batches: Sequence[int] = (1, 16, 64)
    beams: Sequence[int] = (5, 50)
    peer: bool = True
    checked: int = 1
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
    check_schemes(settings.schemes, MEASURED)
    usable_device(settings.device)
    if settings.retrievers:
        require("faiss", purpose="The benchmark", pip_name="faiss-cpu")
    if max(settings.beams) > len(catalog):
        raise InputError(
            f"--beams {max(settings.beams)} is wider than the catalogue, which has {len(catalog):,} tools. Give fewer."
        )
    texts = texts_of(catalog, max(settings.checked, *settings.batches))
    needed = {*settings.schemes, *(["atomic"] if settings.retrievers else [])}
    indexed = {
        name: coded("atomic", catalog, closed=True) if name == ATOMIC_CLOSED else coded(name, catalog)
        for name in MEASURED
        if name in needed
    }
    make = partial(random_model, settings.trunk, dtype=settings.dtype, device=settings.device)
    rows = []
    with progress_bar("Measuring") as progress:
        cells = list(product(settings.batches, settings.beams))
        for name in settings.schemes:
            model = make(indexed[name])
            for batch, beams in cells:
                rows += measure_cell(model, name, indexed[name], texts, batch, beams, settings)
                progress(len({(row.scheme, row.batch, row.beams) for row in rows}), len(cells) * len(settings.schemes))
    if settings.retrievers:
        model = make(indexed["atomic"])
        rows += measure_pipelines(model, indexed["atomic"], texts, settings.batches, settings.repeats)
    shape = f"{settings.trunk} trunk, {len(catalog):,} tools, {settings.dtype}, {settings.device}"
    out.print(_table(rows, f"Milliseconds a query; {shape}"))
    for name in settings.schemes:
        trie, seconds = indexed[name].trie, indexed[name].build_seconds
        out.print(f"{name}: trie {trie.nbytes / 1e6:.2f} MB, built in {seconds * 1e3:.0f} ms")
    return rows


def measure_cell(
    model: PreTrainedModel, scheme: str, codes: Coded, texts: Sequence[str], batch: int, beams: int, settings: Settings
) -> list[Row]:
    """All methods on one batch of prompts, taking turns."""
    # Where a retriever keeps it: no call copies it.
    codes = replace(codes, trie=codes.trie.to(model.device))
    atomic, inputs = codes.trie.depth == 1, batch_of(codes, texts[:batch], model.device)
    methods: dict[str, Method] = {}
    forwards: dict[str, str] = {}
    steps = 1
    for normalize in _NORMALIZERS:
        # Codes of one token rank alike under both, and the default is what costs less.
        suffix = "" if normalize == ("allowed" if atomic else "vocab") else f"-{normalize}"
        ours = partial(search, model, codes, *inputs, beams, normalize)
        forwards["toolgen" + suffix] = bare = "forwards" if atomic else "forwards" + suffix
        if bare not in methods:
            methods[bare] = bare_forward(model, *inputs) if atomic else replay(model, *inputs, ours)
        methods["toolgen" + suffix] = ours
        if not suffix and not atomic:
            methods["constraint"], steps = constraint(ours)
    agreed: dict[str, float] = {}
    if settings.peer:
        generate = peers(model, codes)
        for name, peer in generate.items():
            methods[name] = partial(peer, *inputs, beams)
        if model.dtype == torch.float32:
            agreed = _agreement(model, codes, generate, texts[: max(batch, settings.checked)], batch, beams)
    seconds = take_turns(methods, settings.repeats, model.device)
    memory = {name: peak_megabytes(method, model.device) for name, method in methods.items()}
    rows = []
    for name, taken in seconds.items():
        beside = name if name in forwards.values() else forwards.get(name, "forwards")
        figures = taken * 1e3 / batch, taken / seconds[beside], agreed.get(name), memory[name]
        rows.append(Row(scheme, batch, beams, name, *figures))
        if name == "constraint":
            each = taken * 1e3 / steps
            out.print(f"{scheme}, {batch} x {beams}: the constraint takes {each:.2f} ms in each of {steps} steps")
    return rows


def search(
    model: PreTrainedModel, codes: Coded, input_ids_BT: Tensor, mask_BT: Tensor, beams: int, normalize: Normalize
) -> BeamResult:
    """Our decoder, whichever serves the codes."""
    decode = rank_atomic if codes.trie.depth == 1 else beam_search
    return decode(model, codes.trie, input_ids_BT, mask_BT, beams, normalize=normalize)


def peers(model: PreTrainedModel, codes: Coded) -> dict[str, Generate]:
    """transformers' ``generate``, under our trie and under nested dicts."""
    generate = partial(Generate, model, codes.sequences, codes.end_id)
    return {
        "toolgen-processor": generate(codes.trie),
        "transformers-trie": generate(DictTrie(codes.sequences)),
    }


def _agreement(
    model: PreTrainedModel, codes: Coded, peer: Mapping[str, Generate], texts: Sequence[str], batch: int, beams: int
) -> dict[str, float]:
    """Share of the texts answered as ``generate`` over the dict trie does; by our processor: of the first batch."""
    atomic = codes.trie.depth == 1
    inputs = [batch_of(codes, texts[start : start + batch], model.device) for start in range(0, len(texts), batch)]
    theirs = [peer["transformers-trie"].result(*each, beams) for each in inputs]
    processor = peer["toolgen-processor"].result(*inputs[0], beams)
    exact = agreement(
        _joined([search(model, codes, *each, beams, "vocab") for each in inputs]), reference := _joined(theirs)
    )
    agreed = {"toolgen-vocab" if atomic else "toolgen": exact, "toolgen-processor": agreement(processor, theirs[0])}
    if atomic:
        # The other normaliser is another constant of the query: what is left is what follows the first.
        ranked = _joined([search(model, codes, *each, beams, "allowed") for each in inputs])
        agreed["toolgen"] = agreement(_behind_first(ranked), _behind_first(reference))
    return agreed


def _joined(parts: Sequence[BeamResult]) -> BeamResult:
    return BeamResult(torch.cat([part.codes_BK for part in parts]), torch.cat([part.scores_BK for part in parts]))


def _behind_first(result: BeamResult) -> BeamResult:
    return BeamResult(result.codes_BK, result.scores_BK - result.scores_BK[:, :1])


def bare_forward(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor) -> Method:
    """The prompts through the model's layers, and nothing else."""

    return torch.no_grad()(partial(last_states, model, input_ids_BT, mask_BT))


def replay(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor, decode: Method) -> Method:
    """What a search reads and normalises, again, without searching."""
    steps: list[tuple[tuple[Array, ...] | None, int]] = []

    class Rows(toolgen.beam._Rows):
        def read(self, *read: Array) -> Tensor:
            steps.append((read, 0))
            return super().read(*read)

    class RecordingHead(Head):
        def normalizers(self, states_nD: Tensor, stop: int | None = None) -> Tensor:
            steps.append((None, len(states_nD)))
            return super().normalizers(states_nD, stop)

    with patch.multiple(toolgen.beam, _Rows=Rows, Head=RecordingHead):
        decode()

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


def constraint(decode: Method) -> tuple[Method, int]:
    """A search without its model, which is handed what the model said in a first search; and the steps it takes.

    The other part is ``replay``: what a search hands the model to read, the model makes its masks of there.
    """
    said: list[Tensor] = []
    steps = [None]  # The first begins, the others extend.

    def recorded(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def asked(*given: Any) -> Tensor:
            said.append(call(*given))
            return said[-1]

        return asked

    class CountingSearch(toolgen.beam._Search):
        def extend(self, *given: Any) -> Any:
            steps.append(None)
            return super().extend(*given)

    def stand_ins(make: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> dict[str, Any]:
        """Of the classes that hold the model, with all they are asked for made anew."""
        asked = {Head: ("logits", "own_logits", "normalizers"), toolgen.beam._Rows: ("prefill", "read")}
        return {
            of.__name__: type("StandIn", (of,), {name: make(getattr(of, name)) for name in names})
            for of, names in asked.items()
        }

    with patch.multiple(toolgen.beam, _Search=CountingSearch, **stand_ins(recorded)):
        decode()

    def run() -> None:
        answers = iter(said)
        with patch.multiple(toolgen.beam, **stand_ins(lambda _call: lambda *_given: next(answers))):
            decode()

    return run, len(steps)


def batch_of(codes: Coded, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts of some texts."""
    prompts = codes.artefacts.renderer.render(texts, LONGEST_PROMPT)
    input_ids_BT, mask_BT = left_padded(prompts, codes.end_id)
    return input_ids_BT.to(device), mask_BT.to(device)


def _table(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("scheme", "batch", "beams", "method", "ms a query", "over forwards", "agree", "peak MB"):
        table.add_column(heading, justify="left" if heading in ("scheme", "method") else "right")
    for row in rows:
        cells: list[Any] = [row.scheme, row.batch, row.beams, row.method, f"{row.ms_per_query:,.2f}"]
        cells += [f"{value:.2f}" if value is not None else "" for value in (row.over_forwards, row.agree)]
        cells.append(f"{row.memory_mb:,.1f}" if row.memory_mb is not None else "")
        table.add_row(*map(str, cells))
    return table
