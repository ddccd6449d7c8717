"""A checkpoint: model, tokenizer, catalogue and codebook, saved and checked together. Knows no training.

A checkpoint is a folder that plain ``AutoModelForCausalLM`` and ``AutoTokenizer`` load without this library, and beside
the model's files it holds ``tools.jsonl``, ``codebook.json``, ``toolgen.json`` and a manifest of all files.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolgen import __version__
from toolgen.codebook import Codebook, TokenCodes
from toolgen.errors import DiskFullError, InputError
from toolgen.files import is_disk_full, read_json, write_json
from toolgen.manifest import seal, sync_folder, verify
from toolgen.parts import Reading
from toolgen.prompts import PromptRenderer, PromptStyle
from toolgen.symbols import save_tokenizer
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_SHARD = "5GB"
"""A file of weights holds no more: a large model is read file by file, and a failed copy is repeated for one."""

FORMAT = 1
CARD = "toolgen.json"
CATALOG = "tools.jsonl"
CODEBOOK = "codebook.json"
_CARD_KEYS = ("catalog_fingerprint", "codebook_fingerprint", "end_id", "prompt", "base", "history")


@dataclass(frozen=True)
class Artefacts:
    """Everything of a checkpoint but the model.

    Attributes:
        tokenizer: Holds the new symbols.
        catalog: The tools.
        codebook: Their codes.
        codes: The codes as token ids of ``tokenizer``.
        prompt: Style of prompt that the model was trained with.
        base: Name of the base model.
        reading: How it reads queries.
        history: One entry a finished stage: its name and its configuration.
    """

    tokenizer: "PreTrainedTokenizerBase"
    catalog: ToolCatalog
    codebook: Codebook
    codes: TokenCodes
    prompt: PromptStyle
    base: str
    reading: Reading = "whole"
    history: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def renderer(self) -> PromptRenderer:
        """Makes prompts as in training."""
        return PromptRenderer(self.tokenizer, self.prompt)

    @property
    def pad_id(self) -> int:
        """Fills rows up: the tokenizer's own, else the codes' end."""
        own = self.tokenizer.pad_token_id
        return self.codes.end_id if own is None else own

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer, catalogue, codebook and card beside a model's files."""
        folder = Path(folder)
        save_tokenizer(self.tokenizer, folder)
        self.catalog.to_jsonl(folder / CATALOG)
        self.codebook.save(folder / CODEBOOK)
        card = {
            "format": FORMAT,
            "toolgen": __version__,
            "catalog_fingerprint": self.catalog.fingerprint,
            "codebook_fingerprint": self.codebook.fingerprint,
            "end_id": self.codes.end_id,
            "prompt": self.prompt,
            "base": self.base,
            "reading": self.reading,
            "history": [dict(entry) for entry in self.history],
        }
        write_json(folder / CARD, card)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Artefacts":
        """Read everything but the model, and check that the parts belong together.

        Raises:
            InputError: The folder is no checkpoint, or two of its parts do not belong together; the message says which.
        """
        from transformers import AutoTokenizer

        folder = Path(folder)
        if (whole := displaced(folder)) is not None:
            raise InputError(
                f"{folder}: a run was killed in the moment of replacing it. The checkpoint is whole and lies in "
                f"{whole}: rename that folder to {folder.name}, or run again what was killed."
            )
        if not (folder / CARD).is_file():
            raise InputError(
                f"{folder}: not a toolgen checkpoint (no {CARD}). Give the folder that a stage wrote, "
                "such as runs/quickstart/retrieval/final."
            )
        card = read_json(folder / CARD)
        if card.get("format") != FORMAT:
            raise InputError(f"{folder / CARD}: format {card.get('format')!r}; this version reads {FORMAT}.")
        if missing := [key for key in _CARD_KEYS if key not in card]:
            raise InputError(f"{folder / CARD}: lacks {', '.join(missing)}. Restore the file that the stage wrote.")
        catalog = ToolCatalog.from_jsonl(folder / CATALOG)
        codebook = Codebook.load(folder / CODEBOOK)
        for part, found in (("catalog", catalog.fingerprint), ("codebook", codebook.fingerprint)):
            if card[f"{part}_fingerprint"] != found:
                raise InputError(
                    f"{folder}: the model was trained with another {part}: {CARD} names the fingerprint "
                    f"{card[f'{part}_fingerprint']}, the {part} beside it has {found}. "
                    "Restore the file that the stage wrote."
                )
        codebook.check_catalog(catalog)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{folder}: the tokenizer cannot be read ({reason}). Restore what the stage wrote."
            ) from error
        return cls(
            tokenizer=tokenizer,
            catalog=catalog,
            codebook=codebook,
            codes=_codes(tokenizer, codebook, card["end_id"], folder),
            prompt=card["prompt"],
            base=card["base"],
            # Checkpoints of earlier versions do not say.
            reading=card.get("reading", "whole"),
            history=tuple(card["history"]),
        )


