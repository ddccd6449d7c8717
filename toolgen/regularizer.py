"""A pull of the new rows towards where the stage found them: how much data it takes to move a row from its prior.

A tool that a few examples want moves a little, one that many want moves far, and one that none wants stays where its
prior put it instead of being pushed away by all that wanted others. The squared distance makes of the trained rows the
most probable ones under a Gaussian prior around the first ones (TokenLearning, arXiv 2506.14248; L2-SP, arXiv
1802.01483); the plain distance is what TokenLearning's code takes.

Knows models whose new rows are parameters of their own (``toolgen.rows``); no data, no trainer.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.config import Section

STATE = "regularizer.safetensors"
"""File of a checkpoint to go on from: the rows that training began with."""


class RegularizerConfig(Section):
    """How output rows are held to where they started."""

    weight: float = Field(gt=0, description="Of the distance beside the mean loss of a label (lambda).")
    distance: Literal["squared", "plain"] = Field(
        "squared", description="Squared, or the root of it: of all rows together (the Frobenius norm)."
    )


def distance(rows_SD: Tensor, start_SD: Tensor, config: RegularizerConfig) -> Tensor:
    """The weighted distance of rows from where they start, a scalar with gradient."""
    moved_SD = rows_SD - start_SD
    if config.distance == "squared":
        return config.weight * moved_SD.square().sum()
    return config.weight * torch.linalg.vector_norm(moved_SD)


class Regularizer:
    """The distance of a model's new output rows from where they are when this is made."""

    def __init__(self, model: PreTrainedModel, config: RegularizerConfig) -> None:
        """
        Args:
            model: Prepared by a plan that trains output rows beside a base that stands still.
            config: See there.
        """
        head: Any = model.get_output_embeddings()
        self._rows_SD: Tensor = head.rows
        self._start_SD = self._rows_SD.detach().clone()
        self._config = config

    def loss(self) -> Tensor:
        """The weighted distance, a scalar with gradient."""
        return distance(self._rows_SD, self._start_SD, self._config)

    def save(self, checkpoint: Path) -> None:
        """Write what a run needs to go on exactly."""
        save_file({"start": self._start_SD.contiguous()}, checkpoint / STATE)

    def restore(self, checkpoint: Path) -> None:
        """Take up what ``save`` wrote."""
        self._start_SD = load_file(checkpoint / STATE)["start"].to(self._rows_SD.device)
