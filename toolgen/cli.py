"""``toolgen ...``: the command line. Knows every room and does no work itself; the only file of the library that looks
at indexing, stages and benchmarks, and only inside functions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolgen import __version__
from toolgen.errors import InputError
from toolgen.files import write_json
from toolgen.retrieve import retrieve
from toolgen.terminal import err, out, progress_bar, run_app
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from toolgen.codebook import CodebookStatistics

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Language models that hold their tools in their own vocabulary.",
)
importers = typer.Typer(no_args_is_help=True, help="Turn a source of tools into a catalogue.")
catalogs = typer.Typer(no_args_is_help=True, help="Look at a catalogue.")
app.add_typer(importers, name="import")
app.add_typer(catalogs, name="catalog")
app.command("retrieve")(retrieve)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if show:
        out.print(f"toolgen {__version__}")
        raise typer.Exit


@importers.command("botocore")
def import_botocore(
    output: Annotated[Path, typer.Option("--out", help="Catalogue to write: .jsonl or .jsonl.gz.")],
    services: Annotated[str | None, typer.Option(help="AWS services separated by commas, e.g. s3,ec2.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All services, some 19,000 operations.")] = False,
    examples: Annotated[Path | None, typer.Option(help="Also write the human-written examples as queries.")] = None,
) -> None:
    """Import the AWS API from the installed botocore: operations with typed parameters.

    Example: toolgen import botocore --services s3,ec2 --out tools.jsonl --examples examples.jsonl
    """
    from toolgen.queries import write_queries
    from toolgen.sources.botocore import import_catalog, import_examples

    if everything == (services is not None):
        raise InputError("Give either --services with names separated by commas, such as s3,ec2, or --all.")
    names = [name.strip() for name in services.split(",") if name.strip()] if services is not None else None
    with progress_bar("Importing services") as progress:
        catalog = import_catalog(names, progress)
    catalog.to_jsonl(output)
    err.print(f"{len(catalog):,} tools written to {output}", markup=False)
    if examples is not None:
        queries = import_examples(catalog)
        write_queries(examples, queries)
        err.print(f"{len(queries):,} examples written to {examples}", markup=False)


@catalogs.command("show")
def show_catalog(
    path: Annotated[Path, typer.Argument(help="Catalogue: .jsonl or .jsonl.gz.")],
    groups: Annotated[int, typer.Option(help="Groups to list.")] = 20,
) -> None:
    """Print a catalogue's statistics: tools, groups, lengths, identical documents, fingerprint."""
    catalog = ToolCatalog.from_jsonl(path)
    figures = catalog.statistics()
    table = Table(title=escape(str(path)), title_justify="left", show_header=False)
    for label, value in (
        ("tools", f"{figures.tools:,}"),
        ("fingerprint", catalog.fingerprint),
        ("sources", ", ".join(f"{name} {count:,}" for name, count in figures.sources.items())),
        ("groups", f"{len(figures.groups):,}"),
        ("without description", f"{figures.without_description:,}"),
        ("document equal to an earlier one's", f"{figures.identical_documents:,}"),
        ("characters a description", f"mean {figures.description_mean:,.0f}, median {figures.description_median:,.0f}"),
        ("parameters a tool", f"mean {figures.parameters_mean:.1f}"),
    ):
        table.add_row(label, escape(value))
    out.print(table)
    listed = list(figures.groups.items())[:groups]
    out.print("largest groups: " + ", ".join(f"{name} {count:,}" for name, count in listed), markup=False)


