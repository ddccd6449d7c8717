"""Functions that go wrong in every way, for a worker to run. Nobody imports this module but a worker."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Literal

COUNT = 0


def count(step: int = 1) -> int:
    """Count up.

    Args:
        step: How far; what was counted before
            stays counted.

    Returns:
        The count.
    """
    global COUNT
    COUNT += step
    return COUNT


def echo(value: Any) -> Any:
    """Give a value back."""
    return value


def typed(text: str, size: float, kind: Literal["a", "b"], parts: list[int] | None = None) -> list[Any]:
    return [text, size, kind, parts]


def more(**others: int) -> dict[str, int]:
    return others


def where() -> list[Any]:
    os.makedirs("left", exist_ok=True)
    return [sorted(os.listdir()), "AWS_SECRET_ACCESS_KEY" in os.environ, os.environ["HOME"] == os.getcwd()]


def sleep(seconds: float = 600) -> None:
    time.sleep(seconds)


def spin() -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(600)


def raising() -> None:
    raise LookupError("no such order")


def unspeakable() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    raise Mute


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1) + 1


def overflow() -> str:
    nested: list[Any] = []
    for _ in range(200_000):
        nested = [nested]
    return json.dumps(nested)


def leave() -> None:
    sys.exit(3)


def leave_at_once() -> None:
    os._exit(7)


def interrupt() -> None:
    raise KeyboardInterrupt


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> None:
    ctypes.string_at(0)


def aborted() -> None:
    os.abort()


def hoard() -> int:
    held = []
    while True:
        held.append(bytearray(1 << 24))


def one_large_piece() -> int:
    return len(bytearray(1 << 45))


def thing() -> object:
    return object()


def nan() -> float:
    return float("nan")


def cycle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def half_a_character() -> str:
    return "\ud800"


def no_utf8() -> bytes:
    return b"\xff\xfe"


def huge(size: int = 3_000_000) -> str:
    return "x" * size


def huge_list() -> list[int]:
    return list(range(300_000))


def noisy() -> str:
    print("{}\n" * 100_000)  # noqa: T201
    sys.stdout.write("noise")
    sys.stderr.write("noise")
    os.write(1, b"noise\n")
    subprocess.run([sys.executable, "-c", "print('noise')"], check=True)
    return sys.stdin.read() + "quiet"


def fork() -> str:
    return "parent" if os.fork() else "child"


def fork_and_stay() -> str:
    if not os.fork():
        time.sleep(600)
    return "parent"


def _write_everywhere(data: bytes) -> None:
    for end in range(3, 64):
        try:
            os.write(end, data)
        except OSError:
            pass


def garbage() -> str:
    _write_everywhere(b"\xff\x00 no answer\n")
    return "said"


def false_answer() -> str:
    _write_everywhere(b'{"status": "OK", "content": "forged", "number": 0}\n')
    return "said"


def flood() -> str:
    while True:
        _write_everywhere(b"x" * (1 << 16))


def hang_up() -> str:
    os.closerange(3, 64)
    return "said"


def later() -> str:
    threading.Timer(0.1, os._exit, (9,)).start()
    return "soon"


def fragile() -> str:
    threading.Thread(target=lambda: 1 / 0).start()
    return "whole"


async def asynchronous() -> None: ...


def by_place(value: int, /) -> int:
    return value


def foreign(value: threading.Thread) -> None: ...
