"""Requests as engineers write them, close to the tool's document. Extractive: every content word comes from it.

Words are chosen by a style, then ``finished``: about 15% of them are deleted at random, but never from a query of four
words or fewer, where each word may be the one that tells two tools apart; and an opening ("how do I") may be put in
front.
"""

import random

from toolgen.synthesis.clauses import imperative
from toolgen.synthesis.material import Material

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


def finished(query: list[str], rng: random.Random) -> str:
    """With another verb, fewer words and an opening, each by chance."""
    if query[0] in _OTHERS and rng.random() < REPLACED:
        query = [*rng.choice(_OTHERS[query[0]]).split(), *query[1:]]
    kept = [word for word in query if len(query) <= KEPT_WHOLE or rng.random() >= DELETED] or query
    return " ".join([rng.choice(OPENINGS), *kept]).strip()
