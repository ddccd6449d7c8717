"""The machine that calls while it writes: off it is the base itself, on it calls, runs, splices and goes on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from tiny_models import MODELS, tiny_model
from torch import Tensor

from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.agent.machine import Called, Ended, Machine, Settings, Word, Written
from toolgen.agent.stream import ContextError, Stream
from toolgen.tools import Tool, ToolCatalog

PROMPT = [5, 17, 42, 8]


@dataclass
class World:
    """Answers with the number of the call; tools named ``broken`` fail."""

    catalog: ToolCatalog
    calls: list[tuple[str, Arguments]] = field(default_factory=list)

    def reset(self) -> None:
        self.calls.clear()

    def call(self, tool: str, arguments: Arguments) -> Observation:
        self.calls.append((tool, arguments))
        if tool.startswith("broken"):
            return Observation(Status.FAILED, "it is broken")
        return Observation(Status.OK, str(len(self.calls)))


class Form:
    """Arguments are the length of the text; results are two tokens."""

    def write(self, stream: Stream, tool: str) -> Written:
        return Written("", None, "unreadable") if tool == "mute" else Written("n", (str(len(stream.ids)),))

    def stands(self, stream: Stream, tool: str, written: Written, observation: Observation) -> Sequence[int] | None:
        if observation.status is not Status.OK:
            return None
        return [60 + int(observation.content), 77] if tool != "silent" else []


def world(*names: str) -> World:
    return World(ToolCatalog([Tool(name, name) for name in names]))


def machine(where: World, rows_SD: Tensor, kind: str = "llama", **keys: object) -> Machine:
    settings = Settings(**{"most_tokens": 12, **keys})  # type: ignore[arg-type]
    return Machine(tiny_model(kind), rows_SD, where.catalog.ids, where, Form(), settings)


def row_that_wins(ids: Sequence[int], by: float = 5.0) -> Tensor:
    """A row whose logit behind ``ids`` is above the best word's."""
    stream = Stream(tiny_model(), ids)
    state_D = stream.state_D.float()
    return state_D * (stream.best_word()[1] + by) / state_D.square().sum()


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_without_tools_it_writes_what_the_base_writes(kind: str, tied: bool) -> None:
    model = tiny_model(kind, tied)
    rows_SD = torch.randn(2, 32) * 100
    done = Machine(model, rows_SD, ("a", "b"), world("a", "b"), Form(), Settings(bias=-math.inf, most_tokens=12)).run(
        PROMPT
    )
    wanted = model.generate(
        torch.tensor([PROMPT]), attention_mask=torch.ones(1, 4), max_new_tokens=12, do_sample=False, eos_token_id=None
    )
    assert list(done.ids) == wanted[0, 4:].tolist()
    assert done.calls == () and done.ended == "length"


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_a_stream_is_where_a_fresh_one_would_be(kind: str, tied: bool) -> None:
    model = tiny_model(kind, tied)
    stream = Stream(model, PROMPT)
    aside = stream.fork()
    aside.extend([9, 9, 9])
    stream.extend([3, 4])
    stream.extend([6])
    assert stream.ids == [*PROMPT, 3, 4, 6]
    assert torch.allclose(stream.state_D, Stream(model, stream.ids).state_D, atol=1e-4)
    assert torch.allclose(aside.state_D, Stream(model, [*PROMPT, 9, 9, 9]).state_D, atol=1e-4)
    with torch.inference_mode():
        logits_V = model(input_ids=torch.tensor([stream.ids])).logits[0, -1]
    word, logit = stream.best_word()
    assert word == int(logits_V.argmax()) and logit == pytest.approx(float(logits_V.max()), abs=1e-3)
    some_V = torch.arange(len(logits_V)) % 3 == 0
    assert stream.probability(some_V) == pytest.approx(float(logits_V.softmax(-1)[some_V].sum()), abs=1e-4)


