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
    """

    text: str
    arguments: Arguments | None
    fault: str = ""


class CallFormat(Protocol):
    """How calls stand in a text."""

    def write(self, stream: Stream, tool: str) -> Written:
        """Have the model write the arguments of a call at the end of a stream, which stays as it is."""
        ...

    def result_ids(self, stream: Stream, tool: str, written: Written, observation: Observation) -> Sequence[int]:
        """What stands in the text for a call that went well."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a machine writes.

    Attributes:
        bias: Is added to every row's logit. Minus infinity: no tool is called, and the model writes as without rows.
        most_tokens: Words and results, in tokens.
        most_calls: Calls that go well; further ones are not tried.
        tries: Rows that are tried at one place before the best word is taken.
        end_id: Ends the text.
    """

    bias: float = 0.0
    most_tokens: int = 256
    most_calls: int = 32
    tries: int = 3
    end_id: int | None = None


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
        result_ids: What stands in the text for it; empty where it failed.
    """

    tool: str
    place: int
    written: Written
    observation: Observation
    result_ids: tuple[int, ...] = ()

    @property
    def went_well(self) -> bool:
        """Whether its result stands in the text."""
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
        environment: Environment,
        form: CallFormat,
        settings: Settings,
        finished: Callable[[Sequence[int]], bool] = lambda _: False,
    ) -> None:
        """
        Args:
            model: A causal model in evaluation mode.
            rows_SD: One row a tool, in the order of the environment's catalogue.
            environment: Runs the calls; is not reset here.
            form: How calls stand in the text.
            settings: See there.
            finished: Whether a text is at its end, from the tokens that were written.
        """
        assert len(rows_SD) == len(environment.catalog), "every tool needs a row"
        self._model = model
        self._rows_SD = rows_SD.to(model.device)
        self._environment = environment
        self._tools = environment.catalog.ids
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
                    ids += event.result_ids
                case Ended(reason):
                    return Transcript(tuple(ids), tuple(calls), reason)
        raise AssertionError("a stream of events has an end")

    def stream(self, prompt: Sequence[int]) -> Iterator[Event]:
        """The same, event by event; the last one is the end.

        Raises:
            ContextError: The context does not hold the prompt.
        """
        text = Stream(self._model, prompt)
        begun, called = len(text.ids), 0
        while True:
            if (reason := self._ending(text.ids[begun:])) is not None:
                yield Ended(reason)
                return
            token_id, tools = self._ranked(text)
            if called >= self._settings.most_calls:
                tools = []
            done = None
            for tool in tools[: self._settings.tries]:
                done = self._call(text, tool)
                yield done
                if done.went_well:
                    break
            went_well = done is not None and done.went_well
            called += went_well
            try:
                text.extend(done.result_ids if done is not None and went_well else [token_id])
            except ContextError:
                yield Ended("context")
                return
            if not went_well:
                yield Word(token_id)

    def _ending(self, ids: Sequence[int]) -> Ending | None:
        if ids and ids[-1] == self._settings.end_id:
            return "end"
        if ids and self._finished(ids):
            return "finished"
        return "length" if len(ids) >= self._settings.most_tokens else None

    @torch.inference_mode()
    def _ranked(self, text: Stream) -> tuple[int, list[str]]:
        """The best word, and the tools whose rows beat it, best first."""
        token_id, logit = text.best_word()
        logits_S = (self._rows_SD @ text.state_D.float()).tolist()
        better = [(value + self._settings.bias, number) for number, value in enumerate(logits_S)]
        better = sorted((pair for pair in better if pair[0] > logit), key=lambda pair: (-pair[0], pair[1]))
        return token_id, [self._tools[number] for _, number in better]

    def _call(self, text: Stream, tool: str) -> Called:
        written = self._form.write(text, tool)
        if written.arguments is None:
            observation = Observation(Status.BAD_ARGUMENTS, written.fault)
        else:
            observation = self._environment.call(tool, written.arguments)
        called = Called(tool, len(text.ids), written, observation)
        if not called.went_well:
            return called
        ids = tuple(self._form.result_ids(text, tool, written, observation))
        return Called(tool, len(text.ids), written, observation, ids)
