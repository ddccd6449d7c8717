"""The agent's quickstart on two small services: the real job, from import to figures, interrupted on its way."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from toolgen.agent.loop import Budget
from toolgen.agent.tasks.task import read_tasks
from toolgen.agent.turns import FINISH
from toolgen.base import load_base
from toolgen.benchmarks import agent_quickstart, agent_recipe
from toolgen.benchmarks.agent_base import make_agent_base, tool_texts, train_unigram
from toolgen.benchmarks.agent_quickstart import run_agent_quickstart
from toolgen.benchmarks.agent_quickstart_figures import Costs
from toolgen.benchmarks.agent_recipe import AgentQuickstartConfig, TaskNumbers
from toolgen.benchmarks.decoder import Shape
from toolgen.checkpoint import Artefacts
from toolgen.cli import app
from toolgen.config import load_config, parse_config
from toolgen.errors import InputError
from toolgen.files import read_json, read_jsonl
from toolgen.tokenizer import encode_text
from toolgen.tools import ToolCatalog

CONFIG = AgentQuickstartConfig(
    services="sqs,secretsmanager",
    tasks=TaskNumbers(train=6, validation=2, test=4, held_out=2),
    shape=Shape(entries=600, width=64, layers=2, heads=2, inner=64, context=2048),
    upbringing=2,
    budget=Budget(turns=2, tokens=60, thought=8),
    controls_limit=2,
    workers=1,
    batch=2,
)
FEW_STEPS = ("training.epochs=1", "tracking.mode=disabled")


class Killed(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture(scope="module")
def few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(agent_recipe, "TASKS_A_FILE", 4)
        patched.setattr(agent_recipe, "_stage_config", partial(agent_recipe._stage_config, overrides=FEW_STEPS))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, few_steps: None) -> Path:
    """A run that was ended twice, in its third stage and in its third evaluation, and then went on."""
    folder = tmp_path_factory.mktemp("agent-quickstart") / "run"
    measure = agent_quickstart.evaluate_agent

    def no_stage(*_: Any) -> None:
        raise Killed

    def two_evaluations(checkpoint: Path, tasks: Path, target: Path, *rest: Any, **keys: Any) -> None:
        if target.name == "unconstrained":
            raise Killed
        measure(checkpoint, tasks, target, *rest, **keys)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(agent_quickstart.agent, "run", no_stage)
        run_agent_quickstart(folder, CONFIG)
    early = written(folder)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(agent_quickstart, "evaluate_agent", two_evaluations)
        run_agent_quickstart(folder, CONFIG)
    late = written(folder)
    run_agent_quickstart(folder, CONFIG)
    for before in (early, late):
        kept = {path: stamp for path, stamp in written(folder).items() if path in before}
        assert kept == before
    assert {path.split("/")[0] for path in early} >= {"tools.jsonl", "tasks", "base", "memorization", "retrieval"}
    assert set(late) - set(early) > {"agent/report.json", "evaluation/held-out-services/figures.json"}
    return folder


def written(folder: Path) -> dict[str, int]:
    """When each file was written, but for those that every run goes on writing."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != "costs.json"
    }


def test_the_figures_have_the_promised_shape(run: Path) -> None:
    figures = read_json(run / "figures.json")
    assert list(figures["controls"]) == ["unconstrained", "free arguments", "bm25", "untrained"]
    assert figures["one_call"]["n"] == figures["chained"]["n"] == 2
    assert figures["held_out_services"]["one_call"]["n"] == figures["held_out_services"]["chained"]["n"] == 1
    for line in figures["controls"].values():
        assert sum(kind["n"] for kind in line.values()) == CONFIG.controls_limit
    everything = {"agent": figures, "held-out": figures["held_out_services"], **figures["controls"]}
    for name, line in everything.items():
        for kind in (line[key] for key in ("one_call", "chained") if key in line):
            assert 0 <= kind["low"] <= kind["success"] <= kind["high"] <= 1 and kind["missing"] == 0
            # Nobody has learnt to name tools in so few steps.
            assert kind["hallucinated"] == (kind["made"] if name == "unconstrained" else 0) and kind["made"] > 0
            assert 0 <= kind["invalid"] <= kind["made"]
    assert figures["peak_gb"] > 0


def test_time_is_that_of_all_runs_and_of_each_step(run: Path) -> None:
    figures = read_json(run / "figures.json")
    steps = figures["minutes_by_step"]
    assert list(steps)[:6] == ["catalogue", "tasks", "base", "memorization", "retrieval", "agent"]
    assert list(steps)[6:8] == ["untrained", "evaluation: agent"] and len(steps) == 13
    assert all(minutes > 0 for minutes in steps.values())
    assert figures["minutes"] == pytest.approx(sum(steps.values()))
    costs = Costs(run / "costs.json")
    with costs.of("agent"):
        pass
    assert costs.seconds["agent"] > steps["agent"] * 60
    assert Costs(run / "costs.json").seconds == costs.seconds


