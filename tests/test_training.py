"""Collator, loss and trainer: labels sit where they should, and equal configurations give equal losses."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import MODELS, tiny_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from toolgen.training import (
    IGNORED,
    CodeCollator,
    TrainingConfig,
    answer_logits,
    code_loss,
    pack,
    parameter_groups,
    uses_bf16,
)

EXAMPLES: list[dict[str, Any]] = [
    {"prompt": [5, 6, 7], "answers": [[20, 1]]},
    {"prompt": [5], "answers": [[21, 22, 23, 1]]},
    {"prompt": [8, 9, 10, 11, 12, 13], "answers": [[24, 1]]},
    {"prompt": [14, 15], "answers": [[25, 26, 1], [27, 1], [28, 29, 30, 1], [31]]},
]
APART = [{"prompt": example["prompt"], "answers": [answer]} for example in EXAMPLES for answer in example["answers"]]
LABELS = sum(len(example["answers"][0]) for example in APART)


def test_the_collator_pads_left_and_says_what_predicts_each_label() -> None:
    batch = CodeCollator(pad_id=0)(EXAMPLES[:2])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 20], [5, 21, 22, 23]]
    assert batch["segments"].tolist() == [[0, 0, 0, 1], [0, 1, 1, 1]]
    assert batch["labels"].tolist() == [[20, 1, IGNORED, IGNORED], [21, 22, 23, 1]]
    assert batch["sources"].tolist() == [[2, 1, 1, 1], [4, 3, 2, 1]]
    padded = CodeCollator(pad_id=0)(EXAMPLES[:3])
    assert padded["input_ids"][0].tolist() == [0, 0, 0, 5, 6, 7, 20]
    assert padded["position_ids"][0].tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert padded["segments"][0].tolist() == [-1, -1, -1, 0, 0, 0, 1]


def test_answers_stand_side_by_side_and_all_begin_where_the_prompt_ends() -> None:
    batch = CodeCollator(pad_id=0)(EXAMPLES[3:])
    assert batch["input_ids"][0].tolist() == [14, 15, 25, 26, 27, 28, 29, 30]
    assert batch["position_ids"][0].tolist() == [0, 1, 2, 3, 2, 2, 3, 4]
    assert batch["segments"][0].tolist() == [0, 0, 1, 1, 2, 3, 3, 3]
    assert batch["labels"][0].tolist() == [25, 26, 1, 27, 1, 28, 29, 30, 1, 31]
    assert batch["sources"][0].tolist() == [7, 6, 5, 7, 4, 7, 3, 2, 1, 7]


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()


def _loss(model: PreTrainedModel, examples: list[dict[str, Any]], row_tokens: int | None = None) -> torch.Tensor:
    batch = CodeCollator(1, row_tokens)(examples)
    return code_loss(answer_logits(model, model, batch), batch["labels"])


def test_the_loss_is_that_of_plain_shifted_logits_on_each_answer(model: PreTrainedModel) -> None:
    total = 0.0
    for example in APART:
        ids = torch.tensor([example["prompt"] + example["answers"][0]])
        log_p = F.log_softmax(model(ids).logits[0, :-1], dim=-1)
        total -= sum(log_p[at - 1, ids[0, at]].item() for at in range(len(example["prompt"]), ids.shape[1]))
    assert _loss(model, EXAMPLES).item() == pytest.approx(total / LABELS, rel=1e-5)


def test_padding_changes_no_loss(model: PreTrainedModel) -> None:
    apart = [_loss(model, [example]).item() * sum(map(len, example["answers"])) for example in EXAMPLES]
    assert _loss(model, EXAMPLES).item() == pytest.approx(sum(apart) / LABELS, rel=1e-5)


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_answers_side_by_side_train_as_rows_of_their_own_in_every_architecture(kind: str, tied: bool) -> None:
    model, gradients = tiny_model(kind, tied), []
    for examples in (EXAMPLES, APART):
        model.zero_grad()
        _loss(model, examples).backward()
        gradients.append(torch.cat([own.grad.flatten() for own in model.parameters() if own.grad is not None]))
    model.zero_grad()
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("row_tokens", [12, 20, 40])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_packed_rows_train_as_padded_ones_in_every_architecture(kind: str, tied: bool, row_tokens: int) -> None:
    model, gradients = tiny_model(kind, tied), []
    assert len(CodeCollator(1, row_tokens)(EXAMPLES)["input_ids"]) < len(EXAMPLES)
    for room in (None, row_tokens):
        model.zero_grad()
        _loss(model, EXAMPLES, room).backward()
        gradients.append(torch.cat([own.grad.flatten() for own in model.parameters() if own.grad is not None]))
    model.zero_grad()
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_a_packed_row_counts_positions_anew_and_keeps_samples_apart() -> None:
    batch = CodeCollator(0, 8)(EXAMPLES[:2])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 20, 5, 21, 22, 23]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert batch["samples"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[20, 1, 21, 22, 23, 1]]
    assert batch["sources"].tolist() == [[6, 5, 4, 3, 2, 1]]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_example_is_packed_once_and_no_row_overflows(widths: list[int], room: int) -> None:
    rows = pack(widths, room)
    assert sorted(place for row in rows for place in row) == list(range(len(widths)))
    sizes = [sum(widths[place] for place in row) for row in rows]
    assert all(size <= room or len(row) == 1 for size, row in zip(sizes, rows, strict=True))
    if room >= max(widths):
        assert sum(size <= room / 2 for size in sizes) <= 1, "two rows that are half empty would be one"
    if not room:
        assert rows == [[place] for place in range(len(widths))]


def test_rows_have_their_own_rate_and_vectors_no_decay(model: PreTrainedModel) -> None:
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


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, True),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, False),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx2": True, "cpu_name": "AMD EPYC"}, False),
        ({}, False),
    ],
)
def test_bf16_is_chosen_where_it_is_faster(
    cpu: dict[str, object], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    assert uses_bf16("auto") is expected
    assert uses_bf16("bf16") and not uses_bf16("fp32")
