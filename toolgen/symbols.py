"""New symbols in a fast tokenizer. Knows ``tokenizer.json``; no model, tool or code.

New symbols are written into ``model.vocab`` of ``tokenizer.json``: they load with the vocabulary, decode like any other
token and are never matched in text. (``add_tokens`` would match them in whatever a user types, and loads 47,000 tokens
in seconds.) The result is a ``TokenizersBackend``, which transformers loads from ``tokenizer.json`` as it stands; the
model-specific classes would rebuild normalizer, decoder and model from the vocabulary and lose part of it.

Why text cannot reach a new symbol, by kind of model:

- WordPiece and WordLevel find a symbol only inside one pre-token, BPE only as a single character, by a merge (none
  makes it) or, with ``ignore_merges``, as one whole pre-token. Normalising the symbol's own text gives what any text
  that reaches it gives, so encoding every symbol once is a proof; it is made on each extension.
- Unigram takes any entry it finds. Each new entry therefore opens with a raw space, which the pre-tokenizer replaces
  or removes, and the decoder takes it off again. ``convert_ids_to_tokens`` shows it.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from toolgen.errors import InputError
from toolgen.files import read_json, write_json

_SPACE_EATERS = {"Metaspace", "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "ByteLevel"}
"""Pre-tokenizers after which no piece of text holds a raw space."""
_PROTECTED_SPACE = "\ufdd0"
"""A Unicode noncharacter: it stands for the spaces of a symbol while the base's decoder tidies spaces up."""
_STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
"""The decoder step that takes the raw space off a Unigram symbol."""
_BATCH = 4096


def symbol_ids(tokenizer: PreTrainedTokenizerBase, symbols: Sequence[str]) -> dict[str, int]:
    """Token ids of symbols that ``extend_tokenizer`` put into a tokenizer, also after it was saved and loaded.

    Raises:
        KeyError: The tokenizer lacks a symbol; the key is the symbol.
    """
    if not symbols:
        return {}
    vocab = tokenizer.get_vocab()
    unigram = isinstance(tokenizer.backend_tokenizer.model, Unigram)
    found = {}
    for symbol in symbols:
        piece = f" {symbol}" if unigram else symbol
        if piece not in vocab:
            piece = _byte_piece(symbol)
        if piece not in vocab:
            raise KeyError(symbol)
        found[symbol] = vocab[piece]
    return found


