"""``toolgen toolken ...``: tool rows beside a frozen model. Knows the terminal; the work is done in ``toolken``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.terminal import err, out, progress_bar, visible

toolkens = typer.Typer(no_args_is_help=True, help="Train tool rows on a frozen model, and write with them.")


@toolkens.command()
def train(
    config: Annotated[Path, typer.Option(help="YAML file; see configs/toolken/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="key=value", help="e.g. model=NAME prior.kind=hidden fit.epochs=20")
    ] = None,
) -> None:
    """Train one output row a tool, the base standing still (ToolkenGPT, TokenLearning).

    The model is run once over the texts, and its states are kept; then training takes seconds. Epoch and bias are
    chosen on validation texts. Writes OUTPUT/final and OUTPUT/report.json.

    Example: toolgen toolken train --config configs/toolken/funcqa.yaml prior.kind=hidden prior.scale=word
    """
    from toolgen.config import load_config
    from toolgen.toolken.config import ToolkenConfig
    from toolgen.toolken.training import train_toolkens

    told = load_config(ToolkenConfig, config, overrides or ())
    final = train_toolkens(told)
    out.print(_report_table(read_json(told.output / "report.json")))
    err.print(f"rows written to {final}", markup=False)


@toolkens.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of rows: OUTPUT/final.")],
    tools: Annotated[Path, typer.Option(help="Tools to add: .jsonl or .jsonl.gz.")],
    output: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    texts: Annotated[
        Path | None, typer.Option(help="Texts that call them, for their rows to learn from: .jsonl or .jsonl.gz.")
    ] = None,
) -> None:
    """Give more tools a row each, in seconds; the rows that are there stay as they are.

    A new row stands where the prior that the others started from puts it. With --texts it then learns from these as
    the others did, and the texts show how the tool is called: one that takes arguments is not called without.

    Example: toolgen toolken add runs/toolken/funcqa/final --tools new.jsonl --texts calls.jsonl --out runs/toolken/more
    """
    from toolgen.toolken.extension import with_tools
    from toolgen.toolken.texts import read_texts
    from toolgen.toolken.toolkens import Toolkens
    from toolgen.tools import ToolCatalog

    present = Toolkens.load(folder)
    with err.status("Loading the base"):
        base = present.load_base()
    added = list(ToolCatalog.from_jsonl(tools).values())
    shown = []
    if texts is not None:
        shown = read_texts(texts, ToolCatalog([*present.catalog.values(), *added]))
    with progress_bar("Running the model once") as progress:
        grown = with_tools(present, added, base, shown, progress)
    grown.save(output)
    err.print(f"{len(grown.catalog):,} tools, {len(present.catalog):,} before; rows written to {output}", markup=False)


@toolkens.command()
def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of rows: OUTPUT/final.")],
    prompt: Annotated[str, typer.Option(help="What the model goes on from.")],
    most_tokens: Annotated[int, typer.Option(min=1, help="Words and results, in tokens.")] = 128,
    tools: Annotated[bool, typer.Option("--tools/--no-tools", help="Whether tools are called.")] = True,
) -> None:
    """Write on from a prompt, calling tools on the way; the calls are listed below the text.

    Example: toolgen toolken run runs/toolken/gsm8k/final --prompt "Question: What is 17 times 23? Answer: 17 * 23 ="
    """
    from toolgen.agent.machine import Settings
    from toolgen.toolken.evaluation import Solver
    from toolgen.toolken.toolkens import Toolkens

    rows = Toolkens.load(folder)
    with err.status("Loading the base"):
        solver = Solver(rows, rows.load_base())
    text, done = solver.write(prompt, Settings(most_tokens=most_tokens), tools=tools)
    out.print(visible(text), markup=False, highlight=False)
    for call in done.calls:
        told = f"{call.tool}({call.written.text}) -> {call.observation.status.value}: {call.observation.content}"
        err.print(visible(told), markup=False, highlight=False)


@toolkens.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of rows: OUTPUT/final.")],
    problems: Annotated[Path | None, typer.Option(help="Questions with answers that are numbers: .jsonl(.gz).")] = None,
    prompt: Annotated[str, typer.Option(help="How a question is asked.")] = "Q: {question}\nA:",
    texts: Annotated[Path | None, typer.Option(help="Texts with calls, whose arguments are to be written.")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Only the texts of this split; by default those that training left for its test."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Problems, and calls of texts, at most.")] = 200,
    most_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 128,
    output: Annotated[Path | None, typer.Option("--out", help="Also write figures and answers as JSON.")] = None,
) -> None:
    """Measure what the model does by itself: answers with tools and without, arguments, how many calls run.

    Where and what the rows call in texts as they stand is in the report.json of the training.

    Example: toolgen toolken eval runs/toolken/funcqa/final --problems funcqa_onehop_test.jsonl.gz
    """
    from toolgen.agent.machine import Settings
    from toolgen.toolken.config import TextsConfig, part_of
    from toolgen.toolken.evaluation import Solver, read_problems
    from toolgen.toolken.texts import read_texts
    from toolgen.toolken.toolkens import Toolkens

    if problems is None and texts is None:
        raise InputError("Nothing to measure on. Give --problems, --texts, or both.")
    asked = read_problems(problems, prompt)[:most] if problems is not None else []
    rows = Toolkens.load(folder)
    annotated = read_texts(texts, rows.catalog, split) if texts is not None else []
    if annotated and split is None and "data" in rows.trained:
        # Rows have seen the others, and some of them are the demonstrations.
        data = TextsConfig(**rows.trained["data"])
        annotated = [text for text in annotated if part_of(text, data) == "test"]
    with err.status("Loading the base"):
        solver = Solver(rows, rows.load_base())
    told: dict[str, Any] = {}
    if annotated:
        with progress_bar("Writing arguments") as progress:
            told["arguments"] = asdict(solver.fill_in(annotated, most, progress))
    for name, tools in (("with tools", True), ("without tools", False)) if asked else ():
        with progress_bar(f"Answering {name}") as progress:
            solved = solver.solve(asked, tools=tools, settings=Settings(most_tokens=most_tokens), progress=progress)
        calls = [call for solution in solved for call in solution.transcript.calls]
        told[name] = {
            "answers_right": sum(solution.right for solution in solved) / len(solved),
            "problems": len(solved),
            "calls": len(calls),
            "calls_executed": sum(call.executed for call in calls) / max(1, len(calls)),
            "answers": [{"id": one.problem.id, "text": one.text, "right": one.right} for one in solved],
        }
    out.print(_eval_table(told))
    if output is not None:
        write_json(output, told)
        err.print(f"figures written to {output}", markup=False)


def _report_table(report: dict[str, Any]) -> Table:
    from toolgen.toolken.training import MEASURED

    table = Table("on the test texts", "rows", "spread", "nearest neighbour", title_justify="left")
    near = report["nearest_neighbour"] or {}
    for name in MEASURED:
        if name in report["test"]:
            values = (report["test"][name], report["test"][f"{name}_spread"], near.get(name))
            table.add_row(name.replace("_", " "), *("" if value is None else f"{value:.3f}" for value in values))
    return table


def _eval_table(told: dict[str, Any]) -> Table:
    table = Table("measured", "figure", "")
    for part, figures in told.items():
        for name, value in figures.items():
            if name != "answers":
                shown = f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
                table.add_row(part, name.replace("_", " "), shown)
    return table
