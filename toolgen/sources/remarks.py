"""What an import did beside taking things over: merged, renamed, left out, with counts and the first examples. Knows
no format."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

from rich.markup import escape
from rich.table import Table

from toolgen.terminal import visible

EXAMPLES = 3
"""Examples that are kept of each remark."""


Kind = Literal["merged", "renamed", "dropped", "noted"]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that may happen more than once during an import."""

    kind: Kind
    text: str
    """Completes the sentence that begins with a count."""


class Remarks:
    """Counts of remarks, in the order in which they first came up."""

    def __init__(self) -> None:
        self.counts: Counter[Remark] = Counter()
        self.examples: dict[Remark, list[str]] = {}

    def add(self, remark: Remark, example: str) -> None:
        """Count once more; the first examples are kept."""
        self.counts[remark] += 1
        if len(kept := self.examples.setdefault(remark, [])) < EXAMPLES:
            kept.append(example)

    def extend(self, other: "Remarks") -> None:
        """Count all of another's too."""
        self.counts.update(other.counts)
        for remark, examples in other.examples.items():
            kept = self.examples.setdefault(remark, [])
            kept.extend(examples[: EXAMPLES - len(kept)])

    def table(self) -> Table:
        """For the terminal; examples are strangers' text and can neither format nor steer it."""
        table = Table(show_header=False, box=None, padding=(0, 1))
        for justify in ("left", "right", "left"):
            table.add_column(justify=justify, vertical="top")
        for remark, count in sorted(self.counts.items(), key=lambda item: get_args(Kind).index(item[0].kind)):
            examples = "".join(f"\n  {escape(visible(example))}" for example in self.examples[remark])
            rest = f"\n  and {count - EXAMPLES:,} more" if count > EXAMPLES else ""
            table.add_row(remark.kind, f"{count:,}", f"{escape(remark.text)}[dim]{examples}{rest}[/]")
        return table
