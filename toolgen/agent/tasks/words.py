"""Names and wordings that no two splits share. Knows words; nothing of what is named.

Which split a word belongs to depends on the word alone, so it stays where it is when others are added, and so does a
word that is invented. A name of two words of one split can be no name of another split. Of a list of wordings the ranks
of their hashes decide, so that even a short list has some for every split.
"""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from toolgen.agent.tasks.task import Split

_FIRST = """
amber atlas autumn azure basil birch blue bold brisk bronze calm candid cedar cherry clear cobalt cold copper coral
cosmic crimson crisp daily dawn deep delta desert dusty early eastern echo elder ember evening fair fast fern field
first flint forest fresh frosty gentle ghost glass golden grand granite green happy harbor hazel hidden hollow honest
humble indigo inner iron ivory jade juniper keen kind large latest lemon light lilac linden little local lucky lunar
magenta main maple marble mellow merry midnight mild misty modern monthly morning mossy narrow neat new nightly noble
north northern novel oak ocean olive onyx opal open orange orchid outer pale patient pearl pine plain polar proud prime
purple quartz quick quiet rapid raven ready red regional remote river robin rocky rose royal ruby rustic saffron sandy
scarlet second shared sharp shiny silent silver simple slate slow small smart smooth soft solar solid south spare spring
steady steel stone stormy summer sunny swift tall teal tender third tidy tiny topaz twin upper urban velvet violet vivid
warm weekly western wide wild willow winter wise young zesty zinc
""".split()

_SECOND = """
accounts alarms alerts analytics anchors apples archive assets audits badges balances bakery banners batches beacons
bicycles billing blogs boats bookings books bridges budgets builds cabins calendar cameras campaigns cargo carts
catalogs charts claims classes clicks clients clinic comments concerts contracts courses coupons crates credits crops
dashboards deals deliveries demos departures deposits designs devices diaries dishes doctors documents donations doors
drafts drivers drones emails engines enquiries errors essays estimates events exams exports factory farms feeds
festivals fields files filters flights flowers folders forecasts forms fossils freight fruits games gardens gates gifts
goods grades grants greetings guests guides harvest headlines hotels images imports insights inventory invoices islands
items jackets jobs journals journeys kitchens labels ladders lamps leads leases ledgers lessons letters library licences
lights listings loans logins logos lunches machines magazines mailings maps markets matches meals measurements medals
members menus messages meters mirrors models museums nodes notes notices novels offers offices orchards orders outlets
packages paintings parcels parks parts patients payments payroll permits photos pictures pilots pipelines planets plans
plants players podcasts polls ports posters prices printers products profiles projects promotions puzzles quotes races
radios readings receipts recipes records refunds rentals repairs reports requests reservations results reviews rewards
rides roads robots rockets roles rooms routes samples scans schedules schools scores scripts seasons seats sensors
sessions shelves shipments shops signals signups sketches slides songs sources stalls stamps stations statements stocks
stories streams studios subscriptions summaries supplies surveys tables tariffs tasks taxes teams templates tenants
tests theatres tickets tiles tokens tools tours toys tracks trades trains trains travel trees trips trucks tunnels
tutors uniforms uploads users vaults vehicles vendors videos villages visits visitors voices votes vouchers wages walks
watches wheels windows workers workshops
""".split()


def split_of(word: str) -> Split:
    """The split that a word belongs to: about seven words in ten are for training, one for validation, two for test."""
    draw = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % 10
    return "test" if draw < 2 else "validation" if draw == 2 else "train"


@cache
def words(split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """First and second words of a split's names; no word is among both."""
    first = tuple(word for word in dict.fromkeys(_FIRST) if split_of(word) == split)
    return first, tuple(word for word in dict.fromkeys(_SECOND) if split_of(word) == split and word not in _FIRST)


def share(texts: Sequence[str], split: Split) -> list[str]:
    """Those of some texts that belong to a split.

    A fifth, but one at least, is for test, as many are for validation, the rest is for training.
    """
    ranked = sorted(dict.fromkeys(texts), key=lambda text: hashlib.sha256(text.encode()).digest())
    part = max(1, len(ranked) // 5)
    bounds = {"test": (0, part), "validation": (part, 2 * part), "train": (2 * part, len(ranked))}
    return ranked[slice(*bounds[split])]


def invented(rng: random.Random, split: Split) -> str:
    """A word that nobody knows, such as ``dorvanik``, of two or three syllables.

    What people call their things is no closed list: who reads names must take them letter by letter.
    """
    while True:
        syllables = (
            rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") + rng.choice(("", "", "l", "n", "r", "s", "k"))
            for _ in range(rng.choice((2, 2, 3)))
        )
        word = "".join(syllables)
        if split_of(word) == split:
            return word


def _drawn(rng: random.Random, split: Split) -> tuple[str, str]:
    """A first and a second word of a name, each invented every other time."""
    first, second = (invented(rng, split) if rng.random() < 0.5 else rng.choice(part) for part in words(split))
    return first, second


Slot = Callable[[random.Random, Split], Any]
"""Draws a value for a split."""


def name(separator: str = "-", before: str = "", after: str = "") -> Slot:
    """Two words, such as ``amber-invoices`` or ``amber-dorvanik``.

    Args:
        separator: Between them; ``"Camel"`` writes them together with capitals.
        before: Put before them.
        after: Put behind them.
    """

    def draw(rng: random.Random, split: Split) -> str:
        first, second = _drawn(rng, split)
        both = (first + second.capitalize()) if separator == "Camel" else f"{first}{separator}{second}"
        return before + (both[0].upper() + both[1:] if separator == "Camel" else both) + after

    return draw


def word() -> Slot:
    """One word, such as ``invoices``."""
    return lambda rng, split: _drawn(rng, split)[1]


def one_of(*values: Any) -> Slot:
    """One of some values that all splits share."""
    return lambda rng, split: rng.choice(values)


def number(least: int, most: int, step: int = 1) -> Slot:
    """A whole number, both ends included."""
    return lambda rng, split: rng.randrange(least, most + 1, step)


_SENTENCES = (
    "The {second} are ready",
    "New {second} arrived in the {first} office",
    "All {second} of the {first} team",
    "Please look at the {first} {second}",
    "We count the {second} every {first} day",
    "Everything about {first} {second}",
    "No {second} today",
    "The {first} {second} moved",
    "Ask the {first} team about {second}",
    "{second} first, then the {first} ones",
)


def sentence() -> Slot:
    """A short text, such as ``The invoices are ready``."""

    def draw(rng: random.Random, split: Split) -> str:
        first, second = (rng.choice(part) for part in words(split))
        return rng.choice(share(_SENTENCES, split)).format(first=first, second=second)

    return draw


def draw_slots(slots: Mapping[str, Slot], rng: random.Random, split: Split) -> dict[str, Any]:
    """A value for every slot, no text twice."""
    drawn: dict[str, Any] = {}
    for key, slot in slots.items():
        value = slot(rng, split)
        for _ in range(100):
            if not isinstance(value, str) or value not in drawn.values():
                break
            value = slot(rng, split)
        drawn[key] = value
    return drawn
