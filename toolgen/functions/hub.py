"""Sets of functions as environments: FuncQA's, GSM8K's and VirtualHome's. Knows how a call's arguments become numbers
and its result text; no models and no texts around the call.

Nothing is rounded between hops. A result is shown with a few decimals, and until ``reset()`` an argument that equals
what was shown stands for the exact value: after ``divide(1, 3)`` has shown 0.3333, ``multiply(0.3333, 3)`` is 1. Of two
results that were shown alike the later one counts. Functions of whole numbers take their arguments as written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from toolgen.agent.environment import Arguments, Observation, Status
from toolgen.functions.arithmetic import NoResultError
from toolgen.functions.grammar import ArgumentsError, read_arguments
from toolgen.functions.household import WORDS
from toolgen.functions.numbers import NumberError, brief, read_number, show_number
from toolgen.functions.signatures import FUNCTIONS, Function
from toolgen.tools import Tool, ToolCatalog

_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool and what a call of it does.

    Attributes:
        tool: What the catalogue says.
        action: The function that is computed, or the text that is the result of a tool without arguments.
    """

    tool: Tool
    action: Function | str


class FunctionHub:
    """Functions that a model calls in the middle of a text; an ``Environment``.

    Example:
        >>> hub = funcqa()
        >>> hub.call("<divide>", ["1", "3"]).content, hub.call("<multiply>", ["0.3333", "3"]).content
        ('0.3333', '1')
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        """
        Raises:
            InputError: There is no entry, or two tools share an id.
        """
        self._catalog = ToolCatalog(entry.tool for entry in entries)
        self._actions = {entry.tool.id: entry.action for entry in entries}
        self._exact: dict[Fraction, Fraction] = {}

    @property
    def catalog(self) -> ToolCatalog:
        """The functions."""
        return self._catalog

    def reset(self) -> None:
        """Forget the exact values of what was shown."""
        self._exact.clear()

    def read(self, tool: str, text: str) -> tuple[str, ...]:
        """The arguments in the text between the brackets of a tool's call, as ``call`` takes them.

        Only a function that takes one number can read ``1,234`` as one.

        Args:
            tool: One of the catalogue.
            text: What stands between the brackets.

        Raises:
            ArgumentsError: The text is no arguments.
        """
        action = self._actions[tool]
        return read_arguments(text, 0 if isinstance(action, str) else action.most)

    def call(self, tool: str, arguments: Arguments) -> Observation:
        """Compute a function.

        Args:
            tool: Id of a function.
            arguments: Numbers as text by place, or numbers or their text by name.
        """
        if tool not in self._actions:
            return Observation(
                Status.UNKNOWN_TOOL, f"There is no tool {brief(tool)}. The tools are {', '.join(self._catalog)}."
            )
        action = self._actions[tool]
        if isinstance(action, str):
            if arguments:
                return Observation(Status.BAD_ARGUMENTS, f"{tool} takes no arguments, found {len(arguments)}.")
            return Observation(Status.OK, action)
        try:
            numbers = self._numbers(action, _by_place(action, arguments))
        except (ArgumentsError, NumberError) as error:
            return Observation(Status.BAD_ARGUMENTS, f"{tool}: {error}")
        try:
            result = action.compute(*numbers)
        except NoResultError as error:
            return Observation(Status.FAILED, f"{tool} has no result: {error}.")
        shown = show_number(result)
        self._exact[read_number(shown)] = result
        return Observation(Status.OK, shown)

    def _numbers(self, function: Function, texts: Sequence[str]) -> list[Fraction]:
        least = len(function.inputs) if function.least is None else function.least
        if not least <= len(texts) <= function.most:
            bounds = str(least) if least == function.most else f"{least} to {function.most}"
            raise ArgumentsError(f"it takes {bounds} argument(s), found {len(texts)}.")
        numbers = [read_number(text) for text in texts]
        if not function.whole:
            return [self._exact.get(number, number) for number in numbers]
        for text, number in zip(texts, numbers, strict=True):
            if number.denominator != 1:
                raise ArgumentsError(f"its arguments are whole numbers, found {brief(text)}.")
        return numbers


def _by_place(function: Function, arguments: Arguments) -> list[str]:
    assert not isinstance(arguments, str), "a text is read first: call(tool, read(tool, text))"
    if not isinstance(arguments, Mapping):
        return [_text(value) for value in arguments]
    if set(arguments) != set(function.inputs):
        found = ", ".join(map(str, arguments)) or "none"
        raise ArgumentsError(f"the names of its arguments are {', '.join(function.inputs)}, found {brief(found)}.")
    if function.least is None:
        return [_text(arguments[name]) for name in function.inputs]
    (values,) = arguments.values()
    if not isinstance(values, (list, tuple)):
        raise ArgumentsError(f"'{function.inputs[0]}' is a list of numbers, found {brief(str(values))}.")
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    """A number of JSON as text without an exponent."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentsError(f"its arguments are numbers, found {brief(str(value))}.")
    return format(Decimal(value if isinstance(value, int) else repr(value)), "f")


def _arithmetic(source: str, names: Iterable[str]) -> FunctionHub:
    return FunctionHub(
        [
            Entry(
                Tool(
                    f"<{name}>",
                    name,
                    FUNCTIONS[name].description,
                    FUNCTIONS[name].parameters(),
                    group="arithmetic",
                    source=source,
                ),
                FUNCTIONS[name],
            )
            for name in names
        ]
    )


def funcqa() -> FunctionHub:
    """FuncQA's 13 functions."""
    return _arithmetic("funcqa", FUNCTIONS)


def gsm8k() -> FunctionHub:
    """The four operations of GSM8K and GSM8K-XL."""
    return _arithmetic("gsm8k", ("add", "subtract", "multiply", "divide"))


def virtualhome() -> FunctionHub:
    """The words of VirtualHome's plans, each of which results in its own text.

    They are those that ToolkenGPT's published training file names: 24 actions, 30 objects and ``[END]``, together 55.
    The paper counts 58, with 25 actions and 32 objects; the others are named nowhere in it.
    """
    return FunctionHub(
        [
            Entry(
                Tool(word.id, word.name, word.description, _NOTHING, group=word.group, source="virtualhome"),
                word.written,
            )
            for word in WORDS
        ]
    )


HUBS: dict[str, Callable[[], FunctionHub]] = {"funcqa": funcqa, "gsm8k": gsm8k, "virtualhome": virtualhome}
"""Sets of functions by name."""
