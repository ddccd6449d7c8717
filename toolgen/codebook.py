"""The codebook: which code stands for which tool. Knows symbols and token ids, no tokenizer class and no torch.

A code is a tuple of symbols. A symbol is either *new* (it gets a row of its own in the model) or *text* of the base
vocabulary, which the base tokenizer turns into one or more token ids. ``Codebook.bind`` turns codes into token ids and
proves there, on ids and with the end symbol included, that no code equals or begins another. A code of one single new
symbol needs no end; every other code is closed by the end symbol, as in ToolGen (arXiv 2410.03439).
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean
from typing import Any

from toolgen.errors import InputError
from toolgen.files import fingerprint, read_json, write_json
from toolgen.tools import ToolCatalog

FORMAT = 1

Encode = Callable[[str], Sequence[int]]
"""Base tokenizer without special tokens: text -> token ids."""


class CollisionError(InputError):
    """Two tools share a code, or one code begins another.

    Attributes:
        groups: Ids of the tools that cannot be told apart, one tuple a group.
    """

    def __init__(self, message: str, groups: Sequence[tuple[str, ...]] = ()) -> None:
        super().__init__(message)
        self.groups = tuple(groups)

    @classmethod
    def of(cls, groups: Sequence[tuple[str, ...]]) -> "CollisionError":
        """The error that names the tools (up to five groups) and the cure."""
        named = "; ".join(_sample(group, " = ", most=5) for group in groups[:5])
        more = f"; and {len(groups) - 5:,} more" if len(groups) > 5 else ""
        return cls(
            f"{len(groups):,} code(s) are shared by several tools or begin another tool's code: {named}{more}. "
            "Build the codebook with this tokenizer and --disambiguate, which gives the later tools codes of their "
            "own, or rename the tools.",
            groups,
        )


@dataclass(frozen=True)
class TokenCodes:
    """Codes as token ids, proved distinct and prefix-free.

    Attributes:
        tool_ids: In catalogue order.
        sequences: One a tool, in the same order; the end symbol is included where the code has one.
        end_id: Token id of the end symbol.
        new_ids: Token id of each new symbol.
    """

    tool_ids: tuple[str, ...]
    sequences: tuple[tuple[int, ...], ...]
    end_id: int
    new_ids: Mapping[str, int]

    @property
    def first_new_id(self) -> int | None:
        """The lowest id of a new symbol; None where codes are text of the base vocabulary alone."""
        return min(self.new_ids.values(), default=None)

    @cached_property
    def is_atomic(self) -> bool:
        """Whether every tool is one token."""
        return all(len(sequence) == 1 for sequence in self.sequences)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest code, end included."""
        return max(len(sequence) for sequence in self.sequences)


@dataclass(frozen=True)
class CodebookStatistics:
    """What ``toolgen index`` prints. Token counts leave the end symbol out."""

    tools: int
    tokens_min: int
    tokens_mean: float
    tokens_max: int
    new_tokens: int
    disambiguated: int


