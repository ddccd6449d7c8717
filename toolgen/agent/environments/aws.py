"""AWS as an environment: botocore checks and sends a call, moto answers it in memory, and nothing leaves the machine.
Knows catalogues of ``toolgen.sources.botocore``; the simulation itself runs in a worker's process, ``aws_server``.

Every environment has its own process, so its account, buckets and queues are its own, and what is global in AWS, such
as the name of a bucket, is global in it alone. Ids and times depend on the seed and on the calls of the task: a task
begins at ``BEGINNING``, a call comes a second after the one before, and waiting moves the clock and takes no time. Two
things stay random: keys that OpenSSL makes, and what moto computes in threads.
"""

from collections.abc import Mapping
from typing import Any

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
from toolgen.sources.botocore import available_services
from toolgen.tools import ToolCatalog

LIMITS = Limits(seconds=20.0, megabytes=4096)
"""What a call may take unless somebody says otherwise."""

MOST_LOOKED_AT = 1_000_000
"""Characters of what ``query`` gives back."""


class AwsEnvironment:
    """Calls AWS operations; an ``Environment``.

    Example:
        >>> from toolgen.sources.botocore import import_catalog
        >>> with AwsEnvironment(import_catalog(["s3"])) as environment:
        ...     environment.call("s3.CreateBucket", {"Bucket": "reports"}).content
        '{"Location":"/reports"}'
    """

    def __init__(self, catalog: ToolCatalog, seed: int = 0, limits: Limits = LIMITS) -> None:
        """
        Args:
            catalog: Operations of AWS, as ``toolgen.sources.botocore`` imports them, or some of them.
            seed: Of all ids, unless ``reset`` gives a task its own.
            limits: Of one call. Loading a service is not counted.

        Raises:
            InputError: A tool is no operation of AWS.
        """
        known = set(available_services())
        for tool in catalog:
            if tool.partition(".")[0] not in known:
                raise InputError(
                    f"The tool {tool!r} is no operation of AWS. Import the catalogue with toolgen import botocore, or "
                    "leave the tool out."
                )
        self._catalog = catalog
        self._seed = self._task_seed = seed
        self._limits = limits
        self._worker: Worker | None = None
        self._opened: list[str] = []
        self._begun = False
        self._calls: list[dict[str, Any]] = []

    @property
    def catalog(self) -> ToolCatalog:
        """The operations."""
        return self._catalog

    def reset(self, seed: int | None = None) -> None:
        """Begin another task, in an empty account.

        Args:
            seed: Of the ids that the task's calls make; None takes the environment's. Ids of what an account holds
                before any call are always of the environment's.
        """
        self._task_seed = self._seed if seed is None else seed
        self._calls.clear()
        self._leave()

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Run an operation.

        Args:
            tool: Its id, such as ``s3.CreateBucket``.
            arguments: By name, as the tool's parameters say: bytes are base64, times text.

        Returns:
            ``OK`` with the response as compact JSON, without what is about the connection: times in UTC, bytes as
            base64, a body as text, or as ``{"base64": ...}`` where it is no UTF-8. ``FAILED`` with AWS's code and
            message. ``UNAVAILABLE`` where moto has no such operation. After a fault of the process all that the task
            did before is there again, and only the faulty call is not.

        Raises:
            RuntimeError: The simulation does not begin, or what the task did cannot be done again.
        """
        if tool not in self._catalog:
            return Observation(Status.UNKNOWN_TOOL, f"There is no tool {tool[:100]!r}.")
        made = self._call(tool, arguments, self._limits.most_characters)
        if isinstance(made, Observation):
            return made
        observation, certain = self._ask("call", made)
        if certain:
            self._calls.append(made)
        return observation

    def query(self, tool: str, arguments: Mapping[str, Any] | None = None) -> Observation:
        """Look at the state: run an operation in a copy of the account, which is thrown away.

        It is no call of the task and moves neither clock nor ids, and whatever it changes stays unchanged.

        Args:
            tool: Any operation of AWS, in the catalogue or not.
            arguments: As for ``call``.

        Returns:
            As ``call``, with up to ``MOST_LOOKED_AT`` characters.

        Raises:
            InputError: There is no such service.
            RuntimeError: As for ``call``.
        """
        if tool.partition(".")[0] not in available_services():
            raise InputError(f"{tool!r} is no operation of AWS. Write one like s3.ListBuckets.")
        made = self._call(tool, arguments or {}, MOST_LOOKED_AT)
        return made if isinstance(made, Observation) else self._ask("look", made)[0]

    def close(self) -> None:
        """End the process. The next call begins another, in which the task goes on."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._begun = None, False

    def __enter__(self) -> "AwsEnvironment":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, tool: str, arguments: Arguments, most: int) -> dict[str, Any] | Observation:
        try:
            text = arguments_text(arguments)
        except ArgumentsError as error:
            return Observation(Status.BAD_ARGUMENTS, f"{tool}: {error}.")
        service, _, operation = tool.partition(".")
        # A faulty call has no number: ids are those of a task without it.
        number = len(self._calls) + 1
        return {"number": number, "service": service, "operation": operation, "arguments": text, "most": most}

    def _ask(self, do: str, call: dict[str, Any]) -> tuple[Observation, bool]:
        """What came back, and whether the process is sound."""
        worker = self._ready(call["service"])
        try:
            reply = worker.ask({"do": do, "call": call}, self._limits.seconds)
        except Fault as fault:
            self.close()
            return Observation(fault.status, f"{call['service']}.{call['operation']}: {fault}."), False
        status = Status[reply["status"]]
        if status is Status.OUT_OF_MEMORY and do == "call":
            # Anything may be half done.
            self.close()
            return Observation(status, f"{call['service']}.{call['operation']}: {reply['content']}."), False
        return Observation(status, reply["content"]), True

    def _ready(self, service: str) -> Worker:
        """A process that has the service, and in which the task is where it was."""
        try:
            if service not in self._opened:
                # Only a process without an account loads services: so the next task finds them.
                self._leave()
            if self._worker is None:
                self._worker = Worker("aws_server", self._limits.megabytes, _variables(self._seed))
                for opened in self._opened:
                    self._worker.ask({"do": "open", "service": opened}, START_SECONDS)
            if service not in self._opened:
                self._worker.ask({"do": "open", "service": service}, START_SECONDS)
                self._opened.append(service)
            if not self._begun:
                self._worker.ask({"do": "begin", "seed": self._task_seed}, START_SECONDS)
                self._begun = True
                for call in self._calls:
                    self._worker.ask({"do": "call", "call": call}, START_SECONDS)
        except Fault as fault:
            self.close()
            raise RuntimeError(f"AWS cannot be simulated: {fault}") from fault
        return self._worker

    def _leave(self) -> None:
        if self._worker is not None and self._begun:
            self._begun = False
            try:
                self._worker.ask({"do": "end"}, START_SECONDS)
            except Fault:
                self.close()


def _variables(seed: int) -> dict[str, str]:
    """No credentials and no configuration of this machine."""
    return {
        "TOOLGEN_SEED": str(seed),
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
