"""Word problems of one and two hops, and a small decoder brought up on them: where it pays to call. Knows texts, tools'
names and the decoder's making; nothing of rows.

The decoder (some 6 million parameters) reads solved problems with operands of one to eight digits, and now and then the
same problems as demonstrations of calls, since a base that has never seen brackets behind a name cannot fill them in.
It learns to set up what a problem asks for, and to copy numbers; to multiply eight digits it does not learn. The larger
the operands, the more a tool is worth (ToolkenGPT's GSM8K-XL, arXiv 2305.11554, section 4.1).

Only solutions are learned: what a question's numbers are cannot be known, and where no demonstration went before, a
result stands behind "=" and no name. Otherwise the decoder would write names where it has no tools.

Legend: ``N`` windows, ``T`` tokens of a window.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from toolgen.base import without_bars
from toolgen.benchmarks.decoder import Document, Shape, document_windows, fit_decoder, start_decoder
from toolgen.toolken.evaluation import Problem
from toolgen.toolken.form import BETWEEN, demonstrate
from toolgen.toolken.texts import AnnotatedText, Span

SIGNS = {"<add>": "+", "<subtract>": "-", "<multiply>": "*", "<divide>": "/"}
"""The tools, and how a solution writes what they do."""

MOST_DIGITS = 8

SHAPE = Shape(entries=600, width=256, layers=8, heads=8, inner=704, context=256)
STEPS = 3000

_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "<add>": lambda a, b: a + b,
    "<subtract>": lambda a, b: a - b,
    "<multiply>": lambda a, b: a * b,
    "<divide>": lambda a, b: a // b,
}

_FIRST = {
    "<add>": (
        "{who} has {a} {what} and buys {b} more.",
        "There are {a} {what} on the shelf and {b} {what} in the box.",
        "{who} finds {a} {what} in the morning and {b} {what} at night.",
    ),
    "<subtract>": (
        "{who} has {a} {what} and gives {b} of them away.",
        "Of {a} {what} in the store, {b} are sold.",
        "{who} needs {a} {what} and has found {b} so far. Count the missing ones.",
    ),
    "<multiply>": (
        "There are {a} boxes with {b} {what} in each box.",
        "{who} makes {a} {what} every day for {b} days.",
        "Each of {a} rows holds {b} {what}.",
    ),
    "<divide>": (
        "{who} shares {a} {what} equally among {b} friends. Count those of one friend.",
        "{a} {what} are packed into {b} equal bags. Count those in one bag.",
        "A machine made {a} {what} in {b} hours. Count those of one hour.",
    ),
}
_SECOND = {
    "<add>": ("Then {c} more {what} come in.", "Later {c} {what} are added."),
    "<subtract>": ("Then {c} of them are lost.", "Later {c} of these are taken out."),
    "<multiply>": ("Then the number grows {c} times.", "This happens {c} times over."),
    "<divide>": ("Then they are split into {c} equal parts. Count one part.", "A {c}th part of them stays."),
}
_ASK = ("How many {what} are there?", "How many {what} is that?", "What is the number of {what}?")
_WHO = ("Anna", "Ben", "Clara", "David", "Eva", "Finn", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Leo")
_WHAT = ("pens", "apples", "coins", "books", "stamps", "cards", "bolts", "shells", "seeds", "beads", "nails", "plates")


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A problem and how it is solved.

    Attributes:
        text: Question and solution, with a span for each result.
        prompt: The question, up to where the solution begins.
        answer: The number.
    """

    text: AnnotatedText
    prompt: str
    answer: str

    def problem(self) -> Problem:
        """What an evaluation asks."""
        return Problem(self.text.id, self.prompt, self.answer)


def word_problem(draw: random.Random, digits: int, hops: int, name: str) -> WordProblem:
    """A problem at random.

    Args:
        draw: Source of chance.
        digits: Of the operands; divisors and multipliers have half as many, those of a second hop one.
        hops: 1 or 2.
        name: Its id.
    """
    who, what = draw.choice(_WHO), draw.choice(_WHAT)
    tool = draw.choice(list(SIGNS))
    a, b = _operands(draw, tool, digits)
    asks = draw.choice(_FIRST[tool]).format(who=who, what=what, a=a, b=b)
    steps = [(tool, a, b)]
    result = _COMPUTE[tool](a, b)
    if hops == 2:
        second, c = _further(draw, result, digits)
        asks += " " + draw.choice(_SECOND[second]).format(what=what, c=c)
        steps.append((second, result, c))
        result = _COMPUTE[second](result, c)
    prompt = f"Q: {asks} {draw.choice(_ASK).format(what=what)}\nA:"
    text, spans = prompt, []
    for tool, left, right in steps:
        text += f" {left} {SIGNS[tool]} {right} = "
        value = str(_COMPUTE[tool](left, right))
        spans.append(Span(len(text), len(text) + len(value), tool, (str(left), str(right)), value))
        text += f"{value}."
    return WordProblem(AnnotatedText(name, f"{text} #### {result}", tuple(spans)), prompt, str(result))


