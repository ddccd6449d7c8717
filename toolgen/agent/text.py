"""A text that grows, and what is asked about it. Knows no model.

What needs a model is a coroutine: it yields what it asks, is sent the answer, and returns its result in the end. So it
is written once, whether a model reads one text or many together (``toolgen.agent.batch``).

Legend: ``A`` tokens asked for.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from toolgen.agent.stream import check_room

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Which token comes next? Answered by logits ``[A]`` float32.

    Attributes:
        ids: The text to its end, one token at least.
        tokens: Those whose logits are asked for; a number: the first so many.
    """

    ids: Sequence[int]
    tokens: Tensor | int


@dataclass(frozen=True, slots=True)
class Outside:
    """Work that needs no model and may take its time. Answered by what it returns.

    Attributes:
        run: Does it; may be called in a thread of its own.
    """

    run: Callable[[], object]


Asking = Generator[Ask | Outside, Any, T]
"""A coroutine that asks and returns a ``T``."""


class Text:
    """A text. It grows at its end only; ``fork`` continues it in another way. Nothing is read before something is
    asked.

    Attributes:
        ids: Its tokens.
    """

    def __init__(self, ids: Sequence[int], context: int | None) -> None:
        """
        Args:
            ids: What it begins with.
            context: Tokens that may be read; None: any number.

        Raises:
            ContextError: The context does not hold them.
        """
        self._context = context
        self.ids: list[int] = []
        self.extend(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Put further tokens behind those that are there.

        Raises:
            ContextError: The context does not hold them; nothing was put there.
        """
        check_room(self._context, len(self.ids), len(ids))
        self.ids += ids

    def logits(self, tokens: Tensor | int) -> Asking[Tensor]:
        """Logits ``[A]`` float32 of some tokens, as the next ones; a number: of the first so many."""
        answer: Tensor = yield Ask(self.ids, tokens)
        return answer

    def fork(self) -> "Text":
        """A text that begins alike and goes its own way."""
        return Text(self.ids, self._context)
