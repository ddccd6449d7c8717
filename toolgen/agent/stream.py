"""A text that a model reads and writes token by token, with its keys and values. Knows models; no tools and no
tokenizers.

Legend: ``D`` width, ``T`` tokens.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from toolgen.base import context_length
from toolgen.errors import InputError
from toolgen.head import Head

CURE = "Choose a base without a cap on its logits."


class ContextError(InputError):
    """The text is longer than the model's context."""


def check_continues(model: PreTrainedModel) -> None:
    """
    Raises:
        InputError: A model has no keys and values.
    """
    if getattr(model, "_is_stateful", False):
        raise InputError(
            f"{type(model).__name__} keeps no keys and values that a text could be continued from in several ways. "
            "Choose a base with attention."
        )


def check_room(context: int | None, held: int, more: int) -> None:
    """
    Args:
        context: Tokens that it holds; None: any number.
        held: Tokens that are there.
        more: Tokens to come.

    Raises:
        ContextError: It does not hold them all.
    """
    if context is not None and held + more > context:
        raise ContextError(f"The text takes {held + more} tokens, and the model's context holds {context}. Shorten it.")


class Stream:
    """A text in a model. It grows at its end only; ``fork`` continues it in another way.

    Attributes:
        ids: Its tokens.
        state_D: The state that predicts what comes next.
    """

    def __init__(self, model: PreTrainedModel, ids: Sequence[int]) -> None:
        """
        Args:
            model: In evaluation mode; a causal one.
            ids: What the text begins with, one token at least.

        Raises:
            ContextError: The context does not hold them.
            InputError: The model's logits are no product with its states, or it has no keys and values.
        """
        check_continues(model)
        self._model = model
        self._head = Head(model)
        self._head.check_linear(CURE)
        self._cache = DynamicCache(config=model.config.get_text_config())
        self.ids: list[int] = []
        self.extend(ids)

    @property
    def room(self) -> int | None:
        """Tokens that the context still holds; None where it has no end."""
        context = context_length(self._model.config)
        return None if context is None else context - len(self.ids)

    @torch.inference_mode()
    def extend(self, ids: Sequence[int]) -> None:
        """Read further tokens, one at least, behind those that are there.

        Raises:
            ContextError: The context does not hold them; nothing was read.
        """
        assert ids, "a text grows by tokens"
        check_room(context_length(self._model.config), len(self.ids), len(ids))
        device = self._model.device
        states_1TD = self._head.states(
            input_ids=torch.tensor([list(ids)], device=device),
            attention_mask=torch.ones(1, len(self.ids) + len(ids), dtype=torch.long, device=device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.ids += ids
        self.state_D: Tensor = states_1TD[0, -1]

    @torch.inference_mode()
    def best_word(self, stop: int | None = None) -> tuple[int, float]:
        """The word that comes next most probably, and its logit; of the words before ``stop`` only."""
        highest_1, token_1 = self._head.highest(self.state_D[None], stop)
        return int(token_1), float(highest_1)

    @torch.inference_mode()
    def word_logits(self, words: int) -> Tensor:
        """Logits ``[V]`` float32 of the first ``words`` words, as the next ones."""
        return self.logits_of(slice(0, words))

    @torch.inference_mode()
    def logits_of(self, tokens: Tensor | slice) -> Tensor:
        """Logits ``[A]`` float32 of some tokens, as the next ones."""
        return self._head.logits(self.state_D[None], tokens)[0]

    @torch.inference_mode()
    def probability(self, words_V: Tensor) -> float:
        """Probability, among all words, that the next one is among those that ``words_V`` is true for."""
        return float(self.word_logits(len(words_V)).softmax(-1)[words_V].sum())

    def fork(self) -> "Stream":
        """A stream that has read the same and goes its own way."""
        other = copy.copy(self)
        other.ids = list(self.ids)
        other._cache = copy.deepcopy(self._cache)
        return other
