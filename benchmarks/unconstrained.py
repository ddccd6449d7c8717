"""Tools generated freely: transformers' beam search over the whole vocabulary, nothing masked. It shows what a
constraint is worth. Knows checkpoints and transformers' ``generate``.
"""

from collections.abc import Sequence

from toolgen.beam import left_padded
from toolgen.benchmarks.peers import beams_of
from toolgen.checkpoint import Artefacts
from toolgen.errors import InputError
from toolgen.generative import GenerativeRetriever
from toolgen.parts import search_by_parts
from toolgen.retriever import Hit, check_k


class UnconstrainedRetriever:
    """Answers with what the model writes, tool or not. Meets ``Retriever``, but for groups, which need a constraint.

    What is no code becomes an answer whose id no tool has: a hallucinated one, at the rank where it was generated.
    """

    def __init__(self, constrained: GenerativeRetriever, *, batch_size: int = 16, name: str = "no constraint") -> None:
        """
        Args:
            constrained: Gives model, codes and prompts.
            batch_size: Queries decoded together.
            name: Label in tables.
        """
        self.name = name
        self._constrained = constrained
        self._batch_size = batch_size
        codes = self._artefacts.codes
        self._tools = dict(zip(codes.sequences, codes.tool_ids, strict=True))

    @property
    def _artefacts(self) -> Artefacts:
        return self._constrained.artefacts

    def search(self, queries: Sequence[str], k: int, *, groups: Sequence[str] | None = None) -> list[list[Hit]]:
        """Generate ``k`` continuations of each query's prompt, best first.

        Raises:
            InputError: ``groups`` is given, ``k`` out of range, or a query blank or too long.
        """
        if groups is not None:
            raise InputError("groups: without a constraint answers cannot be restricted. Leave groups out.")
        check_k(k, len(self._artefacts.catalog))
        if self._artefacts.reading == "whole":
            return self._written(self._constrained.prompts(queries), k)
        self._constrained.check(queries)
        return search_by_parts(
            lambda texts, places: self._written(self._constrained.prompts_of(texts, places), k), queries, k
        )

    def _written(self, prompts: Sequence[list[int]], k: int) -> list[list[Hit]]:
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        answers: list[list[Hit]] = [[] for _ in prompts]
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            for place, hits in zip(places, self._generate([prompts[place] for place in places], k), strict=True):
                answers[place] = hits
        return answers

    def _generate(self, prompts: Sequence[list[int]], k: int) -> list[list[Hit]]:
        codes, model = self._artefacts.codes, self._constrained.model
        pad_id = self._artefacts.pad_id
        ids_BT, mask_BT = left_padded(prompts, pad_id)
        longest = max(map(len, codes.sequences))
        # At least two beams: with one, generate is a greedy search that returns no scores of sequences.
        found = beams_of(
            model,
            ids_BT.to(model.device),
            mask_BT.to(model.device),
            max(k, 2),
            max_new_tokens=longest,
            eos_token_id=codes.end_id,
            pad_token_id=pad_id,
            output_scores=True,
        )
        sequences = found.sequences[:, ids_BT.shape[1] :].tolist()
        hits = [
            Hit(self._answer(sequence), score)
            for sequence, score in zip(sequences, found.sequences_scores.tolist(), strict=True)
        ]
        width = max(k, 2)
        return [hits[start : start + k] for start in range(0, len(hits), width)]

    def _answer(self, sequence: list[int]) -> str:
        """The tool whose code a continuation is or begins with: codes are prefix-free, so there is one at most."""
        for length in range(1, len(sequence) + 1):
            if (tool := self._tools.get(tuple(sequence[:length]))) is not None:
                return tool
        return f"(no tool) {self._artefacts.tokenizer.decode(sequence)}"
