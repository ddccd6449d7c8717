"""``toolgen split``, ``split-trajectories`` and ``check-splits``: queries, and what agents did for them, dealt out to
parts that share nothing, and whether parts that are given do. Knows the terminal; the work is done by
``toolgen.splits`` and ``toolgen.leaks``."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from toolgen.agent.trajectory import read_trajectories, write_trajectories
from toolgen.errors import InputError
from toolgen.files import slug
from toolgen.leaks import ContaminatedSplitsError, SplitReport, check_splits
from toolgen.marks import NEAR, By
from toolgen.queries import Query, read_queries, write_queries
from toolgen.splits import Split, parse_shares, split_queries
from toolgen.terminal import err, out, visible
from toolgen.tools import ToolCatalog


def split_command(
    queries: Annotated[Path, typer.Option(help="Labelled queries: .jsonl or .jsonl.gz.")],
    shares: Annotated[str, typer.Option(help="Parts and their shares of the queries, the one to train on first.")],
    output: Annotated[Path, typer.Option("--out", help="Queries to write, each with its part as split.")],
    by: Annotated[By, typer.Option(help="What no two parts may share.")] = "query",
    tools: Annotated[Path | None, typer.Option(help="Catalogue; --by group needs it, or --key.")] = None,
    key: Annotated[str | None, typer.Option(help="By group: key of the queries that names theirs.")] = None,
    only: Annotated[str | None, typer.Option(help="Split the queries of this split; the others keep theirs.")] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of words that makes texts near duplicates.")] = NEAR,
) -> None:
    """Split labelled queries into parts that share nothing which would make the test easy.

    By query: no text that is equal or nearly so, and no gold set of two or more tools, is in two parts. By tool: no
    gold tool is. By group: no group of a gold tool is; with --key, no value of that key of the queries, and no gold
    tool. The result is the same on every machine. `toolgen check-splits` checks parts that others made.

    Example: toolgen split --queries Q --by query --shares train=0.8,validation=0.1,test=0.1 --out split.jsonl
    """
    catalog = ToolCatalog.from_jsonl(tools) if tools is not None else None
    wanted = parse_shares(shares)
    with err.status("Looking for queries that belong together"):
        done = split_queries(read_queries(queries, catalog), wanted, by, catalog=catalog, key=key, near=near, only=only)
    write_queries(output, done.queries)
    out.print(_parts(done, by, "queries"))
    total = sum(part.queries for part in done.parts)
    largest = ", ".join(f"{size:,}" for size in done.clusters[:5])
    out.print(f"{total:,} queries in {len(done.clusters):,} clusters that stay together; the largest: {largest}")
    if catalog is not None:
        first = done.parts[0]
        message = f"{len(catalog) - first.tools:,} of {len(catalog):,} tools have no query in {first.name}"
        out.print(message, markup=False)
        if by == "group" and (ungrouped := sum(not tool.group for tool in catalog.values())):
            out.print(f"{ungrouped:,} tools have no group; each of them counts as one of its own")
    if done.kept:
        out.print(
            f"{done.kept:,} queries kept their split; {done.near_kept:,} of the others belong to a cluster of theirs"
        )
    err.print(f"queries written to {output}", markup=False)


def split_trajectories_command(
    trajectories: Annotated[Path, typer.Option(help="What agents did: .jsonl or .jsonl.gz.")],
    shares: Annotated[str, typer.Option(help="Parts and their shares, the one to train on first.")],
    output: Annotated[Path, typer.Option("--out", help="Folder for a file a part, such as train.jsonl.")],
    by: Annotated[By, typer.Option(help="What no two parts may share.")] = "tool",
    tools: Annotated[Path | None, typer.Option(help="Catalogue; --by group needs it, or --key.")] = None,
    key: Annotated[str | None, typer.Option(help="By group: key of the metadata that names theirs.")] = None,
    near: Annotated[float, typer.Option(help="Jaccard similarity of words that makes texts near duplicates.")] = NEAR,
) -> None:
    """Split trajectories as `toolgen split` splits queries: a trajectory is its query, with the tools that it calls.

    Trajectories that were made from labelled queries, as TRAJECT-Bench's are, so come into the parts in which
    `toolgen split` puts these with the same options: what one training has held out the other one has too.

    Example: toolgen split-trajectories --trajectories T --shares train=0.6,validation=0.2,test=0.2 --out parts
    """
    catalog = ToolCatalog.from_jsonl(tools) if tools is not None else None
    wanted = parse_shares(shares)
    files = {name: output / f"{slug(name)}.jsonl" for name in wanted}
    if len(set(files.values())) < len(files):
        raise InputError(f"The parts {', '.join(files)} would share a file. Give them names of different letters.")
    read = read_trajectories(trajectories, catalog)
    with err.status("Looking for trajectories that belong together"):
        asked = [trajectory.as_query() for trajectory in read]
        done = split_queries(asked, wanted, by, catalog=catalog, key=key, near=near)
    for name, path in files.items():
        write_trajectories(path, [one for one, query in zip(read, done.queries, strict=True) if query.split == name])
    out.print(_parts(done, by, "trajectories"))
    err.print(f"a file for each part written to {output}", markup=False)


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


def _parts(done: Split, by: By, what: str) -> Table:
    table = Table(title=f"split by {by}", title_justify="left")
    for heading in ("part", "share wanted", what, "share", "clusters", "tools", "not in the first part"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    total = sum(part.queries for part in done.parts)
    for part in done.parts:
        counts = (part.queries, f"{part.queries / total:.3f}", part.clusters, part.tools, part.untrained)
        cells = (value if isinstance(value, str) else f"{value:,}" for value in counts)
        table.add_row(escape(visible(part.name)), f"{part.share:g}", *cells)
    return table


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
