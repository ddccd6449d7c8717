"""The other side of a ``Worker``: reads requests, has them answered, writes the answers. Knows pipes and limits, not
what is asked. Runs in the worker's process only."""

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from toolgen.agent.environment import Status

Reply = dict[str, Any]

_GRACE_SECONDS = 30.0
"""A process whose parent is gone, and which nobody stops in time, ends itself so much later."""


def limit_memory(megabytes: int) -> None:
    """Hold this process to an address space, and keep it from dumping its memory when it crashes."""
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def cut(text: str, most: int) -> str:
    """The beginning of a text, with a note of what was left out.

    Example:
        >>> cut("abcdef", 4)
        'abcd... (2 characters more were left out)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most:,} characters more were left out)"


def observed(status: Status, content: str, most: int) -> Reply:
    """An observation as a reply."""
    return {"status": status.name, "content": cut(content, most)}


class Channel:
    """The pipes of this process, out of the reach of whatever prints or reads in it."""

    def __init__(self) -> None:
        """Take standard input and output; what reads or prints afterwards meets the null device."""
        self._in, self._out = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        for end in (0, 1, 2):
            os.dup2(null, end)
        os.close(null)

    def close(self) -> None:
        """Let go of the pipes."""
        for end in (self._in, self._out):
            try:
                os.close(end)
            except OSError:
                pass

    def read(self) -> dict[str, Any] | None:
        """The next request; None where there will be none."""
        # Nothing is read ahead, so that a process and its fork can take turns.
        read = bytearray()
        while not read.endswith(b"\n"):
            more = os.read(self._in, 1 << 16)
            if not more:
                return None
            read += more
        request: dict[str, Any] = json.loads(read)
        return request

    def write(self, reply: Mapping[str, Any]) -> None:
        """Answer."""
        left = memoryview(json.dumps(reply).encode() + b"\n")
        while left:
            left = left[os.write(self._out, left) :]


def limit_time(seconds: float | None) -> None:
    """Have the system end this process after so many seconds and a grace; None: no more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else seconds + _GRACE_SECONDS)


def serve(channel: Channel, answer: Callable[[Mapping[str, Any]], Reply | None]) -> None:
    """Answer requests until there are no more, and end the process.

    Args:
        channel: Where they come from.
        answer: None: somebody else has answered. A reply with ``end`` is this process's last.
    """
    while (request := channel.read()) is not None:
        limit_time(request["seconds"])
        try:
            reply = answer(request)
        except MemoryError:
            reply = {"status": Status.OUT_OF_MEMORY.name, "content": "it asked for more memory than it may have"}
        except Exception:
            reply = {"broken": traceback.format_exc()}
        limit_time(None)
        if reply is not None:
            channel.write({**reply, "number": request["number"]})
            if reply.get("end"):
                break
    os._exit(0)
