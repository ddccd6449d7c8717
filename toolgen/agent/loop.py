"""The agent: thinks, takes a tool, fills in its arguments, sees what comes back, until it finishes or may no more.
Knows texts, renderers and environments; which tool is taken is a ``Chooser``'s affair, and how many episodes a model
reads at once ``toolgen.agent.batch``'s.

The text grows by exactly the parts that training renders, and keys and values stay in memory from turn to turn.

Legend: ``V`` words of the base.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.agent.arguments import ArgumentWriter
from toolgen.agent.batch import Reader, finish, finish_all
from toolgen.agent.choosing import Chooser
from toolgen.agent.environment import Environment, Observation, Status
from toolgen.agent.machine import Written
from toolgen.agent.stream import ContextError
from toolgen.agent.text import Asking, Outside, Text
from toolgen.agent.turns import FINISH, TurnRenderer
from toolgen.base import context_length
from toolgen.errors import InputError
from toolgen.tokenizer import decode, special_ids

Ended = Literal["answer", "give_up", "turns", "tokens", "context"]
"""It answered or gave up; or its turns, its tokens or the model's context were used up."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an episode may take.

    Attributes:
        turns: Calls, the finishing one included.
        tokens: Of thoughts, codes and arguments together.
        thought: Tokens of one thought; a longer one is cut there.
    """

    turns: int = 16
    tokens: int = 2048
    thought: int = 256


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a task is attempted: ReAct@N (ToolLLM, arXiv 2307.16789).

    The first attempt that answers counts, else the last one. The first one thinks what is most probable; the others
    draw their thoughts, and nothing else.

    Attributes:
        most: N.
        temperature: Of the thoughts of later attempts.
        seed: Of the same; a thought depends on it, the query and the number of the attempt.
    """

    most: int = 1
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InputError(f"The attempts are {self.most}. Give at least 1.")
        if self.temperature <= 0:
            raise InputError(
                f"The temperature of later attempts is {self.temperature}. Give one above 0: at 0 all are the same."
            )


@dataclass(frozen=True, slots=True)
class Turn:
    """What one step of an episode was.

    Attributes:
        thought: What was thought.
        tool: What was taken; None where the episode ended before.
        written: Its arguments; None likewise.
        observation: What came back; None where the episode ended instead.
        ended: Why the episode ended with this turn; None where it goes on.
        answer: What the user is told, if it ended so.
    """

    thought: str
    tool: str | None = None
    written: Written | None = None
    observation: Observation | None = None
    ended: Ended | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole episode: of several attempts the one that counts.

    Attributes:
        query: What the user asked.
        turns: In their order; the last one says why it ended.
        ids: All tokens, the query's included; none where the context does not hold the query.
        said: Tokens that the model said itself, in all attempts.
        attempts: How many there were.
    """

    query: str
    turns: tuple[Turn, ...]
    ids: tuple[int, ...]
    said: int
    attempts: int = 1

    @property
    def ended(self) -> Ended:
        """Why it ended."""
        assert self.turns and self.turns[-1].ended is not None, "an episode has an end"
        return self.turns[-1].ended

    @property
    def answer(self) -> str | None:
        """What the user is told."""
        return self.turns[-1].answer


class Agent:
    """Solves tasks in environments.

    Attributes:
        model: A causal model in evaluation mode.
        renderer: As in training.
        chooser: Takes the tools.
        writer: Fills in arguments.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        renderer: TurnRenderer,
        chooser: Chooser,
        writer: ArgumentWriter,
        budget: Budget | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        """
        Args:
            model: A causal model in evaluation mode.
            tokenizer: Its tokenizer.
            renderer: As in training.
            chooser: Takes the tools.
            writer: Fills in arguments; its words are those that a thought is made of.
            budget: Of an attempt.
            attempts: At a task.
        """
        self.model = model
        self._tokenizer = tokenizer
        self.renderer = renderer
        self.chooser = chooser
        self.writer = writer
        self._budget = budget or Budget()
        self._attempts = attempts or Attempts()
        self._context = context_length(model.config)
        closing = renderer.frames.close[-1]
        # A thought is words: a model that opens another's turn in it would speak for somebody else.
        forbidden = sorted(id_ for id_ in special_ids(tokenizer) - {closing} if id_ < writer.words)
        self._forbidden = torch.tensor(forbidden, dtype=torch.long, device=model.device)

    def episode(self, query: str, environment: Environment) -> "Episode":
        """Begin an episode, one attempt, in an environment that is reset.

        Raises:
            ContextError: The model's context does not hold the query.
        """
        environment.reset()
        return Episode(self, query, environment)

    def run(self, query: str, environment: Environment) -> Outcome:
        """A whole episode, as ``run_all`` does it."""
        return finish(Reader(self.model), self._solve(query, environment))

    def run_all(self, jobs: Iterable[tuple[str, Environment]], batch: int = 16) -> Iterator[tuple[int, Outcome]]:
        """Whole episodes, several at a time, which share the model's forwards.

        An episode takes the turns that it takes alone, but for rounding: a product of several rows adds up in another
        order.

        Args:
            jobs: What users ask, each with an environment of its own for as long as its episode lasts. The next one is
                drawn when there is room for it and the outcomes that made room were given back; so an environment may
                come again. An environment is reset and called in threads, one call at a time.
            batch: Episodes at a time.

        Yields:
            The position of a job and its outcome, as episodes end.

        Raises:
            InputError: The batch is below 1, or the model cannot read several texts at once.
        """
        reader = Reader(self.model, batch)
        yield from finish_all(reader, (self._solve(query, environment) for query, environment in jobs))

    def _solve(self, query: str, environment: Environment) -> Asking[Outcome]:
        said = 0
        for number in range(self._attempts.most):
            yield Outside(environment.reset)
            try:
                episode = Episode(self, query, environment, number)
            except ContextError:
                return Outcome(query, (Turn("", ended="context"),), (), 0)
            turns = [(yield from episode.step())]
            while turns[-1].ended is None:
                turns.append((yield from episode.step()))
            said += episode.said
            if turns[-1].ended == "answer":
                break
        return Outcome(query, tuple(turns), tuple(episode.text.ids), said, number + 1)


