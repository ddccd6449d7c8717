"""How the agent stage trains: episodes as rows of tokens, and the trainer that learns what the assistant says in them.
Knows renderers and TRL's SFTTrainer; no stage.

Legend: ``B`` rows, ``T`` tokens of a row.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from toolgen.agent.trajectory import Trajectory
from toolgen.agent.turns import TurnRenderer
from toolgen.attention import PADDING, PROMPT, explicit_mask, segments_seen
from toolgen.errors import InputError
from toolgen.trainer import StageTrainer
from toolgen.training import IGNORED, pack

if TYPE_CHECKING:
    from datasets import Dataset

SFT_ARGUMENTS = partial(SFTConfig, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
"""Episodes come as tokens with labels, cut and packed here: TRL has nothing left to prepare."""


def linearize_episodes(trajectories: Iterable[Trajectory], renderer: TurnRenderer, max_length: int) -> "Dataset":
    """Turn episodes into a data set with the columns ``input_ids``, ``labels`` (``IGNORED`` but for what the assistant
    says) and ``length``.

    Args:
        trajectories: The episodes.
        renderer: The same one serves the agent.
        max_length: Tokens of an episode; a longer one loses its end.

    Raises:
        InputError: No episode holds anything to learn within ``max_length`` tokens.
        KeyError: A tool is not in the catalogue.
    """
    from datasets import Dataset

    rows: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": []}
    for trajectory in trajectories:
        pieces = renderer.render(trajectory)
        ids = [token_id for piece in pieces for token_id in piece.ids][:max_length]
        labels = [token_id if piece.learned else IGNORED for piece in pieces for token_id in piece.ids][:max_length]
        if any(label != IGNORED for label in labels):
            for column, value in zip(rows.values(), (ids, labels, len(ids)), strict=True):
                column.append(value)
    if not rows["length"]:
        raise InputError(
            f"training.max_length is {max_length}: of no episode it leaves anything that an assistant says. Give more."
        )
    return Dataset.from_dict(rows)


class EpisodeCollator:
    """Episodes -> a batch of rows, padded on the right. A row is one episode, or as many as it has room for; none sees
    another."""

    def __init__(self, pad_id: int, row_tokens: int | None = None) -> None:
        """
        Args:
            pad_id: Fills rows up.
            row_tokens: Most tokens of a row of several episodes; None: a row is one.
        """
        self._pad_id = pad_id
        self._row_tokens = row_tokens

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """
        Args:
            examples: Of ``linearize_episodes``.

        Returns:
            ``input_ids``, ``position_ids``, ``labels`` and ``samples`` (number of the episode within its row,
            ``PADDING`` behind the last one), all ``[B, T]``.
        """
        rows = pack([len(example["input_ids"]) for example in examples], self._row_tokens or 0)
        shape = len(rows), max(sum(len(examples[place]["input_ids"]) for place in row) for row in rows)
        input_ids_BT = torch.full(shape, self._pad_id)
        position_ids_BT = torch.zeros(shape, dtype=torch.long)
        labels_BT = torch.full(shape, IGNORED)
        samples_BT = torch.full(shape, PADDING)
        for row, places in enumerate(rows):
            start = 0
            for number, place in enumerate(places):
                ids = torch.tensor(examples[place]["input_ids"])
                stop = start + len(ids)
                input_ids_BT[row, start:stop] = ids
                position_ids_BT[row, start:stop] = torch.arange(len(ids))
                labels_BT[row, start:stop] = torch.tensor(examples[place]["labels"])
                samples_BT[row, start:stop] = number
                start = stop
        return {
            "input_ids": input_ids_BT,
            "position_ids": position_ids_BT,
            "labels": labels_BT,
            "samples": samples_BT,
        }


class EpisodeTrainer(StageTrainer, SFTTrainer):
    """TRL's SFTTrainer on packed episodes, as exact and resumable as the other stages' trainer.

    TRL computes the labels' log-probabilities in chunks, straight from the head's matrix; where new rows stand apart
    from it, it is shown both as one.
    """

    def _send_telemetry(self) -> None:
        """Training tells nobody."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-probability of what the assistants say, in nats a token."""
        plain: PreTrainedModel = self.accelerator.unwrap_model(self.model)
        samples_BT = inputs.pop("samples")
        if int(samples_BT.max()) > 0:
            segments_BT = samples_BT.clamp(max=PROMPT)
            inputs["attention_mask"] = explicit_mask(plain, segments_seen(segments_BT, samples_BT))
        else:
            inputs["attention_mask"] = (samples_BT != PADDING).long()
        with _whole_head(plain):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, but for a number of tokens that TRL counts in masks, of which ours say who sees whom."""
        for metrics in self._metrics.values():
            metrics.pop("num_tokens", None)
        super().log(logs, start_time)


@contextmanager
def _whole_head(model: PreTrainedModel) -> Iterator[None]:
    """Inside, a head whose new rows stand apart (``toolgen.rows``) looks like one matrix, through which both learn."""
    head: Any = model.get_output_embeddings()
    if not hasattr(head, "rows"):
        yield
        return
    whole = SimpleNamespace(weight=torch.cat([head.weight, head.rows]), bias=head.bias)
    model.get_output_embeddings = lambda: whole  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.get_output_embeddings
