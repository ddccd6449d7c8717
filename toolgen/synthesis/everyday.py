"""Requests as people put them who know what they want and not which tool does it. Every content word comes from the
tool's document or its category; what is put around them are frames such as "is there a way to ..."."""

import random
import re
from collections.abc import Sequence
from itertools import zip_longest

from toolgen.synthesis.clauses import PREPOSITIONS, Clause, content, trimmed
from toolgen.synthesis.material import Material, told_arguments
from toolgen.synthesis.misspelling import misspelt
from toolgen.synthesis.plain import SAME, finished, named, summarised
from toolgen.tools import words

MAIN = 0.85
"""Share of the queries that are made of the first thing that the description says."""

ASKED_WITH = 0.3
"""Share of the questions that give an argument, where the tool has parameters."""

ORDERED_WITH = 0.5
"""The same of imperatives."""

ENOUGH = 2
"""Telling words beside the verb that a vague query has where there are as many, and keeps when names are left out."""

VAGUE_ACTIONS = (
    "{}",
    "i want to {}",
    "i'd like to {} somehow",
    "i'm trying to {}",
    "need to {}",
    "is there a way to {}",
    "is there something to {}",
    "can something help me {}",
    "not sure how to {}",
    "how would someone {}",
)
VAGUE_THINGS = (
    "{}",
    "i need {}",
    "something about {}",
    "looking for {}",
    "anything on {}",
    "what about {}",
    "curious about {}",
    "help me with {}",
    "where do i find {}",
    "i'd like to know more about {}",
)
ASKED_ACTIONS = (
    "how do i {}",
    "how can i {}",
    "can you {}",
    "could you {} for me",
    "is it possible to {}",
    "what's the best way to {}",
    "would you be able to {}",
)
ASKED_THINGS = (
    "can you show me {}",
    "where can i find {}",
    "could you tell me {}",
    "do you have {}",
    "how do i get {}",
    "can i see {}",
    "what can you tell me about {}",
)
ORDERS = ("show me {}", "give me {}", "find {}", "get {}", "look up {}", "i need {}", "tell me {}")
CONTEXTS = (
    "I'm putting together a report on {} and time is short.",
    "We are planning a small project around {}.",
    "A friend of mine is into {} and asked me for help.",
    "For a presentation about {} next week I still need some facts.",
    "My team has been working on {} since Monday.",
    "I recently got interested in {}.",
    "I'm writing an article about {} for our newsletter.",
    "Our company wants to do more with {}.",
    "I have a meeting in an hour and would like to be prepared.",
    "My manager asked me for this before lunch.",
    "I'm new to this and could use a hand.",
    "We promised our customers an answer by tonight.",
    "I'm helping my sister with her homework.",
    "This is for a weekend project of mine.",
)
"""What long requests begin with; the placeholder is what they are about."""

CLOSINGS = (
    "Thanks!",
    "Please keep it short.",
    "I need it as soon as possible.",
    "That would help me a lot.",
    "A short summary will do.",
    "Please double-check the result.",
)
ADDED = ("I also want to {}.", "Besides, I'd like to {}.", "It would be great to {} as well.")
EVERYDAY = (
    ("retrieve", "get", "see", "find"),
    ("obtain", "get", "find"),
    ("fetch", "get", "see"),
    ("generate", "make", "create"),
    ("validate", "check"),
    ("extract", "pull out", "get"),
    ("identify", "find out", "recognize"),
    ("discover", "find", "come across"),
    ("purchase", "buy"),
    ("summarize", "sum up"),
    ("monitor", "keep an eye on"),
)
"""What people say for the verbs of descriptions, beside ``plain.SAME``."""

_OTHERS = {verb: [other for other in others if other != "new"] for verb, *others in (*SAME, *EVERYDAY)}

_I = re.compile(r"\bi\b(?=[ '])")
_UNTELLING = {"other", "tools", "data", "customized"}
"""Categories that say nothing."""


def short(material: Material, rng: random.Random) -> str:
    """Two or three telling words, as one types them into a search box: of the name, or side by side in a sentence."""
    of_name = content((*material.group, *material.name) if len(content(material.name)) < 2 else material.name)
    said = content(_clause(material, rng).words)
    telling = of_name if len(said) < 2 or len(of_name) > 1 and rng.random() < 0.5 else said
    length = rng.choice((2, 3))
    start = rng.randrange(max(1, len(telling) - length + 1))
    return " ".join(telling[start : start + length] or material.name).lower()


def vague(material: Material, rng: random.Random) -> str:
    """A few words of what the tool does, without its name and its service's."""
    chosen = _clause(material, rng)
    verb = chosen.action[:1]
    said = _nameless(material, chosen.words[len(verb) :])
    length = rng.randint(3, 8)
    while length < len(said) and len(content(said[:length])) < ENOUGH:
        length += 1
    cut = trimmed(said[:length])
    kept = [word.lower() for word in (*verb, *(cut if content(cut) else said))]
    if not chosen.action:
        return rng.choice(VAGUE_THINGS).format(" ".join(kept))
    return rng.choice(VAGUE_ACTIONS).format(" ".join(_said_otherwise(kept, rng)))


