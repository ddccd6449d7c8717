"""What a sentence of a description says that a tool does, in words that someone who wants it done could use. English
only: of other languages a sentence stays as it is. Knows no tools.

"This endpoint allows users to upload an image, and ..." becomes the action "upload an image"; "Returns the list of
countries" becomes the action "return the list of countries" and the thing "the list of countries".
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

LONGEST = 14
"""Words of a clause at most."""

FUNCTION_WORDS = frozenset(
    """a an the this that these those it its and or but if so as at by for from in into of off on onto out over per
    than then through to up via with within without about after before between during under is are was were be been
    being am do does did done has have had having can could may might must shall should will would not no yes i me my
    mine we us our you your yours he she they them their his her what which who whom whose when where why how there here
    also only just any all some each every both either more most other such same very too etc e.g i.e eg ie""".split()
)
"""Words that tell nothing apart."""

BOILERPLATE = frozenset(
    """api apis endpoint endpoints method methods service services function functions call calls operation operations
    request requests response responses tool tools plugin plugins route resource json xml rest http https url get
    post put return returns returned returning provide provides provided use used uses using user users allow allows
    let lets enable enables help helps data info information given specified specific based following available
    various parameter parameters value values v1 v2 v3 test copy new please note optional required sorts kinds list
    lists detail details id ids""".split()
)
"""Words that descriptions of tools are full of, and that people seldom say to mean one of them."""

_UNTELLING = FUNCTION_WORDS | BOILERPLATE

_ENABLERS = frozenset("allow allows allowing let lets letting enable enables enabling help helps helping".split())
_SUBJECTS = frozenset("the a an you your users user us developers people customers clients anyone everyone".split())
_KINDS = frozenset(
    """api endpoint method service function call operation request tool plugin route resource app application command
    end-point""".split()
)
_LEADS = frozenset("this the it an a that which you we will can meet introducing simply for use used to is".split())
_ASIDES = frozenset("please note if when example default warning deprecated complimentary see todo called more".split())
"""First words of sentences that say something beside what the tool does."""

_SPECIFYING = frozenset("given specified provided specific corresponding certain particular".split())
PREPOSITIONS = frozenset("with by using through from in via of for to on".split())
"""Words that want another behind them."""


_HANGING = FUNCTION_WORDS | PREPOSITIONS | _SPECIFYING | {"based", "including"}

_GIVING = frozenset("return provide give contain offer display receive deliver".split())
"""What a tool does of which its user would say "get"."""

_SHOWING = _GIVING | frozenset("get retrieve fetch show list obtain find query view read lookup grab".split())
_TELLING = _GIVING | frozenset(
    """calculate compute convert create detect extract generate identify launch predict retrieve translate transform
    validate verify""".split()
)
"""Verbs that are hardly ever nouns in the plural, so that what stands before them is a subject."""

_VERBS = (_SHOWING | _TELLING) | frozenset(
    """accept access activate add administer analyze apply approve archive ask assign associate assume attach
    authenticate authorize automate become begin book boost broadcast browse build buy cancel change chat check
    choose clear clone close compare complete configure confirm connect copy count craft customize deactivate decode
    decrypt define delete deny deploy describe detach determine disable discover download draw duplicate edit
    elevate embed empower enable encode encrypt end enhance enter estimate evaluate execute expand explore export
    filter form format grant guess hire import improve insert inspect interact invoke join keep learn link load
    locate log look make manage measure merge migrate modify monitor move navigate notify open optimize order
    organize parse pause pay perform personalize place plan play post print process produce provision publish
    purchase put rate reboot recommend record refresh register reject remove rename render rent replace request
    reserve reset resize resolve restart restore resume retry reverse revoke roll rotate run save say scan schedule
    scrape search see select send set shape share shop shorten sign simplify solve sort specify split start stay
    stop store stream streamline submit subscribe summarize support synthesize tag take talk teach terminate test
    track train transcribe transfer turn type unleash unlock unsubscribe untag update upload use visit visualize
    void watch write""".split()
)
_GERUNDS = {
    form: verb
    for verb in _VERBS
    for form in (f"{verb}ing", f"{verb}{verb[-1]}ing", *([f"{verb[:-1]}ing"] if verb.endswith("e") else []))
}
_AFTER_A_SUBJECT = frozenset("can could will would may might must should want need have had like do did get".split())
_PERSONS = {"your": "my", "yours": "mine", "you": "i", "you're": "i'm", "yourself": "myself"}

_EDGES = "\"'`*_#()[]{}<>.,;:!?|~=-–—“”‘’"
_FEWEST_BEFORE_A_STOP = 3
_FEWEST_BEFORE_A_COMMA = 7


class Clause(NamedTuple):
    """What a sentence offers.

    Attributes:
        action: What to do, its verb in the imperative; empty when the sentence names no action.
        thing: What it is about; empty when the sentence only says what to do.
    """

    action: tuple[str, ...]
    thing: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The action, else the thing."""
        return self.action or self.thing


