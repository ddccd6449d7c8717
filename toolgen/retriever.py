"""What every retriever answers, generative or not. Knows neither models nor indexes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from toolgen.errors import InputError


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: a tool and the retriever's own score, higher is better."""

    tool: str
    score: float


@runtime_checkable
class Retriever(Protocol):
    """Ranks the tools of a catalogue for queries.

    ``name`` labels the rows of tables. ``search`` returns one list a query, best first, of at most ``k`` hits without
    repetition; ``groups`` restricts the answers to tools of these groups.
    """

    name: str

    def search(self, queries: Sequence[str], k: int, *, groups: Sequence[str] | None = None) -> list[list[Hit]]: ...


def check_k(k: int, available: int) -> None:
    """Check that ``k`` answers can be given when ``available`` tools are left after restriction to groups.

    Raises:
        InputError: ``k`` is below 1 or above ``available``.
    """
    if not 1 <= k <= available:
        raise InputError(
            f"k is {k}, but there are {available:,} tool(s) to choose from in the catalogue or in the chosen groups. "
            "Give a k of at least 1 and at most that number, or choose more groups."
        )
