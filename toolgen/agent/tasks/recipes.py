"""What a task is made from: calls, checks and wordings with slots. Knows words and patterns; nothing of AWS.

A text such as ``"the queue {queue}"`` has slots. A text that is nothing but one slot becomes its value, of whatever
type; ``"{seconds!s}"`` becomes it as text. A slot may be a reference to an earlier response, so ids stand among
arguments as they do in thoughts.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolgen.agent.tasks.patterns import joined
from toolgen.agent.tasks.task import Check, Split
from toolgen.agent.tasks.words import Slot, share
from toolgen.queries import Call

_SLOT = re.compile(r"\{(\w+)(!s)?\}")

_FRAMES = (
    "{Ask}.",
    "{ask}",
    "Please {ask}.",
    "Could you {ask}?",
    "Can you {ask}, please?",
    "I need you to {ask}.",
    "I want you to {ask}.",
    "Would you {ask} for me?",
    "{Ask}, please.",
    "{Ask}. Thanks!",
    "Hi! Please {ask}.",
    "Hello, can you {ask}?",
    "Next job: {ask}.",
    "To do: {ask}.",
    "It is time to {ask}.",
    "We have to {ask}. Can you take care of it?",
    "My team asks us to {ask}.",
    "For the release we must {ask}.",
    "Before the meeting: {ask}.",
    "Somebody has to {ask}; do it now.",
    "I would like you to {ask}.",
    "Go ahead and {ask}.",
    "As agreed yesterday, {ask}.",
    "Help me to {ask}.",
    "You know what to do: {ask}.",
    "A ticket came in. It says: {ask}.",
    "The customer wants us to {ask}.",
    "Be so kind as to {ask}.",
    "Today's task is to {ask}.",
    "While I am away, {ask}.",
)
"""Around what is asked."""


@dataclass(frozen=True, slots=True)
class Do:
    """A call of the reference.

    Attributes:
        tool: An operation.
        arguments: With slots and references.
        thought: What is thought before it, with slots.
    """

    tool: str
    arguments: Mapping[str, Any]
    thought: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Tasks of one kind.

    Attributes:
        id: Unique among recipes.
        slots: What is drawn for a task.
        asks: Wordings, each an imperative without a full stop, with every slot that the reference's arguments need; at
            least fourteen, and no other recipe's.
        steps: The reference.
        checks: What must hold afterwards.
        answer: What the user is told, with slots.
        setup: Calls before the task.
        refs: Further slots: references to earlier responses.
        told: What the answer must contain, with slots; only for what asks for something.
        done: What is thought before the answer.
    """

    id: str
    slots: Mapping[str, Slot]
    asks: Sequence[str]
    steps: Sequence[Do]
    checks: Sequence[Check]
    answer: str
    setup: Sequence[Call] = ()
    refs: Mapping[str, Any] = field(default_factory=dict)
    told: Sequence[str] = ()
    done: str = "All is done."

    @property
    def services(self) -> tuple[str, ...]:
        """Those that are called, the setup's and the looks' included."""
        looks = [look for check in self.checks for look in check.looks]
        tools = [*self.tools, *(look.tool for look in looks)]
        return tuple(dict.fromkeys(tool.partition(".")[0] for tool in tools))

    @property
    def tools(self) -> tuple[str, ...]:
        """Those that the reference and the setup call."""
        return (*(step.tool for step in self.steps), *(call.tool for call in self.setup))


def check(tool: str, arguments: Mapping[str, Any], holds: Any = None, *, fails: str | None = None) -> Check:
    """A check of one look."""
    return Check((Call(tool, arguments),), {} if holds is None else holds, fails)


def then(first: Check, tool: str, arguments: Mapping[str, Any], holds: Any = None, fails: str | None = None) -> Check:
    """A check that looks on: the arguments may refer to what the first look saw."""
    return Check((*first.looks, Call(tool, arguments)), {} if holds is None else holds, fails)


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """JSON with its slots filled in; where a reference is put into a text, it becomes ``$join``.

    Raises:
        KeyError: There is no value for a slot.
    """
    if isinstance(template, Mapping):
        return {fill(key, values): fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(part, values) for part in template]
    if not isinstance(template, str):
        return template
    whole = _SLOT.fullmatch(template)
    if whole and not whole[2]:
        return values[whole[1]]
    parts: list[Any] = []
    end = 0
    for slot in _SLOT.finditer(template):
        parts += [template[end : slot.start()], values[slot[1]]]
        end = slot.end()
    return joined(part for part in (*parts, template[end:]) if part != "") if parts else template


def wordings(recipe: Recipe, split: Split) -> tuple[list[str], list[str]]:
    """A split's wordings of what is asked, and what it has around them."""
    return share(recipe.asks, split), share(_FRAMES, split)


def worded(recipe: Recipe, split: Split, values: Mapping[str, Any], rng: random.Random) -> str:
    """A query: what is asked, in one of a split's wordings."""
    asks, frames = wordings(recipe, split)
    ask = fill(rng.choice(asks), values)
    return rng.choice(frames).replace("{ask}", ask).replace("{Ask}", ask[0].upper() + ask[1:])
