"""Trained tool rows and what belongs to them, in a folder of their own: the base stays where it is. Knows models and
catalogues; no texts and no training.

A folder holds ``rows.safetensors``, ``tools.jsonl`` and ``toolkens.json``. The base is named there, and its weights'
checksum says that it is the one the rows were trained beside.

Legend: ``S`` rows, ``D`` width.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

from toolgen.base import Base, load_base
from toolgen.codebook import Codebook
from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.generative import usable_device
from toolgen.priors import Prior, prior_rows
from toolgen.toolken.states import weights_checksum
from toolgen.tools import ToolCatalog
from toolgen.vocabulary import output_weight

FORMAT = 1
CARD, CATALOG, ROWS = "toolkens.json", "tools.jsonl", "rows.safetensors"
_KEYS = ("base", "base_checksum", "bias", "prior", "dtype")

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Toolkens:
    """One output row a tool, beside a base model that stands still.

    Attributes:
        catalog: The tools.
        rows_SD: Their rows, in the catalogue's order, float32.
        base: Name or folder of the base model.
        base_checksum: ``weights_checksum`` of it.
        bias: Is added to every tool's logit in decoding.
        prior: Where the rows started, and where a new tool's does.
        hub: Name of the functions that run the tools; None where nothing does.
        demonstrations: Of each tool, behind which its arguments are written.
        trained: How, and what came of it; for reports.
        dtype: Of the base's weights.
    """

    catalog: ToolCatalog
    rows_SD: Tensor
    base: str
    base_checksum: str
    bias: float
    prior: Prior
    hub: str | None = None
    demonstrations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trained: Mapping[str, Any] = field(default_factory=dict)
    dtype: Dtype = "float32"

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the folder; the card last, so that a folder without one is not whole."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)
        save_file({"rows": self.rows_SD.contiguous()}, folder / ROWS)
        self.catalog.to_jsonl(folder / CATALOG)
        card = {
            "format": FORMAT,
            "base": self.base,
            "base_checksum": self.base_checksum,
            "bias": self.bias,
            "prior": self.prior.model_dump(),
            "dtype": self.dtype,
            "hub": self.hub,
            "demonstrations": {tool: list(shown) for tool, shown in self.demonstrations.items()},
            "catalog_fingerprint": self.catalog.fingerprint,
            "trained": dict(self.trained),
        }
        write_json(folder / CARD, card)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Toolkens":
        """Read a folder.

        Raises:
            InputError: It holds no toolkens, or its parts do not belong together.
        """
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise InputError(
                f"{folder}: no toolkens here (no {CARD}). Give the folder that `toolgen toolken train` wrote."
            )
        card = read_json(folder / CARD)
        if card.get("format") != FORMAT:
            raise InputError(f"{folder / CARD}: format {card.get('format')!r}; this version reads {FORMAT}.")
        if missing := [key for key in _KEYS if key not in card]:
            raise InputError(f"{folder / CARD}: lacks {', '.join(missing)}. Train again, or restore the file.")
        catalog = ToolCatalog.from_jsonl(folder / CATALOG)
        rows_SD = load_file(folder / ROWS)["rows"]
        if card.get("catalog_fingerprint") != catalog.fingerprint or len(rows_SD) != len(catalog):
            raise InputError(f"{folder}: {CATALOG} and {ROWS} are not those of {CARD}. Restore the folder.")
        return cls(
            catalog,
            rows_SD,
            card["base"],
            card["base_checksum"],
            card["bias"],
            Prior(**card["prior"]),
            card.get("hub"),
            card.get("demonstrations", {}),
            card.get("trained", {}),
            card["dtype"],
        )

    def load_base(self, device: str | None = None) -> Base:
        """Load the base model that the rows belong to.

        Args:
            device: Such as ``"cpu"`` or ``"cuda:0"``; None: CUDA when there is one.

        Raises:
            InputError: It cannot be loaded, or is another one than the rows were trained beside.
        """
        base = load_on(self.base, self.dtype, device)
        if (found := weights_checksum(base.model)) != self.base_checksum:
            raise InputError(
                f"The base {self.base!r} is not the one that the rows were trained beside (weights "
                f"{found[:12]}, wanted {self.base_checksum[:12]}). Restore it, or train the rows again."
            )
        return base


def load_on(name: str, dtype: Dtype, device: str | None) -> Base:
    """Load a base model in a dtype onto a device; None: CUDA when there is one."""
    base = load_base(name, dtype)
    base.model.to(usable_device(device))  # type: ignore[arg-type]
    return base


def start_rows(prior: Prior, base: Base, catalog: ToolCatalog) -> Tensor:
    """Rows ``[S, D]`` float32 as a prior makes them, one a tool in the catalogue's order."""
    symbols = {tool: (f"<<{number}>>",) for number, tool in enumerate(catalog.ids)}
    book = Codebook("atomic", symbols, tuple(code[0] for code in symbols.values()), catalog.fingerprint)
    return prior_rows(prior, base.model, base.tokenizer, catalog, book, target="output")


def row_ids(base: Base, catalog: ToolCatalog) -> dict[str, int]:
    """Id of each tool's row, behind those of the base."""
    first_id = len(output_weight(base.model))
    return {tool: first_id + number for number, tool in enumerate(catalog.ids)}
