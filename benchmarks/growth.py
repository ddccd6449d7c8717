"""What decoding costs as tools and beams grow: figures, and the same as a picture.

    toolgen bench growth --tools tools.jsonl.gz --counts 1000,10000,47073,200000 --beams 5,10,20,50

Beyond the tools of the catalogue it makes up others, whose names are made of two real ones. ``rows`` is the product of
the last states with the tools' rows and nothing else: what one token a tool cannot do without. The queries are the same
throughout. The methods of one size take turns; one size comes after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import torch
from rich import box
from rich.table import Table
from transformers import PreTrainedModel

from toolgen.benchmarks.decode import bare_forward, batch_of, peers, replay, search
from toolgen.benchmarks.speed import Coded, Method, check_schemes, coded, random_model, take_turns, texts_of
from toolgen.errors import InputError, require
from toolgen.files import write_json
from toolgen.head import Head
from toolgen.indexing import SCHEMES
from toolgen.terminal import out, progress_bar
from toolgen.tools import Tool, ToolCatalog


@dataclass(frozen=True)
class Point:
    """One figure.

    Attributes:
        along: What grows beside the others of its kind: ``tools`` or ``beams``.
        scheme: Indexing scheme.
        tools: Size of the catalogue.
        beams: Beam width; with one token a tool, answers.
        method: What was measured.
        ms_per_query: Median time.
    """

    along: str
    scheme: str
    tools: int
    beams: int
    method: str
    ms_per_query: float


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        schemes: Indexing schemes.
        counts: Numbers of tools; the beam width is then the first of ``beams``.
        beams: Beam widths, at least 2; over the catalogue as it is.
        batch: Queries decoded together.
        peer: Whether transformers takes its turns along the beams.
        trunk: Shape of the model's layers.
        repeats: Turns that count; one more goes before them.
    """

    schemes: Sequence[str]
    counts: Sequence[int]
    beams: Sequence[int]
    batch: int
    peer: bool
    trunk: str
    repeats: int


def grow(catalog: ToolCatalog, settings: Settings, folder: Path) -> list[Point]:
    """Measure and print; write ``growth.json``, ``growth.html`` and ``growth.png`` into ``folder``.

    Raises:
        InputError: An unknown scheme, or a beam wider than the fewest tools.
    """
    require("matplotlib", purpose="The picture", pip_name="matplotlib")
    check_schemes(settings.schemes, SCHEMES)
    for widest, fewest in ((settings.beams[0], min(settings.counts)), (max(settings.beams), len(catalog))):
        if widest > fewest:
            raise InputError(f"A beam of {widest} is wider than {fewest:,} tools. Give fewer beams or more tools.")
    texts = texts_of(catalog, settings.batch)
    points: list[Point] = []
    with progress_bar("Measuring") as progress:
        cells = [("tools", count, settings.beams[:1]) for count in sorted(settings.counts)]
        cells.append(("beams", len(catalog), settings.beams))
        for done, (along, count, beams) in enumerate(cells):
            tools = catalog_of_size(catalog, count)
            for scheme in settings.schemes:
                if along == "tools" or scheme != "atomic":
                    points += _measured(along, scheme, tools, texts, beams, settings)
            progress(done + 1, len(cells))
    out.print(_table(points, f"Milliseconds a query, {settings.batch} together, {settings.trunk} trunk"))
    write_json(folder / "growth.json", [vars(point) for point in points])
    _plot(points, folder)
    return points


def catalog_of_size(catalog: ToolCatalog, count: int) -> ToolCatalog:
    """Some tools of a catalogue, or all of them and made-up ones behind."""
    tools = list(catalog.values())
    if count <= len(tools):
        return ToolCatalog(Random(0).sample(tools, count))
    return ToolCatalog([*tools, *islice(_made_up(tools), count - len(tools))])


def _made_up(tools: Sequence[Tool]) -> Iterator[Tool]:
    rng, number = Random(0), 0
    while True:
        one, other = rng.choice(tools), rng.choice(tools)
        number += 1
        yield Tool(f"made-up-{number}", f"{one.name} {other.name}", other.description, group=one.group)


def _measured(
    along: str, scheme: str, catalog: ToolCatalog, texts: Sequence[str], widths: Sequence[int], settings: Settings
) -> Iterator[Point]:
    codes = coded(scheme, catalog)
    model = random_model(settings.trunk, codes, torch.float32, "cpu")
    inputs = batch_of(codes, texts, model.device)
    for beams in widths:
        if scheme == "atomic":
            ours = partial(search, model, codes, *inputs, beams, "allowed")
            methods: dict[str, Method] = {"toolgen": ours, "forwards": bare_forward(model, *inputs)}
            methods["rows"] = _rows(model, codes, len(inputs[0]))
        else:
            ours = partial(search, model, codes, *inputs, beams, "vocab")
            methods = {"toolgen": ours, "forwards": replay(model, *inputs, ours)}
            methods["toolgen-allowed"] = partial(search, model, codes, *inputs, beams, "allowed")
            if along == "beams" and settings.peer:
                methods["transformers-trie"] = partial(peers(model, codes)["transformers-trie"], *inputs, beams)
        for name, seconds in take_turns(methods, settings.repeats, model.device).items():
            yield Point(along, scheme, len(catalog), beams, name, seconds * 1e3 / settings.batch)


def _rows(model: PreTrainedModel, codes: Coded, count: int) -> Method:
    states_BD = torch.randn(count, model.config.hidden_size)
    return torch.no_grad()(partial(Head(model).logits, states_BD, codes.trie.first_tokens))


def _table(points: Sequence[Point], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("along", "scheme", "tools", "beams", "method", "ms a query"):
        table.add_column(heading, justify="left" if heading in ("along", "scheme", "method") else "right")
    for point in points:
        cells = point.along, point.scheme, f"{point.tools:,}", str(point.beams), point.method
        table.add_row(*cells, f"{point.ms_per_query:,.2f}")
    return table


def _curves(points: Sequence[Point], along: str) -> dict[str, tuple[list[int], list[float]]]:
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for point in points:
        if point.along == along:
            places, heights = curves.setdefault(f"{point.scheme}: {point.method}", ([], []))
            places.append(point.tools if along == "tools" else point.beams)
            heights.append(point.ms_per_query)
    return curves


def _plot(points: Sequence[Point], folder: Path) -> None:
    """Two panels on logarithmic axes, to look at anywhere and to look into in a browser."""
    from matplotlib.figure import Figure
    from plotly.subplots import make_subplots

    panels = ("tools", "beams")
    drawn, page = Figure(figsize=(13, 5.5), layout="constrained"), make_subplots(1, 2, subplot_titles=panels)
    for column, (along, axes) in enumerate(zip(panels, drawn.subplots(1, 2), strict=True), start=1):
        for name, (places, heights) in _curves(points, along).items():
            axes.loglog(places, heights, marker="o", linestyle="--" if name.endswith("forwards") else "-", label=name)
            page.add_scatter(x=places, y=heights, name=name, row=1, col=column, legendgroup=along)
        ticks = sorted({point.tools if along == "tools" else point.beams for point in points if point.along == along})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set(xlabel=along, ylabel="ms a query")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        page.update_xaxes(type="log", title=along, row=1, col=column)
        page.update_yaxes(type="log", title="ms a query", row=1, col=column)
    drawn.savefig(folder / "growth.png", dpi=110)
    page.write_html(folder / "growth.html")
