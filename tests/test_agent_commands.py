"""``toolgen agent`` and ``agent-eval``: what they print, what they refuse, and that nobody steers the terminal."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tiny_agent import TOOLS, Boxes, box_task, save_agent
from typer.testing import CliRunner

from toolgen.agent.environment import Observation, Status
from toolgen.agent.evaluation import evaluate
from toolgen.agent.loop import Turn
from toolgen.agent.machine import Written
from toolgen.agent.tasks.task import write_tasks
from toolgen.agent_commands import turn_lines
from toolgen.cli import app
from toolgen.errors import InputError
from toolgen.sources.botocore import import_catalog
from toolgen.tools import ToolCatalog

HOSTILE = "[bold red]x[/] [link=http://x]y[/link] \x1b[2J\x1b]0;title\x07 \u202eevil\x9b31m\r"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "150"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("command", ["agent", "agent-eval"])
def test_the_help_shows_an_example(command: str) -> None:
    assert f"Example: toolgen {command} --checkpoint runs/agent/final" in run(command, "--help")


def test_strangers_text_is_shown_as_it_stands_and_steers_nothing() -> None:
    seen = Observation(Status.OK, HOSTILE)
    turns = [
        Turn(HOSTILE, HOSTILE, Written(HOSTILE, {}), seen),
        Turn("", "Finish", Written("{}", {}), None, "answer", HOSTILE),
    ]
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system=None, width=200)
    for turn in turns:
        for line in turn_lines(1, turn):
            console.print(line, soft_wrap=True)
    text = shown.getvalue()
    assert text.count("[bold red]x[/] [link=http://x]y[/link] [2J]0;title evil31m") == 5
    assert not set(text) & set("\x1b\x07\x9b\u202e\r")


def test_an_agent_acts_in_aws_and_the_episode_is_written(tmp_path: Path) -> None:
    sqs = import_catalog(["sqs"])
    tools = ToolCatalog(sqs[f"sqs.{name}"] for name in ("ListQueues", "CreateQueue"))
    final = save_agent(tmp_path, tools, context=16384)
    asked = ("agent", "--checkpoint", final, "Make a queue.", "--turns", 2, "--device", "cpu")
    printed = run(*asked, "--services", "sqs", "--json", tmp_path / "episode.json")
    episode = json.loads((tmp_path / "episode.json").read_text())
    assert episode["query"] == "Make a queue." and 1 <= len(episode["turns"]) <= 3 and episode["tokens"]
    tried = [turn["tool"] for turn in episode["turns"] if turn["tool"] not in (None, "Finish")]
    assert all(f"    {tool}" in printed for tool in tried)
    assert ("its calls are used up" in printed) == (episode["ended"] == "turns")
    twice = run(*asked, "--attempts", 2)
    assert "attempt 1" in twice and ("attempt 2" in twice) == (episode["ended"] != "answer")
    for wrong, message in ((("--env", "moon"), "no environment 'moon'"), (("--services", "s4"), "s4")):
        with pytest.raises(InputError, match=message):
            run(*asked, *wrong)
    with pytest.raises(InputError, match="blank"):
        run("agent", "--checkpoint", final, " ")


def test_the_table_shows_each_kind_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = save_agent(tmp_path, ToolCatalog(TOOLS))
    write_tasks(tmp_path / "tasks.jsonl", [box_task(0, "a"), box_task(1, "b", "c", setup=("broken",))])
    keywords = evaluate.evaluate_agent.__kwdefaults__
    monkeypatch.setitem(keywords, "accounts", Boxes)
    options = ("--turns", 1, "--tokens", 40, "--device", "cpu", "--out", tmp_path / "out")
    printed = run("agent-eval", "--checkpoint", final, "--tasks", tmp_path / "tasks.jsonl", *options)
    for text in ("one call", "chained", "95% interval", "without an episode", "with invalid arguments", "missing 1"):
        assert text in printed, printed
    assert "missing: t1: RuntimeError: the account is broken" in printed
    with pytest.raises(InputError, match="cannot be unconstrained"):
        run(
            "agent-eval",
            "--checkpoint",
            final,
            "--tasks",
            "x",
            *options,
            "--tools-from",
            "bm25",
            "--unconstrained-tools",
        )
