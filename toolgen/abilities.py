"""What a model still knows of language: its perplexity on general text. Knows models and tokenizers; no tools.

Documents are cut into windows, and every token is predicted from those before it in its window. The probability is that
of the whole vocabulary, tools and all: what a tool's row takes away from a word counts against the model. With
``vocabulary`` only the first rows compete, which are the base's; the two figures tell apart what training did to the
trunk and what the tools' rows take.

Legend: ``B`` windows, ``T`` tokens, ``D`` width, ``n`` predicted tokens.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.corpus import Corpus
from toolgen.embeddings import Progress
from toolgen.errors import InputError
from toolgen.head import Head
from toolgen.prompts import PromptRenderer
from toolgen.tokenizer import encode_texts

_ENCODED_TOGETHER = 64
"""Documents: a few tokens of a long corpus are asked for, and the rest need not be encoded."""


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text. Comparable only where all but ``value`` is equal.

    Attributes:
        value: The exponentiated mean negative log-likelihood of a token; 1 is certainty.
        tokens: How many were predicted.
        length: Tokens of the longest window.
        vocabulary: Tokens that competed.
        corpus: Name of the text.
        fingerprint: Of the text.
    """

    value: float
    tokens: int
    length: int
    vocabulary: int
    corpus: str
    fingerprint: str


class TextWindows(NamedTuple):
    """A text, cut."""

    windows: list[list[int]]
    """Token ids, each behind what the tokenizer puts before a text."""
    opening: int
    """Tokens of a window that are only read; the others are predicted."""


# Not inference_mode: what ZeRO-3 gathers in there stays an inference tensor, and training cannot go on with it.
@torch.no_grad()
def perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    *,
    most_tokens: int = 100_000,
    length: int = 256,
    batch_size: int = 8,
    vocabulary: int | None = None,
    progress: Progress | None = None,
) -> Perplexity:
    """Measure a model's perplexity on a text.

    Text is encoded as a query is: it yields no tool token whatever it spells, and the same tokens under the base and
    the extended tokenizer. What the tokenizer puts before a text (a beginning of sequence) opens every window and is
    not predicted; where it puts nothing, a window's first token is not predicted.

    Args:
        model: A causal language model, in any mode; it is left as it was.
        tokenizer: Its tokenizer, extended or not.
        corpus: The text.
        most_tokens: Predict no more.
        length: Tokens of a window, its opening included; the model's context if that is shorter.
        batch_size: Windows computed together. It changes the result by rounding only.
        vocabulary: Let only the first so many tokens compete, such as the size of the base's vocabulary; None: all.
        progress: Told how many windows are done.

    Raises:
        InputError: A number is out of range, the text has tokens beyond ``vocabulary`` or too few of them, or the
            model's logits are bent or not finite.
    """
    head = Head(model)
    head.check_linear()
    rows = int(model.config.get_text_config().vocab_size)
    size = rows if vocabulary is None else vocabulary
    _check(most_tokens, length, batch_size, size, rows)
    length = min(length, getattr(model.config.get_text_config(), "max_position_embeddings", length))
    windows, first = text_windows(tokenizer, corpus, length, most_tokens)
    _check_tokens(windows, corpus, size)
    training = model.training
    model.eval()
    try:
        total, count = 0.0, 0
        # Those of a length together, so that little is padded.
        ordered = sorted(windows, key=len)
        for start in range(0, len(ordered), batch_size):
            batch = ordered[start : start + batch_size]
            losses_n = _losses(model, head, batch, first, None if vocabulary is None else size)
            total += losses_n.double().sum().item()
            count += len(losses_n)
            if progress is not None:
                progress(start + len(batch), len(ordered))
    finally:
        model.train(training)
    return Perplexity(_exponential(total / count), count, length, size, corpus.name, corpus.fingerprint)


def _check(most_tokens: int, length: int, batch_size: int, size: int, rows: int) -> None:
    for name, value, least in (("most_tokens", most_tokens, 1), ("length", length, 2), ("batch_size", batch_size, 1)):
        if value < least:
            raise InputError(f"{name} is {value}. Give at least {least}.")
    if not 1 <= size <= rows:
        raise InputError(f"vocabulary is {size}, and the model predicts {rows} tokens. Give 1 to {rows}, or None.")


def _check_tokens(windows: list[list[int]], corpus: Corpus, size: int) -> None:
    if not windows:
        raise InputError(f"{corpus.name}: its {len(corpus.documents)} documents hold no token that can be predicted.")
    if (highest := max(map(max, windows))) >= size:
        raise InputError(
            f"vocabulary is {size}, and {corpus.name} has the token {highest}. Give at least the size of the "
            "vocabulary that the text is encoded with."
        )


def text_windows(tokenizer: PreTrainedTokenizerBase, corpus: Corpus, length: int, most_tokens: int) -> TextWindows:
    """Cut a text into windows that together predict ``most_tokens`` tokens at most.

    Raises:
        InputError: ``length`` leaves no room for a token that is predicted.
    """
    opening = PromptRenderer(tokenizer).opening_ids
    room = length - len(opening)
    # Without an opening, the first token is only read.
    read = 0 if opening else 1
    if room <= read:
        raise InputError(
            f"length is {length}, and what the tokenizer puts before a text takes {len(opening)} tokens. Give at least "
            f"{len(opening) + read + 1}."
        )
    windows: list[list[int]] = []
    for ids in _encoded(tokenizer, corpus):
        for start in range(0, len(ids), room):
            part = ids[start : start + min(room, most_tokens + read)]
            if len(part) > read:
                windows.append([*opening, *part])
                most_tokens -= len(part) - read
            if most_tokens == 0:
                return TextWindows(windows, max(len(opening), 1))
    return TextWindows(windows, max(len(opening), 1))


def _encoded(tokenizer: PreTrainedTokenizerBase, corpus: Corpus) -> Iterator[list[int]]:
    documents = iter(corpus.documents)
    while some := list(islice(documents, _ENCODED_TOGETHER)):
        yield from encode_texts(tokenizer, some)


def _losses(model: PreTrainedModel, head: Head, batch: list[list[int]], first: int, size: int | None) -> Tensor:
    """Negative log-likelihoods ``[n]`` of the windows' tokens from the place ``first`` on, in float32."""
    width = max(map(len, batch))
    device = model.device
    # Padded on the right, where nothing looks: the padding's id does not matter.
    input_ids_BT = torch.tensor([ids + [0] * (width - len(ids)) for ids in batch], device=device)
    real_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in batch], device=device)
    states_BTD = head.states(input_ids=input_ids_BT, attention_mask=real_BT, use_cache=False)
    predicted_BT = real_BT[:, first:].bool()
    states_nD = states_BTD[:, first - 1 : -1][predicted_BT]
    tokens_n = input_ids_BT[:, first:][predicted_BT]
    return head.normalizers(states_nD, size) - head.own_logits(states_nD, tokens_n)


def _exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
