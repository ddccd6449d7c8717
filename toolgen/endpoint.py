"""A language model behind an OpenAI-compatible endpoint: asked politely, and never twice for the same thing. Knows
nothing of tools and queries.

Every answer is kept in a folder, in a file named by the hash of all that shapes it (model, messages, settings), so that
what was paid for survives interruptions. The key is read from the environment and goes into the request's header alone.
"""

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from toolgen.errors import InputError, require
from toolgen.files import fingerprint, read_json, write_json
from toolgen.terminal import visible

KEY_VARIABLE = "TOOLGEN_API_KEY"
"""Name of the environment variable that holds the key. Not OPENAI_API_KEY: a key that lies around in the environment
must not be sent to whatever endpoint is named."""

TRIES = 6
"""Requests for one answer before it is given up: what a busy minute takes."""

LONGEST_PAUSE = 60.0
"""Seconds between two requests for one answer at most."""

Messages = Sequence[Mapping[str, str]]
"""What is said to a model: ``role`` and ``content`` of each."""


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how to ask.

    Attributes:
        url: Base of the endpoint, such as ``http://localhost:8000/v1``; ``/chat/completions`` is appended.
        model: Name by which the endpoint knows the model.
        temperature: None: the endpoint's own.
        max_tokens: Tokens of an answer at most; None: the endpoint's own limit.
        rate: Requests a minute at most; None: no limit.
        concurrency: Requests under way at once.
        timeout: Seconds that a request may take.
        pause: Seconds before the second try, about; doubled before each further one.
    """

    url: str
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    rate: float | None = None
    concurrency: int = 4
    timeout: float = 180.0
    pause: float = 1.0

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: A value is out of range, or the URL is no base of an endpoint.
        """
        if not _is_base(self.url):
            raise InputError(
                "The endpoint's address cannot be used. Give its base, such as http://localhost:8000/v1, with nothing "
                "behind it and no user name or password in it: the key is taken from the environment."
            )
        for name, value in (("rate", self.rate), ("timeout", self.timeout), ("max_tokens", self.max_tokens)):
            if value is not None and value <= 0:
                raise InputError(f"{name} is {value}; it must be above 0.")
        if self.concurrency < 1:
            raise InputError(f"concurrency is {self.concurrency}; it must be 1 or more.")


@dataclass(frozen=True)
class Answer:
    """What a model said, and what it took.

    Attributes:
        text: Its words.
        cut: Whether the limit of tokens ended them.
        prompt_tokens: As the endpoint counts them; 0 where it does not tell.
        answer_tokens: The same of the answer.
        asked: Whether it was asked for now, and not found among what is kept.
    """

    text: str
    cut: bool
    prompt_tokens: int
    answer_tokens: int
    asked: bool


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and parts.username is None and not parts.query and not parts.fragment


class Unanswered(Exception):
    """One request has no answer, whatever was tried; others may have."""


