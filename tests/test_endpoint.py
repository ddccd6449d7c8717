"""Asking an endpoint: what is kept, what is tried again, what is given up, and where the key goes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Answering, Reply, endpoint
from hypothesis import given
from hypothesis import strategies as st

from toolgen.endpoint import (
    KEY_VARIABLE,
    LONGEST_PAUSE,
    TRIES,
    Answer,
    Endpoint,
    EndpointSettings,
    Pace,
    Unanswered,
    pause,
)
from toolgen.errors import InputError

HELLO = [{"role": "user", "content": "Hello <é>"}]
KEY = "sk-a-key-that-nobody-may-see"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no key of the machine's own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def ask(url: str, kept: Path, attempt: int = 0, messages: Any = HELLO, **settings: Any) -> Answer:
    async def once() -> Answer:
        async with Endpoint(EndpointSettings(url, "a model", pause=0.001, **settings), kept) as asked:
            return await asked.ask(messages, attempt)

    return asyncio.run(once())


def turns(*replies: Reply) -> Answering:
    """One reply after another, the last for ever."""
    return lambda number, body: replies[min(number, len(replies) - 1)]


def test_an_answer_is_asked_for_once_and_kept(tmp_path: Path) -> None:
    with endpoint(turns(Reply("Good day \ud800"))) as asked:
        first = ask(asked.url, tmp_path, temperature=0.5, max_tokens=7)
        again = ask(f"{asked.url}/", tmp_path, temperature=0.5, max_tokens=7)
        assert (len(asked), asked.paths) == (1, ["/v1/chat/completions"])
        assert asked.bodies == [{"model": "a model", "messages": HELLO, "temperature": 0.5, "max_tokens": 7}]
        assert first == Answer("Good day ?", False, 100, 20, asked=True)
        assert again == Answer("Good day ?", False, 100, 20, asked=False)
        ask(asked.url, tmp_path, temperature=0.6, max_tokens=7)
        ask(asked.url, tmp_path, temperature=0.5, max_tokens=7, attempt=1)
        ask(asked.url, tmp_path, messages=[{"role": "user", "content": "Bye"}])
        assert len(asked) == 4 == len(list(tmp_path.glob("*.json")))
        assert "temperature" not in asked.bodies[3] and "max_tokens" not in asked.bodies[3]


@pytest.mark.parametrize(
    "bad",
    [
        Reply(status=429, raw="slow down"),
        Reply(status=429, headers={"Retry-After": "0.01"}),
        Reply(status=429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        Reply(status=500, raw="\x1b[31moops"),
        Reply(status=503),
        Reply(raw="<html>"),
        Reply(raw='{"choices": []}'),
        Reply(raw='{"choices": [{"message": {"content": 3}}]}'),
        Reply(raw="[]"),
        Reply("late", hang=0.6),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(tmp_path: Path, bad: Reply) -> None:
    with endpoint(turns(bad, bad, Reply("at last", end="length"))) as asked:
        found = ask(asked.url, tmp_path, timeout=0.3)
        assert (found.text, found.cut, len(asked)) == ("at last", True, 3)


def test_what_does_not_pass_is_given_up_and_nothing_is_kept(tmp_path: Path) -> None:
    with endpoint(turns(Reply(status=500, raw="oops \x1b[31m"))) as asked:
        with pytest.raises(Unanswered, match=r"the last by status 500: oops \[31m$"):
            ask(asked.url, tmp_path)
        assert len(asked) == TRIES and not list(tmp_path.iterdir())
    with pytest.raises(Unanswered, match="ConnectError"):
        ask(asked.url, tmp_path)
    with endpoint(turns(Reply(status=400, raw="too long"))) as asked:
        with pytest.raises(Unanswered, match="status 400: too long"):
            ask(asked.url, tmp_path)
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "part"), [(401, KEY_VARIABLE), (403, "not set"), (404, "'a model'"), (302, "/chat/completions")]
)
def test_what_no_request_will_pass_is_an_error_with_the_cure(tmp_path: Path, status: int, part: str) -> None:
    with endpoint(turns(Reply(status=status, raw="no", headers={"Location": "/elsewhere"}))) as asked:
        with pytest.raises(InputError, match=part):
            ask(asked.url, tmp_path)
        assert len(asked) == 1


def test_the_key_goes_into_the_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with endpoint(turns(Reply("open"))) as asked:
        ask(asked.url, tmp_path)
        assert "Authorization" not in {name.title() for name in asked.headers[0]}
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with endpoint(turns(Reply("fine"))) as asked:
        ask(asked.url, tmp_path, attempt=1)
        assert {name.title(): value for name, value in asked.headers[0].items()}["Authorization"] == f"Bearer {KEY}"
        assert KEY not in str(asked.bodies)
    said = []
    for status, kind in ((401, InputError), (400, Unanswered), (500, Unanswered)):
        with endpoint(turns(Reply(status=status, raw=f"the key {KEY} is bad"))) as asked:
            with pytest.raises(kind) as caught:
                ask(asked.url, tmp_path, attempt=2)
            said.append(str(caught.value))
    assert all("[key] is bad" in text and KEY not in text for text in said)
    assert KEY not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]


def test_a_spoilt_answer_is_named(tmp_path: Path) -> None:
    with endpoint(turns(Reply("one"))) as asked:
        ask(asked.url, tmp_path)
        (path,) = tmp_path.iterdir()
        for spoilt in ("{", "{}"):
            path.write_text(spoilt)
            with pytest.raises(InputError, match=f"{path.name}.*Delete it"):
                ask(asked.url, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://a/v1",
        "http://",
        "http://[x",
        "http://a:b/v1",
        "https://me:pw@a/v1",
        "http://a/?key=1",
    ],
)
def test_an_address_must_be_a_base_and_hold_no_secret(url: str) -> None:
    with pytest.raises(InputError, match="http://localhost:8000/v1") as caught:
        EndpointSettings(url, "m")
    assert "pw" not in str(caught.value) and "key=1" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"rate": 0}, {"timeout": -1}, {"concurrency": 0}, {"max_tokens": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        EndpointSettings("http://a/v1", "m", **settings)


@given(st.floats(0.1, 1e4), st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_requests_keep_their_distance_and_nobody_waits_without_need(rate: float, gaps: list[float]) -> None:
    pace, now, last = Pace(rate), 0.0, None
    for gap in gaps:
        now += gap
        sent = now + pace.wait(now)
        assert sent == now or last is not None
        assert last is None or sent == pytest.approx(max(now, last + 60 / rate))
        last = sent


def test_without_a_rate_nobody_waits() -> None:
    pace = Pace(None)
    assert [pace.wait(1.0) for _ in range(5)] == [0] * 5


@given(st.integers(0, 20), st.floats(0.001, 10), st.none() | st.floats(0, 1e6))
def test_pauses_double_and_grant_what_is_asked_for(attempt: int, first: float, wanted: float | None) -> None:
    waited = pause(attempt, first, wanted)
    own = first * 2**attempt
    assert min(LONGEST_PAUSE, max(own / 2, wanted or 0)) <= waited <= min(LONGEST_PAUSE, max(own, wanted or 0))
