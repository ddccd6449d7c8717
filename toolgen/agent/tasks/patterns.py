"""Arguments that wait for responses, and patterns that responses fit. Knows JSON; no tools and no environment.

Both are JSON themselves, so that they can be written to a file as they are:

* ``{"$ref": ["call", 1, "Keys", {"Name": "a"}, "Id"]}`` among arguments stands for a place in an earlier response: of
  the first call, under ``Keys``, of the first element that fits ``{"Name": "a"}``, its ``Id``.
* ``{"$join": ["alias/", {"$ref": ...}]}`` is the text of all its parts.

A pattern is fitted by more than one value. An object is fitted by one that has its keys with fitting values, and maybe
others; a list by one in which every element of the pattern has an element that fits it, in any order; everything else
by what is equal. Beyond these:

* ``{"$not": P}``: whatever does not fit P; an absent key too.
* ``{"$only": [P, ...]}``: a list of as many elements, each of which fits a P of its own.
* ``{"$json": P}``: a text that is JSON and fits P; a value that is JSON already may stand there too.
* ``{"$contains": "x"}``: a text that has ``x`` in it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

ABSENT = object()
"""In the place of a value that is not there; fits nothing but ``$not``."""


class RefError(LookupError):
    """A reference points to where there is nothing."""


def got(number: int, *path: Any) -> dict[str, Any]:
    """A place in the response of a task's call, the first one being 1."""
    return {"$ref": ["call", number, *path]}


def had(number: int, *path: Any) -> dict[str, Any]:
    """A place in the response of a call before the task."""
    return {"$ref": ["setup", number, *path]}


def seen(number: int, *path: Any) -> dict[str, Any]:
    """A place in what an earlier look of the same check saw."""
    return {"$ref": ["look", number, *path]}


def lookup(response: Any, path: Sequence[Any]) -> Any:
    """The value at a place.

    Args:
        response: A JSON value.
        path: Keys, numbers of elements (negative ones from the end), patterns of elements.

    Raises:
        RefError: There is nothing.
    """
    value = response
    for step in path:
        if isinstance(step, Mapping):
            found = [part for part in value if fits(step, part)] if isinstance(value, list) else []
            if not found:
                raise RefError(f"no element fits {step}")
            value = found[0]
        else:
            try:
                value = value[step]
            except (LookupError, TypeError) as error:
                raise RefError(f"nothing at {step!r}") from error
    return value


def resolve(template: Any, responses: Mapping[str, Sequence[Any]]) -> Any:
    """A template with references put in.

    Args:
        template: JSON with ``$ref`` and ``$join``. References to kinds that are not among the responses stay.
        responses: By kind (``call``, ``setup``, ``look``), JSON values in their order; None for a call without one.

    Raises:
        RefError: A reference points to where there is nothing.
    """
    if isinstance(template, Mapping):
        if "$ref" in template:
            of, number, *path = template["$ref"]
            if of not in responses:
                return dict(template)
            if not 1 <= number <= len(responses[of]):
                raise RefError(f"there is no {of} {number} yet")
            return lookup(responses[of][number - 1], path)
        if "$join" in template:
            return joined(resolve(part, responses) for part in template["$join"])
        return {key: resolve(value, responses) for key, value in template.items()}
    if isinstance(template, list):
        return [resolve(part, responses) for part in template]
    return template


def joined(parts: Any) -> Any:
    """The text of all parts, or ``$join`` where some are references still."""
    merged: list[Any] = []
    for part in parts:
        if not isinstance(part, Mapping) and merged and isinstance(merged[-1], str):
            merged[-1] += str(part)
        else:
            merged.append(part if isinstance(part, Mapping) else str(part))
    return merged[0] if len(merged) == 1 and isinstance(merged[0], str) else {"$join": merged}


def fits(pattern: Any, value: Any) -> bool:
    """Whether a value fits a pattern; the rules are in the module's text."""
    if isinstance(pattern, Mapping):
        match [*pattern]:
            case ["$not"]:
                return not fits(pattern["$not"], value)
            case ["$only"]:
                wanted = pattern["$only"]
                return isinstance(value, list) and len(value) == len(wanted) and _assigned(wanted, value)
            case ["$json"]:
                return fits(pattern["$json"], read_json_text(value))
            case ["$contains"]:
                return isinstance(value, str) and pattern["$contains"] in value
        return isinstance(value, Mapping) and all(fits(part, value.get(key, ABSENT)) for key, part in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(fits(part, element) for element in value) for part in pattern)
    # True is no 1 in JSON.
    return bool(type(pattern) is type(value) or _numbers(pattern, value)) and pattern == value


def read_json_text(value: Any) -> Any:
    """A text that holds a JSON object or list as that, every other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _assigned(patterns: Sequence[Any], values: Sequence[Any]) -> bool:
    """Whether every pattern finds a value of its own."""
    if not patterns:
        return True
    return any(
        fits(patterns[0], value) and _assigned(patterns[1:], [*values[:place], *values[place + 1 :]])
        for place, value in enumerate(values)
    )
