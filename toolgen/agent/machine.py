"""A model that calls tools while it writes: TEXT, then ARGUMENTS, then RESULT, then TEXT again. Knows streams, rows and
environments; how a call stands in the text is a ``CallFormat``'s affair.

In TEXT the next token is the best of words and tool rows (plus a bias). A row that wins begins a call: its arguments
are written (ARGUMENTS), the environment runs it, and what comes back is put into the text (RESULT), which then goes on
(ToolkenGPT, arXiv 2305.11554, section 3.2). A call that fails gives its place to the next best token. Everything is
done on token ids: what was written is never encoded again.

Legend: ``S`` rows, ``D`` width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.agent.environment import Arguments, Environment, Observation, Status
from toolgen.agent.stream import ContextError, Stream

Ending = Literal["end", "finished", "length", "context"]
"""The end token, whatever else ends this kind of text, as many tokens as allowed, or a full context."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote for the arguments of a call.

    Attributes:
        text: As it stands.
        arguments: As they are read; None where they cannot be.
        fault: What is wrong with them, else empty.
        ids: The same as tokens, for a format that keeps them in the text.
    """

    text: str
    arguments: Arguments | None
    fault: str = ""
    ids: tuple[int, ...] = ()


class CallFormat(Protocol):
    """How calls stand in a text."""

    def write(self, stream: Stream, tool: str) -> Written:
        """Have the model write the arguments of a call at the end of a stream, which stays as it is."""
        ...

    def stands(self, stream: Stream, tool: str, written: Written, observation: Observation) -> Sequence[int] | None:
        """What stands in the text for a call, in tokens; None: nothing, and the next best token is taken instead."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a machine writes.

    Attributes:
        bias: Is added to every row's logit. Minus infinity: no tool is called, and the model writes as without rows.
        most_tokens: Words and results, in tokens.
        most_calls: Calls that stand in the text; further ones are not tried.
        most_failures: Calls that do not; behind so many no further one is tried.
        tries: Rows that are tried at one place before the best word is taken.
        end_ids: Each ends the text.
    """

    bias: float = 0.0
    most_tokens: int = 256
    most_calls: int = 32
    most_failures: int = 32
    tries: int = 3
    end_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Word:
    """A word was written."""

    token_id: int


@dataclass(frozen=True, slots=True)
class Called:
    """A tool was called.

    Attributes:
        tool: Its id.
        place: Tokens of the text before the call.
        written: Its arguments.
        observation: What came back.
        ids: What stands in the text for it; None where it gave its place to another token.
    """

    tool: str
    place: int
    written: Written
    observation: Observation
    ids: tuple[int, ...] | None

    @property
    def executed(self) -> bool:
        """Whether the tool ran."""
        return self.observation.status is Status.OK


@dataclass(frozen=True, slots=True)
class Ended:
    """The text ended."""

    reason: Ending


Event = Word | Called | Ended


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a machine wrote.

    Attributes:
        ids: All tokens behind the prompt, results included.
        calls: In their order, failed ones too.
        ended: Why it ended.
    """

    ids: tuple[int, ...]
    calls: tuple[Called, ...]
    ended: Ending


class Machine:
    """Writes texts and calls tools in them."""

    def __init__(
        self,
        model: PreTrainedModel,
        rows_SD: Tensor,
        tools: Sequence[str],
        environment: Environment,
        form: CallFormat,
        settings: Settings,
        finished: Callable[[Sequence[int]], bool] = lambda _: False,
    ) -> None:
        """
        Args:
            model: A causal model in evaluation mode.
            rows_SD: One row a tool.
            tools: Their ids, in the order of the rows.
            environment: Runs the calls; is not reset here.
            form: How calls stand in the text.
            settings: See there.
            finished: Whether a text is at its end, from the tokens that were written.
        """
        assert len(rows_SD) == len(tools), "every tool has a row"
        self._model = model
        self._rows_SD = rows_SD.to(model.device)
        self._environment = environment
        self._tools = tuple(tools)
        self._form = form
        self._settings = settings
        self._finished = finished

    def run(self, prompt: Sequence[int]) -> Transcript:
        """Write until the end.

        Args:
            prompt: Tokens to go on from.

        Raises:
            ContextError: The context does not hold the prompt.
        """
        ids: list[int] = []
        calls: list[Called] = []
        for event in self.stream(prompt):
            match event:
                case Word(token_id):
                    ids.append(token_id)
                case Called():
                    calls.append(event)
                    ids += event.ids or ()
                case Ended(reason):
                    return Transcript(tuple(ids), tuple(calls), reason)
        raise AssertionError("a stream of events has an end")

    def stream(self, prompt: Sequence[int]) -> Iterator[Event]:
        """The same, event by event; the last one is the end.

        Raises:
            ContextError: The context does not hold the prompt.
        """
        text = Stream(self._model, prompt)
        begun, stood, failed = len(text.ids), 0, 0
        while True:
            if (reason := self._ending(text.ids[begun:])) is not None:
                yield Ended(reason)
                return
            token_id, tools = self._ranked(text)
            if stood >= self._settings.most_calls:
                tools = []
            ids: Sequence[int] = ()
            for tool in tools[: self._settings.most_failures - failed]:
                done = self._call(text, tool)
                yield done
                if done.ids is not None:
                    ids = done.ids
                    stood += 1
                    break
                failed += 1
            # A call that leaves nothing in the text is followed by a word, as a call that failed is.
            try:
                text.extend(ids or [token_id])
            except ContextError:
                yield Ended("context")
                return
            if not ids:
                yield Word(token_id)

    def _ending(self, ids: Sequence[int]) -> Ending | None:
        if ids and ids[-1] in self._settings.end_ids:
            return "end"
        if ids and self._finished(ids):
            return "finished"
        return "length" if len(ids) >= self._settings.most_tokens else None

    @torch.inference_mode()
    def _ranked(self, text: Stream) -> tuple[int, list[str]]:
        """The best word, and the tools whose rows beat it, best first."""
        token_id, logit = text.best_word()
        logits_S = self._rows_SD @ text.state_D.float() + self._settings.bias
        best = logits_S.topk(min(self._settings.tries, len(logits_S)))
        tried = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return token_id, [self._tools[number] for value, number in tried if value > logit]

    def _call(self, text: Stream, tool: str) -> Called:
        written = self._form.write(text, tool)
        if written.arguments is None:
            observation = Observation(Status.BAD_ARGUMENTS, written.fault)
        else:
            observation = self._environment.call(tool, written.arguments)
        ids = self._form.stands(text, tool, written, observation)
        if ids and text.room is not None and len(ids) > text.room:
            # It is run, and the text is full: the next word ends it.
            ids = None
        return Called(tool, len(text.ids), written, observation, None if ids is None else tuple(ids))