def clause(sentence: Sequence[str], own: str = "") -> Clause | None:
    """Take the first clause out of a sentence; None when it says something else than what the tool does, or too little.

    Args:
        sentence: Words, with their punctuation.
        own: The first word of the tool's name, a verb where the sentence begins with its third person.
    """
    first = _first_part(sentence)
    words, sure = _without_lead(first)
    if any(_plain(part[0]) in _ASIDES for part in (first, words) if part):
        return None
    if own and words and own in _stems(_plain(words[0])):
        words, sure = [own, *words[1:]], True
    words = _with_verb(words)
    words = _of_the_asker(trimmed(_without_specifying(words)[:LONGEST]))
    if len(words) < 2 or not content(words):
        return None
    verb = _plain(words[0])
    if not sure and verb not in _VERBS or words[1] == "of":
        return Clause((), tuple(words))
    words[0] = "get" if verb in _GIVING else words[0].lower()
    shown = words[1:] if verb in _SHOWING and _plain(words[1]) not in ("and", "or", "back", "is") else []
    return Clause(tuple(words), tuple(shown) if content(shown) else ())


def content(words: Iterable[str]) -> list[str]:
    """The words that may tell one tool from another, in their order, each once, without commas."""
    kept = {_plain(word): word.rstrip(",") for word in words if len(word) > 1 and any(map(str.isalpha, word))}
    return [word for plain, word in kept.items() if plain not in _UNTELLING]


def imperative(sentence: Sequence[str], verb: str) -> list[str]:
    """Put a sentence's leading third-person verb into the imperative: "Creates a bucket" -> "create a bucket".

    Args:
        sentence: Words.
        verb: The name's first word, preferred when the sentence's first word is a form of it.
    """
    first = sentence[0].lower()
    stems = _stems(first)
    if verb in stems:
        return [verb, *sentence[1:]]
    if stems and len(first) > 4 and not first.endswith(("ss", "us", "is")):
        return [stems[0] if first.endswith("ies") else first[:-1], *sentence[1:]]
    return list(sentence)


def _stems(word: str) -> list[str]:
    return [word[: -len(ending)] + base for ending, base in _ENDINGS if word.endswith(ending)]


_ENDINGS = (("ies", "y"), ("es", "e"), ("es", ""), ("s", ""))


def _plain(word: str) -> str:
    return word.lower().rstrip(",")


def _first_part(sentence: Sequence[str]) -> list[str]:
    """Words without markup, addresses and punctuation, commas excepted, up to a break that leaves enough before it."""
    words: list[str] = []
    for word in sentence:
        if word.startswith(("(", "[", "<", "{")) and len(words) >= _FEWEST_BEFORE_A_STOP:
            break
        bare = word.strip(_EDGES)
        if bare and "://" not in bare and "</" not in bare and len(bare) <= 30 and any(map(str.isalnum, bare)):
            words.append(f"{bare}," if word.endswith(",") else bare)
        least = _FEWEST_BEFORE_A_COMMA if word.endswith(",") else _FEWEST_BEFORE_A_STOP
        if word.endswith((",", ";", ":", ")", "!", "?", ".")) and len(words) >= least:
            break
    return words


