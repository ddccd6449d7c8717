"""Training queries made from tools' own documents, for catalogues without labelled queries. Extractive: every content
word comes from the tool's name, group, parameters or description. Knows no models and no tokenizer.

Styles, drawn for each query with the weights of ``STYLES``:

- ``named``: the name in words, often with an article, sometimes with the group ("create a bucket in s3");
- ``verbatim``: the identifier as it is written ("CreateBucket"), sometimes with the group;
- ``parametrised``: the same with one or two parameter names ("create bucket with acl and object ownership");
- ``summarised``: the description's first sentence, or sometimes a later one, its leading verb made imperative;
- ``fragment``: a window of 4 to 12 words of some sentence;
- ``combined``: summary and name together.

Then about 15% of the words are deleted at random, but never from a query of four words or fewer, where each word may
be the one that tells two tools apart; and an opening ("how do I") may be put in front.

Long requests that want several tools are made by joining such queries of tools drawn at random, many with made-up
arguments: in what people write, the words that name the tool are few among those that say what to call it with.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolgen.queries import Query
from toolgen.records import Record
from toolgen.tools import Tool, ToolCatalog, words

LONGEST = 24
"""Words of a summary at most."""

DELETED = 0.15
"""Share of words that are deleted."""

KEPT_WHOLE = 4
"""Longest query, in words, that loses none."""

OPENINGS = (
    "",
    "",
    "",
    "",
    "to",
    "i need to",
    "how do i",
    "how to",
    "i want to",
    "please",
    "can you",
    "help me",
    "we need to",
)
JOINTS = ("", "", "", "also", "then", "next", "after that", "and", "in addition", "finally", "additionally")
"""What may stand between two requests of one query, after a full stop."""

JOINED = (1, 2, 3, 4)
"""How many tools a joined query may want."""

ARGUED = 0.6
"""Share of the requests in joined queries that have arguments, where the tool has parameters."""

PHRASES = (
    "with {article} {name} of {value}",
    "for {name} {value}",
    "where the {name} is {value}",
    "using {name} {value}",
)
"""How an argument is said."""

ARTICLES = ("a", "the", "an", "my", "all", "the")

SAME = (
    ("create", "make", "add", "set up", "new"),
    ("delete", "remove", "drop", "get rid of"),
    ("get", "show", "fetch", "retrieve", "view", "look up"),
    ("list", "show", "view", "show all", "find"),
    ("describe", "show", "view", "get", "get details of", "list"),
    ("update", "change", "modify", "edit"),
    ("modify", "change", "update", "edit"),
    ("put", "set", "add", "store"),
    ("search", "find", "look for"),
    ("start", "launch", "run", "begin"),
    ("stop", "end", "halt", "shut down"),
    ("enable", "turn on", "activate", "allow"),
    ("disable", "turn off", "deactivate"),
    ("attach", "add", "connect"),
    ("detach", "remove", "disconnect"),
    ("associate", "link", "connect", "attach"),
    ("send", "submit", "post"),
    ("register", "add", "sign up"),
    ("restore", "recover", "bring back"),
    ("check", "verify", "test"),
    ("convert", "change", "turn"),
    ("calculate", "compute", "work out"),
)
"""What people say for the verbs of names: the first of each is replaced by any of the others. The only words of a query
beside openings, articles and prepositions that its document does not hold."""

REPLACED = 0.25
"""Share of leading verbs that are replaced."""

_OTHERS = {verb: others for verb, *others in SAME}

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class Material:
    """What a tool's document offers for queries."""

    tool: Tool

    @cached_property
    def name(self) -> tuple[str, ...]:
        """The tool's name in words."""
        return tuple(words(self.tool.name).split()) or (self.tool.name,)

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
        properties = (self.tool.parameters or {}).get("properties", {})
        named = ((words(name), schema) for name, schema in properties.items())
        return {name: schema if isinstance(schema, Mapping) else {} for name, schema in named if name}

    @cached_property
    def sentences(self) -> tuple[tuple[str, ...], ...]:
        """The description's first six sentences of three words or more."""
        split = (tuple(sentence.split()) for sentence in _SENTENCE_END.split(self.tool.description))
        return tuple(sentence for sentence in split if len(sentence) >= 3)[:6]


Style = Callable[[Material, random.Random], list[str]]


def named(material: Material, rng: random.Random) -> list[str]:
    """The name in words, sometimes with an article after the first word and with the group."""
    query = list(material.name)
    if len(query) > 1 and rng.random() < 0.5:
        query.insert(1, rng.choice(ARTICLES))
    if material.group and rng.random() < 0.3:
        query += [*rng.choice((["in"], ["for"], ["with"], [])), *material.group]
    return query


def verbatim(material: Material, rng: random.Random) -> list[str]:
    """The identifier itself, as people paste it."""
    query = [material.tool.name]
    if material.group and rng.random() < 0.3:
        query = (
            [*material.group, *query] if rng.random() < 0.5 else [*query, rng.choice(("in", "for")), *material.group]
        )
    return query


