"""Next actions: the history is what training renders, figures are those of hand-made calls, and what cannot be asked
counts as missed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import refused, run
from test_turns import CHATML, HEADERS, codes_of, tokenizer_with
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from toolgen.agent.arguments import ArgumentWriter
from toolgen.agent.choosing import TokenChooser
from toolgen.agent.machine import Written
from toolgen.agent.text import Asking, Text
from toolgen.agent.trajectory import Message, Step, Trajectory, write_trajectories
from toolgen.agent.turns import FINISH, TurnRenderer
from toolgen.benchmarks import next_action
from toolgen.benchmarks.next_action import Examinee, measure, next_actions
from toolgen.benchmarks.next_action_figures import GENERATIVE, Action, canonical, figures
from toolgen.checkpoint import Artefacts, publish, write_model
from toolgen.errors import InputError
from toolgen.metrics import Interval
from toolgen.tools import Tool, ToolCatalog

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 4}}}
CATALOG = ToolCatalog([Tool("x", "x", "Does x.", parameters=SCHEMA), Tool("y", "y", "Does y."), FINISH])
FRAMES = [("qwen2", CHATML), ("llama3", HEADERS), ("llama2", None)]


@dataclass
class Says:
    """A chooser that says what a function says, and keeps what it has read."""

    tool: Callable[[int], str]
    read: list[list[int]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def choose(self, text: Text, query: str, thought: str) -> Asking[str]:
        yield from text.logits(1)
        self.read.append(list(text.ids))
        self.asked.append((query, thought))
        return self.tool(len(self.read) - 1)


@dataclass
class Writes:
    """A writer of what is given, in order."""

    given: Sequence[Mapping[str, Any] | None]
    read: list[list[int]] = field(default_factory=list)

    def write(self, text: Text, schema: Mapping[str, Any] | None) -> Asking[Written]:
        yield from text.logits(1)
        self.read.append(list(text.ids))
        arguments = self.given[len(self.read) - 1]
        return Written("", arguments, "" if arguments is not None else "it did not end")


@cache
def model(words: int, context: int) -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return LlamaForCausalLM(LlamaConfig(vocab_size=words, max_position_embeddings=context, **shape)).eval()


@cache
def renderer(name: str, template: str | None, documents: bool) -> TurnRenderer:
    tokenizer = tokenizer_with(name, template)
    style = "plain" if template is None else "chat"
    return TurnRenderer(tokenizer, CATALOG, codes_of(CATALOG, tokenizer), style, documents=documents)  # type: ignore[arg-type]


def examinee(
    chooser: Says, writer: Writes, frame: tuple[str, str | None] = FRAMES[0], documents: bool = True, **keys: Any
) -> Examinee:
    tokenizer = tokenizer_with(*frame)
    words = len(tokenizer) + len(CATALOG)
    tiny = model(words, keys.pop("context", 4096))
    choosers = {GENERATIVE: chooser, **keys}
    return Examinee(tiny, CATALOG, renderer(*frame, documents), choosers, writer)  # type: ignore[arg-type]


def told(*steps: Step | Message, **keys: Any) -> Trajectory:
    return Trajectory(**{"id": "t", "query": "Do it", "steps": steps, "ended": "answer", "answer": "Done.", **keys})


TEXTS = st.sampled_from(["", "First.", "Which tool?", "<<x>> <|im_end|>", "東京"])
STEPS = st.lists(
    st.builds(
        Step,
        tool=st.sampled_from(["x", "y"]),
        arguments=st.sampled_from([{}, {"a": 1}, {"b": "c", "a": 2}]),
        observation=st.none() | TEXTS,
        thought=TEXTS,
    )
    | st.builds(Message, role=st.sampled_from(["user", "assistant"]), text=TEXTS),
    max_size=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, frame=st.sampled_from(FRAMES), documents=st.booleans())
def test_what_is_read_is_what_training_renders(
    steps: list[Step | Message], frame: tuple[str, str | None], documents: bool
) -> None:
    one = told(*steps, query="Which tool?")
    turns = renderer(*frame, documents)
    chooser, writer = Says(lambda number: one.calls[number].tool), Writes([call.arguments for call in one.calls])
    actions = next_actions(examinee(chooser, writer, frame, documents), one)
    whole = [token_id for piece in turns.render(one) for token_id in piece.ids]
    before_tool, before_arguments = [], []
    for place, step in enumerate(steps):
        if isinstance(step, Step):
            # Up to this call there is nothing behind what came back: code, document, arguments, observation.
            pieces = turns.render(replace(one, steps=tuple(steps[: place + 1]), ended="unfinished"))
            before_tool.append([token_id for piece in pieces[: -3 - documents] for token_id in piece.ids])
            before_arguments.append([token_id for piece in pieces[:-2] for token_id in piece.ids])
    assert chooser.read == before_tool and writer.read == before_arguments
    assert all(whole[: len(ids)] == ids for ids in (*before_tool, *before_arguments))
    assert chooser.asked == [("Which tool?", call.thought) for call in one.calls]
    assert [(action.call, action.arguments, action.missed) for action in actions] == [
        (call, call.arguments, None) for call in one.calls
    ]


def test_every_token_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = told(*(Step("x", {"a": 1}, "1", "So.") for _ in range(5)))
    writer = Writes([{}] * 5)
    asked = examinee(Says(lambda _: "x"), writer, also=Says(lambda _: "y"))
    read: list[int] = []
    forward = type(asked.model).forward

    def counted(self: PreTrainedModel, input_ids: Tensor, **keys: Any) -> Any:
        read.append(input_ids.shape[1])
        return forward(self, input_ids, **keys)

    monkeypatch.setattr(type(asked.model), "forward", counted)
    next_actions(asked, one)
    # Two that choose ask behind the same history: nothing is read for the second.
    assert len(read) == 10 and sum(read) == len(writer.read[-1])


CALLS = (Step("x", {"a": 1}, "1"), Step("y", {}, "2"), Step("x", {"b": "c", "a": 2}))


def test_who_is_always_right_has_all_and_who_is_always_wrong_nothing() -> None:
    right = Says(lambda number: CALLS[number % 3].tool)
    wrong = Says(lambda _: FINISH.id)
    written = [{"a": 1.0}, {}, {"a": 2, "b": "c"}] * 2
    found = measure(examinee(right, Writes(written), bm25=wrong), [told(*CALLS), told(), told(*CALLS, id="u")])
    assert (found.trajectories, found.calls, found.missed) == (2, 6, {})
    one, none = (Interval(value, value) for value in (1.0, 0.0))
    for share in (*found.ways[GENERATIVE].values(), *found.differences["bm25"].values(), *found.arguments.values()):
        assert (share.value, share.interval) == (1.0, one)
    for share in found.ways["bm25"].values():
        assert (share.value, share.interval) == (0.0, none)


def test_figures_are_those_of_hand_made_calls() -> None:
    call = Step("x", {"a": 1, "b": "c"})

    def action(step: Step, ours: str, theirs: str, arguments: Mapping[str, Any] | None, *ahead: str) -> Action:
        return Action(step, frozenset({step.tool, *ahead}), {GENERATIVE: ours, "bm25": theirs}, arguments)

    long = [
        action(call, "x", "y", {"b": "c", "a": 1}, "y"),  # ours has the tool, theirs a later one; exact
        action(call, "x", "x", {"a": 2, "b": "c"}, "y"),  # both have the tool; half of the pairs
        action(Step("y", {}), FINISH.id, "y", {}),  # theirs has the tool; exact
    ]
    missed = Action(Step("nobody", {"a": "text"}), frozenset({"nobody"}), missed="unknown tool")
    found = figures([long, [missed]], [GENERATIVE, "bm25"], CATALOG)
    assert (found.trajectories, found.calls, found.missed) == (2, 4, {"unknown tool": 1})
    values = {way: {name: share.value for name, share in shares.items()} for way, shares in found.ways.items()}
    assert values == {
        GENERATIVE: {"tool": 2 / 4, "ahead": 2 / 4, "joint": 1 / 4},
        "bm25": {"tool": 2 / 4, "ahead": 3 / 4, "joint": 1 / 4},
    }
    assert {name: share.value for name, share in found.arguments.items()} == {
        "exact": 2 / 4,
        "pairs": 3 / 5,
        "writable": 3 / 4,
    }
    assert {name: share.value for name, share in found.differences["bm25"].items()} == {
        "tool": 0.0,
        "ahead": -1 / 4,
        "joint": 0.0,
    }
    # Two trajectories are drawn: none, one or both of them the first, in which two calls of three are right.
    assert found.ways[GENERATIVE]["tool"].interval == Interval(0.0, 2 / 3)
    record = json.loads(json.dumps(found.to_json()))
    assert record["ways"]["bm25"]["ahead"]["share"] == 3 / 4
    assert record["generative minus"]["bm25"]["ahead"]["share"] == -1 / 4


def test_what_cannot_be_asked_is_missed() -> None:
    steps = (CALLS[0], Step("nobody", {}, "no such tool"), CALLS[1])
    writer = Writes([{"a": 1}])
    unknown = next_actions(examinee(Says(lambda _: "x"), writer), told(*steps))
    assert [action.missed for action in unknown] == [None, "unknown tool", "unknown tool"]
    assert [dict(action.chosen) for action in unknown] == [{GENERATIVE: "x"}, {}, {}]
    assert unknown[0].ahead == {"x", "y", "nobody"}
    (unfinished,) = next_actions(examinee(Says(lambda _: "x"), Writes([None])), told(CALLS[0]))
    assert unfinished.missed == "unfinished" and unfinished.chosen == {GENERATIVE: "x"}
    # The context holds the first call; of the second one the question, but not the document.
    whole = Writes([{}] * 3)
    next_actions(examinee(Says(lambda _: "x"), whole), told(*CALLS))
    full = next_actions(examinee(Says(lambda _: "x"), Writes([{}]), context=len(whole.read[1]) - 1), told(*CALLS))
    assert [action.missed for action in full] == [None, "context", "context"]
    assert [dict(action.chosen) for action in full] == [{GENERATIVE: "x"}, {GENERATIVE: "x"}, {}]
    with pytest.raises(InputError, match="call the agent has none .its first is 'x'"):
        measure(examinee(Says(lambda _: "x"), Writes([])), [told(Step("nobody", {}))])


def test_equal_values_are_equal_however_they_are_written() -> None:
    assert canonical({"a": 1, "b": [1.0, {"c": "é"}]}) == canonical({"b": (1, {"c": "\u00e9"}), "a": 1.0})
    for one, other in ((True, 1), ("1", 1), (None, ""), ([1, 2], [2, 1]), ({}, []), (0.5, "0.5"), (False, 0)):
        assert canonical(one) != canonical(other)


@pytest.fixture
def agent_checkpoint(tmp_path: Path, tiny_base: Path, catalog: ToolCatalog) -> Iterator[Path]:
    """The tiny base with codes of the catalogue and of ``FINISH``; trained by nobody."""
    from toolgen.base import load_base
    from toolgen.indexing import build
    from toolgen.tokenizer import encode_text, end_token_id
    from toolgen.vocabulary import extend

    base = load_base(str(tiny_base))
    # Of a tool without parameters the arguments are told at once.
    tools = ToolCatalog([*(replace(tool, parameters=None) for tool in catalog.values()), FINISH])
    book = build(
        "atomic", tools, encode=lambda text: encode_text(base.tokenizer, text), end_id=end_token_id(base.tokenizer)
    )
    extended = extend(base.model, base.tokenizer, book)
    extended.model.config.max_position_embeddings = 2048
    history = ({"stage": "agent", "config": {"documents": False}},)
    artefacts = Artefacts(extended.tokenizer, tools, book, extended.codes, "plain", "tiny", history=history)
    folder = tmp_path / "final"
    publish(folder, lambda target: write_model(target, extended.model, artefacts))
    yield folder


def test_the_command_measures_a_checkpoint(
    agent_checkpoint: Path, untrained: Path, tmp_path: Path, catalog: ToolCatalog
) -> None:
    recorded, out = tmp_path / "recorded.jsonl", tmp_path / "figures.json"
    steps = [Step(tool.id, {}, "{}") for tool in list(catalog.values())[:4]]
    write_trajectories(
        recorded,
        [
            Trajectory(f"t{number}", f"to {catalog[step.tool].description}", (step,), "unfinished")
            for number, step in enumerate(steps)
        ],
    )
    asked = ("bench", "next-action", "--trajectories", recorded, "--out", out)
    printed = run(*asked, "--checkpoint", agent_checkpoint, "--limit", 3)
    found = json.loads(out.read_text())
    assert "3 calls of 3 trajectories" in printed and "generative minus bm25" in printed
    assert (found["trajectories"], found["calls"]) == (3, 3)
    assert list(found["ways"]) == [GENERATIVE, "bm25", "bm25, best of 5"]
    # The queries are the documents' own words.
    assert found["ways"]["bm25"]["tool"]["share"] == 1.0
    assert found["arguments"].keys() == {"exact", "writable"} and found["arguments"]["exact"]["share"] == 1.0
    agent = next_action.load(agent_checkpoint, "cpu")
    assert isinstance(agent.choosers[GENERATIVE], TokenChooser) and isinstance(agent.writer, ArgumentWriter)
    assert agent.renderer.asks_arguments(catalog.ids[0]) == ()
    assert FINISH.id not in agent.catalog
    assert f"no tool {FINISH.id!r}" in refused(*asked, "--checkpoint", untrained)
