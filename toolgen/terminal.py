"""What every command shares: consoles, a progress bar, and errors as sentences. Knows no command."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from toolgen.errors import InputError

out = Console(highlight=False)
"""Results."""

err = Console(stderr=True, highlight=False)
"""Progress, remarks and errors, so that results can be piped."""


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with time left on stderr; yields a function of (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def run_app(app: typer.Typer) -> None:
    """Run a command line; user errors become one sentence on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        report_error(error)
        sys.exit(2)


def report_error(error: InputError) -> None:
    """Print a user error. The text may come from strangers' files, so it is never read as markup."""
    err.print("[bold red]Error:[/]", end=" ")
    err.print(str(error), markup=False)
