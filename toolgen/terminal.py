"""What every command shares: consoles, a progress bar, and errors as sentences. Knows no command."""

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from toolgen.errors import InputError

USER_ERRORS = (InputError, FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What a user can mend: unusable input, and paths that cannot be read or written."""

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
    """Run a command line; user errors, files that cannot be used among them, become one sentence and exit code 2."""
    try:
        app()
    except USER_ERRORS as error:
        report_error(error)
        sys.exit(2)


def report_error(error: Exception) -> None:
    """Print a user error. The text may come from strangers' files, so it is never read as markup."""
    err.print("[bold red]Error:[/]", end=" ")
    err.print(visible(_sentence(error)), markup=False)


def visible(text: str) -> str:
    """Strangers' text without control characters (newlines and tabs excepted), so that it cannot steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf"))


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. Give a path that can be used, or change its permissions."
    return str(error)
