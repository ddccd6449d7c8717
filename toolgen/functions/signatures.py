"""FuncQA's 13 functions as a catalogue has them: what each is called, what it is for and what it takes. Knows no texts
of calls and no models."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from toolgen.functions import arithmetic
from toolgen.functions.grammar import MOST_ARGUMENTS


@dataclass(frozen=True, slots=True)
class Function:
    """One function of numbers and what a catalogue says about it.

    Attributes:
        name: Its name.
        description: What it computes.
        inputs: Names of its arguments in their order; with ``least``, one name for all.
        compute: The function. It takes the arguments by place and raises NoResultError.
        least: Fewest arguments of a function that takes up to ``MOST_ARGUMENTS``; None for one that takes ``inputs``.
        whole: Its arguments are whole numbers.
    """

    name: str
    description: str
    inputs: tuple[str, ...]
    compute: Callable[..., Fraction]
    least: int | None = None
    whole: bool = False

    @property
    def most(self) -> int:
        """Arguments that it takes at most."""
        return len(self.inputs) if self.least is None else MOST_ARGUMENTS

    def parameters(self) -> dict[str, Any]:
        """Its arguments as JSON Schema."""
        number: dict[str, Any] = {"type": "integer" if self.whole else "number"}
        if self.least is not None:
            number = {"type": "array", "items": number, "minItems": self.least, "maxItems": self.most}
        return {
            "type": "object",
            "properties": {name: number for name in self.inputs},
            "required": list(self.inputs),
            "additionalProperties": False,
        }


FUNCTIONS = {
    function.name: function
    for function in (
        Function(
            "add",
            "Adds numbers: the sum of two or more amounts, how many there are altogether, a total.",
            ("numbers",),
            arithmetic.add,
            least=2,
        ),
        Function(
            "subtract",
            "Takes numbers away from the first one: the difference, how much is left or how much more it is.",
            ("numbers",),
            arithmetic.subtract,
            least=2,
        ),
        Function(
            "multiply",
            "Multiplies numbers: the product, so many times an amount, a rate times its duration, an area.",
            ("numbers",),
            arithmetic.multiply,
            least=2,
        ),
        Function(
            "divide",
            "Divides the first number by the others: the quotient, an equal share, a ratio, an amount for each one.",
            ("numbers",),
            arithmetic.divide,
            least=2,
        ),
        Function(
            "power",
            "Raises a base to an exponent. For growth or decay by the same factor again and again, compound interest, "
            "squares and cubes.",
            ("base", "exponent"),
            arithmetic.power,
        ),
        Function(
            "sqrt",
            "The square root of a number. For the side of a square of a given area or a deviation from a variance.",
            ("number",),
            arithmetic.sqrt,
        ),
        Function(
            "log",
            "The common logarithm of a number, to base 10: the exponent that ten needs to reach it.",
            ("number",),
            arithmetic.log,
        ),
        Function(
            "ln",
            "The natural logarithm of a number, to base e: the exponent of steady growth that reaches it.",
            ("number",),
            arithmetic.ln,
        ),
        Function(
            "lcm",
            "The least common multiple of whole numbers: when cycles of different lengths first meet again.",
            ("numbers",),
            arithmetic.lcm,
            least=1,
            whole=True,
        ),
        Function(
            "gcd",
            "The greatest common divisor of whole numbers: the largest equal groups or pieces without any left over.",
            ("numbers",),
            arithmetic.gcd,
            least=1,
            whole=True,
        ),
        Function(
            "choose",
            "Counts combinations: in how many ways some of a number of things can be chosen when order does not "
            "matter, as for a committee or a team.",
            ("things", "chosen"),
            arithmetic.choose,
            whole=True,
        ),
        Function(
            "permutate",
            "Counts permutations: in how many orders some of a number of things can be arranged, as for seats or "
            "ranks.",
            ("things", "chosen"),
            arithmetic.permutate,
            whole=True,
        ),
        Function(
            "remainder",
            "The remainder of a division, modulo: what is left over when the first number is shared out in groups of "
            "the second.",
            ("dividend", "divisor"),
            arithmetic.remainder,
        ),
    )
}
"""By name."""