def question(material: Material, rng: random.Random) -> str:
    """What the tool does, asked for."""
    chosen = _clause(material, rng)
    asks_thing = bool(chosen.thing) and (not chosen.action or rng.random() < 0.5)
    frame = rng.choice(ASKED_THINGS if asks_thing else ASKED_ACTIONS)
    text = frame.format(" ".join(chosen.thing if asks_thing else chosen.action))
    return _sentence([text, *_told(material, ASKED_WITH, rng)], "?", rng)


def order(material: Material, rng: random.Random) -> str:
    """What the tool does, told to do."""
    return _sentence([_ordered(material, rng), *_told(material, ORDERED_WITH, rng)], ".", rng)


def long(material: Material, rng: random.Random) -> str:
    """Why one asks, what for, with which values, and sometimes what more one wants."""
    topic = _category(material) if rng.random() < 0.5 else ""
    about = _clause(material, rng)
    context = in_context(material, rng, topic or " ".join(content(about.thing or about.words[1:])[:2]).lower())
    asked = rng.random() < 0.5
    request = question(material, rng) if asked else order(material, rng)
    values = told_arguments(material, rng) if not asked or rng.random() < 0.5 else []
    parts = [context, _ended(" ".join([request.rstrip(".?"), *values]), "?" if asked else ".")]
    more = [clause for clause in material.clauses[1:] if clause.action]
    if more and rng.random() < 0.4:
        parts.append(rng.choice(ADDED).format(" ".join(rng.choice(more).action)))
    if rng.random() < 0.4:
        parts.append(rng.choice(CLOSINGS))
    return " ".join(parts)


def mistyped(material: Material, rng: random.Random) -> str:
    """A request of another style as hurried people type it."""
    text = rng.choice((_named, _summarised, short, vague, question))(material, rng)
    return " ".join(misspelt(text.split(), rng))


def in_context(material: Material, rng: random.Random, topic: str = "") -> str:
    """A sentence that a long request may begin with, about a topic or else the tool's category."""
    return rng.choice(CONTEXTS).format(topic or _category(material) or "this")


def _named(material: Material, rng: random.Random) -> str:
    return finished(named(material, rng), rng)


def _summarised(material: Material, rng: random.Random) -> str:
    return finished(summarised(material, rng), rng)


def _clause(material: Material, rng: random.Random) -> Clause:
    clauses = material.clauses
    if not clauses:
        return material.purpose
    return clauses[0] if rng.random() < MAIN else rng.choice(clauses)


def _ordered(material: Material, rng: random.Random) -> str:
    chosen = _clause(material, rng)
    if chosen.thing and (not chosen.action or rng.random() < 0.5):
        return rng.choice(ORDERS).format(" ".join(chosen.thing))
    return " ".join(_said_otherwise(chosen.action, rng))


def _category(material: Material) -> str:
    category = " ".join(material.category)
    return category if category not in _UNTELLING else ""


def _said_otherwise(action: Sequence[str], rng: random.Random) -> list[str]:
    others = _OTHERS.get(action[0], [])
    return [*rng.choice(others).split(), *action[1:]] if others and rng.random() < 0.5 else list(action)


def _told(material: Material, share: float, rng: random.Random) -> list[str]:
    return told_arguments(material, rng) if rng.random() < share else []


def _nameless(material: Material, said: Sequence[str]) -> list[str]:
    """Without what the tool and its group are called, where enough is left: proper names, and words of the names that
    only say of which kind the next word is."""
    names = {*material.name, *material.group}
    whole = {material.tool.name.lower(), "".join(material.name), "".join(material.group)}

    def of_names(word: str) -> bool:
        parts = words(word).split()
        return word.lower() in whole or bool(parts) and names.issuperset(parts)

    after = [*said[1:], ""]
    qualifying = [bool(content([other])) and not of_names(other) for other in after]
    common = [word for word, with_next in zip(said, qualifying, strict=True) if not (with_next and of_names(word))]
    # Where every word has a capital, a capital is no sign of a proper name.
    titled = not any(map(str.islower, content(said)))
    proper = [word for word in common if titled or word.islower() or not of_names(word)]
    return next((_mended(left) for left in (proper, common) if len(content(left)) >= ENOUGH), list(said))


def _mended(said: Sequence[str]) -> list[str]:
    """Without articles, prepositions and conjunctions that lost what they stood before."""
    hanging = {"a", "an", "the", "and", "or", *PREPOSITIONS}
    pairs = zip_longest(said, said[1:], fillvalue="")
    return trimmed([word for word, after in pairs if word not in hanging or after not in hanging - {"a", "an", "the"}])


def _sentence(parts: Sequence[str], end: str, rng: random.Random) -> str:
    """One line, often without capital or punctuation, as people write to a machine."""
    text = " ".join(parts)
    if rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    return _ended(text, end) if rng.random() < 0.7 else text


def _ended(text: str, end: str) -> str:
    return _I.sub("I", text[:1].upper() + text[1:]) + end
