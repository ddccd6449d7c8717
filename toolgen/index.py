"""``toolgen index ...``: the commands that make and look at codes. Like ``cli``, which mounts them, it looks at
indexing inside functions and does no work itself."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from toolgen.errors import InputError
from toolgen.files import replacing, write_json
from toolgen.terminal import err, out, progress_bar, visible
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from toolgen.codebook import Codebook, CodebookStatistics
    from toolgen.indexing.inspection import Index


class BuildByDefault(TyperGroup):
    """``toolgen index --scheme ...`` is short for ``toolgen index build --scheme ...``, and its help shows both."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``build`` before an option other than a call for help."""
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["build", *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The group's help, then that of ``build``."""
        super().format_help(ctx, formatter)
        build = self.commands["build"]
        build.format_help(build.make_context("build", [], parent=ctx, resilient_parsing=True), formatter)


indexes = typer.Typer(
    cls=BuildByDefault, no_args_is_help=True, help="Give every tool of a catalogue a code; look at the codes."
)


@indexes.command("build")
def build_index(
    scheme: Annotated[str, typer.Option(help="atomic, numeric, hierarchical, semantic or residual.")],
    tools: Annotated[Path, typer.Option(help="Catalogue: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Codebook to write, e.g. codebook.json.")],
    model: Annotated[str, typer.Option(help="Base model whose tokenizer the codes must suit.")] = "embedded",
    disambiguate: Annotated[
        bool, typer.Option("--disambiguate", help="Give a tool whose code is taken an extra last symbol.")
    ] = False,
    extend: Annotated[Path | None, typer.Option(help="Codebook to add new tools to; its codes stay.")] = None,
    width: Annotated[
        int | None, typer.Option(help="numeric: digits of a code (default: room for as many tools again).")
    ] = None,
    digits: Annotated[
        Literal["text", "new"] | None,
        typer.Option(help="numeric, hierarchical: digits of text, or new tokens for each place (default: text)."),
    ] = None,
    branching: Annotated[int | None, typer.Option(help="hierarchical: children of a cluster (default: 10).")] = None,
    balanced: Annotated[
        bool | None,
        typer.Option("--balanced/--unbalanced", help="hierarchical: equally large clusters or not (default: not)."),
    ] = None,
    split: Annotated[
        bool | None, typer.Option("--split/--whole", help="semantic: group/name or name_for_group (default: whole).")
    ] = None,
    levels: Annotated[int | None, typer.Option(help="residual: tokens of a code (default: 3).")] = None,
    size: Annotated[
        int | None,
        typer.Option(help="residual: new tokens a level, a power of two (default: about the root of the tools)."),
    ] = None,
    spread: Annotated[
        bool | None,
        typer.Option(
            "--spread/--nearest",
            help="residual: documents that are alike get the nearest free last token, or the same (default: spread).",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="hierarchical, residual: of the clustering (default: 0).")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="hierarchical, residual: sentence-transformers model to read documents (default: embedded)."),
    ] = None,
    document_tokens: Annotated[
        int | None, typer.Option(help="hierarchical, residual: tokens to read of a document (default: 64).")
    ] = None,
) -> None:
    """Give every tool of a catalogue a code.

    \b
    atomic        one new token a tool
    numeric       the tool's number, digit by digit
    hierarchical  its path down a tree of clusters of documents
    semantic      its function name in word pieces
    residual      what its document means in a few new tokens, coarse to fine

    Codes are proved distinct and prefix-free on the token ids of the model's tokenizer.

    Embeddings of documents are kept in the folder TOOLGEN_CACHE, or in ~/.cache/toolgen.

    Example: toolgen index --scheme atomic --tools tools.jsonl --out codebook.json
    """
    from toolgen.base import load_tokenizer
    from toolgen.codebook import Codebook
    from toolgen.tokenizer import bind_standalone, encode_text, end_token_id

    catalog = ToolCatalog.from_jsonl(tools)
    base = Codebook.load(extend) if extend is not None else None
    tokenizer = load_tokenizer(model)
    end_id = end_token_id(tokenizer)
    given = {
        **{"width": width, "digits": digits, "branching": branching, "balanced": balanced, "split": split},
        **{"levels": levels, "size": size, "spread": spread, "seed": seed},
    }
    book = _build(
        scheme,
        catalog,
        encoder,
        document_tokens,
        encode=lambda text: encode_text(tokenizer, text),
        end_id=end_id,
        disambiguate=disambiguate,
        base=base,
        **{name: value for name, value in given.items() if value is not None},
    )
    book.save(output)
    _print_index(book, book.statistics(bind_standalone(book, tokenizer, end_id)))
    err.print(f"codebook written to {output}", markup=False)


