"""Output rows trained on hidden states that are computed once. Knows models and examples; no trainer.

Where the layers and the embedding are frozen, the states that predict the labels are the same in every epoch, and so is
what the base's rows make of them: their part of the normaliser, and the logit of a label that is a word. With these
kept, a step is a product of the states with the new rows, and nothing else. Its loss and its gradient are those of the
whole model in evaluation mode.

Legend: ``B`` examples, ``n`` labels in all, ``D`` width, ``S`` new symbols, ``V`` rows of the base.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from toolgen.embeddings import Progress
from toolgen.head import Head
from toolgen.replay import MixedLoss
from toolgen.rivals import Rivals
from toolgen.training import IGNORED, CodeCollator, answer_states

_COLUMNS = ("states_nD", "base_n", "words_n", "labels_n", "text_n")


class StateDataset(Dataset[dict[str, Any]]):
    """The states behind the labels of every example, in files; an item is an example's.

    Attributes:
        lengths: Labels of each example.
    """

    def __init__(self, folder: Path, offsets: Sequence[int], width: int) -> None:
        """
        Args:
            folder: Holds the files, written by ``cache_states``.
            offsets: Where the labels of each example begin, and the number of all.
            width: D.
        """
        count = offsets[-1]
        self.lengths = np.diff(offsets)
        self._offsets = offsets
        self._states_nD = _file(folder, "states", (count, width), np.float32)
        self._base_n = _file(folder, "base", (count,), np.float32)
        self._words_n = _file(folder, "words", (count,), np.float32)
        self._labels_n = _file(folder, "labels", (count,), np.int64)
        self._text_n = _file(folder, "text", (count,), np.float32)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, place: int) -> dict[str, Any]:
        part = slice(self._offsets[place], self._offsets[place + 1])
        return {name: getattr(self, f"_{name}")[part] for name in _COLUMNS}

    def write(self, places: Sequence[int], columns: dict[str, Tensor]) -> None:
        """Fill in some examples, their labels one after another."""
        at_n = np.concatenate([np.arange(self._offsets[place], self._offsets[place + 1]) for place in places])
        for name, values in columns.items():
            getattr(self, f"_{name}")[at_n] = values.cpu().numpy()


def collate_states(examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Examples of a ``StateDataset`` -> a batch: their columns, one example after another."""
    batch = {name: torch.from_numpy(np.concatenate([example[name] for example in examples])) for name in examples[0]}
    # Trainer counts loss tokens by this.
    return {**batch, "shift_labels": batch["labels_n"].masked_fill(batch["text_n"] > 0, IGNORED)}


@torch.no_grad()
def cache_states(
    model: PreTrainedModel,
    examples: Any,
    pad_id: int,
    folder: Path,
    *,
    batch: int,
    bf16: bool = False,
    progress: Progress | None = None,
) -> StateDataset:
    """Run a model once over all examples, those of like length together.

    Args:
        model: Prepared by a plan that trains output rows alone.
        examples: From ``toolgen.records.linearize``.
        pad_id: Fills rows up. A row is one example, which like lengths make as cheap as packing; packed rows come in
            another order than the examples.
        folder: Is emptied and filled; D + 4 numbers a label.
        batch: Examples that are run at once.
        bf16: Whether the layers compute in bf16, as they would in training.
        progress: Told examples done and all.
    """
    head, module = Head(model), model.get_output_embeddings()
    first_id = len(module.weight)
    offsets = np.concatenate([[0], np.cumsum([sum(map(len, answers)) for answers in examples["answers"]])]).tolist()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = StateDataset(folder, offsets, module.weight.shape[1])
    collator = CodeCollator(pad_id)
    order = np.argsort(examples["length"], kind="stable").tolist()
    was_training = model.training
    model.eval()
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        inputs = collator([examples[place] for place in places])
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
            states_nD = answer_states(model, inputs)
        there_BL = inputs["labels"] != IGNORED
        labels_n, text_n = inputs["labels"][there_BL], inputs["text"][there_BL]
        word_n = labels_n < first_id
        words_n = head.own_logits(states_nD, labels_n.where(word_n, 0))
        columns = {"states_nD": states_nD.float(), "base_n": head.normalizers(states_nD, stop=first_id)}
        columns |= {"words_n": words_n.where(word_n, 0.0), "labels_n": labels_n, "text_n": text_n}
        found.write(places, columns)
        if progress is not None:
            progress(min(start + batch, len(order)), len(order))
    model.train(was_training)
    return found


def cached_loss(
    model: PreTrainedModel,
    batch: Mapping[str, Tensor],
    count: Tensor | float | None = None,
    text_weight: float = 0.0,
    rivals: Rivals | None = None,
) -> MixedLoss:
    """``toolgen.training.code_loss`` of a batch of ``collate_states``, or ``toolgen.replay.mixed_loss`` without kl.

    Args:
        model: As for ``cache_states``.
        batch: The states and what the base makes of them.
        count: Divisor; None: the number of the answers' labels.
        text_weight: Of the mean loss of general text.
        rivals: Which tokens compete with a label; None: all. New ones alone may be spared.
    """
    module: Any = model.get_output_embeddings()
    first_id, labels_n = len(module.weight), batch["labels_n"]
    logits_nS = F.linear(batch["states_nD"], module.rows, None if module.bias is None else module.bias[first_id:])
    if rivals is not None:
        logits_nS = rivals.logits(logits_nS, labels_n, first_id)
    normalizers_n = torch.logaddexp(batch["base_n"], logits_nS.float().logsumexp(-1))
    tools_n = logits_nS.gather(1, (labels_n - first_id).clamp(min=0)[:, None])[:, 0].float()
    losses_n = normalizers_n - torch.where(labels_n < first_id, batch["words_n"], tools_n)
    text_n = batch["text_n"]
    count = (text_n == 0).sum() if count is None else count
    return MixedLoss(losses_n[text_n == 0].sum() / count, text_weight * (losses_n * text_n).sum() / count)


def _file(folder: Path, name: str, shape: tuple[int, ...], dtype: type) -> Any:
    path = folder / f"{name}.bin"
    return np.memmap(path, dtype, mode="r+" if path.exists() else "w+", shape=shape)
