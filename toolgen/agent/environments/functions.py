"""Python functions as an environment, each call within limits of time and memory. Knows no functions of its own; they
are named by ``module:function`` and run in a worker's process, never in this one."""

from collections.abc import Sequence

from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.environments.worker import (
    START_SECONDS,
    ArgumentsError,
    Fault,
    Limits,
    Worker,
    arguments_text,
)
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

LIMITS = Limits()
"""What a call may take unless somebody says otherwise."""

_LOST = "What earlier calls left behind is gone."


class FunctionEnvironment:
    """Calls Python functions; an ``Environment``.

    The functions share a process, and what their modules keep lasts until ``reset`` or a fault of the process. What a
    function raises is its answer and no fault. What it prints is dropped.

    Example:
        >>> with FunctionEnvironment(["toolgen.tools:words"]) as environment:
        ...     environment.call("toolgen.tools:words", {"name": "ListBuckets"}).content
        'list buckets'
    """

    def __init__(self, functions: Sequence[str], limits: Limits = LIMITS) -> None:
        """
        Args:
            functions: Such as ``shop.orders:cancel_order``; also the ids of the tools. What a signature says becomes
                the tool's parameters, what a docstring says its description.
            limits: Of one call. Loading the functions' modules is not counted.

        Raises:
            InputError: A function cannot be found or called by JSON, a module takes too much to load, or two
                functions are the same.
        """
        self._functions = tuple(functions)
        self._limits = limits
        self._worker: Worker | None = None
        self._catalog = ToolCatalog(self._begin())

    @property
    def catalog(self) -> ToolCatalog:
        """The functions."""
        return self._catalog

    def reset(self) -> None:
        """Begin another task, in a new process."""
        self.close()

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Run a function.

        Args:
            tool: Its id.
            arguments: By name.

        Returns:
            ``OK`` with the result: text as it is, anything else as compact JSON. ``FAILED`` is what the function
            raised. After ``TIMED_OUT``, ``CRASHED``, ``OUT_OF_MEMORY`` and some ``MALFORMED`` the next call finds a
            new process, and the content says so.

        Raises:
            InputError: A module that could be loaded at first cannot be any more.
        """
        if tool not in self._catalog:
            return Observation(Status.UNKNOWN_TOOL, f"There is no tool {tool[:100]!r}.")
        try:
            text = arguments_text(arguments)
        except ArgumentsError as error:
            return Observation(Status.BAD_ARGUMENTS, f"{tool}: {error}.")
        if self._worker is None:
            self._begin()
        assert self._worker is not None
        request = {"call": {"path": tool, "arguments": text, "most": self._limits.most_characters}}
        try:
            reply = self._worker.ask(request, self._limits.seconds)
        except Fault as fault:
            self.close()
            return Observation(fault.status, f"{tool}: {fault}. {_LOST}")
        status = Status[reply["status"]]
        if status in (Status.OUT_OF_MEMORY, Status.CRASHED):
            self.close()
            return Observation(status, f"{tool}: {reply['content'].removeprefix(f'{tool}: ')}. {_LOST}")
        return Observation(status, reply["content"])

    def close(self) -> None:
        """End the process; the next call begins another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def __enter__(self) -> "FunctionEnvironment":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> list[Tool]:
        self._worker = Worker("function_server", self._limits.megabytes)
        try:
            reply = self._worker.ask({"load": self._functions}, START_SECONDS)
        except Fault as fault:
            self.close()
            raise InputError(
                f"The functions {', '.join(self._functions)} cannot be loaded: {fault}. Mend their modules, or allow "
                f"more memory than {self._limits.megabytes} MB."
            ) from fault
        if "tools" not in reply:
            self.close()
            raise InputError(reply.get("wrong") or reply["content"])
        return [Tool.from_record(record) for record in reply["tools"]]
