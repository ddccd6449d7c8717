"""Tool rows from texts to answers: configuration, training, the folder of rows, arguments, answers, commands."""

import dataclasses
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tokenizer_zoo import ZOO
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from typer.testing import CliRunner

from toolgen.agent.environment import Observation, Status
from toolgen.agent.machine import Settings, Written
from toolgen.agent.stream import Stream
from toolgen.base import Base, load_base
from toolgen.benchmarks.arithmetic import arithmetic_tokenizer
from toolgen.cli import app
from toolgen.config import load_config
from toolgen.errors import InputError
from toolgen.files import read_json
from toolgen.functions.hub import HUBS, gsm8k
from toolgen.priors import Prior
from toolgen.queries import Query
from toolgen.tokenizer import continuation_ids, decode, encode_text
from toolgen.toolken.config import Material, TextsConfig, ToolkenConfig, asked, few_a_tool, load_material
from toolgen.toolken.evaluation import Problem, Solver, is_right, read_problems
from toolgen.toolken.extension import with_tools
from toolgen.toolken.fitting import FitConfig
from toolgen.toolken.form import ReplaceForm, blank_words, demonstrate, demonstrations, without_blank
from toolgen.toolken.linearize import opening_id
from toolgen.toolken.measures import decide, figures
from toolgen.toolken.states import weights_checksum
from toolgen.toolken.texts import AnnotatedText, Span, write_texts
from toolgen.toolken.toolkens import CARD, Toolkens, start_rows
from toolgen.toolken.training import prepare, train_toolkens
from toolgen.tools import Tool, ToolCatalog

ROOT = Path(__file__).resolve().parents[1]
QUIET: dict[str, Any] = {"tracking": {"mode": "disabled"}}


def texts(count: int = 60, seed: int = 0) -> list[AnnotatedText]:
    """Sums and products, each with its result marked."""
    draw, found = random.Random(seed), []
    for number in range(count):
        a, b = draw.randint(1, 60), draw.randint(1, 60)
        tool, sign, value = draw.choice((("<add>", "+", a + b), ("<multiply>", "*", a * b)))
        name = "".join(draw.choices("abcdefgh", k=4))
        before = f"Q: {name} asks what {a} {sign} {b} is?\nA: {a} {sign} {b} = "
        spans = (Span(len(before), len(before) + len(str(value)), tool, (str(a), str(b)), str(value)),)
        found.append(AnnotatedText(f"t{number}", f"{before}{value}. #### {value}", spans))
    return found


@pytest.fixture
def config(tmp_path: Path, tiny_base: Path) -> ToolkenConfig:
    write_texts(tmp_path / "texts.jsonl", texts())
    return ToolkenConfig(
        output=tmp_path / "run",
        model=str(tiny_base),
        data=TextsConfig(texts=tmp_path / "texts.jsonl", hub="gsm8k", validation=0.2, test=0.2),
        fit=FitConfig(epochs=12, learning_rate=1e-2),
        seeds=(0, 1),
        **QUIET,
    )


@pytest.fixture
def trained(config: ToolkenConfig) -> Path:
    return train_toolkens(config)


