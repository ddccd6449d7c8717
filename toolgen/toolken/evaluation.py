"""What toolkens are worth when the model writes by itself: arguments and results behind texts as they stand, and
answers to problems, with tools and without. Knows the room; no command line.

Answers are compared as ToolkenGPT does: rounded to the decimals of the right one (two at least), or within 0.1% of it.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from toolgen.agent.environment import Environment, Status
from toolgen.agent.machine import Machine, Settings, Transcript
from toolgen.agent.stream import Stream
from toolgen.base import Base
from toolgen.embeddings import Progress
from toolgen.errors import InputError
from toolgen.files import read_jsonl
from toolgen.functions.hub import HUBS, FunctionHub
from toolgen.functions.numbers import NumberError, read_number
from toolgen.terminal import err
from toolgen.tokenizer import decode, encode_text, end_token_id
from toolgen.toolken.form import BETWEEN, ReplaceForm
from toolgen.toolken.linearize import opening_id
from toolgen.toolken.linearize import replace as replace_results
from toolgen.toolken.texts import AnnotatedText
from toolgen.toolken.toolkens import Toolkens, row_ids
from toolgen.tools import Tool, ToolCatalog

TOLERANCE = Fraction(1, 1000)
_FEWEST_DECIMALS = 2

_READ = 4
"""Tokens that may hold an empty line."""

_NUMBER = re.compile(r"(?:(?<![\w.)])[-+])?\$?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:/\d+|%)?")
_MARK = "####"
"""Before GSM8K's answers."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with one number for an answer.

    Attributes:
        id: Unique within its file.
        prompt: What the model goes on from.
        answer: The number, as it is written.
    """

    id: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Solution:
    """What a model made of a problem.

    Attributes:
        problem: The problem.
        text: What it wrote behind the prompt.
        transcript: The same as tokens, with its calls.
        right: Whether the last number is the answer.
    """

    problem: Problem
    text: str
    transcript: Transcript
    right: bool


@dataclass(frozen=True)
class ArgumentFigures:
    """How calls are filled in where texts call.

    Attributes:
        exact: Share whose arguments are the text's own, as numbers.
        executed: Share that ran.
        results: Share whose result is the text's own.
        calls: All that were tried.
    """

    exact: float
    executed: float
    results: float
    calls: int


def read_problems(path: Path, prompt: str) -> list[Problem]:
    """Read problems: JSON lines with ``question`` and ``answer``, perhaps an ``id``.

    Args:
        path: The file; gzip by suffix.
        prompt: Holds ``{question}``.

    Raises:
        InputError: A record lacks a question or a number for an answer.
    """
    if "{question}" not in prompt:
        raise InputError(f"The prompt {prompt!r} has no place for the question. Write {{question}} where it stands.")
    found = []
    for number, (record, where) in enumerate(read_jsonl(path), start=1):
        question, answer = record.get("question"), _written(record.get("answer"))
        if not isinstance(question, str) or _number(answer) is None:
            raise InputError(
                f"{where}: a problem needs 'question', a string, and 'answer', a number; found {record!r}."
            )
        found.append(Problem(str(record.get("id") or number), prompt.replace("{question}", question), answer))
    return found


class Solver:
    """Toolkens, their base and their functions, ready to write."""

    def __init__(self, toolkens: Toolkens, base: Base, environment: Environment | None = None) -> None:
        """
        Args:
            toolkens: The rows.
            base: As from ``toolkens.load_base``.
            environment: Runs the tools; None: the hub that they were trained with.

        Tools that nothing runs, and such as take arguments and have no demonstration, are not called; a remark says so.

        Raises:
            InputError: No tool is left to call.
        """
        if environment is None:
            if toolkens.hub is None:
                raise InputError("Nothing runs these tools: they were trained without a hub. Give an environment.")
            environment = HUBS[toolkens.hub]()
        self.environment = environment
        self._toolkens = toolkens
        self._base = base
        called = [tool for tool in toolkens.catalog.values() if _can_be_called(tool, toolkens, environment)]
        if not called:
            raise InputError(
                f"None of the {len(toolkens.catalog)} tools can be called: nothing runs them, or no training text "
                "shows their arguments. Give another environment, or training texts that call them with arguments."
            )
        self._tools = ToolCatalog(called)
        if left := [tool for tool in toolkens.catalog.ids if tool not in self._tools]:
            err.print(
                f"{len(left)} of {len(toolkens.catalog)} tools are not called, such as {left[0]!r}: nothing runs them, "
                "or they take arguments and no demonstration shows how.",
                markup=False,
            )
        self._rows_SD = toolkens.rows_SD[[toolkens.catalog.position(tool.id) for tool in called]]
        read = environment.read if isinstance(environment, FunctionHub) else lambda _, text: (text,)
        self.form = ReplaceForm(base.model, base.tokenizer, self._tools, toolkens.demonstrations, read)

    def write(self, prompt: str, settings: Settings | None = None, *, tools: bool = True) -> tuple[str, Transcript]:
        """Go on from a prompt until the end token or an empty line.

        Args:
            prompt: The text so far.
            settings: See there; the bias and the end are the toolkens' and the tokenizer's own.
            tools: False: no tool is called.

        Raises:
            ContextError: The model's context does not hold the prompt.
        """
        base, bias = self._base, self._toolkens.bias if tools else -math.inf
        settings = dataclasses.replace(settings or Settings(), bias=bias, end_ids=_ends(base))
        self.environment.reset()
        machine = Machine(
            base.model,
            self._rows_SD,
            self._tools.ids,
            self.environment,
            self.form,
            settings,
            finished=lambda ids: BETWEEN in decode(base.tokenizer, ids[-_READ:]),
        )
        opening = opening_id(base.tokenizer)
        start = [*([] if opening is None else [opening]), *encode_text(base.tokenizer, prompt)]
        done = machine.run(start)
        own = done.ids[:-1] if done.ended == "end" else done.ids
        return decode(base.tokenizer, own), done

    def solve(
        self,
        problems: Sequence[Problem],
        *,
        tools: bool,
        settings: Settings | None = None,
        progress: Progress | None = None,
    ) -> list[Solution]:
        """Write an answer to each problem."""
        found = []
        for number, problem in enumerate(problems, start=1):
            text, transcript = self.write(problem.prompt, settings, tools=tools)
            found.append(Solution(problem, text, transcript, is_right(text, problem.answer)))
            if progress is not None:
                progress(number, len(problems))
        return found

    def fill_in(
        self, texts: Sequence[AnnotatedText], most: int = 500, progress: Progress | None = None
    ) -> ArgumentFigures:
        """Have the model write the arguments of the calls of texts, each behind the text as it stands.

        Args:
            texts: Their calls with arguments are tried.
            most: Calls, the first ones.
            progress: Told calls done and all.
        """
        todo = [
            (text, span)
            for text in texts
            for span in text.calls
            if span.arguments is not None and span.tool in self._tools
        ][:most]
        exact = executed = results = 0
        rows = row_ids(self._base, self._toolkens.catalog)
        for number, (text, span) in enumerate(todo, start=1):
            self.environment.reset()
            # Where the row is to win, which for some tokenizers is behind a blank.
            alone = replace_results(dataclasses.replace(text, calls=(span,)), self._base.tokenizer, rows, words=False)
            place = alone.labels.index(rows[span.tool])
            written = self.form.write(Stream(self._base.model, alone.input_ids[:place]), span.tool)
            if written.arguments is not None:
                exact += _same(written.arguments, span.arguments)
                observation = self.environment.call(span.tool, written.arguments)
                if observation.status is Status.OK:
                    executed += 1
                    results += is_right(observation.content, span.result or text.text[span.start : span.end])
            if progress is not None:
                progress(number, len(todo))
        count = max(1, len(todo))
        return ArgumentFigures(exact / count, executed / count, results / count, len(todo))


def _ends(base: Base) -> frozenset[int]:
    """Tokens that end a text: the tokenizer's, and what the model itself names."""
    named = base.model.generation_config.eos_token_id if base.model.generation_config is not None else None
    own = named if isinstance(named, list) else [] if named is None else [named]
    return frozenset([end_token_id(base.tokenizer), *own])


