"""Any checkpoint of a stage as a plain folder: model, tokenizer, catalogue, codebook, and nothing of the trainer. Knows
checkpoints and where a run keeps them; no training.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel
from transformers.trainer import TRAINER_STATE_NAME

from toolgen.checkpoint import CARD, Artefacts, displaced, is_checkpoint, load_model, publish, write_model
from toolgen.errors import InputError
from toolgen.manifest import verify
from toolgen.resumption import checkpoints

Precision = Literal["keep", "fp32", "bf16", "fp16"]
_DTYPES: dict[Precision, torch.dtype | str] = {
    "keep": "auto",
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Source:
    """The checkpoint that a path stands for.

    Attributes:
        folder: As it was written: all its digests agree.
        passed_over: Why newer ones of the same run were not taken; a sentence each.
    """

    folder: Path
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """What ``export`` wrote.

    Attributes:
        source: Where it came from.
        folder: Where it is.
        tools: Tools of the catalogue.
        parameters: Weights of the model.
        dtype: Of the weights, such as ``"bfloat16"``.
        size: Bytes of all files.
    """

    source: Source
    folder: Path
    tools: int
    parameters: int
    dtype: str
    size: int


def export(checkpoint: Path, folder: Path, dtype: Precision = "keep") -> Exported:
    """Write a checkpoint as a plain folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` load.

    Args:
        checkpoint: A final or an intermediate checkpoint, or a run's folder (see ``find_source``).
        folder: Where to; new, empty, or an earlier export, which is replaced.
        dtype: Of the weights; ``"keep"`` leaves them as they are.

    Raises:
        InputError: There is no checkpoint as it was written, ``folder`` holds something else, or a weight does not fit
            the dtype.
    """
    _check_target(checkpoint, folder)
    source = find_source(checkpoint)
    artefacts = Artefacts.load(source.folder)
    model = load_model(source.folder, dtype=_DTYPES[dtype])
    if dtype == "fp16":
        _check_finite(source.folder, model)
    publish(folder, lambda target: write_model(target, model, artefacts))
    return Exported(
        source=source,
        folder=folder,
        tools=len(artefacts.catalog),
        parameters=model.num_parameters(),
        dtype=str(model.dtype).removeprefix("torch."),
        size=sum(path.stat().st_size for path in folder.iterdir()),
    )


def find_source(path: Path) -> Source:
    """The checkpoint that a path stands for: itself, or of a run's folder ``final``, else the newest intermediate one
    that is as it was written.

    Raises:
        InputError: There is none, or the one that was asked for is not as it was written.
    """
    for folder in (path, path / "final"):
        if is_checkpoint(folder):
            whole = displaced(folder) or folder
            verify(whole, digests=True)
            return Source(whole)
    passed_over: list[str] = []
    for folder in reversed(checkpoints(path / "checkpoints")):
        try:
            verify(folder, digests=True)
        except InputError as error:
            passed_over.append(str(error))
        else:
            return Source(folder, tuple(passed_over))
    if passed_over:
        raise InputError(f"{path}: no checkpoint of this run is as it was written. The newest: {passed_over[0]}")
    raise InputError(
        f"{path}: neither a checkpoint nor a run's folder that holds one. Give what a stage wrote, such as "
        "runs/quickstart/retrieval, its final, or one of its checkpoints."
    )


def _check_target(checkpoint: Path, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file. Give a new folder.")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / CARD).is_file():
            raise InputError(f"{folder}: holds files and is no checkpoint. Give a new or an empty folder.")
        if (folder / TRAINER_STATE_NAME).exists():
            raise InputError(f"{folder}: is a checkpoint that a run may go on from. Give a new or an empty folder.")
    source, target = checkpoint.resolve(), folder.resolve()
    inside = target.is_relative_to(source) and is_checkpoint(source)
    if target == source or inside or source.is_relative_to(target):
        raise InputError(f"{folder}: cannot take the place of {checkpoint}, from which it is made. Give a new folder.")


def _check_finite(folder: Path, model: PreTrainedModel) -> None:
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(
                f"{folder}: the weight {name} holds values that fp16 cannot (beyond 65,504, or no numbers). Take bf16."
            )
