"""Agents measured on tasks: figures, what is missing, resumption, processes that break, and the controls."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_agent import BROKEN, DEADLY, TOOLS, Boxes, box_task, save_agent

from toolgen.agent import load
from toolgen.agent.arguments import FreeWriter
from toolgen.agent.environment import Environment, Observation, Status
from toolgen.agent.evaluation import evaluate, running
from toolgen.agent.evaluation.episodes import figures_by_kind, figures_by_service, made_calls
from toolgen.agent.evaluation.evaluate import EPISODES, EVALUATION, FIGURES, EpisodeFile, Evaluation
from toolgen.agent.load import AgentSettings, LoadedAgent, load_agent, shows_documents
from toolgen.agent.loop import Attempts, Budget, Outcome, Turn
from toolgen.agent.machine import Written
from toolgen.agent.tasks.task import write_tasks
from toolgen.agent.turns import FINISH
from toolgen.benchmarks.bm25 import BM25Retriever
from toolgen.errors import InputError
from toolgen.files import read_json, read_jsonl
from toolgen.tools import ToolCatalog

SHORT = Budget(turns=2, tokens=300, thought=4)
TASKS = [box_task(0, "a"), box_task(1, "b"), box_task(2, "c", "d"), box_task(3, "e", "f", setup=("g",))]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_agent(tmp_path_factory.mktemp("agent"), ToolCatalog(TOOLS))


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl.gz"
    write_tasks(path, TASKS)
    return path


class Doing:
    """An agent that does what somebody says for a query; ``run_all`` lets go of rows in another order."""

    def __init__(self, plans: dict[str, tuple[str, ...]]) -> None:
        self.plans, self.ran = plans, list[str]()

    def run(self, query: str, environment: Environment) -> Outcome:
        self.ran.append(query)
        environment.reset()
        turns = []
        for name in self.plans[query]:
            seen = environment.call("box.Make", {"Name": name})
            turns.append(Turn("hm", "box.Make", Written(json.dumps({"Name": name}), {"Name": name}), seen))
        end = Turn("", FINISH.id, Written("{}", {}), None, "answer", "Done.")
        return Outcome(query, (*turns, end), (), 10 * len(turns), 1)

    def run_all(self, jobs: Iterable[tuple[str, Environment]], batch: int) -> Iterator[tuple[int, Outcome]]:
        numbered, held = enumerate(jobs), list[tuple[int, tuple[str, Environment]]]()
        while True:
            while len(held) < batch and (drawn := next(numbered, None)) is not None:
                held.append(drawn)
            if not held:
                return
            number, (query, environment) = held.pop()
            yield number, self.run(query, environment)


def plans(**changes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What the references do, but for some tasks."""
    right = {task.id: tuple(step.arguments["Name"] for step in task.reference.calls) for task in TASKS}
    return {task.query: (right | changes)[task.id] for task in TASKS}


def evaluated(
    monkeypatch: pytest.MonkeyPatch, agent: Doing, checkpoint: Path, tasks: Path, out: Path, **keys: Any
) -> Evaluation:
    loaded = LoadedAgent(agent, ToolCatalog(TOOLS))  # type: ignore[arg-type]
    monkeypatch.setattr(running, "load_agent", lambda *_, **__: loaded)
    return evaluate.evaluate_agent(checkpoint, tasks, out, accounts=Boxes, **keys)


# ---- figures


def line(success: bool, calls: float, turns: list[tuple[str | None, str | None]], **score: int) -> dict[str, Any]:
    scored = {"success": success, "calls": calls, "arguments": calls / 2, "invalid": 0, "hallucinated": 0, **score}
    made = [{"thought": "", "tool": tool, "arguments": "", "status": seen, "observation": ""} for tool, seen in turns]
    ended = "answer" if turns[-1][0] else "turns"
    return {"turns": made, "ended": ended, "answer": None, "tokens": 100 * len(turns), "attempts": 1, "score": scored}


def test_figures_are_right_and_missing_episodes_are_failures() -> None:
    episodes = {
        "t0": line(True, 1.0, [("box.Make", "ok"), (FINISH.id, None)]),
        "t2": line(True, 1.0, [("x", "unknown tool"), ("y", "bad arguments"), (None, None)], invalid=1, hallucinated=1),
        "t3": line(False, 0.5, [("box.Make", "ok"), (FINISH.id, "bad arguments"), (FINISH.id, None)], invalid=1),
    }
    found = figures_by_kind(TASKS, episodes)
    assert list(found) == ["one call", "chained", "all"]
    one, chained, all_ = found.values()
    assert (one.tasks, one.missing, one.success, one.calls, one.arguments) == (2, 1, 0.5, 0.5, 0.25)
    assert one.low == 0 and one.high == 1 and one.ended == {"answer": 1, "missing": 1}
    assert (chained.success, chained.calls, chained.made, chained.hallucinated) == (0.5, 0.75, 4, 1)
    assert (chained.invalid, chained.invalid_a_call, chained.ended) == (2, 0.5, {"answer": 1, "turns": 1})
    assert (all_.turns, all_.tokens, all_.missing) == ((2 + 2 + 3) / 3, (200 + 300 + 300) / 3, 1)
    services = figures_by_service(TASKS, episodes)
    assert {name: figures.tasks for name, figures in services.items()} == {"bag": 2, "box": 4}
    assert services["box"].success == all_.success == 0.5
    nothing = figures_by_kind(TASKS[:1], {})["all"]
    assert (nothing.success, nothing.high, nothing.turns, nothing.ended) == (0, 0, None, {"missing": 1})


