"""``toolgen check-splits``: whether parts that are given share what they must not. Knows the terminal; the check itself
is ``toolgen.leaks``."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolgen.errors import InputError
from toolgen.leaks import ContaminatedSplitsError, SplitReport, check_splits
from toolgen.marks import NEAR, By
from toolgen.queries import Query, read_queries
from toolgen.terminal import err, out, visible
from toolgen.tools import ToolCatalog


def check_splits_command(
    queries: Annotated[list[Path], typer.Option(help="Queries with splits; give it again for parts in other files.")],
    by: Annotated[By, typer.Option(help="What no two parts may share.")] = "query",
    tools: Annotated[Path | None, typer.Option(help="Catalogue; --by group needs it, or --key.")] = None,
    train: Annotated[list[str] | None, typer.Option(help="Split to train on, repeatable (default: train).")] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="Split that is chosen on (default: validation, where there is one).")
    ] = None,
    test: Annotated[list[str] | None, typer.Option(help="Split that is reported on (default: all others).")] = None,
    key: Annotated[str | None, typer.Option(help="By group: key of the queries that names theirs.")] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of words that makes texts near duplicates.")] = NEAR,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Check that train, validation and test share nothing which would make the test easy.

    By query: no text that is equal or nearly so, and no gold set of two or more tools. By tool: no gold tool. By group:
    no group of a gold tool; with --key, no value of that key of the queries, and no gold tool. Where something is
    shared, how often and the first few queries are printed, and the exit code is 2.

    Examples:

      toolgen check-splits --queries split.jsonl

      toolgen check-splits --queries traject.jsonl --by group --key category --train train --test test --json
    """
    catalog = ToolCatalog.from_jsonl(tools) if tools is not None else None
    read = [query for path in queries for query in read_queries(path, catalog)]
    train = train or ["train"]
    validation = _others(read, [*train, *(test or ())], only="validation") if validation is None else validation
    test = test or _others(read, [*train, *validation])
    with err.status("Looking for what the parts share"):
        report = check_splits(
            read, by, train=train, validation=validation, test=test, catalog=catalog, key=key, near=near
        )
    if as_json:
        out.file.write(json.dumps(report.to_json()) + "\n")
    else:
        out.print(_table(report))
    if not report.clean:
        raise ContaminatedSplitsError(report)
    if not as_json:
        err.print(visible(report.sentence()), markup=False)


def _others(queries: list[Query], taken: list[str], only: str | None = None) -> list[str]:
    """Splits here that are not taken, in the order in which they appear."""
    splits = dict.fromkeys(query.split for query in queries if query.split and query.split not in taken)
    found = [split for split in splits if only is None or split == only]
    if not found and only is None:
        named = ", ".join(sorted({query.split for query in queries if query.split})) or "none"
        raise InputError(
            f"There is no split to report on beside {', '.join(taken)} (splits here: {named}). Name the parts with "
            "--train and --test, or make them with `toolgen split`."
        )
    return found


def _table(report: SplitReport) -> Table:
    table = Table(title=f"check by {report.by}", title_justify="left")
    for heading in ("part", "queries", "against", "queries of it", "that share", "pairs"):
        table.add_column(heading, justify="left" if heading in ("part", "against") else "right")
    for crossing in report.crossings:
        table.add_row(
            escape(visible(crossing.earlier)),
            f"{report.parts[crossing.earlier]:,}",
            escape(visible(crossing.later)),
            f"{report.parts[crossing.later]:,}",
            f"{crossing.queries:,}",
            f"{crossing.pairs:,}",
        )
    return table
