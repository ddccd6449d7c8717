"""From YAML and ``key=value`` to a checked configuration. Knows no particular configuration.

A configuration is a pydantic model that forbids unknown keys. Precedence: defaults, then the YAML file, then
``key=value`` from the command line (dots reach into sections, values are YAML). All errors are reported together.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from toolgen.errors import InputError


class Section(BaseModel):
    """Base of every configuration: immutable, unknown keys are errors.

    Attributes:
        later: Keys that earlier versions did not know. A dump leaves them out while they are at their defaults, so that
            a run of those versions and one of this that is told the same are known to be the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _dumped(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = dump(self)
        untold = {key for key in self.later if getattr(self, key) == type(self).model_fields[key].get_default()}
        return {key: value for key, value in told.items() if key not in untold}


Configuration = TypeVar("Configuration", bound=Section)


def load_config(
    kind: type[Configuration], path: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()
) -> Configuration:
    """Read a configuration.

    Args:
        kind: The configuration's class.
        path: YAML file, or None for defaults only.
        overrides: ``key=value`` strings, such as ``"train.epochs=2"``.

    Raises:
        InputError: The file is absent or not YAML, a key is unknown, or a value is of the wrong type or out of range;
            every fault is named in one message.
    """
    values = _read_yaml(path) if path is not None else {}
    for override in overrides:
        _apply(values, override)
    return parse_config(kind, values, str(path) if path is not None else "the command line")


def parse_config(kind: type[Configuration], values: Mapping[str, Any], where: str) -> Configuration:
    """Check plain values against a configuration class; ``where`` names their origin in errors."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"]) or "(top level)"
            if fault["type"] == "extra_forbidden":
                faults.append(f"unknown key '{key}' (known here: {', '.join(_siblings(kind, fault['loc']))})")
            elif fault["type"] == "missing":
                faults.append(f"'{key}' is required")
            else:
                faults.append(f"'{key}': {fault['msg']}, found {fault['input']!r}")
        raise InputError(f"Configuration from {where}: {'; '.join(faults)}.") from error


def _read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such configuration file.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({error}).") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: a mapping of keys to values is wanted, found {type(values).__name__}.")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"Override {override!r} is not of the form key=value, such as train.epochs=2.")
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"Override {override!r}: '{section}' is a value, not a section.")
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"Override {override!r}: the value is not valid YAML ({error}).") from error


def _siblings(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that are allowed where an unknown one was found."""
    fields = kind.model_fields
    for part in location[:-1]:
        inner = section_of(fields[str(part)].annotation) if str(part) in fields else None
        if inner is None:
            break
        fields = inner.model_fields
    return sorted(fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field's type is, or may be (``Section | None``); None when it is a plain value."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def describe_keys(kind: type[Section]) -> str:
    """All keys of a configuration with defaults and descriptions, a line each, for `--help`."""
    lines = ["keys:"]

    def describe(section: type[BaseModel], prefix: str) -> None:
        for field_name, field in section.model_fields.items():
            inner = section_of(field.annotation)
            if inner is not None:
                describe(inner, f"{prefix}{field_name}.")
                continue
            default = "required" if field.is_required() else f"default {field.default!r}"
            lines.append(f"  {prefix}{field_name}  ({default})  {field.description or ''}".rstrip())

    describe(kind, "")
    return "\n".join(lines)