def test_training_leaves_rows_and_a_report(config: ToolkenConfig, trained: Path, tiny_base: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["rows.safetensors", "toolkens.json", "tools.jsonl"]
    rows = Toolkens.load(trained)
    assert rows.catalog.ids == gsm8k().catalog.ids and rows.rows_SD.shape[0] == 4 and rows.hub == "gsm8k"
    assert len(rows.demonstrations["<add>"]) == 4 and not rows.demonstrations["<divide>"]
    report = read_json(config.output / "report.json")
    assert report["texts"]["train"] + report["texts"]["validation"] + report["texts"]["test"] == 60
    assert len(report["seeds"]) == 2 and report["seeds"][0]["losses"][-1] < report["seeds"][0]["losses"][0]
    assert report["test"]["tool_accuracy"] > 0.5 and report["nearest_neighbour"]["calls"] > 0
    assert report["base_perplexity"] > 1 and report["base_checksum"] == weights_checksum(
        load_base(str(tiny_base)).model
    )
    again = train_toolkens(config.model_copy(update={"output": config.output / "again"}))
    assert torch.equal(Toolkens.load(again).rows_SD, rows.rows_SD)


def test_a_base_stands_still_and_another_one_is_refused(trained: Path, tmp_path: Path, tiny_base: Path) -> None:
    rows = Toolkens.load(trained)
    base = rows.load_base()
    assert weights_checksum(base.model) == rows.base_checksum
    other = Toolkens(rows.catalog, rows.rows_SD, rows.base, "0" * 64, 0.0, rows.prior)
    with pytest.raises(InputError, match="not the one that the rows were trained beside"):
        other.load_base()
    (trained / CARD).unlink()
    with pytest.raises(InputError, match="no toolkens here"):
        Toolkens.load(trained)
    rows.save(tmp_path / "copy")
    ToolCatalog([Tool("x", "x")]).to_jsonl(tmp_path / "copy" / "tools.jsonl")
    with pytest.raises(InputError, match=r"are not those of toolkens.json"):
        Toolkens.load(tmp_path / "copy")


def test_a_new_tool_is_one_row(tiny_base: Path, trained: Path) -> None:
    base = load_base(str(tiny_base))
    rows = Toolkens.load(trained)
    with pytest.raises(InputError, match="started at random"):
        with_tools(rows, [Tool("new", "count things")], base)
    named = dataclasses.replace(rows, prior=Prior(kind="name", scale="small"))
    grown = with_tools(named, [Tool("new", "count things")], base)
    assert grown.catalog.ids == (*rows.catalog.ids, "new") and grown.bias == rows.bias
    assert torch.equal(grown.rows_SD[:-1], rows.rows_SD)
    assert grown.rows_SD[-1].norm() == pytest.approx(rows.rows_SD.shape[1] ** -0.5, abs=1e-5)
    with pytest.raises(InputError, match="has a row already"):
        with_tools(grown, [Tool("new", "again")], base)


def test_a_new_row_learns_from_texts_and_the_others_stand_still(tiny_base: Path, trained: Path) -> None:
    base, rows = load_base(str(tiny_base)), Toolkens.load(trained)
    shown = []
    for number in range(30):
        before = f"Q: what is the rest of {number}?\nA: {number} % 7 = "
        span = Span(len(before), len(before) + 1, "<modulo>", (str(number), "7"), str(number % 7))
        shown.append(AnnotatedText(f"m{number}", f"{before}{number % 7}.", (span,)))
    modulo = Tool("<modulo>", "modulo", "The rest of a division.")
    grown = with_tools(rows, [modulo], base, shown[:20])
    assert torch.equal(grown.rows_SD[:-1], rows.rows_SD)
    assert len(grown.demonstrations["<modulo>"]) == 4 and grown.demonstrations["<add>"]
    material = Material(grown.catalog, None, (*shown[:20], *texts()), (), tuple(shown[20:]))
    prepared = prepare(base, material, rows.base_checksum)
    assert figures(decide(prepared.states, prepared.test, grown.rows_SD), 0.0).tool_accuracy == 1.0
    with pytest.raises(InputError, match="No text calls the new tool '<power>'"):
        with_tools(rows, [modulo, Tool("<power>", "power")], base, shown)


def test_texts_are_divided_by_their_words(config: ToolkenConfig, tmp_path: Path) -> None:
    material = load_material(config.data)
    parts = [{text.id for text in part} for part in (material.train, material.validation, material.test)]
    assert sum(map(len, parts)) == 60 and not parts[0] & parts[1] and not parts[1] & parts[2]
    others = [AnnotatedText(f"n{text.id}", text.text, text.calls) for text in texts(20, seed=1)]
    again = [AnnotatedText(f"w{text.id}", *_with_other_numbers(text)) for text in texts()]
    write_texts(tmp_path / "more.jsonl", [*others, *texts(), *again])
    more = load_material(config.data.model_copy(update={"texts": tmp_path / "more.jsonl"}))
    test = {text.id for text in more.test}
    assert {name for name in test if name[0] == "t"} == parts[2], "a text stays where it is"
    assert {name[1:] for name in test if name[0] == "w"} == parts[2], "with other numbers it is the same text"
    few = few_a_tool(material.train, 3)
    called = [span.tool for text in few for span in text.calls]
    assert {tool: called.count(tool) for tool in set(called)} == {"<add>": 3, "<multiply>": 3}
    given = [AnnotatedText(text.id, text.text, text.calls, "train") for text in texts()]
    write_texts(tmp_path / "given.jsonl", given)
    with pytest.raises(InputError, match="part 'validation' of 60"):
        load_material(config.data.model_copy(update={"texts": tmp_path / "given.jsonl"}))


def _with_other_numbers(text: AnnotatedText) -> tuple[str, tuple[Span, ...]]:
    """The same text about other numbers of as many digits."""
    other = str.maketrans("0123456789", "1234567890")
    (span,) = text.calls
    return text.text.translate(other), (Span(span.start, span.end, span.tool),)


def test_queries_are_asked_as_texts(catalog: ToolCatalog) -> None:
    tool = next(iter(catalog.values()))
    text = asked(Query("q", "do it", (tool.id,)), catalog)
    assert text.text == f"Question: do it\nTool: {tool.title()}"
    assert text.text[text.calls[0].start :] == tool.title() and text.calls[0].tool == tool.id


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "either texts or queries"),
        ({"texts": "a", "queries": "b", "tools": "c"}, "either texts or queries"),
        ({"texts": "a"}, "either hub or tools"),
        ({"queries": "a", "hub": "gsm8k"}, "give tools"),
        ({"texts": "a", "hub": "abacus"}, "unknown hub 'abacus'; choose from funcqa, gsm8k, virtualhome"),
        ({"texts": "a", "hub": "gsm8k", "validation": 0.5, "test": 0.5}, "nothing to train on"),
    ],
)
def test_contradictions_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TextsConfig(**keys)


