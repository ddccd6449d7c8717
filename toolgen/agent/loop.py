"""The agent: thinks, takes a tool, fills in its arguments, sees what comes back, until it finishes or may no more.
Knows streams, renderers and environments; which tool is taken is a ``Chooser``'s affair.

The text grows by exactly the parts that training renders, and keys and values stay in memory from turn to turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.agent.arguments import ArgumentWriter
from toolgen.agent.choosing import Chooser
from toolgen.agent.environment import Environment, Observation, Status
from toolgen.agent.machine import Written
from toolgen.agent.stream import ContextError, Stream
from toolgen.agent.turns import FINISH, TurnRenderer
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
    """A whole episode.

    Attributes:
        query: What the user asked.
        turns: In their order; the last one says why it ended.
        ids: All tokens, the query's included.
        said: Tokens that the model said itself.
    """

    query: str
    turns: tuple[Turn, ...]
    ids: tuple[int, ...]
    said: int

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
    """Solves tasks in an environment, one episode at a time."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        renderer: TurnRenderer,
        chooser: Chooser,
        writer: ArgumentWriter,
        environment: Environment,
        budget: Budget | None = None,
    ) -> None:
        """
        Args:
            model: A causal model in evaluation mode.
            tokenizer: Its tokenizer.
            renderer: As in training.
            chooser: Takes the tools.
            writer: Fills in arguments; its words are those that a thought is made of.
            environment: Runs the calls; is reset for every episode.
            budget: See there.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._renderer = renderer
        self._chooser = chooser
        self._writer = writer
        self._environment = environment
        self._budget = budget or Budget()
        closing = renderer.frames.close[-1]
        # A thought is words: a model that opens another's turn in it would speak for somebody else.
        self._forbidden = torch.tensor(
            sorted(id_ for id_ in special_ids(tokenizer) - {closing} if id_ < writer.words), dtype=torch.long
        )

    def episode(self, query: str) -> "Episode":
        """Begin an episode in a fresh environment.

        Raises:
            ContextError: The model's context does not hold the query.
        """
        self._environment.reset()
        return Episode(self, query)

    def run(self, query: str) -> Outcome:
        """A whole episode."""
        episode = self.episode(query)
        turns = tuple(episode.stream())
        return Outcome(query, turns, tuple(episode.text.ids), episode.said)


class Episode:
    """An episode under way.

    Attributes:
        text: All that was said, in the model.
        said: Tokens that the model said itself.
    """

    def __init__(self, agent: Agent, query: str) -> None:
        """See ``Agent.episode``."""
        self._agent = agent
        self._query = query
        self._turns = 0
        self.said = 0
        self.text = Stream(agent._model, agent._renderer.opening(query))

    def stream(self) -> Iterator[Turn]:
        """Turn by turn to the end."""
        turn = self.step()
        yield turn
        while turn.ended is None:
            turn = self.step()
            yield turn

    def step(self) -> Turn:
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
            thought = self._think()
            self.text.extend(agent._renderer.asks_action())
            tool = agent._chooser.choose(self.text, self._query, thought)
            self._say(agent._renderer.code(tool))
            if asks := agent._renderer.asks_arguments(tool):
                self.text.extend(asks)
            written = agent._writer.write(self.text, agent._renderer.parameters(tool))
            self._say((*written.ids, *agent._renderer.frames.close))
        except ContextError:
            return Turn(thought, tool, ended="context")
        if tool == FINISH.id and written.arguments is not None:
            told = dict(written.arguments)
            gave_up = told.get("return_type") == "give_up"
            return Turn(thought, tool, written, None, "give_up" if gave_up else "answer", told.get("final_answer"))
        if written.arguments is None:
            observation = Observation(Status.BAD_ARGUMENTS, written.fault)
        else:
            observation = agent._environment.call(tool, written.arguments)
        try:
            self.text.extend(agent._renderer.observes(observation.content))
        except ContextError:
            return Turn(thought, tool, written, observation, "context")
        return Turn(thought, tool, written, observation)

    def _think(self) -> str:
        close, limit = self._agent._renderer.frames.close, self._agent._budget.thought
        ids: list[int] = []
        while len(ids) < limit:
            logits_V = self.text.word_logits(self._agent._writer.words)
            ids.append(int(logits_V.index_fill(0, self._agent._forbidden, -torch.inf).argmax()))
            self._say(ids[-1:])
            if ids[-1] == close[-1]:
                return decode(self._agent._tokenizer, ids[: -len(close)]).strip()
        self._say(close)
        return decode(self._agent._tokenizer, ids).strip()

    def _say(self, ids: Sequence[int]) -> None:
        self.text.extend(ids)
        self.said += len(ids)
