"""Queries for many samples of tools by a model, and what that will cost. Knows no terminal.

A sample whose first answer holds no usable query is asked for once more, as a new answer may; a second one like it is
final. Both answers are kept, so a later run asks for neither again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

from toolgen.endpoint import Answer, Endpoint, EndpointSettings, Messages, Unanswered
from toolgen.errors import InputError
from toolgen.files import fingerprint
from toolgen.instructions.answers import read_answer
from toolgen.instructions.samples import Sampler
from toolgen.instructions.wording import messages_of
from toolgen.queries import Query

ATTEMPTS = 2
"""Answers that a sample may take."""

GIVE_UP = 5
"""Samples in a row without an answer after which the endpoint is taken to be gone."""

CHARACTERS_A_TOKEN = 4
"""Of English text; other scripts and JSON take more tokens."""

ANSWER_TOKENS = 1100
"""Seven queries of about 45 words and three of about 90, 4 tokens for 3 words, and some 25 of JSON for each."""

ESTIMATED = 50
"""Prompts that are measured for an estimate, evenly spread."""


@dataclass(frozen=True)
class Generation:
    """What came of it.

    Attributes:
        queries: All that can be used.
        samples: Samples with an answer, usable or not.
        asked: Answers that were asked for now; the others were kept from before.
        faults: What could not be used: reason -> how often.
        unanswered: Samples without an answer: reason -> how often.
        prompt_tokens: Of the answers asked for now, as the endpoint counts them; 0 where it does not tell.
        answer_tokens: The same of what it wrote.
    """

    queries: tuple[Query, ...]
    samples: int
    asked: int
    faults: Mapping[str, int]
    unanswered: Mapping[str, int]
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Estimate:
    """What a run would take at most when every first answer is usable.

    Attributes:
        prompts: How many.
        prompt_tokens: Characters divided by ``CHARACTERS_A_TOKEN``.
        answer_tokens: ``ANSWER_TOKENS`` for each.
    """

    prompts: int
    prompt_tokens: int
    answer_tokens: int

    def price(self, prompt: float, answer: float) -> float:
        """What they cost at these prices of a million tokens each."""
        return (self.prompt_tokens * prompt + self.answer_tokens * answer) / 1e6


class _Outcome(NamedTuple):
    """What one sample gave."""

    queries: tuple[Query, ...]
    answers: tuple[Answer, ...]
    faults: Mapping[str, int]


def generate(
    sampler: Sampler,
    count: int,
    settings: EndpointSettings,
    kept: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Generation:
    """Have queries written for the first samples.

    Interrupted, it loses the answers under way alone: called again, it asks for what is missing.

    Args:
        sampler: Draws the samples.
        count: How many of them.
        settings: Whom to ask, and how.
        kept: Folder of the answers.
        progress: Told (samples done, all).

    Raises:
        InputError: The endpoint refuses all requests, or does not answer any more.
        MissingPackageError: The package that speaks HTTP is not installed.
    """
    return asyncio.run(_generate(sampler, count, settings, kept, progress))


async def _generate(
    sampler: Sampler,
    count: int,
    settings: EndpointSettings,
    kept: Path,
    progress: Callable[[int, int], None] | None,
) -> Generation:
    outcomes: dict[int, _Outcome] = {}
    unanswered: Counter[str] = Counter()
    in_a_row = 0

    async def work(numbers: Iterator[int]) -> None:
        nonlocal in_a_row
        for number in numbers:
            try:
                outcomes[number] = await _ask_for(sampler, number, endpoint, settings.model)
                in_a_row = 0
            except Unanswered as error:
                unanswered[str(error)] += 1
                in_a_row += 1
                if in_a_row >= GIVE_UP:
                    raise InputError(
                        f"The endpoint left {in_a_row} samples in a row without an answer, the last because of: "
                        f"{error}. What it answered is kept in {kept}; run the same command again to go on."
                    ) from error
            if progress is not None:
                progress(len(outcomes) + unanswered.total(), count)

    async with Endpoint(settings, kept) as endpoint:
        numbers = iter(range(count))
        await asyncio.gather(*(work(numbers) for _ in range(min(settings.concurrency, count))))
    done = [outcomes[number] for number in sorted(outcomes)]
    answers = [answer for outcome in done for answer in outcome.answers if answer.asked]
    return Generation(
        queries=tuple(query for outcome in done for query in outcome.queries),
        samples=len(done),
        asked=len(answers),
        faults=sum((Counter(outcome.faults) for outcome in done), Counter()),
        unanswered=unanswered,
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        answer_tokens=sum(answer.answer_tokens for answer in answers),
    )


async def _ask_for(sampler: Sampler, number: int, endpoint: Endpoint, model: str) -> _Outcome:
    sample = sampler.sample(number)
    messages = messages_of(sample)
    answers: list[Answer] = []
    faults: Counter[str] = Counter()
    queries: tuple[Query, ...] = ()
    while not queries and len(answers) < ATTEMPTS:
        answers.append(await endpoint.ask(messages, attempt=len(answers)))
        reading = read_answer(answers[-1].text, sample)
        faults.update(reading.faults)
        if answers[-1].cut:
            faults["answer that the limit of tokens cut"] += 1
        name = f"{sampler.kind}-{fingerprint([model, list(messages)])}"
        metadata = {"style": "generated", "kind": sampler.kind, "model": model}
        queries = tuple(
            Query(f"{name}-{place}", pair.text, pair.tools, metadata=metadata)
            for place, pair in enumerate(reading.pairs)
        )
    return _Outcome(queries, tuple(answers), faults)


def estimate(sampler: Sampler, count: int) -> Estimate:
    """What the first samples would take, from the lengths of some of their prompts."""
    step = ceil(count / ESTIMATED)
    measured = [_characters(messages_of(sampler.sample(number))) for number in range(0, count, step)]
    prompt_tokens = ceil(sum(measured) / len(measured) * count / CHARACTERS_A_TOKEN)
    return Estimate(count, prompt_tokens, count * ANSWER_TOKENS)


def _characters(messages: Messages) -> int:
    return sum(len(message["content"]) for message in messages)
