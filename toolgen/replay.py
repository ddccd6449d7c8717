"""General text mixed into training, so that the model keeps what it knew of language. Knows text, examples and models;
no trainer.

Every step takes windows of text beside its examples, and predicts each of their tokens. Text has far more labels than
codes have. So it is weighed by its mean: a step's loss is the mean loss of an answer's token, plus ``weight`` times the
mean loss of a text's token, plus ``kl`` times the mean divergence of the model from the base there. Both means are
taken with the labels that an average step has, constants of the run, so that the loss is the same however a step is
divided.

Legend: ``n`` labels, ``V`` rows of the base, ``S`` new symbols.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.config import Section
from toolgen.errors import InputError
from toolgen.plans import TrainPlan
from toolgen.training import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset


class ReplayConfig(Section):
    """General text in every step."""

    text: str = Field("packages", description="packages, a file, or hub:...; see toolgen/corpus.py. Its part to train.")
    share: float = Field(0.25, gt=0, description="Windows of text a step, as a share of its examples; at least one.")
    length: int = Field(64, ge=2, description="Tokens of a window.")
    weight: float = Field(10.0, ge=0, description="Of the mean loss of a token of text.")
    kl: float = Field(0.0, ge=0, description="Of the mean divergence from the base there: KL(base || model), in nats.")


def check_replay(config: ReplayConfig, plan: TrainPlan) -> None:
    """
    Raises:
        InputError: The text would have no part in the loss, or there is no base to compare with.
    """
    if not config.weight and not config.kl:
        raise InputError("replay: weight and kl are both 0, so that text counts for nothing. Set one of them.")
    if config.kl and (plan.train == "full" or plan.cached_states):
        raise InputError(
            "replay.kl compares with the base, which is at hand under training.plan.train=rows or rows+lora "
            "and without cached_states. Choose one of them, or replay without kl."
        )


def windows_a_step(config: ReplayConfig, batch: int) -> int:
    """Windows of text that a step of ``batch`` examples takes."""
    return max(1, round(config.share * batch))


def with_text(examples: "Dataset", windows: Sequence[Sequence[int]], opening: int, batch: int, count: int) -> "Dataset":
    """Examples followed by windows of text as examples: what opens a window asks, and all the rest answers.

    Args:
        examples: From ``toolgen.records.linearize``.
        windows: Token ids.
        opening: Tokens of each that are only read.
        batch: Examples a step.
        count: Windows a step.

    Returns:
        With one more column, ``text``: 0 for examples; for windows what makes the mean of their losses out of the sum,
        as the divisor is the labels of examples.
    """
    from datasets import Dataset, concatenate_datasets

    labels = sum(len(answer) for answers in examples["answers"] for answer in answers) / len(examples)
    predicted = sum(len(window) - opening for window in windows) / len(windows)
    texts = Dataset.from_dict(
        {
            "prompt": [list(window[:opening]) for window in windows],
            "answers": [[list(window[opening:])] for window in windows],
            "length": [len(window) for window in windows],
            "text": [batch * labels / (count * predicted)] * len(windows),
        },
    )
    return concatenate_datasets([examples.add_column("text", [0.0] * len(examples)), texts])


class MixedLoss(NamedTuple):
    """A loss in two parts, in nats."""

    answers: Tensor
    """``toolgen.training.code_loss`` of the answers."""
    text: Tensor
    """What general text adds to it, its weights included."""

    @property
    def whole(self) -> Tensor:
        """What training makes small."""
        return self.answers + self.text


def mixed_loss(
    config: ReplayConfig,
    logits_nV: Tensor,
    base_nV: Tensor | None,
    batch: Mapping[str, Tensor],
    count: Tensor | float | None = None,
) -> MixedLoss:
    """``toolgen.training.code_loss`` of the answers, and what text adds to it.

    Args:
        config: The weights.
        logits_nV: From ``toolgen.training.answer_logits``.
        base_nV: Those of the base, for its vocabulary; None where ``kl`` is 0.
        batch: Of ``with_text``'s examples.
        count: Divisor; None: the number of the answers' labels in this batch.
    """
    there_BL = batch["labels"] != IGNORED
    labels_n, text_n = batch["labels"][there_BL], batch["text"][there_BL]
    logs_nV = F.log_softmax(logits_nV.float(), dim=-1)
    loss_n = -logs_nV.gather(1, labels_n[:, None])[:, 0]
    text = config.weight * (loss_n * text_n).sum()
    if base_nV is not None:
        at_m = (text_n > 0).nonzero()[:, 0]
        base_mV = F.log_softmax(base_nV[at_m].float(), dim=-1)
        # What the model gives to tools is missing at the words, and counts against it.
        ours_mV = logs_nV[at_m, : base_mV.shape[1]]
        divergence_m = F.kl_div(ours_mV, base_mV, reduction="none", log_target=True).sum(-1)
        text = text + config.kl * (divergence_m * text_n[at_m]).sum()
    count = (text_n == 0).sum() if count is None else count
    return MixedLoss(loss_n[text_n == 0].sum() / count, text / count)


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the layers are those of the base."""
    adapted: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    for module in adapted:
        module._disable_adapters = True
    try:
        yield
    finally:
        for module in adapted:
            module._disable_adapters = False
