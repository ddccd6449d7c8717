"""The AWS API as a catalogue, and its human-written examples as queries, from the service models inside ``botocore``.

Knows botocore's loader and models. Knows nothing of networks, credentials, models or codes. Only the models that the
installed botocore ships are read, never ``~/.aws/models``: the catalogue depends on nothing but botocore's version.
A service is named as botocore names it (``boto3.client(NAME)``), and only its latest API version is read.

Input shapes become JSON Schema: a blob is a string with ``contentEncoding`` base64 (its limits count bytes, so they are
left out), a timestamp a ``date-time`` string, a union an object of exactly one property, an event stream an array of
such objects with ``x-eventstream``, a document or JSON-valued string any JSON value. A pattern that Python's ``re``
cannot compile stands under ``x-pattern``, where no validator trips over it. A structure inside itself is cut as
``{"type": "object", "x-recursive": SHAPE}``, one nested deeper than ``max_depth`` as ``{..., "x-cut": SHAPE}``.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

from toolgen.errors import InputError
from toolgen.queries import Call, Query
from toolgen.sources.markup import plain_text, summary
from toolgen.tools import Tool, ToolCatalog

SOURCE = "botocore"

BUCKET_NAME = r"^([a-zA-Z0-9.\-_]{1,255}|arn:aws.*:(s3|s3-object-lambda|s3-outposts):.+)$"
"""What may stand where S3 wants a bucket: a name, or an access point's ARN (``botocore.handlers``)."""

_SCALARS: Mapping[str, Mapping[str, str]] = {
    "string": {"type": "string"},
    "blob": {"type": "string", "contentEncoding": "base64"},
    "timestamp": {"type": "string", "format": "date-time"},
    "integer": {"type": "integer"},
    "long": {"type": "integer"},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "boolean": {"type": "boolean"},
}
_ANY_JSON = ("object", "array", "string", "number", "boolean", "null")
_BOUNDS: Mapping[str, Mapping[str, str]] = {
    "string": {"min": "minLength", "max": "maxLength"},
    "list": {"min": "minItems", "max": "maxItems"},
    "map": {"min": "minProperties", "max": "maxProperties"},
    **dict.fromkeys(("integer", "long", "float", "double"), {"min": "minimum", "max": "maximum"}),
}
"""JSON Schema keyword of a shape's limit, by the shape's type."""


def available_services() -> tuple[str, ...]:
    """Names of all services that the installed botocore describes, sorted."""
    return tuple(_loader().list_available_services("service-2"))


def import_catalog(
    services: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    max_depth: int = 8,
    max_parameter_text: int = 200,
) -> ToolCatalog:
    """Read the operations of AWS services.

    Args:
        services: Such as ``("s3", "ec2")``; their order is the catalogue's. None reads all of them.
        progress: Called after each service with the services done and the services in all.
        max_depth: Structures deeper than this many levels below the input are cut in the parameters' schema.
        max_parameter_text: A parameter's description is the first sentence of its documentation, cut at a word to at
            most this many characters.

    Raises:
        InputError: A service is unknown, no service is named, or a limit is too small.

    Example:
        >>> import_catalog(["sts"])["sts.GetCallerIdentity"].group
        'sts'
    """
    if max_depth < 0 or max_parameter_text < 1:
        raise InputError(
            f"max_depth is {max_depth} and max_parameter_text {max_parameter_text}; give at least 0 and 1 respectively."
        )
    wanted = available_services() if services is None else _known(services)
    tools: list[Tool] = []
    for done, service in enumerate(wanted, start=1):
        tools.extend(_service_tools(service, max_depth, max_parameter_text))
        if progress is not None:
            progress(done, len(wanted))
    return ToolCatalog(tools)


