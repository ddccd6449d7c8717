"""``toolgen bench ...``: speed, as ratios measured in one run. Knows the terminal; the work is done by the benchmarks,
which it looks at inside functions only."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.terminal import err
from toolgen.tools import ToolCatalog

benches = typer.Typer(no_args_is_help=True, help="Speed, as ratios measured in one run.")


@benches.callback()
def bench() -> None:
    """Makes ``decode`` a command of its own, although it is alone."""


@benches.command()
def decode(
    tools: Annotated[Path | None, typer.Option(help="Catalogue: .jsonl or .jsonl.gz; default: AWS's S3.")] = None,
    schemes: Annotated[
        str, typer.Option(help="Separated by commas.")
    ] = "atomic,numeric,hierarchical,semantic,residual",
    batch: Annotated[str, typer.Option(help="Queries decoded together, separated by commas.")] = "1,16,64",
    beams: Annotated[str, typer.Option(help="Beam widths, separated by commas; each at least 2.")] = "5,50",
    peer: Annotated[Literal["transformers", "none"], typer.Option(help="Slow at large batches and beams.")] = (
        "transformers"
    ),
    retrievers: Annotated[bool, typer.Option(help="Also measure FAISS and BM25 over the same tools.")] = True,
    trunk: Annotated[
        Literal["22m", "300m", "1b"], typer.Option(help="Shape of the model's layers; its weights are random.")
    ] = "22m",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="Of the weights.")] = "fp32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    repeats: Annotated[int, typer.Option(min=1, help="Turns that count; one more goes before them.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Also write runs/bench/decode.json.")] = False,
) -> None:
    """Measure decoding beside the forwards it needs, transformers' generate, and retrievers.

    Methods: toolgen (exact), toolgen-allowed (normalised over allowed tokens: another scorer), toolgen-processor (our
    trie in generate), transformers-trie (prefix_allowed_tokens_fn over nested dicts), forwards and forwards-allowed
    (what the two decoders read, without the search), faiss-flat, faiss-hnsw and bm25 (query encoding included).

    Example: toolgen bench decode --tools tools.jsonl.gz --schemes numeric --batch 16 --beams 5
    """
    import torch

    from toolgen.benchmarks.decode import Settings, compare
    from toolgen.sources.botocore import import_catalog

    settings = Settings(
        schemes=[name.strip() for name in schemes.split(",") if name.strip()],
        batches=_numbers("--batch", batch, 1),
        beams=_numbers("--beams", beams, 2),
        peer=peer == "transformers",
        retrievers=retrievers,
        trunk=trunk,
        dtype=torch.float32 if dtype == "fp32" else torch.bfloat16,
        device=device,
        repeats=repeats,
    )
    rows = compare(ToolCatalog.from_jsonl(tools) if tools is not None else import_catalog(["s3"]), settings)
    if as_json:
        path = Path("runs/bench/decode.json")
        write_json(path, [vars(row) for row in rows])
        err.print(f"figures written to {path}", markup=False)


def _numbers(option: str, text: str, least: int) -> list[int]:
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.strip().isdecimal()]
    if len(numbers) < len(parts) or min(numbers) < least:
        raise InputError(f"{option} is {text!r}. Give whole numbers of at least {least}, separated by commas, as 5,50.")
    return numbers