def extend_tokenizer(
    tokenizer: PreTrainedTokenizerBase, symbols: Sequence[str], first_id: int
) -> PreTrainedTokenizerBase:
    """Give each new symbol an id of its own, ``first_id + position``; ids and encodings of the base stay as they are.

    Ids below ``first_id`` that the base leaves unused (padded vocabularies) get placeholders, so that ``len`` of the
    result is ``first_id + len(symbols)`` and a token added later cannot land on a tool.

    Args:
        tokenizer: A fast tokenizer; it is not changed.
        symbols: Distinct, none of them a token of the base.
        first_id: Above every id of the base.

    Returns:
        A new tokenizer, or ``tokenizer`` itself when there is no symbol.

    Raises:
        InputError: The tokenizer is not a fast one or is of an unknown kind, a symbol is a token already, or text could
            produce a symbol.
    """
    if not symbols:
        return tokenizer
    if not isinstance(tokenizer, TokenizersBackend):
        raise InputError(
            f"The tokenizer {tokenizer.name_or_path!r} is a {type(tokenizer).__name__}, which has no tokenizer.json. "
            "New symbols need a fast tokenizer: use a base model whose folder holds tokenizer.json."
        )
    base_vocab = tokenizer.get_vocab()
    record = json.loads(tokenizer.backend_tokenizer.to_str())
    _check_symbols(symbols, base_vocab, first_id, record["model"])
    # What the last call left there would become the default of the saved file.
    record["truncation"] = record["padding"] = None
    moved = _write_vocabulary(record, symbols, base_vocab, first_id)
    _mend_decoder(record, symbols, first_id)
    extended = _reload(tokenizer, record)
    _prove_out_of_reach(extended, symbols, set(base_vocab.values()))
    _prove_unchanged(tokenizer, extended, moved)
    return extended


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Save a tokenizer for plain ``AutoTokenizer``, with its added tokens listed in ``tokenizer_config.json`` too.

    Without that list transformers parses the whole of ``tokenizer.json`` a second time, in Python, on every load.
    """
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer_config.json"
    added = {str(token_id): token.__getstate__() for token_id, token in tokenizer.added_tokens_decoder.items()}
    write_json(path, {**read_json(path), "added_tokens_decoder": added})


def _check_symbols(
    symbols: Sequence[str], base_vocab: Mapping[str, int], first_id: int, model: Mapping[str, Any]
) -> None:
    highest = max(base_vocab.values(), default=-1)
    assert first_id > highest, f"first_id {first_id} is not above the base's highest id {highest}"
    assert len(set(symbols)) == len(symbols), "symbols must be distinct"
    for symbol in symbols:
        if symbol in base_vocab:
            raise InputError(
                f"The new symbol {symbol!r} is already token {base_vocab[symbol]} of the base tokenizer. Rename the "
                "tool, or start from a base without tool tokens."
            )
        if not symbol or not _is_unicode(symbol):
            raise InputError(f"The new symbol {symbol!r} is empty or not valid Unicode text. Rename the tool.")
        opens, closes = (model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix"))
        if (opens and symbol.startswith(opens)) or (closes and symbol.endswith(closes)):
            raise InputError(
                f"The new symbol {symbol!r} has the form of a part of a word ({opens or closes}) in this tokenizer, "
                "and text could become it. Rename the tool."
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_vocabulary(
    record: dict[str, Any], symbols: Sequence[str], base_vocab: Mapping[str, int], first_id: int
) -> list[str]:
    """Put symbols, placeholders and the base's added tokens into ``record``'s model; return the added tokens moved."""
    model = record["model"]
    held = {entry[0] for entry in model["vocab"]} if model["type"] == "Unigram" else set(model["vocab"])
    # On loading, an added token that is not in the model gets the next id after the model's, whatever its record says.
    moved = [token for token in base_vocab if token not in held]
    used = set(base_vocab.values())
    entries = {base_vocab[token]: token for token in moved}
    new = {token_id: f"<|unused {token_id}|>" for token_id in range(first_id) if token_id not in used}
    new.update(enumerate(symbols, start=first_id))
    if model["type"] == "Unigram":
        _check_spaces_never_survive(record)
        # The unknown token's score hangs on the lowest score of all: new entries must not lower it.
        score = min(entry[1] for entry in model["vocab"])
        entries.update({token_id: f" {symbol}" for token_id, symbol in new.items()})
        placed = range(len(model["vocab"]), first_id + len(symbols))
        assert sorted(entries) == list(placed), "a Unigram vocabulary is a list without holes"
        model["vocab"].extend([entries[token_id], score] for token_id in placed)
    else:
        byte_level = '"ByteLevel"' in json.dumps(record["decoder"])
        entries.update({token_id: _byte_piece(symbol) if byte_level else symbol for token_id, symbol in new.items()})
        model["vocab"].update({piece: token_id for token_id, piece in entries.items()})
    return moved


def _byte_piece(symbol: str) -> str:
    """The entry that a byte-level decoder turns back into ``symbol``: the symbol itself unless all its characters also
    stand for bytes and some are not ASCII, as in ``"<<café>>"``."""
    if symbol.isascii() or not set(pre_tokenizers.ByteLevel.alphabet()).issuperset(symbol):
        return symbol
    mapper = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in mapper.pre_tokenize_str(symbol))


def _check_spaces_never_survive(record: Mapping[str, Any]) -> None:
    step = record["pre_tokenizer"] or {}
    steps = step.get("pretokenizers", [step])
    eats = any(step.get("type") in _SPACE_EATERS and step.get("replacement") != " " for step in steps)
    own = _strips_spaces(record) or not any(entry[0].startswith(" ") for entry in record["model"]["vocab"])
    if not eats or not own or record["decoder"] is None:
        raise InputError(
            "This Unigram tokenizer keeps raw spaces in its text, so new symbols cannot be put out of the reach of "
            f"user text (pre-tokenizer: {step.get('type', 'none')}). Use one with a Metaspace pre-tokenizer, as "
            "SentencePiece models have, or a WordPiece or BPE model."
        )


def _strips_spaces(record: Mapping[str, Any]) -> bool:
    """Whether the tokenizer was extended before."""
    return bool((record["decoder"] or {}).get("decoders", [None])[0] == _STRIP)


def _mend_decoder(record: dict[str, Any], symbols: Sequence[str], first_id: int) -> None:
    """Change the decoder only where the base's own would not give a symbol back exactly."""
    if record["model"]["type"] == "Unigram" and not _strips_spaces(record):
        record["decoder"] = {"type": "Sequence", "decoders": [_STRIP, record["decoder"]]}
    if _misread(record, symbols, first_id) is None:
        return
    # WordPiece tidies " ," into "," also inside a symbol. No piece of text holds a space, so only symbols are shielded.
    shield = {"type": "Replace", "pattern": {"String": " "}, "content": _PROTECTED_SPACE}
    unshield = {"type": "Replace", "pattern": {"String": _PROTECTED_SPACE}, "content": " "}
    record["decoder"] = {"type": "Sequence", "decoders": [shield, record["decoder"], unshield]}
    if (symbol := _misread(record, symbols, first_id)) is not None:
        raise InputError(
            f"This tokenizer's decoder cannot write the new symbol {symbol!r}: it reads part of it as its own notation "
            "(such as '▁' for a space). Rename the tool."
        )


