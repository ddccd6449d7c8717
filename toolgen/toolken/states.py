"""What a frozen model makes of annotated texts, computed once and kept on disk. Knows models and examples; no training.

A row's loss at a token takes three things of the model: the state that predicts the token, the logarithm of the words'
sum, and the logit of the label where that is a word. For decoding, a row must beat the best word. These are kept, so
that all further work is a product of states with rows: one pass serves every prior, number of epochs and seed.

Legend: ``N`` texts, ``n`` labels of all texts, ``D`` width, ``V`` rows of the base, ``B`` texts of a batch, ``T``
tokens.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.agent.stream import CURE
from toolgen.base import context_length
from toolgen.embeddings import Progress, cache_folder
from toolgen.errors import DiskFullError, InputError
from toolgen.files import fingerprint, is_disk_full, read_json, write_json
from toolgen.head import Head
from toolgen.order import batches_of_like_length
from toolgen.toolken.linearize import Example
from toolgen.training import IGNORED
from toolgen.vocabulary import output_weight

_DONE = "done.json"
_NOT_COMPUTED = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "name_or_path"}
"""Keys of a model's configuration that change with where and how it was loaded."""

_TOKENS_A_BATCH = 4096
_FORMAT = 1
"""Raise it when the same model and examples give other files."""

_STATES = "states"
_COLUMNS = {"words": np.float32, "sums": np.float32, "bests": np.float32, "labels": np.int64}


