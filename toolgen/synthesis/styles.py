"""The styles of queries by name, how often each is drawn, and the drawing."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from toolgen.errors import InputError
from toolgen.synthesis import everyday, plain
from toolgen.synthesis.material import Material
from toolgen.tools import Tool

Style = Callable[[Material, random.Random], str]

Weights = Mapping[str, float]
"""Style -> how often it is drawn; need not sum to 1."""


def _finished(choose: Callable[[Material, random.Random], list[str]], material: Material, rng: random.Random) -> str:
    return plain.finished(choose(material, rng), rng)


STYLES: Mapping[str, Style] = {
    "named": partial(_finished, plain.named),
    "verbatim": partial(_finished, plain.verbatim),
    "parametrised": partial(_finished, plain.parametrised),
    "summarised": partial(_finished, plain.summarised),
    "fragment": partial(_finished, plain.fragment),
    "combined": partial(_finished, plain.combined),
    "short": everyday.short,
    "vague": everyday.vague,
    "question": everyday.question,
    "imperative": everyday.order,
    "long": everyday.long,
    "misspelt": everyday.mistyped,
}

PLAIN: Weights = {
    "named": 0.3,
    "verbatim": 0.08,
    "parametrised": 0.12,
    "summarised": 0.3,
    "fragment": 0.1,
    "combined": 0.1,
}

VARIED: Weights = {
    "named": 0.1,
    "verbatim": 0.03,
    "parametrised": 0.03,
    "summarised": 0.13,
    "fragment": 0.04,
    "combined": 0.02,
    "short": 0.12,
    "vague": 0.18,
    "question": 0.13,
    "imperative": 0.09,
    "long": 0.08,
    "misspelt": 0.05,
}
"""A third close to the document, a third of what such models fail on (short, vague, misspelt), a third in sentences."""

SETS: Mapping[str, Weights] = {"plain": PLAIN, "varied": VARIED}


class Made(NamedTuple):
    """A query and how it was made."""

    text: str
    style: str


def style_weights(chosen: str | Mapping[str, float]) -> Weights:
    """The weights of a named set, or the given ones, checked.

    Args:
        chosen: ``"plain"``, ``"varied"``, or styles and their weights, such as ``"short=1,vague=2"``.

    Raises:
        InputError: There is no such set or style, a weight is no number, negative, or all are 0.
    """
    if isinstance(chosen, str) and chosen in SETS:
        return SETS[chosen]
    if isinstance(chosen, str):
        chosen = _parse(chosen)
    if unknown := [style for style in chosen if style not in STYLES]:
        raise InputError(f"There is no style {unknown[0]!r}. The styles are {', '.join(STYLES)}.")
    if any(not 0 <= weight < float("inf") for weight in chosen.values()) or not any(chosen.values()):
        raise InputError(f"The weights of styles must be 0 or more, and one more than 0; found {dict(chosen)}.")
    return chosen


def _parse(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in text.split(","):
        name, _, number = (part.strip() for part in item.partition("="))
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"Styles {text!r} are neither {' nor '.join(SETS)} nor styles with their weights, such as "
                f"short=1,vague=2. The styles are {', '.join(STYLES)}."
            ) from error
    return weights


def make_queries(tool: Tool, count: int, rng: random.Random, styles: Weights = PLAIN) -> list[Made]:
    """Make queries for one tool.

    Args:
        tool: Its document is all that they are made of.
        count: How many.
        rng: Draws styles and words.
        styles: How often each style is drawn.
    """
    material = Material(tool)
    names = rng.choices(list(styles), list(styles.values()), k=count)
    return [Made(STYLES[name](material, rng), name) for name in names]