def import_examples(catalog: ToolCatalog, services: Sequence[str] | None = None) -> list[Query]:
    """Read the human-written examples of the operations in ``catalog``, each with its arguments as a call.

    Examples whose titles are equal, but for case, white space and final punctuation, become one query: the first one's
    id and title, every operation concerned in ``tools``, every call. Examples without a title are left out.

    Args:
        catalog: From ``import_catalog``; examples of operations that it does not hold are left out.
        services: None reads those of the catalogue's tools that came from botocore.

    Returns:
        Queries in the order of services and files; the id is ``"{service}.{id of the example}"``, with ``#2``, ``#3``
        where a service repeats an id. ``metadata`` holds the lists ``examples`` (ids), ``services``, ``descriptions``.

    Raises:
        InputError: A service is unknown, or ``services`` is empty.
    """
    if services is None:
        wanted = tuple(dict.fromkeys(tool.group for tool in catalog.values() if tool.source == SOURCE and tool.group))
    else:
        wanted = _known(services)
    groups: dict[str, list[_Example]] = {}
    loader = _loader()
    for service in wanted:
        for example in _service_examples(loader, service):
            if example.tool in catalog and example.title:
                groups.setdefault(_normalised(example.title), []).append(example)
    return [_merged(examples) for examples in groups.values()]


def _loader() -> Loader:
    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)


def _known(services: Sequence[str]) -> tuple[str, ...]:
    """The services without repetition, all of them known."""
    if isinstance(services, str):
        services = (services,)
    if not services:
        raise InputError("No AWS service is named. Name at least one, such as s3, or import all of them.")
    known = available_services()
    for service in services:
        if service not in known:
            close = difflib.get_close_matches(service, known, n=5, cutoff=0.5)
            near = f"Did you mean {', '.join(close)}?" if close else "No name is close to it."
            raise InputError(
                f"Unknown AWS service {service!r}. {near} Services are named as in boto3.client(NAME); "
                f"toolgen.sources.botocore.available_services() lists all {len(known)}."
            )
    return tuple(dict.fromkeys(services))


def _service_tools(service: str, max_depth: int, max_parameter_text: int) -> Iterator[Tool]:
    # A loader keeps every model it has read; one loader a service lets them go.
    description = _loader().load_service_model(service, "service-2")
    model = ServiceModel(description, service)
    schemas = _Schemas(description["shapes"], max_depth, max_parameter_text)
    for name in model.operation_names:
        operation = model.operation_model(name)
        yield Tool(
            id=f"{service}.{name}",
            name=name,
            description=plain_text(operation.documentation),
            parameters=schemas.parameters(operation),
            group=service,
            source=SOURCE,
            metadata=_metadata(model, description["operations"][name]),
        )


def _metadata(model: ServiceModel, operation: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "service_full_name": model.metadata["serviceFullName"],
        "api_version": model.api_version,
    }
    for key in ("deprecated", "idempotent", "readonly"):
        if operation.get(key):
            metadata[key] = True
    if message := operation.get("deprecatedMessage"):
        metadata["deprecated_message"] = plain_text(message)
    return metadata


