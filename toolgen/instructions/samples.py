"""Which tools a prompt for queries is about. Knows catalogues; not how prompts are worded.

What is drawn: I1, all operations of one group; I2, up to three operations each of two to five groups of one category;
I3, the same of one collection (``metadata``'s "collection", which ToolBench's published files do not hold; where no
tool has one, of the whole catalogue). A draw depends on the seed and on the names of what there is to draw from, so
that a tool that is added changes few samples.
"""

import hashlib
import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, get_args

from toolgen.errors import InputError
from toolgen.instructions.examples import ONE_SERVICE, SEVERAL_SERVICES, Example
from toolgen.synthesis.material import category_of
from toolgen.tools import Tool, ToolCatalog

Kind = Literal["I1", "I2", "I3"]

SHOWN_EXAMPLES = 3

GROUPS = (2, 5)
"""Groups of a sample of I2 and I3, at least and at most."""

OF_A_GROUP = 3
"""Operations of each of them at most."""

MOST_OPERATIONS = 20
"""Operations of a sample of I1 at most: of a group with hundreds some are drawn."""


class Sample(NamedTuple):
    """Tools to write queries for, and what the prompt shows beside them."""

    tools: tuple[Tool, ...]
    examples: tuple[Example, ...]


class Sampler:
    """Draws samples of a catalogue, any number of them; the first ones are the same whatever number is wanted."""

    def __init__(self, catalog: ToolCatalog, kind: Kind, seed: int) -> None:
        """
        Args:
            catalog: The tools.
            kind: What tools of a sample have in common.
            seed: Of all that is drawn.

        Raises:
            InputError: There is no such kind, or no two groups are of one category (I2) or collection (I3).
        """
        if kind not in get_args(Kind):
            raise InputError(f"There is no kind {kind!r} of queries. Give one of {', '.join(get_args(Kind))}.")
        self.kind = kind
        self._seed = seed
        self._members: dict[str, list[Tool]] = defaultdict(list)
        for tool in catalog.values():
            # A tool without a group is a group of its own, whose name no group can have.
            self._members[tool.group or f"\0{tool.id}"].append(tool)
        self._pools: dict[str, list[str]] = defaultdict(list)
        share = _sharing(kind, catalog)
        for group, tools in self._members.items():
            if common := share(tools[0]):
                self._pools[common].append(group)
        self._common = {group: common for common, groups in self._pools.items() for group in groups}
        wanted = [group for group, common in self._common.items() if kind == "I1" or len(self._pools[common]) > 1]
        if not wanted:
            shared = "category" if kind == "I2" else "collection, where any is named"
            raise InputError(
                f"Queries of kind {kind} need two groups of tools of one {shared}; this catalogue has no such two. "
                "Mend the tools' groups or metadata, or take I1."
            )
        self._turns = self._drawn(wanted, len(wanted), "turns")

    def sample(self, number: int) -> Sample:
        """The sample of this number, from 0. Every group gets its turn before the first has its second."""
        turn, place = divmod(number, len(self._turns))
        group = self._turns[place]
        rng = random.Random(f"{self._seed}:{self.kind}:{turn}:{group}")
        purpose = f"{self.kind}:{turn}:{group}"
        if self.kind == "I1":
            tools = self._operations(group, MOST_OPERATIONS, purpose)
            return Sample(tools, tuple(rng.sample(ONE_SERVICE, SHOWN_EXAMPLES)))
        others = [other for other in self._pools[self._common[group]] if other != group]
        chosen = [group, *self._drawn(others, rng.randint(*GROUPS) - 1, purpose)]
        tools = tuple(tool for one in chosen for tool in self._operations(one, OF_A_GROUP, purpose))
        return Sample(tools, tuple(rng.sample(SEVERAL_SERVICES, SHOWN_EXAMPLES)))

    def _operations(self, group: str, most: int, purpose: str) -> tuple[Tool, ...]:
        members = {tool.id: tool for tool in self._members[group]}
        return tuple(members[tool_id] for tool_id in self._drawn(members, most, purpose))

    def _drawn(self, names: Iterable[str], count: int, purpose: str) -> list[str]:
        """Draw names without replacement. Each has a place in line that no other name changes."""

        def place(name: str) -> bytes:
            return hashlib.sha256(f"{self._seed}:{purpose}:{name}".encode("utf-8", "surrogatepass")).digest()

        return heapq.nsmallest(count, names, key=place)


def _sharing(kind: Kind, catalog: ToolCatalog) -> Callable[[Tool], str]:
    """What tells which groups may be in one sample; empty for a group that is in none."""
    if kind == "I2":
        return category_of
    collected = any(_collection(tool) for tool in catalog.values())
    return _collection if kind == "I3" and collected else lambda tool: "all"


def _collection(tool: Tool) -> str:
    collection = tool.metadata.get("collection")
    return collection if isinstance(collection, str) else ""
