"""Training records and the linearizer that turns them into token ids. Knows prompts and codes; no models.

A record is free of any tokenizer: a text that asks and what answers it. The linearizer makes an example of it: the
prompt's ids and, for each answer, the ids of its codes, end symbol included. The end symbol also follows an atomic code
in training, so that plain ``generate`` stops after the tool; ranking does not need it.
"""

import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.files import fingerprint
from toolgen.prompts import PromptRenderer
from toolgen.queries import Query
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from datasets import Dataset


FEWEST_KEPT = 4096
"""Records that are worth a place on the disk; fewer are tokenised in a second."""

_KEPT_FORMAT = 1
"""Raise it when the same records become other examples."""

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
    records: Sequence[Record],
    renderer: PromptRenderer,
    codes: TokenCodes,
    max_length: int,
    *,
    stops: bool = True,
    batch: int = 4096,
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
        stops: An end symbol follows codes of one token too, so that a model learns to stop. False: a single tool's
            code stays as it is.
        batch: Texts tokenised at once.

    Raises:
        InputError: ``max_length`` leaves no room for a prompt beside the longest code.
        KeyError: A record names a tool that has no code.
    """
    from datasets import Dataset

    sequences = dict(zip(codes.tool_ids, codes.sequences, strict=True))
    answers = [
        [_closed([sequences[tool] for tool in answer], codes.end_id, stops) for answer in record.answers]
        for record in records
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


def kept_examples(
    records: Sequence[Record],
    renderer: PromptRenderer,
    codes: TokenCodes,
    max_length: int,
    folder: Path,
    *,
    stops: bool = True,
) -> "Dataset":
    """``linearize``, but what was made of the same records by the same tokenizer before is taken from the disk.

    The data set lies on the disk and is mapped into memory, so it takes none of a process's own. What cannot be kept is
    made anew every time.

    Args:
        records: The pairs.
        renderer: Makes the prompts.
        codes: Token ids of every tool.
        max_length: Tokens of prompt and longest answer.
        folder: Where data sets are kept; may be deleted at any time.
        stops: As for ``linearize``.
    """
    from datasets import load_from_disk

    if len(records) < FEWEST_KEPT:
        return linearize(records, renderer, codes, max_length, stops=stops)
    made_of: list[Any] = [_KEPT_FORMAT, version("datasets"), max_length, renderer.opening_ids, renderer.closing_ids]
    made_of += [renderer.tokenizer.backend_tokenizer.to_str(), codes.tool_ids, codes.sequences, codes.end_id, stops]
    made_of += [[record.text, record.answers] for record in records]
    path = folder / f"examples-{fingerprint(made_of)}"
    if not path.exists():
        examples = linearize(records, renderer, codes, max_length, stops=stops)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            examples.save_to_disk(unfinished)
            unfinished.rename(path)
        except OSError:
            # No room, no right to write, or another process was faster.
            shutil.rmtree(unfinished, ignore_errors=True)
            if not path.exists():
                return examples
    return cast("Dataset", load_from_disk(path))


def _closed(sequences: Sequence[tuple[int, ...]], end_id: int, stops: bool) -> list[int]:
    together = [token for sequence in sequences for token in sequence]
    closed = len(sequences) == 1 and (together[-1] == end_id or not stops)
    return together if closed else [*together, end_id]
