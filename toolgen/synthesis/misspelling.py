"""Words as hurried people type them. Knows no tools."""

import random
from collections.abc import Sequence

RATE = 0.2
"""Share of the words that may be misspelt that are."""

SHORTEST = 4
"""Letters of a word that may be misspelt; in a shorter one a slip leaves another word."""

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def misspelt(words: Sequence[str], rng: random.Random) -> list[str]:
    """Misspell some of the words, at least one where one may be; each gets one slip.

    Words of other than plain Latin letters stay: identifiers and numbers are pasted, not typed.
    """
    typed = list(words)
    open_to_it = [place for place, word in enumerate(typed) if len(word) >= SHORTEST and _is_plain(word)]
    slipped = [place for place in open_to_it if rng.random() < RATE]
    if open_to_it and not slipped:
        slipped = [rng.choice(open_to_it)]
    for place in slipped:
        typed[place] = slip(typed[place], rng)
    return typed


def slip(word: str, rng: random.Random) -> str:
    """Swap, double, drop or hit the neighbour of one letter other than the first. Another word always comes out.

    Args:
        word: Plain Latin letters, two or more.
        rng: Chooses the slip.
    """
    place = rng.randrange(1, len(word))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    kind = rng.choice(("swap", "double", "drop", "neighbour"))
    if kind == "swap" and before[-1] != letter:
        return before[:-1] + letter + before[-1] + after
    if kind == "double":
        return before + letter + letter + after
    if kind == "drop":
        return before + after
    near = rng.choice(_NEIGHBOURS[letter.lower()])
    return before + (near.upper() if letter.isupper() else near) + after


def _is_plain(word: str) -> bool:
    return word.isascii() and word.isalpha() and word[1:] == word[1:].lower()


def _neighbours() -> dict[str, str]:
    """Letters beside and below each letter of a keyboard."""
    near: dict[str, set[str]] = {letter: set() for row in _ROWS for letter in row}
    for row, below in zip(_ROWS, (*_ROWS[1:], ""), strict=True):
        for place, letter in enumerate(row):
            for other in row[place + 1 : place + 2] + below[max(0, place - 1) : place + 1]:
                near[letter].add(other)
                near[other].add(letter)
    return {letter: "".join(sorted(others)) for letter, others in near.items()}


_NEIGHBOURS = _neighbours()