def test_long_texts_lose_their_beginning_or_are_refused(config: ToolkenConfig, tmp_path: Path) -> None:
    long = [AnnotatedText(text.id, "Well, " * 300 + text.text, tuple(_moved(text, 1800))) for text in texts()]
    write_texts(tmp_path / "long.jsonl", long)
    told = config.data.model_copy(update={"texts": tmp_path / "long.jsonl"})
    with pytest.raises(InputError, match="the model's context holds"):
        train_toolkens(config.model_copy(update={"data": told}))
    cut = config.model_copy(update={"data": told.model_copy(update={"max_tokens": 40})})
    train_toolkens(cut)
    report = read_json(config.output / "report.json")
    assert report["labels"] <= 60 * 40 and report["seeds"][0]["test"]["calls"] == report["texts"]["test"]


def _moved(text: AnnotatedText, by: int) -> Iterator[Span]:
    for span in text.calls:
        yield Span(span.start + by, span.end + by, span.tool, span.arguments, span.result)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_text_goes_on_as_it_should_read(name: str) -> None:
    tokenizer = ZOO[name]()
    before = encode_text(tokenizer, "The account has a bucket")
    for addition in (" in the account", ", and", "s"):
        ids = continuation_ids(tokenizer, before, addition)
        read = tokenizer.decode([*before, *ids])
        wanted = "The account has a bucket" + addition
        if tokenizer.unk_token_id not in (*before, *ids):
            assert "".join(read.replace("##", "").split()).lower() == "".join(wanted.split()).lower()
        if name in ("gpt2", "llama3", "qwen2", "llama2", "gemma"):
            assert read == wanted


@pytest.mark.parametrize("name", ["gpt2", "llama2", "minilm"])
def test_words_that_begin_with_a_blank_are_known(name: str) -> None:
    tokenizer = ZOO[name]()
    blank_V = blank_words(tokenizer, len(tokenizer) + 7)
    assert len(blank_V) == len(tokenizer) + 7 and not blank_V[-7:].any()
    first = {"minilm": encode_text(tokenizer, "name")[0]}.get(name, continuation_ids(tokenizer, [5], " the")[0])
    assert blank_V[first]
    inner = tokenizer.convert_tokens_to_ids("##s" if name == "minilm" else "s")
    assert not blank_V[inner]


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2", "llama2", "gemma", "arithmetic"])
@pytest.mark.parametrize("lead", [" ", ""])
def test_a_call_is_written_as_its_demonstration_shows_it(name: str, lead: str) -> None:
    tokenizer = arithmetic_tokenizer(400) if name == "arithmetic" else ZOO[name]()
    opening = opening_id(tokenizer)
    before = encode_text(tokenizer, f"so 12 + 30 ={lead}")
    ids, blank = without_blank(tokenizer, [*([] if opening is None else [opening]), *before])
    written = [*ids, *continuation_ids(tokenizer, ids, f"{' ' if blank else lead}<add>(")]
    shown = encode_text(tokenizer, f"so 12 + 30 ={lead}<add>(3")
    assert decode(tokenizer, written) == f"so 12 + 30 ={lead}<add>("
    # Without a blank a tokenizer may hold "=<" as one.
    assert not lead or shown[: len(written)] == written


