"""The one renderer of episodes, for training and for the agent alike: a query, then turns of thought, tool and
arguments, each answered by what came back. Knows tokenizers, codes and trajectories; no models.

An episode is a conversation of user and assistant. The frame around what is said is the chat template's, or a plain
one; what strangers wrote (queries, documents, observations) is encoded so that it can yield neither a special token nor
a tool token. A turn has three parts (ToolGen, arXiv 2410.03439, section 3.4): a thought; when asked for the action, the
tool's token; when shown the tool's document, the arguments. Without documents it has two, and the arguments follow the
token.

The agent appends part by part what ``render`` puts together for training, so both are the same tokens.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from toolgen.agent.documents import cut, document_shown
from toolgen.agent.trajectory import Message, Step, Trajectory
from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.prompts import PromptStyle
from toolgen.tokenizer import continuation_ids, encode_text, end_token_id, special_ids
from toolgen.tools import Tool, ToolCatalog

FINISH = Tool(
    "Finish",
    "Finish",
    "Ends the task: with an answer for the user, or by giving up.",
    parameters={
        "type": "object",
        "properties": {
            "return_type": {"enum": ["give_answer", "give_up"]},
            "final_answer": {"type": "string"},
        },
        "required": ["return_type"],
    },
)
"""Ends an episode; an entry of the catalogue and of the codebook like any other, with ToolGen's names."""

LONGEST_OBSERVATION = 1024
"""Characters of an observation that are shown, as ToolGen does."""

_ASKS_ACTION = "Which tool?"
_SHOWS_DOCUMENT = "Its arguments? "
_PARTS = "toolgenplaceholder{}toolgen"


@dataclass(frozen=True)
class Frames:
    """Token ids around what is said.

    Attributes:
        opening: Before the first user's words.
        answered: Behind the user's words, before the assistant's.
        close: With which the assistant ends its words; learned.
        asked: Behind that, before the user's next words.
    """

    opening: tuple[int, ...]
    answered: tuple[int, ...]
    close: tuple[int, ...]
    asked: tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Some tokens of an episode.

    Attributes:
        ids: The tokens.
        learned: Whether the assistant says them.
    """

    ids: tuple[int, ...]
    learned: bool


class TurnRenderer:
    """Episodes as tokens."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        catalog: ToolCatalog,
        codes: TokenCodes,
        style: PromptStyle = "chat",
        *,
        documents: bool = True,
    ) -> None:
        """
        Args:
            tokenizer: With a chat template for the style ``chat``.
            catalog: The tools, ``FINISH`` among them.
            codes: Of all of them.
            style: See ``toolgen.prompts.PromptRenderer``.
            documents: Whether a tool's document is shown before its arguments are asked for (three parts), or not
                (two).

        Raises:
            InputError: ``FINISH`` is missing, or the tokenizer has no usable chat template.
        """
        if FINISH.id not in catalog:
            raise InputError(
                f"The catalogue has no tool {FINISH.id!r}, with which episodes end. Add it: toolgen catalog add-finish."
            )
        self._tokenizer = tokenizer
        self._catalog = catalog
        self._codes = dict(zip(codes.tool_ids, codes.sequences, strict=True))
        self._documents = documents
        self.frames = chat_frames(tokenizer) if style == "chat" else plain_frames(tokenizer)

    # ---- what the agent appends

    def opening(self, query: str) -> tuple[int, ...]:
        """Up to where the first thought begins."""
        return (*self.frames.opening, *self._said(query), *self.frames.answered)

    def asks_action(self) -> tuple[int, ...]:
        """From the end of a thought to where the tool's code begins."""
        return self._asks(self._said(_ASKS_ACTION))

    def asks_arguments(self, tool: str) -> tuple[int, ...]:
        """From the end of a tool's code to where its arguments begin, with its name, description and parameters
        between; nothing where no document is shown.

        Raises:
            KeyError: The tool is not in the catalogue.
        """
        if not self._documents:
            return ()
        shown = self._said(_SHOWS_DOCUMENT + document_shown(self._catalog[tool]))
        return (*self.frames.close, *self._asks(shown))

    def observes(self, content: str) -> tuple[int, ...]:
        """From the end of the arguments to where the next thought begins."""
        return self._asks(self._said(cut(content, LONGEST_OBSERVATION)))

    def code(self, tool: str) -> tuple[int, ...]:
        """A tool's code, its end included.

        Raises:
            KeyError: The tool is not in the catalogue.
        """
        return self._codes[tool]

    def parameters(self, tool: str) -> Mapping[str, Any] | None:
        """The JSON Schema of a tool's arguments.

        Raises:
            KeyError: The tool is not in the catalogue.
        """
        return self._catalog[tool].parameters

    # ---- what training learns

    def render(self, trajectory: Trajectory) -> list[Piece]:
        """An episode, its end included.

        A step without an observation is one whose observation is empty. What was not finished ends behind its last
        observation. What is said between calls stands there as it was said; where one side speaks twice in a row, the
        other one says nothing in between.

        Raises:
            KeyError: A tool is not in the catalogue.
        """
        return list(self._pieces(trajectory))

    def _pieces(self, trajectory: Trajectory) -> Iterator[Piece]:
        yield Piece(self.opening(trajectory.query), False)
        assistants_turn = True
        for step in trajectory.steps:
            if isinstance(step, Message) and step.role == "user":
                silent = self.frames.close if assistants_turn else ()
                yield Piece((*silent, *self._asks(self._said(step.text))), False)
                assistants_turn = True
                continue
            if not assistants_turn:
                yield Piece(self._asks(()), False)
            if isinstance(step, Message):
                yield Piece((*self._said(step.text), *self.frames.close), True)
            else:
                yield from self._turn(step)
                yield Piece(self.observes(step.observation or ""), False)
            assistants_turn = isinstance(step, Step)
        if trajectory.ended != "unfinished":
            if not assistants_turn:
                yield Piece(self._asks(()), False)
            yield from self._turn(_finish(trajectory))

    def _turn(self, step: Step) -> Iterator[Piece]:
        yield Piece((*self._said(step.thought), *self.frames.close), True)
        yield Piece(self.asks_action(), False)
        asks = self.asks_arguments(step.tool)
        closed = len(self.frames.close) if asks else 0
        yield Piece((*self._codes[step.tool], *asks[:closed]), True)
        if asks:
            yield Piece(asks[closed:], False)
        written = json.dumps(ordered(step.arguments, self._catalog[step.tool].parameters), ensure_ascii=False)
        # A grammar has the bracket come first; some tokenizers put a blank before whatever they encode.
        ids = continuation_ids(self._tokenizer, self.frames.answered, written)
        yield Piece((*ids, *self.frames.close), True)

    def _asks(self, said: Sequence[int]) -> tuple[int, ...]:
        return (*self.frames.asked, *said, *self.frames.answered)

    def _said(self, text: str) -> tuple[int, ...]:
        return tuple(encode_text(self._tokenizer, text)) if text else ()


