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
    """How a call went.

    Attributes:
        OK: It has a result.
        UNKNOWN_TOOL: There is no such tool.
        BAD_ARGUMENTS: The tool did not run: its arguments are none that it takes.
        FAILED: The tool ran and refused, in its own words.
        UNAVAILABLE: The tool cannot run here, whatever its arguments: it is not simulated, or needs a network.
        TIMED_OUT: It took too long and was stopped.
        OUT_OF_MEMORY: It asked for more memory than it may have.
        CRASHED: It broke: it ended or lost its process, or met a fault inside itself.
        MALFORMED: It ran, and what it gave back cannot be read.
    """

    OK = "ok"
    UNKNOWN_TOOL = "unknown tool"
    BAD_ARGUMENTS = "bad arguments"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    MALFORMED = "malformed"


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