@app.command()
def index(
    scheme: Annotated[str, typer.Option(help="atomic, numeric or semantic.")],
    tools: Annotated[Path, typer.Option(help="Catalogue: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Codebook to write, e.g. codebook.json.")],
    model: Annotated[str, typer.Option(help="Base model whose tokenizer the codes must suit.")] = "embedded",
    disambiguate: Annotated[
        bool, typer.Option("--disambiguate", help="Give a tool whose code is taken an extra last symbol.")
    ] = False,
    extend: Annotated[Path | None, typer.Option(help="Codebook to add new tools to; its codes stay.")] = None,
    width: Annotated[
        int | None, typer.Option(help="Digits of numeric codes (default: room for as many tools again).")
    ] = None,
) -> None:
    """Give every tool of a catalogue a code.

    Schemes: atomic = one new token a tool; numeric = the tool's number, digit by digit; semantic = the function name in
    word pieces. Codes are proved distinct and prefix-free on the token ids of the model's tokenizer.

    Example: toolgen index --scheme atomic --tools tools.jsonl --out codebook.json
    """
    from toolgen.base import load_tokenizer
    from toolgen.codebook import Codebook
    from toolgen.indexing import build
    from toolgen.tokenizer import bind_standalone, encode_text, end_token_id

    catalog = ToolCatalog.from_jsonl(tools)
    tokenizer = load_tokenizer(model)
    end_id = end_token_id(tokenizer)
    book = build(
        scheme,
        catalog,
        encode=lambda text: encode_text(tokenizer, text),
        end_id=end_id,
        disambiguate=disambiguate,
        base=Codebook.load(extend) if extend is not None else None,
        **({} if width is None else {"width": width}),
    )
    book.save(output)
    _print_index(book.scheme, book.statistics(bind_standalone(book, tokenizer, end_id)))
    err.print(f"codebook written to {output}", markup=False)


def _print_index(scheme: str, figures: "CodebookStatistics") -> None:
    table = Table(title=f"{scheme} codes", title_justify="left")
    for heading in ("tools", "tokens a tool: min", "mean", "max", "new tokens", "disambiguations"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{figures.tools:,}",
        str(figures.tokens_min),
        f"{figures.tokens_mean:.2f}",
        str(figures.tokens_max),
        f"{figures.new_tokens:,}",
        f"{figures.disambiguated:,}",
    )
    out.print(table)


@app.command("eval")
def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="Folder that a stage wrote.")],
    queries: Annotated[Path, typer.Option(help="Labelled queries: .jsonl or .jsonl.gz.")],
    split: Annotated[str | None, typer.Option(help="Only the queries of this split.")] = None,
    baselines: Annotated[str, typer.Option(help="Separated by commas: bm25, dense; '' for none.")] = "",
    dense_model: Annotated[str, typer.Option(help="Encoder of the dense baseline.")] = "embedded",
    dense_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of a document that dense reads; fewer often serve it better."),
    ] = None,
    beams: Annotated[int | None, typer.Option(help="Beam width for codes of several tokens.")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="Also write the figures as JSON.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ... (default: CUDA when there is one).")] = None,
) -> None:
    """Measure a checkpoint on labelled queries, beside baselines over the same documents.

    Example: toolgen eval --checkpoint DIR --queries test.jsonl --baselines bm25,dense --out figures.json
    """
    from toolgen.benchmarks.baselines import make_baseline
    from toolgen.benchmarks.evaluation import evaluate_retrievers
    from toolgen.generative import GenerativeRetriever
    from toolgen.queries import read_queries
    from toolgen.retriever import Retriever

    generative = GenerativeRetriever.load(checkpoint, device=device, beams=beams)
    catalog = generative.artefacts.catalog
    labelled = read_queries(queries, catalog, split)
    methods: list[Retriever] = [generative]
    for name in (name.strip() for name in baselines.split(",") if name.strip()):
        methods.append(make_baseline(name, catalog, dense_model, dense_tokens))
    with progress_bar("Evaluating") as progress:
        evaluation = evaluate_retrievers(methods, labelled, catalog, progress=progress)
    out.print(evaluation.table())
    if output is not None:
        write_json(output, evaluation.to_json())
        err.print(f"figures written to {output}", markup=False)


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/quickstart"),
    seeds: Annotated[int, typer.Option(help="Repeat with this many seeds; prints mean and spread.")] = 1,
) -> None:
    """Train and measure the embedded default: 30 AWS services, atomic codes, no account, no download.

    Imports the catalogue, indexes it, runs memorization and retrieval training, and evaluates beside BM25 and dense
    retrieval on the human-written example titles. Minutes on two cores.
    """
    from toolgen.benchmarks.quickstart import run_quickstart

    run_quickstart(output, seeds)


def main() -> None:
    """Entry point of the console script."""
    run_app(app)
