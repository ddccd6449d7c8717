"""General text in training: its weight, its place in the order, and what it keeps."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from tiny_models import VOCABULARY, tiny_model
from tiny_stage import stage_one

from toolgen.errors import InputError
from toolgen.order import Division, SampleStream, StepBatches
from toolgen.plans import TrainPlan, prepare
from toolgen.replay import ReplayConfig, check_replay, mixed_loss, windows_a_step, with_text, without_adapters
from toolgen.stages import memorization
from toolgen.training import CodeCollator, TrainingConfig, answer_logits, code_loss
from toolgen.vocabulary import extend_model

NEW = 7
EXAMPLES = [{"prompt": [3, 4, 5], "answers": [[VOCABULARY + place, 1]], "length": 5} for place in range(4)]
WINDOWS = [[2, 5, 6, 7, 8], [2, 9, 10], [2, 11, 12, 13]]


def _mixed() -> Dataset:
    return with_text(Dataset.from_list(EXAMPLES), WINDOWS, 1, batch=4, count=3)


@pytest.mark.parametrize("row_tokens", [None, 16])
def test_a_step_is_the_mean_of_answers_and_the_weighted_mean_of_text(row_tokens: int | None) -> None:
    model, config = tiny_model("llama", False), ReplayConfig(weight=0.3)
    model = copy.deepcopy(model)
    extend_model(model, VOCABULARY, NEW)
    rows = _mixed()
    batch = CodeCollator(0, row_tokens)(list(rows))
    with torch.no_grad():
        loss = mixed_loss(config, answer_logits(model, model, batch), None, batch)
        answers = CodeCollator(0)(EXAMPLES)
        expected = code_loss(answer_logits(model, model, answers), answers["labels"])
        losses = []
        for window in WINDOWS:
            ids = torch.tensor([window])
            losses.append(F.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none"))
    assert loss.answers.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.text.item() == pytest.approx(0.3 * torch.cat(losses).mean().item(), rel=1e-5)
    assert loss.whole.item() == pytest.approx(loss.answers.item() + loss.text.item(), rel=1e-6)
    assert (batch["shift_labels"] != -100).sum() == 8, "text is no part of the divisor"


def test_a_divided_step_adds_up_to_the_whole() -> None:
    model, config = tiny_model("llama", True), ReplayConfig(weight=0.7)
    model = copy.deepcopy(model)
    extend_model(model, VOCABULARY, NEW)
    rows, collate = list(_mixed()), CodeCollator(0)

    def loss(part: list[dict[str, Any]]) -> float:
        batch = collate(part)
        with torch.no_grad():
            return mixed_loss(config, answer_logits(model, model, batch), None, batch, 8).whole.item()

    assert loss(rows) == pytest.approx(loss([*rows[:2], rows[5]]) + loss([*rows[2:4], rows[4], rows[6]]), rel=1e-5)


@pytest.mark.parametrize("train", ["rows", "rows+lora"])
def test_the_divergence_is_from_the_base(train: str) -> None:
    model = copy.deepcopy(tiny_model("llama", False))
    extend_model(model, VOCABULARY, NEW)
    prepare(model, TrainPlan(train=train), VOCABULARY)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    batch = CodeCollator(0)(list(_mixed()))
    with torch.no_grad():
        with without_adapters(model):
            base_nV = answer_logits(model, model, batch)[:, :VOCABULARY]
        logits_nV = answer_logits(model, model, batch)
        mixed = mixed_loss(ReplayConfig(weight=0.0, kl=1.0), logits_nV, base_nV, batch)
        divergences = []
        for window in WINDOWS:
            ids = torch.tensor([window])
            ours = model(input_ids=ids).logits[0, :-1].log_softmax(-1)[:, :VOCABULARY]
            theirs = tiny_model("llama", False)(input_ids=ids).logits[0, :-1].log_softmax(-1)
            divergences.append((theirs.exp() * (theirs - ours)).sum(-1))
    assert mixed.text.item() == pytest.approx(torch.cat(divergences).mean().item(), rel=1e-4)
    assert torch.cat(divergences).min() > 0


@pytest.mark.parametrize(("processes", "micro"), [(1, 12), (1, 3), (2, 3), (3, 2)])
def test_every_division_takes_the_same_text(processes: int, micro: int) -> None:
    division, lengths, windows = Division.of(12, micro, processes), [3] * 50, [5] * 20
    parts = [
        list(StepBatches(SampleStream(lengths, 0), division, process, 6, beside=(SampleStream(windows, 0), 5)))
        for process in range(processes)
    ]
    for step in range(6):
        taken = [
            row
            for part in parts
            for rows in part[step * division.accumulation : (step + 1) * division.accumulation]
            for row in rows
        ]
        whole = list(
            StepBatches(SampleStream(lengths, 0), Division.of(12, None, 1), 0, 6, (SampleStream(windows, 0), 5))
        )
        assert sorted(taken) == sorted(whole[step])
        assert sum(row >= len(lengths) for row in taken) == 5


def test_a_share_is_at_least_one_window() -> None:
    assert [windows_a_step(ReplayConfig(share=share), 10) for share in (0.01, 0.25, 2)] == [1, 2, 20]


@pytest.mark.parametrize(
    ("config", "plan", "message"),
    [
        (ReplayConfig(weight=0, kl=0), TrainPlan(), "counts for nothing"),
        (ReplayConfig(kl=1), TrainPlan(train="full"), "compares with the base"),
        (ReplayConfig(kl=1), TrainPlan(train="rows", input_rows=False, cached_states=True), "compares with the base"),
    ],
)
def test_replay_that_cannot_be_is_refused(config: ReplayConfig, plan: TrainPlan, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_replay(config, plan)


def test_a_stage_reports_what_it_keeps_and_replay_keeps_more(
    files: dict[str, Path], tiny_base: Path, tmp_path: Path, text_file: Path
) -> None:
    figures = {}
    for name, plan, replay in (
        ("full", TrainPlan(), None),
        ("replay", TrainPlan(), ReplayConfig(text=str(text_file), share=1, length=32)),
        ("rows", TrainPlan(train="rows"), ReplayConfig(text=str(text_file), share=0.5, kl=1.0)),
    ):
        training = TrainingConfig(
            epochs=10, batch_size=10, learning_rate=3e-3, precision="fp32", max_length=64, plan=plan, micro_batch_size=5
        )
        config = stage_one(files, tiny_base, tmp_path / name, training=training, replay=replay)
        config = memorization.MemorizationConfig.model_validate(
            {**config.model_dump(), "abilities": {"text": str(text_file), "most_tokens": 2000, "length": 48}}
        )
        figures[name] = memorization.run(config).report["perplexity"]
    for found in figures.values():
        assert found["text"] == "text.txt/held-out" and 0 < found["tokens"] <= 2000
        assert found["base"] <= found["before"], "the tools' rows can only take"
        for key in ("base", "before"):
            assert found[key] == pytest.approx(figures["full"][key], rel=1e-6)
    assert figures["replay"]["after"] < figures["full"]["after"]
    assert figures["replay"]["after"] < figures["replay"]["before"], "it learns the text that it reads"
    assert figures["rows"]["base"] < figures["rows"]["after"] < figures["rows"]["before"], "rows learn to stay away"


def test_a_later_stage_knows_the_base_and_a_first_one_tells_of_rows_that_take_much(
    files: dict[str, Path],
    tiny_base: Path,
    tmp_path: Path,
    text_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("toolgen.stage.WORTH_A_WORD", 1.0)
    training = TrainingConfig(epochs=1, batch_size=10, precision="fp32", max_length=64)
    abilities = {"text": str(text_file), "most_tokens": 500, "length": 32}
    first = memorization.run(stage_one(files, tiny_base, tmp_path / "one", training=training, abilities=abilities))
    keys = {"model": str(first.checkpoint), "output": tmp_path / "two", "training": training, "abilities": abilities}
    keys |= {"tracking": {"mode": "disabled"}}
    assert "prior.center=true prior.scale=small" in " ".join(capsys.readouterr().err.split())
    second = memorization.run(memorization.MemorizationConfig.model_validate(keys))
    assert second.report["perplexity"]["base"] == first.report["perplexity"]["base"]
    assert second.report["perplexity"]["before"] == pytest.approx(first.report["perplexity"]["after"], rel=1e-5)
    assert "prior.center" not in capsys.readouterr().err, "its rows are what the first stage made them"
