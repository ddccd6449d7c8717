"""Arguments that meet a tool's JSON Schema by construction: at every token only those are allowed that can still lead
to a valid object. Knows schemas, tokenizers and texts; not what a tool does, and no environment.

The grammar of a schema is llguidance's. Tool rows are never allowed: they lie behind the words; nor are special tokens:
what spells one is text.

Legend: ``V`` words of the base.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import llguidance
import llguidance.hf
import llguidance.numpy
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from toolgen.agent.machine import Written
from toolgen.agent.stream import ContextError
from toolgen.agent.text import Asking, Text
from toolgen.agent.turns import ordered
from toolgen.errors import InputError
from toolgen.tokenizer import continuation_ids, decode, special_ids

LONGEST_STRING = 512
"""Characters of a string whose schema names no end: a model that repeats itself must come to one."""
MOST_ITEMS = 32
"""Of an array, likewise."""

_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As ``json.dumps`` writes, which is what training renders."""

_PROBE = '{"a": "b c é"}'

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A text of JSON from its beginning to its end."""

_MOST_KEPT = 256
"""Grammars that stay in memory."""


class ArgumentWriter:
    """Has a model write arguments under a schema.

    Attributes:
        words: V; what lies behind is never written.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, words: int, most_tokens: int = 512) -> None:
        """
        Args:
            tokenizer: A fast one that can write any text: byte-level BPE, or one that falls back to bytes.
            words: V; what lies behind is never written.
            most_tokens: Of the arguments of one call. Behind them texts, lists and objects are closed as soon as the
                schema lets them; what has no end then within as many again is given up.

        Raises:
            InputError: The tokenizer cannot write any text, so that no grammar can be followed.
        """
        self._tokenizer = tokenizer
        self.words = words
        self._most_tokens = most_tokens
        self._lexicon = _lexicon(tokenizer)
        self._grammars: dict[str, str] = {}
        self._mask = llguidance.numpy.allocate_token_bitmask(1, self._lexicon.vocab_size)
        self._special = sorted(id_ for id_ in special_ids(tokenizer) if id_ < words)
        pieces = tokenizer.batch_decode([[id_] for id_ in range(words)])
        self._quotes, self._brackets = (
            [id_ for id_, piece in enumerate(pieces) if piece[:1] in first and not piece.strip('"]}')]
            for first in (('"',), ("]", "}"))
        )

    def write(self, text: Text, schema: Mapping[str, Any] | None) -> Asking[Written]:
        """Write an object at the end of a text, which stays as it is.

        Args:
            text: The text so far.
            schema: JSON Schema of the object; None: an object without properties.

        Returns:
            The object, or what kept it from its end: the context, the number of tokens, or a schema that no object
            meets or that llguidance cannot follow. Patterns that it cannot follow are left to the environment.
        """
        matcher = llguidance.LLMatcher(self._lexicon, self._grammar(schema))
        if matcher.is_error():
            return Written("", None, f"The tool's schema cannot be followed: {_error(matcher)}")
        aside, ids = text.fork(), list[int]()
        while not matcher.is_stopped():
            if len(ids) == 2 * self._most_tokens:
                return self._unfinished(ids, f"The arguments did not end within {len(ids)} tokens.")
            closers = self._closers(ids) if len(ids) >= self._most_tokens else []
            token_id = self._best((yield from aside.logits(self.words)), matcher, closers)
            if token_id is None:
                token_id = self._forced(aside, matcher)
            if token_id is None or not matcher.consume_token(token_id):
                return self._unfinished(ids, f"No token goes on from here: {_error(matcher) or 'a dead end'}.")
            ids.append(token_id)
            if matcher.is_stopped():
                break
            try:
                aside.extend([token_id])
            except ContextError as error:
                return self._unfinished(ids, str(error))
        shown = decode(self._tokenizer, ids)
        return Written(shown, json.loads(shown), ids=tuple(ids))

    def _closers(self, ids: list[int]) -> list[int]:
        """Tokens that close what is open behind some JSON: a text, else a list or an object."""
        texts = _TEXT.sub("", decode(self._tokenizer, ids))
        return self._quotes if '"' in texts else self._brackets

    def _best(self, logits_V: Tensor, matcher: llguidance.LLMatcher, closers: list[int]) -> int | None:
        """The allowed token that the model likes best, of the closers if one is allowed."""
        # In numpy: the same functions of torch are compiled at the first call, which takes as long as many episodes.
        llguidance.numpy.fill_next_token_bitmask(matcher, self._mask)
        allowed_V = logits_V.float().cpu().numpy().copy()
        allowed_V[self._special] = -math.inf
        llguidance.numpy.apply_token_bitmask_inplace(allowed_V[None], self._mask[:, : -(-self.words // 32)])
        if closers and (allowed_V[closers] > -math.inf).any():
            return closers[int(allowed_V[closers].argmax())]
        best = int(allowed_V.argmax())
        return best if allowed_V[best] > -math.inf else None

    def _forced(self, aside: Text, matcher: llguidance.LLMatcher) -> int | None:
        """The first token of the only text that may follow.

        Where that spells a special token, llguidance offers this one alone, and would not take it.
        """
        # What may follow can part within a character.
        forced = matcher.compute_ff_bytes().decode(errors="ignore")
        return continuation_ids(self._tokenizer, aside.ids, forced)[0] if forced else None

    def _unfinished(self, ids: list[int], fault: str) -> Written:
        return Written(decode(self._tokenizer, ids), None, fault, tuple(ids))

    def _grammar(self, schema: Mapping[str, Any] | None) -> str:
        key = json.dumps(schema, sort_keys=False)
        if key not in self._grammars:
            if len(self._grammars) >= _MOST_KEPT:
                self._grammars.pop(next(iter(self._grammars)))
            closed = bounded(schema or {"type": "object", "properties": {}})
            grammar = llguidance.LLMatcher.grammar_from_json_schema(closed, defaults=_STYLE)
            if llguidance.LLMatcher(self._lexicon, grammar).is_error():
                # Patterns may look around or be too large; names, types, lengths and enums hold without them.
                closed = _without_patterns(closed)
                grammar = llguidance.LLMatcher.grammar_from_json_schema(closed, defaults=_STYLE)
            self._grammars[key] = grammar
        return self._grammars[key]


class FreeWriter(ArgumentWriter):
    """Has a model write arguments without a grammar, for measuring what the grammar prevents: they are read when they
    are there, and may be none."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, words: int, closing: Collection[int], most_tokens: int = 512
    ) -> None:
        """
        Args:
            tokenizer: See ``ArgumentWriter``.
            words: See ``ArgumentWriter``.
            closing: Tokens with which the arguments end.
            most_tokens: Of the arguments of one call.

        Raises:
            InputError: See ``ArgumentWriter``.
        """
        super().__init__(tokenizer, words, most_tokens)
        self._closing = frozenset(closing)

    def write(self, text: Text, schema: Mapping[str, Any] | None) -> Asking[Written]:
        """Write at the end of a text, which stays as it is.

        Args:
            text: The text so far.
            schema: See ``ArgumentWriter.write``; where there is none, nothing is left to be written but ``{}``.

        Returns:
            The object; or what was written instead, and what is wrong with it: it has no end, is no JSON, or does not
            fit the schema as ``ArgumentWriter`` follows it. The order of properties is free.
        """
        if schema is None:
            return Written("{}", {}, ids=tuple(continuation_ids(self._tokenizer, text.ids, "{}")))
        aside, ids = text.fork(), list[int]()
        while (token_id := int((yield from aside.logits(self.words)).argmax())) not in self._closing:
            if len(ids) == self._most_tokens:
                return self._unfinished(ids, f"The arguments did not end within {self._most_tokens} tokens.")
            ids.append(token_id)
            try:
                aside.extend([token_id])
            except ContextError as error:
                return self._unfinished(ids, str(error))
        shown = decode(self._tokenizer, ids)
        try:
            value = json.loads(shown)
            # What is a half of a surrogate pair, or no number, is no JSON either; Python reads it.
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            return self._unfinished(ids, f"The arguments are no JSON: {error}.")
        fault = self._misfit(text, value, schema)
        return Written(shown, None if fault else value, fault, tuple(ids))

    def _misfit(self, text: Text, value: Any, schema: Mapping[str, Any]) -> str:
        """Where a value leaves its schema; empty: nowhere."""
        matcher = llguidance.LLMatcher(self._lexicon, self._grammar(schema))
        if matcher.is_error():
            return f"The tool's schema cannot be followed: {_error(matcher)}"
        written = json.dumps(ordered(value, schema), ensure_ascii=False)
        ids = continuation_ids(self._tokenizer, text.ids, written)
        right = matcher.try_consume_tokens(ids)
        if right == len(ids) and matcher.is_accepting():
            return ""
        return f"The arguments do not fit the tool's schema behind {decode(self._tokenizer, ids[:right])!r}."


def _error(matcher: llguidance.LLMatcher) -> str:
    """What is wrong, in a line; llguidance shows its grammar and its state, too."""
    return next(iter(matcher.get_error().splitlines()), "")


def bounded(schema: Any) -> Any:
    """A schema under which every object ends, and has no property that is not named.

    Where a schema names no end, strings end after ``LONGEST_STRING`` characters and arrays after ``MOST_ITEMS`` items;
    an object with named properties has no others.
    """
    if isinstance(schema, list):
        return [bounded(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: _within(key, value) for key, value in schema.items()}
    kinds = found.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds and not found.keys() & {"enum", "const", "maxLength", "format", "pattern"}:
        found["maxLength"] = max(LONGEST_STRING, found.get("minLength", 0))
    if "array" in kinds and "maxItems" not in found:
        found["maxItems"] = max(MOST_ITEMS, found.get("minItems", 0))
    if "propertyNames" in found:
        found |= _named(found.pop("propertyNames"), found.get("additionalProperties", True))
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def _named(names: Any, value: Any) -> dict[str, Any]:
    """What says, in words that llguidance knows, that an object's properties have certain names.

    Args:
        names: Schema of the names: an enum, a pattern, or bounds of their length.
        value: Schema of the values.
    """
    names = names if isinstance(names, Mapping) else {}
    if "enum" in names:
        return {"properties": dict.fromkeys(map(str, names["enum"]), value), "additionalProperties": False}
    if "pattern" in names:
        return {"patternProperties": {names["pattern"]: value}, "additionalProperties": False}
    return {}


def _without_patterns(schema: Any) -> Any:
    """A schema that asks for no pattern, neither of texts nor of properties' names."""
    if isinstance(schema, list):
        return [_without_patterns(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: value for key, value in schema.items() if key not in ("pattern", "patternProperties")}
    if values := schema.get("patternProperties"):
        found["additionalProperties"] = next(iter(values.values()))
    if "pattern" in schema and "maxLength" not in found:
        found["maxLength"] = max(LONGEST_STRING, found.get("minLength", 0))
    held = ("properties", "$defs", "definitions")
    return {
        key: {name: _without_patterns(one) for name, one in value.items()}
        if key in held and isinstance(value, Mapping)
        else value
        if key in ("enum", "const")
        else _without_patterns(value)
        for key, value in found.items()
    }


def _within(key: str, value: Any) -> Any:
    """What stands under a key, bounded where it is a schema or holds some."""
    if key in ("properties", "$defs", "definitions", "patternProperties") and isinstance(value, Mapping):
        return {name: bounded(one) for name, one in value.items()}
    if key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties", "not"):
        return bounded(value)
    return value


def _lexicon(tokenizer: PreTrainedTokenizerBase) -> llguidance.LLTokenizer:
    try:
        lexicon = llguidance.hf.from_tokenizer(cast(Any, tokenizer))
        # It reads tokens off the decoder; of some it does not notice that they stand for blanks.
        seen = lexicon.decode_str(tokenizer.encode(_PROBE, add_special_tokens=False))
        fault = "" if seen.strip() == _PROBE else f"llguidance reads its {_PROBE!r} as {seen!r}"
    except Exception as error:  # llguidance raises what its parser of tokenizers raises
        fault = str(error)
    if fault:
        raise InputError(
            f"{type(tokenizer).__name__} cannot write arguments under a schema: {fault}. Choose a base with byte-level "
            "BPE, or with a SentencePiece tokenizer that falls back to bytes."
        )
    return lexicon
