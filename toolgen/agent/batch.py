"""Texts that share a model's forwards: coroutines that ask about texts are answered together. Knows models and texts;
no tools and no episodes.

A row of the cache holds one text, each from the first column on, so that a text grows, ends and gives its row to
another one without any other being touched. What a text has read already is not read again.

Legend: ``B`` rows, ``R`` rows that read, ``Q`` tokens that each of them reads, ``S`` columns, ``H`` heads, ``d`` width
of a head, ``D`` width, ``A`` tokens asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from toolgen.agent.stream import CURE, check_continues
from toolgen.agent.text import Ask, Asking, Outside, T
from toolgen.attention import check_side_by_side, explicit_mask
from toolgen.base import context_length
from toolgen.errors import InputError
from toolgen.head import Head

_WORTH = {"cpu": 16, "cuda": 1024}
"""Tokens that cost about as much as a forward costs without any: so much padding may save one."""

_MOST = 4096
"""Tokens of a forward that rows share, padding included: with more there is nothing left to save."""


class Reader:
    """A model that reads several texts, a row each.

    Attributes:
        rows: B.
    """

    def __init__(self, model: PreTrainedModel, rows: int = 1) -> None:
        """
        Args:
            model: A causal model in evaluation mode.
            rows: B.

        Raises:
            InputError: There is no row, the model's logits are no product with its states, it has no keys and values,
                or they are such that several texts cannot share forwards.
        """
        if rows < 1:
            raise InputError(f"The batch is {rows}. Give at least 1, the number of texts that are read together.")
        check_continues(model)
        if rows > 1:
            try:
                check_side_by_side(model, context_length(model.config) or 0)
            except InputError as error:
                raise InputError(f"Texts cannot share forwards of this model; give a batch of 1. {error}") from error
        self.rows = rows
        self._model = model
        self._head = Head(model)
        self._head.check_linear(CURE)
        self._cache = _Rows(rows)
        self._read_B: list[list[int]] = [[] for _ in range(rows)]
        self._states_B: list[Tensor] = [torch.empty(0)] * rows

    @torch.inference_mode()
    def answer(self, asks: Mapping[int, Ask]) -> dict[int, Tensor]:
        """Logits ``[A]`` float32 for each ask.

        Args:
            asks: By row. Of what a row has read stays what its text begins with.
        """
        unread: dict[int, Sequence[int]] = {}
        for row, ask in asks.items():
            known = self._read_B[row]
            if ask.ids[: len(known)] != known:
                pairs = zip(known, ask.ids, strict=False)
                shared = next((place for place, (one, other) in enumerate(pairs) if one != other), len(ask.ids))
                # The state behind the last token is known of the longest text only.
                del known[min(shared, len(ask.ids) - 1) :]
            if more := ask.ids[len(known) :]:
                unread[row] = more
        for rows in groups({row: len(ids) for row, ids in unread.items()}, _WORTH.get(self._model.device.type, 16)):
            self._read(rows, [unread[row] for row in rows])
        alike: dict[int, list[int]] = {}
        for row, ask in asks.items():
            # The words, which everybody asks for, are one product; few others are the same twice.
            alike.setdefault(ask.tokens if isinstance(ask.tokens, int) else -1 - row, []).append(row)
        answers: dict[int, Tensor] = {}
        for rows in alike.values():
            tokens = asks[rows[0]].tokens
            states_RD = torch.stack([self._states_B[row] for row in rows])
            logits_RA = self._head.logits(states_RD, slice(0, tokens) if isinstance(tokens, int) else tokens)
            answers |= zip(rows, logits_RA, strict=True)
        return answers

    def _read(self, rows: Sequence[int], unread: Sequence[Sequence[int]]) -> None:
        """Read tokens behind those that rows have read, in one forward."""
        device = self._model.device
        before = [len(self._read_B[row]) for row in rows]
        width = max(map(len, unread))
        # Whatever pads a row behind its tokens lands where its next ones will be written, and nobody looks at it.
        ids_RQ = torch.tensor([[*ids, *[ids[-1]] * (width - len(ids))] for ids in unread], device=device)
        columns_RQ = torch.tensor(before, device=device)[:, None] + torch.arange(width, device=device)
        stop = max(before) + width
        if len(rows) == 1:
            told: dict[str, Tensor] = {"attention_mask": torch.ones(1, stop, dtype=torch.long, device=device)}
        else:
            ends_R1 = torch.tensor([start + len(ids) for start, ids in zip(before, unread, strict=True)], device=device)
            told = {
                "attention_mask": explicit_mask(
                    self._model, torch.arange(stop, device=device) <= columns_RQ[:, :, None]
                ),
                # Padding must not leave the context.
                "position_ids": columns_RQ.minimum(ends_R1[:, None] - 1),
            }
        self._cache.turn_to(rows, columns_RQ, stop)
        states_RQD = self._head.states(input_ids=ids_RQ, past_key_values=self._cache, use_cache=True, **told)
        for row, ids, states_QD in zip(rows, unread, states_RQD, strict=True):
            self._read_B[row] += ids
            self._states_B[row] = states_QD[len(ids) - 1]


class _Rows(Cache):
    """Keys and values ``[B, H, S, d]`` of all layers, written where rows end and read from the first column on."""

    def __init__(self, rows: int) -> None:
        super().__init__(layers=[])
        self._count = rows
        self._kept: dict[tuple[int, str], Tensor] = {}

    def turn_to(self, rows: Sequence[int], columns_RQ: Tensor, stop: int) -> None:
        """Say which rows read next, in which columns, and before which column all of these lie."""
        self._rows = rows
        self._columns_RQ = columns_RQ
        self._stop = stop

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write what a layer makes of the tokens; its keys and values of all that these rows have read."""
        return self._write((layer_idx, "keys"), key_states), self._write((layer_idx, "values"), value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns before those that are written."""
        return self._stop - self._columns_RQ.shape[1]

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """The same."""
        return self.get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Columns that are looked at, and the first of them."""
        return self._stop, 0

    def _write(self, key: tuple[int, str], states_RHQd: Tensor) -> Tensor:
        held = self._kept.get(key)
        columns = 0 if held is None else held.shape[2]
        if columns < self._stop:
            _, heads, _, size = states_RHQd.shape
            grown = states_RHQd.new_zeros(self._count, heads, max(self._stop, 2 * columns), size)
            if held is not None:
                grown[:, :, :columns] = held
            self._kept[key] = held = grown
        assert held is not None
        first, last = self._rows[0], self._rows[-1]
        if first == last:
            held[first, :, self._stop - states_RHQd.shape[2] : self._stop] = states_RHQd[0]
        else:
            rows_R1 = torch.tensor(self._rows, device=held.device)[:, None]
            held[rows_R1, :, self._columns_RQ.to(held.device)] = states_RHQd.transpose(1, 2)
        if last - first + 1 == len(self._rows):
            return held[first : last + 1, :, : self._stop]
        return held[:, :, : self._stop].index_select(0, torch.tensor(self._rows, device=held.device))


def groups(lengths: Mapping[int, int], worth: int) -> list[list[int]]:
    """Which rows read together, each group in the order of its rows: those whose padding costs less than a forward.

    Args:
        lengths: Tokens to read, by row.
        worth: Tokens of padding that one forward less is worth.
    """
    found: list[list[int]] = []
    longest = 0
    for row, length in sorted(lengths.items(), key=lambda item: (item[1], item[0])):
        here = len(found[-1]) if found else 0
        if here and (length - longest) * here <= worth and length * (here + 1) <= _MOST:
            found[-1].append(row)
        else:
            found.append([row])
        longest = length
    return [sorted(rows) for rows in found]


def finish(reader: Reader, coroutine: Asking[T]) -> T:
    """Run a coroutine to its end, alone; its text takes the reader's first row."""
    answer: object = None
    while True:
        try:
            asked = coroutine.send(answer)
        except StopIteration as ended:
            result: T = ended.value
            return result
        answer = asked.run() if isinstance(asked, Outside) else reader.answer({0: asked})[0]


def finish_all(reader: Reader, coroutines: Iterable[Asking[T]]) -> Iterator[tuple[int, T]]:
    """Run coroutines to their ends, as many at a time as the reader has rows; each one's number and what it comes to.

    The next one is asked for when a row is free and what was in it has been given back. What is outside of the model
    is done in threads while the model reads for the others, and is waited for before it reads again: which texts share
    a forward depends on no clock.

    Args:
        reader: Reads for all.
        coroutines: Each asks about one text at a time.
    """
    numbered = enumerate(coroutines)
    running: dict[int, tuple[int, Asking[T]]] = {}
    answers: dict[int, object] = {}
    with ThreadPoolExecutor(reader.rows) as pool:
        while True:
            for row in range(reader.rows):
                if row not in running and (drawn := next(numbered, None)) is not None:
                    running[row] = drawn
                    answers[row] = None
            if not running:
                return
            asks: dict[int, Ask] = {}
            outside: dict[int, Future[object]] = {}
            for row, (number, coroutine) in list(running.items()):
                try:
                    asked = coroutine.send(answers[row])
                except StopIteration as ended:
                    del running[row]
                    yield number, ended.value
                    continue
                if isinstance(asked, Outside):
                    outside[row] = pool.submit(asked.run)
                else:
                    asks[row] = asked
            answers = dict(reader.answer(asks))
            answers |= {row: future.result() for row, future in outside.items()}