class Pace:
    """Spreads requests evenly: one place a time, in the order of asking."""

    def __init__(self, rate: float | None) -> None:
        """
        Args:
            rate: Requests a minute; None: no limit.
        """
        self._interval = 60 / rate if rate else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Take the next place.

        Args:
            now: Seconds on a clock that never goes back.

        Returns:
            Seconds until the request may be sent.
        """
        place = max(now, self._next)
        self._next = place + self._interval
        return place - now


class Endpoint:
    """Asks a model, for as long as it is entered.

    Example:
        >>> async with Endpoint(EndpointSettings("http://localhost:8000/v1", "m"), Path("answers")) as endpoint:
        ...     answer = await endpoint.ask([{"role": "user", "content": "Hello"}])
    """

    def __init__(self, settings: EndpointSettings, kept: Path) -> None:
        """
        Args:
            settings: Where and how to ask.
            kept: Folder of the answers.
        """
        self._settings = settings
        self._kept = kept
        self._pace = Pace(settings.rate)

    async def __aenter__(self) -> "Endpoint":
        """
        Raises:
            MissingPackageError: httpx2 is not installed.
        """
        httpx2 = require("httpx2", purpose="Asking an endpoint", pip_name="httpx2")
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {}, timeout=None
        )
        self._transport_error = httpx2.TransportError
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, messages: Messages, attempt: int = 0) -> Answer:
        """The model's answer, from the folder when it is there.

        Args:
            messages: What to say.
            attempt: Another number asks for another answer to the same.

        Raises:
            Unanswered: The endpoint refused this request, or failed too often.
            InputError: The endpoint refuses all requests: the key, the model or the address is wrong.
        """
        body = self._body(messages)
        path = self._kept / f"{fingerprint([body, attempt])}.json"
        if path.is_file():
            return _kept_answer(path)
        record = await self._insist(body)
        write_json(path, record)
        return _answer(record, asked=True)

    def _body(self, messages: Messages) -> dict[str, Any]:
        settings = self._settings
        body: dict[str, Any] = {"model": settings.model, "messages": [dict(message) for message in messages]}
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            body["max_tokens"] = settings.max_tokens
        return body

    async def _insist(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is to be kept of the answer, after as many requests as it takes."""
        failure = ""
        for attempt in range(TRIES):
            await asyncio.sleep(self._pace.wait(time.monotonic()))
            wait = None
            try:
                async with asyncio.timeout(self._settings.timeout):
                    response = await self._client.post(f"{self._settings.url.rstrip('/')}/chat/completions", json=body)
                if response.status_code == 200:
                    return _record(response.json(), self._settings.model)
                failure = self._failure(response.status_code, response.text)
                wait = _seconds(response.headers.get("retry-after"))
            except TimeoutError:
                failure = f"no answer within {self._settings.timeout:g} seconds"
            except self._transport_error as error:
                failure = f"{type(error).__name__}: {error}"
            except (JSONDecodeError, UnicodeDecodeError, _NoCompletionError):
                failure = "an answer that is no chat completion"
            if attempt < TRIES - 1:
                await asyncio.sleep(pause(attempt, self._settings.pause, wait))
        raise Unanswered(f"{TRIES} requests failed, the last by {self._hidden(failure)}")

    def _failure(self, status: int, text: str) -> str:
        """A failure that may pass, in words.

        Raises:
            Unanswered: This request will not pass.
            InputError: No request will.
        """
        said = f"status {status}: {' '.join(self._hidden(text).split())[:300]}"
        if status in (401, 403):
            raise InputError(
                f"The endpoint refuses the key ({said}). Put the right one into the environment variable {KEY_VARIABLE}"
                f"{'' if self._key else ', which is not set'}."
            )
        if status in (404, 405) or 300 <= status < 400:
            raise InputError(
                f"The endpoint does not know the address or the model {self._settings.model!r} ({said}). --url wants "
                "the base to which /chat/completions is appended, --model a name that the endpoint knows."
            )
        if status < 500 and status not in (408, 409, 425, 429):
            raise Unanswered(said)
        return said

    def _hidden(self, text: str) -> str:
        """Strangers' text without control characters, and without the key where they repeat it."""
        return visible(text.replace(self._key, "[key]") if self._key else text)


class _NoCompletionError(Exception):
    """The endpoint answered with something else than a chat completion."""


def pause(attempt: int, first: float, wanted: float | None) -> float:
    """Seconds before the next try: twice as many after each, by chance up to half of them less, so that those who were
    refused together do not return together.

    Args:
        attempt: Number of the try that failed, from 0.
        first: Seconds after the first.
        wanted: What the endpoint asked for, which is granted up to ``LONGEST_PAUSE``.
    """
    own = first * 2**attempt * random.uniform(0.5, 1)
    return min(LONGEST_PAUSE, own if wanted is None else max(own, wanted))


def _seconds(header: str | None) -> float | None:
    """A ``Retry-After`` in seconds; None for a date, nonsense and nothing."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _record(response: Any, model: str) -> dict[str, Any]:
    """What is kept of a chat completion."""
    try:
        choice = response["choices"][0]
        text, end = choice["message"].get("content") or "", choice.get("finish_reason")
        usage = response.get("usage") or {}
        tokens = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _NoCompletionError from error
    if not isinstance(text, str) or not all(isinstance(count, int) for count in tokens):
        raise _NoCompletionError
    # Half of a surrogate pair, which JSON can escape and no file can hold.
    text = text.encode("utf-8", "replace").decode("utf-8")
    prompt, answer = tokens
    return {"model": model, "text": text, "cut": end == "length", "prompt_tokens": prompt, "answer_tokens": answer}


def _kept_answer(path: Path) -> Answer:
    try:
        return _answer(read_json(path), asked=False)
    except (KeyError, InputError) as error:
        raise InputError(f"{path} holds no answer of a model. Delete it, and it is asked for again.") from error


def _answer(record: Mapping[str, Any], *, asked: bool) -> Answer:
    return Answer(record["text"], record["cut"], record["prompt_tokens"], record["answer_tokens"], asked)
