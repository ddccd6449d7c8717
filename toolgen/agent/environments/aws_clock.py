"""A clock and chance of its own for a process in which AWS is simulated, so that the same calls give the same
answers. Knows Python's modules and nothing of AWS.

What reads the time gets the simulated one, which stands still but where somebody sleeps: sleeping moves it and takes
no time. What asks the system for random bytes, such as ``uuid4``, gets those of a seed.
"""

import datetime
import os
import random
import time
from typing import SupportsIndex

BEGINNING = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC).timestamp()
"""When every task begins, in seconds since 1970."""

_TRUE_DATETIME = datetime.datetime


class Clock:
    """The time of a simulation."""

    def __init__(self) -> None:
        self.now = BEGINNING
        """Seconds since 1970."""

    def sleep(self, seconds: SupportsIndex | float) -> None:
        """Let time pass at once."""
        self.now += max(0.0, float(seconds))


class _Kind(type):
    # Some libraries make their times in C, where nothing is replaced.
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _TRUE_DATETIME)


def take_over() -> tuple[Clock, random.Random]:
    """Replace this process's clock and source of chance, for all modules that are imported afterwards.

    Returns:
        The clock, and what gives random bytes; whoever seeds the latter knows them.
    """
    clock, chance = Clock(), random.Random(0)

    class Datetime(_TRUE_DATETIME, metaclass=_Kind):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Datetime":
            return cls.fromtimestamp(clock.now, tz)

        @classmethod
        def utcnow(cls) -> "Datetime":
            return cls.fromtimestamp(clock.now, datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> "Datetime":
            return cls.fromtimestamp(clock.now)

    datetime.datetime = Datetime  # type: ignore[misc]
    time.time = lambda: clock.now
    time.sleep = clock.sleep
    os.urandom = chance.randbytes
    return clock, chance
