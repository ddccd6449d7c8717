"""Which parameters train, and what a model with such a plan looks like to everyone else. Knows models and adapters of
peft; no data and no trainer.

``full`` trains all weights, the published way. ``rows`` trains the new rows alone: the base keeps every bit. In
between, ``rows+lora`` also trains low-rank adapters (LoRA, arXiv 2106.09685) of the base's linear layers. Under the
last two the new rows are parameters of their own (``toolgen.rows``), and checkpoints are merged: plain transformers
loads them.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from toolgen import rows
from toolgen.config import Section
from toolgen.errors import InputError, require

ADAPTER = "default"
"""peft's name of an adapter that is given none."""


class LoraSettings(Section):
    """Shape of the adapters."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0, description="An adapter's product is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1)
    layers: str = Field("all-linear", description="Their names' last parts, separated by commas, or all-linear.")


class TrainPlan(Section):
    """Which parameters train."""

    train: Literal["rows", "rows+lora", "full"] = Field(
        "full", description="The new rows alone, adapters of the base as well, or every weight."
    )
    input_rows: bool = Field(True, description="Whether new rows of the embedding train; under full all do.")
    output_rows: bool = Field(
        True,
        description="The same of the head. Where both share a matrix and one alone trains, they are untied for good.",
    )
    cached_states: bool = Field(
        False, description="Run the model once over the data and train on its states; for output rows alone."
    )
    lora: LoraSettings = LoraSettings()


def check_plan(plan: TrainPlan, new_symbols: int) -> None:
    """
    Raises:
        InputError: The plan leaves nothing to train, or caches states that change.
    """
    if plan.cached_states and (plan.train != "rows" or plan.input_rows):
        raise InputError(
            "training.plan: cached_states needs a model that stands still but for its output rows: set train=rows and "
            "input_rows=false, or leave cached_states out."
        )
    if plan.train == "full":
        if not (plan.input_rows and plan.output_rows):
            raise InputError(
                "training.plan: under train=full all rows train. Choose rows or rows+lora to leave some out."
            )
        return
    if plan.train == "rows" and not (plan.input_rows or plan.output_rows):
        raise InputError("training.plan: train=rows with neither input_rows nor output_rows leaves nothing to train.")
    if plan.train == "rows" and not new_symbols:
        raise InputError(
            "training.plan: the codes are text of the base vocabulary and have no rows of their own to train. Choose "
            "rows+lora or full."
        )


def prepare(model: PreTrainedModel, plan: TrainPlan, first_id: int | None) -> None:
    """Give a model the parameters that a plan trains, in place, and freeze the others.

    Args:
        model: Extended, its rows written. Its weights may be partitioned.
        plan: Has passed ``check_plan``.
        first_id: Id of the first new symbol; None where there is none.

    Raises:
        InputError: The rows cannot be taken apart, or no layer has one of the names.
        MissingPackageError: Adapters without peft.
    """
    if plan.train == "full":
        return
    if first_id is not None:
        rows.split(model, first_id, tied=plan.input_rows == plan.output_rows)
    model.requires_grad_(False)
    if plan.train == "rows+lora":
        _adapt(model, plan.lora)
    if first_id is not None:
        for module, trains in (
            (model.get_input_embeddings(), plan.input_rows),
            (model.get_output_embeddings(), plan.output_rows),
        ):
            cast(Any, module).rows.requires_grad_(trains)


def _adapt(model: PreTrainedModel, settings: LoraSettings) -> None:
    peft = require("peft", purpose="training.plan.train=rows+lora")
    layers: Any = settings.layers
    if layers != "all-linear":
        layers = [name.strip() for name in layers.split(",")]
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=layers,
        # GPT-2 keeps its matrices the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    try:
        peft.inject_adapter_in_model(config, model)
    except ValueError as error:
        raise InputError(f"training.plan.lora.layers={settings.layers!r}: {str(error).splitlines()[0]}") from error


def plain_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a prepared model as the plain model has them: rows and adapters merged, in fp32 and rounded once.

    Args:
        model: Tells what is split and adapted.
        weights: By name, whole.
    """
    plain = rows.merged(model, weights)
    for name, module in model.named_modules():
        if not _is_adapted(module):
            continue
        down, up = (plain.pop(f"{name}.lora_{side}.{ADAPTER}.weight") for side in "AB")
        base = plain.pop(f"{name}.base_layer.weight")
        product = (up.float() @ down.float()) * module.scaling[ADAPTER]
        product = product.T if module.fan_in_fan_out else product
        plain[f"{name}.weight"] = (base.float() + product).to(base.dtype)
        if f"{name}.base_layer.bias" in plain:
            plain[f"{name}.bias"] = plain.pop(f"{name}.base_layer.bias")
    return plain


def restore_base(model: PreTrainedModel, origin: PreTrainedModel) -> None:
    """Give a model, loaded from a merged checkpoint, the weights of the layers as they were before any adapter.

    Args:
        model: Plain; is changed in place.
        origin: What the run started from, before or after it was extended.
    """
    theirs = dict(origin.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in theirs and theirs[name].shape == parameter.shape:
                parameter.copy_(theirs[name])


def _is_adapted(module: torch.nn.Module) -> bool:
    # peft is asked for by those who train adapters only.
    return hasattr(module, "lora_A") and hasattr(module, "base_layer")
