"""Annotated texts as training examples, exact for any tokenizer. Knows texts and tokenizers; no models.

``replace`` is ToolkenGPT's (arXiv 2305.11554, section 3.1): a model reads the raw text, results included; where it is
to write the first token of a result it should write the tool's row instead, and the rest of the result is nobody's
label.
``turns`` is what the stages train on: the text before a call is the prompt, the tool is the answer.

A token may hold the blank before a result too (" 36"): the row then stands for the blank as well. A result that begins
or ends in the middle of a token ("=36" as one) has its text cut there before it is encoded, so that its tokens are its
own; a tokenizer that cannot cut a text without changing it (WordPiece within a word) has that text refused.

Legend: ``T`` tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from toolgen.errors import InputError
from toolgen.records import Record
from toolgen.tokenizer import decode, end_token_id, special_ids
from toolgen.toolken.texts import AnnotatedText, Span
from toolgen.training import IGNORED


class BoundaryError(InputError):
    """A result cannot be parted from the text around it."""


@dataclass(frozen=True, slots=True)
class Example:
    """A text as a model reads it.

    Attributes:
        id: Of the text.
        input_ids: Tokens, ``[T]``, between the tokenizer's first special token, where it has one, and its end: where a
            text ends, no tool should be called either.
        labels: What should be written in the place of each token, ``[T]``: the token itself, the id of a tool's row, or
            ``IGNORED``. The state that predicts ``labels[t]`` is that of ``input_ids[t - 1]``.
    """

    id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Tokens:
    ids: list[int]
    places: list[tuple[int, int]]
    """First character of each token, and the one behind it."""


def replace(
    text: AnnotatedText, tokenizer: PreTrainedTokenizerBase, row_ids: Mapping[str, int], *, words: bool = True
) -> Example:
    """A text whose results' first tokens are labelled with their tools.

    Args:
        text: The text.
        tokenizer: A fast one.
        row_ids: Tool id -> id of its row, behind the base's vocabulary.
        words: Whether the other tokens keep their labels; False: rows see calls alone.

    Raises:
        BoundaryError: A result begins or ends within a token and cannot be cut off; the text is named.
        KeyError: A call's tool has no row.
    """
    tokens = _encode(text, tokenizer)
    end = end_token_id(tokenizer)
    ids = [*tokens.ids, end]
    labels = list(ids) if words else [IGNORED] * len(ids)
    for span in text.calls:
        first, behind = _covered(tokens.places, span, text)
        labels[first:behind] = [row_ids[span.tool], *[IGNORED] * (behind - first - 1)]
    opening = opening_id(tokenizer)
    if opening is None:
        # Nothing is written before the first token that could predict it.
        if labels[0] in row_ids.values():
            raise BoundaryError(
                f"Text {text.id!r} begins with a result, and this tokenizer writes nothing before a text that a row "
                "could be predicted from. Leave the text out, or put a word before it."
            )
        return Example(text.id, tuple(ids), (IGNORED, *labels[1:]))
    return Example(text.id, (opening, *ids), (IGNORED, *labels))


def turns(text: AnnotatedText) -> list[Record]:
    """One training pair a call: the text before it, and its tool."""
    return [Record(text.text[: span.start], ((span.tool,),)) for span in text.calls]


def opening_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that begins every text, if the tokenizer has one."""
    for token_id in (tokenizer.bos_token_id, tokenizer.cls_token_id):
        if token_id is not None:
            return int(token_id)
    return None


def _encode(text: AnnotatedText, tokenizer: PreTrainedTokenizerBase) -> _Tokens:
    """Tokens of a text in which every result has tokens of its own."""
    found = whole = _tokens(text, tokenizer, text.text, 0)
    cuts: set[int] = set()
    # A piece may be divided otherwise than the whole was, and tear a result that was none before.
    while torn := {place for span in text.calls for place in _torn(found.places, span, text)} - cuts:
        cuts |= torn
        ends = [0, *sorted(cuts), len(text.text)]
        pieces = [_tokens(text, tokenizer, text.text[start:end], start) for start, end in pairwise(ends)]
        ids = [token_id for piece in pieces for token_id in piece.ids]
        found = _Tokens(ids, [place for piece in pieces for place in piece.places])
    if cuts and decode(tokenizer, found.ids) != decode(tokenizer, whole.ids):
        place = min(cuts)
        raise BoundaryError(
            f"Text {text.id!r}: the result of a call begins or ends within a token, at character {place} "
            f"({text.text[max(0, place - 10) : place + 10]!r}), and this tokenizer cannot cut there without changing "
            "the text. Leave the text out, or mark a result that stands between blanks."
        )
    return found


def _tokens(text: AnnotatedText, tokenizer: PreTrainedTokenizerBase, piece: str, start: int) -> _Tokens:
    found = tokenizer(
        piece,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    ids: list[int] = found["input_ids"]
    if not special_ids(tokenizer).isdisjoint(ids):
        raise BoundaryError(f"Text {text.id!r} spells a special token of this tokenizer. Leave the text out.")
    return _Tokens(ids, [(start + first, start + behind) for first, behind in found["offset_mapping"]])


def _covered(places: Sequence[tuple[int, int]], span: Span, text: AnnotatedText) -> tuple[int, int]:
    """Number of the first token of a result, and of the one behind its last."""
    numbers = [number for number, (first, behind) in enumerate(places) if first < span.end and behind > span.start]
    if not numbers:
        raise BoundaryError(
            f"Text {text.id!r}: the result at {span.start} ({text.text[span.start : span.end]!r}) has no token under "
            "this tokenizer. Leave the text out."
        )
    return numbers[0], numbers[-1] + 1


def _torn(places: Sequence[tuple[int, int]], span: Span, text: AnnotatedText) -> list[int]:
    """The ends of a result that lie within a token which holds more than blanks on the other side."""
    first, behind = _covered(places, span, text)
    before, after = text.text[places[first][0] : span.start], text.text[span.end : places[behind - 1][1]]
    return [place for place, rest in ((span.start, before), (span.end, after)) if rest.strip()]
