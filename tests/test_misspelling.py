"""Slips of the keyboard: one a word, always another word, never in what is pasted."""

import random

from hypothesis import given
from hypothesis import strategies as st

from toolgen.synthesis.misspelling import RATE, SHORTEST, misspelt, slip

plain = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=12)


@given(plain, st.integers())
def test_a_slip_changes_a_word_a_little_and_not_its_first_letter(word: str, seed: int) -> None:
    wrong = slip(word, random.Random(seed))
    assert wrong != word and abs(len(wrong) - len(word)) <= 1
    assert wrong[0] == word[0] or sorted(wrong) == sorted(word), "only a swap moves the first letter"


def test_every_kind_of_slip_happens() -> None:
    rng = random.Random(0)
    wrong = {slip("cat", rng) for _ in range(300)}
    assert {"act", "cta", "caat", "catt", "ct", "ca", "cst", "cay"} <= wrong


@given(
    st.lists(plain | st.sampled_from(("i", "iPhone", "GetUser", "2024", "größer", "api_key")), max_size=20),
    st.integers(),
)
def test_a_word_is_misspelt_where_one_may_be_and_pasted_ones_stay(typed: list[str], seed: int) -> None:
    wrong = misspelt(typed, random.Random(seed))
    changed = [word for word, other in zip(typed, wrong, strict=True) if word != other]
    assert all(len(word) >= SHORTEST and word.islower() and word.isascii() for word in changed)
    assert bool(changed) == any(
        len(word) >= SHORTEST and word.isascii() and word.islower() and word.isalpha() for word in typed
    )


def test_about_the_rate_is_misspelt() -> None:
    typed = ["weather"] * 1000
    changed = sum(word != "weather" for word in misspelt(typed, random.Random(0)))
    assert 0.8 * RATE < changed / len(typed) < 1.2 * RATE
