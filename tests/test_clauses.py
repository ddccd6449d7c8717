"""What sentences of descriptions say that a tool does, in the words of who wants it done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.synthesis.clauses import FUNCTION_WORDS, LONGEST, clause, content


@pytest.mark.parametrize(
    ("sentence", "action", "thing"),
    [
        ("Creates a bucket.", "create a bucket", ""),
        ("This endpoint allows users to upload an image and crop it.", "upload an image and crop", ""),
        ("Returns the list of countries.", "get the list of countries", "the list of countries"),
        ("Use this API to check your balance", "check my balance", ""),
        ("Acme Maps provides directions for cyclists!", "get directions for cyclists", "directions for cyclists"),
        ("Allows the requester to get the price of a country.", "get the price of a country", "the price of a country"),
        ("For checking availability of car parks.", "check availability of car parks", ""),
        ("Seamlessly converts currencies with our tool.", "convert currencies", ""),
        ("Magnetis is a digital wealth manager.", "", "a digital wealth manager"),
        ("Ability to SSH into your server.", "ssh into my server", ""),
        ("Provide you with the latest weather.", "get the latest weather", "the latest weather"),
        ("List of stocks with **bullish** signals (see https://a.b/c).", "", "list of stocks with bullish signals"),
        ("Get rain for a given city by this endpoint.", "get rain for a city", "rain for a city"),
        ("Convert cents, dimes, tens, ones, fives, and more, at once", "convert cents, dimes, tens, ones, fives", ""),
        ("Gives you all rates of a day", "get all rates of a day", "all rates of a day"),
        ("Takes a list and sorts the names", "take a list and sort the names", ""),
        ("Images that you can send to us", "", "Images that i can send"),
    ],
)
def test_a_sentence_becomes_a_request(sentence: str, action: str, thing: str) -> None:
    found = clause(sentence.split())
    assert found is not None
    assert (" ".join(found.action), " ".join(found.thing)) == (action, thing)


def test_the_tools_own_verb_is_known_in_the_third_person() -> None:
    sentence = "Frobnicates the widget".split()
    assert clause(sentence) == clause(sentence, "widget") == ((), ("Frobnicates", "the", "widget"))
    assert clause(sentence, "frobnicate") == (("frobnicate", "the", "widget"), ())


@pytest.mark.parametrize("sentence", ["Note that this is slow.", "Get a user", "rest endpoint", "!!", "", "12 13 14"])
def test_a_sentence_may_say_nothing(sentence: str) -> None:
    assert clause(sentence.split()) is None


@given(st.text())
def test_any_text_gives_a_clause_with_something_to_tell_or_none(text: str) -> None:
    found = clause(text.split())
    assert found is None or (content(found.words) and 2 <= len(found.words) <= LONGEST)


def test_content_is_what_tells_tools_apart() -> None:
    told = content("Get the weather forecast, for a Forecast of this API in 2 cities".split())
    assert [word.lower() for word in told] == ["weather", "forecast", "cities"]
    assert not FUNCTION_WORDS.intersection(told)
