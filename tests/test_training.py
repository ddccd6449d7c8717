"""Collator, loss and trainer: labels sit where they should, and equal configurations give equal losses."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from toolgen.training import IGNORED, CodeCollator, TrainingConfig, code_loss, parameter_groups

EXAMPLES = [
    {"prompt": [5, 6, 7], "code": [20, 1]},
    {"prompt": [5], "code": [21, 22, 23, 1]},
    {"prompt": [8, 9, 10, 11, 12, 13], "code": [24, 1]},
]


def test_the_collator_pads_left_and_aligns_labels_with_the_last_positions() -> None:
    batch = CodeCollator(pad_id=0)(EXAMPLES[:2])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 20], [5, 21, 22, 23]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 20, 1], [21, 22, 23, 1]]
    padded = CodeCollator(pad_id=0)(EXAMPLES)
    assert padded["input_ids"][0].tolist() == [0, 0, 0, 5, 6, 7, 20]
    assert padded["position_ids"][0].tolist() == [0, 0, 0, 0, 1, 2, 3]


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()


def _loss(model: torch.nn.Module, examples: list[dict[str, list[int]]]) -> torch.Tensor:
    batch = CodeCollator(pad_id=1)(examples)
    labels = batch.pop("labels")
    batch.pop("shift_labels")
    return code_loss(model(**batch, logits_to_keep=labels.shape[1], use_cache=False).logits, labels)


def test_the_loss_is_that_of_plain_shifted_logits_on_the_code(model: torch.nn.Module) -> None:
    total, count = 0.0, 0
    for example in EXAMPLES:
        ids = torch.tensor([example["prompt"] + example["code"]])
        log_p = F.log_softmax(model(ids).logits[0, :-1], dim=-1)
        start = len(example["prompt"])
        total -= sum(log_p[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1]))
        count += len(example["code"])
    assert _loss(model, EXAMPLES).item() == pytest.approx(total / count, rel=1e-5)


def test_padding_changes_no_loss(model: torch.nn.Module) -> None:
    apart = [_loss(model, [example]).item() * len(example["code"]) for example in EXAMPLES]
    tokens = sum(len(example["code"]) for example in EXAMPLES)
    assert _loss(model, EXAMPLES).item() == pytest.approx(sum(apart) / tokens, rel=1e-5)


def test_rows_have_their_own_rate_and_vectors_no_decay(model: torch.nn.Module) -> None:
    groups = parameter_groups(model, TrainingConfig(learning_rate=1.0, row_learning_rate=2.0, weight_decay=0.5))
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        is_row = "embed_tokens" in name or "lm_head" in name
        assert of[id(parameter)]["lr"] == (2.0 if is_row else 1.0), name
        assert of[id(parameter)]["weight_decay"] == (0.0 if parameter.ndim == 1 else 0.5), name


def test_accumulation_changes_no_loss(files: dict[str, Path], tiny_base: Path, tmp_path: Path) -> None:
    from toolgen.stages.memorization import MemorizationConfig, run

    losses = []
    for micro in (8, 2, 1):
        config = MemorizationConfig(
            model=str(tiny_base),
            tools=files["tools"],
            codebook=files["codebook"],
            output=tmp_path / f"run-{micro}",
            tracking={"mode": "disabled"},
            training=TrainingConfig(batch_size=8, micro_batch_size=micro, precision="fp32", schedule="constant"),
        )
        losses.append(run(config).report["train_loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
