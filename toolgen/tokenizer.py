"""A tokenizer as the library uses it: text that nobody vouches for, the end of a code, a codebook's token ids.

Knows symbols and codebooks; no model, and not how symbols got into the tokenizer (``symbols``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from toolgen.codebook import Codebook, TokenCodes
from toolgen.errors import InputError
from toolgen.symbols import symbol_ids

_TAIL = 16
"""Tokens that are read to see how a text goes on."""


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that closes codes: the end of sequence, else the separator (BERT has no other).

    Raises:
        InputError: The tokenizer has neither.
    """
    for token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token_id is not None:
            return int(token_id)
    raise InputError(
        f"The tokenizer {tokenizer.name_or_path!r} has neither an eos_token nor a sep_token, and codes of several "
        "tokens need an end. Set tokenizer.eos_token to one of its tokens."
    )


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """One token as one reads it, blanks around it removed: its text, or its entry where it is no whole character."""
    text = str(tokenizer.decode([token_id])).strip()
    return text if text and "\ufffd" not in text else str(tokenizer.convert_ids_to_tokens(token_id))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode one text as ``encode_texts`` does."""
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Encode untrusted texts: no special token is added, and none comes out of a text that spells one.

    Added tokens that the base does not mark as special (runs of blanks, say, or Qwen's ``<tool_call>``) are part of its
    ordinary text and are matched as always. The unknown token may appear where the text holds unknown characters.

    Returns:
        Token ids, one list a text; the same under the base and the extended tokenizer. (Only a Unigram model may cut
        the spelling of a special token differently under the two.)
    """
    if not texts:
        return []
    encoded: list[list[int]] = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    forbidden = special_ids(tokenizer)
    for position, ids in enumerate(encoded):
        # Some models hold special tokens as ordinary entries (Unigram's "</s>") and find them in text even when split.
        if not forbidden.isdisjoint(ids):
            encoded[position] = _encode_around(tokenizer.backend_tokenizer, texts[position], forbidden)
    return encoded


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of some tokens, special ones included."""
    return str(tokenizer.decode(list(ids)))


def continuation_ids(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], text: str) -> list[int]:
    """Token ids with which a text that is there as tokens goes on.

    Some tokenizers put a blank before whatever they encode. So the text is encoded behind something that is taken off
    again, and that way is chosen in which the tokens read as they should; where none does (WordPiece has no way to
    write "=3" without a blank), it is encoded as it stands.

    Args:
        tokenizer: A fast one.
        before: What the text follows.
        text: Is not empty.
    """
    tail = list(before[-_TAIL:])
    wanted = decode(tokenizer, tail) + text
    for anchor in ("", "\n", "."):
        head, ids = encode_texts(tokenizer, [anchor, anchor + text])
        if ids[: len(head)] == head and decode(tokenizer, [*tail, *ids[len(head) :]]) == wanted:
            return ids[len(head) :]
    return encode_text(tokenizer, text)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of the special tokens, which no text may spell. The unknown token, which any text may hold, is none."""
    roles: Mapping[str, Any] = tokenizer.special_tokens_map
    special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    special.update(tokenizer.all_special_ids)
    others = {str(token) for role, token in roles.items() if role != "unk_token"}
    if tokenizer.unk_token is not None and tokenizer.unk_token not in others:
        special.discard(tokenizer.unk_token_id)
    return special


def _encode_around(backend: Tokenizer, text: str, forbidden: set[int]) -> list[int]:
    """Encode piece by piece, cutting every occurrence of a forbidden token after its first character."""
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    splits = [text]
    if backend.pre_tokenizer is not None:
        splits = [split for split, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    ids: list[int] = []
    todo = splits[::-1]
    while todo:
        split = todo.pop()
        tokens = backend.model.tokenize(split)
        parts = [split]
        for value in sorted({token.value for token in tokens if token.id in forbidden}):
            parts = [piece for part in parts for piece in _cut(part, value)]
        if len(parts) > 1:
            todo.extend(reversed(parts))
        else:
            # A special token of one character cannot be cut: it is left out.
            ids.extend(token.id for token in tokens if token.id not in forbidden)
    return ids


def _cut(text: str, token: str) -> list[str]:
    """Cut a text behind the first character of every occurrence of a token: ``"a</s>b"`` -> ``"a<"``, ``"/s>b"``."""
    head, *rest = text.split(token)
    parts = [head]
    for between in rest:
        parts[-1] += token[0]
        parts.append(token[1:] + between)
    return [part for part in parts if part]


def bind_codebook(codebook: Codebook, tokenizer: PreTrainedTokenizerBase, end_id: int) -> TokenCodes:
    """A codebook's token ids under a tokenizer that holds its new symbols.

    Args:
        codebook: The codes.
        tokenizer: Extended by the codebook's symbols.
        end_id: Closes codes; see ``end_token_id``.

    Raises:
        KeyError: The tokenizer lacks a new symbol; the key is the symbol.
        CollisionError, InputError: See ``Codebook.bind``.
    """
    return _bind(codebook, tokenizer, symbol_ids(tokenizer, codebook.new_symbols), end_id)


def bind_standalone(codebook: Codebook, tokenizer: PreTrainedTokenizerBase, end_id: int) -> TokenCodes:
    """A codebook's token ids under a base tokenizer, as if its new symbols followed the vocabulary.

    For proofs and statistics. A model may move the new symbols further up, which changes no comparison of codes.

    Raises:
        CollisionError, InputError: See ``Codebook.bind``.
    """
    first_id = max(tokenizer.get_vocab().values()) + 1
    new_ids = {symbol: token_id for token_id, symbol in enumerate(codebook.new_symbols, start=first_id)}
    return _bind(codebook, tokenizer, new_ids, end_id)


def _bind(
    codebook: Codebook, tokenizer: PreTrainedTokenizerBase, new_ids: Mapping[str, int], end_id: int
) -> TokenCodes:
    texts = list(dict.fromkeys(symbol for code in codebook.codes.values() for symbol in code if symbol not in new_ids))
    ids = dict(zip(texts, encode_texts(tokenizer, texts), strict=True))
    return codebook.bind(ids.__getitem__, new_ids, end_id)
