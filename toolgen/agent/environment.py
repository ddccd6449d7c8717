"""What calls run in: a tool's id and arguments in, an observation out. Knows catalogues; no models and no text around
the call.

What a model does wrong comes back as an observation, which it may read; what goes wrong in an environment itself
raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from toolgen.tools import ToolCatalog

Arguments = Sequence[str] | Mapping[str, Any]
"""By place, as they were written, or by name."""


class Status(Enum):
    """How a call went."""

    OK = "ok"
    UNKNOWN_TOOL = "unknown tool"
    BAD_ARGUMENTS = "bad arguments"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Observation:
    """What came back.

    Attributes:
        status: How the call went.
        content: The result, or what was wrong, as text.
    """

    status: Status
    content: str


class Environment(Protocol):
    """A world that tools act on."""

    @property
    def catalog(self) -> ToolCatalog:
        """The tools that it has."""
        ...

    def reset(self) -> None:
        """Begin another task: nothing is left of earlier calls."""
        ...

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Run a tool; a bad call is an observation too."""
        ...
