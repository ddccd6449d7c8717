"""The page of the study of tool rows: answers in words, tables and pictures in one HTML file that needs no network.
Knows comparisons of cells and HTML; runs nothing.

Every answer is chosen by figures: a difference counts where its interval is clear of zero. Without JavaScript the page
reads, and what the pictures show is in its tables.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from importlib.resources import files
from statistics import fmean, stdev
from string import Template

from toolgen.benchmarks.report_data import INDISTINCT, signed, verdict
from toolgen.benchmarks.report_figures import SIGNS
from toolgen.benchmarks.toolken_cells import EPOCHS, NEIGHBOUR, Measure, Method, Place
from toolgen.benchmarks.toolken_findings import ARROWS, Finding, Results, difference, interval, shown, tested_on
from toolgen.benchmarks.toolken_pictures import Picture, pictures
from toolgen.metrics import Difference
from toolgen.page import UNPACKING, embedded, packed_plotly, policy, safe

FEW = 10
"""Examples a tool up to which the answers speak of few."""


# ---- answers

_BRINGS = {
    "direction": "A prior's direction instead of a random one, norm and pull being equal,",
    "size": "The word rows' norm instead of 1/√D, directions being equal,",
    "pull": "A pull to a prior instead of none",
}
_DOES = {"above": "helps", "below": "harms", INDISTINCT: "makes no difference that these texts can tell"}


def answers(results: Results, found: Sequence[Finding]) -> dict[str, list[str]]:
    """The study's answers in sentences that the figures choose, by what they are about; the first ones sum up."""
    rivals = list(results.published.values())[1:]
    told: dict[str, list[str]] = {}
    clear: list[str] = []
    effects: dict[str, dict[str, list[str]]] = {question: {} for question in _BRINGS}
    for data, measure in results.subjects:
        subject = f"{results.sets[data].title}, {measure}"
        few = [one for one in found if (one.place.data, one.measure) == (data, measure) and _is_few(one)]
        told[subject] = []
        for prior in rivals:
            own = [one for one in few if (one.question, one.first) == ("prior", prior)]
            told[subject].append(
                _beside(results, prior, [f"at {one.place.examples} examples a tool" for one in own], own)
            )
            if own and all(verdict(one.difference) == "above" for one in own):
                clear.append(f"{subject} ({results.name(prior)})")
        for question, words in _BRINGS.items():
            # What a pull to random rows does says nothing of priors.
            asked = [one for one in few if one.question == question and not (question == "pull" and _random(one.first))]
            whole = _pooled(results, asked)
            single = [verdict(one.difference) for one in asked]
            counted = ", ".join(f"{single.count(word)} {word}" for word in ARROWS)
            effects[question].setdefault(_DOES[verdict(whole)], []).append(f"{subject} ({signed(whole.mean)})")
            over = f"on average over {len(asked)} comparisons at up to {FEW} examples a tool ({counted})"
            told[subject].append(f"{words} brings {shown(whole)} {over}.")
    told["Fewer tools, tool accuracy"] = [
        _beside(results, method, [f"with {one.place.tools} tools" for one in own], own)
        for method in (*rivals, NEIGHBOUR)
        if (own := _published(found, results.curve, method))
    ]
    told["All examples, tool accuracy"] = [
        _beside(results, method, [f"on {results.sets[one.place.data].title}" for one in own], own)
        for method in (*rivals, NEIGHBOUR)
        if (own := _published(found, results.full, method))
    ]
    numbers = dict.fromkeys(str(one.place.examples) for one in found if _is_few(one))
    counts = f"{'both ' if len(numbers) == 2 else ''}{' and '.join(numbers)}"
    beats = "is clearly better than random rows" if clear else "is nowhere clearly better than random rows"
    short = [f"TokenLearning's prior {beats} at {counts} examples a tool{': ' if clear else ''}{'; '.join(clear)}."]
    for question, words in _BRINGS.items():
        parts = [f"{does} on {'; '.join(subjects)}" for does, subjects in effects[question].items()]
        short.append(f"{words} {', and '.join(parts)}.")
    return {"In short": short, **told}