class FreeRenderer(TurnRenderer):
    """Episodes in which a tool may be named that there is not, as a ``FreeChooser`` may: the name stands as text, no
    document follows, and no arguments are to be written."""

    def code(self, tool: str) -> tuple[int, ...]:
        """A tool's code, its end included; of what is no tool the text."""
        return super().code(tool) if tool in self._catalog else self._said(tool)

    def asks_arguments(self, tool: str) -> tuple[int, ...]:
        """From the end of a tool's code to where its arguments begin; nothing for what is no tool."""
        return super().asks_arguments(tool) if tool in self._catalog else ()

    def parameters(self, tool: str) -> Mapping[str, Any] | None:
        """The JSON Schema of a tool's arguments; None for what is no tool."""
        return super().parameters(tool) if tool in self._catalog else None


def ordered(value: Any, schema: Any) -> Any:
    """Arguments with their properties in the schema's order, in which a grammar has them written; others come last."""
    if isinstance(value, Mapping):
        inner = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        names = [*(name for name in inner if name in value), *(name for name in value if name not in inner)]
        return {name: ordered(value[name], inner.get(name)) for name in names}
    if isinstance(value, list | tuple):
        items = schema.get("items") if isinstance(schema, Mapping) else None
        return [ordered(one, items) for one in value]
    return value


def chat_frames(tokenizer: PreTrainedTokenizerBase) -> Frames:
    """The chat template's frames.

    Raises:
        InputError: There is no template, or it does not show what is said in the order in which it is said.
    """
    if not tokenizer.chat_template:
        raise InputError("The tokenizer has no chat template. Use prompt: plain, or a chat model's tokenizer.")
    said = [_PARTS.format(letter) for letter in "abcde"]
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]

    def between(rendered: Any, first: str | None, second: str | None) -> str:
        assert isinstance(rendered, str)
        start = 0 if first is None else rendered.find(first) + len(first)
        stop = len(rendered) if second is None else rendered.find(second)
        if (first is not None and first not in rendered) or stop < start:
            raise InputError("The chat template does not show what is said unchanged; use prompt: plain.")
        return rendered[start:stop]

    asked_last = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    opening = between(asked_last, None, said[0])
    # What the agent goes on from: some templates write more before an answer that is there already.
    answered = between(asked_last, said[4], None)
    turned = between(asked_last, said[3], said[4])
    if turned != between(asked_last, said[1], said[2]):
        raise InputError("The chat template writes the same turn in several ways; use prompt: plain.")
    turned_ids = tokenizer(turned, add_special_tokens=False)["input_ids"]
    special = special_ids(tokenizer)
    place = next((place for place, token_id in enumerate(turned_ids) if token_id in special), None)
    if place is None:
        raise InputError("The chat template ends the assistant's words with no special token; use prompt: plain.")
    return Frames(
        tuple(tokenizer(opening, add_special_tokens=False)["input_ids"]),
        tuple(tokenizer(answered, add_special_tokens=False)["input_ids"]),
        tuple(turned_ids[: place + 1]),
        tuple(turned_ids[place + 1 :]),
    )


def plain_frames(tokenizer: PreTrainedTokenizerBase) -> Frames:
    """Frames of a tokenizer without a chat template: its own beginning and end, and a word for each who speaks."""
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    user, assistant = (tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("User:", "\nAgent:"))
    opening = user if begin is None else (begin, *user)
    return Frames(opening, assistant, (end_token_id(tokenizer),), user)


def _finish(trajectory: Trajectory) -> Step:
    """The end as a call."""
    gave_up = trajectory.ended == "give_up"
    arguments: dict[str, Any] = {"return_type": "give_up" if gave_up else "give_answer"}
    if trajectory.answer is not None:
        arguments["final_answer"] = trajectory.answer
    return Step(FINISH.id, arguments, thought=trajectory.last_thought)