def _without_lead(words: list[str]) -> tuple[list[str], bool]:
    """What follows "This endpoint allows users to", "Acme provides" with its verb, "Acme is", and their like; whether
    it is an action for sure."""
    lower = [_plain(word) for word in words]
    led = bool(lower) and _verb(lower[0]) is None
    for place in range(min(6, len(words) - 1)):
        rest = place + 1
        if lower[place] in _ENABLERS:
            if "to" in lower[rest : rest + 4]:
                return words[lower.index("to", rest) + 1 :], True
            while rest < len(lower) and lower[rest] in _SUBJECTS:
                rest += 1
            return words[rest:], False
        if lower[place] in (*_KINDS, "used", "ability", "able", "designed") and lower[rest] == "to":
            return words[rest + 1 :], True
        if lower[place] == "is" and lower[rest] in ("a", "an", "the", "your"):
            return words[rest:], False
        if place and led and lower[place].endswith("s") and _verb(lower[place]) in _TELLING:
            return words[place:], False
    while lower and (lower[0] in _LEADS and lower[1:2] and (lower[1] in _KINDS | _LEADS) or lower[0] in _KINDS):
        words, lower = words[1:], lower[1:]
    return (words[1:] if lower and lower[0] in _LEADS - {"the", "a", "an"} else words), False


def _with_verb(words: list[str]) -> list[str]:
    """With the verb in front in the imperative, where a known verb is there."""
    if len(words) > 1 and words[0].lower().endswith("ly") and _verb(_plain(words[1])):
        words = words[1:]
    verb = _verb(_plain(words[0])) if words else None
    if not verb:
        return words
    if verb in _GIVING and len(words) > 2 and words[1] in ("you", "users", "us"):
        words = words[2:] if words[2] == "with" else words[1:]
    rest = zip(words, words[1:], [*words[2:], ""], strict=False)
    return [verb, *(_also_imperative(before, word, after) for before, word, after in rest)]


def _also_imperative(before: str, word: str, after: str) -> str:
    """The "returns" of "take a list and returns it"."""
    verb = _verb(word.lower()) if word.endswith("s") else None
    return verb if verb and before in ("and", "or") and after.lower() in FUNCTION_WORDS else word


def _verb(word: str) -> str | None:
    """The known verb that a word in lower case is a form of."""
    forms = (word, _GERUNDS.get(word, ""), *_stems(word))
    return next((form for form in forms if form in _VERBS), None)


def _without_specifying(words: Sequence[str]) -> list[str]:
    """Without the "given" of "for a given day"."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if _plain(word) not in _SPECIFYING or before.lower() not in FUNCTION_WORDS]


def _of_the_asker(words: Sequence[str]) -> list[str]:
    """As the one says it to whom a description says "you"."""
    said = []
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        mine = _PERSONS.get(word.lower(), word)
        said.append("me" if mine == "i" and after.lower() not in _AFTER_A_SUBJECT else mine)
    return said


def trimmed(words: Sequence[str]) -> list[str]:
    """Without function words that hang at the end, and without "with this endpoint"."""
    kept = list(words)
    while kept and _plain(kept[-1]) in _HANGING:
        kept.pop()
    if kept and _plain(kept[-1]) in _KINDS:
        breaks = [place for place, word in enumerate(kept) if place > 1 and word.lower() in PREPOSITIONS]
        kept = kept[: breaks[-1]] if breaks else kept[:-1]
    return [*kept[:-1], kept[-1].rstrip(",")] if kept else kept
