"""Which tool an agent takes, once it has thought: its own tool tokens, or what a retriever finds. Knows texts, codes
and retrievers; no arguments and no environment.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase

from toolgen.agent.text import Asking, Text
from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.retriever import Retriever
from toolgen.tokenizer import decode
from toolgen.trie import ROOT, TokenTrie


class Chooser(Protocol):
    """Chooses a tool."""

    def choose(self, text: Text, query: str, thought: str) -> Asking[str]:
        """The id of a tool that the catalogue has.

        Args:
            text: The episode up to where a tool's code is asked for; stays as it is.
            query: What the user asked.
            thought: What the agent thought last.
        """
        ...


class TokenChooser:
    """The model's own tool tokens: the best one under the trie, token by token, so that there is no tool that does not
    exist."""

    def __init__(self, codes: TokenCodes, tools: Sequence[str] | None = None) -> None:
        """
        Args:
            codes: Of the tools.
            tools: Only these may be chosen; None: all.

        Raises:
            InputError: A tool has no code.
        """
        if unknown := [tool for tool in tools or () if tool not in codes.tool_ids]:
            raise InputError(f"Tool {unknown[0]!r} has no code. Name tools of the catalogue.")
        self._codes = codes
        self._trie = TokenTrie.from_codes(codes.sequences)
        if tools is not None:
            self._trie = self._trie.restrict([codes.tool_ids.index(tool) for tool in tools])

    def choose(self, text: Text, query: str, thought: str) -> Asking[str]:
        """See ``Chooser``; what was asked and thought is in the text."""
        return self._walk(text, self._trie)

    def among(self, text: Text, tools: Sequence[str]) -> Asking[str]:
        """The best of some tools."""
        return self._walk(text, self._trie.restrict([self._codes.tool_ids.index(tool) for tool in tools]))

    def _walk(self, text: Text, trie: TokenTrie) -> Asking[str]:
        state, aside = torch.tensor([ROOT]), text.fork()
        while (code := int(trie.codes(state))) < 0:
            allowed_A = trie.allowed(state)[0]
            best = int((yield from aside.logits(allowed_A)).argmax()) if len(allowed_A) > 1 else 0
            token_id = int(allowed_A[best])
            state = trie.step(state, torch.tensor([token_id]))
            if int(trie.codes(state)) < 0:
                aside.extend([token_id])
        return self._codes.tool_ids[code]


class RetrieverChooser:
    """A retriever in front: it searches with what the user asked and what the agent thought, and the model takes the
    best of what was found, or the retriever does."""

    def __init__(self, retriever: Retriever, always: Sequence[str], tokens: TokenChooser | None = None, k: int = 1):
        """
        Args:
            retriever: Of the same catalogue.
            always: Tools that may be chosen whatever is found, such as ``FINISH``; needs ``tokens``.
            tokens: The model's choice among what was found; None: the first hit is taken.
            k: Hits.

        Raises:
            InputError: Several tools may be taken, and nothing chooses among them.
        """
        if tokens is None and (k > 1 or always):
            raise InputError(
                f"With k = {k} and {len(always)} tools that are always offered somebody must choose. Give tokens, or "
                "k = 1 and no such tools."
            )
        self._retriever = retriever
        self._always = tuple(always)
        self._tokens = tokens
        self._k = k

    def choose(self, text: Text, query: str, thought: str) -> Asking[str]:
        """See ``Chooser``."""
        hits = self._retriever.search([f"{query} {thought}".strip()], self._k)[0]
        found = list(dict.fromkeys([*(hit.tool for hit in hits), *self._always]))
        return found[0] if self._tokens is None else (yield from self._tokens.among(text, found))


class FreeChooser:
    """The model's own tokens without a trie, for measuring what the trie prevents: words and tool tokens alike, so that
    it may name a tool that there is not."""

    def __init__(
        self,
        codes: TokenCodes,
        tokenizer: PreTrainedTokenizerBase,
        closing: Collection[int],
        most_tokens: int = 16,
    ) -> None:
        """
        Args:
            codes: Of the tools.
            tokenizer: Reads what is no code.
            closing: Tokens with which a name ends, unless they end a code.
            most_tokens: Of a name; a longer one is cut there.
        """
        self._tools = dict(zip(codes.sequences, codes.tool_ids, strict=True))
        self._rows = max(tokenizer.get_vocab().values()) + 1
        self._tokenizer = tokenizer
        self._closing = frozenset(closing)
        self._most_tokens = most_tokens

    def choose(self, text: Text, query: str, thought: str) -> Asking[str]:
        """A tool whose code or id was written; else what was written, as text: a tool that does not exist."""
        aside, ids = text.fork(), list[int]()
        while len(ids) < self._most_tokens:
            ids.append(int((yield from aside.logits(self._rows)).argmax()))
            if (tool := self._tools.get(tuple(ids))) is not None:
                return tool
            if ids[-1] in self._closing:
                ids.pop()
                break
            aside.extend(ids[-1:])
        return decode(self._tokenizer, ids).strip()
