"""What an import did beside taking things over: merged, renamed, left out, with counts and examples. Knows no
format."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

from rich.markup import escape
from rich.table import Table

from toolgen.terminal import visible

EXAMPLES = 3
"""Examples of a remark that are shown, and that are kept of all that is not left out."""


Kind = Literal["merged", "renamed", "dropped", "noted"]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that may happen more than once during an import."""

    kind: Kind
    text: str
    """Completes the sentence that begins with a count."""


class Remarks:
    """Counts of remarks, in the order in which they first came up.

    Attributes:
        counts: How often each came up.
        examples: What each is about: the first few, and of what was dropped all, so that it can be accounted for.
    """

    def __init__(self) -> None:
        self.counts: Counter[Remark] = Counter()
        self.examples: dict[Remark, list[str]] = {}

    def add(self, remark: Remark, example: str) -> None:
        """Count once more."""
        self.counts[remark] += 1
        self._keep(remark, [example])

    def extend(self, other: "Remarks") -> None:
        """Count all of another's too."""
        self.counts.update(other.counts)
        for remark, examples in other.examples.items():
            self._keep(remark, examples)

    def _keep(self, remark: Remark, examples: list[str]) -> None:
        kept = self.examples.setdefault(remark, [])
        kept.extend(examples if remark.kind == "dropped" else examples[: EXAMPLES - len(kept)])

    def table(self) -> Table:
        """For the terminal; examples are strangers' text and can neither format nor steer it."""
        table = Table(show_header=False, box=None, padding=(0, 1))
        for justify in ("left", "right", "left"):
            table.add_column(justify=justify, vertical="top")
        for remark, count in sorted(self.counts.items(), key=lambda item: get_args(Kind).index(item[0].kind)):
            examples = "".join(f"\n  {escape(visible(example))}" for example in self.examples[remark][:EXAMPLES])
            rest = f"\n  and {count - EXAMPLES:,} more" if count > EXAMPLES else ""
            table.add_row(remark.kind, f"{count:,}", f"{escape(remark.text)}[dim]{examples}{rest}[/]")
        return table