def _beside(results: Results, method: Method, where: Sequence[str], own: Sequence[Finding]) -> str:
    parts = [f"{shown(one.difference)} {place}" for one, place in zip(own, where, strict=True)]
    return f"{_capital(results.name(method))} beside {results.name(results.baseline)}: {'; '.join(parts)}."


def _pooled(results: Results, asked: Sequence[Finding]) -> Difference:
    """All comparisons of a question as one: a text's values are averaged over them."""
    first = [one for finding in asked for one in results.outcomes[finding.place, finding.first]]
    second = [one for finding in asked for one in results.outcomes[finding.place, finding.second]]
    return difference(first, second, asked[0].measure)


def _published(found: Sequence[Finding], places: Sequence[Place], method: Method) -> list[Finding]:
    wanted = ("published", method, "tool accuracy")
    return [one for one in found if (one.question, one.first, one.measure) == wanted and one.place in places]


def _random(method: Method) -> bool:
    return method.start is not None and method.start.kind == "random"


def _is_few(one: Finding) -> bool:
    return one.question != "published" and one.place.examples is not None and one.place.examples <= FEW


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---- tables


def _methods_table(results: Results, data: str, measure: Measure) -> str:
    places = [place for place in results.few if place.data == data]
    named = {method: f"{method.name} ({name})" for name, method in results.published.items()}
    rows = [
        (
            named.get(method, method.name),
            *(_mean(results.values(place, method, measure)) for place in places),
            _rate(results, places[0], method),
        )
        for method in (*results.methods, NEIGHBOUR)
    ]
    head = ("rows start, pull", *(f"{place.examples} examples" for place in places), "learning rate")
    return _table(f"{measure}: {tested_on(results, places[0])}", head, rows)


def _findings_table(results: Results, found: Sequence[Finding], data: str, measure: Measure) -> str:
    own = [one for one in found if (one.place.data, one.measure) == (data, measure) and one.question != "published"]
    rows: dict[tuple[str, Method, Method], list[str]] = {}
    for one in own:
        name = results.name if one.question == "prior" else lambda method: method.name
        row = [f"{one.question}: {name(one.first)} less {name(one.second)}"]
        rows.setdefault((one.question, one.first, one.second), row).append(shown(one.difference))
    places = [place for place in results.few if place.data == data]
    head = ("what is compared", *(f"{place.examples} examples" for place in places))
    return _table(f"Differences in {measure}, with 95% intervals: {tested_on(results, places[0])}", head, rows.values())


def _curve_table(results: Results, found: Sequence[Finding]) -> str:
    """The published methods with fewer tools, a line a number."""
    methods = (*results.published.values(), NEIGHBOUR)
    rows = [
        (
            f"{place.tools} tools, {len(results.outcomes[place, NEIGHBOUR][0].calls_T):,} texts",
            *(_mean(results.values(place, method, "tool accuracy")) for method in methods),
            *_leads(found, place, methods[1:], "tool accuracy"),
        )
        for place in results.curve
    ]
    leads = [f"{results.name(method)} less {results.name(results.baseline)}" for method in methods[1:]]
    last = results.curve[-1]
    caption = f"Tool accuracy, {last.examples} examples a tool: {tested_on(results, last)}; fewer tools, fewer texts"
    return _table(caption, ("tools", *(results.name(method) for method in methods), *leads), rows)


