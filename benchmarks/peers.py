"""The constrained beam search of transformers, as its documentation shows it: the peer of our decoder. Knows token ids
and models of transformers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isclose
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel

from toolgen.beam import NO_CODE, BeamResult
from toolgen.processor import TrieLogitsProcessor, prompt_inputs
from toolgen.trie import TokenTrie

Codes = Sequence[tuple[int, ...]]


class DictTrie:
    """Codes as nested dicts, for ``prefix_allowed_tokens_fn``."""

    def __init__(self, codes: Codes) -> None:
        self.root: dict[int, Any] = {}
        for code in codes:
            node = self.root
            for token in code:
                node = node.setdefault(token, {})

    def following(self, prompt_length: int, end_id: int) -> Callable[[int, Tensor], list[int]]:
        """The function for ``generate``: the tokens that may follow what a beam has generated so far."""

        def allowed(_query: int, row: Tensor) -> list[int]:
            node = self.root
            for token in row[prompt_length:].tolist():
                node = node.get(token, {})
            return list(node) or [end_id]

        return allowed


@torch.inference_mode()
def beams_of(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor, beams: int, **told: Any) -> Any:
    """``generate`` as a beam search whose scores are plain sums of log p, and which nothing ends early.

    Args:
        model: In evaluation mode.
        input_ids_BT: Prompts, padded on the left.
        mask_BT: 1 for tokens, 0 for padding.
        beams: Width and number of results.
        told: What else ``generate`` is told: the constraint, what ends and pads, how long.
    """
    generating: Any = model
    return generating.generate(
        **prompt_inputs(model, input_ids_BT, mask_BT, beams),
        num_beams=beams,
        num_return_sequences=beams,
        length_penalty=0.0,
        early_stopping="never",
        do_sample=False,
        return_dict_in_generate=True,
        **told,
    )


@dataclass(frozen=True)
class Generate:
    """``generate`` with the settings whose scores are those of ``toolgen.beam.beam_search``.

    Attributes:
        model: In evaluation mode.
        codes: Codes of one token each, or codes that ``end_id`` closes.
        end_id: Closes codes.
        constraint: A dict trie for ``prefix_allowed_tokens_fn``, or ours for ``TrieLogitsProcessor``.
    """

    model: PreTrainedModel
    codes: Codes
    end_id: int
    constraint: DictTrie | TokenTrie

    def __call__(self, input_ids_BT: Tensor, mask_BT: Tensor, beams: int, *, scores: bool = False) -> Any:
        """What ``generate`` gives for prompts padded on the left.

        Args:
            input_ids_BT: The prompts.
            mask_BT: 1 for tokens, 0 for padding.
            beams: At least 2, and as many results; no more than there are codes.
            scores: Keep the scores, which costs time and memory.
        """
        width = input_ids_BT.shape[1]
        told: dict[str, Any] = {"output_scores": scores}
        if isinstance(self.constraint, DictTrie):
            told["prefix_allowed_tokens_fn"] = self.constraint.following(width, self.end_id)
        else:
            processor = TrieLogitsProcessor(self.constraint, width, self.end_id)
            told["logits_processor"] = LogitsProcessorList([processor])
        told |= {"max_new_tokens": self._longest, "eos_token_id": self.end_id, "pad_token_id": self.end_id}
        return beams_of(self.model, input_ids_BT, mask_BT, beams, **told)

    def result(self, input_ids_BT: Tensor, mask_BT: Tensor, beams: int) -> BeamResult:
        """The codes that it finds, with their scores."""
        generated = self(input_ids_BT, mask_BT, beams, scores=True)
        positions = {code: position for position, code in enumerate(self.codes)}
        lengths = sorted({len(code) for code in self.codes})
        found = []
        for row in generated.sequences[:, input_ids_BT.shape[1] :].tolist():
            matches = (positions.get(tuple(row[:length])) for length in lengths if length <= len(row))
            found.append(next((match for match in matches if match is not None), NO_CODE))
        shape = (len(input_ids_BT), beams)
        return BeamResult(torch.tensor(found).view(shape), generated.sequences_scores.float().cpu().view(shape))

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.codes))


def agreement(ours: BeamResult, theirs: BeamResult) -> float:
    """Share of queries with the same codes in the same order and the same scores.

    Scores closer than 1e-5 count as equal, large ones when they differ by float32's rounding.
    """
    same = 0
    columns = (ours.codes_BK, theirs.codes_BK, ours.scores_BK, theirs.scores_BK)
    for own, other, own_scores, other_scores in zip(*(column.tolist() for column in columns), strict=True):
        scores = dict(zip(own, own_scores, strict=True))
        if scores.keys() == set(other):
            in_order = (_close(scores[code], scores[mine]) for code, mine in zip(other, own, strict=True))
            equal = (_close(scores[code], score, 1e-4) for code, score in zip(other, other_scores, strict=True))
            same += all(in_order) and all(equal)
    return same / len(ours.codes_BK)


def _close(one: float, other: float, tolerance: float = 1e-5) -> bool:
    return isclose(one, other, rel_tol=1e-6, abs_tol=tolerance)
