"""A causal model's output projection, taken apart: states instead of logits, and of the logits only those asked for.

Logits of all tokens are the largest thing a decoder makes (a row takes 0.7 MB at a vocabulary of 175,000), and ranking
reads a handful of them beside their logarithmic sum. Knows models of transformers, and rows that stand apart from the
matrix (``toolgen.rows``); no tries, codes or tools.

Legend: ``B`` rows, ``T`` tokens, ``D`` width, ``n`` states, ``V`` vocabulary, ``A`` tokens asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.errors import InputError

_CHUNK = {"cpu": 1 << 20, "cuda": 1 << 27}
"""Logits that are held at once while they are summed up: on a CPU 4 MB, which its cache takes; a GPU wants large
products more than it wants memory."""

_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What architectures call a bound that bends logits. Those that scale them (Cohere, Granite) scale states here, which
comes to the same."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """The weights of a projection: matrices that lie one below another, and a bias of all."""

    parts: tuple[Tensor, ...]
    bias: Tensor | None

    def product(self, states_nD: Tensor) -> Tensor:
        """Logits ``[n, V]``."""
        logits = [
            F.linear(states_nD, part, self._bias(slice(start, start + len(part))))
            for start, part in zip(self._starts(), self.parts, strict=True)
        ]
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=-1)

    def of(self, tokens: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        """The rows of some tokens, and their biases; a slice within one part is a view."""
        for start, part in zip(self._starts(), self.parts, strict=True):
            if isinstance(tokens, slice) and start <= tokens.start and tokens.stop <= start + len(part):
                return part[tokens.start - start : tokens.stop - start], self._bias(tokens)
        if isinstance(tokens, slice):
            tokens = torch.arange(tokens.start, tokens.stop, device=self.parts[0].device)
        rows_AD = self.parts[0][tokens.clamp(max=len(self.parts[0]) - 1)]
        for start, part in zip(self._starts()[1:], self.parts[1:], strict=True):
            own_A = (tokens >= start).nonzero()[:, 0]
            rows_AD = rows_AD.index_copy(0, own_A.to(rows_AD.device), part[tokens[own_A] - start])
        return rows_AD, self._bias(tokens)

    def pieces(self, size: int, stop: int | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The rows before ``stop``, ``size`` at a time, and their biases; None: all rows."""
        for start, part in zip(self._starts(), self.parts, strict=True):
            end = len(part) if stop is None else min(len(part), stop - start)
            for place in range(0, end, size):
                piece = part[place : min(place + size, end)]
                yield piece, self._bias(slice(start + place, start + place + len(piece)))

    def _starts(self) -> list[int]:
        return [sum(map(len, self.parts[:number])) for number in range(len(self.parts))]

    def _bias(self, tokens: Tensor | slice) -> Tensor | None:
        return None if self.bias is None else self.bias[tokens]


