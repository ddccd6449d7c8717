"""``toolgen queries ...``: the commands that make training queries. Knows the terminal; the work is done elsewhere."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from toolgen.errors import InputError
from toolgen.terminal import err, out, progress_bar, visible
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from toolgen.instructions.generation import Generation
    from toolgen.instructions.samples import Sampler

SHOWN = 2
"""Prompts that a dry run prints."""

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


@makers.command()
def generate(
    tools: Annotated[Path, typer.Option(help="Catalogue: .jsonl or .jsonl.gz.")],
    url: Annotated[str, typer.Option(help="Base of the endpoint, e.g. http://localhost:8000/v1.")],
    model: Annotated[str, typer.Option(help="Name by which the endpoint knows the model.")],
    count: Annotated[int, typer.Option(min=1, help="Samples of tools; ten queries are asked for each.")],
    output: Annotated[Path, typer.Option("--out", help="Queries to write: .jsonl or .jsonl.gz.")],
    kind: Annotated[
        Literal["I1", "I2", "I3"], typer.Option(help="A sample: one group, several of a category, of a collection.")
    ] = "I1",
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    answers: Annotated[
        Path | None, typer.Option(help="Folder that keeps the model's answers (default: OUT.answers).")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a minute at most.")] = None,
    concurrency: Annotated[int, typer.Option(help="Requests under way at once.")] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds that a request may take.")] = 180,
    temperature: Annotated[float | None, typer.Option(help="Default: the endpoint's own.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of an answer; default: the endpoint's own limit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the first prompts and what all would cost; ask nothing.")
    ] = False,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens of prompts.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="The same of answers.")] = None,
) -> None:
    """Have queries written by a model behind any OpenAI-compatible endpoint, after ToolBench's recipe.

    The key, where one is needed, is read from the environment variable TOOLGEN_API_KEY and written nowhere. Answers
    are kept as they come, by what was asked: interrupted or run again, the same command asks only for what is missing,
    and a larger --count adds to it. Busy and failing endpoints are asked again, more and more slowly.

    Example: toolgen queries generate --tools T --url URL --model NAME --count 1000 --kind I2 --out queries.jsonl.gz

    With --dry-run first: it prints two prompts and estimates tokens (4 characters each; 1,100 of an answer).
    """
    from toolgen.endpoint import KEY_VARIABLE, EndpointSettings
    from toolgen.instructions.generation import generate as generate_queries
    from toolgen.instructions.samples import Sampler
    from toolgen.queries import write_queries

    settings = EndpointSettings(url, model, temperature, max_tokens, rate, concurrency, timeout)
    sampler = Sampler(ToolCatalog.from_jsonl(tools), kind, seed)
    prices = (price_in or 0.0, price_out or 0.0) if price_in is not None or price_out is not None else None
    if dry_run:
        _foresee(sampler, count, prices)
        return
    if not os.environ.get(KEY_VARIABLE, "").strip():
        err.print(f"{KEY_VARIABLE} is not set: asking without a key.")
    kept = answers or output.with_name(f"{output.name}.answers")
    try:
        with progress_bar("Asking for queries") as progress:
            done = generate_queries(sampler, count, settings, kept, progress)
    except KeyboardInterrupt:
        err.print(
            f"Interrupted. The answers so far are kept in {kept}; run the same command again to go on.", markup=False
        )
        raise typer.Exit(130) from None
    _tell(done, prices)
    if not done.queries:
        raise InputError("Not one usable query came of it, so nothing is written. Try another model, or a dry run.")
    write_queries(output, done.queries)
    err.print(f"queries written to {output}, answers kept in {kept}", markup=False)


def _foresee(sampler: "Sampler", count: int, prices: tuple[float, float] | None) -> None:
    from toolgen.instructions.generation import ANSWER_TOKENS, CHARACTERS_A_TOKEN, estimate
    from toolgen.instructions.wording import messages_of

    for number in range(min(SHOWN, count)):
        for message in messages_of(sampler.sample(number)):
            out.rule(f"prompt {number + 1}, {message['role']}", align="left")
            out.print(visible(message["content"]), markup=False, soft_wrap=True)
    out.rule()
    foreseen = estimate(sampler, count)
    cost = "" if prices is None else f", {foreseen.price(*prices):,.2f} at these prices"
    out.print(
        f"{foreseen.prompts:,} prompts: about {foreseen.prompt_tokens:,} tokens to send ({CHARACTERS_A_TOKEN} "
        f"characters a token) and {foreseen.answer_tokens:,} to receive ({ANSWER_TOKENS:,} an answer){cost}. "
        "Nothing was asked."
    )


def _tell(done: "Generation", prices: tuple[float, float] | None) -> None:
    cost = "" if prices is None else f", {(done.prompt_tokens * prices[0] + done.answer_tokens * prices[1]) / 1e6:,.2f}"
    out.print(
        f"{len(done.queries):,} queries of {done.samples:,} samples; {done.asked:,} answers asked for now took "
        f"{done.prompt_tokens:,} + {done.answer_tokens:,} tokens as the endpoint counts them{cost}."
    )
    for what, reasons in (("dropped", done.faults), ("samples without an answer", done.unanswered)):
        for reason, count in reasons.items():
            out.print(f"{what}: {count:,} x {visible(reason)}", markup=False)
    if done.unanswered:
        out.print("Run the same command again to ask for the samples without an answer.")
