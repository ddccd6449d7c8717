"""More tools for rows that are trained: one row each, in seconds, and the rows that are there stay as they are. Knows
the room; no command line.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from toolgen.base import Base
from toolgen.embeddings import Progress
from toolgen.errors import InputError
from toolgen.toolken.config import Material
from toolgen.toolken.fitting import FitConfig, fit_rows
from toolgen.toolken.form import demonstrations
from toolgen.toolken.texts import AnnotatedText
from toolgen.toolken.toolkens import Toolkens, start_rows
from toolgen.toolken.training import prepare
from toolgen.tools import Tool, ToolCatalog


def with_tools(
    toolkens: Toolkens,
    tools: Sequence[Tool],
    base: Base,
    texts: Sequence[AnnotatedText] = (),
    progress: Progress | None = None,
) -> Toolkens:
    """These and more tools.

    Without texts, the new rows stand where the prior puts them, and tools that take arguments are not called for want
    of a demonstration. With texts, the new rows learn from them as the others did, and the texts demonstrate calls.

    Args:
        toolkens: The rows that are there.
        tools: Their ids are new.
        base: As from ``toolkens.load_base``.
        texts: They call the new tools, and perhaps others; all are trained on.
        progress: Told texts read and all.

    Raises:
        KeyError: A text calls a tool that is in neither.
        InputError: An id is taken; the rows were random, which says nothing of a tool, and there are no texts; or a new
            tool is called by none of them.
    """
    if taken := [tool.id for tool in tools if tool.id in toolkens.catalog]:
        raise InputError(f"Tool {taken[0]!r} has a row already. Give tools with other ids.")
    if toolkens.prior.kind == "random" and not texts:
        raise InputError(
            "These rows started at random, and so would a new tool's, which says nothing of it. Give texts that call "
            "it, or train with a prior of kind name, description or hidden."
        )
    catalog = ToolCatalog([*toolkens.catalog.values(), *tools])
    # A prior that takes the tools' mean off knows the new ones by the old.
    start_SD = start_rows(toolkens.prior, base, catalog if toolkens.prior.center else ToolCatalog(tools))
    rows_SD = torch.cat([toolkens.rows_SD, start_SD[-len(tools) :]])
    grown = replace(toolkens, catalog=catalog, rows_SD=rows_SD)
    if not texts:
        return grown
    called = {span.tool for text in texts for span in text.calls}
    if missing := [tool.id for tool in tools if tool.id not in called]:
        raise InputError(f"No text calls the new tool {missing[0]!r}. Give texts that do, or none at all.")
    trained = toolkens.trained
    material = Material(catalog, None, tuple(texts), (), ())
    prepared = prepare(
        base,
        material,
        toolkens.base_checksum,
        words=trained.get("words", True),
        max_tokens=trained.get("data", {}).get("max_tokens"),
        progress=progress,
    )
    config = FitConfig(**{**trained.get("fit", {}), "seed": trained.get("seed", 0)})
    fit = fit_rows(prepared.states, prepared.train, rows_SD, config, still=len(toolkens.catalog))
    shown = {**toolkens.demonstrations, **demonstrations(texts, [tool.id for tool in tools])}
    return replace(grown, rows_SD=fit.rows_SD, demonstrations=shown)
