"""``python -m toolgen.retrieve``: rank the tools of a checkpoint for queries. Knows the terminal; the work is done by
``GenerativeRetriever``."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from toolgen.errors import InputError
from toolgen.retriever import Hit
from toolgen.terminal import err, out, progress_bar, report_error, run_app, visible

if TYPE_CHECKING:
    from toolgen.beam import Normalize
    from toolgen.generative import GenerativeRetriever

_WINDOW = 1024
"""Queries that are ranked before any is printed: enough to sort them into batches of similar length."""

app = typer.Typer(add_completion=False)


@app.command()
def retrieve(
    checkpoint: Annotated[Path, typer.Option(help="Folder that a stage wrote, e.g. runs/quickstart/retrieval/final.")],
    queries: Annotated[
        list[str] | None, typer.Argument(help="What the tool should do. None: an interactive prompt.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Answers a query.")] = 5,
    file: Annotated[Path | None, typer.Option(help="Read queries from a text file, one a line; '-' is stdin.")] = None,
    group: Annotated[str | None, typer.Option(help="Only tools of these groups, e.g. s3,ec2.")] = None,
    beams: Annotated[
        int | None, typer.Option(help="Beam width for codes of several tokens (default: max(k, 10)).")
    ] = None,
    normalize: Annotated[
        Literal["vocab", "allowed"] | None,
        typer.Option(
            help="What probabilities are normalised over. vocab: exact. allowed: faster; with codes of several tokens "
            "another scorer. (default: vocab; with codes of one token, where both rank alike, allowed)"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: CUDA when there is one).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of tables.")] = False,
) -> None:
    """Rank the tools of a checkpoint for one or more queries.

    Examples:

      python -m toolgen.retrieve --checkpoint runs/quickstart/retrieval/final "make a new bucket" -k 5

      python -m toolgen.retrieve --checkpoint DIR --group s3,ec2 --file queries.txt --json > ranked.jsonl
    """
    if file is not None and str(file) != "-" and not file.is_file():
        raise InputError(f"{file}: no such file. Give a text file with one query a line, or '-' for stdin.")
    groups = [name.strip() for name in group.split(",") if name.strip()] if group is not None else None
    if groups is not None and not groups:
        raise InputError("--group names no group. Give names separated by commas, such as --group s3,ec2.")
    retriever = _load(checkpoint, device, beams, normalize)
    if queries or file is not None:
        _answer(retriever, chain(queries or [], _lines(file)), k, groups, as_json)
        return
    err.print(f"{len(retriever.artefacts.catalog):,} tools. Type what you need; an empty line or Ctrl-D ends.")
    while line := _ask():
        try:
            _answer(retriever, [line], k, groups, as_json)
        except InputError as error:
            report_error(error)


def _lines(file: Path | None) -> Iterator[str]:
    """The lines of a text file that are not blank, read as they are asked for."""
    if file is None:
        return
    with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as stream:
        count = 0
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise InputError(f"{file}: line {number} is not UTF-8 text ({error.reason}). Convert it.") from error
            if line:
                count += 1
                yield line
    if not count:
        raise InputError(f"{file}: no query. At least one line that is not blank is needed.")


def _load(
    checkpoint: Path, device: str | None, beams: int | None, normalize: "Normalize | None"
) -> "GenerativeRetriever":
    with err.status("Loading the model"):
        from toolgen.generative import GenerativeRetriever

        return GenerativeRetriever.load(checkpoint, device=device, beams=beams, normalize=normalize)


def _ask() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _answer(
    retriever: "GenerativeRetriever", texts: Iterable[str], k: int, groups: Sequence[str] | None, as_json: bool
) -> None:
    """Rank and print window by window, so that a long file shows its first answers soon and is never held whole."""
    started = time.perf_counter()
    done, model_seconds, remaining = 0, 0.0, iter(texts)
    while window := list(islice(remaining, _WINDOW)):
        # The bar is gone while answers are printed: two consoles on one terminal would write over each other.
        with progress_bar("Ranking" if done == 0 else f"Ranking from query {done + 1:,}") as progress:
            answers = retriever.search(window, k, groups=groups, progress=progress, first=done + 1)
        for text, hits in zip(window, answers, strict=True):
            if as_json:
                out.file.write(json.dumps(_record(text, hits), ensure_ascii=False) + "\n")
            else:
                out.print(_table(retriever, text, hits))
        done += len(window)
        model_seconds += retriever.model_seconds
    total = time.perf_counter() - started
    err.print(
        f"{done:,} quer{'y' if done == 1 else 'ies'}: model {model_seconds * 1e3:,.1f} ms, total {total * 1e3:,.1f} ms"
    )


def _record(text: str, hits: Sequence[Hit]) -> dict[str, object]:
    ranked = [{"rank": rank, "tool": hit.tool, "score": hit.score} for rank, hit in enumerate(hits, start=1)]
    return {"query": text, "tools": ranked}


def _table(retriever: "GenerativeRetriever", text: str, hits: Sequence[Hit]) -> Table:
    def shown(stranger: str) -> str:
        return escape(visible(" ".join(stranger.split())))

    table = Table(title=shown(text), title_justify="left", expand=True)
    # The description alone gives way on a narrow terminal: an id that is cut is no use.
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("tool", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("description", no_wrap=True, overflow="ellipsis", ratio=1)
    for rank, hit in enumerate(hits, start=1):
        description = retriever.artefacts.catalog[hit.tool].description
        table.add_row(str(rank), shown(hit.tool), f"{hit.score:.3f}", shown(description))
    return table


if __name__ == "__main__":
    run_app(app)