@dataclass(frozen=True)
class Codebook:
    """Tool id -> code, in catalogue order. No two codes are equal; ``bind`` proves the rest on token ids.

    Attributes:
        scheme: Name of the indexing scheme, such as ``"atomic"``.
        codes: Tool id -> symbols, without the end symbol.
        new_symbols: The symbols that get rows of their own, in the order of their rows; all others are base text.
        catalog_fingerprint: Of the catalogue that the codes were built for.
        options: What the builder was told, enough to build the codebook again.
        disambiguated: Ids of the tools whose code got an extra last symbol because another tool had it first.
    """

    scheme: str
    codes: Mapping[str, tuple[str, ...]]
    new_symbols: tuple[str, ...]
    catalog_fingerprint: str
    options: Mapping[str, Any] = field(default_factory=dict)
    disambiguated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.codes:
            raise InputError("The codebook holds no code. It needs at least one tool.")
        if empty := [tool_id for tool_id, code in self.codes.items() if not code or not all(code)]:
            raise InputError(f"The code of tool {empty[0]!r} is empty or holds an empty symbol.")
        if twice := [symbol for symbol, count in Counter(self.new_symbols).items() if count > 1]:
            raise InputError(f"New symbol {twice[0]!r} is listed twice in the codebook.")
        tools: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for tool_id, code in self.codes.items():
            tools[code].append(tool_id)
        if shared := [tuple(group) for group in tools.values() if len(group) > 1]:
            raise CollisionError.of(shared)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any code, with the order of tools or rows, and with the catalogue."""
        return fingerprint(self._record())

    def bind(self, encode: Encode, new_ids: Mapping[str, int], end_id: int) -> TokenCodes:
        """Turn codes into token ids and prove them distinct and prefix-free.

        Args:
            encode: Base tokenizer without special tokens; called once for each distinct text symbol.
            new_ids: Token id of every new symbol; others in it are ignored.
            end_id: Token id that closes codes.

        Raises:
            CollisionError: Two tools share a code or one begins another; both are named, with the cure.
            InputError: A new symbol has no token id of its own, or a text symbol gives no token or the end symbol.
        """
        rows = self._rows(new_ids, end_id)
        text_ids: dict[str, tuple[int, ...]] = {}
        sequences = []
        for tool_id, code in self.codes.items():
            ids: list[int] = []
            for symbol in code:
                if symbol in rows:
                    ids.append(rows[symbol])
                    continue
                if symbol not in text_ids:
                    text_ids[symbol] = tuple(encode(symbol))
                    if not text_ids[symbol] or end_id in text_ids[symbol]:
                        raise InputError(
                            f"The tokenizer turns the text {symbol!r} in the code of tool {tool_id!r} into "
                            f"{list(text_ids[symbol])}: nothing, or the end symbol {end_id}. Rename the tool, or use "
                            "another scheme (--scheme atomic works with any name)."
                        )
                ids.extend(text_ids[symbol])
            single_new = len(code) == 1 and code[0] in rows
            sequences.append(tuple(ids) if single_new else (*ids, end_id))
        prove_prefix_free(tuple(self.codes), sequences)
        return TokenCodes(tuple(self.codes), tuple(sequences), end_id, rows)

    def _rows(self, new_ids: Mapping[str, int], end_id: int) -> dict[str, int]:
        """Token ids of this codebook's new symbols, in row order, checked to be there and all different."""
        origin = "The model and the codebook do not belong together; use the pair that was saved together."
        if absent := [symbol for symbol in self.new_symbols if symbol not in new_ids]:
            raise InputError(f"{len(absent)} new symbol(s) have no token id: {_sample(absent)}. {origin}")
        rows = {symbol: new_ids[symbol] for symbol in self.new_symbols}
        owner: dict[int, str] = {end_id: "the end symbol"}
        for symbol, token_id in rows.items():
            if token_id in owner:
                raise InputError(f"New symbol {symbol!r} and {owner[token_id]} share the token id {token_id}. {origin}")
            owner[token_id] = f"new symbol {symbol!r}"
        return rows

    def check_catalog(self, catalog: ToolCatalog) -> None:
        """Check that this codebook was built for ``catalog``.

        Raises:
            InputError: It was not; the message says what differs.
        """
        if self.catalog_fingerprint == catalog.fingerprint:
            return
        missing = [tool_id for tool_id in catalog if tool_id not in self.codes]
        surplus = [tool_id for tool_id in self.codes if tool_id not in catalog]
        if missing or surplus:
            differs = f"{len(missing)} tool(s) have no code ({_sample(missing)}) and "
            differs += f"{len(surplus)} code(s) have no tool ({_sample(surplus)})"
        else:
            differs = "the ids are the same, but a name, document, parameter or the order has changed"
        raise InputError(
            f"The codebook belongs to another catalogue: its fingerprint is {self.catalog_fingerprint}, the "
            f"catalogue's is {catalog.fingerprint}; {differs}. Use the catalogue that it was built from, or build it "
            "again with `toolgen index`."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the codebook as JSON."""
        write_json(path, {"format": FORMAT, "fingerprint": self.fingerprint, **self._record()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Codebook":
        """Read a codebook.

        Raises:
            InputError: The file is absent, of another format, or changed since it was written.
        """
        record = read_json(path)
        if record.pop("format", None) != FORMAT:
            raise InputError(f"{path}: not a codebook of format {FORMAT}. Build one with `toolgen index`.")
        if record.pop("fingerprint", None) != fingerprint(record):
            raise InputError(
                f"{path}: the codes do not match their fingerprint; the file was changed by hand or cut. Fetch it "
                "again, or build a new one with `toolgen index`."
            )
        return cls(
            scheme=record["scheme"],
            codes={tool_id: tuple(code) for tool_id, code in record["codes"]},
            new_symbols=tuple(record["new_symbols"]),
            catalog_fingerprint=record["catalog_fingerprint"],
            options=record["options"],
            disambiguated=tuple(record["disambiguated"]),
        )

    def _record(self) -> dict[str, Any]:
        return {
            "scheme": self.scheme,
            "codes": [[tool_id, list(code)] for tool_id, code in self.codes.items()],
            "new_symbols": list(self.new_symbols),
            "catalog_fingerprint": self.catalog_fingerprint,
            "options": dict(self.options),
            "disambiguated": list(self.disambiguated),
        }

    def statistics(self, codes: TokenCodes) -> CodebookStatistics:
        """Figures of this codebook as bound to a tokenizer by ``bind``."""
        lengths = [len(ids) - (ids[-1] == codes.end_id) for ids in codes.sequences]
        return CodebookStatistics(
            tools=len(lengths),
            tokens_min=min(lengths),
            tokens_mean=mean(lengths),
            tokens_max=max(lengths),
            new_tokens=len(self.new_symbols),
            disambiguated=len(self.disambiguated),
        )


def prove_prefix_free(tool_ids: Sequence[str], sequences: Sequence[tuple[int, ...]]) -> None:
    """Check that no sequence equals or begins another.

    In sorted order all sequences that begin with a given one follow it without a gap, so one pass finds them.

    Raises:
        CollisionError: Names the tools (up to five groups) and the cure.
    """
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    shared: dict[int, list[str]] = defaultdict(list)
    head = None
    for current in order:
        if head is not None and sequences[current][: len(sequences[head])] == sequences[head]:
            shared[head].append(tool_ids[current])
        else:
            head = current
    if shared:
        raise CollisionError.of([(tool_ids[first], *others) for first, others in shared.items()])


def _sample(names: Sequence[str], joined: str = ", ", most: int = 3) -> str:
    return joined.join([*map(repr, names[:most])] + ["..."] * (len(names) > most)) or "none"
