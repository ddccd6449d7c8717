"""AWS in a worker's process: botocore's clients, moto behind them, no network. Knows botocore and moto, no catalogue.

Two processes take turns on one pipe. The first, *home*, loads services and never has a call: what it holds is the state
in which every task begins. For a task it forks, and the fork, the *account*, answers until it is told to end. A look
at the account's state runs in a fork of the account, so that it can change nothing.
"""

import base64
import datetime
import gc
import importlib
import itertools
import json
import math
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from toolgen.agent.environment import Status
from toolgen.agent.environments.aws_clock import BEGINNING, take_over
from toolgen.agent.environments.serving import Channel, Reply, limit_memory, limit_time, observed, serve

REGION = "us-east-1"
"""Where every client is."""

_ACCOUNT = "123456789012"
"""moto's own. It looks at this one even where a call is another account's, so a second one would cost twice."""

_KEY = "AKIAIOSFODNN7EXAMPLE"
_MOST_EVENTS = 1000
"""Of a stream of events."""


class _LeavesError(Exception):
    """A call would leave the process."""


class _Cloud:
    """The simulation."""

    def __init__(self, seed: int) -> None:
        self._seed = self._task_seed = seed
        self._clock, self._bytes = take_over()
        self._forbid_network()
        # From here on: what they import must meet the clock.
        import botocore.session
        from moto import mock_aws
        from moto.moto_api._internal import mock_random

        # Else moto would look for the caller's key among all users of all partitions, and make these first.
        os.environ["MOTO_ACCOUNT_ID"] = _ACCOUNT
        self._ids = mock_random
        self._settle(f"{seed}:home")
        mock_aws(
            config={
                "lambda": {"use_docker": False},
                "batch": {"use_docker": False},
                # Such as ReadOnlyAccess, which every account has.
                "iam": {"load_aws_managed_policies": True},
            }
        ).start()
        self._order_backends()
        self._session = botocore.session.Session()
        self._session.set_credentials(_KEY, "no secret")
        self._clients: dict[str, Any] = {}
        self._sent = self._left = False

    def _forbid_network(self) -> None:
        def hook(event: str, _: tuple[Any, ...]) -> None:
            if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
                self._left = True
                raise _LeavesError("it would leave this process, which has no network")

        # An audit hook cannot be taken away again, and sees what C code does too.
        sys.addaudithook(hook)

    def begin(self, seed: int) -> None:
        """From now on the ids that calls make depend on this seed."""
        self._task_seed = seed

    def _settle(self, seed: str) -> None:
        for source in (self._ids, self._bytes, random):
            source.seed(seed)

    def _order_backends(self) -> None:
        """What a service holds at first must not depend on which service was touched first."""
        from moto.core.base_backend import AccountSpecificBackend, BackendDict

        def ordered(getitem: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
            def get(self_: Any, key: str) -> Any:
                if key in dict.keys(self_):
                    return getitem(self_, key)
                with self._apart(f"{self_.service_name}:{key}"):
                    return getitem(self_, key)

            return get

        for kind in (AccountSpecificBackend, BackendDict):
            kind.__getitem__ = ordered(kind.__getitem__)  # type: ignore[method-assign]

    @contextmanager
    def _apart(self, where: str) -> Iterator[None]:
        """Chance and time of its own, such as at the beginning of all; afterwards as if nothing had been."""
        sources: tuple[Any, ...] = self._ids, self._bytes, random
        now = self._clock.now
        states = [source.getstate() for source in sources]
        # Not the task's seed: what is there at first may be made in the task or before it.
        self._settle(f"{self._seed}:{where}")
        self._clock.now = BEGINNING
        try:
            yield
        finally:
            self._clock.now = now
            for source, state in zip(sources, states, strict=True):
                source.setstate(state)

    def open(self, service: str) -> None:
        """Load a service, and what it holds at first."""
        from botocore.config import Config
        from moto.backend_index import backend_url_patterns
        from moto.backends import get_backend
        from moto.core.models import botocore_stubber

        config = Config(
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = self._session.create_client(service, region_name=REGION, config=config)
        # All handlers of an event are called: moto's own would run the operation a second time.
        client.meta.events.unregister("before-send", botocore_stubber)
        client.meta.events.register("before-send", self._send)
        self._clients[service] = client
        for name, pattern in backend_url_patterns:
            if pattern.match(client.meta.endpoint_url):
                try:
                    backends = get_backend(name)[_ACCOUNT]  # type: ignore[call-overload]
                except ImportError:
                    # It needs a package that is not there; a call meets the same error and says so.
                    continue
                backends[REGION if REGION in backends else "aws"]
        if service == "sqs":
            # It would wait on a lock for a message that nobody can send meanwhile.
            queue = importlib.import_module("moto.sqs.models").Queue
            queue.wait_for_messages = lambda _, timeout: self._clock.sleep(timeout)
        self._warm(client)

    def _warm(self, client: Any) -> None:
        """Read something, so that what is loaded with a first request need not be loaded in every task."""
        operations = map(client.meta.service_model.operation_model, client.meta.method_to_api_mapping.values())
        harmless = (
            operation.name
            for operation in operations
            if operation.name.startswith(("List", "Describe"))
            and not (operation.input_shape and operation.input_shape.required_members)
        )
        if operation := next(harmless, None):
            with self._apart(f"{client.meta.service_model.service_name}:warm"):
                self.call(0, client.meta.service_model.service_name, operation, "{}", 1)

    def _send(self, request: Any, **_: Any) -> Any:
        """Answer a request in the place of the network."""
        from botocore.awsrequest import AWSResponse
        from moto.core.botocore_stubber import MockRawResponse
        from moto.core.models import botocore_stubber

        self._sent = True
        answer = botocore_stubber.process_request(request)
        if answer is None or answer[2] == "Not yet implemented":
            raise NotImplementedError("it is not simulated")
        status, headers, body = answer
        return AWSResponse(request.url, status, headers, MockRawResponse(body))

    def call(self, number: int, service: str, operation: str, arguments: str, most: int) -> Reply:
        """Run one operation.

        Args:
            number: Of the call within its task; its ids depend on this and the seed.
            service: One that is open.
            operation: As botocore's model names it.
            arguments: A JSON object.
            most: Characters of content.
        """
        from botocore.exceptions import ClientError, ParamValidationError
        from botocore.parsers import ResponseParserError

        tool = f"{service}.{operation}"
        client = self._clients[service]
        methods = {name: method for method, name in client.meta.method_to_api_mapping.items()}
        if operation not in methods:
            return observed(Status.UNKNOWN_TOOL, f"There is no tool {tool[:100]!r}.", most)
        self._settle(f"{self._task_seed}:{number}")
        self._clock.now += 1
        self._sent = self._left = False
        shape = client.meta.service_model.operation_model(operation).input_shape
        values = json.loads(arguments)
        try:
            values = _typed(shape, values) if shape else values
            response = getattr(client, methods[operation])(**values)
            response.pop("ResponseMetadata", None)
            return observed(Status.OK, _shown(response), most)
        except MemoryError:
            raise
        except _BlobError as error:
            return observed(Status.BAD_ARGUMENTS, f"{tool}: {error}.", most)
        except ParamValidationError as error:
            return observed(Status.BAD_ARGUMENTS, f"{tool}: {error}", most)
        except ClientError as error:
            told = error.response["Error"]
            return observed(Status.FAILED, f"{told.get('Code')}: {told.get('Message')}", most)
        except (NotImplementedError, ImportError) as error:
            return observed(Status.UNAVAILABLE, f"{tool} cannot run here: {error}.", most)
        except ResponseParserError as error:
            return observed(Status.MALFORMED, f"{tool}: its answer cannot be read: {error}", most)
        except Exception as error:
            if self._left:
                return observed(Status.UNAVAILABLE, f"{tool} cannot run here: it would need a network.", most)
            if self._sent:
                return observed(Status.CRASHED, f"{tool}: {type(error).__name__}: {error}", most)
            # What fails before anything is sent lies in what was to be sent.
            return observed(Status.BAD_ARGUMENTS, f"{tool}: {_wrong(shape, values, error)}", most)


def _wrong(shape: Any, values: Any, error: Exception) -> str:
    """What is wrong with arguments that could not be sent, in the words of botocore's validation where it has any.

    Its handlers read them before it, and some values it meets with an error of its own.
    """
    from botocore.validate import ParamValidator

    said = f"{type(error).__name__}: {error}"
    try:
        report = ParamValidator().validate(values, shape)
        return str(report.generate_report()) if report.has_errors() else said
    except Exception:
        return said


class _BlobError(ValueError):
    """A text is no base64."""


def _typed(shape: Any, value: Any) -> Any:
    """Arguments as botocore takes them: JSON has no bytes, so they stand as base64, as the catalogue says."""
    kind = shape.type_name
    if kind == "blob" and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError as error:
            raise _BlobError(f"{value[:40]!r} is no base64, in which bytes are written") from error
    if kind == "structure" and isinstance(value, dict) and not shape.is_document_type:
        members = shape.members
        return {name: _typed(members[name], part) if name in members else part for name, part in value.items()}
    if kind == "list" and isinstance(value, list):
        return [_typed(shape.member, part) for part in value]
    if kind == "map" and isinstance(value, dict):
        return {name: _typed(shape.value, part) for name, part in value.items()}
    return value


def _shown(response: Mapping[str, Any]) -> str:
    text = json.dumps(_plain(response), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(errors="replace").decode()


def _plain(value: Any) -> Any:
    """A response as JSON: times in UTC, bytes as base64, a body that is read as text where it is UTF-8."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, datetime.datetime):
        return _time(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if hasattr(value, "read"):
        body = value.read()
        try:
            return body.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(body).decode()}
    # A stream of events.
    return [_plain(event) for event in itertools.islice(value, _MOST_EVENTS)]


def _time(value: datetime.datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC)
    return value.replace(tzinfo=None).isoformat() + "Z"


class _Server:
    def __init__(self, cloud: _Cloud) -> None:
        self._cloud = cloud

    def answer(self, request: Mapping[str, Any]) -> Reply | None:
        match request["do"]:
            case "open":
                self._cloud.open(request["service"])
                return {}
            case "begin":
                # What is there already is left alone by the collector, and stays shared.
                gc.freeze()
                if not _forked():
                    return None
                self._cloud.begin(request["seed"])
                return {}
            case "end":
                return {"end": True}
            case "call":
                return self._cloud.call(**request["call"])
            case "look":
                if not _forked():
                    return None
                limit_time(request["seconds"])
                return {**self._cloud.call(**request["call"]), "end": True}
        raise AssertionError(request["do"])


def _forked() -> bool:
    """True in a fork, at once; False where it came from, when it has ended. Who ends badly takes the other with him."""
    if (pid := os.fork()) == 0:
        return True
    limit_time(None)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        os.kill(os.getpid(), -code)
        signal.pause()
    if code:
        os._exit(code)
    return False


def main() -> None:
    """Serve the process that started this one."""
    limit_memory(int(sys.argv[1]))
    channel = Channel()
    serve(channel, _Server(_Cloud(int(os.environ["TOOLGEN_SEED"]))).answer)


if __name__ == "__main__":
    main()