class _Schemas:
    """Turns the input shapes of one service into JSON Schema."""

    def __init__(self, shapes: Mapping[str, Any], max_depth: int, max_text: int) -> None:
        self._shapes = shapes
        self._max_depth = max_depth
        # A shape's documentation comes up wherever the shape is used; parsing it is most of the work.
        self._summary = lru_cache(maxsize=None)(lambda html: summary(html, max_text))

    def parameters(self, operation: OperationModel) -> dict[str, Any]:
        shape = operation.input_shape
        schema: dict[str, Any] = {"type": "object", "properties": {}}
        if shape is not None:
            schema = self._structure(shape, ())
        if operation.service_model.service_name == "s3" and (bucket := schema["properties"].get("Bucket")):
            # The model of S3 does not say so, but botocore sends no other names.
            bucket.setdefault("pattern", BUCKET_NAME)
        return schema

    def _schema(self, shape: Shape, path: tuple[str, ...]) -> dict[str, Any]:
        """``path`` names the structures around ``shape``, the input first."""
        if shape.type_name == "structure":
            schema = self._nested(shape, path)
        elif shape.type_name == "list":
            schema = {"type": "array", "items": self._schema(shape.member, path)}
        elif shape.type_name == "map":
            schema = {"type": "object", "additionalProperties": self._schema(shape.value, path)}
            if names := {key: value for key, value in _scalar(shape.key).items() if key != "type"}:
                schema["propertyNames"] = names
        elif shape.serialization.get("jsonvalue"):
            schema = {"type": list(_ANY_JSON)}
        else:
            schema = _scalar(shape)
        for limit, keyword in _BOUNDS.get(shape.type_name, {}).items():
            if limit in shape.metadata:
                schema[keyword] = shape.metadata[limit]
        if text := self._summary(shape.documentation):
            schema["description"] = text
        return schema

    def _nested(self, shape: Shape, path: tuple[str, ...]) -> dict[str, Any]:
        if shape.is_document_type:
            return {"type": list(_ANY_JSON)}
        if shape.name in path:
            return {"type": "object", "x-recursive": shape.name}
        if len(path) > self._max_depth:
            return {"type": "object", "x-cut": shape.name}
        schema = self._structure(shape, path)
        if shape.serialization.get("eventstream"):
            return {"type": "array", "x-eventstream": True, "items": schema | {"minProperties": 1, "maxProperties": 1}}
        if shape.is_tagged_union:
            schema |= {"minProperties": 1, "maxProperties": 1}
        return schema

    def _structure(self, shape: Shape, path: tuple[str, ...]) -> dict[str, Any]:
        properties = {}
        for name, member in shape.members.items():
            properties[name] = self._schema(member, (*path, shape.name))
            if self._shapes[shape.name]["members"][name].get("deprecated"):
                properties[name]["deprecated"] = True
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if shape.required_members:
            schema["required"] = list(shape.required_members)
        return schema


def _scalar(shape: Shape) -> dict[str, Any]:
    schema: dict[str, Any] = dict(_SCALARS[shape.type_name])
    if values := shape.metadata.get("enum"):
        schema["enum"] = list(values)
    if pattern := shape.metadata.get("pattern"):
        schema["pattern" if _compiles(pattern) else "x-pattern"] = pattern
    return schema


@lru_cache(maxsize=8192)
def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@dataclass(frozen=True)
class _Example:
    id: str
    title: str
    tool: str
    service: str
    description: str
    arguments: Mapping[str, Any]


def _service_examples(loader: Loader, service: str) -> Iterator[_Example]:
    """All examples of the service's latest API version, none when it has no file of examples."""
    version = loader.determine_latest_version(service, "service-2")
    try:
        record = loader.load_service_model(service, "examples-1", version)
    except DataNotFoundError:
        return
    uses: Counter[str] = Counter()
    for operation, examples in record["examples"].items():
        for example in examples:
            uses[example["id"]] += 1
            number = uses[example["id"]]
            yield _Example(
                id=f"{service}.{example['id']}" + (f"#{number}" if number > 1 else ""),
                title=" ".join(example["title"].split()),
                tool=f"{service}.{operation}",
                service=service,
                description=" ".join(example["description"].split()),
                arguments=example.get("input", {}),
            )


def _normalised(title: str) -> str:
    return title.casefold().rstrip(".!?:;, ")


def _merged(examples: Sequence[_Example]) -> Query:
    first = examples[0]
    descriptions = dict.fromkeys(example.description for example in examples if example.description)
    return Query(
        id=first.id,
        text=first.title,
        tools=tuple(dict.fromkeys(example.tool for example in examples)),
        calls=tuple(Call(example.tool, example.arguments) for example in examples),
        metadata={
            "examples": [example.id for example in examples],
            "services": list(dict.fromkeys(example.service for example in examples)),
            "descriptions": list(descriptions),
        },
    )
