"""Rows learn from states that are kept: logistic regression, seconds on a CPU. Knows states and rows; no models and no
text.

The softmax is over words and rows together. What the words add to it stands still, so that at a label

    loss = logaddexp(log sum of the words, logsumexp of the rows' logits) - logit of the label,

which is what the whole model would give, and so is its gradient (ToolkenGPT, arXiv 2305.11554, equation 3). A pull of
the rows towards where they start is TokenLearning's (arXiv 2506.14248, equation 6).

Legend: ``n`` labels, ``S`` rows, ``D`` width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from toolgen.config import Section
from toolgen.embeddings import Progress
from toolgen.regularizer import RegularizerConfig, distance
from toolgen.toolken.states import TextStates


class FitConfig(Section):
    """How rows are trained."""

    epochs: int = Field(10, ge=0, description="Passes over the texts; 0 leaves the rows where they start.")
    batch_size: int = Field(1, ge=1, description="Texts a step.")
    learning_rate: float = Field(1e-3, gt=0, description="Of Adam.")
    regularizer: RegularizerConfig | None = Field(None, description="A pull towards where the rows start; null: none.")
    keep: Literal["last", "best"] = Field(
        "best", description="The last epoch's rows, or those with the lowest loss on validation, the start included."
    )
    seed: int = Field(0, description="Of the order of texts, and of random rows.")


@dataclass(frozen=True)
class Fit:
    """What a training leaves.

    Attributes:
        rows_SD: The rows that were kept.
        losses: Mean loss of a label in each epoch, along the way.
        validation: Mean loss of a validation label before training and after each epoch; empty without validation.
        kept: Epochs after which the rows were kept.
    """

    rows_SD: Tensor
    losses: tuple[float, ...]
    validation: tuple[float, ...]
    kept: int


def fit_rows(
    states: TextStates,
    texts: Sequence[int],
    start_SD: Tensor,
    config: FitConfig,
    *,
    validation: Sequence[int] = (),
    still: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """Train rows.

    Args:
        states: Of all texts.
        texts: Numbers of those to train on.
        start_SD: Where the rows start, float32; row ``s`` is the label ``states.first_id + s``.
        config: See there.
        validation: Numbers of those to choose the epoch by; without any, the last one's rows are kept.
        still: The first so many rows stay as they are.
        progress: Told epochs done and all.
    """
    learning_SD = start_SD[still:].clone().requires_grad_()
    optimizer = torch.optim.Adam([learning_SD], lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    numbers = np.asarray(texts)
    losses: list[float] = []
    validated = [mean_loss(states, validation, start_SD)] if len(validation) else []
    best_SD, kept = start_SD, 0
    for epoch in range(1, config.epochs + 1):
        total = 0.0
        order = torch.randperm(len(numbers), generator=generator).numpy()
        for first in range(0, len(order), config.batch_size):
            places = states.places(numbers[order[first : first + config.batch_size]].tolist())
            if not len(places):
                continue
            own = label_losses(states, places, torch.cat([start_SD[:still], learning_SD]))
            loss = own.mean()
            if config.regularizer is not None:
                loss = loss + distance(learning_SD, start_SD[still:], config.regularizer)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(own.detach().sum())
        losses.append(total / max(1, len(states.places(texts))))
        rows_SD = torch.cat([start_SD[:still], learning_SD.detach()])
        if len(validation):
            validated.append(mean_loss(states, validation, rows_SD))
        if not len(validation) or config.keep == "last" or validated[-1] < min(validated[:-1]):
            best_SD, kept = rows_SD, epoch
        if progress is not None:
            progress(epoch, config.epochs)
    return Fit(best_SD, tuple(losses), tuple(validated), kept)


def label_losses(states: TextStates, places: np.ndarray, rows_SD: Tensor) -> Tensor:
    """The loss of each label, ``[n]``, in nats.

    Args:
        states: They know the labels.
        places: Numbers of the labels.
        rows_SD: The rows.
    """
    states_nD, words_n, sums_n, labels_n = (
        torch.from_numpy(column[_run_of(places)])
        for column in (states.states_nD, states.words_n, states.sums_n, states.labels_n)
    )
    logits_nS = states_nD @ rows_SD.T
    tools_n = logits_nS.gather(1, (labels_n - states.first_id).clamp(min=0)[:, None])[:, 0]
    own_n = torch.where(labels_n < states.first_id, words_n, tools_n)
    return torch.logaddexp(sums_n, logits_nS.logsumexp(-1)) - own_n


@torch.no_grad()
def mean_loss(states: TextStates, texts: Sequence[int], rows_SD: Tensor, most: int = 1 << 16) -> float:
    """Mean loss of a label of some texts, ``most`` labels at a time."""
    places = states.places(texts)
    parts = [places[first : first + most] for first in range(0, len(places), most)]
    return sum(float(label_losses(states, part, rows_SD).sum()) for part in parts) / len(places)


def _run_of(places: np.ndarray) -> "slice | np.ndarray":
    """Neighbours as a slice, which copies nothing."""
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places
