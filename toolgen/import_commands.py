"""``toolgen import ...``: sources of tools become catalogues. Knows the terminal; ``toolgen.sources`` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from toolgen.errors import InputError
from toolgen.sources.set_folder import ImportedSet
from toolgen.terminal import err, out, progress_bar
from toolgen.tools import ToolCatalog

importers = typer.Typer(no_args_is_help=True, help="Turn a source of tools into a catalogue.")

Output = Annotated[Path, typer.Option("--out", help="Catalogue to write: .jsonl or .jsonl.gz.")]
Trajectories = Annotated[Path | None, typer.Option(help="Also write what agents did, step by step.")]
KnownTools = Annotated[
    Path | None, typer.Option("--tools", help="Catalogue of tools that are known already; they keep ids and places.")
]


@importers.command("botocore")
def import_botocore(
    output: Output,
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


@importers.command("toolbench")
def import_toolbench(
    path: Annotated[Path, typer.Argument(help="Folder or file of ToolBench, StableToolBench or ToolGen.")],
    output: Output,
    queries: Annotated[Path | None, typer.Option(help="Also write the labelled queries.")] = None,
    trajectories: Trajectories = None,
    branches: Annotated[
        bool, typer.Option("--branches", help="Of answer trees, also write the branches that did not win.")
    ] = False,
    tools: KnownTools = None,
) -> None:
    """Import ToolBench: tool files, instructions, retrieval folders, answer trees; and ToolGen's ShareGPT files.

    What PATH holds is found out by looking: a folder with toolenv/ and what lies beside it (instruction/, retrieval/,
    answer/), a folder of query files such as StableToolBench's, one with corpus.tsv, ToolGen's files or one of them.
    What was merged, renamed and left out is counted, with the first examples.

    Example: toolgen import toolbench data --out tools.jsonl --queries queries.jsonl --trajectories trajectories.jsonl

    Queries that lie apart from the tool files: toolgen import toolbench solvable_queries --tools tools.jsonl
    --out all-tools.jsonl --queries test.jsonl
    """
    from toolgen.agent.trajectory import count_trajectories, write_trajectories
    from toolgen.queries import write_queries
    from toolgen.sources.toolbench_folder import import_toolbench

    if branches and trajectories is None:
        raise InputError(
            "--branches are trajectories. Say where they are to be written (--trajectories), or leave it out."
        )
    known = ToolCatalog.from_jsonl(tools) if tools is not None else None
    with progress_bar("Importing, kilobytes") as progress:
        done = import_toolbench(
            path, known, trajectories=trajectories is not None, branches=branches, progress=progress
        )
    for option, wanted, found in (
        ("--queries", queries, done.queries),
        ("--trajectories", trajectories, done.trajectories),
    ):
        if wanted is not None and not found:
            out.print(done.remarks.table())
            raise InputError(f"{path}: nothing to write for {option} {wanted} was found here. Leave the option out.")
    done.catalog.to_jsonl(output)
    if queries is not None:
        write_queries(queries, done.queries)
    if trajectories is not None:
        write_trajectories(trajectories, done.trajectories)
    out.print(f"found {done.found}", markup=False)
    if trajectories is not None:
        out.print(str(count_trajectories(done.trajectories)), markup=False, soft_wrap=True)
    out.print(done.remarks.table())
    for count, what, file in (
        (len(done.catalog), f"tools ({done.new_tools:,} new)", output),
        (len(done.queries), "queries", queries),
        (len(done.trajectories), "trajectories", trajectories),
    ):
        if file is not None or count:
            where = f"written to {file}" if file is not None else "found, and not asked for"
            err.print(f"{count:,} {what} {where}", markup=False, soft_wrap=True)


@importers.command("apibank")
def import_apibank(
    path: Annotated[Path, typer.Argument(help="Folder with dialogues.jsonl and tools.jsonl, plain or gzip.")],
    output: Output,
    trajectories: Trajectories = None,
    tools: KnownTools = None,
) -> None:
    """Import API-Bank: its tools, and its dialogues as trajectories.

    Tools that dialogues call and that no file describes are added with their names alone.

    Example: toolgen import apibank data/apibank --out tools.jsonl --trajectories trajectories.jsonl
    """
    from toolgen.sources.apibank import import_apibank

    known = ToolCatalog.from_jsonl(tools) if tools is not None else None
    _write(import_apibank(path, known), output, trajectories)


@importers.command("traject")
def import_traject(
    path: Annotated[Path, typer.Argument(help="Folder with queries.jsonl and tools.jsonl, plain or gzip.")],
    output: Output,
    trajectories: Trajectories = None,
    tools: KnownTools = None,
) -> None:
    """Import TRAJECT-Bench: its tools, and the calls of its queries as trajectories without observations.

    Example: toolgen import traject data/traject --out tools.jsonl --trajectories trajectories.jsonl
    """
    from toolgen.sources.traject import import_traject

    known = ToolCatalog.from_jsonl(tools) if tools is not None else None
    _write(import_traject(path, known), output, trajectories)


def _write(done: ImportedSet, output: Path, trajectories: Path | None) -> None:
    from toolgen.agent.trajectory import count_trajectories, write_trajectories

    done.catalog.to_jsonl(output)
    if trajectories is not None:
        write_trajectories(trajectories, done.trajectories)
    out.print(str(count_trajectories(done.trajectories)), markup=False, soft_wrap=True)
    out.print(done.remarks.table())
    where = f"written to {trajectories}" if trajectories is not None else "found, and not asked for"
    err.print(f"{len(done.catalog):,} tools ({done.new_tools:,} new) written to {output}", markup=False, soft_wrap=True)
    err.print(f"{len(done.trajectories):,} trajectories {where}", markup=False, soft_wrap=True)