def test_a_finished_run_redoes_nothing_and_shows_what_it_has(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = written(run)
    figures = run_agent_quickstart(run, CONFIG)
    assert written(run) == before and figures == read_json(run / "figures.json")
    shown = capsys.readouterr().out
    assert "held-out services" in shown and "free arguments" in shown
    assert f"--checkpoint {run}/agent/final" in shown and "Create a bucket named" in shown


def test_another_configuration_is_refused_but_for_how_many_episodes_run_at_a_time(run: Path) -> None:
    run_agent_quickstart(run, CONFIG.model_copy(update={"batch": 1, "workers": 2}))
    with pytest.raises(InputError, match=r"begun with another configuration: quickstart\.controls_limit differ"):
        run_agent_quickstart(run, CONFIG.model_copy(update={"controls_limit": 3}))
    with pytest.MonkeyPatch.context() as patched:
        slower = (*FEW_STEPS, "training.learning_rate=1e-4")
        patched.setattr(agent_recipe, "_stage_config", partial(agent_recipe._stage_config, overrides=slower))
        with pytest.raises(InputError, match=r"agent\.training differ"):
            run_agent_quickstart(run, CONFIG)


def test_tasks_are_apart_and_all_their_tools_are_there(run: Path) -> None:
    train = [task for part in ("train-0", "train-1") for task in read_tasks(run / "tasks" / f"{part}.jsonl.gz")]
    assert len(train) == 6 and len({task.id for task in train}) == 6
    validation, test, held_out = (
        read_tasks(run / "tasks" / f"{name}.jsonl.gz") for name in ("validation", "test", "held-out")
    )
    assert {task.split for task in train} == {"train"} and {task.split for task in validation} == {"validation"}
    assert {task.split for task in (*test, *held_out)} == {"test"}
    assert {name for task in (*train, *validation, *test) for name in task.services} == {"sqs"}
    assert {name for task in held_out for name in task.services} == {"secretsmanager"}
    assert sum(task.calls == 1 for task in test) == len(test) / 2
    artefacts = Artefacts.load(run / "agent" / "final")
    assert FINISH.id in artefacts.catalog and [entry["stage"] for entry in artefacts.history] == [
        "memorization",
        "retrieval",
        "agent",
    ]
    config = artefacts.history[-1]["config"]
    assert config["documents"] is False and [Path(path).name for path in config["trajectories"]] == [
        "train-0.jsonl.gz",
        "train-1.jsonl.gz",
    ]
    assert Artefacts.load(run / "untrained").history == ()
    limited = [record["id"] for record, _ in read_jsonl(run / "evaluation" / "bm25" / "episodes.jsonl")]
    assert len(limited) == 2 and set(limited) <= {task.id for task in test}


# ---- the base


@pytest.fixture(scope="module")
def texts() -> list[str]:
    from toolgen.sources.botocore import import_catalog

    return tool_texts(ToolCatalog([*import_catalog(["sqs"]).values(), FINISH]))


def test_names_are_cut_alike_wherever_they_stand(texts: list[str]) -> None:
    tokenizer = train_unigram(texts, 600)
    name = encode_text(tokenizer, "Amber-river20")
    for before, after in (("named ", " now"), ('{"QueueName": "', '" }'), ("(", " )"), ("\n", "\n")):
        ids = encode_text(tokenizer, f"{before}Amber-river20{after}")
        places = [place for place in range(len(ids)) if ids[place : place + len(name)] == name]
        assert places, before
    assert tokenizer.convert_ids_to_tokens(name)[-2:] == ["2", "0"]


@pytest.mark.parametrize(
    "text", ["two  blanks", " tab\tand\nlines ", "é → 漢字 🙂", '{"A": ["b"]}', "Case KEPT", "</x>"]
)
def test_every_text_comes_back(texts: list[str], text: str) -> None:
    tokenizer = train_unigram(texts, 600)
    assert tokenizer.decode(encode_text(tokenizer, text)) == text


def test_a_base_is_loaded_like_any_other_and_the_same_each_time(texts: list[str], tmp_path: Path) -> None:
    shape = CONFIG.shape
    first, second = (load_base(str(make_agent_base(tmp_path / name, texts, shape, 2, 3))) for name in "ab")
    assert first.model.config.max_position_embeddings == 2048 and len(first.tokenizer) == 600
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    assert all((one == two).all() for one, two in zip(first.model.parameters(), second.model.parameters(), strict=True))
    for entries in (300, 100_000):
        with pytest.raises(InputError, match=f"shape.entries is {entries}"):
            make_agent_base(tmp_path / "none", texts, Shape(entries=entries), 2, 0)
    with pytest.raises(InputError, match="3 heads"):
        make_agent_base(tmp_path / "none", texts, Shape(entries=600, width=32, heads=3), 2, 0)
    assert not (tmp_path / "none").exists()


# ---- what it is told


def test_faults_of_the_configuration_are_named() -> None:
    values = CONFIG.model_dump(mode="json")
    for changes, fault in (
        ({"shape": {**values["shape"], "depth": 2}}, r"shape\.depth"),
        ({"budget": {"turn": 2}}, r"budget\.turn"),
        ({"tasks": {**values["tasks"], "train": 0}}, r"tasks\.train"),
        ({"services": "sqs,moon"}, "'services'.*no tasks for 'moon'"),
        ({"services": "secretsmanager"}, "'services'.*a service to train on"),
    ):
        with pytest.raises(InputError, match=fault):
            parse_config(AgentQuickstartConfig, {**values, **changes}, "a test")


def test_the_command_runs_what_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Path] = []
    monkeypatch.setattr(agent_quickstart, "run_agent_quickstart", told.append)
    assert CliRunner().invoke(app, ["quickstart", "--agent"]).exit_code == 0
    assert CliRunner().invoke(app, ["quickstart", "--agent", "--out", str(tmp_path)]).exit_code == 0
    assert told == [Path("runs/quickstart-agent"), tmp_path]
    refused = CliRunner().invoke(app, ["quickstart", "--agent", "--seeds", "2"])
    assert isinstance(refused.exception, InputError) and "--seeds is 2" in str(refused.exception)
    path = Path(__file__).parent.parent / "configs" / "quickstart_agent.yaml"
    config = load_config(AgentQuickstartConfig, path)
    assert len(config.held_out) == 5 and not set(config.held_out) & set(config.seen)
