"""The agent's loop with scripted models: what it says is what training rendered, what fails is observed, budgets
hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from test_turns import CHATML, FRAMES, codes_of, tokenizer_with
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from toolgen.agent import loop
from toolgen.agent.arguments import ArgumentWriter
from toolgen.agent.choosing import Chooser, RetrieverChooser, TokenChooser
from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.loop import Agent, Budget, Outcome
from toolgen.agent.text import Ask
from toolgen.agent.trajectory import Step, Trajectory
from toolgen.agent.turns import FINISH, TurnRenderer
from toolgen.errors import InputError
from toolgen.retriever import Hit
from toolgen.tools import Tool, ToolCatalog

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
WRITES_ANYTHING = [frame for frame in FRAMES if frame[0] in ("qwen2", "llama3", "llama2", "gpt2", "gemma")]


@dataclass
class World:
    """Adds; ``fail`` fails."""

    catalog: ToolCatalog = field(
        default_factory=lambda: ToolCatalog(
            [Tool("add", "add", "Adds.", parameters=ADD), Tool("fail", "fail", "Fails."), FINISH]
        )
    )
    calls: list[tuple[str, Arguments]] = field(default_factory=list)

    def reset(self) -> None:
        self.calls.clear()

    def call(self, tool: str, arguments: Arguments) -> Observation:
        assert isinstance(arguments, dict)
        self.calls.append((tool, arguments))
        if tool == "fail":
            return Observation(Status.FAILED, "it failed")
        return Observation(Status.OK, str(arguments["a"] + arguments["b"]))


class Scripted:
    """A reader for which the next token is the one that a text has at this place."""

    wanted: Sequence[int] = ()

    def answer(self, asks: Mapping[int, Ask]) -> dict[int, Tensor]:
        found = {}
        for row, ask in asks.items():
            place = len(ask.ids)
            wanted = self.wanted[place] if place < len(self.wanted) else -1
            found[row] = ((torch.arange(ask.tokens) if isinstance(ask.tokens, int) else ask.tokens) == wanted).float()
        return found


def agent(name: str, template: str | None, world: World, script: Trajectory | None, **keys: Any) -> Agent:
    """An agent that says what a trajectory says; without one, what a random model says."""
    tokenizer = tokenizer_with(name, template)
    codes = codes_of(world.catalog, tokenizer)
    documents = keys.pop("documents", True)
    style = "plain" if template is None else "chat"
    turns = TurnRenderer(tokenizer, world.catalog, codes, style, documents=documents)  # type: ignore[arg-type]
    if script is not None:
        Scripted.wanted = [token_id for piece in turns.render(script) for token_id in piece.ids]
    words = min(codes.new_ids.values())
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    shape |= {"max_position_embeddings": keys.pop("context", 4096), "initializer_range": 0.3}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=words + len(codes.new_ids), **shape)).eval()
    chooser: Chooser = keys.pop("chooser", None) or TokenChooser(codes)
    writer = ArgumentWriter(tokenizer, words, most_tokens=keys.pop("most_tokens", 200))
    return Agent(model, tokenizer, turns, chooser, writer, keys.pop("budget", None), keys.pop("attempts", None))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "Reader", lambda _: Scripted())
    yield
    Scripted.wanted = ()


def told(**keys: Any) -> Trajectory:
    steps = (Step("add", {"a": 1, "b": 2}, "3", "One and two."), Step("fail", {}, "it failed", ""))
    return Trajectory(**{"id": "t", "query": "How much?", "steps": steps, "ended": "answer", "answer": "3", **keys})


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("documents", [True, False])
@pytest.mark.parametrize(("name", "template"), WRITES_ANYTHING)
def test_an_episode_is_the_tokens_of_training(name: str, template: str | None, documents: bool) -> None:
    for one in (told(), told(ended="give_up", answer=None, last_thought="I cannot.")):
        world = World()
        done = agent(name, template, world, one, documents=documents).run(one.query, world)
        assert list(done.ids) == list(Scripted.wanted)
        assert world.calls == [("add", {"a": 1, "b": 2}), ("fail", {})]
        assert [turn.thought for turn in done.turns] == ["One and two.", "", one.last_thought]
        assert [turn.observation.status for turn in done.turns if turn.observation] == [Status.OK, Status.FAILED]
        assert (done.ended, done.answer) == (one.ended, one.answer)


@pytest.mark.parametrize(("name", "template"), WRITES_ANYTHING)
def test_whatever_a_model_says_its_calls_are_valid(name: str, template: str | None) -> None:
    world = World()
    done = agent(name, template, world, None, budget=Budget(turns=4, tokens=3000, thought=10)).run(
        "Do <<add>> it", world
    )
    assert 1 <= len(done.turns) <= 5 and done.ended in ("answer", "give_up", "turns", "tokens")
    assert all(turn.tool in (*world.catalog.ids, None) for turn in done.turns)
    assert all(tool != "add" or set(arguments) == {"a", "b"} for tool, arguments in world.calls)


@pytest.mark.usefixtures("scripted")
def test_budgets_end_an_episode() -> None:
    def run(**keys: Any) -> Outcome:
        world = World()
        return agent("qwen2", CHATML, world, told(), **keys).run("How much?", world)

    assert [turn.ended for turn in run(budget=Budget(turns=1)).turns] == [None, "turns"]
    assert [turn.ended for turn in run(budget=Budget(tokens=5)).turns] == [None, "tokens"]
    short = run(context=150)
    assert short.ended == "context" and len(short.ids) <= 150
    cut = run(budget=Budget(thought=2, turns=1))
    assert len(cut.turns[0].thought) < len("One and two.")


@pytest.mark.usefixtures("scripted")
def test_arguments_that_do_not_end_are_an_observation() -> None:
    world = World()
    done = agent("qwen2", CHATML, world, told(), most_tokens=4, budget=Budget(turns=1)).run("How much?", world)
    observation = done.turns[0].observation
    assert observation is not None and observation.status is Status.BAD_ARGUMENTS and not world.calls
    assert "did not end within 8 tokens" in observation.content


class Finds:
    """A retriever that always finds the same."""

    name = "finds"

    def __init__(self, *found: str) -> None:
        self.found, self.asked = found, ""

    def search(self, queries: Sequence[str], k: int, *, groups: Sequence[str] | None = None) -> list[list[Hit]]:
        (self.asked,) = queries
        return [[Hit(tool, 1.0) for tool in self.found[:k]]]


@pytest.mark.usefixtures("scripted")
def test_a_retriever_may_stand_in_front() -> None:
    world, tokenizer = World(), tokenizer_with("qwen2", CHATML)
    tokens = TokenChooser(codes_of(world.catalog, tokenizer))
    finds = Finds("fail", "add")
    done = agent("qwen2", CHATML, world, told(), chooser=RetrieverChooser(finds, [FINISH.id], tokens, k=2)).run(
        "How much?", world
    )
    assert [turn.tool for turn in done.turns] == ["add", "fail", FINISH.id]
    assert finds.asked == "How much?"
    only = agent("qwen2", CHATML, world, told(), chooser=RetrieverChooser(finds, ()), budget=Budget(turns=1)).run(
        "How much?", world
    )
    assert only.turns[0].tool == "fail" and finds.asked == "How much? One and two."
    with pytest.raises(InputError, match="somebody must choose"):
        RetrieverChooser(finds, [FINISH.id])


def test_tools_may_be_kept_from_an_agent() -> None:
    world, tokenizer = World(), tokenizer_with("qwen2", CHATML)
    codes = codes_of(world.catalog, tokenizer)
    done = agent("qwen2", CHATML, world, None, chooser=TokenChooser(codes, ["fail"]), budget=Budget(turns=2, thought=4))
    assert {turn.tool for turn in done.run("x", world).turns} == {"fail", None}
    with pytest.raises(InputError, match="'nothing' has no code"):
        TokenChooser(codes, ["nothing"])
