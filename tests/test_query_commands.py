"""``toolgen queries``: what is written, what is printed, what is refused."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Reply, endpoint, good
from test_cli import refused, run

from toolgen.endpoint import KEY_VARIABLE
from toolgen.queries import read_queries
from toolgen.tools import ToolCatalog


@pytest.fixture
def tools(tmp_path: Path, catalog: ToolCatalog) -> Path:
    path = tmp_path / "tools.jsonl"
    catalog.to_jsonl(path)
    return path


def test_synthesised_queries_are_a_file_that_can_be_read_and_trained_on(
    tools: Path, tmp_path: Path, catalog: ToolCatalog
) -> None:
    first, second = tmp_path / "1.jsonl.gz", tmp_path / "2.jsonl.gz"
    asked = ("queries", "synthesize", "--tools", tools, "--per-tool", 3, "--joined-per-tool", 1, "--seed", 5)
    printed = run(*asked, "--joined-within", "group=1,catalogue=2", "--out", first)
    run(*asked, "--joined-within", "group=1,catalogue=2", "--out", second)
    made = read_queries(first, catalog)
    assert made == read_queries(second, catalog)
    assert "vague" in printed and "joined catalogue" in printed and f"{len(made)}" in printed
    alone = Counter(tool for query in made if query.metadata["style"] != "joined" for tool in query.tools)
    within = Counter(
        (q.metadata.get("within"), tool) for q in made if q.metadata["style"] == "joined" for tool in q.tools
    )
    assert alone == dict.fromkeys(catalog, 3)
    assert within == {(scope, tool): n for scope, n in ((None, 1), ("group", 1), ("catalogue", 2)) for tool in catalog}


def test_the_styles_are_chosen(tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.jsonl"
    run("queries", "synthesize", "--tools", tools, "--styles", "short=1,long=1", "--out", out)
    assert {query.metadata["style"] for query in read_queries(out)} == {"short", "long"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--per-tool", 0), "nothing to make"),
        (("--styles", "fancy"), "short=1"),
        (("--joined-within", "tool=1"), "group=1"),
        (("--joined-within", "category=1", "--tools", "none.jsonl"), "none.jsonl"),
    ],
)
def test_bad_wishes_are_refused(tools: Path, tmp_path: Path, arguments: tuple[object, ...], part: str) -> None:
    message = refused("queries", "synthesize", "--tools", tools, "--out", tmp_path / "q.jsonl", *arguments)
    assert part in message and not (tmp_path / "q.jsonl").exists()


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no key of the machine's own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def asking(tools: Path, url: str, out: Path) -> tuple[object, ...]:
    return ("queries", "generate", "--tools", tools, "--url", url, "--model", "m", "--kind", "I1", "--out", out)


@pytest.mark.usefixtures("direct")
def test_generated_queries_are_written_and_counted(
    tools: Path, tmp_path: Path, catalog: ToolCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, key = tmp_path / "q.jsonl.gz", "sk-a-key-that-nobody-may-see"
    with endpoint(good) as asked:
        printed = run(
            *asking(tools, asked.url, out), "--count", 6, "--price-in", 10, "--price-out", 100, "--rate", 6000
        )
        assert "12 queries of 6 samples; 6 answers asked for now took 600 + 120" in printed and "0.02." in printed
        assert f"{KEY_VARIABLE} is not set" in printed
        first = read_queries(out, catalog)
        assert len(first) == 12 and {query.metadata["kind"] for query in first} == {"I1"}
        monkeypatch.setenv(KEY_VARIABLE, key)
        again = run(*asking(tools, asked.url, out), "--count", 6)
        assert "0 answers asked for now" in again and read_queries(out, catalog) == first and len(asked) == 6
        run(
            *asking(tools, asked.url, tmp_path / "more.jsonl"), "--count", 2, "--answers", f"{out}.answers", "--seed", 1
        )
    assert len(read_queries(tmp_path / "more.jsonl")) == 4
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(texts) > 8 and not [text for text in texts if key.encode() in text] and key not in again


@pytest.mark.usefixtures("direct")
def test_a_dry_run_prints_prompts_and_costs_and_asks_nothing(tools: Path, tmp_path: Path) -> None:
    with endpoint(good) as asked:
        wish = (*asking(tools, asked.url, tmp_path / "q.jsonl"), "--count", 1000, "--dry-run")
        printed = run(*wish, "--price-in", 1, "--price-out", 1)
        assert "<operations>" in printed and printed.count("prompt 2, user") == 1 and "prompt 3" not in printed
        assert "1,000 prompts" in printed and "1,100,000 to receive" in printed and "at these prices" in printed
        assert "prices" not in run(*wish) and not len(asked) and not list(tmp_path.glob("q.jsonl*"))


@pytest.mark.usefixtures("direct")
def test_nothing_usable_is_an_error_and_a_part_is_told(tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.jsonl"
    with endpoint(lambda number, body: Reply("No.")) as asked:
        assert "Not one usable query" in refused(*asking(tools, asked.url, out), "--count", 2)
        assert not out.exists()
    with endpoint(
        lambda number, body: Reply(status=400, raw="[red]no") if number == 0 else good(number, body)
    ) as asked:
        printed = run(*asking(tools, asked.url, tmp_path / "2.jsonl"), "--count", 2, "--concurrency", 1)
        assert "samples without an answer: 1 x status 400: [red]no" in printed and "same command again" in printed


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--url", "nowhere"), "http://localhost:8000/v1"),
        (("--rate", -1), "rate is -1"),
        (("--kind", "I2"), "or take I1."),
        (("--tools", "none.jsonl"), "none.jsonl"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(tmp_path: Path, arguments: tuple[object, ...], part: str) -> None:
    tools = tmp_path / "tools.jsonl"
    tools.write_text('{"id": "a", "name": "a"}\n{"id": "b", "name": "b"}\n')
    assert part in refused(*asking(tools, "http://localhost:9/v1", tmp_path / "q"), "--count", 1, *arguments)


def test_an_interrupted_command_says_how_to_go_on(tools: Path, tmp_path: Path, catalog: ToolCatalog) -> None:
    out = tmp_path / "q.jsonl"
    done, stop = threading.Event(), threading.Event()

    def slow(number: int, body: dict[str, Any]) -> Reply:
        if number == 3:
            done.set()
            stop.wait(600)
        return good(number, body)

    with endpoint(slow) as asked:
        wish = [str(word) for word in (*asking(tools, asked.url, out), "--count", 6, "--concurrency", 1)]
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", KEY_VARIABLE: "k"}
        running = subprocess.Popen(
            [sys.executable, "-m", "toolgen", *wish],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # A shell has its background jobs ignore the signal, and these tests may be part of one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert done.wait(600)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=600)
        stop.set()
        assert running.returncode == 130 and "same command again" in said and "Traceback" not in said
        assert not out.exists() and len(list(Path(f"{out}.answers").iterdir())) == 3
        subprocess.run([sys.executable, "-m", "toolgen", *wish], check=True, capture_output=True, env=environment)
        assert len(read_queries(out, catalog)) == 12 and len(asked) == 4 + 3
