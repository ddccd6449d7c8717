"""An OpenAI-compatible endpoint in a thread: answers by a function of the request, and remembers what it was asked."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer of the endpoint.

    Attributes:
        content: What the model says.
        status: Of the response.
        raw: The whole body in place of a completion that holds ``content``.
        headers: More of them.
        hang: Seconds before anything is sent.
        end: Why the model stopped.
    """

    content: str | None = None
    status: int = 200
    raw: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: float = 0.0
    end: str = "stop"

    def body(self) -> str:
        message = {"role": "assistant", "content": self.content}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        completion = {"choices": [{"message": message, "finish_reason": self.end}], "usage": usage}
        return json.dumps(completion) if self.raw is None else self.raw


@dataclass
class Asked:
    """What came in: paths, headers and bodies of all requests."""

    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def __len__(self) -> int:
        return len(self.bodies)


Answering = Callable[[int, dict[str, Any]], Reply]
"""Number of the request, from 0, and its body -> the answer."""


@contextmanager
def endpoint(answering: Answering) -> Iterator[Asked]:
    """Serve until left."""
    asked, lock = Asked(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(asked)
                asked.paths.append(self.path)
                asked.headers.append(dict(self.headers))
                asked.bodies.append(body)
            reply = answering(number, body)
            time.sleep(reply.hang)
            data = reply.body().encode()
            try:
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # Whoever asked has left.

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    asked.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def pairs(*requests: tuple[str, list[str]]) -> str:
    """An answer of the form asked for."""
    return json.dumps({"requests": [{"request": text, "operations": keys} for text, keys in requests]})


def good(number: int, body: dict[str, Any]) -> Reply:
    """Two queries for what the prompt holds: one for its first operation, one for all of the first five."""
    keys = sorted(set(re.findall(r'"key": "(op_\d+)"', body["messages"][1]["content"])))[:5]
    name = re.findall(r'"name": "([^"]*)"', body["messages"][1]["content"])[0]
    return Reply(pairs((f"I would like to have {name} today.", keys[:1]), (f"All about {name}, please.", keys)))
