"""Functions that run in a worker: what a catalogue says of them, and every fault as an observation that leaves the next
call whole."""

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgen.agent.environment import Environment, Status
from toolgen.agent.environments.functions import FunctionEnvironment
from toolgen.agent.environments.worker import MOST_ARGUMENTS, Limits
from toolgen.errors import InputError
from toolgen.sources.callables import read_docstring

NAMES = (
    "count", "echo", "typed", "more", "where", "sleep", "spin", "stop", "deaf", "raising", "unspeakable", "recurse",
    "overflow", "leave", "leave_at_once", "interrupt", "killed", "segfault", "aborted", "hoard", "one_large_piece",
    "thing", "nan", "cycle", "deep", "half_a_character", "no_utf8", "huge", "huge_list", "noisy", "fork",
    "fork_and_stay", "garbage", "false_answer", "flood", "hang_up", "later", "fragile",
)  # fmt: skip
MOST = 1000


def path(name: str) -> str:
    return f"faulty_functions:{name}"


@pytest.fixture(scope="module")
def world() -> Iterator[FunctionEnvironment]:
    # A second is plenty for what should work; the machine may be busy.
    with FunctionEnvironment([path(name) for name in NAMES], Limits(20, 512, MOST)) as environment:
        yield environment


@pytest.fixture(scope="module")
def hasty() -> Iterator[FunctionEnvironment]:
    names = ("sleep", "spin", "stop", "deaf", "echo")
    with FunctionEnvironment([path(name) for name in names], Limits(0.5, 512, MOST)) as environment:
        yield environment


def test_a_catalogue_is_made_of_signatures_and_docstrings(world: FunctionEnvironment) -> None:
    check: Environment = world
    assert check.catalog.ids == tuple(path(name) for name in NAMES)
    tool = world.catalog[path("count")]
    assert (tool.name, tool.description) == ("count", "Count up.")
    assert (tool.group, tool.source) == ("faulty_functions", "python")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "step": {
                "type": "integer",
                "default": 1,
                "description": "How far; what was counted before stays counted.",
            }
        },
        "additionalProperties": False,
    }
    typed = world.catalog[path("typed")].parameters
    assert typed and typed["required"] == ["text", "size", "kind"]
    assert typed["properties"]["kind"] == {"enum": ["a", "b"], "type": "string"}


def test_docstrings_are_read() -> None:
    assert read_docstring("") == ("", {})
    assert read_docstring("One.\n\nTwo: three.") == ("One.\n\nTwo: three.", {})
    text = "Says.\n\nArgs:\n    a (int): First: of\n        all.\n    b: Second.\n\nReturns:\n    c: No argument."
    assert read_docstring(text) == ("Says.", {"a": "First: of all.", "b": "Second."})


def test_a_worker_lasts_until_the_task_ends(world: FunctionEnvironment) -> None:
    world.reset()
    assert [world.call(path("count"), {"step": 2}).content for _ in range(3)] == ["2", "4", "6"]
    assert world.call(path("raising"), {}).status is Status.FAILED
    assert world.call(path("count"), {"step": "2"}).status is Status.BAD_ARGUMENTS
    assert world.call(path("nan"), {}).status is Status.MALFORMED
    assert world.call(path("count"), {}).content == "7"
    world.reset()
    assert world.call(path("count"), {}).content == "1"


def test_a_worker_has_a_folder_of_its_own_and_none_of_our_secrets(
    world: FunctionEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for _ in range(2):
        world.reset()
        assert world.call(path("where"), {}).content == '[["left"],false,true]'


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("typed", {}, "text: Missing required argument; size: Missing required argument"),
        ("typed", {"text": 1, "size": "2", "kind": "c"}, "text: Input should be a valid string"),
        ("typed", {"text": "", "size": 1, "kind": "a", "extra": 1}, "extra: Unexpected keyword argument"),
        ("typed", ["text"], "given by name"),
        ("echo", {"value": math.nan}, "no JSON"),
        ("echo", {"value": {1, 2}}, "no JSON"),
        ("echo", {"value": "x" * MOST_ARGUMENTS}, "at most 1,000,000"),
        ("more", {"one": 1, "two": "2"}, "two: Input should be a valid integer"),
    ],
)
def test_arguments_that_a_function_does_not_take(
    world: FunctionEnvironment, name: str, arguments: Any, message: str
) -> None:
    made = world.call(path(name), arguments)
    assert made.status is Status.BAD_ARGUMENTS and message in made.content