def word_problems(count: int, digits: Sequence[int], hops: Sequence[int], seed: int) -> list[WordProblem]:
    """Distinct problems, of each number of digits and hops alike."""
    draw = random.Random(seed)
    found: dict[str, WordProblem] = {}
    while len(found) < count:
        number = len(found)
        drawn = word_problem(
            draw, digits[number % len(digits)], hops[number // len(digits) % len(hops)], f"p{seed}-{number}"
        )
        found.setdefault(drawn.text.text, drawn)
    return list(found.values())


def train_arithmetic_decoder(
    output: Path, *, shape: Shape = SHAPE, steps: int = STEPS, batch_size: int = 8, seed: int = 0
) -> Path:
    """Bring up a decoder and its tokenizer, and save them as a folder for ``toolgen.base.load_base``.

    Args:
        output: The folder.
        shape: Size of the decoder.
        steps: Of training.
        batch_size: Windows of ``shape.context`` tokens a step.
        seed: Of texts, weights and order.
    """
    tokenizer = arithmetic_tokenizer(shape.entries, seed)
    windows_NT, labels_NT = document_windows(tokenizer, _documents(seed), shape.context, steps * batch_size)
    model = start_decoder(shape, tokenizer, seed)
    model = fit_decoder(model, windows_NT, steps, batch_size, 1e-3, "auto", seed, labels_NT)
    with without_bars():
        model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return output


def arithmetic_tokenizer(entries: int, seed: int = 0) -> PreTrainedTokenizerBase:
    """A byte-level BPE in which every digit and every blank before one is a token of its own."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{L}+|\d| ?[^\s\p{L}\d]+|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator((document.text for document in itertools.islice(_documents(seed), 2000)), trainer)
    begin_id = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin_id)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def _documents(seed: int) -> Iterator[Document]:
    """Solved problems without end, and every third time demonstrations of one tool's calls."""
    draw = random.Random(f"documents {seed}")
    for number in itertools.count():
        if number % 3:
            problem = _drawn(draw)
            yield Document(problem.text.text, ((0, len(problem.prompt)),))
        else:
            yield _demonstrations(draw)


def _drawn(draw: random.Random) -> WordProblem:
    return word_problem(draw, draw.randint(1, MOST_DIGITS), draw.randint(1, 2), "")


def _demonstrations(draw: random.Random) -> Document:
    tool = draw.choice(list(SIGNS))
    text, given = "", []
    most = draw.randint(2, 5)
    shown = 0
    while shown < most:
        problem = _drawn(draw)
        span = next((span for span in problem.text.calls if span.tool == tool), None)
        if span is None:
            continue
        begun, lead = len(text), BETWEEN if shown else ""
        text += lead + demonstrate(problem.text, span)
        given.append((begun, begun + len(lead) + len(problem.prompt)))
        if not shown:
            # Before the first name nothing says that there are any.
            name = text.rindex(f" {tool}(")
            given.append((name, name + len(tool) + 2))
        shown += 1
    return Document(text, tuple(given))


def _operands(draw: random.Random, tool: str, digits: int) -> tuple[int, int]:
    a, b = _number(draw, digits), _number(draw, digits)
    if tool == "<subtract>":
        return max(a, b), min(a, b)
    if tool == "<divide>":
        divisor = max(2, _number(draw, (digits + 1) // 2))
        return max(1, a // divisor) * divisor, divisor
    return (a, _number(draw, (digits + 1) // 2)) if tool == "<multiply>" else (a, b)


def _further(draw: random.Random, result: int, digits: int) -> tuple[str, int]:
    """A second hop from a result on, and its other operand."""
    tool = draw.choice(list(SIGNS))
    if tool == "<subtract>":
        if result > 1:
            return tool, min(_number(draw, digits), result - 1)
        return "<add>", _number(draw, digits)
    if tool == "<divide>":
        divisors = [c for c in range(2, 10) if result and result % c == 0]
        return (tool, draw.choice(divisors)) if divisors else ("<multiply>", draw.randint(2, 9))
    return (tool, _number(draw, digits)) if tool == "<add>" else (tool, draw.randint(2, 9))


def _number(draw: random.Random, digits: int) -> int:
    return draw.randint(10 ** (digits - 1), 10**digits - 1)