class Episode:
    """An episode under way.

    Attributes:
        text: All that was said.
        said: Tokens that the model said itself.
    """

    def __init__(self, agent: Agent, query: str, environment: Environment, attempt: int = 0) -> None:
        """
        Args:
            agent: Whose episode it is.
            query: What the user asks.
            environment: Is reset.
            attempt: Attempts before.

        Raises:
            ContextError: The model's context does not hold the query.
        """
        self._agent = agent
        self._query = query
        self._environment = environment
        self._random = Random(f"{agent._attempts.seed} {attempt} {query}") if attempt else None
        self._turns = 0
        self.said = 0
        self.text = Text(agent.renderer.opening(query), agent._context)

    def stream(self) -> Iterator[Turn]:
        """Turn by turn to the end."""
        reader = Reader(self._agent.model)
        turn = finish(reader, self.step())
        yield turn
        while turn.ended is None:
            turn = finish(reader, self.step())
            yield turn

    def step(self) -> Asking[Turn]:
        """Think, take a tool, fill it in, and see what comes back."""
        agent = self._agent
        if self._turns == agent._budget.turns:
            return Turn("", ended="turns")
        if self.said >= agent._budget.tokens:
            return Turn("", ended="tokens")
        self._turns += 1
        thought = ""
        tool: str | None = None
        try:
            thought = yield from self._think()
            self.text.extend(agent.renderer.asks_action())
            tool = yield from agent.chooser.choose(self.text, self._query, thought)
            self._say(agent.renderer.code(tool))
            if asks := agent.renderer.asks_arguments(tool):
                self.text.extend(asks)
            written = yield from agent.writer.write(self.text, agent.renderer.parameters(tool))
            self._say((*written.ids, *agent.renderer.frames.close))
        except ContextError:
            return Turn(thought, tool, ended="context")
        if tool == FINISH.id and written.arguments is not None:
            told = written.arguments
            assert isinstance(told, Mapping), "a schema's arguments have names"
            gave_up = told.get("return_type") == "give_up"
            return Turn(thought, tool, written, None, "give_up" if gave_up else "answer", told.get("final_answer"))
        if written.arguments is None:
            observation = Observation(Status.BAD_ARGUMENTS, written.fault)
        else:
            observation = yield Outside(partial(self._environment.call, tool, written.arguments))
        try:
            self.text.extend(agent.renderer.observes(observation.content))
        except ContextError:
            return Turn(thought, tool, written, observation, "context")
        return Turn(thought, tool, written, observation)

    def _think(self) -> Asking[str]:
        close, limit = self._agent.renderer.frames.close, self._agent._budget.thought
        ids: list[int] = []
        while len(ids) < limit:
            logits_V = yield from self.text.logits(self._agent.writer.words)
            ids.append(self._next(logits_V.index_fill(0, self._agent._forbidden, -torch.inf)))
            self._say(ids[-1:])
            if ids[-1] == close[-1]:
                return decode(self._agent._tokenizer, ids[: -len(close)]).strip()
        self._say(close)
        return decode(self._agent._tokenizer, ids).strip()

    def _next(self, logits_V: Tensor) -> int:
        if self._random is None:
            return int(logits_V.argmax())
        sums_V = (logits_V.double() / self._agent._attempts.temperature).softmax(0).cumsum(0)
        # To the right of equal sums: what has no probability is not drawn.
        return int(torch.searchsorted(sums_V, self._random.random() * sums_V[-1], right=True))

    def _say(self, ids: Sequence[int]) -> None:
        self.text.extend(ids)
        self.said += len(ids)
