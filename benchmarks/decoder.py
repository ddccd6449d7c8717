"""A small decoder that has read general text, trained here: a base with abilities to lose, where none is downloaded.

A Llama of 10 million parameters with a byte-level BPE of its own, both made from ``load_corpus("packages",
"train")``; what it knows is measured by ``toolgen.abilities.perplexity`` on the part that is held out. It knows no
tools and loads like any base model. The embedded base is no decoder by upbringing and has no language model's head:
there is nothing that training on tools could make it forget.

Legend: ``N`` windows, ``B`` windows of a step, ``T`` tokens of a window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from toolgen.base import without_bars
from toolgen.corpus import PACKAGES_SOURCE, first_characters, load_corpus
from toolgen.errors import InputError
from toolgen.terminal import progress_bar
from toolgen.tokenizer import encode_texts
from toolgen.training import IGNORED, uses_bf16

TOKENIZER_CHARACTERS = 8_000_000
"""The tokenizer learns its entries from the first so many: more change few of them."""

_BEGIN, _END = "<s>", "</s>"
_WARMUP = 0.05
_ENCODED_TOGETHER = 256


@dataclass(frozen=True)
class Shape:
    """Size of the decoder.

    Attributes:
        entries: Of the tokenizer.
        width: Of the states.
        layers: Their number.
        heads: Of attention.
        inner: Width within a layer's feed-forward part.
        context: Tokens of a window, in training and at most afterwards.
    """

    entries: int = 8192
    width: int = 320
    layers: int = 6
    heads: int = 5
    inner: int = 880
    context: int = 256


SHAPE = Shape()

STEPS = 1400
"""Of 2,048 tokens each: 44 minutes of processor time here, and a perplexity of 111 on the held-out part (8,192 is
chance)."""


def train_decoder(
    output: Path,
    *,
    source: str = PACKAGES_SOURCE,
    shape: Shape = SHAPE,
    steps: int = STEPS,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    seed: int = 0,
) -> Path:
    """Train a decoder and its tokenizer, and save them as a folder for ``toolgen.base.load_base``.

    Args:
        output: The folder; new or empty.
        source: Text, as ``toolgen.corpus.load_corpus`` takes it; its part ``train`` is read.
        shape: Size of the decoder.
        steps: Of training. They, not a clock, end it, so that it can be repeated.
        batch_size: Windows a step.
        learning_rate: Highest; it rises, then falls along a cosine to nothing.
        precision: Of matrix products; ``auto`` is bf16 where the hardware multiplies it natively.
        seed: Of weights and order.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds something, a number is out of range, or the source has too little text.
    """
    _check(output, shape, steps, batch_size)
    with progress_bar("reading") as progress:
        corpus = load_corpus(source, "train", progress=progress)
    tokenizer = train_tokenizer(corpus.documents, shape.entries)
    windows_NT = pack(tokenizer, corpus.documents, shape.context, most=steps * batch_size)
    if len(windows_NT) < batch_size:
        raise InputError(
            f"{corpus.name} fills {len(windows_NT)} windows of {shape.context} tokens, and a step takes {batch_size}. "
            "Give more text, or a smaller batch or context."
        )
    model = fit_decoder(
        start_decoder(shape, tokenizer, seed), windows_NT, steps, batch_size, learning_rate, precision, seed
    )
    with without_bars():
        model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return output


def _check(output: Path, shape: Shape, steps: int, batch_size: int) -> None:
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} holds something already. Give a new folder.")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name} is {value}. Give at least 1.")
    check_shape(shape)


def check_shape(shape: Shape) -> None:
    """
    Raises:
        InputError: The heads cannot share the width.
    """
    if shape.width % (2 * shape.heads):
        raise InputError(
            f"A width of {shape.width} cannot be divided among {shape.heads} heads of an even width. Give a multiple "
            f"of {2 * shape.heads}."
        )


def train_tokenizer(documents: Sequence[str], entries: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE: every text can be written in it, and it begins every text with ``<s>``.

    Raises:
        InputError: ``entries`` does not hold all bytes and the two special tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if entries < len(alphabet) + 2:
        raise InputError(f"entries is {entries}. Give at least {len(alphabet) + 2}: all bytes and two special tokens.")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries, special_tokens=[_BEGIN, _END], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(first_characters(documents, TOKENIZER_CHARACTERS), trainer)
    begin_id = backend.token_to_id(_BEGIN)
    backend.post_processor = processors.TemplateProcessing(single=f"{_BEGIN} $A", special_tokens=[(_BEGIN, begin_id)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=_BEGIN, eos_token=_END, pad_token=_END)


def pack(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], context: int, most: int) -> Tensor:
    """Documents one after the other, an end behind each, cut into windows ``[N, T]`` that begin as every text does.

    Args:
        tokenizer: With a beginning and an end of sequence.
        documents: The text.
        context: Tokens of a window.
        most: Make no more windows. A remainder that fills none is left out.
    """
    room = context - 1
    ids: list[int] = []
    todo = iter(documents)
    while len(ids) < most * room and (some := list(islice(todo, _ENCODED_TOGETHER))):
        for encoded in encode_texts(tokenizer, some):
            ids += [*encoded, tokenizer.eos_token_id]
    count = min(most, len(ids) // room)
    windows_NT = torch.full((count, context), tokenizer.bos_token_id)
    windows_NT[:, 1:] = torch.tensor(ids[: count * room], dtype=torch.long).view(count, room)
    return windows_NT


@dataclass(frozen=True, slots=True)
class Document:
    """A text of which not everything is learned.

    Attributes:
        text: What is read.
        given: Beginnings and ends of what is not learned, in characters.
    """

    text: str
    given: tuple[tuple[int, int], ...]


def document_windows(
    tokenizer: PreTrainedTokenizerBase, documents: Iterator[Document], context: int, count: int
) -> tuple[Tensor, Tensor]:
    """Token ids and labels ``[N, T]``: whole documents one after the other, as many as a window holds.

    Args:
        tokenizer: With a beginning and an end of sequence.
        documents: Without end; those that no window holds are passed over.
        context: Tokens of a window.
        count: Windows.
    """
    ids_NT = torch.full((count, context), tokenizer.eos_token_id)
    labels_NT = torch.full((count, context), IGNORED)
    ids_NT[:, 0] = tokenizer.bos_token_id
    row, filled = 0, 1
    while True:
        some = list(islice(documents, _ENCODED_TOGETHER))
        encoded = tokenizer([one.text for one in some], add_special_tokens=False, return_offsets_mapping=True)
        for document, ids, places in zip(some, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if len(ids) + 2 > context:
                continue
            if filled + len(ids) + 1 > context:
                row, filled = row + 1, 1
                if row == count:
                    return ids_NT, labels_NT
            learned = [not any(start <= place < end for start, end in document.given) for place, _ in places]
            labels = [token_id if known else IGNORED for token_id, known in zip(ids, learned, strict=True)]
            behind = filled + len(ids)
            ids_NT[row, filled:behind] = torch.tensor(ids)
            labels_NT[row, filled : behind + 1] = torch.tensor([*labels, tokenizer.eos_token_id])
            filled = behind + 1


def start_decoder(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int, **changes: Any) -> LlamaForCausalLM:
    """A random Llama.

    Args:
        shape: Its size.
        tokenizer: Gives the vocabulary.
        seed: Of the weights.
        changes: Further keys of transformers' configuration.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.context,
        # An untied head would be a quarter of all parameters, and is not worth it at this size.
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def fit_decoder(
    model: LlamaForCausalLM,
    windows_NT: Tensor,
    steps: int,
    batch_size: int,
    learning_rate: float,
    precision: Literal["auto", "fp32", "bf16"],
    seed: int,
    labels_NT: Tensor | None = None,
) -> LlamaForCausalLM:
    """Train a decoder on windows.

    Args:
        model: As ``start_decoder`` made it; is changed.
        windows_NT: Token ids; at least a batch.
        steps: Of training.
        batch_size: Windows a step.
        learning_rate: Highest; it rises, then falls along a cosine to nothing.
        precision: Of matrix products; ``auto`` is bf16 where the hardware multiplies it natively.
        seed: Of the order.
        labels_NT: What is learned of the windows; None: every token.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)  # type: ignore[arg-type]
    model.train()
    decaying = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, int(_WARMUP * steps), steps)
    batches = _batches(len(windows_NT), batch_size, seed)
    labels_NT = windows_NT if labels_NT is None else labels_NT
    with progress_bar("training") as progress:
        for step in range(steps):
            rows_B = next(batches)
            batch_BT, labels_BT = windows_NT[rows_B].to(device), labels_NT[rows_B].to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=uses_bf16(precision)):
                loss = model(input_ids=batch_BT, labels=labels_BT, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            progress(step + 1, steps)
    return model.eval()


def _batches(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Numbers of windows in batches without end, in another order every epoch; a remainder waits for the next one."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        rows_N = torch.randperm(count, generator=generator)
        for start in range(0, count - batch_size + 1, batch_size):
            yield rows_N[start : start + batch_size]