def _can_be_called(tool: Tool, toolkens: Toolkens, environment: Environment) -> bool:
    takes_arguments = bool((tool.parameters or {}).get("properties"))
    return tool.id in environment.catalog and (not takes_arguments or bool(toolkens.demonstrations.get(tool.id)))


def is_right(text: str, answer: str) -> bool:
    """Whether the last number of a text (behind ``####``, where it has that) is the answer."""
    gold, numbers = _number(answer), _NUMBER.findall(text.split(_MARK)[-1])
    found = _number(numbers[-1]) if numbers else None
    if gold is None or found is None:
        return False
    decimals = max(_FEWEST_DECIMALS, len(answer.partition(".")[2]))
    return round(found, decimals) == round(gold, decimals) or abs(found - gold) <= TOLERANCE * abs(gold)


def _written(answer: object) -> str:
    """An answer of JSON as text, without an exponent."""
    return format(Decimal(repr(answer)), "f") if isinstance(answer, float) else str(answer)


def _number(text: str) -> Fraction | None:
    try:
        return read_number(text.rstrip(",."))
    except NumberError:
        return None


def _same(written: object, wanted: object) -> bool:
    if not isinstance(written, Sequence) or not isinstance(wanted, Sequence):
        return written == wanted
    return [_value(value) for value in written] == [_value(value) for value in wanted]


def _value(value: object) -> object:
    """A number as such, anything else as its text."""
    text = str(value).strip()
    number = _number(text)
    return text if number is None else number
