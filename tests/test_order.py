"""The order of the data: every row once an epoch, the same for any number of processes, and nothing lost in between."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.order import BLOCK, Division, SampleStream, StepBatches, batches_of_like_length


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=400), seed=st.integers(0, 9), epoch=st.integers(0, 5))
def test_an_epoch_holds_every_row_once(lengths: list[int], seed: int, epoch: int) -> None:
    rows = SampleStream(lengths, seed).epoch(epoch)
    assert sorted(rows.tolist()) == list(range(len(lengths)))


def _seen(stream: SampleStream, division: Division, steps: int, first: int = 0) -> list[list[int]]:
    """Rows of each step, over all processes, sorted."""
    by_step: list[list[int]] = [[] for _ in range(steps - first)]
    for process in range(division.processes):
        batches = StepBatches(stream, division, process, steps)
        batches.first_step = first
        for place, rows in enumerate(batches):
            by_step[place // division.accumulation] += rows
    return [sorted(rows) for rows in by_step]


@given(
    rows=st.integers(1, 300),
    own=st.integers(1, 12),
    seed=st.integers(0, 3),
    processes=st.sampled_from([1, 2, 3, 4]),
    most=st.integers(1, 12),
    cut=st.integers(0, 8),
)
def test_going_on_with_another_number_of_processes_skips_nothing_and_sees_nothing_twice(
    rows: int, own: int, seed: int, processes: int, most: int, cut: int
) -> None:
    lengths, batch, steps = [7] * rows, own * 12, 8
    whole = _seen(SampleStream(lengths, seed), Division.of(batch, None, 1), steps)
    before = _seen(SampleStream(lengths, seed), Division.of(batch, most, processes), cut)
    after = _seen(SampleStream(lengths, seed), Division.of(batch, None, 1), steps, first=cut)
    assert before + after == whole
    counts = Counter(row for step in whole for row in step)
    assert max(counts.values()) - min(counts[row] for row in range(rows)) <= 1, "epoch after epoch"


def test_epochs_and_seeds_differ() -> None:
    lengths = list(range(1, 300))
    stream = SampleStream(lengths, 0)
    orders = [stream.epoch(0).tolist(), stream.epoch(1).tolist(), SampleStream(lengths, 1).epoch(0).tolist()]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_batches_hold_rows_of_similar_length() -> None:
    lengths = [1 + number % 97 for number in range(5000)]
    division = Division.of(BLOCK, None, 1)
    batches = list(StepBatches(SampleStream(lengths, 0), division, 0, 5 * 5000 // BLOCK))
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths[row] for batch in batches for row in batch), "in later epochs too"


@given(lengths=st.lists(st.integers(1, 50), min_size=12, max_size=200), count=st.integers(1, 12))
def test_parts_hold_all_rows_and_like_numbers_of_tokens(lengths: list[int], count: int) -> None:
    parts = SampleStream(lengths, 0).parts(0, len(lengths), count)
    assert len(parts) == count and all(parts)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    tokens = [sum(lengths[row] for row in part) for part in parts]
    assert max(tokens) < sum(lengths) / count + 2 * max(lengths)


def test_parts_of_rows_alike_are_alike() -> None:
    assert [len(part) for part in SampleStream([7] * 24, 0).parts(0, 24, 6)] == [4] * 6


@pytest.mark.parametrize(
    ("batch", "most", "processes", "micro", "accumulation"),
    [(64, None, 1, 64, 1), (64, None, 2, 32, 1), (64, 10, 2, 8, 4), (9, 2, 3, 1, 3), (6, 100, 2, 3, 1)],
)
def test_a_batch_is_divided_evenly(batch: int, most: int | None, processes: int, micro: int, accumulation: int) -> None:
    assert Division.of(batch, most, processes) == Division(batch, micro, accumulation, processes)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size is 64.*3 processes.*such as 63"):
        Division.of(64, None, 3)
    with pytest.raises(InputError, match="such as 4"):
        Division.of(1, None, 4)


@given(lengths=st.lists(st.integers(1, 30)), tokens=st.integers(1, 100))
def test_batches_for_reading_hold_every_row_once_and_no_more_tokens_than_told(lengths: list[int], tokens: int) -> None:
    batches = list(batches_of_like_length(lengths, tokens))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= tokens
    for batch, following in pairwise(batches):
        longest = lengths[following[0]]
        assert max(lengths[place] for place in batch) <= longest
        assert (len(batch) + 1) * longest > tokens, "the next row would have fitted"