def _full_table(results: Results, found: Sequence[Finding], place: Place) -> str:
    """The published methods with all examples."""
    facts = results.sets[place.data]
    words = "exact F1" in facts.measures
    fields = ("tool accuracy", *(("precision", "recall", "f1", "exact F1") if words else ()))
    methods = (*results.published.values(), NEIGHBOUR)
    rows = []
    for method in methods:
        leads = [lead for measure in facts.measures for lead in _leads(found, place, (method,), measure) or ("",)]
        values = [_mean(results.values(place, method, field)) for field in fields]
        low, high = astuple(interval(results.outcomes[place, method], "tool accuracy"))
        values.insert(1, f"{low:.3f} to {high:.3f}")
        rows.append((results.name(method), *values, *leads, _rate(results, place, method)))
    named = {"precision": "trigger precision", "recall": "trigger recall", "f1": "trigger F1"}
    base = results.name(results.baseline)
    head = ("method", "tool accuracy", "interval", *(named.get(field, field) for field in fields[1:]))
    leads = [f"{each} less {base}'s" for each in facts.measures]
    return _table(tested_on(results, place), (*head, *leads, "learning rate"), rows)


def _leads(found: Sequence[Finding], place: Place, methods: Sequence[Method], measure: Measure) -> list[str]:
    return [
        shown(one.difference)
        for method in methods
        for one in found
        if (one.question, one.place, one.first, one.measure) == ("published", place, method, measure)
    ]


def _trained(results: Results) -> str:
    """Whether training may have ended too soon."""
    rows = {job: seeds for job, seeds in results.outcomes.items() if job[0] in results.few and job[1].start is not None}
    last = fmean(one.kept == EPOCHS for seeds in rows.values() for one in seeds)
    fastest = fmean(results.rates[job] == max(results.rates.values()) for job in rows)
    return (
        f"The last of {EPOCHS} epochs was kept in {last:.0%} of these trainings, and the highest rate was chosen for "
        f"{fastest:.0%}: where both are so, longer training might change what is seen."
    )


