"""The page of an inspection: picture and figures in one HTML file that needs no network. Knows HTML, not how figures
and boxes come about.

All text that comes from a catalogue or a codebook is escaped. plotly's script, 4.8 MB, lies in the page compressed, and
the browser unpacks it.
"""

from collections.abc import Iterable, Iterator, Sequence
from string import Template

from toolgen.indexing.inspection import Index, Inspection, tokens_in
from toolgen.indexing.levels import LEVEL_HEADINGS
from toolgen.indexing.picture import BOXES, Kind, Picture
from toolgen.page import UNPACKING, packed_plotly, safe

_NAMED_TOOLS = 4
"""Tools of a shared prefix that are named; the JSON has all."""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { margin: 0; font: 13px/1.45 system-ui, sans-serif; color: #222; display: flex; height: 100vh; }
main { flex: 1; min-width: 0; display: flex; flex-direction: column; }
header { padding: 10px 14px 6px; }
h1 { font-size: 17px; margin: 0 0 2px; }
h2 { font-size: 13px; margin: 16px 0 4px; }
p { margin: 0 0 4px; }
#picture { flex: 1; min-height: 0; }
#picture .slice path { shape-rendering: crispEdges; }
aside { width: 520px; overflow: auto; padding: 10px 16px; background: #f7f7f7; border-left: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 12px; }
td, th { padding: 1px 4px; text-align: right; font-variant-numeric: tabular-nums; vertical-align: bottom; }
th { font-weight: normal; color: #666; white-space: pre; }
td:first-child { text-align: left; }
.bar { display: inline-block; height: 9px; background: #7a8ca8; }
.key { display: inline-block; width: 11px; height: 11px; margin-right: 5px; }
.note { color: #666; }
ol { padding-left: 20px; margin: 0; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<header><h1>$title</h1><p>$headline</p>
<p class="note">Read from left to right: each column is the next token of the codes, each box a prefix, as high as its
tools are many. A box has the colour of its largest $by and is the greyer the more it mixes. $remarks Click a box to go
in, the bar above to come back.</p></header>
<div id="picture"></div>
</main>
<aside>
<h2>Colours</h2>
$legend
<h2>Figures</h2>
<table>$summary</table>
<h2>Token by token</h2>
<table>$levels</table>
<p class="note">$levels_note</p>
<h2>Longest shared prefixes</h2>
$shared
<h2>Tokens a tool</h2>
<table>$histogram</table>
</aside>
<script type="application/json" id="figure">$figure</script>
<script type="text/plain" id="library">$library</script>
<script>
(async () => {
  await unpackPlotly();
  const figure = JSON.parse(document.getElementById("figure").textContent);
  Plotly.newPlot("picture", figure.data, figure.layout, {responsive: true, displaylogo: false, displayModeBar: false});
})();
$unpacking</script>
</body>
</html>
""")

_LEVELS_NOTE = (
    "choices: tokens that may follow a prefix. symbols: different tokens in this place; bits: their entropy, and the "
    "share of what equal use of all would give. purity: of the tools that share their prefix, the share in the "
    "prefix's largest {by}; by chance: the same where tools are dealt out to the prefixes at random."
)


def render(index: Index, inspection: Inspection, boxes: int = BOXES, depth: int | None = None) -> str:
    """An HTML page with the picture of ``index`` and the figures of ``inspection``.

    Args:
        index: What was inspected.
        inspection: Its figures.
        boxes: The most boxes of the picture.
        depth: Tokens of a code after which no box is opened; None: all.
    """
    picture = Picture(index, boxes, depth)
    by = safe(inspection.group_by)
    legend = "".join(
        f'<div><span class="key" style="background:{colour}"></span>{safe(group)} {inspection.groups[group]:,}</div>'
        for group, colour in picture.legend.items()
    )
    others = len(inspection.groups) - len(picture.legend)
    legend += f'<div class="note">{others:,} smaller ones: pale colours, which repeat.</div>' if others else ""
    left = len(inspection.levels) - len(inspection.shown_levels)
    note = _LEVELS_NOTE.format(by=by) + (f" {left} more levels in the JSON." if left else "")
    return _PAGE.substitute(
        title=safe(f"{inspection.scheme} codes of {inspection.statistics.tools:,} tools"),
        headline=safe(inspection.headline()),
        by=by,
        remarks=" ".join(_remarks(picture, by, depth)),
        legend=legend or '<p class="note">The tools have no groups.</p>',
        summary=_table(inspection.summary()),
        histogram=_histogram(inspection),
        levels=_table((level.cells() for level in inspection.shown_levels), LEVEL_HEADINGS),
        levels_note=note,
        shared=_shared(inspection),
        # plotly's JSON writes < and > as \u003c and \u003e, so that no text in it can close the script.
        figure=picture.figure().to_json(),
        library=packed_plotly(),
        unpacking=UNPACKING,
    )


def _remarks(picture: Picture, by: str, depth: int | None) -> Iterator[str]:
    kinds = {box.kind for box in picture.boxes}
    if Kind.GROUP in kinds:
        yield f"Italics gather tools of one {by} that hang on one prefix, each by a token of its own."
    if Kind.REST in kinds:
        yield "Hatched boxes gather the smaller branches of a prefix."
    if picture.closed:
        yield f"Boxes of {picture.closed:,} tools or fewer stay closed (--boxes opens more)."
    if depth is not None:
        yield f"Tokens after token {depth} are not shown (--depth)."


def _table(rows: Iterable[Sequence[str]], headings: Sequence[str] = ()) -> str:
    head = "<tr>" + "".join(f"<th>{safe(heading)}</th>" for heading in headings) + "</tr>" if headings else ""
    return head + "".join("<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)


def _histogram(inspection: Inspection) -> str:
    most = max(inspection.histogram.values())
    return "".join(
        f'<tr><td>{tokens}</td><td>{tools:,}</td><td style="text-align:left">'
        f'<span class="bar" style="width:{max(1, round(260 * tools / most))}px"></span></td></tr>'
        for tokens, tools in inspection.histogram.items()
    )


def _shared(inspection: Inspection) -> str:
    if not inspection.longest_shared:
        return '<p class="note">None: no two codes share a token.</p>'
    items = []
    for prefix in inspection.longest_shared:
        more = f", and {len(prefix.tools) - _NAMED_TOOLS:,} more" if len(prefix.tools) > _NAMED_TOOLS else ""
        named = ", ".join(map(safe, prefix.tools[:_NAMED_TOOLS]))
        items.append(f"<li><b>{safe(prefix.text)}</b> ({tokens_in(prefix.length)}): {named}{more}</li>")
    return f"<ol>{''.join(items)}</ol>"