def _misread(record: Mapping[str, Any], symbols: Sequence[str], first_id: int) -> str | None:
    backend = Tokenizer.from_str(json.dumps(record))
    ids = range(first_id, first_id + len(symbols))
    decoded = backend.decode_batch([[token_id] for token_id in ids], skip_special_tokens=False)
    return next((symbol for symbol, text in zip(symbols, decoded, strict=True) if symbol != text), None)


def _reload(tokenizer: TokenizersBackend, record: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Make a tokenizer of ``record``, with all else as in ``tokenizer``, by way of the files that both are saved to."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "tokenizer.json").write_text(json.dumps(record), encoding="utf-8")
        config_path = Path(folder) / "tokenizer_config.json"
        config = read_json(config_path)
        # Set by the base's class, which is given up here.
        for name in ("model_input_names", "padding_side", "truncation_side"):
            config[name] = getattr(tokenizer, name)
        config.pop("auto_map", None)
        write_json(config_path, {**config, "tokenizer_class": TokenizersBackend.__name__})
        extended: PreTrainedTokenizerBase = TokenizersBackend.from_pretrained(folder)
    extended.name_or_path = extended.init_kwargs["name_or_path"] = tokenizer.name_or_path
    return extended


def _prove_out_of_reach(tokenizer: PreTrainedTokenizerBase, symbols: Sequence[str], base_ids: set[int]) -> None:
    """Encode every symbol's text, alone and inside a word, with special tokens split, and look for an id that the base
    does not have."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    for start in range(0, len(symbols), _BATCH):
        batch = symbols[start : start + _BATCH]
        texts = [f"{symbol} a{symbol}a" for symbol in batch]
        for symbol, encoding in zip(batch, backend.encode_batch_fast(texts, add_special_tokens=False), strict=True):
            if not base_ids.issuperset(encoding.ids):
                raise InputError(
                    f"Text could become a tool: the tokenizer reads {symbol!r} as the new symbol of that name. Give "
                    "new symbols a form that it splits, such as '<<group&&name>>' with letters, or rename the tool."
                )


def _prove_unchanged(base: PreTrainedTokenizerBase, extended: PreTrainedTokenizerBase, moved: Sequence[str]) -> None:
    """Compare the encodings of texts around the added tokens that the extension had to put into the model."""
    texts = [text for token in moved for text in (token, token.lower(), token.upper(), f"a{token}a")]
    if not texts:
        return
    before, after = (which(texts, verbose=False)["input_ids"] for which in (base, extended))
    for text, old, new in zip(texts, before, after, strict=True):
        if old != new:
            raise InputError(
                f"Extending this tokenizer would change how it reads {text!r} ({old} would become {new}), because an "
                "added token of it is an ordinary word. Remove that added token, or give it a form such as '<name>'."
            )
