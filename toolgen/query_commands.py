"""``toolgen queries ...``: the commands that make training queries. Knows the terminal; the work is done elsewhere."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from toolgen.errors import InputError
from toolgen.terminal import err, out
from toolgen.tools import ToolCatalog

makers = typer.Typer(no_args_is_help=True, help="Make training queries for the tools of a catalogue.")


@makers.command()
def synthesize(
    tools: Annotated[Path, typer.Option(help="Catalogue: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Queries to write: .jsonl or .jsonl.gz.")],
    per_tool: Annotated[int, typer.Option(min=0, help="Queries for each tool alone.")] = 4,
    joined_per_tool: Annotated[
        int, typer.Option(min=0, help="Plain queries for several tools drawn at random that each tool takes part in.")
    ] = 0,
    joined_within: Annotated[
        str, typer.Option(help="The same for tools of one group, category or the catalogue: group=1,category=2.")
    ] = "",
    styles: Annotated[str, typer.Option(help="plain, varied, or styles and their weights: short=1,vague=2.")] = (
        "varied"
    ),
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
) -> None:
    """Make queries out of the tools' own documents, offline: no model, no network, the same on every run.

    \b
    named, verbatim, parametrised, summarised, fragment, combined    close to the document (plain)
    short, vague, question, imperative, long, misspelt               as people put it (varied: all twelve)

    They are what stages/retrieval.py makes by itself from synthetic_per_tool, joined_per_tool, joined_within and
    styles (there plain by default), written down to be read, or to be trained on by queries.path.

    Example: toolgen queries synthesize --tools T --joined-within group=1,category=1 --out queries.jsonl.gz
    """
    from toolgen.queries import write_queries
    from toolgen.synthesis import catalog_queries, joined_queries, parse_scopes, style_weights
    from toolgen.synthesis import joined_within as join_within

    weights, scopes = style_weights(styles), parse_scopes(joined_within)
    if not per_tool and not joined_per_tool and not any(scopes.values()):
        raise InputError("There is nothing to make. Give --per-tool, --joined-per-tool or --joined-within above 0.")
    catalog = ToolCatalog.from_jsonl(tools)
    with err.status("Making queries"):
        made = catalog_queries(catalog, per_tool, seed, weights)
        made += joined_queries(catalog, joined_per_tool, seed)
        for scope, count in scopes.items():
            made += join_within(catalog, count, seed, scope, weights)
        write_queries(output, made)
    table = Table(title=f"{len(made):,} queries for {len(catalog):,} tools", title_justify="left")
    for heading in ("style", "queries", "tools a query", "words a query"):
        table.add_column(heading, justify="left" if heading == "style" else "right")
    kinds = [" ".join(filter(None, (q.metadata["style"], q.metadata.get("within")))) for q in made]
    wanted, said = Counter[str](), Counter[str]()
    for kind, query in zip(kinds, made, strict=True):
        wanted[kind] += len(query.tools)
        said[kind] += len(query.text.split())
    for kind, count in Counter(kinds).most_common():
        table.add_row(kind, f"{count:,}", f"{wanted[kind] / count:.1f}", f"{said[kind] / count:.1f}")
    out.print(table)
    err.print(f"queries written to {output}", markup=False)
