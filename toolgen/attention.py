"""Attention masks that say for every token which others it sees. Knows models of transformers; no data, no decoding.

Transformers takes such a mask in place of the usual one of real and padded tokens and leaves it as it is. With it,
several continuations of one prompt stand side by side in one row and share the prompt's keys and values (tree
attention, SpecInfer, arXiv 2305.09781): no continuation sees another. And a row may hold several samples (packing).

A prompt's own tokens look back only, as everywhere in a decoder, or see each other both ways (prefix LM, arXiv
1910.10683), which models want that were encoders before. A model's configuration says which, under
``prompt_attention``; transformers keeps that key in ``config.json`` and does not know what it means.

Legend: ``B`` rows, ``T`` tokens of a row, ``Q`` tokens that look, ``S`` tokens that are looked at.
"""

import inspect
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.errors import InputError

PromptAttention = Literal["causal", "full"]
"""How a prompt's tokens see each other: those before them, or all."""

PADDING = -1
PROMPT = 0
"""Segment of the prompt; its continuations are 1, 2, ..."""


def set_prompt_attention(model: PreTrainedModel, attention: PromptAttention) -> None:
    """Say how a model reads prompts; its checkpoints say so too."""
    model.config.prompt_attention = attention


def reads_both_ways(model: PreTrainedModel) -> bool:
    """Whether a prompt's tokens see each other both ways."""
    return getattr(model.config, "prompt_attention", "causal") == "full"


def prompt_mask(model: PreTrainedModel, mask_BT: Tensor) -> Tensor:
    """The mask with which a model reads prompts: ``[B, T]``, or ``[B, 1, T, T]`` where it reads them both ways.

    Args:
        model: Where it reads both ways, it has passed ``check_side_by_side``.
        mask_BT: 1 for tokens, 0 for padding, on either side.
    """
    if not reads_both_ways(model):
        return mask_BT.long()
    real_BT = mask_BT.bool()
    # Padding sees padding: with nothing to see, its attention would be not a number and spoil the rest.
    return explicit_mask(model, real_BT[:, None, :] == real_BT[:, :, None])


def segments_seen(segments_BT: Tensor, samples_BT: Tensor | None = None, *, both_ways: bool = False) -> Tensor:
    """Which tokens see which, ``[B, T, T]`` bool: earlier ones of the prompt and of the own segment.

    Args:
        segments_BT: Segment of each token: ``PADDING``, ``PROMPT`` or the number of a continuation.
        samples_BT: Number of the sample that each token belongs to, ``PADDING`` for none, where a row holds several:
            no sample sees another. None: a row is one sample.
        both_ways: The prompt's tokens see its later ones too.
    """
    before_TT = torch.ones(2 * segments_BT.shape[1:], dtype=torch.bool, device=segments_BT.device).tril()
    looked_at_B1T, looking_BT1 = segments_BT[:, None, :], segments_BT[:, :, None]
    # Padding sees padding, as in ``prompt_mask``.
    seen_BTT = before_TT & ((looked_at_B1T == PROMPT) | (looked_at_B1T == looking_BT1))
    if both_ways:
        seen_BTT |= (looked_at_B1T == PROMPT) & (looking_BT1 == PROMPT)
    return seen_BTT if samples_BT is None else seen_BTT & (samples_BT[:, None, :] == samples_BT[:, :, None])


def check_side_by_side(model: PreTrainedModel, longest: int) -> None:
    """Check that several continuations can stand in one row of a model.

    Args:
        model: A decoder of transformers.
        longest: Tokens of prompt and continuation together.

    Raises:
        InputError: The model tells distances by places in the row, its layers keep a state instead of looking at tokens
            or look less than ``longest`` back, or its attention takes no mask.
    """
    config = model.config.get_text_config()
    kind = config.model_type
    if getattr(config, "alibi", False) or "position_ids" not in inspect.signature(type(model).forward).parameters:
        raise InputError(
            f"This {kind} model takes no positions and tells distances by places in the row, where several "
            "continuations of one prompt stand side by side. Use a model with position ids, such as Llama or GPT-2."
        )
    layers = {*(getattr(config, "layer_types", None) or ()), *(getattr(config, "attention_layers", None) or ())}
    if getattr(model, "_is_stateful", False) or layers - {"full_attention", "sliding_attention", "global", "local"}:
        raise InputError(
            f"Several continuations of one prompt need attention in every layer, and this {kind} model has layers of "
            "another kind. Use a model with plain attention."
        )
    windows = [getattr(config, name, None) for name in ("sliding_window", "window_size")]
    window = min((size for size in windows if isinstance(size, int)), default=longest)
    if longest > window and (not layers or layers & {"sliding_attention", "local"}):
        raise InputError(
            f"Prompt and code take {longest} tokens, and layers of this {kind} model look {window} back. Shorten the "
            "text, or use a model without such windows."
        )
    if config._attn_implementation not in ("sdpa", "eager"):
        raise InputError(
            f"The attention {config._attn_implementation!r} takes no mask of its own. Load the model with "
            "attn_implementation='sdpa'."
        )


def explicit_mask(model: PreTrainedModel, seen_BQS: Tensor) -> Tensor:
    """The mask ``[B, 1, Q, S]`` in the form that the model's attention takes.

    Args:
        model: Has passed ``check_side_by_side``.
        seen_BQS: True where a token sees another.
    """
    mask_B1QS = seen_BQS[:, None]
    if model.config.get_text_config()._attn_implementation == "sdpa":
        return mask_B1QS
    hidden = torch.finfo(model.dtype).min
    return torch.zeros(mask_B1QS.shape, dtype=model.dtype, device=mask_B1QS.device).masked_fill(~mask_B1QS, hidden)