def _build(
    scheme: str, catalog: ToolCatalog, encoder: str | None, document_tokens: int | None, **arguments: Any
) -> "Codebook":
    """``toolgen.indexing.build``, with embeddings for the schemes that need them; the codebook says which."""
    from toolgen.embeddings import DOCUMENT_TOKENS, EMBEDDED, TextEmbedder, Vectors
    from toolgen.indexing import build, reads_documents
    from toolgen.indexing.options import settle

    if not reads_documents(scheme):
        for option, value in (("--encoder", encoder), ("--document-tokens", document_tokens)):
            if value is not None:
                raise InputError(f"Scheme {scheme!r} reads no documents, so it has no use for {option}. Leave it out.")
        return build(scheme, catalog, **arguments)
    base = arguments["base"]
    encoder = settle("encoder", encoder, base, EMBEDDED)
    document_tokens = settle("document_tokens", document_tokens, base, DOCUMENT_TOKENS)
    with ExitStack() as stack:

        def embed(texts: Sequence[str]) -> Vectors:
            with progress_bar("Embedding documents") as progress:
                vectors = TextEmbedder(encoder, document_tokens=document_tokens, progress=progress)(texts)
            stack.enter_context(err.status("Clustering"))
            return vectors

        book = build(scheme, catalog, embed=embed, **arguments)
    return replace(book, options={**book.options, "encoder": encoder, "document_tokens": document_tokens})


def _print_index(book: "Codebook", figures: "CodebookStatistics") -> None:
    table = Table(title=f"{book.scheme} codes", title_justify="left")
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
    if book.scheme == "residual":
        _print_usage(book)


def _print_usage(book: "Codebook") -> None:
    from toolgen.indexing.residual import level_usage

    table = Table(title="how evenly the tokens are used", title_justify="left")
    for heading in ("level", "tokens in use", "entropy in bits", "of equal use"):
        table.add_column(heading, justify="right")
    for level, usage in enumerate(level_usage(book), start=1):
        table.add_row(str(level), f"{usage.symbols:,}", f"{usage.bits:.2f}", f"{usage.share:.1%}")
    out.print(table)


@indexes.command("inspect")
def inspect_index(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Checkpoint, or folder with codebook.json and tools.jsonl; or a codebook's file."
        ),
    ],
    tools: Annotated[Path | None, typer.Option(help="Catalogue, if it is not DIR/tools.jsonl.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Base model whose tokenizer the codes suit, unless DIR is a checkpoint [embedded]."),
    ] = None,
    output: Annotated[Path, typer.Option("--out", help="Page to write.")] = Path("codes.html"),
    figures: Annotated[Path | None, typer.Option("--json", help="Also write the figures, all of them.")] = None,
    group_by: Annotated[
        str | None, typer.Option("--by", help="Metadata that groups the tools, e.g. category (default: their group).")
    ] = None,
    boxes: Annotated[int, typer.Option(min=10, help="The most boxes of the picture.")] = 6000,
    depth: Annotated[int | None, typer.Option(min=1, help="Tokens to show of a code (default: all).")] = None,
) -> None:
    """Look at the codes of an index: the tree of their prefixes as a picture, and figures.

    Shows how codes branch, how evenly their symbols are used, which tools share prefixes, and whether tools of one
    group do. The page is one HTML file and needs no network.

    Example: toolgen index inspect runs/quickstart/retrieval/final --out codes.html
    """
    from toolgen.indexing.inspection import inspect, tokens_in
    from toolgen.indexing.page import render

    index = _load(path, tools, model, group_by)
    inspection = inspect(index)
    with replacing(output) as temporary:
        temporary.write_text(render(index, inspection, boxes, depth), encoding="utf-8")
    out.print(visible(inspection.headline()), markup=False)
    out.print("; ".join(f"{label} {value}" for label, value in inspection.summary()), markup=False)
    out.print(inspection.table())
    if inspection.longest_shared:
        prefix = inspection.longest_shared[0]
        named = escape(visible(", ".join(prefix.tools[:5]) + (" ..." if len(prefix.tools) > 5 else "")))
        out.print(
            f"longest shared prefix: [bold]{escape(visible(prefix.text))}[/] ({tokens_in(prefix.length)}): {named}"
        )
    if figures is not None:
        write_json(figures, inspection.to_json())
        err.print(f"figures written to {figures}", markup=False)
    err.print(f"picture written to {output}", markup=False)


def _load(path: Path, tools: Path | None, model: str | None, group_by: str | None) -> "Index":
    from toolgen.base import EMBEDDED, load_tokenizer
    from toolgen.checkpoint import CATALOG, CODEBOOK, Artefacts, is_checkpoint
    from toolgen.codebook import Codebook
    from toolgen.indexing.inspection import Index
    from toolgen.tokenizer import bind_standalone, end_token_id, token_text

    if is_checkpoint(path):
        if tools is not None or model is not None:
            raise InputError(
                f"{path}: a checkpoint has its own catalogue and tokenizer. Leave --tools and --model out, or give "
                "its codebook.json instead of the folder."
            )
        found = Artefacts.load(path)
        return Index(
            found.codebook, found.codes, found.catalog, lambda token: token_text(found.tokenizer, token), group_by
        )
    file = path if path.is_file() else path / CODEBOOK
    if not file.is_file():
        raise InputError(
            f"{path}: neither a checkpoint nor a folder with a {CODEBOOK}. Give the folder that a stage wrote, or "
            f"build codes with `toolgen index --scheme ... --tools TOOLS --out {file}`."
        )
    source = tools or file.with_name(CATALOG)
    if not source.is_file():
        raise InputError(f"{source}: no such file. Give the catalogue that the codes were built for with --tools.")
    book = Codebook.load(file)
    catalog = ToolCatalog.from_jsonl(source)
    book.check_catalog(catalog)
    tokenizer = load_tokenizer(model or EMBEDDED)
    codes = bind_standalone(book, tokenizer, end_token_id(tokenizer))
    return Index(book, codes, catalog, lambda token: token_text(tokenizer, token), group_by)
