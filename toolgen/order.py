"""The order of the training data: an endless stream of rows that depends on the seed alone, and its division among
steps and processes; and batches for reading alone, where any order will do. Knows lengths of rows; no data, models or
ranks of its own.

Step ``s`` of a run with ``B`` examples a step takes the places ``s * B`` to ``(s + 1) * B`` of the stream, whatever the
number of processes. So any number of processes sees the same examples in the same step, and a run that goes on at step
``s`` under another number of processes skips nothing and sees nothing twice. A step at the end of an epoch is filled up
from the next one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from toolgen.errors import InputError

BLOCK = 64
"""Rows of similar length that stay together, so that little is padded."""

_SORTED = 50 * BLOCK
"""Rows among which those of similar length are looked for. All would be too many: a block's content would be the same
in every epoch."""


def batches_of_like_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places of all rows in batches, the shortest first, of at most so many tokens each, padding included.

    Args:
        lengths: Tokens of each row.
        tokens: Of a batch; a row that is longer is one by itself.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if batch and (len(batch) + 1) * lengths[place] > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


class SampleStream:
    """Epoch after epoch of all rows, each a permutation in which rows of similar length stand together."""

    def __init__(self, lengths: Sequence[int], seed: int) -> None:
        """
        Args:
            lengths: Tokens of each row; there is at least one.
            seed: Of the permutations.
        """
        assert len(lengths), "a stream needs rows"
        self._lengths_N = np.asarray(lengths)
        self._seed = seed
        self._epoch = -1
        self._rows_N: np.ndarray = np.empty(0, dtype=np.int64)

    @property
    def size(self) -> int:
        """Rows of an epoch."""
        return len(self._lengths_N)

    def rows(self, start: int, stop: int) -> list[int]:
        """The rows at the places ``start`` to ``stop`` of the stream."""
        found: list[int] = []
        size = len(self._lengths_N)
        while start < stop:
            epoch, first = divmod(start, size)
            last = min(size, first + stop - start)
            found += self.epoch(epoch)[first:last].tolist()
            start += last - first
        return found

    def parts(self, start: int, stop: int, count: int) -> list[list[int]]:
        """These rows in ``count`` parts of about equal numbers of tokens, so that none waits for another or needs more
        memory: of long rows fewer, of short ones more, at least one in each."""
        rows = self.rows(start, stop)
        if count == 1:
            return [rows]
        rows_n = np.array(rows)
        rows_n = rows_n[np.argsort(-self._lengths_N[rows_n], kind="stable")]
        tokens_n, inner = self._lengths_N[rows_n].cumsum(), np.arange(1, count)
        # A part ends with the row that reaches its share, and leaves a row for each that follows.
        ends = np.searchsorted(tokens_n, tokens_n[-1] * inner / count) + 1
        ends = np.minimum(np.maximum.accumulate(np.maximum(ends - inner, 0)), len(rows) - count) + inner
        return [part.tolist() for part in np.split(rows_n, ends)]

    def epoch(self, number: int) -> np.ndarray:
        """Every row once, in the order of the given epoch: int64 ``[N]``."""
        if number != self._epoch:
            self._epoch, self._rows_N = number, self._permute(number)
        return self._rows_N

    def _permute(self, number: int) -> np.ndarray:
        generator = np.random.default_rng((self._seed, number))
        rows_N = generator.permutation(len(self._lengths_N))
        sorted_N = np.concatenate(
            [part[np.argsort(-self._lengths_N[part], kind="stable")] for part in _cut(rows_N, 0, _SORTED)]
        )
        # Blocks begin at multiples of their size in the stream, so that a step's batch is made of whole ones.
        first, *blocks = _cut(sorted_N, -number * len(rows_N) % BLOCK, BLOCK)
        last = [blocks.pop()] if blocks and len(blocks[-1]) < BLOCK else []
        shuffled = [blocks[place] for place in generator.permutation(len(blocks))]
        return np.concatenate([first, *shuffled, *last])


def _cut(rows_N: np.ndarray, first: int, size: int) -> list[np.ndarray]:
    """Consecutive parts of ``size`` rows after a first one of ``first``, which may be empty."""
    return np.split(rows_N, range(first, len(rows_N), size))


@dataclass(frozen=True)
class Division:
    """How a step's examples are divided.

    Attributes:
        batch: Examples a step, over all processes.
        micro: Examples that a process takes at once, on average: they are divided by tokens.
        accumulation: How often it does so before the step is made.
        processes: Their number.
    """

    batch: int
    micro: int
    accumulation: int
    processes: int

    @classmethod
    def of(cls, batch: int, most: int | None, processes: int) -> "Division":
        """Divide ``batch`` evenly among processes, and a process's part into equal ones of at most ``most``.

        Raises:
            InputError: The batch cannot be divided among the processes.
        """
        own, rest = divmod(batch, processes)
        if rest:
            nearest = max(1, round(batch / processes)) * processes
            raise InputError(
                f"training.batch_size is {batch}, the examples a step over all processes, and cannot be divided among "
                f"{processes} processes. Give a multiple of {processes}, such as {nearest}."
            )
        micro = max(part for part in range(1, own + 1) if own % part == 0 and part <= (most or own))
        return cls(batch, micro, own // micro, processes)


class StepBatches(Sampler[list[int]]):
    """The row numbers of one process's micro-batches, step after step, from any step on.

    Attributes:
        first_step: Step to begin at; set it before iterating, to go on with an earlier run.
    """

    def __init__(
        self,
        stream: SampleStream,
        division: Division,
        process: int,
        steps: int,
        beside: tuple[SampleStream, int] | None = None,
    ) -> None:
        """
        Args:
            stream: Gives the rows.
            division: How a step is divided.
            process: Number of this process.
            steps: Of the whole run.
            beside: Gives further rows, numbered behind the others, and how many a step; they are dealt out to the
                micro-batches of all processes in turn.
        """
        self.first_step = 0
        self._stream = stream
        self._division = division
        self._process = process
        self._steps = steps
        self._beside = beside

    def __len__(self) -> int:
        """Micro-batches of the whole run, those before ``first_step`` included."""
        return self._steps * self._division.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        batch, each = self._division.batch, self._division.accumulation
        for step in range(self.first_step, self._steps):
            parts = self._stream.parts(step * batch, (step + 1) * batch, self._division.processes * each)
            for number in range(self._process * each, (self._process + 1) * each):
                yield parts[number] + self._dealt(step, number)

    def _dealt(self, step: int, number: int) -> list[int]:
        """The further rows of one micro-batch of all."""
        if self._beside is None:
            return []
        stream, count = self._beside
        rows = stream.rows(step * count, (step + 1) * count)
        return [
            self._stream.size + row for row in rows[number :: self._division.processes * self._division.accumulation]
        ]
