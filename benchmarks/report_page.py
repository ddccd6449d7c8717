"""The page of a report: tables, pictures and the error browser in one HTML file that needs no network. Knows HTML, not
how figures come about.

All text that comes from results is escaped. Without JavaScript the tables still read; ``report.js`` draws the pictures
and runs the browser. The page's own policy lets no script run but these two, and nothing be fetched.
"""

import json
from importlib.resources import files
from string import Template

from toolgen.benchmarks import report_tables as tables
from toolgen.benchmarks.report_answers import answers
from toolgen.benchmarks.report_data import FEWEST, Method, Report
from toolgen.benchmarks.report_figures import Picture, pictures
from toolgen.benchmarks.report_tables import sign
from toolgen.page import UNPACKING, embedded, packed_plotly, policy, safe

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<a class="skip" href="#leaderboard">To the leaderboard</a>
<header>
<h1>$title</h1>
<p class="lead">$headline</p>
<p>$data</p>
$unfinished
<nav aria-label="Contents"><ul>
<li><a href="#leaderboard">Leaderboard</a></li>
<li><a href="#ties">Strict and tie-aware</a></li>
<li><a href="#cost">Cost</a></li>
<li><a href="#pictures">Pictures</a></li>
<li><a href="#breakdown">Kinds of queries</a></li>
<li><a href="#browser">Answers, query by query</a></li>
<li><a href="#origin">Where this comes from</a></li>
</ul></nav>
</header>
<main>
<section aria-labelledby="leaderboard">
<h2 id="leaderboard" tabindex="-1">Leaderboard</h2>
$leaderboard
<p class="note">NDCG@5 over all gold tools. Each query's values are averaged over a method's seeds; its 95% interval
then is a bootstrap over queries, and the spread a standard deviation over seeds. The difference is that to the best
baseline on the same queries, paired; where that baseline was not trained, the best trained one stands beside it. Each
interval stands for itself: of many methods, one or the other is above or below by chance. Hallucinated: answers, of
$depth a query, that are no tool or repeat an earlier one.</p>
</section>
<section aria-labelledby="ties">
<h2 id="ties">Strict and tie-aware</h2>
$ties
<p class="note">Tie-aware: tools with equal documents count as one answer; a second one costs nothing and gains
nothing. $twins The published variant is that of ToolGen's public evaluation, in which gold tools that were missed cost
nothing; it stands here to be compared with published figures and with nothing else.</p>
</section>
<section aria-labelledby="cost">
<h2 id="cost">Cost</h2>
$cost
<p class="note">Means over seeds. p50 and p95: milliseconds of one query at a time.</p>
</section>
<section aria-labelledby="pictures">
<h2 id="pictures">Pictures</h2>
<p class="without">The pictures need JavaScript; what they show is in the tables.</p>
<p id="undrawn" hidden>This browser could not draw the pictures; what they show is in the tables.</p>
<fieldset class="with"><legend>Methods shown</legend>$key</fieldset>
<div class="pictures with">$pictures</div>
$curves
</section>
<section aria-labelledby="breakdown">
<h2 id="breakdown">Kinds of queries</h2>
<p class="note">NDCG@5. The difference is that of the best generative method to the best baseline, with its 95%
interval; none is given for fewer than $fewest queries. The best value of a line is bold.</p>
$breakdowns
</section>
<section aria-labelledby="browser">
<h2 id="browser">Answers, query by query</h2>
<p class="without">This part needs JavaScript.</p>
<div class="with">
<p class="note">Of a method with several seeds, the lowest one's. An answer is gold if it is the very tool.</p>
<form id="filters">
<label>Method <select id="method"></select></label>
<label>Outcome <select id="outcome">
<option value="all">all</option>
<option value="first">wrong at rank 1</option>
<option value="missing">a gold tool missing in the top 5</option>
<option value="none">no gold tool in the top 5</option>
<option value="right">right</option>
</select></label>
<label>Beside the best baseline <select id="beside">
<option value="all">all</option>
<option value="worse">worse NDCG@5</option>
<option value="better">better NDCG@5</option>
<option value="equal">equal NDCG@5</option>
</select></label>
<label>Text <input id="text" type="search" autocomplete="off" placeholder="in queries and gold tools"></label>
</form>
<p id="found" role="status"></p>
<div id="answers"></div>
<p class="turn"><button type="button" id="back">Previous</button> <span id="at"></span>
<button type="button" id="on">Next</button></p>
</div>
</section>
<section aria-labelledby="origin">
<h2 id="origin">Where this comes from</h2>
$origin
</section>
</main>
<script type="application/json" id="figures">$figures</script>
<script type="application/json" id="data">$answers</script>
<script type="text/plain" id="library">$library</script>
<script>$script</script>
</body>
</html>
""")


def render(report: Report, most: int) -> str:
    """The page; the same report gives the same page.

    Args:
        report: Its figures.
        most: Queries in the error browser; more are thinned out evenly.
    """
    comparison = report.results.comparison
    drawn = list(pictures(report))
    script = (files("toolgen.benchmarks") / "report.js").read_text(encoding="utf-8") + UNPACKING
    return _PAGE.substitute(
        policy=policy(script),
        title=safe(f"Comparison {comparison.name}"),
        style=(files("toolgen.benchmarks") / "report.css").read_text(encoding="utf-8"),
        headline=safe(report.headline()),
        data=tables.data(comparison),
        unfinished=tables.unfinished(report),
        leaderboard=tables.leaderboard(report),
        depth=comparison.depth,
        ties=tables.ties(report),
        twins=tables.twins(report),
        cost=tables.cost(report),
        key="".join(_key(method, place) for place, method in enumerate(report.methods)),
        pictures="".join(_picture(picture, place) for place, picture in enumerate(drawn)),
        curves=tables.curves(report),
        fewest=FEWEST,
        breakdowns="".join(tables.breakdown(breakdown, report) for breakdown in report.breakdowns),
        origin=tables.origin(report.results),
        figures=embedded([json.loads(picture.figure.to_json()) for picture in drawn]),
        answers=embedded(answers(report, most)),
        library=packed_plotly(),
        script=script,
    )


def _key(method: Method, place: int) -> str:
    return (
        f'<label><input type="checkbox" checked data-method="{place}">{sign(method, place)}'
        f"<bdi>{safe(method.name)}</bdi></label>"
    )


def _picture(picture: Picture, place: int) -> str:
    title = safe(picture.title)
    label = f"{title}; the values are in the tables"
    return (
        f'<figure><figcaption><h3>{title}</h3><p class="note">{safe(picture.note)}</p></figcaption>'
        f'<div class="picture" id="picture-{place}" role="img" aria-label="{label}"></div></figure>'
    )
