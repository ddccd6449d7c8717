"""``toolgen bench ...``: speed, as ratios measured in one run; what models still know, and what agents do
next. Knows the terminal; the work is done by the benchmarks, which it looks at inside functions only."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.terminal import err, out, progress_bar
from toolgen.tools import ToolCatalog

benches = typer.Typer(no_args_is_help=True, help="Measure speed, as ratios in one run, and models.")


@benches.command()
def decode(
    tools: Annotated[Path | None, typer.Option(help="Catalogue: .jsonl or .jsonl.gz; default: AWS's S3.")] = None,
    schemes: Annotated[
        str, typer.Option(help="Separated by commas. atomic-closed: one token and the end symbol, in two steps.")
    ] = "atomic,numeric,hierarchical,semantic,residual,atomic-closed",
    batch: Annotated[str, typer.Option(help="Queries decoded together, separated by commas.")] = "1,16,64",
    beams: Annotated[str, typer.Option(help="Beam widths, separated by commas; each at least 2.")] = "5,50",
    peer: Annotated[Literal["transformers", "none"], typer.Option(help="Slow at large batches and beams.")] = (
        "transformers"
    ),
    checked: Annotated[
        int, typer.Option(min=1, help="Queries whose answers are compared with transformers'; at least the batch.")
    ] = 1,
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

    Methods: toolgen (ours, as it is by default), toolgen-allowed (normalised over allowed tokens: another scorer;
    codes of one token rank alike under both, so there it is the default and toolgen-vocab the other),
    toolgen-processor (our trie in generate), transformers-trie (prefix_allowed_tokens_fn over nested dicts), forwards
    and forwards-allowed (what our two decoders read, without the search), constraint (the search without what the model
    computes). From text to tools: toolgen with one token a
    tool, faiss-flat, faiss-hnsw, bm25.

    Example: toolgen bench decode --tools tools.jsonl.gz --schemes numeric --batch 16 --beams 5
    """
    import torch

    from toolgen.benchmarks.decode import Settings, compare

    settings = Settings(
        schemes=_names(schemes),
        batches=_numbers("--batch", batch, 1),
        beams=_numbers("--beams", beams, 2),
        peer=peer == "transformers",
        checked=checked,
        retrievers=retrievers,
        trunk=trunk,
        dtype=torch.float32 if dtype == "fp32" else torch.bfloat16,
        device=device,
        repeats=repeats,
    )
    rows = compare(_catalog(tools), settings)
    if as_json:
        path = Path("runs/bench/decode.json")
        write_json(path, [vars(row) for row in rows])
        err.print(f"figures written to {path}", markup=False)


@benches.command()
def growth(
    tools: Annotated[Path | None, typer.Option(help="Catalogue: .jsonl or .jsonl.gz; default: AWS's S3.")] = None,
    schemes: Annotated[str, typer.Option(help="Separated by commas.")] = "atomic,numeric,semantic",
    counts: Annotated[
        str, typer.Option(help="Numbers of tools, separated by commas; more than the catalogue has are made up.")
    ] = "1000,5000,20000,47073,100000,200000",
    beams: Annotated[
        str, typer.Option(help="Beam widths, separated by commas; each at least 2. Tools grow under the first.")
    ] = "5,10,20,50",
    batch: Annotated[int, typer.Option(min=1, help="Queries decoded together.")] = 16,
    peer: Annotated[Literal["transformers", "none"], typer.Option(help="Slow at large beams.")] = "transformers",
    trunk: Annotated[
        Literal["22m", "300m", "1b"], typer.Option(help="Shape of the model's layers; its weights are random.")
    ] = "22m",
    repeats: Annotated[int, typer.Option(min=1, help="Turns that count; one more goes before them.")] = 5,
    output: Annotated[Path, typer.Option(help="Where growth.json, growth.html and growth.png go.")] = Path(
        "runs/bench"
    ),
) -> None:
    """Measure what decoding costs as tools and beams grow, and draw it.

    Example: toolgen bench growth --tools tools.jsonl.gz --counts 1000,10000,100000 --beams 5,20
    """
    from toolgen.benchmarks.growth import Settings, grow

    settings = Settings(
        schemes=_names(schemes),
        counts=_numbers("--counts", counts, 1),
        beams=_numbers("--beams", beams, 2),
        batch=batch,
        peer=peer == "transformers",
        trunk=trunk,
        repeats=repeats,
    )
    grow(_catalog(tools), settings, output)
    err.print(f"figures and pictures written to {output}/growth.json, .html and .png", markup=False)