def _rate(results: Results, place: Place, method: Method) -> str:
    rate = results.rates.get((place, method))
    return "" if rate is None else f"{rate:g}"


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    caption = _capital(caption)
    columns = "".join(f'<th scope="col">{safe(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{safe(row[0])}</th>' + "".join(f"<td>{safe(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    # What scrolls must take the focus, or the keyboard cannot scroll it.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption)}"><table>'
        f"<caption><span>{safe(caption)}</span></caption><thead><tr>{columns}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


# ---- page


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Where tool rows start</title>
<style>
$style.key { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .25rem 0; padding: 0;
  font-size: .8125rem; }
main li { max-width: 75ch; margin: .35rem 0; }
</style>
</head>
<body>
<a class="skip" href="#answers">To the answers</a>
<header>
<h1>Where tool rows start: does a prior help, by its direction or by its size?</h1>
<p>ToolkenGPT trains one output row a tool beside a frozen model, from random rows; TokenLearning starts them at a
prior (what the model makes of the tool's name or document) and pulls them back to it.</p>
<nav aria-label="Contents"><ul>
<li><a href="#answers">Answers</a></li><li><a href="#full">All examples</a></li>
<li><a href="#pictures">Pictures</a></li><li><a href="#differences">Differences</a></li>
<li><a href="#curve">Fewer tools</a></li><li><a href="#few">All methods</a></li>
<li><a href="#origin">Where this comes from</a></li></ul></nav>
</header>
<main>
<section aria-labelledby="answers">
<h2 id="answers" tabindex="-1">Answers</h2>
$answers
<p class="note">Differences of means over seeds on the same test texts; intervals are paired bootstraps over texts,
whose calls stay together. ▲ and ▼, above and below: the 95% interval is clear of zero; ≈: it is not. Each interval
stands for itself: of twenty where nothing differs, one is clear of zero by chance.</p>
</section>
<section aria-labelledby="full">
<h2 id="full">All examples</h2>
$full
<p class="note">±: standard deviation over seeds; the interval is a 95% bootstrap over texts. Tool accuracy: of the
text's calls, those at which the best row is the right one. A trigger is a place where a row, plus the bias that
validation chose, beats the best word; exact F1 counts those of the right tool. With tools off nothing is triggered,
and every F1 is 0 by definition. The nearest neighbour answers with the tool of the most similar state among the
training calls; with all examples no seed changes it. Where words are no labels, it is given that a tool is called.</p>
</section>
<section aria-labelledby="pictures">
<h2 id="pictures">Pictures</h2>
<p class="without">The pictures need JavaScript; what they show is in the tables.</p>
<p id="undrawn" hidden>This browser could not draw the pictures; what they show is in the tables.</p>
<div class="pictures with">$pictures</div>
</section>
<section aria-labelledby="differences">
<h2 id="differences">Differences</h2>
<p class="note">Linear: rows of norm 1/√3, as ToolkenGPT's code makes them; small: of norm 1/√D, as TokenLearning's
does; word: of the word rows' mean norm. Direction: a prior beside random
rows of the same norm and pull. Size: the same direction at another norm.</p>
$differences
</section>
<section aria-labelledby="curve">
<h2 id="curve">Fewer tools</h2>
$curve
<p class="note">Which tools is the same for all methods and seeds, and fewer are among more.</p>
</section>
<section aria-labelledby="few">
<h2 id="few">All methods, few examples</h2>
<p class="note">$trained</p>
$few
</section>
<section aria-labelledby="origin">
<h2 id="origin">Where this comes from</h2>
<p class="note">Texts are divided by a hash of what they say before their first call: what is equal but for numbers is
in one part, paraphrases may be in two.
Examples a tool are drawn by the seed from the training texts, the fewer among the more; a text counts for every tool
that it calls. Epoch, bias and rate are chosen on the same validation texts everywhere.</p>
<dl>$origin</dl>
</section>
</main>
<script type="application/json" id="figures">$figures</script>
<script type="text/plain" id="library">$library</script>
<script>$script</script>
</body>
</html>
""")


def render(results: Results, found: Sequence[Finding]) -> str:
    """The page; the same results give the same page.

    Args:
        results: Of the study.
        found: Its comparisons, from ``findings``.
    """
    script = (files("toolgen.benchmarks") / "toolken_page.js").read_text(encoding="utf-8") + UNPACKING
    drawn = list(pictures(results, found))
    subjects = results.subjects
    facts = [
        (one.title, f"{one.tools} tools; {one.train:,} training and {one.validation:,} validation texts")
        for one in results.sets.values()
    ]
    return _PAGE.substitute(
        policy=policy(script),
        style=(files("toolgen.benchmarks") / "report.css").read_text(encoding="utf-8"),
        answers="".join(
            f"<h3>{safe(heading)}</h3><ul>{''.join(f'<li>{safe(one)}</li>' for one in told)}</ul>"
            for heading, told in answers(results, found).items()
        ),
        full="".join(_full_table(results, found, place) for place in results.full),
        pictures="".join(_drawn(picture, place) for place, picture in enumerate(drawn)),
        differences="".join(_findings_table(results, found, *subject) for subject in subjects),
        curve=_curve_table(results, found),
        trained=_trained(results),
        few="".join(_methods_table(results, *subject) for subject in subjects),
        origin="".join(
            f"<dt>{safe(name)}</dt><dd>{safe(told)}</dd>" for name, told in (*results.origin.items(), *facts)
        ),
        figures=embedded([picture.figure for picture in drawn]),
        library=packed_plotly(),
        script=script,
    )


def _drawn(picture: Picture, place: int) -> str:
    key = "".join(
        f'<li><span class="sign c{trace["meta"]}" aria-hidden="true">{SIGNS[trace["marker"]["symbol"]]}</span> '
        f"{safe(trace['name'])}</li>"
        for trace in picture.figure["data"]
    )
    title = safe(picture.title)
    return (
        f'<figure><figcaption><h3>{title}</h3><p class="note">{safe(picture.note)}</p><ul class="key">{key}</ul>'
        f'</figcaption><div class="picture" id="picture-{place}" role="img" '
        f'aria-label="{title}; the values are in the tables"></div></figure>'
    )