def test_a_tool_that_is_not_there(world: FunctionEnvironment) -> None:
    assert world.call("os:remove", {"path": "x"}).status is Status.UNKNOWN_TOOL


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("raising", Status.FAILED, "LookupError: no such order"),
        ("unspeakable", Status.FAILED, "Mute"),
        ("recurse", Status.FAILED, "RecursionError"),
        ("overflow", Status.FAILED, "RecursionError"),
        ("leave", Status.CRASHED, "SystemExit: 3"),
        ("leave_at_once", Status.CRASHED, "exit code 7"),
        ("interrupt", Status.CRASHED, "KeyboardInterrupt"),
        ("killed", Status.CRASHED, "SIGKILL"),
        ("segfault", Status.CRASHED, "SIGSEGV"),
        ("aborted", Status.CRASHED, "SIGABRT"),
        ("hoard", Status.OUT_OF_MEMORY, "more memory than it may have"),
        ("one_large_piece", Status.OUT_OF_MEMORY, "more memory than it may have"),
        ("thing", Status.MALFORMED, "not JSON serializable"),
        ("nan", Status.MALFORMED, "not JSON compliant"),
        ("cycle", Status.MALFORMED, "Circular reference"),
        ("deep", Status.MALFORMED, "RecursionError"),
        ("half_a_character", Status.MALFORMED, "surrogates not allowed"),
        ("no_utf8", Status.MALFORMED, "bytes is not JSON serializable"),
        ("huge", Status.OK, f"x... ({3_000_000 - MOST:,} characters more were left out)"),
        ("huge_list", Status.OK, "characters more were left out)"),
        ("noisy", Status.OK, "quiet"),
        ("fork", Status.OK, "parent"),
        ("fork_and_stay", Status.OK, "parent"),
        ("garbage", Status.MALFORMED, "no answer"),
        ("false_answer", Status.MALFORMED, "no answer"),
        ("flood", Status.MALFORMED, "longer than"),
        ("hang_up", Status.CRASHED, "process"),
        ("fragile", Status.OK, "whole"),
    ],
)
def test_every_fault_is_an_observation_and_the_next_call_works(
    world: FunctionEnvironment, name: str, status: Status, message: str
) -> None:
    made = world.call(path(name), {})
    assert made.status is status and message in made.content
    assert len(made.content) < MOST + 200
    made.content.encode()
    if status in (Status.CRASHED, Status.OUT_OF_MEMORY):
        assert made.content.endswith("What earlier calls left behind is gone.")
    assert world.call(path("echo"), {"value": [name, 1.5, None]}).content == f'["{name}",1.5,null]'


@pytest.mark.parametrize("name", ["sleep", "spin", "stop", "deaf"])
def test_what_takes_too_long_is_stopped_and_the_next_call_works(hasty: FunctionEnvironment, name: str) -> None:
    made = hasty.call(path(name), {})
    assert made.status is Status.TIMED_OUT and "longer than 0.5 s" in made.content
    # A busy machine may need more than half a second for the simplest answer, but not every time.
    assert any(hasty.call(path("echo"), {"value": "here"}).content == "here" for _ in range(20))


def test_a_process_that_ends_between_calls_is_noticed(world: FunctionEnvironment) -> None:
    assert world.call(path("later"), {}).content == "soon"
    statuses = []
    while Status.CRASHED not in statuses:
        statuses.append(world.call(path("echo"), {"value": 1}).status)
    assert set(statuses) <= {Status.OK, Status.CRASHED}
    assert world.call(path("echo"), {"value": 1}).content == "1"


def test_nothing_is_left_of_a_closed_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = FunctionEnvironment([path("fork_and_stay"), path("where")])
    worker = environment._worker
    assert worker and environment.call(path("fork_and_stay"), {}).content == "parent"
    (folder,) = tmp_path.iterdir()
    environment.close()
    assert not worker.alive and not folder.exists()
    for _ in range(1000):
        try:
            # What was killed belongs to nobody and is gone when the system has noticed.
            os.killpg(worker._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            break
        time.sleep(0.01)
    else:
        pytest.fail("a process is left")


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        (["os.path"], "names no function. Write module:function"),
        (["no_such_module:f"], "The module of no_such_module:f cannot be imported: ModuleNotFoundError"),
        (["os:no_such"], "The module os has no 'no_such'"),
        (["os:sep"], "is no Python function but str"),
        ([path("asynchronous")], "is no plain function"),
        ([path("by_place")], "has arguments without names"),
        ([path("foreign")], "type cannot be told in JSON"),
        ([], "The catalogue is empty"),
    ],
)
def test_what_is_no_function_is_refused(functions: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        FunctionEnvironment(functions)


def test_limits_are_checked() -> None:
    with pytest.raises(InputError, match="seconds is 0; give 0.01 to 3,600"):
        Limits(seconds=0)
    with pytest.raises(InputError, match="megabytes is 1; give 128"):
        Limits(megabytes=1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(value=JSON)
@settings(max_examples=60, deadline=None)
def test_values_come_back_as_they_went(world: FunctionEnvironment, value: Any) -> None:
    made = world.call(path("echo"), {"value": value})
    if isinstance(value, str) or len(json.dumps(value, ensure_ascii=False)) <= MOST // 2:
        assert made.status is Status.OK
        assert (made.content if isinstance(value, str) else json.loads(made.content)) == value
