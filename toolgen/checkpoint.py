"""A checkpoint: model, tokenizer, catalogue and codebook, saved and checked together. Knows no training.

A checkpoint is a folder that plain ``AutoModelForCausalLM`` and ``AutoTokenizer`` load without this library, and beside
the model's files it holds ``tools.jsonl``, ``codebook.json`` and ``toolgen.json``.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolgen import __version__
from toolgen.codebook import Codebook, TokenCodes
from toolgen.errors import InputError
from toolgen.files import read_json, write_json
from toolgen.prompts import PromptRenderer, PromptStyle
from toolgen.symbols import save_tokenizer
from toolgen.tools import ToolCatalog

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
        history: One entry a finished stage: its name and its configuration.
    """

    tokenizer: "PreTrainedTokenizerBase"
    catalog: ToolCatalog
    codebook: Codebook
    codes: TokenCodes
    prompt: PromptStyle
    base: str
    history: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def renderer(self) -> PromptRenderer:
        """Makes prompts as in training."""
        return PromptRenderer(self.tokenizer, self.prompt)

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
            history=tuple(card["history"]),
        )


def is_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a checkpoint of this library."""
    return (Path(folder) / CARD).is_file()


def load_model(folder: str | os.PathLike[str], dtype: "torch.dtype | str" = "auto") -> "PreTrainedModel":
    """Load the model of a checkpoint with plain transformers, in evaluation mode.

    Raises:
        InputError: The weights are absent, incomplete or unreadable.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    from toolgen.base import check_complete, without_bars

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


def publish(folder: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary folder and give it its final name when it is whole.

    A checkpoint that is there already is replaced, and stays as it was when writing fails.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    temporary.chmod(0o755)
    try:
        write(temporary)
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb") as written:
                    os.fsync(written.fileno())
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _codes(
    tokenizer: "PreTrainedTokenizerBase", codebook: Codebook, end_id: int, folder: str | os.PathLike[str]
) -> TokenCodes:
    from toolgen.tokenizer import bind_codebook

    try:
        return bind_codebook(codebook, tokenizer, end_id)
    except KeyError as error:
        raise InputError(f"{folder}: the tokenizer lacks the symbol {error.args[0]!r} of the codebook.") from error