def is_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a checkpoint of this library, or held one when a run was killed (see ``displaced``)."""
    return (Path(folder) / CARD).is_file() or displaced(Path(folder)) is not None


def load_model(folder: str | os.PathLike[str], dtype: "torch.dtype | str" = "auto") -> "PreTrainedModel":
    """Load the model of a checkpoint with plain transformers, in evaluation mode.

    All files are compared with the manifest by their sizes; to read them twice for their digests would double the time
    that a large model takes to start. Export and resume compare the digests.

    Raises:
        InputError: A file differs from the manifest, or the weights are absent, incomplete or unreadable.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    from toolgen.base import check_complete, without_bars

    verify(Path(folder), digests=False)
    try:
        with without_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{folder}: the model cannot be read ({reason}). Restore what the stage wrote.") from error
    model: PreTrainedModel
    model, loading = loaded
    check_complete(str(folder), model, loading)
    model.eval()
    return model


def write_model(
    folder: Path, model: "PreTrainedModel", artefacts: Artefacts, weights: dict[str, Any] | None = None
) -> None:
    """Fill a folder with a checkpoint's files.

    Args:
        folder: Made where it is missing.
        model: Its configuration and, unless given apart, its weights.
        artefacts: What belongs to it.
        weights: Whole weights by name, for a model whose own are spread over processes.
    """
    from toolgen.base import without_bars

    with without_bars():
        model.save_pretrained(folder, state_dict=weights, max_shard_size=MODEL_SHARD)
    artefacts.save(folder)


def publish(folder: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a new folder, seal it, and give it its name when it is whole and on the disk.

    Whatever happens, a kill or a power failure included, a checkpoint that was there before or the new one stays whole:
    under its name, or, after a kill between the two renames of a replacement, beside it under the name that
    ``displaced`` gives. What a killed run left beside ``folder`` is settled first.

    Raises:
        DiskFullError: There is no room; what was there before is untouched.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (whole := displaced(folder)) is not None:
        whole.rename(folder)
    new, old = _beside(folder)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    try:
        new.mkdir()
        write(new)
        seal(new)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if is_disk_full(error):
            raise _disk_full(folder) from error
        raise
    sync_folder(folder.parent)
    # From here an interruption leaves what a kill would: nothing is cleared away that ``displaced`` might need.
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    sync_folder(folder.parent)
    if old.exists():
        shutil.rmtree(old)


def displaced(folder: Path) -> Path | None:
    """Where the whole checkpoint lies when a run was killed in the moment of replacing ``folder``; None: it was not."""
    new, old = _beside(folder)
    if folder.exists() or not old.exists():
        return None
    return new if new.exists() else old


def _beside(folder: Path) -> tuple[Path, Path]:
    """Names that a checkpoint has before it is whole, and while it is being replaced."""
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def _disk_full(folder: Path) -> DiskFullError:
    free = shutil.disk_usage(folder.parent).free
    before = " The checkpoint that was there before is untouched." if folder.exists() else ""
    return DiskFullError(
        f"{folder} could not be saved: the disk, or your share of it, has no room for it. What was written of it is "
        f"removed again; {free / 1e6:,.1f} MB are free.{before} Make room, or choose a folder on another disk, and run "
        "the same command again; a stage goes on from its last checkpoint with resume=true."
    )


def _codes(
    tokenizer: "PreTrainedTokenizerBase", codebook: Codebook, end_id: int, folder: str | os.PathLike[str]
) -> TokenCodes:
    from toolgen.tokenizer import bind_codebook

    try:
        return bind_codebook(codebook, tokenizer, end_id)
    except KeyError as error:
        raise InputError(f"{folder}: the tokenizer lacks the symbol {error.args[0]!r} of the codebook.") from error
