"""Training records and the linearizer that turns them into token ids. Knows prompts and codes; no models.

A record is free of any tokenizer: a text that asks and what answers it. The linearizer makes an example of it: the
prompt's ids and, for each answer, the ids of its codes, end symbol included. The end symbol also follows an atomic code
in training, so that plain ``generate`` stops after the tool; ranking does not need it.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.prompts import PromptRenderer
from toolgen.queries import Query
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from datasets import Dataset


MultiGold = Literal["rows", "sequence"]
"""What the gold tools of a query become: an answer each, or one answer that names them all."""


@dataclass(frozen=True, slots=True)
class Record:
    """A text and its right answers: what should follow the same prompt, each with the same weight.

    Attributes:
        text: It asks.
        answers: At least one; each names one tool or several in a row, by their ids.
    """

    text: str
    answers: tuple[tuple[str, ...], ...]


def memorization_records(catalog: ToolCatalog) -> list[Record]:
    """Document -> tool, one a tool (ToolGen, stage 1)."""
    return [Record(tool.document(), ((tool.id,),)) for tool in catalog.values()]


def retrieval_records(queries: Iterable[Query], multi_gold: MultiGold = "rows") -> list[Record]:
    """Query -> tools, one record a query.

    Args:
        queries: Labelled queries.
        multi_gold: ``rows``: each gold tool is an answer, as if it were a training row of its own (ToolGen, stage 2);
            ``sequence``: one answer holds them all, in a random order that depends on the query's id alone.
    """
    return [
        Record(query.text, tuple((tool,) for tool in query.tools) if multi_gold == "rows" else (_shuffled(query),))
        for query in queries
    ]


def _shuffled(query: Query) -> tuple[str, ...]:
    # Ranking reads the first place alone: no tool may stand there more often than another.
    return tuple(random.Random(query.id).sample(sorted(query.tools), len(query.tools)))


def linearize(
    records: Sequence[Record], renderer: PromptRenderer, codes: TokenCodes, max_length: int, batch: int = 4096
) -> "Dataset":
    """Turn records into a data set with the columns ``prompt`` (token ids), ``answers`` (token ids of each) and
    ``length`` (of all together).

    An answer with several tools is their codes one after another, each closed by its own end where it has one, and an
    end symbol that closes the whole.

    Args:
        records: The pairs.
        renderer: Makes the prompts; the same one serves inference.
        codes: Token ids of every tool.
        max_length: Tokens of prompt and longest answer; a longer text loses its end, never the frame or an answer.
        batch: Texts tokenised at once.

    Raises:
        InputError: ``max_length`` leaves no room for a prompt beside the longest code.
        KeyError: A record names a tool that has no code.
    """
    from datasets import Dataset

    sequences = dict(zip(codes.tool_ids, codes.sequences, strict=True))
    answers = [
        [_closed([sequences[tool] for tool in answer], codes.end_id) for answer in record.answers] for record in records
    ]
    longest_of = [max(map(len, those)) for those in answers]
    longest = max(longest_of)
    least = len(renderer.opening_ids) + len(renderer.closing_ids) + 1
    if max_length < longest + least:
        raise InputError(
            f"training.max_length is {max_length}, but the longest answer takes {longest} tokens and a prompt at least "
            f"{least}. Give at least {longest + least}."
        )
    places: dict[int, list[int]] = defaultdict(list)
    for place, own in enumerate(longest_of):
        places[max_length - own].append(place)
    prompts: list[list[int]] = [[] for _ in records]
    for room, equal in places.items():
        for start in range(0, len(equal), batch):
            part = equal[start : start + batch]
            rendered = renderer.render([records[place].text for place in part], room)
            for place, prompt in zip(part, rendered, strict=True):
                prompts[place] = prompt
    lengths = [len(prompt) + sum(map(len, those)) for prompt, those in zip(prompts, answers, strict=True)]
    return Dataset.from_dict({"prompt": prompts, "answers": answers, "length": lengths})


def _closed(sequences: Sequence[tuple[int, ...]], end_id: int) -> list[int]:
    together = [token for sequence in sequences for token in sequence]
    closed = len(sequences) == 1 and together[-1] == end_id
    return together if closed else [*together, end_id]