class Head:
    """The output projection of a model.

    All work on its weights runs inside a call of its module, for DeepSpeed's ZeRO-3 brings them when a module is called
    and takes them away afterwards. The module is changed for the time of the call: one model serves one thread.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._module: Any = model.get_output_embeddings()

    def check_linear(self, cure: str = "Use toolgen.processor.TrieLogitsProcessor with generate.") -> None:
        """
        Args:
            cure: What to do about a model whose logits are bent.

        Raises:
            InputError: The model has no output projection, or its logits are no product with its states.
        """
        if self._module is None:
            raise InputError(
                f"{type(self._model).__name__} has no output projection. Load the model with AutoModelForCausalLM."
            )
        config = self._model.config.get_text_config()
        if bent := [name for name in _SOFT_CAPS if getattr(config, name, None) is not None]:
            raise InputError(
                f"This {config.model_type} model bends its logits ({bent[0]}), which cannot be taken apart. {cure}"
            )

    def states(self, **inputs: Any) -> Tensor:
        """Run the model up to the projection: ``[B, T, D]``; ``logits_to_keep`` counts."""
        with self._calling(lambda states, _weights: states):
            return cast(Tensor, self._model(**inputs).logits)

    def logits_at(self, call: Callable[..., Any], rows_n: Tensor, places_n: Tensor, **inputs: Any) -> Tensor:
        """Run the model and project some of its states only: logits ``[n, V]``, in the dtype of the model's own.

        Args:
            call: The model, or what it is wrapped into.
            rows_n: Rows of the states.
            places_n: Their places among the last ones that ``logits_to_keep`` names.
        """
        with self._calling(lambda states, weights: weights.product(states[rows_n, places_n])):
            return cast(Tensor, call(**inputs).logits)

    def logits(self, states_nD: Tensor, tokens_A: Tensor | slice) -> Tensor:
        """Logits ``[n, A]`` float32 of some tokens, the same for all states; a slice copies no weights."""
        return self._on_weights(states_nD, lambda states, weights: F.linear(states, *weights.of(tokens_A)).float())

    def own_logits(self, states_nD: Tensor, tokens_n: Tensor) -> Tensor:
        """Logits ``[n]`` float32, one token for each state."""

        def product(states: Tensor, weights: _Weights) -> Tensor:
            rows_nD, bias_n = weights.of(tokens_n)
            logits_n = torch.einsum("nd,nd->n", states, rows_nD).float()
            return logits_n if bias_n is None else logits_n + bias_n

        return self._on_weights(states_nD, product)

    def normalizers(self, states_nD: Tensor, stop: int | None = None) -> Tensor:
        """Logarithm of the sum of all exponentiated logits, ``[n]`` float32, without holding them all.

        Args:
            states_nD: The states.
            stop: Sum up the tokens before this one only.

        Raises:
            InputError: A logit is not a number or positively infinite.
        """

        def reduce(states: Tensor, weights: _Weights) -> Tensor:
            pieces = weights.pieces(_chunk(states), stop)
            sums = [F.linear(states, *piece).float().logsumexp(-1) for piece in pieces]
            return torch.stack(sums).logsumexp(0) if len(sums) > 1 else sums[0]

        sums_n = self._on_weights(states_nD, reduce)
        check_finite(sums_n)
        return sums_n

    def highest(self, states_nD: Tensor, stop: int | None = None) -> tuple[Tensor, Tensor]:
        """The highest logit of each state, ``[n]`` float32, and its token ``[n]``, without holding all logits.

        Args:
            states_nD: The states.
            stop: Look at the tokens before this one only.
        """
        tokens: list[Tensor] = []

        def reduce(states: Tensor, weights: _Weights) -> Tensor:
            size = _chunk(states)
            found = [F.linear(states, *piece).float().max(-1) for piece in weights.pieces(size, stop)]
            starts = accumulate((len(piece) for piece, _ in weights.pieces(size, stop)), initial=0)
            tokens_nP = torch.stack([best.indices + start for best, start in zip(found, starts, strict=False)], 1)
            highest_nP = torch.stack([best.values for best in found], 1)
            best_n = highest_nP.argmax(1, keepdim=True)
            tokens.append(tokens_nP.gather(1, best_n)[:, 0])
            return highest_nP.gather(1, best_n)[:, 0]

        highest_n = self._on_weights(states_nD, reduce)
        return highest_n, tokens[0]

    def _on_weights(self, states_nD: Tensor, compute: Callable[[Tensor, _Weights], Tensor]) -> Tensor:
        with self._calling(compute):
            return cast(Tensor, self._module(states_nD))

    @contextmanager
    def _calling(self, compute: Callable[[Tensor, _Weights], Tensor]) -> Iterator[None]:
        """Inside, a call of the module is ``compute(states, weights)``."""
        module = self._module
        earlier = module.__dict__.get("forward")

        def forward(states: Tensor) -> Tensor:
            parts = (module.weight, *([module.rows] if hasattr(module, "rows") else []))
            # Some models hand over float32 states whatever their weights are.
            return compute(states.to(module.weight.dtype), _Weights(parts, getattr(module, "bias", None)))

        module.forward = forward
        try:
            yield
        finally:
            if earlier is None:
                del module.forward
            else:
                module.forward = earlier


def _chunk(states_nD: Tensor) -> int:
    """Rows of the matrix that are multiplied with so many states at once."""
    return max(1, _CHUNK.get(states_nD.device.type, _CHUNK["cuda"]) // max(1, len(states_nD)))


def check_finite(scores: Tensor) -> None:
    """
    Raises:
        InputError: One is not a number or infinite, and so was a logit that it was made of.
    """
    if not scores.isfinite().all():
        raise InputError(
            "The model's logits are not finite, so codes cannot be ranked. Check that its weights were trained and "
            "loaded whole, and load it in float32 or bfloat16."
        )
