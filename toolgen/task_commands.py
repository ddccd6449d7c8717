"""``toolgen tasks ...``: the commands that make tasks for agents. Knows the terminal; the work is done elsewhere."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from toolgen.terminal import err, out, progress_bar

taskers = typer.Typer(no_args_is_help=True, help="Make tasks whose success can be seen in the state they leave.")


@taskers.callback()
def tasks() -> None:
    """Make tasks whose success can be seen in the state they leave."""


@taskers.command()
def aws(
    output: Annotated[Path, typer.Option("--out", help="Tasks to write: .jsonl or .jsonl.gz.")],
    count: Annotated[int, typer.Option("--n", min=1, help="How many tasks.")] = 5000,
    seed: Annotated[int, typer.Option(help="Of all that is drawn; the same gives the same file.")] = 0,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Whose names and wordings; no two share any.")
    ] = "train",
    services: Annotated[
        str, typer.Option(help="all; seen or held-out, for a split by service; or some, separated by commas: s3,sqs.")
    ] = "all",
) -> None:
    """Make tasks over AWS, simulated in memory: no account, no network.

    A task is an account in some state, an instruction, a reference of one to five calls, and checks of the state that
    must be left. Every second task takes one call; in the others later calls use what earlier ones gave back. All is
    executed before it is kept. The file can be read as trajectories, too: those of the references.

    Example: toolgen tasks aws --n 5000 --seed 0 --split train --services seen --out train.jsonl.gz

    Then --n 500 --seed 1 --split test, with --services seen for new names and wordings alone, with held-out for
    services too that no training task calls. See docs/agent.md.
    """
    from toolgen.agent.tasks.generate import chosen_services, generate_tasks
    from toolgen.agent.tasks.task import write_tasks

    chosen = chosen_services(services)
    with progress_bar("Executing tasks") as progress:
        made = generate_tasks(count, seed, split, chosen, progress)
    write_tasks(output, made)
    most = max(task.calls for task in made)
    table = Table(title=f"{len(made):,} tasks", title_justify="left")
    table.add_column("service")
    for heading in (*(f"{calls} call{'s' * (calls > 1)}" for calls in range(1, most + 1)), "all"):
        table.add_column(heading, justify="right")
    counts = Counter((task.services[0], task.calls) for task in made)
    for service in (*sorted({service for service, _ in counts}), "all"):
        of = [
            sum(count for (name, calls), count in counts.items() if service in ("all", name) and calls == wanted)
            for wanted in range(1, most + 1)
        ]
        table.add_row(service, *(f"{number:,}" for number in of), f"{sum(of):,}")
    out.print(table)
    err.print(f"tasks written to {output}", markup=False)