def test_demonstrations_are_texts_up_to_a_call() -> None:
    shown = demonstrate(texts()[0], texts()[0].calls[0])
    assert shown.endswith(")") and shown.count("<") == 1 and "####" not in shown
    found = demonstrations(texts(), ["<add>", "<divide>"], most=3)
    assert len(found["<add>"]) == 3 and found["<divide>"] == []
    assert [len(text) for text in found["<add>"]] == sorted(len(text) for text in found["<add>"])


class _Scripted:
    """Has every stream write the same tokens, one after another."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self.ids = encode_text(tokenizer, text)
        self.asked: list[list[int]] = []

    def next_of(self, stream: Stream) -> tuple[int, float]:
        self.asked.append(list(stream.ids))
        return self.ids[(len(self.asked) - 1) % len(self.ids)], 0.0


def form(base: Base) -> ReplaceForm:
    hub = gsm8k()
    shown = {tool: ["3 and 4 are <add>(3, 4)"] for tool in hub.catalog.ids}
    return ReplaceForm(base.model, base.tokenizer, hub.catalog, shown, hub.read)


def test_arguments_are_written_behind_demonstrations(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_base(str(tiny_base))
    scripted = _Scripted(base.tokenizer, "12, 30) and more")
    where = form(base)
    text = Stream(base.model, encode_text(base.tokenizer, "so 12 + 30 ="))
    before = list(text.ids)
    monkeypatch.setattr(Stream, "best_word", lambda stream: scripted.next_of(stream))
    written = where.write(text, "<add>")
    assert written == Written("12, 30", ("12", "30"))
    assert text.ids == before, "the text itself stays as it is"
    read = base.tokenizer.decode(scripted.asked[0])
    assert "3 and 4 are <add>(3, 4)\n\nso 12 + 30 =" in read and read.endswith("<add>(")
    scripted.asked.clear()
    monkeypatch.setattr(scripted, "ids", encode_text(base.tokenizer, "twelve)"))
    assert "Expected a number at 'twelve'" in where.write(text, "<add>").fault
    scripted.asked.clear()
    monkeypatch.setattr(scripted, "ids", encode_text(base.tokenizer, "1"))
    assert "No closing bracket" in where.write(text, "<add>").fault


def test_results_stand_where_a_word_would(tiny_base: Path) -> None:
    base = load_base(str(tiny_base))
    text = Stream(base.model, encode_text(base.tokenizer, "so 12 + 30 ="))
    ids = form(base).stands(text, "<add>", Written("", ()), Observation(Status.OK, "42"))
    assert base.tokenizer.decode([*text.ids, *ids]).replace("= ", "=").endswith("=42")
    own = form(base).stands(text, "<add>", Written("", ()), Observation(Status.OK, " <computer>"))
    assert base.tokenizer.decode([*text.ids, *own]).endswith("= <computer>")


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("It is 5. #### 36", "36", True),
        ("36 of them, so 35.", "36", False),
        ("about 1,234.", "1234", True),
        ("$2.50", "2.5", True),
        ("2.001", "2", True),
        ("2.004", "2.00", True),
        ("2.01", "2", False),
        ("-3", "-3", True),
        ("nothing", "1", False),
        ("0.3936", "0.3936", True),
        ("1000999", "1000000", True),
    ],
)
def test_answers_are_compared_as_published(text: str, answer: str, right: bool) -> None:
    assert is_right(text, answer) is right


def test_problems_are_read_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "1+1?", "answer": 2}\n', encoding="utf-8")
    assert read_problems(path, "Q: {question} A:") == [Problem("1", "Q: 1+1? A:", "2")]
    with pytest.raises(InputError, match="no place for the question"):
        read_problems(path, "Q:")
    path.write_text('{"question": "1+1?", "answer": "two"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="'answer', a number"):
        read_problems(path, "{question}")


def test_a_solver_writes_with_tools_and_without(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Toolkens.load(trained)
    few = Solver(rows, rows.load_base())
    assert few.form is not None and "2 of 4 tools are not called, such as '<subtract>'" in capsys.readouterr().err
    mute = Toolkens(rows.catalog, rows.rows_SD, rows.base, rows.base_checksum, 0.0, rows.prior, "gsm8k")
    with pytest.raises(InputError, match="None of the 4 tools can be called"):
        Solver(mute, rows.load_base())
    shown = {tool: ["so it is <add>(1, 2)"] for tool in rows.catalog.ids}
    eager = Toolkens(rows.catalog, rows.rows_SD, rows.base, rows.base_checksum, 1e6, rows.prior, "gsm8k", shown)
    solver = Solver(eager, rows.load_base())
    monkeypatch.setattr(ReplaceForm, "write", lambda *_: Written("1, 2", ("1", "2")))
    text, done = solver.write("Q: what is 1 + 2?\nA: 1 + 2 =", Settings(most_tokens=8, most_calls=2))
    assert [call.executed for call in done.calls] == [True, True] and done.calls[0].observation.content in text
    alone, silent = solver.write("Q: what is 1 + 2?\nA: 1 + 2 =", Settings(most_tokens=8), tools=False)
    assert not silent.calls and alone != text
    solved = solver.solve([Problem("p", "Q: what is 1 + 2?\nA:", "77")], tools=True, settings=Settings(most_tokens=4))
    assert len(solved) == 1 and not solved[0].right
    figures = solver.fill_in([text for text in texts() if text.calls[0].tool == "<add>"], most=5)
    assert figures.calls == 5 and figures.executed == 1 and figures.exact == 0
    with pytest.raises(InputError, match="without a hub"):
        Solver(Toolkens(rows.catalog, rows.rows_SD, rows.base, rows.base_checksum, 0.0, rows.prior), rows.load_base())


def _run(arguments: Sequence[str]) -> Any:
    return CliRunner().invoke(app, ["toolken", *arguments])


def test_the_command_line_does_it_all(config: ToolkenConfig, tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "config.yaml"
    told = json.loads(config.model_dump_json())
    path.write_text(json.dumps(told), encoding="utf-8")
    done = _run(["train", "--config", str(path), "prior.kind=name", "seeds=[3]"])
    assert done.exit_code == 0 and "tool accuracy" in done.stdout, done.output
    final = config.output / "final"
    assert Toolkens.load(final).prior.kind == "name"
    ToolCatalog([Tool("<modulo>", "modulo", "The rest of a division.")]).to_jsonl(tmp_path / "new.jsonl")
    more = _run(["add", str(final), "--tools", str(tmp_path / "new.jsonl"), "--out", str(tmp_path / "more")])
    assert more.exit_code == 0 and len(Toolkens.load(tmp_path / "more").catalog) == 5
    write_texts(tmp_path / "calls.jsonl", [AnnotatedText("m", "7 % 4 = 3.", (Span(8, 9, "<modulo>", ("7", "4")),))])
    told = ["--tools", str(tmp_path / "new.jsonl"), "--texts", str(tmp_path / "calls.jsonl")]
    learned = _run(["add", str(final), *told, "--out", str(tmp_path / "learned")])
    assert learned.exit_code == 0, learned.output
    assert Toolkens.load(tmp_path / "learned").demonstrations["<modulo>"] == ["7 % 4 = <modulo>(7, 4)"]
    wrote = _run(["run", str(tmp_path / "more"), "--prompt", "what is 1 + 2?", "--most-tokens", "5"])
    assert wrote.exit_code == 0 and wrote.stdout.strip(), wrote.output
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "what is 1 + 2?", "answer": 3}\n', encoding="utf-8")
    told = ["--problems", str(problems), "--texts", str(tmp_path / "texts.jsonl"), "--most-tokens", "5"]
    measured = _run(["eval", str(final), *told, "--out", str(tmp_path / "eval.json")])
    assert measured.exit_code == 0, measured.output
    found = read_json(tmp_path / "eval.json")
    report = read_json(config.output / "report.json")
    assert found["arguments"]["calls"] == report["texts"]["test"], "texts that rows have seen are left out"
    assert found["with tools"]["problems"] == found["without tools"]["problems"] == 1
    assert found["without tools"]["calls"] == 0
    nothing = _run(["eval", str(final)])
    assert isinstance(nothing.exception, InputError) and "Nothing to measure" in str(nothing.exception)


def test_every_hub_has_rows(tiny_base: Path) -> None:
    base = load_base(str(tiny_base))
    for make in HUBS.values():
        catalog = make().catalog
        assert start_rows(Prior(kind="name", scale="small"), base, catalog).shape[0] == len(catalog)


@pytest.mark.parametrize("name", ["funcqa", "gsm8k", "metatool", "virtualhome"])
def test_every_configuration_finds_its_texts(name: str) -> None:
    shared = Path(os.environ.get("TOOLGEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    config = load_config(ToolkenConfig, ROOT / "configs" / "toolken" / f"{name}.yaml", [])
    named = {key: getattr(config.data, key) for key in ("texts", "queries", "tools")}
    paths = {key: shared / path.parent.name / path.name for key, path in named.items() if path is not None}
    if not all(path.exists() for path in paths.values()):
        pytest.skip(f"The data of {name} is absent; set TOOLGEN_SHARED_DATA to the folder that holds toolken/.")
    material = load_material(config.data.model_copy(update=paths))
    parts = material.train, material.validation, material.test
    called = [{span.tool for text in part for span in text.calls} for part in parts]
    assert called[0] and (called[1] | called[2]) <= set(material.catalog.ids)
    # A tool that is measured was seen, but for the rare words of a home.
    assert len(called[2] - called[0]) <= 0.1 * len(called[2])
    texts = [{text.text for text in part} for part in parts]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def _saved(folder: Path, kind: str) -> Path:
    """A random model of some architecture beside the tokenizer of its family."""
    tokenizer = ZOO[{"llama": "llama3", "qwen2": "qwen2", "gpt2": "gpt2"}[kind]]()
    common = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": None}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    torch.manual_seed(0)
    model: Any
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=256))
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**common, **layers))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**common, **layers, num_key_value_heads=2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _writing_meets_the_states_of_training(config: ToolkenConfig, rows: Toolkens) -> None:
    """A text that is written on token by token comes to a call in the state that its row learned from."""
    base, material = rows.load_base(), load_material(config.data)
    prepared = prepare(base, material, rows.base_checksum)
    opening, states = opening_id(base.tokenizer), prepared.states
    begun = [] if opening is None else [opening]
    for number, text in zip(prepared.test, material.test, strict=True):
        (call,) = text.calls
        (place,) = (place for place in states.places([number]).tolist() if states.labels_n[place] >= states.first_id)
        # A row wins where the model would write the blank before the result, if that is part of the result's token.
        before = text.text[: call.start]
        for written in (before, before.rstrip()):
            stream = Stream(base.model, begun + encode_text(base.tokenizer, written)[:-2])
            for token_id in encode_text(base.tokenizer, written)[-2:]:
                stream.extend([token_id])
            if torch.allclose(stream.state_D, torch.from_numpy(states.states_nD[place].copy()), atol=1e-4):
                break
        else:
            raise AssertionError(f"{text.id} is written in other states than it was learned in")


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_any_causal_model_serves(kind: str, config: ToolkenConfig, tmp_path: Path) -> None:
    name = str(_saved(tmp_path / kind, kind))
    final = train_toolkens(config.model_copy(update={"model": name, "seeds": (0,)}))
    report = read_json(config.output / "report.json")
    assert report["refused"] == 0 and report["test"]["tool_accuracy"] > 0.5
    rows = Toolkens.load(final)
    _writing_meets_the_states_of_training(config, rows)
    shown = {tool: ["so it is <add>(1, 2)"] for tool in rows.catalog.ids}
    eager = Toolkens(rows.catalog, rows.rows_SD, name, rows.base_checksum, 1e6, rows.prior, "gsm8k", shown)
    text, done = Solver(eager, rows.load_base()).write("1 + 2 =", Settings(most_tokens=4, tries=1, most_calls=1))
    assert done.calls[0].observation.status in (Status.BAD_ARGUMENTS, Status.OK) and text