def test_calls_that_never_reached_the_environment_count() -> None:
    bad = Observation(Status.BAD_ARGUMENTS, "no JSON")
    turns = (
        Turn("", "box.Make", Written("{", None, "no JSON"), bad),
        Turn("", "box.Make", None, None, "context"),
    )
    (made,) = made_calls(Outcome("q", turns, (), 1, 1))
    assert (made.tool, made.arguments, made.observation) == ("box.Make", None, bad)


# ---- the folder


def test_a_folder_is_gone_on_with_after_a_kill(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tasks: Path, tmp_path: Path
) -> None:
    out, agent = tmp_path / "out", Doing(plans(t1=("wrong",)))
    first = evaluated(monkeypatch, agent, checkpoint, tasks, out, batch=3)
    assert first.kinds["all"].success == 0.75 and first.kinds["chained"].success == 1 and not first.missing
    assert len(agent.ran) == 4 and first.kinds["all"].calls == 1 and first.kinds["all"].arguments == 0.75
    lines = (out / EPISODES).read_bytes().splitlines(keepends=True)
    whole = read_json(out / FIGURES)
    for cut in (len(lines[2]) // 2, 1, 0):
        agent.ran.clear()
        (out / EPISODES).write_bytes(b"".join(lines[:2]) + lines[2][:cut])
        evaluated(monkeypatch, agent, checkpoint, tasks, out)
        assert len(agent.ran) == 2
        assert sorted(record["id"] for record, _ in read_jsonl(out / EPISODES)) == ["t0", "t1", "t2", "t3"]
        assert read_json(out / FIGURES) == whole
    agent.ran.clear()
    evaluated(monkeypatch, agent, checkpoint, tasks, out)
    assert not agent.ran
    (record,) = (record for record, _ in read_jsonl(out / EPISODES) if record["id"] == "t2")
    assert [turn["tool"] for turn in record["turns"]] == ["box.Make", "box.Make", FINISH.id]
    assert record["turns"][1]["arguments"] == '{"Name": "d"}' and record["score"]["success"]
    assert record["turns"][1]["observation"] == '{"Names": ["c", "d"]}' and record["turns"][1]["status"] == "ok"


def test_another_evaluation_is_refused(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tasks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = partial(evaluated, monkeypatch, Doing(plans()), out=out)
    run(checkpoint=checkpoint, tasks=tasks)
    with pytest.raises(InputError, match="begun with another arguments"):
        run(checkpoint=checkpoint, tasks=tasks, settings=AgentSettings(arguments="free"))
    with pytest.raises(InputError, match="begun with another tasks"):
        run(checkpoint=checkpoint, tasks=tasks, limit=2)
    other = save_agent(tmp_path / "other", ToolCatalog(TOOLS), history=({"stage": "x", "config": {}},))
    with pytest.raises(InputError, match="begun with another checkpoint"):
        run(checkpoint=other, tasks=tasks)
    with EpisodeFile(out, read_json(out / EVALUATION)), pytest.raises(InputError, match="in use by another run"):
        run(checkpoint=checkpoint, tasks=tasks)
    (out / EVALUATION).unlink()
    with pytest.raises(InputError, match="says of what"):
        run(checkpoint=checkpoint, tasks=tasks)


def test_some_tasks_are_drawn_and_a_task_beyond_the_catalogue_is_refused(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tasks: Path, tmp_path: Path
) -> None:
    drawn = [evaluate.drawn_tasks(TASKS, limit, 1) for limit in (1, 2, 3, 9, None)]
    assert [len(some) for some in drawn] == [1, 2, 3, 4, 4]
    assert all([task for task in more if task in some] == some for some, more in zip(drawn, drawn[1:], strict=False))
    write_tasks(tasks, [*TASKS, box_task(4, "h", setup=("i",))])
    done = evaluated(monkeypatch, Doing(plans()), checkpoint, tasks, tmp_path / "1", limit=1, seed=1)
    assert done.kinds["all"].tasks == 1
    fewer = save_agent(tmp_path / "fewer", ToolCatalog(TOOLS[1:]))
    with pytest.raises(InputError, match=r"needs the tool 'box\.Make'"):
        evaluated(monkeypatch, Doing(plans()), fewer, tasks, tmp_path / "2")
    with pytest.raises(InputError, match="workers is 0"):
        evaluated(monkeypatch, Doing(plans()), checkpoint, tasks, tmp_path / "3", workers=0)


# ---- what breaks


def test_what_breaks_takes_only_its_own_episode_with_it(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tasks: Path, tmp_path: Path
) -> None:
    agent = Doing(plans(t2=("c", BROKEN)))
    done = evaluated(monkeypatch, agent, checkpoint, tasks, tmp_path / "out", batch=3)
    assert done.missing == {"t2": "RuntimeError: the account is broken"}
    assert done.kinds["one call"].success == 1 and done.kinds["chained"].success == 0.5
    assert done.kinds["all"].missing == 1 and read_json(tmp_path / "out" / FIGURES)["missing"] == dict(done.missing)
    agent.plans = plans()
    agent.ran.clear()
    again = evaluated(monkeypatch, agent, checkpoint, tasks, tmp_path / "out")
    assert agent.ran == [TASKS[2].query] and again.kinds["all"].success == 1


def test_an_error_that_no_task_has_made_is_raised(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tasks: Path, tmp_path: Path
) -> None:
    agent = Doing(plans())
    monkeypatch.setattr(agent, "run_all", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluated(monkeypatch, agent, checkpoint, tasks, tmp_path / "out")


def test_processes_share_the_tasks_and_one_may_be_lost(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    write_tasks(path, [box_task(0, "a"), box_task(1, "b", setup=(DEADLY,)), box_task(2, "c"), box_task(3, "d")])
    done = evaluate.evaluate_agent(
        checkpoint,
        path,
        tmp_path / "out",
        AgentSettings(budget=Budget(turns=1, thought=2)),
        workers=2,
        batch=1,
        device="cpu",
        accounts=Boxes,
    )
    # Whoever got the deadly task is gone; the other one has done the rest.
    assert done.missing == {"t1": "its process ended with exit code 3"}
    assert done.kinds["all"].tasks == 4 and done.kinds["all"].ended["missing"] == 1
    with pytest.raises(InputError, match="not a toolgen checkpoint"):
        job = running.Job(tmp_path, AgentSettings(), [TASKS[0], TASKS[1]], Boxes, 1)
        list(job.run(workers=2))


# ---- the agent of a checkpoint


def test_whatever_a_constrained_agent_says_is_valid(checkpoint: Path, tasks: Path, tmp_path: Path) -> None:
    run = partial(evaluate.evaluate_agent, checkpoint, tasks, device="cpu", accounts=Boxes)
    done = run(tmp_path / "1", AgentSettings(budget=SHORT, attempts=Attempts(2)), batch=2)
    figures = done.kinds["all"]
    assert figures.missing == figures.hallucinated == figures.invalid == 0 and figures.made
    told = read_json(tmp_path / "1" / FIGURES)
    assert told["attempts"]["most"] == 2 and told["kinds"]["all"]["tasks"] == 4
    front = run(tmp_path / "2", AgentSettings(retriever=BM25Retriever, hits=9, budget=SHORT), limit=1)
    assert front.kinds["all"].missing == 0 and read_json(tmp_path / "2" / EVALUATION)["retriever"] == "BM25Retriever"


def test_without_constraints_hallucinations_and_invalid_calls_are_counted(
    checkpoint: Path, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "FreeWriter", partial(FreeWriter, most_tokens=6))
    run = partial(evaluate.evaluate_agent, checkpoint, tasks, device="cpu", accounts=Boxes, limit=2)
    free = run(tmp_path / "1", AgentSettings(constrained=False, budget=SHORT)).kinds["all"]
    assert free.hallucinated == free.made > 0 and free.hallucinated_a_call == 1
    assert free.calls == 0 and free.invalid == 0
    episodes = [record for record, _ in read_jsonl(tmp_path / "1" / EPISODES)]
    assert {turn["status"] for one in episodes for turn in one["turns"]} == {"unknown tool", None}
    loose = run(tmp_path / "2", AgentSettings(arguments="free", budget=SHORT)).kinds["all"]
    assert loose.invalid == loose.made > 0 and loose.hallucinated == 0
    both = run(tmp_path / "3", AgentSettings(constrained=False, arguments="free", budget=SHORT)).kinds["all"]
    assert both.hallucinated == both.made > 0


def test_an_agent_is_loaded_as_it_was_trained(checkpoint: Path, tmp_path: Path, untrained: Path) -> None:
    assert shows_documents(())
    trained = [{"stage": "agent", "config": {"documents": False}}, {"stage": "retrieval", "config": {}}]
    assert not shows_documents(trained) and shows_documents(
        [*trained, {"stage": "agent", "config": {"documents": True}}]
    )
    loaded = load_agent(checkpoint, groups=["box"], device="cpu")
    assert loaded.tools.ids == ("box.Make", "box.Drop")
    with pytest.raises(InputError, match="has no tool 'Finish'"):
        load_agent(untrained)
    with pytest.raises(InputError, match="bags"):
        load_agent(checkpoint, groups=["bags"])
    with pytest.raises(InputError, match="cannot be unconstrained"):
        AgentSettings(retriever=BM25Retriever, constrained=False)
    with pytest.raises(InputError, match="turns is 0"):
        AgentSettings(budget=Budget(turns=0))
