"""Figures of one place in the codes: how many ways lead on, how evenly they are used, and what tools with the same
prefix have in common. Knows a tree of codes and the groups of its tools; no codebook, no catalogue.

Legend: ``N`` codes in the tree's order, ``M`` those whose tool has a group, ``R`` random assignments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolgen.indexing.code_tree import NOTHING, CodeTree

LEVEL_HEADINGS = (
    *("token", "prefixes", "choices\nmean", "choices\nmost", "symbols", "bits", "of max"),
    *("tools\nsharing", "purity", "by\nchance"),
)
"""Of the figures of a level in tables, two lines at most."""

_UNGROUPED = -1
_SHUFFLES = (20, 200)
_SHUFFLED_TOOLS = 1_000_000
"""Random assignments: as many as shuffle this many tools in all, within the bounds."""


@dataclass(frozen=True)
class LevelFigures:
    """One place in the codes: the choice of the token there, and what the prefixes that end with it hold.

    The end symbol counts as a token where some codes end and others go on, because the model has to choose it.

    Attributes:
        level: Number of the token in its code, from 1.
        tools: Tools whose codes have so many tokens.
        prefixes: Different prefixes of ``level`` tokens.
        choices_mean: Tokens that may follow a prefix of ``level - 1`` tokens, on average over these prefixes.
        choices_max: The most that follow one.
        symbols: Different tokens in this place, over all codes.
        entropy_bits: Of the token in this place over the tools that have one: -sum p log2 p.
        entropy_share: ``entropy_bits`` over log2 of ``symbols``: 1 when all symbols have equally many tools; None
            when there is only one symbol.
        sharing: Tools that share their prefix of ``level`` tokens with another tool.
        purity: Of the tools that share their prefix, the share that belongs to the largest group under their prefix;
            tools without a group are left out. None when none share one.
        purity_by_chance: ``purity`` expected when the groups are dealt out to the tools at random, prefixes keeping
            their sizes: what purity means nothing below. Mean of 20 to 200 seeded shuffles.
    """

    level: int
    tools: int
    prefixes: int
    choices_mean: float
    choices_max: int
    symbols: int
    entropy_bits: float
    entropy_share: float | None
    sharing: int
    purity: float | None
    purity_by_chance: float | None

    def cells(self) -> list[str]:
        """As strings, in the order of ``LEVEL_HEADINGS``."""
        return [
            *(str(self.level), f"{self.prefixes:,}", f"{self.choices_mean:,.1f}", f"{self.choices_max:,}"),
            *(f"{self.symbols:,}", f"{self.entropy_bits:.1f}", _percent(self.entropy_share), f"{self.sharing:,}"),
            *(_percent(self.purity), _percent(self.purity_by_chance)),
        ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def measure_levels(tree: CodeTree, groups: Sequence[str | None], depth: int) -> tuple[LevelFigures, ...]:
    """Figures of each of the first ``depth`` places.

    Args:
        tree: The codes.
        groups: Group of each code's tool, in the tree's order; None where it has none.
        depth: At most the tokens of the longest code.
    """
    purities = _Purity.of(_numbered(groups))
    return tuple(_level(tree, purities, level) for level in range(1, depth + 1))


def _numbered(groups: Sequence[str | None]) -> np.ndarray:
    numbers: dict[str | None, int] = {None: _UNGROUPED}
    for group in groups:
        numbers.setdefault(group, len(numbers) - 1)
    return np.array([numbers[group] for group in groups])


@dataclass(frozen=True)
class _Purity:
    """Measures purity on one assignment of groups to tools, and on as many random ones as give a steady mean.

    Attributes:
        grouped_N: ``[N]`` bool, the tools that have a group.
        groups_M: Numbers of their groups.
        shuffled_RM: The same, dealt out at random, R times.
    """

    grouped_N: np.ndarray
    groups_M: np.ndarray
    shuffled_RM: np.ndarray

    @classmethod
    def of(cls, groups_N: np.ndarray) -> "_Purity":
        few, many = _SHUFFLES
        shuffles = min(many, max(few, _SHUFFLED_TOOLS // len(groups_N)))
        grouped_N = groups_N != _UNGROUPED
        groups_M = groups_N[grouped_N]
        shuffled_RM = np.random.default_rng(0).permuted(np.tile(groups_M, (shuffles, 1)), axis=1)
        return cls(grouped_N, groups_M, shuffled_RM)

    def figures(self, prefixes_N: np.ndarray) -> tuple[float, float] | tuple[None, None]:
        """Purity and what it would be by chance, over the tools that share their prefix; None where none do."""
        prefixes_M = prefixes_N[self.grouped_N]
        sharing_M = _sharing(prefixes_M)
        if not sharing_M.any():
            return None, None
        prefixes = prefixes_M[sharing_M]
        by_chance = [_purity(prefixes, groups_M[sharing_M]) for groups_M in self.shuffled_RM]
        return _purity(prefixes, self.groups_M[sharing_M]), float(np.mean(by_chance))


def _sharing(prefixes: np.ndarray) -> np.ndarray:
    """Whether each tool's prefix is another's too."""
    shared: np.ndarray = np.bincount(prefixes, minlength=1)[prefixes] > 1
    return shared


def _purity(prefixes: np.ndarray, groups: np.ndarray) -> float:
    """Share of tools in the largest group of their prefix; both arrays ``[tools]``."""
    pairs, counts = np.unique(prefixes * (groups.max() + 1) + groups, return_counts=True)
    largest = np.zeros(int(prefixes.max()) + 1)
    np.maximum.at(largest, pairs // (groups.max() + 1), counts)
    return float(largest.sum() / len(groups))


def _level(tree: CodeTree, purities: _Purity, level: int) -> LevelFigures:
    tokens_N = tree.codes_ND[:, level - 1]
    reaching_N = tokens_N != NOTHING
    opens_N = reaching_N & (tree.shared_N < level)
    choices = np.unique(tree.prefixes(level - 1)[opens_N], return_counts=True)[1]
    counts = np.unique(tokens_N[reaching_N], return_counts=True)[1]
    shares = counts / counts.sum()
    bits = max(0.0, float(-(shares * np.log2(shares)).sum()))
    prefixes_N = tree.prefixes(level)
    purity, by_chance = purities.figures(prefixes_N)
    return LevelFigures(
        level=level,
        tools=int(reaching_N.sum()),
        prefixes=int(opens_N.sum()),
        choices_mean=float(choices.mean()),
        choices_max=int(choices.max()),
        symbols=len(counts),
        entropy_bits=bits,
        entropy_share=bits / float(np.log2(len(counts))) if len(counts) > 1 else None,
        sharing=int(_sharing(prefixes_N).sum()),
        purity=purity,
        purity_by_chance=by_chance,
    )