def test_a_row_that_wins_is_called_and_its_result_stands_in_the_text() -> None:
    where = world("quiet", "loud")
    rows_SD = torch.stack([torch.zeros(32), row_that_wins(PROMPT)])
    events = list(machine(where, rows_SD, most_calls=1).stream(PROMPT))
    first = events[0]
    assert isinstance(first, Called) and first.tool == "loud" and first.place == 4 and first.ids == (61, 77)
    assert where.calls == [("loud", ("4",))]
    done = machine(world("quiet", "loud"), rows_SD, most_calls=1).run(PROMPT)
    assert done.ids[:2] == (61, 77)
    # Behind the result it goes on as the base does.
    after = Machine(
        tiny_model(), rows_SD, ("a", "b"), world("a", "b"), Form(), Settings(bias=-math.inf, most_tokens=10)
    )
    assert list(done.ids[2:]) == list(after.run([*PROMPT, 61, 77]).ids)
    assert [type(event) for event in events[1:]] == [Word] * 10 + [Ended]


def test_a_result_may_lead_to_the_next_call() -> None:
    # The second row wins behind the first one's result only.
    second = row_that_wins([*PROMPT, 61, 77], by=20)
    rows_SD = torch.stack([row_that_wins(PROMPT, by=20), second])
    where = world("first", "second")
    done = machine(where, rows_SD, most_calls=2).run(PROMPT)
    assert [call.tool for call in done.calls if call.executed] == ["first", "second"]
    assert done.ids[:4] == (61, 77, 62, 77)
    assert where.calls[1] == ("second", ("6",))


def test_what_fails_gives_its_place_to_the_next_best() -> None:
    wins = row_that_wins(PROMPT)
    rows_SD = torch.stack([wins * 3, wins * 2, wins])
    where = world("broken", "mute", "good")
    done = machine(where, rows_SD, most_calls=1).run(PROMPT)
    assert [(call.tool, call.observation.status) for call in done.calls[:3]] == [
        ("broken", Status.FAILED),
        ("mute", Status.BAD_ARGUMENTS),
        ("good", Status.OK),
    ]
    assert done.ids[:2] == (62, 77)
    word = Stream(tiny_model(), PROMPT).best_word()[0]
    failed = machine(world("broken", "mute", "good"), rows_SD, tries=2, most_tokens=1).run(PROMPT)
    assert failed.ids == (word,) and len(failed.calls) == 2


def test_texts_end_for_a_reason() -> None:
    rows_SD = torch.zeros(1, 32)
    free = machine(world("a"), rows_SD, bias=-math.inf).run(PROMPT)
    ended = machine(world("a"), rows_SD, bias=-math.inf, end_ids=frozenset([free.ids[3]])).run(PROMPT)
    assert ended.ended == "end" and ended.ids == free.ids[: free.ids.index(free.ids[3]) + 1]
    told = Machine(
        tiny_model(), rows_SD, ("a",), world("a"), Form(), Settings(bias=-math.inf), finished=lambda ids: len(ids) == 5
    ).run(PROMPT)
    assert told.ended == "finished" and told.ids == free.ids[:5]
    full = machine(world("a"), rows_SD, bias=-math.inf, most_tokens=999).run(PROMPT)
    assert full.ended == "context" and len(full.ids) == 44
    with pytest.raises(ContextError, match="takes 49 tokens.*holds 48"):
        machine(world("a"), rows_SD).run([1] * 49)


def test_a_call_that_leaves_nothing_is_followed_by_a_word() -> None:
    where = world("silent")
    done = machine(where, row_that_wins(PROMPT)[None], most_calls=1, most_tokens=3).run(PROMPT)
    assert len(where.calls) == 1 and done.calls[0].ids == ()
    assert done.ids == machine(world("silent"), torch.zeros(1, 32), bias=-math.inf, most_tokens=3).run(PROMPT).ids


def test_failures_come_to_an_end() -> None:
    where = world("broken", "broken too")
    done = machine(where, torch.zeros(2, 32), bias=1e6, most_failures=5).run(PROMPT)
    assert len(done.calls) == len(where.calls) == 5 and len(done.ids) == 12
    assert all(call.ids is None and not call.executed for call in done.calls)


def test_a_result_that_does_not_fit_does_not_stand() -> None:
    done = machine(world("good"), torch.zeros(1, 32), bias=1e6).run([1] * 47)
    assert done.ended == "context" and done.calls[0].executed and done.calls[0].ids is None and len(done.ids) == 1