@benches.command()
def train(
    tools: Annotated[Path | None, typer.Option(help="Catalogue: .jsonl or .jsonl.gz; default: AWS's S3.")] = None,
    trunk: Annotated[
        str, typer.Option(help="Shapes of the layers, separated by commas: 22m, 300m, 1b; their weights are random.")
    ] = "22m",
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Of a turn.")] = 8,
    max_length: Annotated[
        int, typer.Option(min=8, help="Tokens of an example; longer documents lose their end.")
    ] = 256,
    row_tokens: Annotated[int, typer.Option(min=8, help="Of a packed row.")] = 512,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Of all lines; under fp32 one line adds bf16 where hardware has it.")
    ] = "fp32",
    compiled: Annotated[bool, typer.Option("--compile", help="A line with compiled layers as well.")] = False,
    pairs: Annotated[bool, typer.Option(help="Also the direct comparisons: packing, loss, cached states.")] = True,
    lengths: Annotated[
        str, typer.Option(help="Lengths at which documents are cut to compare packing, separated by commas.")
    ] = "128,256,512",
    cached_tools: Annotated[int, typer.Option(min=1, help="Tools of the comparison of cached states.")] = 2000,
    epochs: Annotated[int, typer.Option(min=1, help="Of the same.")] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    peak_tflops: Annotated[
        float | None, typer.Option(help="Of the hardware; default: by a GPU's name, on a CPU measured.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns that count; one more goes before them.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Also write runs/bench/train.json.")] = False,
) -> None:
    """Measure training steps on real documents, the published way beside ours, ingredient by ingredient.

    Lines: published (random order, padded, logits of every position, AdamW over all weights), +labelled (logits of
    labelled positions alone), +sorted (documents of like length together), +packed (several in a row), +bf16, +compile,
    +checkpointing; then plans: rows+lora, rows, output rows, the one pass over the data and cached states.

    Example: toolgen bench train --tools tools.jsonl.gz --batch 16 --max-length 128
    """
    from toolgen.benchmarks.train import Pairs, Settings, compare
    from toolgen.generative import usable_device
    from toolgen.training import uses_bf16

    bf16 = precision == "bf16"
    settings = Settings(
        batch=batch,
        steps=steps,
        max_length=max_length,
        row_tokens=row_tokens,
        bf16=bf16,
        adds_bf16=not bf16 and uses_bf16("auto"),
        compiled=compiled,
        device=usable_device(device),
        peak_tflops=peak_tflops,
        repeats=repeats,
    )
    chosen = Pairs(_numbers("--lengths", lengths, 8), cached_tools, epochs) if pairs else None
    report = compare(_catalog(tools), _names(trunk, "--trunk", "22m,300m"), settings, chosen)
    if as_json:
        path = Path("runs/bench/train.json")
        write_json(path, asdict(report))
        err.print(f"figures written to {path}", markup=False)


@benches.command()
def memory() -> None:
    """Measure the memory that training steps take, beside what toolgen plan foresees. On the CPU; a minute or two.

    Example: toolgen bench memory
    """
    from toolgen.benchmarks.memory import compare

    compare()


@benches.command()
def abilities(
    base: Annotated[
        Path | None, typer.Option(help="Folder of a causal LM; default: a small one, trained here first.")
    ] = None,
    ways: Annotated[str | None, typer.Option(help="Ways to train, separated by semicolons; default: all.")] = None,
    epochs: Annotated[float, typer.Option(help="Of memorization.")] = 30,
    output: Annotated[Path, typer.Option(help="Where the runs go; an interrupted one goes on.")] = Path(
        "runs/bench/abilities"
    ),
) -> None:
    """Measure what training on tools costs a language model: perplexity of held-out text before and after both stages.

    Under every way to train: all weights as published, rows, rows with adapters, with and without general text. On two
    cores seven minutes a way, and 25 for the small base. Figures also in abilities.json.

    Example: toolgen bench abilities --ways "full;rows;rows+lora, replay"
    """
    from toolgen.benchmarks.abilities import WAYS, measure, rows_of
    from toolgen.benchmarks.decoder import train_decoder

    chosen = [way.strip() for way in ways.split(";")] if ways is not None else list(WAYS)
    if unknown := [way for way in chosen if way not in WAYS]:
        raise InputError(f"--ways: {unknown[0]!r} is none. Choose from: {'; '.join(WAYS)}.")
    if base is None:
        base = output / "decoder"
        if not base.exists():
            train_decoder(base)
    kept = measure(base, output, chosen, epochs=epochs)
    write_json(output / "abilities.json", rows_of(kept))
    err.print(f"figures written to {output / 'abilities.json'}", markup=False)


@benches.command("next-action")
def next_action(
    checkpoint: Annotated[Path, typer.Option(help="What the agent stage wrote.")],
    trajectories: Annotated[Path, typer.Option(help="What was recorded: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Figures to write, as JSON.")],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Trajectories at most, evenly from first to last; default: all.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: CUDA when there is one.")] = None,
) -> None:
    """Measure, call by call behind the recorded history, whether an agent takes the recorded tool and writes its
    arguments: with its own tool tokens, and with BM25 in front.

    Example: toolgen bench next-action --checkpoint runs/agent/final --trajectories test.jsonl --out figures.json
    """
    from toolgen.agent.trajectory import read_trajectories
    from toolgen.benchmarks.evaluation import spread
    from toolgen.benchmarks.next_action import load, measure

    recorded = read_trajectories(trajectories)
    examinee = load(checkpoint, device)
    with progress_bar("Asking for calls") as progress:
        found = measure(examinee, spread(recorded, limit or len(recorded)), progress)
    write_json(output, found.to_json())
    out.print(found.table())
    err.print(f"figures written to {output}", markup=False)


def _catalog(tools: Path | None) -> ToolCatalog:
    from toolgen.sources.botocore import import_catalog

    return ToolCatalog.from_jsonl(tools) if tools is not None else import_catalog(["s3"])


def _names(text: str, option: str = "--schemes", such_as: str = "atomic,numeric") -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option} names none. Give names separated by commas, as {such_as}.")
    return names


def _numbers(option: str, text: str, least: int) -> list[int]:
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.strip().isdecimal()]
    if len(numbers) < len(parts) or min(numbers) < least:
        raise InputError(f"{option} is {text!r}. Give whole numbers of at least {least}, separated by commas, as 5,50.")
    return numbers