def parametrised(material: Material, rng: random.Random) -> list[str]:
    """The name with one or two parameters."""
    query = named(material, rng)
    if material.parameters:
        count = min(len(material.parameters), rng.choice((1, 1, 2)))
        chosen = rng.sample(material.parameters, count)
        query += [rng.choice(("with", "by", "for", "using", "given")), *" and ".join(chosen).split()]
    return query


def summarised(material: Material, rng: random.Random) -> list[str]:
    """A sentence, mostly the first, as an imperative."""
    if not material.sentences:
        return named(material, rng)
    sentence = material.sentences[0] if rng.random() < 0.7 else rng.choice(material.sentences)
    query = imperative(sentence, material.name[0])
    return query if len(query) <= LONGEST else query[: rng.randint(8, LONGEST)]


def fragment(material: Material, rng: random.Random) -> list[str]:
    """Some consecutive words of a sentence."""
    if not material.sentences:
        return named(material, rng)
    sentence = rng.choice(material.sentences)
    length = rng.randint(4, 12)
    start = rng.randrange(max(1, len(sentence) - length + 1))
    return list(sentence[start : start + length])


def combined(material: Material, rng: random.Random) -> list[str]:
    """The beginning of the summary and the name, in either order."""
    if not material.sentences:
        return named(material, rng)
    summary, name = imperative(material.sentences[0], material.name[0])[:14], named(material, rng)
    return [*summary, *name] if rng.random() < 0.5 else [*name, ".", *summary]


STYLES: Mapping[Style, float] = {
    named: 0.3,
    verbatim: 0.08,
    parametrised: 0.12,
    summarised: 0.3,
    fragment: 0.1,
    combined: 0.1,
}


def synthetic_records(catalog: ToolCatalog, per_tool: int, seed: int) -> list[Record]:
    """Make ``per_tool`` queries for every tool, each a training pair.

    A tool's queries depend on the seed and on the tool alone, so they stay the same when the catalogue grows.
    """
    return [
        Record(query, ((tool.id,),))
        for tool in catalog.values()
        for query in synthetic_queries(tool, per_tool, random.Random(f"{seed}:{tool.id}"))
    ]


def synthetic_queries(tool: Tool, count: int, rng: random.Random) -> list[str]:
    """Make ``count`` queries for one tool."""
    material = Material(tool)
    styles, weights = list(STYLES), list(STYLES.values())
    queries = []
    for style in rng.choices(styles, weights, k=count):
        query = style(material, rng)
        if query[0] in _OTHERS and rng.random() < REPLACED:
            query[:1] = rng.choice(_OTHERS[query[0]]).split()
        kept = [word for word in query if len(query) <= KEPT_WHOLE or rng.random() >= DELETED] or query
        queries.append(" ".join([rng.choice(OPENINGS), *kept]).strip())
    return queries


def arguments(material: Material, rng: random.Random) -> list[str]:
    """One to three of the tool's parameters with made-up values, as a request gives them; empty without parameters."""
    names = rng.sample(list(material.schemas), min(len(material.schemas), rng.choice((1, 2, 2, 3))))
    phrases = []
    for name in names:
        value = _value(material.schemas[name], rng)
        phrases.append(rng.choice(PHRASES).format(article=rng.choice(("a", "the")), name=name, value=value))
    return " and ".join(phrases).split()


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


def joined_queries(catalog: ToolCatalog, per_tool: int, seed: int) -> list[Query]:
    """Make long queries that want several tools, which have nothing else in common; every tool is in ``per_tool``."""
    queries: list[Query] = []
    for turn in range(per_tool):
        rng = random.Random(f"{seed}:{turn}")
        tools = rng.sample(list(catalog.values()), len(catalog))
        while tools:
            count = rng.choice(JOINED)
            wanted, tools = tools[:count], tools[count:]
            first, *others = (_argued(tool, rng) for tool in wanted)
            text = ". ".join([first, *(f"{rng.choice(JOINTS)} {query}".strip() for query in others)])
            queries.append(Query(f"joined-{turn}-{len(queries)}", text, tuple(tool.id for tool in wanted)))
    return queries


def _argued(tool: Tool, rng: random.Random) -> str:
    query = synthetic_queries(tool, 1, rng)[0]
    return " ".join([query, *arguments(Material(tool), rng)]) if rng.random() < ARGUED else query


def imperative(sentence: tuple[str, ...], verb: str) -> list[str]:
    """Put a sentence's leading third-person verb into the imperative: "Creates a bucket" -> "create a bucket".

    Args:
        sentence: Words.
        verb: The name's first word, preferred when the sentence's first word is a form of it.
    """
    first = sentence[0].lower()
    stems = [first[: -len(ending)] + base for ending, base in _ENDINGS if first.endswith(ending)]
    if verb in stems:
        return [verb, *sentence[1:]]
    if stems and len(first) > 4 and not first.endswith(("ss", "us", "is")):
        return [stems[0] if first.endswith("ies") else first[:-1], *sentence[1:]]
    return list(sentence)


_ENDINGS = (("ies", "y"), ("es", "e"), ("es", ""), ("s", ""))
