"""What a tool's document offers for queries: its name, group and parameters in words, its sentences and what they say.
Knows no styles.
"""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolgen.synthesis.clauses import Clause, clause
from toolgen.tools import Tool, words

PHRASES = (
    "with {article} {name} of {value}",
    "for {name} {value}",
    "where the {name} is {value}",
    "using {name} {value}",
)
"""How an argument is said."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_TAG = re.compile("<[^<>]{1,80}>")
_SECRET = re.compile("key|token|secret|password|auth|credential|session|header|host", re.IGNORECASE)
_PERSONAL = re.compile("phone|mobile|mail|user|person|address|iban|card|account", re.IGNORECASE)
_LONGEST_DEFAULT = 24
_TOKEN = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[\w-]{12,}")
"""What may be somebody's key, whatever its parameter is called."""


@dataclass(frozen=True)
class Material:
    """What a tool's document offers for queries."""

    tool: Tool

    @cached_property
    def name(self) -> tuple[str, ...]:
        """The tool's name in words."""
        return tuple(words(self.tool.name).split()) or tuple(self.tool.name.split())

    @cached_property
    def group(self) -> tuple[str, ...]:
        """The tool's group in words."""
        return tuple(words(self.tool.group).split()) if self.tool.group else ()

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, each in words."""
        return tuple(self.schemas)

    @cached_property
    def schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """Names of the parameters, each in words, and what their schemas say."""
        properties = (self.tool.parameters or {}).get("properties")
        listed = properties.items() if isinstance(properties, Mapping) else ()
        named = ((words(name), schema) for name, schema in listed)
        return {name: schema if isinstance(schema, Mapping) else {} for name, schema in named if name}

    @cached_property
    def sentences(self) -> tuple[tuple[str, ...], ...]:
        """The description's first six sentences of three words or more."""
        split = (tuple(sentence.split()) for sentence in _SENTENCE_END.split(self.tool.description))
        return tuple(sentence for sentence in split if len(sentence) >= 3)[:6]

    @cached_property
    def clauses(self) -> tuple[Clause, ...]:
        """What the description's first six sentences say that the tool does; of ToolBench's tools without such a
        sentence, what their service does."""
        service = self.tool.metadata.get("tool_description")
        own = _clauses(self.tool.description, self.name[0])
        return own or (_clauses(service, "") if isinstance(service, str) else ())

    @cached_property
    def purpose(self) -> Clause:
        """What the name says that the tool does, with the group where the name is one word."""
        titled = self.name if len(self.name) > 1 else (*self.group, *self.name)
        return clause(titled) or Clause((), titled)

    @cached_property
    def category(self) -> tuple[str, ...]:
        """The tool's category in words."""
        return tuple(words(category_of(self.tool)).split())

    @cached_property
    def askable(self) -> tuple[str, ...]:
        """Names of the parameters that a request may give a value for, which leaves out credentials."""
        return tuple(
            name
            for name, schema in self.schemas.items()
            if not _SECRET.search(name) and schema.get("x-type") != "credentials"
        )


def category_of(tool: Tool) -> str:
    """What ``metadata`` names as the category, as ToolBench's tools have it; else the group; empty without both."""
    category = tool.metadata.get("category")
    return category if isinstance(category, str) and category else tool.group or ""


def _clauses(text: str, verb: str) -> tuple[Clause, ...]:
    sentences = (sentence.split() for sentence in _SENTENCE_END.split(_TAG.sub(" ", text)))
    found = (clause(sentence, verb) for sentence in [sentence for sentence in sentences if len(sentence) > 1][:6])
    return tuple(one for one in found if one is not None)


def arguments(material: Material, rng: random.Random) -> list[str]:
    """One to three of the tool's parameters with made-up values, as a request gives them; empty without parameters."""
    names = rng.sample(list(material.schemas), min(len(material.schemas), rng.choice((1, 2, 2, 3))))
    return _phrases(((name, _value(material.schemas[name], rng)) for name in names), rng)


def told_arguments(material: Material, rng: random.Random) -> list[str]:
    """One or two of the parameters that a request may give a value for, with their defaults where they have short
    ones; empty when there is none."""
    names = rng.sample(material.askable, min(len(material.askable), rng.choice((1, 1, 2))))
    schemas = material.schemas
    return _phrases(((name, _default(name, schemas[name]) or _value(schemas[name], rng)) for name in names), rng)


def _phrases(values: Iterable[tuple[str, str]], rng: random.Random) -> list[str]:
    phrases = []
    for name, value in values:
        phrases.append(rng.choice(PHRASES).format(article=rng.choice(("a", "the")), name=name, value=value))
    return " and ".join(phrases).split()


def _default(name: str, schema: Mapping[str, Any]) -> str:
    """A short default, as a request says it; empty where there is none, or where it may be somebody's own."""
    default = schema.get("default")
    text = " ".join(str(default).split()) if isinstance(default, (str, int, float)) else ""
    own = _PERSONAL.search(name) or _TOKEN.search(text)
    return text if len(text) <= _LONGEST_DEFAULT and not own else ""


def _value(schema: Mapping[str, Any], rng: random.Random) -> str:
    """A value that the schema names, as an enumeration or in words, or one that looks like a name or a number."""
    listed = schema.get("enum")
    if isinstance(listed, list) and listed:
        return str(rng.choice(listed))
    if (told := _TOLD.search(str(schema.get("description", "")))) is not None:
        return rng.choice(told[1].split(",")).strip(" '\".")
    if schema.get("type") in ("integer", "number"):
        return str(rng.choice((rng.randint(1, 30), rng.randint(1, 5000), round(rng.uniform(0, 500), 1))))
    if schema.get("type") == "boolean":
        return rng.choice(("true", "false"))
    letters = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=rng.randint(3, 8)))
    return rng.choice((letters, letters.upper(), f'"{letters}"', f"{letters[:3]}-{rng.randint(1, 999)}"))


_TOLD = re.compile(r"(?:e\.g\.,?|such as|for example,?|like) ([^().;]+)")
