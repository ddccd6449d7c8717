"""Attention masks that say for every token which others it sees. Knows models of transformers; no data, no decoding.

Transformers takes such a mask in place of the usual one of real and padded tokens and leaves it as it is. With it,
several continuations of one prompt stand side by side in one row and share the prompt's keys and values (tree
attention, SpecInfer, arXiv 2305.09781): no continuation sees another.

Legend: ``B`` rows, ``Q`` tokens that look, ``S`` tokens that are looked at.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.errors import InputError

PADDING = -1
PROMPT = 0
"""Segment of the prompt; its continuations are 1, 2, ..."""


def segments_seen(segments_BT: Tensor) -> Tensor:
    """Which tokens see which, ``[B, T, T]`` bool: earlier ones of the prompt and of the own segment.

    Args:
        segments_BT: Segment of each token: ``PADDING``, ``PROMPT`` or the number of a continuation.
    """
    before_TT = torch.ones(2 * segments_BT.shape[1:], dtype=torch.bool, device=segments_BT.device).tril()
    looked_at_B1T, looking_BT1 = segments_BT[:, None, :], segments_BT[:, :, None]
    # Padding sees padding: with nothing to see, its attention would be not a number and spoil the rest.
    return before_TT & ((looked_at_B1T == PROMPT) | (looked_at_B1T == looking_BT1))


def explicit_mask(model: PreTrainedModel, seen_BQS: Tensor, longest: int) -> Tensor:
    """The mask ``[B, 1, Q, S]`` in the form that the model's attention takes.

    Args:
        model: A decoder of transformers.
        seen_BQS: True where a token sees another.
        longest: Tokens of the longest text that any token sees, itself included.

    Raises:
        InputError: The model's layers keep a state instead of looking at tokens, see less than ``longest`` tokens, or
            run by an attention that takes no mask.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if getattr(model, "_is_stateful", False) or kinds - {"full_attention", "sliding_attention"}:
        raise InputError(
            f"Several continuations of one prompt need attention in every layer, and this {config.model_type} model "
            "has layers of another kind. Use a model with plain attention."
        )
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in kinds and window is not None and longest > window:
        raise InputError(
            f"Prompt and code take {longest} tokens, and some layers of this {config.model_type} model see {window} "
            "back. Shorten the text, or use a model without sliding windows."
        )
    implementation = config._attn_implementation
    mask_B1QS = seen_BQS[:, None]
    if implementation == "sdpa":
        return mask_B1QS
    if implementation == "eager":
        hidden = torch.finfo(model.dtype).min
        return torch.zeros(mask_B1QS.shape, dtype=model.dtype, device=mask_B1QS.device).masked_fill(~mask_B1QS, hidden)
    raise InputError(
        f"The attention {implementation!r} takes no mask of its own. Load the model with attn_implementation='sdpa'."
    )
