"""For those who stay on ``generate`` of transformers: the trie as a logits processor, and prompts that are read both
ways. Knows token ids and models of transformers.

Legend: ``B`` prompts, ``R`` rows (queries times beams), ``T`` tokens so far, ``V`` vocabulary, ``W`` children of the
widest node.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel

from toolgen.attention import prompt_mask, reads_both_ways
from toolgen.beam import positions
from toolgen.errors import InputError
from toolgen.trie import ROOT, TokenTrie


class TrieLogitsProcessor(LogitsProcessor):
    """Masks every token that leads out of the trie; after a whole code only the end of the sequence is allowed.

    In beam search transformers hands over log-probabilities over the whole vocabulary, and masking leaves those of the
    allowed tokens as they are, so the sequence scores are those of ``toolgen.beam.beam_search``. What ``generate``
    needs for that: the end symbol of the codes as ``eos_token_id``, a ``pad_token_id``, a left-padded prompt,
    ``max_new_tokens=trie.depth`` (codes of one token have no end symbol, and one more step would add the score of
    ``end_id``), and for beam search ``length_penalty=0.0, early_stopping="never"``.

    Example::

        processor = TrieLogitsProcessor(trie, prompt_length=prompt["input_ids"].shape[1], end_id=end_id)
        model.generate(**prompt, logits_processor=LogitsProcessorList([processor]), max_new_tokens=trie.depth,
                       eos_token_id=end_id, num_beams=5, length_penalty=0.0, early_stopping="never", do_sample=False)
    """

    def __init__(self, trie: TokenTrie, prompt_length: int, end_id: int) -> None:
        """
        Args:
            trie: The codes.
            prompt_length: Tokens of the padded prompt; what follows them was generated.
            end_id: The token allowed after a whole code, and in rows that transformers keeps only to fill its beams.

        Raises:
            InputError: ``prompt_length`` is negative or ``end_id`` is no token id.
        """
        if prompt_length < 0 or end_id < 0:
            raise InputError(
                f"prompt_length={prompt_length} and end_id={end_id} must not be negative. Give the width of input_ids "
                "and the token that closes codes."
            )
        self.trie = trie
        self.prompt_length = prompt_length
        self.end_id = end_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Mask ``scores`` (``[R, V]``) by the generated part of ``input_ids`` (``[R, T]``); a new tensor is returned.

        Raises:
            InputError: ``input_ids`` is shorter than the prompt, or a token of the codes has no score.
        """
        if input_ids.shape[1] < self.prompt_length:
            raise InputError(
                f"input_ids has {input_ids.shape[1]} tokens, prompt_length is {self.prompt_length}. "
                "Make one processor for each prompt batch, with the width of its input_ids."
            )
        if max(self.trie.largest_token, self.end_id) >= scores.shape[1]:
            raise InputError(
                f"The codes use token {max(self.trie.largest_token, self.end_id)}, the model scores tokens 0 to "
                f"{scores.shape[1] - 1}. Use the model that the codes were put into."
            )
        self.trie = self.trie.to(scores.device)
        states_R = torch.full_like(input_ids[:, 0], ROOT)
        for token_R in input_ids[:, self.prompt_length :].T:
            states_R = self.trie.step(states_R, token_R)
        tokens_RW = self.trie.allowed(states_R)
        # Padding repeats the row's first token, which is harmless: the same value is written twice.
        first_R1 = torch.where(tokens_RW[:, :1] >= 0, tokens_RW[:, :1], self.end_id)
        tokens_RW = torch.where(tokens_RW >= 0, tokens_RW, first_R1)
        masked_RV = torch.full_like(scores, -torch.inf)
        return masked_RV.scatter_(1, tokens_RW, scores.gather(1, tokens_RW))


@torch.no_grad()
def prompt_inputs(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor, beams: int = 1) -> dict[str, Any]:
    """What ``generate`` is given for prompts, so that it reads them as the model was trained to.

    Transformers' models of this kind look back only. For a model that reads prompts both ways they are read here, and
    ``generate`` gets all but their last tokens as a cache: the last one sees the whole prompt either way.

    Args:
        model: In evaluation mode.
        input_ids_BT: Prompts, padded on the left.
        mask_BT: 1 for tokens, 0 for padding.
        beams: What ``generate`` is told as ``num_beams``.
    """
    inputs: dict[str, Any] = {"input_ids": input_ids_BT, "attention_mask": mask_BT}
    if reads_both_ways(model) and input_ids_BT.shape[1] > 1:
        cache = DynamicCache()
        model(
            input_ids=input_ids_BT,
            attention_mask=prompt_mask(model, mask_BT),
            position_ids=positions(mask_BT),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.crop(-1)
        cache.batch_repeat_interleave(beams)
        inputs["past_key_values"] = cache
    return inputs
