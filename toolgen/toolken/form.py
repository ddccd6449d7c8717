"""How ToolkenGPT's calls stand in a text: the result takes the call's place, and arguments are written elsewhere,
behind demonstrations of the tool. Knows texts, tokenizers and streams; no rows and no environment.

    ... 3 boxes of 12 pens are|36 pens.        the text, the row won at |
    demonstrations of multiply ... 3 boxes of 12 pens are multiply(3, 12)     where the arguments are written

The base that writes the arguments has seen no call in its training: it goes by the demonstrations (ToolkenGPT, arXiv
2305.11554, section 3.2).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.machine import Written
from toolgen.agent.stream import ContextError, Stream
from toolgen.base import context_length
from toolgen.tokenizer import continuation_ids, decode, encode_text, encode_texts, end_token_id
from toolgen.toolken.linearize import opening_id
from toolgen.toolken.texts import AnnotatedText, Span
from toolgen.tools import ToolCatalog

BETWEEN = "\n\n"
"""Between demonstrations."""

_MOST_TOKENS = 64
"""Of written arguments."""

_MOST_KEPT = 32
"""Tools whose demonstrations stay in memory as keys and values, which are large."""


class ReplaceForm:
    """Results in the place of calls. Meets ``CallFormat``."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        catalog: ToolCatalog,
        demonstrations: Mapping[str, Sequence[str]],
        read: Callable[[str, str], Arguments],
    ) -> None:
        """
        Args:
            model: Writes the arguments.
            tokenizer: Its tokenizer.
            catalog: The tools; one without parameters is called without a word.
            demonstrations: Of every tool with parameters, as ``demonstrate`` writes them, the best ones first. As many
                are shown as half of the model's context holds, one at least.
            read: From a tool and what is written between the brackets to arguments; a ValueError says what is wrong.

        """
        self._model = model
        self._tokenizer = tokenizer
        self._read = read
        self._end_id = end_token_id(tokenizer)
        self._bare = {tool.id for tool in catalog.values() if not (tool.parameters or {}).get("properties")}
        self._demonstrations = demonstrations
        self._begun: dict[str, Stream] = {}
        self._blank_V = blank_words(tokenizer, model.get_output_embeddings().weight.shape[0]).to(model.device)

    def write(self, stream: Stream, tool: str) -> Written:
        """Have the model write the arguments behind the tool's demonstrations and the text so far."""
        if tool in self._bare:
            return Written("", ())
        ids, blank = without_blank(self._tokenizer, stream.ids)
        lead = " " if blank else self._lead(stream)
        try:
            aside = self._behind_demonstrations(tool)
            aside.extend(ids)
            aside.extend(continuation_ids(self._tokenizer, aside.ids, f"{lead}{tool}("))
            text = self._between_brackets(aside)
        except ContextError as error:
            return Written("", None, str(error))
        if text is None:
            return Written("", None, f"No closing bracket within {_MOST_TOKENS} tokens and before the text's end.")
        try:
            return Written(text, self._read(tool, text))
        except ValueError as error:
            return Written(text, None, str(error))

    def stands(self, stream: Stream, tool: str, written: Written, observation: Observation) -> list[int] | None:
        """The result, behind a blank where the word that it replaces would have one; of a call that failed, nothing."""
        content = observation.content
        if observation.status is not Status.OK or not content:
            return None
        lead = "" if content[:1].isspace() else self._lead(stream)
        return continuation_ids(self._tokenizer, stream.ids, lead + content)

    def _lead(self, stream: Stream) -> str:
        return " " if stream.probability(self._blank_V) > 0.5 else ""

    def _behind_demonstrations(self, tool: str) -> Stream:
        """A stream that has read the tool's demonstrations."""
        if tool not in self._begun:
            context = context_length(self._model.config)
            shown = list(self._demonstrations[tool])
            while len(shown) > 1 and context is not None and len(_opened(self._tokenizer, shown)) > context // 2:
                shown.pop()
            if len(self._begun) >= _MOST_KEPT:
                self._begun.pop(next(iter(self._begun)))
            self._begun[tool] = Stream(self._model, _opened(self._tokenizer, shown))
        return self._begun[tool].fork()

    def _between_brackets(self, aside: Stream) -> str | None:
        written: list[int] = []
        while len(written) < _MOST_TOKENS:
            token_id, _ = aside.best_word()
            written.append(token_id)
            text = decode(self._tokenizer, written)
            if ")" in text:
                return text.split(")")[0].strip()
            if token_id == self._end_id or BETWEEN in text:
                return None
            aside.extend([token_id])
        return None


def without_blank(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[Sequence[int], bool]:
    """A text's tokens behind its opening one, and whether it ends with a blank of its own, which is left out: a
    demonstration encodes that blank together with the tool's name."""
    opening = opening_id(tokenizer)
    ids = ids[1:] if opening is not None and ids[0] == opening else ids
    ends = len(ids) > 1 and decode(tokenizer, ids[-2:]) == decode(tokenizer, ids[-2:-1]) + " "
    return (ids[:-1], True) if ends else (ids, False)


def demonstrate(text: AnnotatedText, span: Span) -> str:
    """A text up to one of its calls, and the call with its arguments by place."""
    assert span.arguments is not None, "a demonstration shows arguments"
    before = text.text[: span.start].rstrip()
    blank = text.text[len(before) : span.start]
    return f"{before}{blank}{span.tool}({', '.join(map(str, span.arguments))})"


def demonstrations(texts: Sequence[AnnotatedText], tools: Sequence[str], most: int = 4) -> dict[str, list[str]]:
    """The shortest demonstrations of each tool that texts give; none for one that they do not call with arguments."""
    found: dict[str, list[str]] = {tool: [] for tool in tools}
    for text in texts:
        for span in text.calls:
            if span.arguments is not None and not isinstance(span.arguments, Mapping) and span.tool in found:
                found[span.tool].append(demonstrate(text, span))
    return {
        tool: sorted(dict.fromkeys(all_), key=lambda shown: (len(shown), shown))[:most] for tool, all_ in found.items()
    }


def blank_words(tokenizer: PreTrainedTokenizerBase, rows: int) -> Tensor:
    """Which words begin with a blank when they follow another, bool ``[rows]``."""
    before = encode_text(tokenizer, "a")
    known = min(rows, len(tokenizer))
    shown = decode(tokenizer, before)
    texts = [decode(tokenizer, [*before, token_id]) for token_id in range(known)]
    begins = [text.startswith(shown) and text[len(shown) :].startswith(" ") for text in texts]
    return torch.tensor([*begins, *[False] * (rows - known)])


def _opened(tokenizer: PreTrainedTokenizerBase, shown: Sequence[str]) -> list[int]:
    """Demonstrations one after another, each encoded as a text of its own, as the one that follows them is."""
    opening = opening_id(tokenizer)
    texts = encode_texts(tokenizer, [text + BETWEEN for text in shown])
    return [*([] if opening is None else [opening]), *(token_id for ids in texts for token_id in ids)]
