"""A Python process that answers one request at a time, and the limits it works under. Knows processes and pipes, but
not what is asked.

What a request does to the process, a ``Fault`` says: it did not answer in time, ended, or wrote what is no answer. The
process is gone then, with all that it had started. It is a guard against accidents and no prison: a program that
wants to leave its process group, or to write files elsewhere, can. POSIX only.
"""

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.agent.environment import Arguments, Status
from toolgen.errors import InputError

START_SECONDS = 300.0
"""Longest that a process may take to begin, or to load what it works with."""

MOST_ARGUMENTS = 1_000_000
"""Characters of JSON that a call may take."""

MOST_REPLY = 32 * 2**20
"""Bytes of an answer that are read."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take.

    Attributes:
        seconds: Until it is stopped; above zero.
        megabytes: Memory of its process, as address space, in 2**20 bytes; 128 at least. Libraries count, too.
        most_characters: Of an observation's content; what is longer is cut, with a note of how much was left out.
    """

    seconds: float = 10.0
    megabytes: int = 1024
    most_characters: int = 20_000

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: A limit is out of bounds.
        """
        bounds = (("seconds", 0.01, 3600), ("megabytes", 128, 2**20), ("most_characters", 1, 1_000_000))
        for name, least, most in bounds:
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"{name} is {value}; give {least} to {most:,}.")


class Fault(Exception):
    """A process did not answer as it should, and is gone.

    Attributes:
        status: What went wrong.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class ArgumentsError(ValueError):
    """Arguments that cannot be sent; the message says why."""


def arguments_text(arguments: Arguments) -> str:
    """The arguments of a call as JSON.

    Raises:
        ArgumentsError: They are given by place, are no JSON, or are longer than ``MOST_ARGUMENTS``.
    """
    if not isinstance(arguments, Mapping):
        raise ArgumentsError("the arguments are given by name, as a JSON object")
    try:
        text = json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentsError(f"the arguments are no JSON: {error}") from error
    if len(text) > MOST_ARGUMENTS:
        raise ArgumentsError(f"the arguments take {len(text):,} characters as JSON, and at most {MOST_ARGUMENTS:,} may")
    return text


class Worker:
    """A process that runs a module of this package, such as ``function_server``.

    It has a folder of its own to work in, which goes with it, and nothing of the caller's environment variables but
    what programs are found with.
    """

    def __init__(self, module: str, megabytes: int, variables: Mapping[str, str] | None = None) -> None:
        """
        Args:
            module: Its name in this package.
            megabytes: Address space that it may have.
            variables: Environment variables beside those that every worker has.
        """
        folder = tempfile.TemporaryDirectory(prefix="toolgen-worker-", ignore_cleanup_errors=True)
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        self._process = subprocess.Popen(
            # -P: what lies in the working folder is never imported.
            [sys.executable, "-P", "-m", f"{__package__}.{module}", str(megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=folder.name,
            env={
                **kept,
                "HOME": folder.name,
                "TMPDIR": folder.name,
                # Sets are walked in the same order by every process.
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": os.pathsep.join(str(Path(place).resolve()) for place in sys.path),
                "PYTHONUTF8": "1",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "TZ": "UTC",
                **(variables or {}),
            },
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        for end in (self._in, self._out):
            os.set_blocking(end, False)
        self._number = 0
        self._end = weakref.finalize(self, _end, self._process, folder)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._end.alive

    def close(self) -> None:
        """End the process and what it started."""
        self._end()

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Ask and wait for the answer.

        Args:
            request: Anything that is JSON.
            seconds: Until the process is stopped.

        Raises:
            Fault: There is no answer, and no process any more.
            RuntimeError: The code that answers is broken; the message holds its traceback.
        """
        self._number += 1
        line = json.dumps({**request, "number": self._number, "seconds": seconds}).encode() + b"\n"
        until = time.monotonic() + seconds
        try:
            self._write(line, until, seconds)
            reply = _reply(self._read(until, seconds), self._number)
        except BaseException:
            # An interruption too: what was asked is still being done, and the next answer would be this one's.
            self.close()
            raise
        if "broken" in reply:
            self.close()
            raise RuntimeError(f"A worker of ours is broken:\n{reply['broken']}")
        return reply

    def _write(self, line: bytes, until: float, seconds: float) -> None:
        left = memoryview(line)
        while left:
            _wait(self._in, selectors.EVENT_WRITE, until, seconds)
            try:
                left = left[os.write(self._in, left[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _read(self, until: float, seconds: float) -> bytes:
        read = bytearray()
        while not read.endswith(b"\n"):
            _wait(self._out, selectors.EVENT_READ, until, seconds)
            try:
                more = os.read(self._out, _CHUNK)
            except BlockingIOError:
                continue
            if not more:
                raise self._ended()
            read += more
            if len(read) > MOST_REPLY:
                raise Fault(Status.MALFORMED, f"its answer is longer than {MOST_REPLY:,} bytes")
        return bytes(read)

    def _ended(self) -> Fault:
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return Fault(Status.CRASHED, "it closed its connection")
        if code < 0:
            known = -code in set(signal.Signals)
            name = signal.Signals(-code).name if known else f"signal {-code}"
            return Fault(Status.CRASHED, f"its process was ended by {name}")
        return Fault(Status.CRASHED, f"it ended its process, with exit code {code}")


def _wait(end: int, event: int, until: float, seconds: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(end, event)
        left = until - time.monotonic()
        # Rounded up to a millisecond: a shorter time would not wait at all.
        if left <= 0 or not selector.select(math.ceil(left * 1000) / 1000):
            raise Fault(Status.TIMED_OUT, f"it took longer than {seconds:g} s and was stopped")


def _reply(line: bytes, number: int) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict) or reply.get("number") != number:
        raise Fault(Status.MALFORMED, "what came from its process is no answer")
    return reply


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    # The group first, while its leader's number is surely taken; then the leader, which may have left the group.
    for kill in (lambda: os.killpg(process.pid, signal.SIGKILL), process.kill):
        try:
            kill()
        except (ProcessLookupError, PermissionError):
            pass
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    folder.cleanup()
