"""Training records and the linearizer that turns them into token ids. Knows prompts and codes; no models.

A record is free of any tokenizer: a text that asks and a tool that answers. The linearizer makes an example of it: the
prompt's ids and the ids of the code, end symbol included. The end symbol also follows an atomic code in training, so
that plain ``generate`` stops after the tool; ranking does not need it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolgen.codebook import TokenCodes
from toolgen.errors import InputError
from toolgen.prompts import PromptRenderer
from toolgen.queries import Query
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, slots=True)
class Record:
    """One training pair: ``text`` asks, ``tool`` (an id) answers."""

    text: str
    tool: str


def memorization_records(catalog: ToolCatalog) -> list[Record]:
    """Document -> tool, one a tool (ToolGen, stage 1)."""
    return [Record(tool.document(), tool.id) for tool in catalog.values()]


def retrieval_records(queries: Iterable[Query]) -> list[Record]:
    """Query -> tool, one a gold tool (ToolGen, stage 2: several gold tools become several rows)."""
    return [Record(query.text, tool) for query in queries for tool in query.tools]


def linearize(
    records: Sequence[Record], renderer: PromptRenderer, codes: TokenCodes, max_length: int, batch: int = 4096
) -> "Dataset":
    """Turn records into a data set with the columns ``prompt``, ``code`` (token ids) and ``length`` (of both).

    Args:
        records: The pairs.
        renderer: Makes the prompts; the same one serves inference.
        codes: Token ids of every tool.
        max_length: Tokens of prompt and code together; a longer text loses its end, never the frame or the code.
        batch: Texts tokenised at once.

    Raises:
        InputError: ``max_length`` leaves no room for a prompt beside the longest code.
        KeyError: A record names a tool that has no code.
    """
    from datasets import Dataset

    targets = {
        tool_id: [*sequence] if sequence[-1] == codes.end_id else [*sequence, codes.end_id]
        for tool_id, sequence in zip(codes.tool_ids, codes.sequences, strict=True)
    }
    longest = max(len(target) for target in targets.values())
    room = max_length - longest
    if room < (least := len(renderer.opening_ids) + len(renderer.closing_ids) + 1):
        raise InputError(
            f"training.max_length is {max_length}, but the longest code takes {longest} tokens and a prompt at least "
            f"{least}. Give at least {longest + least}."
        )
    columns: dict[str, list[object]] = {"prompt": [], "code": [], "length": []}
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        for record, prompt in zip(part, renderer.render([record.text for record in part], room), strict=True):
            target = targets[record.tool]
            columns["prompt"].append(prompt)
            columns["code"].append(target)
            columns["length"].append(len(prompt) + len(target))
    return Dataset.from_dict(columns)
