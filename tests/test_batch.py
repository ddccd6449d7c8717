"""Episodes that share a model's forwards: each is what it is alone, whatever runs beside it; retries; what goes wrong
outside ends all."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from test_loop import ADD, World, agent
from test_turns import codes_of, tokenizer_with
from tiny_models import CONTEXT, VOCABULARY, tiny_model, watch
from transformers import BloomConfig, BloomForCausalLM, PreTrainedModel

from toolgen.agent.batch import Reader, finish, finish_all, groups
from toolgen.agent.choosing import TokenChooser
from toolgen.agent.environment import Arguments, Environment, Observation
from toolgen.agent.loop import Agent, Attempts, Budget, Outcome
from toolgen.agent.stream import Stream
from toolgen.agent.text import Ask, Asking, Outside, Text
from toolgen.agent.turns import FINISH
from toolgen.errors import InputError
from toolgen.tools import Tool, ToolCatalog

QUERIES = ["x", "Add one and two, please.", "Do it now " * 20, "y", "Add 3 and 4.", "much too long " * 90, "z " * 90]
KINDS = ["llama", "qwen2", "gpt2"]


def broken() -> World:
    """A world one of whose tools has a schema that nobody can follow."""
    odd = {"type": "object", "properties": {"a": {"type": "strin"}}}
    tools = [Tool("add", "add", "Adds.", parameters=ADD), Tool("odd", "odd", "Odd.", parameters=odd)]
    return World(ToolCatalog([*tools, Tool("fail", "fail", "Fails."), FINISH]))


def random_agent(**keys: Any) -> Agent:
    given = {"context": 420, "most_tokens": 25, "budget": Budget(turns=3, tokens=70, thought=7), **keys}
    return agent("gpt2", None, broken(), None, **given)


def all_of(one: Agent, queries: list[str], batch: int) -> list[tuple[Outcome, list[Any]]]:
    """Outcomes and calls, in the order of the queries."""
    worlds = [broken() for _ in queries]
    found = dict(one.run_all(zip(queries, worlds, strict=True), batch))
    assert sorted(found) == list(range(len(queries)))
    return [(found[number], worlds[number].calls) for number in range(len(queries))]


def test_episodes_are_together_what_they_are_alone() -> None:
    adds = TokenChooser(codes_of(broken().catalog, tokenizer_with("gpt2", None)), ["add"])
    ended, faults = set(), ""
    for one in (random_agent(), random_agent(chooser=adds, most_tokens=9, budget=Budget(4, 50, 7), context=700)):
        alone = []
        for query in QUERIES:
            world = broken()
            alone.append((one.run(query, world), world.calls))
        for batch in (1, 3, 16):
            assert all_of(one, QUERIES, batch) == alone
        shuffled = random.Random(0).sample(range(len(QUERIES)), len(QUERIES))
        again = all_of(one, [QUERIES[number] for number in shuffled], 2)
        assert again == [alone[number] for number in shuffled]
        streamed = one.episode(QUERIES[1], broken())
        assert tuple(streamed.stream()) == alone[1][0].turns and tuple(streamed.text.ids) == alone[1][0].ids
        ended |= {outcome.ended for outcome, _ in alone}
        faults += "".join(turn.written.fault for outcome, _ in alone for turn in outcome.turns if turn.written)
    assert ended == {"answer", "turns", "tokens", "context"}
    assert "schema cannot be followed" in faults and "did not end within 18 tokens" in faults


def test_a_query_that_does_not_fit_is_an_outcome() -> None:
    (outcome,) = [outcome for outcome, _ in all_of(random_agent(), [QUERIES[5]], 2)]
    assert (outcome.ended, outcome.ids, outcome.said, outcome.attempts) == ("context", (), 0, 1)
    with pytest.raises(InputError, match="context holds 420"):
        random_agent().episode(QUERIES[5], broken())


def says(ids: list[int], steps: int, seed: int) -> Asking[list[int]]:
    """Reads in chunks of many lengths, asks twice at one place, and writes on another way than it goes."""
    text, rng = Text(ids, CONTEXT), random.Random(seed)
    for _ in range(steps):
        logits_V = yield from text.logits(VOCABULARY)
        token = int(logits_V.argmax())
        some_A = torch.tensor(sorted({token, 3, 8}))
        assert int(some_A[(yield from text.logits(some_A)).argmax()]) == token
        aside = text.fork()
        aside.extend([5] * rng.randint(1, 4))
        yield from aside.logits(VOCABULARY)
        assert (yield Outside(lambda: "done")) == "done"
        text.extend([token, *(rng.randrange(VOCABULARY) for _ in range(rng.choice([0, 0, 1, 3])))])
    return text.ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_logits_are_those_of_a_text_alone(kind: str, implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(kind)
    monkeypatch.setattr(model.config, "_attn_implementation", implementation)
    texts = [[7], [1, 2, 3, 4, 5, 6, 7, 8, 9], [11, 4], [80] * 20, [3, 3, 3]]
    reader = Reader(model, 5)
    for more in ([9], [4, 4], []):
        for text in texts:
            text += more
        answers = reader.answer({row: Ask(text, VOCABULARY) for row, text in enumerate(texts)})
        for row, text in enumerate(texts):
            torch.testing.assert_close(answers[row], Stream(model, text).word_logits(VOCABULARY), atol=1e-4, rtol=1e-4)
    # Some rows only, one of them with another text that begins alike, one with a text that was read further before.
    some = {0: Ask([7, 9], VOCABULARY), 3: Ask([80] * 12 + [1, 2], VOCABULARY), 4: Ask([3, 3, 3, 9, 4, 4, 1], 50)}
    for row, logits_A in reader.answer(some).items():
        tokens = some[row].tokens
        assert isinstance(tokens, int)
        wanted_A = Stream(model, list(some[row].ids)).word_logits(tokens)
        torch.testing.assert_close(logits_A, wanted_A, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_coroutines_end_as_they_do_alone(kind: str) -> None:
    model = tiny_model(kind)
    work = [([seed + 1] * (seed % 5 + 1), seed % 4 + 1, seed) for seed in range(9)]
    alone = [finish(Reader(model), says(*one)) for one in work]
    for rows in (1, 2, 4):
        found = dict(finish_all(Reader(model, rows), (says(*one) for one in work)))
        assert [found[number] for number in range(len(work))] == alone


def test_forwards_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    counts: dict[int, int] = {}
    for rows in (1, 8):
        seen: list[None] = []
        with monkeypatch.context() as patch:
            watch(patch, model, lambda seen=seen: seen.append(None))  # type: ignore[misc]
            list(finish_all(Reader(model, rows), (says([number], 4, 0) for number in range(1, 9))))
        counts[rows] = len(seen)
    assert counts[8] * 8 == counts[1]


def test_rows_share_a_forward_where_padding_is_worth_it() -> None:
    assert groups({3: 1, 1: 1, 2: 1}, 0) == [[1, 2, 3]]
    assert groups({0: 1, 1: 1, 2: 9, 3: 400, 4: 410}, 16) == [[0, 1, 2], [3, 4]]
    assert groups({0: 1, 1: 1, 2: 10}, 16) == [[0, 1], [2]]
    assert groups({0: 3000, 1: 3000}, 16) == [[0], [1]]


def test_a_job_is_drawn_when_an_environment_is_free() -> None:
    free = [broken(), broken()]
    held: dict[int, World] = {}

    def jobs() -> Iterator[tuple[str, Environment]]:
        for number, query in enumerate(QUERIES):
            held[number] = free.pop()
            yield query, held[number]

    for number, _ in random_agent().run_all(jobs(), batch=2):
        free.append(held.pop(number))
    assert len(free) == 2 and not held


@dataclass
class Falls(World):
    """Breaks at its first call."""

    def call(self, tool: str, arguments: Arguments) -> Observation:
        raise RuntimeError("the world broke")


def test_what_goes_wrong_outside_is_raised() -> None:
    worlds = [broken(), Falls(broken().catalog), broken()]
    with pytest.raises(RuntimeError, match="the world broke"):
        list(random_agent().run_all(zip(["x"] * 3, worlds, strict=True), batch=3))


def test_a_task_is_attempted_until_it_is_answered() -> None:
    once, thrice = random_agent(), random_agent(attempts=Attempts(3, 1.5))
    ended = set()
    for query in QUERIES[:5]:
        first, last = once.run(query, broken()), thrice.run(query, broken())
        if first.ended == "answer":
            assert last == first and first.attempts == 1
            continue
        assert 2 <= last.attempts <= 3 and last.said > first.said
        assert last.attempts == 3 or last.ended == "answer"
        assert last.ids != first.ids and last == thrice.run(query, broken())
        other = random_agent(attempts=Attempts(3, 1.5, seed=1)).run(query, broken())
        assert other.ids != last.ids
        ended.add(last.ended)
    assert ended
    together = [outcome for outcome, _ in all_of(thrice, QUERIES[:5], 3)]
    assert together == [thrice.run(query, broken()) for query in QUERIES[:5]]
    with pytest.raises(InputError, match=r"temperature of later attempts is 0\. "):
        Attempts(2, 0)
    with pytest.raises(InputError, match="attempts are 0"):
        Attempts(0)


def test_models_that_cannot_read_texts_together_are_refused() -> None:
    bloom: PreTrainedModel = BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(InputError, match=r"give a batch of 1\. This bloom model takes no positions"):
        Reader(bloom.eval(), 2)
    alone = Reader(bloom.eval()).answer({0: Ask([5, 6, 7], VOCABULARY)})[0]
    torch.testing.assert_close(alone, Stream(bloom, [5, 6, 7]).word_logits(VOCABULARY))
    with pytest.raises(InputError, match="The batch is 0"):
        Reader(tiny_model(), 0)
