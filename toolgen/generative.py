"""The generative retriever: a language model answers a query with tool tokens. Knows decoding and checkpoints; no
training."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.base import context_length
from toolgen.beam import BeamResult, Normalize, beam_search, check_normalize, left_padded, rank_atomic
from toolgen.checkpoint import Artefacts, load_model
from toolgen.errors import InputError
from toolgen.parts import DEPTH, all_parts, search_by_parts
from toolgen.retriever import Hit, check_k
from toolgen.trie import TokenTrie

BEAMS = 10
"""Width of a beam search at least, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Prompts of similar length, and their places among the queries."""

    places: tuple[int, ...]
    input_ids_BT: Tensor
    mask_BT: Tensor


class GenerativeRetriever:
    """Ranks tools by the probability that the model generates their code. Meets ``Retriever``.

    Only codes of the catalogue can come out. Atomic codes take one forward; all others an exact beam search.

    Attributes:
        name: Label in tables.
        model: The language model.
        artefacts: Tokenizer, catalogue, codebook and codes.
        model_seconds: Seconds spent in the model during the last ``search``.

    Example:
        >>> retriever = GenerativeRetriever.load("runs/quickstart/retrieval/final")  # doctest: +SKIP
        >>> retriever.search(["make a new bucket"], k=3)  # doctest: +SKIP
        [[Hit(tool='s3.CreateBucket', score=-0.1), ...]]
    """

    def __init__(
        self,
        model: PreTrainedModel,
        artefacts: Artefacts,
        *,
        beams: int | None = None,
        batch_size: int = 64,
        normalize: Normalize | None = None,
        name: str = "generative",
    ) -> None:
        """
        Args:
            model: The language model; its mode and device are left as they are.
            artefacts: What belongs to it.
            beams: Width of the beam search; None: as many as results asked for, at least 10. Atomic codes
                need none.
            batch_size: Queries decoded together.
            normalize: What probabilities are normalised over; see ``toolgen.beam.Normalize``. None: the vocabulary;
                with codes of one token the tools that may be answered, which ranks alike and costs less.
            name: Label in tables.

        Raises:
            InputError: ``beams`` is not between 1 and the number of tools, ``batch_size`` below 1, or ``normalize``
                unknown.
        """
        tools = len(artefacts.catalog)
        if beams is not None and not 1 <= beams <= tools:
            raise InputError(f"beams is {beams}. Allowed are 1 to {tools:,}, the number of tools.")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}. It must be at least 1.")
        self.name = name
        self.artefacts = artefacts
        self.model_seconds = 0.0
        self.model = model
        self._beams = beams
        self._batch_size = batch_size
        self._renderer = artefacts.renderer
        self._trie = TokenTrie.from_codes(artefacts.codes.sequences)
        self._normalize: Normalize = normalize or ("vocab" if self._trie.depth > 1 else "allowed")
        check_normalize(self._normalize)
        self._restricted: tuple[tuple[str, ...], TokenTrie] | None = None

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | None = None,
        beams: int | None = None,
        batch_size: int = 64,
        normalize: Normalize | None = None,
    ) -> "GenerativeRetriever":
        """Load a checkpoint.

        Args:
            folder: What a stage wrote.
            device: Such as ``"cpu"`` or ``"cuda:1"``; None: CUDA when there is one.
            beams: See the constructor.
            batch_size: See the constructor.
            normalize: See the constructor.

        Raises:
            InputError: The folder is no checkpoint, or its parts do not belong together.
        """
        chosen = usable_device(device)
        artefacts = Artefacts.load(folder)
        model = load_model(folder)
        # transformers decorates ``to`` in a way that hides its signature from type checkers.
        model.to(chosen)  # type: ignore[arg-type]
        return cls(model, artefacts, beams=beams, batch_size=batch_size, normalize=normalize)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        *,
        groups: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        first: int = 1,
    ) -> list[list[Hit]]:
        """Rank tools for queries.

        Args:
            queries: Texts; none may be blank.
            k: Answers a query.
            groups: Answer only with tools of these groups.
            progress: Called with (queries done, queries in all) after each batch.
            first: Number of the first query, for what errors say.

        Returns:
            One list a query in the order given, best first. A score is the natural logarithm of the code's
            probability as ``normalize`` defines it: under ``allowed`` among the tools that may be answered. Of a
            query that is read by parts, it is the mean over its parts.

        Raises:
            InputError: ``k`` is out of range, a group is unknown, a query is blank or longer than the model's context.
        """
        trie = self._allowed(groups)
        check_k(k, trie.leaf_count)
        if self.artefacts.reading == "whole":
            return self._ranked(self.prompts(queries, first), k, trie, progress)
        _check_not_blank(queries, first)
        # What costs nothing more: all tools of a single token, and all beams.
        depth = min(max(k, DEPTH if trie.depth == 1 else self._beams or BEAMS), trie.leaf_count)

        def search(texts: Sequence[str], places: Sequence[int]) -> list[list[Hit]]:
            prompts = self.prompts_of(texts, [first + place for place in places])
            told = progress and (lambda done, among: progress(done * len(queries) // among, len(queries)))
            return self._ranked(prompts, depth, trie, told)

        return search_by_parts(search, queries, k)

    def _ranked(
        self, prompts: Sequence[list[int]], k: int, trie: TokenTrie, progress: Callable[[int, int], None] | None
    ) -> list[list[Hit]]:
        self.model_seconds = 0.0
        answers: list[list[Hit]] = [[] for _ in prompts]
        done = 0
        for batch in self._batches(prompts):
            started = time.perf_counter()
            result = self._decode(batch, k, trie)
            codes, scores = result.codes_BK.tolist(), result.scores_BK.tolist()
            self.model_seconds += time.perf_counter() - started
            for place, row_codes, row_scores in zip(batch.places, codes, scores, strict=True):
                found = list(zip(row_codes, row_scores, strict=True))[:k]
                answers[place] = [Hit(self.artefacts.codes.tool_ids[code], score) for code, score in found]
            done += len(batch.places)
            if progress is not None:
                progress(done, len(prompts))
        return answers

    def prompts(self, queries: Sequence[str], first: int = 1) -> list[list[int]]:
        """Token ids of the queries' prompts, all checked before any is answered.

        Raises:
            InputError: A query is blank, or does not fit the model's context beside the longest code; it is named.
        """
        _check_not_blank(queries, first)
        return self.prompts_of(queries, range(first, first + len(queries)))

    def check(self, queries: Sequence[str]) -> None:
        """Check that queries can be searched for, without a search.

        Raises:
            InputError: As ``search`` says.
        """
        if self.artefacts.reading == "whole":
            self.prompts(queries)
        else:
            _check_not_blank(queries, 1)
            texts, places = all_parts(queries)
            self.prompts_of(texts, [place + 1 for place in places])

    def prompts_of(self, texts: Sequence[str], numbers: Sequence[int]) -> list[list[int]]:
        """Token ids of the prompts of texts that are not blank, such as parts of queries.

        Args:
            texts: The texts.
            numbers: Those of their queries, for what errors say.

        Raises:
            InputError: A text does not fit the model's context beside the longest code.
        """
        prompts = self._renderer.render(texts)
        context = context_length(self.model.config)
        for number, query, prompt in zip(numbers, texts, prompts, strict=True):
            room = len(prompt) if context is None else context - self._trie.depth + 1
            if len(prompt) > room:
                raise InputError(
                    f"Query number {number} ({query[:40]!r}...) takes {len(prompt)} tokens; beside the longest code "
                    f"the model's context has room for {room}. Shorten it."
                )
        return prompts

    def _decode(self, batch: _Batch, k: int, trie: TokenTrie) -> BeamResult:
        inputs = self.model, trie, batch.input_ids_BT, batch.mask_BT
        if trie.depth == 1:
            return rank_atomic(*inputs, k, normalize=self._normalize)
        # A few tools may be left of the catalogue that the width was meant for.
        beams = min(max(k, self._beams or BEAMS), trie.leaf_count)
        return beam_search(*inputs, beams, normalize=self._normalize)

    def _batches(self, prompts: Sequence[list[int]]) -> Iterator[_Batch]:
        """Prompts sorted by length, so that padding stays small."""
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        device = self.model.device
        for start in range(0, len(order), self._batch_size):
            places = tuple(order[start : start + self._batch_size])
            input_ids_BT, mask_BT = left_padded([prompts[place] for place in places], self.artefacts.pad_id)
            yield _Batch(places, input_ids_BT.to(device), mask_BT.to(device))

    def _allowed(self, groups: Sequence[str] | None) -> TokenTrie:
        """The codes of the allowed tools; the last restriction is kept, since it usually serves many calls."""
        # It stays where the model is: a copy to another device would be made for every search otherwise.
        self._trie = self._trie.to(self.model.device)
        if groups is None:
            return self._trie
        key = tuple(groups)
        if self._restricted is None or self._restricted[0] != key:
            catalog = self.artefacts.catalog
            allowed = [catalog.position(tool_id) for tool_id in catalog.ids_of_groups(key)]
            self._restricted = key, self._trie.restrict(allowed)
        return self._restricted[1]


def _check_not_blank(queries: Sequence[str], first: int) -> None:
    if blank := [number for number, query in enumerate(queries, start=first) if not query.strip()]:
        raise InputError(f"Query number {blank[0]} is blank. Say what the tool should do.")


def usable_device(name: str | None) -> torch.device:
    """The device of that name; None: CUDA when there is one."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"The device {name!r} cannot be used ({str(error).splitlines()[0]}). "
            "Give cpu, cuda or cuda:N, or leave it out."
        ) from error