class TextStates:
    """The states that predict the labels of every text.

    Attributes:
        first_id: Rows of the base; a label from here on is a tool's row.
        ids: Of the texts, ``[N]``.
        offsets: Where the labels of each text begin, and the number of all, ``[N + 1]``.
        states_nD: The states, float32.
        words_n: Logits of the labels that are words; of others 0.
        sums_n: Logarithms of the sums over the words.
        bests_n: The words' highest logits.
        labels_n: Token ids.
    """

    def __init__(self, folder: Path, ids: Sequence[str], offsets: Sequence[int], width: int, first_id: int) -> None:
        """Open the files of a folder.

        Args:
            folder: Holds the files.
            ids: Of the texts.
            offsets: Where each text's labels begin, and the number of all.
            width: D.
            first_id: Rows of the base.
        """
        self.ids = tuple(ids)
        self.offsets = np.asarray(offsets)
        self.first_id = first_id
        count = int(self.offsets[-1])
        self.states_nD = _opened(folder, _STATES, (count, width), np.float32)
        self.words_n, self.sums_n, self.bests_n, self.labels_n = (
            _opened(folder, name, (count,), kind) for name, kind in _COLUMNS.items()
        )

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, texts: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the labels of some texts, one text after another."""
        ranges = [np.arange(self.offsets[number], self.offsets[number + 1]) for number in texts]
        return np.concatenate(ranges) if ranges else np.zeros(0, np.int64)


def text_states(
    model: PreTrainedModel,
    examples: Sequence[Example],
    pad_id: int,
    *,
    checksum: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> TextStates:
    """The states of all examples: those of an earlier run, else one pass of the model, which goes on where one stopped.

    Args:
        model: The base, frozen; it is run in evaluation mode.
        examples: The texts; at least one label in all.
        pad_id: Fills batches up.
        checksum: Of the model; None: computed.
        cache: Folder to keep states in; by default one of ``cache_folder()``.
        progress: Told texts done and all; not called when all were found on disk.

    Raises:
        InputError: A text is longer than the model's context, nothing is labelled, or the model bends its logits.
        DiskFullError: There is no room for the states.
    """
    Head(model).check_linear(CURE)
    _check(model, examples)
    told = [_FORMAT, _TOKENS_A_BATCH, checksum or weights_checksum(model), str(model.dtype), pad_id]
    key = fingerprint([*told, [_record(example) for example in examples]])
    folder = (cache or cache_folder()) / "states" / key
    counts = [sum(label != IGNORED for label in example.labels) for example in examples]
    _make_room(folder, sum(counts), output_weight(model).shape[1])
    found = TextStates(
        folder,
        [example.id for example in examples],
        [0, *np.cumsum(counts).tolist()],
        output_weight(model).shape[1],
        len(output_weight(model)),
    )
    progress_file = folder / _DONE
    batches = list(batches_of_like_length([len(example.input_ids) for example in examples], _TOKENS_A_BATCH))
    first = read_json(progress_file)["batches"] if progress_file.exists() else 0
    if first < len(batches):
        _run(model, examples, pad_id, found, batches, first, progress_file, progress)
    return found


def weights_checksum(model: PreTrainedModel) -> str:
    """SHA-256 of a model's weights, by name, and of the configuration that says what is computed with them."""
    told = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_COMPUTED}
    found = hashlib.sha256(fingerprint(told).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


@torch.inference_mode()
def _run(
    model: PreTrainedModel,
    examples: Sequence[Example],
    pad_id: int,
    found: TextStates,
    batches: Sequence[Sequence[int]],
    first: int,
    progress_file: Path,
    progress: Progress | None,
) -> None:
    head, device = Head(model), model.device
    was_training = model.training
    model.eval()
    done = sum(map(len, batches[:first]))
    try:
        for number in range(first, len(batches)):
            batch = batches[number]
            input_ids_BT, mask_BT, labels_BT = _padded([examples[text] for text in batch], pad_id)
            states_BTD = head.states(
                input_ids=input_ids_BT.to(device), attention_mask=mask_BT.to(device), use_cache=False
            )
            wanted_BT = labels_BT[:, 1:] != IGNORED
            states_nD = states_BTD[:, :-1][wanted_BT.to(device)]
            labels_n = labels_BT[:, 1:][wanted_BT]
            places_n = found.places(batch)
            is_word_n = labels_n < found.first_id
            words_n = head.own_logits(states_nD, labels_n.where(is_word_n, 0).to(device)).cpu()
            found.states_nD[places_n] = states_nD.float().cpu().numpy()
            found.words_n[places_n] = words_n.where(is_word_n, 0.0).numpy()
            found.sums_n[places_n] = head.normalizers(states_nD).cpu().numpy()
            found.bests_n[places_n] = head.highest(states_nD)[0].cpu().numpy()
            found.labels_n[places_n] = labels_n.numpy()
            done += len(batch)
            if progress is not None:
                progress(done, len(examples))
            _note(found, progress_file, number + 1)
    finally:
        model.train(was_training)


def _note(found: TextStates, progress_file: Path, batches: int) -> None:
    for column in (found.states_nD, found.words_n, found.sums_n, found.bests_n, found.labels_n):
        column.flush()
    write_json(progress_file, {"batches": batches})


def _padded(examples: Sequence[Example], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and labels ``[B, T]`` of a batch, filled up on the right: what stands there is seen by no text."""
    longest = max(len(example.input_ids) for example in examples)
    input_ids_BT = torch.full((len(examples), longest), pad_id)
    labels_BT = torch.full((len(examples), longest), IGNORED)
    mask_BT = torch.zeros(len(examples), longest, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        input_ids_BT[row, :length] = torch.tensor(example.input_ids)
        labels_BT[row, :length] = torch.tensor(example.labels)
        mask_BT[row, :length] = 1
    return input_ids_BT, mask_BT, labels_BT


def _check(model: PreTrainedModel, examples: Sequence[Example]) -> None:
    context = context_length(model.config)
    for example in examples:
        if context is not None and len(example.input_ids) > context:
            raise InputError(
                f"Text {example.id!r} takes {len(example.input_ids)} tokens, and the model's context holds {context}. "
                "Shorten the text, or cut its beginning with max_tokens."
            )
    if not any(label != IGNORED for example in examples for label in example.labels):
        raise InputError("The texts label nothing: none has a call or a word to predict. Give texts with calls.")


def _record(example: Example) -> list[Any]:
    return [example.id, list(example.input_ids), list(example.labels)]


def _make_room(folder: Path, count: int, width: int) -> None:
    """Give every column its room on the disk, and begin anew where one is not as it was left.

    A file that is only mapped takes its room when it is written, and a full disk then kills the process.
    """
    sizes = {_STATES: 4 * count * width, **{name: np.dtype(kind).itemsize * count for name, kind in _COLUMNS.items()}}
    paths = {folder / f"{name}.bin": size for name, size in sizes.items()}
    if all(path.exists() and path.stat().st_size == size for path, size in paths.items()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DONE).unlink(missing_ok=True)
    try:
        for path, size in paths.items():
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if is_disk_full(error):
            raise DiskFullError(
                f"The states of the texts take {sum(sizes.values()) / 1e9:,.1f} GB in {folder.parent}, and there is no "
                "room for them. Make room, give fewer texts, or set TOOLGEN_CACHE to a folder elsewhere."
            ) from error
        raise


def _opened(folder: Path, name: str, shape: tuple[int, ...], dtype: type) -> Any:
    return np.memmap(folder / f"{name}.bin", dtype, mode="r+", shape=shape)
